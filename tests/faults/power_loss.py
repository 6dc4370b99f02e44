"""F05: power is lost. What no fdatasync had covered reaches the disk in part, in any order."""

import os
import signal
import threading

from account import Account
from scene import Scene
from trace import Trace, copy, lose_power, needs_strace


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    broker = bench.broker()
    scene = Scene(broker, result, ["offline", "live"])
    scene.begin(Account(0))
    broker.start()
    scene.subscribe()
    scene.drain()
    broker.kill()
    scene.after_the_kill()
    for number in range(1, result.count + 1):
        account = Account(number)
        scene.begin(account)
        before = copy(broker.data, broker.folder / "before")
        # A slow disk: most kills fall between a write and the end of its sync.
        delay = random.choice([0, 2000, 20000])
        trace = Trace(broker.folder, f"fdatasync:delay_enter={delay}" if delay else None)
        broker.start(trace.command)
        scene.come_back()
        scene.part("offline")
        publishers = [scene.publisher(it) for it in range(8)]
        for publisher in publishers:
            publisher.payload_bytes = random.choice([32, 512, 4096])
        killer = threading.Timer(random.uniform(0.05, 0.4), lambda: kill(broker))
        killer.start()
        scene.publish_until(publishers, broker.has_ended)
        killer.join()
        broker.kill()
        scene.after_the_kill(publishers)
        share = random.choice([0.0, 0.1, 0.5, 0.9])
        lost = lose_power(trace, before, broker.data, lambda: random.random() < share)
        result.count_up("rounds with something to take back", lost > 0)
        result.count_up("bytes taken back", lost)
        broker.start()
        scene.drain()
        result.add(account)
        broker.kill()
        scene.after_the_kill()


def kill(broker):
    os.kill(broker.pid, signal.SIGKILL)
