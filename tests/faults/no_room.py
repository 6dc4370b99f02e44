"""F10: one call fails for want of room, and the next one does not."""

from account import Account
from disk_full import accepted_again
from scene import Scene
from trace import Trace, needs_strace

CALLS = ["pwrite64", "fallocate", "ftruncate"]


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    for number in range(1, result.count + 1):
        call = CALLS[number % len(CALLS)]
        # On a small disk the log's files are small, and calls that begin and end one are many.
        disk = bench.small_disk(40)
        broker = bench.broker(f"round-{number % 8}", disk / "data")
        broker.log.unlink(missing_ok=True)
        scene = Scene(broker, result, ["offline", "live"])
        account = Account(number)
        scene.begin(account)
        # The first write of a run is the recovery's own, over bytes that are there.
        nth = random.randrange(1, 4)
        if call == "pwrite64":
            nth = random.choice([1, random.randrange(2, 60)])
        trace = Trace(broker.folder, f"{call}:error=ENOSPC:when={nth}")
        broker.start()
        scene.subscribe()
        scene.part("offline")
        broker.kill()
        scene.after_the_kill()
        broker.start(trace.command)
        scene.come_back()
        scene.part("offline")
        publishers = [scene.publisher(it) for it in range(2)]
        for publisher in publishers:
            publisher.window, publisher.payload_bytes = 8, 8192

        def is_over():
            return trace.has_injected() or len(account.acked) > 2000

        scene.publish_until(publishers, is_over, 20)
        result.count_up(f"injected at {call}", trace.has_injected())
        where = f"round {number} ({call}, {nth})"
        accepted_again(scene, publishers[0], where)
        broker.kill()
        scene.after_the_kill(publishers)
        broker.start()
        scene.drain()
        failures = len(result.failures)
        result.add(account)
        if len(result.failures) > failures:
            result.fail(f"that was {where}")
        broker.kill()
        bench.remove_disks()
