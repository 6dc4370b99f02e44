"""paho-mqtt over TCP and WebSocket: what only MQTT 5 has."""

import time
import warnings

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCodes
from paho.mqtt.subscribeoptions import SubscribeOptions

from checks import Checks, expect, expect_equal, parser, unique_id, unique_topic
from paho_peer import PAHO_2, Peer, cases, connected, payloads, properties, wait_until

warnings.filterwarnings("ignore", category=DeprecationWarning)


def options(**values):
    """Subscription options by paho's names, QoS 1 unless told otherwise."""
    return SubscribeOptions(**{"qos": 1, **values})


def request_response(opened, case):
    """[MQTT-3.3.2-15, 16]: Response Topic and Correlation Data arrive unaltered."""
    topic = unique_topic("call")
    correlation = bytes(range(256))
    caller, server = connected(opened, case), connected(opened, case)
    server.subscribe(f"{topic}/request", 1)
    caller.subscribe(f"{topic}/reply", 1)
    caller.publish(
        f"{topic}/request", b"2+2", 1, ResponseTopic=f"{topic}/reply", CorrelationData=correlation
    )
    request = server.receive(1)[0]
    expect_equal(request.properties.ResponseTopic, f"{topic}/reply", "Response Topic")
    server.publish(
        request.properties.ResponseTopic,
        b"4",
        1,
        CorrelationData=request.properties.CorrelationData,
    )
    reply = caller.receive(1)[0]
    expect_equal((reply.payload, reply.properties.CorrelationData), (b"4", correlation), "reply")


def content_properties(opened, case):
    """[MQTT-3.3.2-4], [MQTT-3.3.2-20]: forwarded live and retained."""
    topic = unique_topic("content")
    publisher, live, late = (connected(opened, case) for _ in range(3))
    live.subscribe(topic, 1)
    text = {"PayloadFormatIndicator": 1, "ContentType": "text/plain; charset=utf-8"}
    publisher.publish(topic, "grüß".encode(), 1, retain=True, **text)
    late.subscribe(topic, 1)
    for what, peer in (("live", live), ("retained", late)):
        got = peer.receive(1)[0].properties
        expect_equal(got.PayloadFormatIndicator, 1, f"{what} Payload Format Indicator")
        expect_equal(got.ContentType, text["ContentType"], f"{what} Content Type")


def user_properties(opened, case):
    """[MQTT-3.3.2-17, 18]: all of them, in order, the same name more than once."""
    topic = unique_topic("user")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe(topic, 2)
    wanted = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ключ", "значение")]
    wanted += [("n", str(number)) for number in range(50)]
    for qos in range(3):
        publisher.publish(topic, b"%d" % qos, qos, UserProperty=wanted)
    for message in subscriber.receive(3):
        got = [tuple(pair) for pair in message.properties.UserProperty]
        expect_equal(got, wanted, f"user properties at QoS {message.qos}")


def topic_alias(opened, case):
    """[MQTT-3.3.2-7..12]: the name is set, used, moved; receivers see the name."""
    topic = unique_topic("alias")
    subscriber = connected(opened, case)
    subscriber.subscribe(f"{topic}/#", 1)
    publisher = Peer(opened, case)
    maximum = getattr(publisher.connect()[2], "TopicAliasMaximum", 0)
    expect(maximum >= 1, "CONNACK allows no topic alias")
    wanted = []
    for name in ("a", "b"):
        for step, sent_topic in enumerate((f"{topic}/{name}", "", "")):
            publisher.publish(sent_topic, b"%d" % step, 1, TopicAlias=maximum)
            wanted.append((f"{topic}/{name}", b"%d" % step))
    got = [(message.topic, message.payload) for message in subscriber.receive(6)]
    expect_equal(got, wanted, "publications")


def expiry_counts_down(opened, case):
    """[MQTT-3.3.2-5, 6]: gone when its time is up, else sent with the time that is left."""
    topic = unique_topic("expiry")
    stay = {"client_id": unique_id(), "clean": False, "expiry": 300}
    first = connected(opened, case, **stay)
    first.subscribe(f"{topic}/queued", 1)
    first.disconnect()
    publisher = connected(opened, case)
    began = time.monotonic()
    for name in ("queued", "retained"):
        publisher.publish(
            f"{topic}/{name}", b"long", 1, name == "retained", MessageExpiryInterval=100
        )
    publisher.publish(f"{topic}/queued", b"short", 1, MessageExpiryInterval=1)
    publisher.publish(f"{topic}/gone", b"short", 1, True, MessageExpiryInterval=1)
    # Expiry is counted in seconds of real time, so this wait is what is tested.
    wait_until(time.monotonic() + 3)
    second = connected(opened, case, **stay)
    for name in ("gone", "retained"):
        second.subscribe(f"{topic}/{name}", 1)
    got = second.receive(2)
    expect_equal(sorted(payloads(got)), [b"long", b"long"], "what is left after 3 s")
    for message in got:
        left = message.properties.MessageExpiryInterval
        gone = time.monotonic() - began
        expect(100 - gone - 1 <= left <= 98, f"{left} s left of 100 after {gone:.1f}")


