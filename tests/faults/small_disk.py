"""F09 without a full disk: a session that keeps up lets a small disk last for ever."""

from account import Account
from client import wait
from scene import Scene

SIZES = [24, 48, 96]
# So many times the disk's size is published.
TURNS = 4


def run(bench, result, random):
    for number in range(1, result.count + 1):
        size = SIZES[number % len(SIZES)]
        disk = bench.small_disk(size)
        broker = bench.broker(f"round-{number}", disk / "data")
        scene = Scene(broker, result, ["live"])
        account = Account(number)
        scene.begin(account)
        broker.start()
        scene.subscribe()
        publishers = [scene.publisher(at) for at in range(2)]
        for publisher in publishers:
            publisher.window, publisher.payload_bytes = 16, random.choice([1000, 10000])
        total = TURNS * size << 20

        def is_over():
            return sum(account.next[it.number] * it.payload_bytes for it in publishers) > total

        scene.publish_until(publishers, is_over, 120)
        wait([*publishers, *scene.sessions.values()], lambda: not any(
            publisher.in_flight for publisher in publishers
        ))
        result.count_up("MiB published", total >> 20)
        here = sum(publisher.refused_since for publisher in publishers)
        result.count_up("publishes refused", here)
        if here:
            result.fail(f"round {number} ({size} MiB): {here} refused, though all was delivered")
        broker.kill()
        scene.after_the_kill(publishers)
        broker.start()
        scene.drain()
        result.add(account)
        broker.kill()
        bench.remove_disks()
