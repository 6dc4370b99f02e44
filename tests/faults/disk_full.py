"""F09: the disk is full. Nothing is acknowledged that cannot be kept, and then it goes on."""

import time

import packets
from account import Account
from broker import DidNotStart
from client import Gone, Subscriber, turn, wait
from scene import ROOT, Scene

SIZES = [24, 32, 48, 64, 96]
# More than the 8 MiB that the broker takes aside before it accepts anything.
BALLAST = 12 << 20
# So many seconds without an answer are enough.
SILENCE = 5.0
WAYS = ["ballast", "draining", "a start after kill -9 while full", "a session's end"]


def run(bench, result, random):
    for number in range(1, result.count + 1):
        size, way = SIZES[number % len(SIZES)], WAYS[number % len(WAYS)]
        where = f"round {number} ({size} MiB, {way})"
        disk = bench.small_disk(size)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST))
        broker = bench.broker(f"round-{number}", disk / "data")
        scene = Scene(broker, result, ["offline"])
        account = Account(number)
        scene.begin(account)
        broker.start()
        scene.subscribe()
        scene.part("offline")
        publisher = scene.publisher(0)
        publisher.payload_bytes = random.choice([100, 1000, 10000])
        try:
            fill(scene, publisher, size << 20, where)
            goes_on_without_disk(broker, where, result)
            publisher = room_again(scene, publisher, way, ballast, where)
            accepted_again(scene, publisher, where)
        except (Gone, DidNotStart, OSError) as error:
            # What was acknowledged must be there all the same, when somebody has made room.
            result.fail(f"{where}: {error}")
            ballast.unlink(missing_ok=True)
        broker.kill()
        scene.after_the_kill([publisher])
        try:
            broker.start()
            take_out(scene, where)
        except (Gone, DidNotStart, OSError) as error:
            result.fail(f"{where}: after the last start: {error}")
        result.add(account)
        broker.kill()
        result.count_up(f"room came back by {way}")
        bench.remove_disks()


def fill(scene, publisher, size, where):
    """Publishes until the disk is full, and the publisher is told so.

    A broker may say nothing any more, or go on for ever: neither is waited for.
    """
    account, said, silent_at = scene.account, 0, time.monotonic() + SILENCE

    def is_over():
        nonlocal said, silent_at
        answered = len(account.acked) + publisher.refused_since
        if answered > said:
            said, silent_at = answered, time.monotonic() + SILENCE
        published = account.attempted() * publisher.payload_bytes
        is_silent = time.monotonic() > silent_at
        return publisher.refused_since >= 200 or is_silent or published > 4 * size

    scene.publish_until([publisher], is_over, 60)
    refused, reason = publisher.refused_since, publisher.last_reason
    if refused < 200 or reason != 0x97:
        scene.result.fail(f"{where}: {refused} refused, the last with {reason:#x}")


def room_again(scene, publisher, way, ballast, where):
    """Makes room; returns who publishes from then on."""
    if way == "ballast":
        ballast.unlink()
    elif way == "draining":
        take_out(scene, where)
    elif way == "a session's end":
        start_anew(scene, where)
    else:
        scene.broker.kill()
        scene.after_the_kill([publisher])
        scene.broker.start()
        take_out(scene, where)
        return scene.publisher(1)
    return publisher


def goes_on_without_disk(broker, where, result):
    """What needs no disk is served as ever."""
    account = Account(0)
    reader = Subscriber("reader", account, broker.version)
    try:
        reader.open(broker.port)
        reader.subscribe("memory/#", 1)
        for packet_id, qos in [(0, 0), (1, 1)]:
            topic = b"memory/%d" % qos
            reader.send(packets.publish(topic, b"go", qos, packet_id, broker.version))
            wait([reader], lambda: topic in reader.topics, 10)
    except (Gone, OSError) as error:
        result.fail(f"{where}: a clean session while the disk is full: {error}")
    reader.close()


def take_out(scene, where):
    """The sessions take everything that was promised them; a mark might not be accepted."""
    scene.come_back()
    sessions = list(scene.sessions.values())
    account, seen, quiet_at = scene.account, -1, 0.0
    while account.lost():
        delivered = sum(map(len, account.delivered.values()))
        if delivered != seen:
            seen, quiet_at = delivered, time.monotonic() + 10
        elif time.monotonic() > quiet_at:
            return  # the books will tell
        until = time.monotonic() + 0.2
        while time.monotonic() < until and turn(sessions, 0.05):
            pass
    for session in sessions:
        session.ping(sessions)


def start_anew(scene, where):
    """The client wants nothing of what waits for it: that makes room too."""
    session = scene.sessions["offline"]
    session.open(scene.broker.port, clean=True, expiry=packets.NEVER)
    scene.account.acked.clear()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return session.subscribe(f"{ROOT}/#", 1)
        except Gone:  # refused with 0x97, and told so
            turn([session], 0.2)
    scene.result.fail(f"{where}: the session has ended, and there is no room still")


def accepted_again(scene, publisher, where):
    """There is room: publishes are accepted again, without a restart."""
    wanted = len(scene.account.acked) + 50
    deadline = time.monotonic() + 20
    while len(scene.account.acked) < wanted and time.monotonic() < deadline:
        refused = publisher.refused_since
        publisher.publish()
        turn([publisher, *scene.sessions.values()], 0.05)
        if publisher.refused_since > refused:
            turn(list(scene.sessions.values()), 0.05)
    if len(scene.account.acked) < wanted:
        scene.result.fail(f"{where}: there is room again, and publishes are refused still")
