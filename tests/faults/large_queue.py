"""F01, its second half: a restart with a million messages waiting is a matter of a second.

A round of the count stands for a thousand messages.
"""

from account import Account
from client import wait
from scene import Scene


def run(bench, result, random):
    broker = bench.broker()
    scene = Scene(broker, result, ["offline"])
    account = Account(1)
    scene.begin(account)
    broker.start()
    scene.subscribe()
    scene.part("offline")
    publishers = [scene.publisher(at) for at in range(4)]
    for publisher in publishers:
        publisher.window, publisher.payload_bytes = 256, 64
    wanted = result.count * 1000
    scene.publish_until(publishers, lambda: account.attempted() >= wanted, 600)
    wait(publishers, lambda: all(not it.in_flight for it in publishers))
    broker.kill()
    scene.after_the_kill(publishers)
    seconds = broker.start()
    result.at_most("messages waiting", len(account.acked))
    result.at_most("CONNACK after the start, s", seconds)
    scene.drain(600)
    result.add(account)
