"""gmqtt (asyncio, MQTT 5 and 3.1.1 over TCP).

gmqtt keeps sending whatever the broker's Receive Maximum is and raises OverflowError when its
packet identifiers, capped at that number, run out: publications go out in small windows.
"""

import asyncio
import logging

import gmqtt

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
WINDOW = 8
VERSIONS = {"311": 4, "5": 5}


class Peer:
    """A gmqtt client whose callbacks fill lists that the checks wait on."""

    def __init__(self, args, version, client_id=None, clean=True, **options):
        self.client = gmqtt.Client(client_id or unique_id(), clean_session=clean, **options)
        self.client.set_config({"reconnect_retries": 0})
        self._args = args
        self._version = version
        self.messages = []
        self.session_present = None
        self._acks = {}
        self._changed = asyncio.Condition()
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.on_unsubscribe = self._on_unsubscribe

    def _on_connect(self, _client, flags, _code, _properties):
        self.session_present = bool(flags)

    async def _on_message(self, _client, topic, payload, qos, properties):
        self.messages.append((topic, bytes(payload), qos, properties))
        await self._notify()
        return 0

    def _on_subscribe(self, _client, mid, codes, _properties):
        self._acks[mid] = list(codes)
        asyncio.ensure_future(self._notify())

    def _on_unsubscribe(self, _client, mid, codes):
        self._acks[mid] = list(codes)
        asyncio.ensure_future(self._notify())

    async def _notify(self):
        async with self._changed:
            self._changed.notify_all()

    async def connect(self, opened):
        options = {"port": self._args.port, "version": self._version}
        await asyncio.wait_for(self.client.connect(self._args.host, **options), LIMIT)
        opened.push_async_callback(self.close)
        return self

    async def close(self):
        if self.client.is_connected:
            await self.client.disconnect()

    async def wait(self, done, what):
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(done), LIMIT)
            except TimeoutError:
                raise AssertionError(f"no {what} in {LIMIT:g} s") from None

    async def subscribe(self, pattern, qos=0, **options):
        mid = self.client.subscribe(pattern, qos, **options)
        await self.wait(lambda: mid in self._acks, "SUBACK")
        return self._acks.pop(mid)

    async def unsubscribe(self, pattern):
        mid = self.client.unsubscribe(pattern)
        await self.wait(lambda: mid in self._acks, "UNSUBACK")
        return self._acks.pop(mid)

    async def publish(self, topic, payload, qos=0, **options):
        """PUBLISH, and wait until gmqtt holds nothing that is not acknowledged."""
        self.client.publish(topic, payload, qos, **options)
        await self.acknowledged()

    async def acknowledged(self):
        storage = self.client._persistent_storage
        await asyncio.wait_for(storage.wait_empty(), LIMIT)

    async def receive(self, count):
        await self.wait(lambda: len(self.messages) >= count, f"{count} × PUBLISH")
        return list(self.messages)


async def connected(opened, args, version, **options):
    return await Peer(args, version, **options).connect(opened)


async def pair(opened, args, version):
    return [await connected(opened, args, version) for _ in range(2)]


async def every_qos_pair(opened, args, version):
    topic = unique_topic("qos")
    subscriber, publisher = await pair(opened, args, version)
    for granted in range(3):
        codes = await subscriber.subscribe(f"{topic}/{granted}", granted)
        expect_equal(codes, [granted], "SUBACK")
    pairs = [(granted, sent) for granted in range(3) for sent in range(3)]
    for granted, sent in pairs:
        await publisher.publish(f"{topic}/{granted}", b"%d%d" % (granted, sent), sent)
    got = sorted((payload, qos) for _, payload, qos, _ in await subscriber.receive(len(pairs)))
    wanted = sorted((b"%d%d" % both, min(both)) for both in pairs)
    expect_equal(got, wanted, "publications")


async def many_in_order(opened, args, version, qos):
    topic = unique_topic("many")
    subscriber, publisher = await pair(opened, args, version)
    await subscriber.subscribe(topic, qos)
    wanted = [b"%d" % number for number in range(MANY)]
    for start in range(0, MANY, WINDOW):
        for payload in wanted[start : start + WINDOW]:
            publisher.client.publish(topic, payload, qos)
        await publisher.acknowledged()
    expect_equal([message[1] for message in await subscriber.receive(MANY)], wanted, "order")


async def large_payload(opened, args, version, qos):
    topic = unique_topic("large")
    subscriber, publisher = await pair(opened, args, version)
    await subscriber.subscribe(topic, qos)
    payload = binary_payload()
    await publisher.publish(topic, payload, qos)
    got = (await subscriber.receive(1))[0]
    expect(got[1] == payload and got[2] == qos, "payload or QoS differs")