def session_expiry(opened, case):
    """[MQTT-3.1.2-23]: the session outlives its connection by the interval, no longer."""
    stay = {"client_id": unique_id(), "clean": False}
    connected(opened, case, expiry=1, **stay).disconnect()
    wait_until(time.monotonic() + 3)
    expect_equal(
        Peer(opened, case, expiry=300, **stay).connect()[1], False, "present after 3 s of 1"
    )


def disconnect_sets_expiry(opened, case):
    """3.14.2.2.2: DISCONNECT may shorten the interval, here to nothing."""
    stay = {"client_id": unique_id(), "clean": False, "expiry": 300}
    peer = connected(opened, case, **stay)
    peer.disconnect(
        reasoncode=ReasonCodes(PacketTypes.DISCONNECT, "Normal disconnection"),
        properties=properties("DISCONNECT", SessionExpiryInterval=0),
    )
    expect_equal(Peer(opened, case, **stay).connect()[1], False, "Session Present")


def subscription_identifiers(opened, case):
    """[MQTT-3.3.4-3..5]: every identifier that matched, in one PUBLISH or one each."""
    topic = unique_topic("identifier")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    filters = ((topic, 1), (f"{topic}/#", 268_435_455))
    for pattern, number in filters:
        found = properties("SUBSCRIBE", SubscriptionIdentifier=number)
        subscriber.subscribe(pattern, options=options(), properties=found)
    publisher.publish(topic, b"both", 1)
    publisher.publish(f"{topic}/x", b"one", 1)
    got = subscriber.messages.wait(lambda items: any(m.payload == b"one" for m in items), "second")
    numbers = {b"both": [], b"one": []}
    for message in got:
        numbers[message.payload] += getattr(message.properties, "SubscriptionIdentifier", [])
    expect_equal(sorted(numbers[b"both"]), [1, 268_435_455], "identifiers of both filters")
    expect_equal(numbers[b"one"], [268_435_455], "identifiers of one filter")


def overlapping_qos(opened, case):
    """[MQTT-3.3.4-2]: with overlapping filters, no lower than the highest granted QoS."""
    topic = unique_topic("overlap")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe([(f"{topic}/#", options(qos=0)), (f"{topic}/a", options(qos=2))])
    subscriber.subscribe([(f"{topic}/+", options(qos=1))])
    publisher.publish(f"{topic}/a", b"overlap", 2)
    subscriber.messages.wait(lambda items: any(m.qos == 2 for m in items), "QoS 2 copy")


def no_local(opened, case):
    """[MQTT-3.8.3-3]"""
    topic = unique_topic("local")
    peer, other = connected(opened, case), connected(opened, case)
    peer.subscribe(topic, options=options(noLocal=True))
    other.subscribe(topic, options=options())
    peer.publish(topic, b"own", 1)
    other.publish(topic, b"other", 1)
    expect_equal(payloads(peer.receive(1)), [b"other"], "with No Local")
    expect_equal(payloads(other.receive(2)), [b"own", b"other"], "without")


def no_local_shared(opened, case):
    """[MQTT-3.8.3-4]: No Local on a shared subscription is a protocol error."""
    peer = connected(opened, case)
    name = f"$share/group/{unique_topic('local')}"
    peer.client.subscribe(name, options=options(noLocal=True))
    code = peer.disconnects.wait_count(1, "close")[0]
    expect_equal(code, 0x82, "DISCONNECT reason")


def retain_as_published(opened, case):
    """[MQTT-3.3.1-12, 13]"""
    topic = unique_topic("published")
    keeps, clears, publisher = (connected(opened, case) for _ in range(3))
    keeps.subscribe(topic, options=options(retainAsPublished=True))
    clears.subscribe(topic, options=options(retainAsPublished=False))
    publisher.publish(topic, b"1", 1, retain=True)
    publisher.publish(topic, b"0", 1, retain=False)
    for peer, wanted in ((keeps, [True, False]), (clears, [False, False])):
        expect_equal([bool(m.retain) for m in peer.receive(2)], wanted, "RETAIN")


