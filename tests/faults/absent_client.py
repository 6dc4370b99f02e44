"""F04: messages that are published after the restart, before their receiver is back."""

from account import Account
from client import wait
from scene import Scene


def run(bench, result, random):
    broker = bench.broker()
    scene = Scene(broker, result, ["absent", "live"], qos=2)
    scene.begin(Account(0))
    broker.start()
    scene.subscribe()
    for number in range(1, result.count + 1):
        account = Account(number)
        scene.begin(account)
        if random.random() < 0.5:
            scene.part("absent")
        broker.kill()
        scene.after_the_kill()
        broker.start()
        publishers = [scene.publisher(at, qos) for at, qos in enumerate((1, 2))]
        for publisher in publishers:
            for _ in range(random.randrange(1, 100)):
                publisher.publish()
        wait(publishers, lambda: all(not it.in_flight for it in publishers))
        scene.drain()
        result.add(account)
