"""F37: the broker is killed at one particular system call of those that write.

In some rounds the power goes too: see `power_loss.py`.
"""

from account import Account
from scene import Scene
from trace import Trace, copy, lose_power, needs_strace

# Each on a small disk, where the log's files are small and begin and end all the time.
CALLS = ["pwrite64", "fdatasync", "fsync", "fallocate", "ftruncate", "unlink", "openat", "futex"]
MOST = {"pwrite64": 80, "fdatasync": 80, "futex": 400, "openat": 30}


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    disk = bench.small_disk(48)
    broker = bench.broker(data=disk / "data")
    scene = Scene(broker, result, ["offline", "live"])
    scene.begin(Account(0))
    broker.start()
    scene.subscribe()
    for number in range(1, result.count + 1):
        broker.kill()
        scene.after_the_kill()
        account = Account(number)
        scene.begin(account)
        call = CALLS[number % len(CALLS)]
        nth = random.randrange(1, MOST.get(call, 5))
        before = copy(broker.data, broker.folder / "before")
        trace = Trace(broker.folder, f"{call}:signal=KILL:when={nth}", [call])
        try:
            broker.start(trace.command)
            scene.come_back()
            scene.part("offline")
            publishers = [scene.publisher(it) for it in range(4)]
        except Exception as error:
            if not broker.has_ended_soon():
                raise error
            publishers = []  # it was killed at its start already
        for publisher in publishers:
            publisher.window, publisher.payload_bytes = 16, 8192

        def is_over():
            return broker.has_ended() or account.attempted() > 2500

        scene.publish_until(publishers, is_over)
        result.count_up(f"killed at {call}", broker.has_ended_soon(0.2))
        broker.kill()
        scene.after_the_kill(publishers)
        share = random.choice([0.0, 0.5, 1.0])
        taken = lose_power(trace, before, broker.data, lambda: random.random() < share)
        result.count_up("the power went too, and took something", taken > 0)
        broker.start()
        scene.drain()
        failures = len(result.failures)
        result.add(account)
        if len(result.failures) > failures:
            result.fail(f"that was round {number}: {call}, {nth}")