def retain_handling(opened, case):
    """[MQTT-3.3.1-9..11]: 0 always, 1 only to a subscription that did not exist, 2 never."""
    topic = unique_topic("handling")
    publisher, peer = connected(opened, case), connected(opened, case)
    publisher.publish(f"{topic}/a", b"a", 1, retain=True)
    sent = 0

    def subscribe(handling, gets_it, **values):
        # A retained marker of a later SUBSCRIBE shows that all of this one's have come.
        nonlocal sent
        sent += 1
        peer.subscribe(f"{topic}/a", options=options(retainHandling=handling, **values))
        publisher.publish(f"{topic}/marker{sent}", b"marker", 1, retain=True)
        peer.subscribe(f"{topic}/marker{sent}", options=options())
        name = f"{topic}/marker{sent}"
        got = peer.messages.wait(lambda items: any(m.topic == name for m in items), "marker")
        copies = sum(1 for message in got if message.topic == f"{topic}/a")
        expect_equal(copies, gets_it, f"retained copies after step {sent} (handling {handling})")

    subscribe(2, 0)
    subscribe(1, 0)
    subscribe(0, 1)
    subscribe(0, 2)
    subscribe(1, 2, qos=2)
    peer.unsubscribe(f"{topic}/a")
    subscribe(1, 3)


def shared_gets_no_retained(opened, case):
    """3.3.1.3: retained messages are sent to new subscriptions that are not shared."""
    topic = unique_topic("share")
    publisher, peer = connected(opened, case), connected(opened, case)
    publisher.publish(f"{topic}/a", b"retained", 1, retain=True)
    publisher.publish(f"{topic}/b", b"marker", 1, retain=True)
    peer.subscribe(f"$share/group/{topic}/a", options=options())
    peer.subscribe(f"{topic}/b", options=options())
    expect_equal(payloads(peer.receive(1)), [b"marker"], "retained")


def shared_unsubscribe(opened, case):
    """3.10: a shared subscription ends by its full name only; UNSUBACK says 0x11 otherwise."""
    topic = unique_topic("share")
    peer, publisher = connected(opened, case), connected(opened, case)
    peer.subscribe(f"$share/group/{topic}", options=options())
    expect_equal(peer.unsubscribe(topic), [0x11], "UNSUBACK for the filter alone")
    expect_equal(peer.unsubscribe(f"$share/group/{topic}"), [0], "UNSUBACK for the full name")
    publisher.publish(topic, b"after", 1)
    peer.subscribe(f"{topic}/marker", options=options())
    publisher.publish(f"{topic}/marker", b"marker", 1)
    expect_equal(payloads(peer.receive(1)), [b"marker"], "after UNSUBACK")


def will_properties(opened, case):
    """3.1.3.2: what the will carries goes along, also after DISCONNECT 0x04."""
    topic = unique_topic("will")
    subscriber = connected(opened, case)
    subscriber.subscribe(topic, 1)
    wanted = {
        "ContentType": "application/json",
        "ResponseTopic": f"{topic}/reply",
        "CorrelationData": b"\0\1",
        "UserProperty": [("a", "1"), ("a", "2")],
        "MessageExpiryInterval": 100,
        "PayloadFormatIndicator": 1,
    }
    found = properties("WILLMESSAGE", **wanted)
    will = {"topic": topic, "payload": b"{}", "qos": 1, "properties": found}
    leaving = connected(opened, case, will=will)
    with_will = ReasonCodes(PacketTypes.DISCONNECT, "Disconnect with will message")
    leaving.disconnect(reasoncode=with_will)
    message = subscriber.receive(1)[0]
    for name, value in wanted.items():
        got = getattr(message.properties, name, None)
        if name == "MessageExpiryInterval":
            expect(got is not None and 90 <= got <= 100, f"will's {name} is {got}")
        else:
            expect_equal(got, value, f"will's {name}")


def will_delay(opened, case):
    """[MQTT-3.1.3-9]: not before the delay, not at all when the client is back in time."""
    topic = unique_topic("delay")
    subscriber = connected(opened, case)
    subscriber.subscribe(f"{topic}/#", 1)

    def dying(name, delay):
        found = properties("WILLMESSAGE", WillDelayInterval=delay)
        will = {"topic": f"{topic}/{name}", "payload": b"lost", "qos": 1, "properties": found}
        stay = {"client_id": unique_id(), "clean": False, "expiry": 60}
        connected(opened, case, will=will, **stay).abort()
        return stay

    back = dying("back", 2)
    connected(opened, case, **back)
    lost = time.monotonic()
    # Its delay ends after that of the client that came back, so it is the marker.
    dying("away", 4)
    message = subscriber.receive(1)[0]
    expect_equal(message.topic, f"{topic}/away", "will sent")
    expect(time.monotonic() - lost >= 3.9, "will sent before its delay was over")


