"""F33: nothing goes wrong, and nothing is lost, doubled or out of order."""

import time

from account import Account
from client import wait
from scene import Scene


def run(bench, result, random):
    broker = bench.broker()
    scene = Scene(broker, result, ["first", "second"], qos=2)
    scene.begin(Account(0))
    broker.start()
    scene.subscribe()
    for number in range(1, result.count + 1):
        account = Account(number)
        scene.begin(account)
        publishers = [scene.publisher(at, 1 + at % 2) for at in range(8)]
        for publisher in publishers:
            publisher.window = random.choice([1, 16, 128])
            publisher.payload_bytes = random.choice([24, 256, 2048])
        until = time.monotonic() + 2
        scene.publish_until(publishers, lambda: time.monotonic() > until)
        everyone = [*publishers, *scene.sessions.values()]
        wait(everyone, lambda: all(not it.in_flight for it in publishers))
        scene.drain()
        result.add(account)
        if account.repeated:
            result.fail(f"round {number}: {account.repeated} of QoS 1 came twice without a fault")
        for publisher in publishers:
            publisher.disconnect()
    result.note("each round 2 s of 8 publishers")
