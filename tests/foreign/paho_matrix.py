"""paho-mqtt over TCP and WebSocket, MQTT 3.1, 3.1.1 and 5: what every version has in common."""

import warnings

from checks import Checks, binary_payload, expect, expect_equal, parser, unique_id, unique_topic
from paho_peer import Peer, cases, connected, payloads

warnings.filterwarnings("ignore", category=DeprecationWarning)

MANY = 500


def every_qos_pair(opened, case):
    """Delivered at the lower of published and granted QoS, once, DUP and RETAIN clear."""
    topic = unique_topic("qos")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    for granted in range(3):
        expect_equal(subscriber.subscribe(f"{topic}/{granted}", granted), [granted], "SUBACK")
    pairs = [(granted, sent) for granted in range(3) for sent in range(3)]
    for granted, sent in pairs:
        publisher.publish(f"{topic}/{granted}", b"%d%d" % (granted, sent), sent)
    got = subscriber.receive(len(pairs))
    for granted, sent in pairs:
        copies = [m for m in got if m.payload == b"%d%d" % (granted, sent)]
        expect_equal(len(copies), 1, f"copies of QoS {sent} to QoS {granted}")
        expect_equal(copies[0].qos, min(granted, sent), f"QoS of {sent} to {granted}")
        expect(not copies[0].retain and not copies[0].dup, "RETAIN or DUP set")


def many_in_order(opened, case, qos):
    """[MQTT-4.6.0-6]"""
    topic = unique_topic("many")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe(topic, qos)
    wanted = [b"%d" % number for number in range(MANY)]
    publisher.publish_many(topic, wanted, qos)
    expect_equal(payloads(subscriber.receive(MANY)), wanted, "order")


def large_payload(opened, case, qos):
    topic = unique_topic("large")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe(topic, qos)
    payload = binary_payload()
    publisher.publish(topic, payload, qos)
    expect(subscriber.receive(1)[0].payload == payload, "payload differs")


def empty_and_binary_payloads(opened, case):
    topic = unique_topic("bytes")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe(topic, 1)
    wanted = [b"", b"\0", bytes(range(256)), "ünïcødé ✓".encode()]
    publisher.publish_many(topic, wanted, 1)
    expect_equal(payloads(subscriber.receive(len(wanted))), wanted, "payloads")


def retained(opened, case):
    """[MQTT-3.3.1-5], [MQTT-3.3.1-8], [MQTT-3.3.1-12]: set to new subscriptions only."""
    topic = unique_topic("retained")
    publisher, old = connected(opened, case), connected(opened, case)
    old.subscribe(f"{topic}/#", 2)
    for qos in range(3):
        publisher.publish(f"{topic}/{qos}", b"first", qos, retain=True)
        publisher.publish(f"{topic}/{qos}", b"kept %d" % qos, qos, retain=True)
    expect_equal([m.retain for m in old.receive(6)], [False] * 6, "RETAIN to old subscription")
    new = connected(opened, case)
    new.subscribe(f"{topic}/+", 2)
    got = sorted((m.payload, m.qos, bool(m.retain)) for m in new.receive(3))
    expect_equal(got, [(b"kept %d" % qos, qos, True) for qos in range(3)], "to new subscription")


def retained_cleared(opened, case):
    """[MQTT-3.3.1-6], [MQTT-3.3.1-7]: an empty payload is delivered and removes."""
    topic = unique_topic("cleared")
    publisher, old = connected(opened, case), connected(opened, case)
    publisher.publish(f"{topic}/gone", b"value", 1, retain=True)
    publisher.publish(f"{topic}/marker", b"marker", 1, retain=True)
    old.subscribe(f"{topic}/gone", 1)
    old.receive(1)
    publisher.publish(f"{topic}/gone", b"", 1, retain=True)
    cleared = old.receive(2)[1]
    expect_equal((cleared.payload, bool(cleared.retain)), (b"", False), "clearing PUBLISH")
    new = connected(opened, case)
    new.subscribe(f"{topic}/gone", 1)
    # Retained messages of a later SUBSCRIBE come after those of an earlier one.
    new.subscribe(f"{topic}/marker", 1)
    expect_equal(payloads(new.receive(1)), [b"marker"], "retained after clearing")


