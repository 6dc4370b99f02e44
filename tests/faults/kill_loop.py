"""F01: kill -9 at a random moment, again and again, on one data folder."""

import threading

from account import Account
from scene import Scene

PUBLISHERS = 8
WINDOW = 128
# A share of the kills falls into the recovery that the kill before has made necessary.
IN_RECOVERY = 0.2


def run(bench, result, random):
    broker = bench.broker()
    scene = Scene(broker, result, ["offline", "live"])
    scene.begin(Account(0))
    starts = [broker.start()]
    scene.subscribe()
    in_flight, recoveries = [], 0
    for number in range(1, result.count + 1):
        account = Account(number)
        scene.begin(account)
        scene.part("offline")
        publishers = [scene.publisher(it) for it in range(PUBLISHERS)]
        for publisher in publishers:
            publisher.window = WINDOW
            publisher.payload_bytes = random.choice([24, 64, 256, 1024])
        killer = threading.Timer(random.uniform(0.05, 0.8), broker.process.kill)
        killer.start()
        scene.publish_until(publishers, broker.has_ended)
        killer.join()
        broker.kill()
        scene.after_the_kill(publishers)
        in_flight.append(sum(len(it.in_flight) for it in publishers))
        while random.random() < IN_RECOVERY:
            recoveries += 1
            broker.launch()
            killer = threading.Timer(random.uniform(0.0, 2 * starts[-1]), broker.process.kill)
            killer.start()
            killer.join()
            broker.kill()
        starts.append(broker.start())
        scene.drain()
        result.add(account)
    many = sum(it >= 100 for it in in_flight)
    result.note(f"{many} of {len(in_flight)} kills with >= 100 publishes in flight")
    result.note(f"{recoveries} more kills within the recovery")
    result.note(f"slowest start {max(starts):.2f} s")
    if many < 0.95 * len(in_flight):
        result.fail(f"only {many} of {len(in_flight)} kills had 100 publishes in flight")
