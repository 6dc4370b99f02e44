"""F02: kill -9 at each step of a QoS 2 exchange, on either side of the broker.

Both clients do what the standard asks of them afterwards: their sessions go on, what was not
answered is sent again. Each message must reach the application once.
"""

import time

import packets
from account import Account
from client import Gone, Publisher, Subscriber, turn, wait
from scene import ROOT

MESSAGES = 10
# The exchange stops when this packet has been sent, or has been received, by this client.
POINTS = [
    ("publisher", "sent", packets.PUBLISH),
    ("publisher", "received", packets.PUBREC),
    ("publisher", "sent", packets.PUBREL),
    ("publisher", "received", packets.PUBCOMP),
    ("subscriber", "received", packets.PUBLISH),
    ("subscriber", "sent", packets.PUBREC),
    ("subscriber", "received", packets.PUBREL),
    ("subscriber", "sent", packets.PUBCOMP),
]
ANSWERS = {
    packets.PUBREC: packets.PUBREL,
    packets.PUBLISH: packets.PUBREC,
    packets.PUBREL: packets.PUBCOMP,
}


class Stops:
    """A client that keeps its answers to itself from a point on."""

    withheld = None  # the packet that it answers no more
    counted = None  # the packet whose arrivals are counted
    arrived = 0

    def handle(self, kind, first, body):
        before = len(self.outbox)
        super().handle(kind, first, body)
        self.arrived += kind == self.counted
        if kind == self.withheld:
            del self.outbox[before:]


class StoppingPublisher(Stops, Publisher):
    pass


class StoppingSubscriber(Stops, Subscriber):
    pass


def run(bench, result, random):
    broker = bench.broker()
    broker.start()
    account = Account(0)
    subscriber = StoppingSubscriber("subscriber", account, broker.version)
    subscriber.open(broker.port, clean=False, expiry=packets.NEVER)
    subscriber.subscribe(f"{ROOT}/#", 2)
    publisher = StoppingPublisher("publisher", account, 0, f"{ROOT}/0", 2, broker.version)
    publisher.open(broker.port, clean=False, expiry=packets.NEVER)
    for number in range(1, result.count + 1):
        who, how, kind = point = POINTS[number % len(POINTS)]
        where = f"round {number} ({who}, {how}, packet type {kind})"
        account = publisher.account = subscriber.account = Account(number)
        account.expect("subscriber")
        stopping = {"publisher": publisher, "subscriber": subscriber}[who]
        both = [publisher, subscriber]
        if how == "received":
            stopping.withheld = stopping.counted = kind
            until = lambda: stopping.arrived >= MESSAGES
        else:
            # The kernel has it; how far the broker has come with it is a matter of luck.
            cause = next((it for it, answer in ANSWERS.items() if answer == kind), None)
            stopping.counted = cause
            until = lambda: stopping.arrived >= MESSAGES
        for _ in range(MESSAGES):
            publisher.publish()
        if point == POINTS[0]:
            publisher.flush()
        else:
            wait(both, until, 20)
        linger(both, random.choice([0.0, 0.0, 0.0005, 0.002, 0.01]))
        broker.kill()
        for client in both:
            client.read_to_the_end()
            client.withheld = client.counted = None
            client.arrived = 0
        broker.start()
        come_back(broker, both, where, result)
        try:
            wait(both, lambda: not publisher.in_flight, 20)
            publisher.ping(both)
            deadline = time.monotonic() + 10
            while account.lost() and time.monotonic() < deadline:
                turn(both, 0.1)
            subscriber.ping(both)
            subscriber.ping(both)
        except Gone as error:
            result.fail(f"{where}: {error}")
        failures = len(result.failures)
        result.add(account)
        result.count_up(f"messages at {who}, {how}, packet type {kind}", MESSAGES)
        if len(account.acked) != MESSAGES:
            result.fail(f"{where}: {len(account.acked)} of {MESSAGES} acknowledged in the end")
        if len(result.failures) > failures:
            result.fail(f"that was {where}")


def linger(clients, seconds):
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        turn(clients, left)
    for client in clients:
        client.flush()


def come_back(broker, clients, where, result):
    for client in clients:
        if not client.open(broker.port, clean=False, expiry=packets.NEVER):
            result.fail(f"{where}: the session of {client.name} is gone")
            client.subscribe(f"{ROOT}/#", 2)
        if isinstance(client, Publisher):
            client.resume()
