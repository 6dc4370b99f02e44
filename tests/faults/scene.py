"""What most experiments have in common: sessions that must lose nothing, and draining them."""

import time

import packets
from client import PATIENCE, Client, Gone, Publisher, Subscriber, serve, turn, wait

ROOT = "fault"


class Marker(Client):
    """Publishes one message at a time, until the broker takes it."""

    reason = None

    def publish(self, topic, qos, everyone):
        """A broker without room refuses it, and takes it when `everyone` has been served."""
        deadline = time.monotonic() + PATIENCE
        while self.reason is None or self.reason >= 0x80:
            if time.monotonic() > deadline:
                raise Gone(f"{self.name}: refused for {PATIENCE:.0f} s ({self.reason:#x})")
            self.reason = None
            self.send(packets.publish(topic, b"mark", qos, qos, self.version))
            wait(everyone, lambda: self.reason is not None)
            if self.reason >= 0x80:
                serve(everyone, 0.1)
        self.reason = None

    def handle(self, kind, first, body):
        if kind in (packets.PUBACK, packets.PUBREC):
            self.reason = packets.reason(body, self.version)
        else:
            super().handle(kind, first, body)


class Scene:
    """A broker, persistent sessions on everything below `fault/`, and the books of a round."""

    def __init__(self, broker, result, sessions, qos=1):
        self.broker, self.result, self.qos = broker, result, qos
        self.names = sessions
        self.account = None
        self.marks = 0
        self.sessions = {}

    def subscribe(self):
        """Makes the sessions; they stay connected."""
        for name in self.names:
            session = self.sessions[name] = Subscriber(name, self.account, self.broker.version)
            session.open(self.broker.port, clean=True, expiry=packets.NEVER)
            session.close()
            # Before version 5 a session that lasts begins without `clean`.
            session.open(self.broker.port, clean=False, expiry=packets.NEVER)
            session.subscribe(f"{ROOT}/#", self.qos)

    def begin(self, account):
        """A new round: its books are opened."""
        self.account = account
        for name in self.names:
            account.expect(name)
        for session in self.sessions.values():
            session.account = account

    def publisher(self, number, qos=1, **options):
        """A connected publisher with a topic of its own."""
        made = Publisher(
            f"publisher-{number}", self.account, number, f"{ROOT}/{number}", qos,
            self.broker.version,
        )
        made.open(self.broker.port, **options)
        return made

    def come_back(self):
        """Every session returns; a broker that does not know one has lost it."""
        for session in self.sessions.values():
            if not session.is_open:
                present = session.open(self.broker.port, clean=False, expiry=packets.NEVER)
                if not present:
                    self.result.fail(f"round {self.account.run}: session {session.name} is gone")
                    session.unreleased.clear()
                    session.subscribe(f"{ROOT}/#", self.qos)

    def drain(self, seconds=60.0):
        """Takes out everything: marks that are published last arrive last, each in its QoS."""
        self.come_back()
        marker = Marker("marker", self.broker.version)
        marker.open(self.broker.port)
        marks = []
        everyone = [*self.sessions.values(), marker]

        def is_empty():
            return all(mark in it.topics for it in self.sessions.values() for mark in marks)

        try:
            for qos in range(1, self.qos + 1):
                self.marks += 1
                marks.append(f"{ROOT}/mark/{self.marks}".encode())
                marker.publish(marks[-1], qos, everyone)
            wait(everyone, is_empty, seconds)
            for session in self.sessions.values():
                session.ping(everyone)
            until = time.monotonic() + self.broker.late
            while self.account.lost() and time.monotonic() < until:
                serve(everyone, 0.1)
        except Gone as error:
            where = f"round {self.account.run}"
            self.result.fail(f"{where}: draining: {error} (DISCONNECT {self.told()})")
        marker.close()

    def told(self):
        return [it.told for it in self.sessions.values() if it.told is not None]

    def part(self, *names):
        """These sessions go offline, in good order."""
        for name in names:
            self.sessions[name].disconnect()

    def after_the_kill(self, clients=()):
        """What a dead broker had said still counts."""
        for client in [*clients, *self.sessions.values()]:
            client.read_to_the_end()

    def publish_until(self, publishers, until, seconds=60.0):
        """Keeps the publishers' windows full until a condition holds."""
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            for publisher in publishers:
                publisher.fill()
            if not turn([*publishers, *self.sessions.values()], 0.05):
                break
