"""A data folder with much in it, made once, and hurt again and again in copies."""

from account import Account
from client import wait
from scene import Scene
from trace import copy


class Prepared:
    """What a broker left that was killed: queues, acknowledgements, and a log of one file."""

    def __init__(self, bench, result, messages=500):
        self.bench, self.result = bench, result
        self.origin = bench.broker("origin")
        scene = Scene(self.origin, result, ["first", "second", "busy"], qos=2)
        self.account = Account(1)
        scene.begin(self.account)
        self.origin.start()
        scene.subscribe()
        scene.part("first", "second")
        publishers = [scene.publisher(number, qos) for number, qos in enumerate((1, 2))]
        everyone = [*publishers, *scene.sessions.values()]
        for publisher in publishers:
            publisher.payload_bytes = 300
            for _ in range(messages):
                publisher.publish()
        wait(everyone, lambda: all(not it.in_flight for it in publishers))
        scene.sessions["busy"].ping()
        self.origin.kill()
        scene.after_the_kill(publishers)

    def log_files(self):
        return sorted((self.origin.data / "log").glob("*.log"))

    def hurt(self, number, change):
        """Starts a broker on a copy that `change` has changed; returns its scene and books.

        The copy's sessions have taken out what they could get.
        """
        broker = self.bench.broker(f"copy-{number % 8}")
        broker.log.unlink(missing_ok=True)
        copy(self.origin.data, broker.data)
        change(broker.data / "log")
        scene = Scene(broker, self.result, ["first", "second"], qos=2)
        account = Account(1)
        account.next.update(self.account.next)
        account.acked |= self.account.acked
        scene.begin(account)
        broker.start()
        return scene, account


def content_end(raw):
    """Where the zeros begin that were taken beforehand."""
    return len(raw.rstrip(b"\0"))