def assigned_client_id(opened, case):
    """[MQTT-3.1.3-6, 7], [MQTT-3.2.2-16]: an id for who sends none, unique, good to come back."""
    first, second = (Peer(opened, case, client_id="", expiry=300) for _ in range(2))
    names = [getattr(peer.connect()[2], "AssignedClientIdentifier", "") for peer in (first, second)]
    expect(all(names) and names[0] != names[1], f"assigned ids {names}")
    first.disconnect()
    back = Peer(opened, case, client_id=names[0], clean=False, expiry=0)
    expect_equal(back.connect()[1], True, "Session Present under the assigned id")


def takeover_reason(opened, case):
    """[MQTT-3.1.4-3]: the older connection of a client id is told why it is closed."""
    client_id = unique_id()
    old = connected(opened, case, client_id=client_id)
    connected(opened, case, client_id=client_id)
    code = old.disconnects.wait_count(1, "close of the old connection")[0]
    expect_equal(code, 0x8E, "DISCONNECT reason")


def maximum_packet_size(opened, case):
    """[MQTT-3.1.2-24, 25]: too large a PUBLISH is dropped for this client alone."""
    topic = unique_topic("size")
    small = connected(opened, case, connect_properties={"MaximumPacketSize": 1000})
    large, publisher = connected(opened, case), connected(opened, case)
    for peer in (small, large):
        peer.subscribe(topic, 1)
    for payload in (bytes(2000), b"fits"):
        publisher.publish(topic, payload, 1)
    expect_equal(payloads(small.receive(1)), [b"fits"], "to the small client")
    expect_equal(payloads(large.receive(2)), [bytes(2000), b"fits"], "to the other")


def receive_maximum(opened, case):
    """[MQTT-3.3.4-9]: never more unacknowledged than the client's Receive Maximum."""
    topic = unique_topic("window")
    limits = {"ReceiveMaximum": 2}
    slow = connected(opened, case, manual_ack=True, connect_properties=limits)
    slow.subscribe(topic, 1)
    wanted = [b"%d" % number for number in range(6)]
    connected(opened, case).publish_many(topic, wanted, 1)
    for done in range(1, len(wanted) + 1):
        slow.receive(min(done + 1, len(wanted)))
        # What was sent before this SUBACK is in the inbox when it is read.
        slow.subscribe(f"{topic}/other", 0)
        got = slow.messages.items()
        expect(len(got) <= done + 1, f"{len(got)} sent with {done - 1} acknowledged")
        slow.client.ack(got[done - 1].mid, 1)
    expect_equal(payloads(slow.messages.items()), wanted, "order")


def resent_with_dup(opened, case):
    """[MQTT-4.4.0-1], [MQTT-4.6.0-1]: on resume, in order, with DUP and the same packet id."""
    topic = unique_topic("resent")
    stay = {"client_id": unique_id(), "clean": False, "expiry": 300}
    first = connected(opened, case, manual_ack=True, **stay)
    first.subscribe(topic, 1)
    wanted = [b"%d" % number for number in range(5)]
    connected(opened, case).publish_many(topic, wanted, 1)
    before = [(m.mid, m.payload) for m in first.receive(5)]
    first.abort()
    second = connected(opened, case, **stay)
    got = second.receive(5)
    expect_equal([(m.mid, m.payload) for m in got], before, "resent")
    expect(all(m.dup for m in got), "resent without DUP")


CHECKS = {
    function.__name__.replace("_", "-"): function
    for function in (
        request_response,
        content_properties,
        user_properties,
        topic_alias,
        expiry_counts_down,
        session_expiry,
        disconnect_sets_expiry,
        subscription_identifiers,
        overlapping_qos,
        no_local,
        retain_as_published,
        retain_handling,
        shared_gets_no_retained,
        shared_unsubscribe,
        will_properties,
        will_delay,
        assigned_client_id,
        maximum_packet_size,
    )
}

# paho-mqtt 1.6.1 acknowledges by itself, always, and reads no reason from a short DISCONNECT.
NEED_PAHO_2 = {
    "receive-maximum": receive_maximum,
    "resent-with-dup": resent_with_dup,
    "no-local-shared": no_local_shared,
    "takeover-reason": takeover_reason,
}


def main():
    args = parser(__doc__).parse_args()
    checks = Checks(args.only)
    wanted = {**CHECKS, **(NEED_PAHO_2 if PAHO_2 else {})}
    for case in cases(args, ["5"]):
        for name, check in wanted.items():
            checks.run(f"{case.name}/{name}", check, case)
    checks.finish()


if __name__ == "__main__":
    main()