async def retained_and_cleared(opened, args, version):
    topic = unique_topic("retained")
    subscriber, publisher = await pair(opened, args, version)
    for name in ("gone", "kept"):
        await publisher.publish(f"{topic}/{name}", name, 1, retain=True)
    await publisher.publish(f"{topic}/gone", b"", 1, retain=True)
    await subscriber.subscribe(f"{topic}/gone", 1)
    await subscriber.subscribe(f"{topic}/kept", 1)
    got = await subscriber.receive(1)
    expect_equal([(m[1], m[3]["retain"]) for m in got], [(b"kept", 1)], "retained")


async def will_sent(opened, args, version):
    topic = unique_topic("will")
    subscriber = await connected(opened, args, version)
    await subscriber.subscribe(topic, 1)
    will = gmqtt.Message(topic, b"lost", qos=1)
    dying = await connected(opened, args, version, will_message=will)
    dying.client._connection._transport.abort()
    expect_equal((await subscriber.receive(1))[0][1], b"lost", "will")


async def shared(opened, args, version):
    topic = unique_topic("shared")
    first, second = await pair(opened, args, version)
    for member in (first, second):
        await member.subscribe(f"$share/group/{topic}", 1)
    publisher = await connected(opened, args, version)
    wanted = sorted(b"%d" % number for number in range(40))
    for payload in wanted:
        await publisher.publish(topic, payload, 1)
    for member in (first, second):
        # What a member was sent comes before a message published later.
        await member.subscribe(f"{topic}/end", 1)
    await publisher.publish(f"{topic}/end", b"end", 1)
    for member in (first, second):
        messages = member.messages
        await member.wait(lambda found=messages: any(m[1] == b"end" for m in found), "end")
    got = [m[1] for member in (first, second) for m in member.messages if m[1] != b"end"]
    expect_equal(sorted(got), wanted, "shared")


async def unsubscribed(opened, args, version):
    topic = unique_topic("unsubscribe")
    subscriber, publisher = await pair(opened, args, version)
    for name in ("a", "b"):
        await subscriber.subscribe(f"{topic}/{name}", 1)
    await subscriber.unsubscribe(f"{topic}/a")
    for name in ("a", "b"):
        await publisher.publish(f"{topic}/{name}", name, 1)
    expect_equal([m[1] for m in await subscriber.receive(1)], [b"b"], "after UNSUBACK")


async def persistent_session(opened, args, version):
    topic = unique_topic("session")
    stay = {"client_id": unique_id(), "clean": False}
    if version == 5:
        stay["session_expiry_interval"] = 300
    first = await connected(opened, args, version, **stay)
    expect_equal(first.session_present, False, "Session Present of a new session")
    await first.subscribe(topic, 2)
    await first.client.disconnect()
    publisher = await connected(opened, args, version)
    wanted = [b"%d" % number for number in range(50)]
    for payload in wanted:
        await publisher.publish(topic, payload, 1)
    second = await connected(opened, args, version, **stay)
    expect_equal(second.session_present, True, "Session Present on resume")
    expect_equal([message[1] for message in await second.receive(50)], wanted, "queued")


async def request_response(opened, args, version):
    topic = unique_topic("call")
    caller, server = await pair(opened, args, version)
    await server.subscribe(f"{topic}/request", 1)
    await caller.subscribe(f"{topic}/reply", 1)
    sent = {"response_topic": f"{topic}/reply", "correlation_data": b"\0\xff\1"}
    users = [("b", "1"), ("a", "2"), ("b", "3")]
    await caller.publish(f"{topic}/request", b"ping", 1, user_property=users, **sent)
    request = (await server.receive(1))[0][3]
    expect_equal(request["response_topic"], [sent["response_topic"]], "Response Topic")
    expect_equal([tuple(user) for user in request["user_property"]], users, "user properties")
    correlation = request["correlation_data"][0]
    await server.publish(request["response_topic"][0], b"pong", 1, correlation_data=correlation)
    reply = (await caller.receive(1))[0]
    expect_equal((reply[1], reply[3]["correlation_data"]), (b"pong", [b"\0\xff\1"]), "reply")


CHECKS = {
    "every-qos-pair": every_qos_pair,
    "retained-and-cleared": retained_and_cleared,
    "will": will_sent,
    "shared": shared,
    "unsubscribed": unsubscribed,
    "persistent-session": persistent_session,
}


async def run(args):
    logging.disable(logging.CRITICAL)
    checks = Checks(args.only)
    for version_name, version in VERSIONS.items():
        for name, check in CHECKS.items():
            await checks.run_async(f"{version_name}/{name}", check, args, version)
        for qos in range(3):
            await checks.run_async(
                f"{version_name}/many-in-order-qos{qos}", many_in_order, args, version, qos
            )
            await checks.run_async(
                f"{version_name}/large-payload-qos{qos}", large_payload, args, version, qos
            )
    await checks.run_async("5/request-response", request_response, args, 5)
    checks.finish()


if __name__ == "__main__":
    asyncio.run(run(parser(__doc__).parse_args()))
