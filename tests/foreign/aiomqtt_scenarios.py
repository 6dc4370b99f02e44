"""aiomqtt (asyncio over paho-mqtt): MQTT 3.1.1 and 5 over TCP and WebSocket."""

import asyncio
import collections

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from checks import (
    LIMIT,
    Checks,
    binary_payload,
    expect,
    expect_equal,
    parser,
    unique_id,
    unique_topic,
)

MANY = 500
Case = collections.namedtuple("Case", "name transport protocol args")


def properties(packet, **values):
    result = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(result, name, value)
    return result


def client(case, **options):
    """A client that is not yet connected."""
    options.setdefault("identifier", unique_id())
    if case.transport == "websockets":
        options["websocket_path"] = case.args.ws_path
    port = case.args.ws_port if case.transport == "websockets" else case.args.port
    return aiomqtt.Client(
        case.args.host,
        port,
        protocol=case.protocol,
        transport=case.transport,
        timeout=LIMIT,
        **options,
    )


async def connected(opened, case, **options):
    return await opened.enter_async_context(client(case, **options))


async def pair(opened, case):
    return [await connected(opened, case) for _ in range(2)]


async def receive(peer, count):
    """The next `count` publications."""
    got = []

    async def collect():
        async for message in peer.messages:
            got.append(message)
            if len(got) == count:
                return

    try:
        await asyncio.wait_for(collect(), LIMIT)
    except TimeoutError:
        raise AssertionError(f"{len(got)} of {count} publications in {LIMIT:g} s") from None
    return got


async def every_qos(opened, case):
    topic = unique_topic("qos")
    subscriber, publisher = await pair(opened, case)
    await subscriber.subscribe(topic, qos=2)
    for qos in range(3):
        await publisher.publish(topic, b"%d" % qos, qos=qos)
        # QoS 2 is reported one round trip later than the others, hence one at a time.
        message = (await receive(subscriber, 1))[0]
        expect_equal((message.payload, message.qos), (b"%d" % qos, qos), "publication")


async def many_in_order(opened, case, qos):
    topic = unique_topic("many")
    subscriber, publisher = await pair(opened, case)
    await subscriber.subscribe(topic, qos=qos)
    wanted = [b"%d" % number for number in range(MANY)]

    async def send():
        for payload in wanted:
            await publisher.publish(topic, payload, qos=qos)

    _, got = await asyncio.gather(send(), receive(subscriber, MANY))
    expect_equal([message.payload for message in got], wanted, "order")


async def large_payload(opened, case, qos):
    topic = unique_topic("large")
    subscriber, publisher = await pair(opened, case)
    await subscriber.subscribe(topic, qos=qos)
    payload = binary_payload()
    await publisher.publish(topic, payload, qos=qos)
    message = (await receive(subscriber, 1))[0]
    expect(message.payload == payload and message.qos == qos, "payload or QoS differs")


async def retained_and_cleared(opened, case):
    topic = unique_topic("retained")
    subscriber, publisher = await pair(opened, case)
    for name in ("gone", "kept"):
        await publisher.publish(f"{topic}/{name}", name, qos=1, retain=True)
    await publisher.publish(f"{topic}/gone", b"", qos=1, retain=True)
    await subscriber.subscribe(f"{topic}/gone", qos=1)
    await subscriber.subscribe(f"{topic}/kept", qos=1)
    message = (await receive(subscriber, 1))[0]
    expect_equal((message.payload, bool(message.retain)), (b"kept", True), "retained")


async def will_sent(opened, case):
    topic = unique_topic("will")
    subscriber = await connected(opened, case)
    await subscriber.subscribe(topic, qos=1)
    dying = client(case, will=aiomqtt.Will(topic, b"lost", qos=1))
    await dying.__aenter__()
    # Closes the socket under it; leaving the context then reports the loss.
    dying._client._sock_close()
    try:
        await dying.__aexit__(None, None, None)
    except aiomqtt.MqttError:
        pass
    expect_equal((await receive(subscriber, 1))[0].payload, b"lost", "will")


async def shared(opened, case):
    topic = unique_topic("shared")
    members = await pair(opened, case)
    for member in members:
        await member.subscribe([(f"$share/group/{topic}", 1), (f"{topic}/end", 1)])
    publisher = await connected(opened, case)
    wanted = sorted(b"%d" % number for number in range(40))
    for payload in wanted:
        await publisher.publish(topic, payload, qos=1)
    await publisher.publish(f"{topic}/end", b"end", qos=1)
    got = []
    for member in members:
        while (message := (await receive(member, 1))[0]).payload != b"end":
            got.append(message.payload)
    expect_equal(sorted(got), wanted, "shared")


async def persistent_session(opened, case):
    topic = unique_topic("session")
    stay = {"identifier": unique_id()}
    if case.protocol == aiomqtt.ProtocolVersion.V5:
        stay["clean_start"] = False
        stay["properties"] = properties("CONNECT", SessionExpiryInterval=300)
    else:
        stay["clean_session"] = False
    async with client(case, **stay) as first:
        await first.subscribe(topic, qos=1)
    publisher = await connected(opened, case)
    wanted = [b"%d" % number for number in range(50)]
    for payload in wanted:
        await publisher.publish(topic, payload, qos=1)
    second = await connected(opened, case, **stay)
    expect_equal([m.payload for m in await receive(second, 50)], wanted, "queued")


async def request_response(opened, case):
    topic = unique_topic("call")
    caller, server = await pair(opened, case)
    await server.subscribe(f"{topic}/request", qos=1)
    await caller.subscribe(f"{topic}/reply", qos=1)
    users = [("b", "1"), ("a", "2"), ("b", "3")]
    sent = properties(
        "PUBLISH", ResponseTopic=f"{topic}/reply", CorrelationData=b"\0\xff", UserProperty=users
    )
    await caller.publish(f"{topic}/request", b"ping", qos=1, properties=sent)
    request = (await receive(server, 1))[0].properties
    expect_equal([tuple(user) for user in request.UserProperty], users, "user properties")
    reply = properties("PUBLISH", CorrelationData=request.CorrelationData)
    await server.publish(request.ResponseTopic, b"pong", qos=1, properties=reply)
    message = (await receive(caller, 1))[0]
    got = (message.payload, message.properties.CorrelationData)
    expect_equal(got, (b"pong", b"\0\xff"), "reply")


CHECKS = {
    "every-qos": every_qos,
    "retained-and-cleared": retained_and_cleared,
    "will": will_sent,
    "shared": shared,
    "persistent-session": persistent_session,
}


async def run(args):
    checks = Checks(args.only)
    protocols = {"311": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}
    for transport in ("tcp", "websockets"):
        for protocol_name, protocol in protocols.items():
            case = Case(f"{transport}/{protocol_name}", transport, protocol, args)
            for name, check in CHECKS.items():
                await checks.run_async(f"{case.name}/{name}", check, case)
            for qos in range(3):
                await checks.run_async(
                    f"{case.name}/many-in-order-qos{qos}", many_in_order, case, qos
                )
                await checks.run_async(
                    f"{case.name}/large-payload-qos{qos}", large_payload, case, qos
                )
            if protocol_name == "5":
                await checks.run_async(f"{case.name}/request-response", request_response, case)
    checks.finish()


if __name__ == "__main__":
    asyncio.run(run(parser(__doc__).parse_args()))