def will_sent(opened, case, qos):
    """[MQTT-3.1.2-8], [MQTT-3.1.2-17]: sent when the connection is lost, and retained."""
    topic = unique_topic("will")
    will = {"topic": topic, "payload": b"lost", "qos": qos, "retain": True}
    subscriber = connected(opened, case)
    subscriber.subscribe(topic, 2)
    dying = connected(opened, case, will=will)
    dying.abort()
    message = subscriber.receive(1)[0]
    expect_equal(
        (message.payload, message.qos, bool(message.retain)), (b"lost", qos, False), "will"
    )
    late = connected(opened, case)
    late.subscribe(topic, 2)
    message = late.receive(1)[0]
    expect_equal((message.payload, message.qos, bool(message.retain)), (b"lost", qos, True), "kept")


def will_not_sent(opened, case):
    """[MQTT-3.1.2-10]: DISCONNECT deletes the will."""
    topic = unique_topic("nowill")
    subscriber = connected(opened, case)
    subscriber.subscribe(topic, 1)
    client_id = unique_id()
    leaving = connected(
        opened, case, client_id=client_id, will={"topic": topic, "payload": b"lost"}
    )
    leaving.disconnect()
    # The same client's next CONNACK proves that its last connection is over.
    connected(opened, case, client_id=client_id).publish(topic, b"marker", 1)
    expect_equal(payloads(subscriber.receive(1)), [b"marker"], "after DISCONNECT")


def persistent_session(opened, case):
    """[MQTT-3.1.2-4..6]: subscription and queue outlive the connection, a clean start ends both."""
    topic = unique_topic("session")
    client_id = unique_id()
    expiry = 300 if case.name.endswith("/5") else None
    stay = {"client_id": client_id, "clean": False, "expiry": expiry}
    publisher = connected(opened, case)
    first = Peer(opened, case, **stay)
    expect_equal(first.connect()[1], False, "Session Present of a new session")
    first.subscribe(f"{topic}/#", 2)
    first.disconnect()
    wanted = []
    for number in range(40):
        qos = 1 + number % 2
        publisher.publish(f"{topic}/{qos}", b"%d" % number, qos)
        wanted.append((qos, b"%d" % number))
    second = Peer(opened, case, **stay)
    present = second.connect()[1]
    # MQTT 3.1 has no Session Present flag.
    if not case.name.endswith("/31"):
        expect_equal(present, True, "Session Present on resume")
    publisher.publish(f"{topic}/1", b"live", 1)
    got = [(m.qos, m.payload) for m in second.receive(41)]
    wanted.append((1, b"live"))
    for qos in (1, 2):
        expect_equal(
            [pair for pair in got if pair[0] == qos],
            [pair for pair in wanted if pair[0] == qos],
            f"queued QoS {qos}",
        )
    second.disconnect()
    publisher.publish(f"{topic}/1", b"old", 1)
    third = Peer(opened, case, client_id=client_id)
    expect_equal(third.connect()[1], False, "Session Present after a clean start")
    third.subscribe(f"{topic}/new", 1)
    publisher.publish(f"{topic}/1", b"old", 1)
    publisher.publish(f"{topic}/new", b"new", 1)
    expect_equal(payloads(third.receive(1)), [b"new"], "after a clean start")


def clean_session_ends(opened, case):
    """A session that began clean (MQTT 5: expiry 0) ends with its connection."""
    topic = unique_topic("clean")
    client_id = unique_id()
    publisher = connected(opened, case)
    first = connected(opened, case, client_id=client_id)
    first.subscribe(topic, 1)
    first.disconnect()
    second = Peer(opened, case, client_id=client_id, clean=False)
    expect_equal(second.connect()[1], False, "Session Present")
    publisher.publish(topic, b"missed", 1)
    second.subscribe(f"{topic}/marker", 1)
    publisher.publish(f"{topic}/marker", b"marker", 1)
    expect_equal(payloads(second.receive(1)), [b"marker"], "after the session ended")


def takeover(opened, case):
    """[MQTT-3.1.4-3] ([MQTT-3.1.4-2] of 3.1.1): the older connection of a client id is closed."""
    topic = unique_topic("takeover")
    client_id = unique_id()
    old = connected(opened, case, client_id=client_id)
    new = connected(opened, case, client_id=client_id)
    old.disconnects.wait_count(1, "close of the old connection")
    new.subscribe(topic, 1)
    new.publish(topic, b"alive", 1)
    new.receive(1)


def shared(opened, case):
    """One member gets each message, the twin that is not shared gets all of them."""
    topic = unique_topic("shared")
    members = [connected(opened, case) for _ in range(3)]
    for member in members:
        expect_equal(member.subscribe(f"$share/workers/{topic}", 1), [1], "SUBACK")
    alone = connected(opened, case)
    alone.subscribe(topic, 1)
    wanted = sorted(b"%d" % number for number in range(60))
    connected(opened, case).publish_many(topic, wanted, 1)
    expect_equal(sorted(payloads(alone.receive(60))), wanted, "not shared")
    # A member's PINGRESP-like barrier: its own publication comes after what it was sent before.
    for index, member in enumerate(members):
        member.subscribe(f"{topic}/end{index}", 1)
        alone.publish(f"{topic}/end{index}", b"end", 1)
        member.messages.wait(lambda items: any(m.payload == b"end" for m in items), "end")
    got = [m.payload for member in members for m in member.messages.items() if m.payload != b"end"]
    expect_equal(sorted(got), wanted, "shared")


def unsubscribed(opened, case):
    """[MQTT-3.10.4-2..4]"""
    topic = unique_topic("unsubscribe")
    subscriber, publisher = connected(opened, case), connected(opened, case)
    subscriber.subscribe([(f"{topic}/a", 1), (f"{topic}/b", 1)])
    codes = subscriber.unsubscribe(f"{topic}/a")
    if case.name.endswith("/5"):
        expect_equal(codes, [0], "UNSUBACK")
    publisher.publish(f"{topic}/a", b"a", 1)
    publisher.publish(f"{topic}/b", b"b", 1)
    expect_equal(payloads(subscriber.receive(1)), [b"b"], "after UNSUBACK")


def wildcards(opened, case):
    """[MQTT-4.7.1-1..3], [MQTT-4.7.2-1]"""
    base = unique_topic("wild")
    expectations = {
        f"{base}/a/#": {"a", "a/b", "a/b/c", "a/"},
        f"{base}/+": {"a", "x"},
        f"{base}/+/b": {"a/b"},
        f"{base}/a/+": {"a/b", "a/"},
        f"{base}/+/+/#": {"a/b", "a/b/c", "a/"},
    }
    publisher = connected(opened, case)
    peers = {}
    for pattern in expectations:
        peers[pattern] = connected(opened, case)
        peers[pattern].subscribe(pattern, 1)
        peers[pattern].subscribe(f"{base}/end/of/all", 1)
    for name in ("a", "a/b", "a/b/c", "a/", "x", "end/of/all"):
        publisher.publish(f"{base}/{name}", b"", 1)
    for pattern, wanted in expectations.items():
        end = f"{base}/end/of/all"
        got = peers[pattern].messages.wait(
            lambda items, end=end: end in [m.topic for m in items], "end"
        )
        names = {m.topic[len(base) + 1 :] for m in got} - {"end/of/all"}
        expect_equal(names, wanted, pattern.replace(base, "…"))


def dollar_topics(opened, case):
    """[MQTT-4.7.2-1]: a leading wildcard does not match `$SYS`; all else still reaches it."""
    subscriber, publisher = connected(opened, case), connected(opened, case)
    base = unique_topic("dollar")
    name = base.split("/")[1]
    subscriber.subscribe([(f"+/{name}/#", 1)])
    publisher.publish(f"$a2a/{name}/hidden", b"hidden", 0)
    publisher.publish(f"{base}/seen", b"seen", 1)
    expect_equal(payloads(subscriber.receive(1)), [b"seen"], "+/… matched")


CHECKS = {
    "every-qos-pair": every_qos_pair,
    "bytes": empty_and_binary_payloads,
    "retained": retained,
    "retained-cleared": retained_cleared,
    "will-not-sent": will_not_sent,
    "persistent-session": persistent_session,
    "clean-session-ends": clean_session_ends,
    "takeover": takeover,
    "unsubscribed": unsubscribed,
    "wildcards": wildcards,
    "dollar-topics": dollar_topics,
}
CHECKS_BY_QOS = {"many-in-order": many_in_order, "large-payload": large_payload, "will": will_sent}


def main():
    args = parser(__doc__).parse_args()
    checks = Checks(args.only)
    for case in cases(args, ["31", "311", "5"]):
        for name, check in CHECKS.items():
            checks.run(f"{case.name}/{name}", check, case)
        for name, check in CHECKS_BY_QOS.items():
            for qos in range(3):
                checks.run(f"{case.name}/{name}-qos{qos}", check, case, qos)
        # MQTT 3.1 clients know no shared subscriptions; 3.1.1 ones are served like MQTT 5.
        if not case.name.endswith("/31"):
            checks.run(f"{case.name}/shared", shared, case)
    checks.finish()


if __name__ == "__main__":
    main()
