"""Clients on raw sockets. Nothing blocks but `wait`, which drives any number of them."""

import select
import socket
import time

import packets

PATIENCE = 60.0


class Gone(Exception):
    """The broker has closed the connection, or does not answer."""


class Client:
    """One client identifier; it may connect again and again."""

    def __init__(self, name, version=5):
        self.name, self.version = name, version
        self.socket = None
        self.is_open = False
        self.inbox, self.outbox = bytearray(), bytearray()
        self.session_present = None
        self.pongs = 0
        self.granted = {}
        self.told = None

    def open(self, port, clean=True, expiry=0, will=None, keep_alive=0):
        """Connects, and says whether the broker knew the session."""
        self.dial(port)
        hello = packets.connect(self.name, self.version, clean, expiry, keep_alive, will)
        self.send(hello)
        wait([self], lambda: self.session_present is not None)
        return self.session_present

    def dial(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.is_open = True
        self.inbox.clear()
        self.outbox.clear()
        self.session_present = None
        self.told = None

    def send(self, data):
        self.outbox += data

    def flush(self):
        if not self.outbox or not self.is_open:
            return
        try:
            sent = self.socket.send(self.outbox)
            del self.outbox[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.outbox.clear()  # what the broker has said may still be read

    def read(self):
        """Takes everything that has arrived."""
        while self.is_open:
            try:
                chunk = self.socket.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                break
            self.inbox += chunk
            if len(chunk) < 1 << 18:
                break
        found, used = packets.split(self.inbox)
        del self.inbox[:used]
        for first, body in found:
            self.handle(first >> 4, first, body)

    def read_to_the_end(self):
        """What a broker that is dead had already said."""
        while self.is_open:
            select.select([self.socket], [], [], PATIENCE)
            self.read()

    def handle(self, kind, first, body):
        if kind == packets.CONNACK:
            if body[1]:
                raise Gone(f"{self.name}: CONNACK {body[1]:#x}")
            self.session_present = bool(body[0] & 1)
        elif kind == packets.PINGRESP:
            self.pongs += 1
        elif kind == packets.SUBACK:
            self.granted[int.from_bytes(body[:2], "big")] = body[-1]
        elif kind == packets.DISCONNECT:
            self.told = body[0] if body else 0

    def subscribe(self, topic_filter, qos):
        packet_id = len(self.granted) + 60000
        self.send(packets.subscribe(packet_id, topic_filter, qos, self.version))
        wait([self], lambda: packet_id in self.granted)
        if self.granted[packet_id] > 2:
            raise Gone(f"{self.name}: SUBACK {self.granted[packet_id]:#x}")

    def ping(self, others=()):
        """Waits until the broker has handled everything sent before."""
        wanted = self.pongs + 1
        self.send(packets.PING)
        wait([self, *others], lambda: self.pongs >= wanted)

    def disconnect(self):
        """Ends the connection as the standard wants it, after all was handled."""
        self.ping()
        self.send(packets.GOODBYE)
        self.flush()
        self.read_to_the_end()

    def close(self):
        """Ends the connection without a word: to the broker, the client is dead."""
        if self.is_open:
            self.is_open = False
            self.socket.close()


class Publisher(Client):
    """Publishes numbered messages with a window, and knows how each was answered."""

    def __init__(self, name, account, number, topic, qos=1, version=5):
        super().__init__(name, version)
        self.account, self.number, self.topic, self.qos = account, number, topic, qos
        self.window, self.payload_bytes = 64, 32
        self.next_id = 0
        self.in_flight = {}  # packet identifier: (message, is released)
        self.last_reason = 0
        self.refused_since = 0

    def fill(self):
        """Publishes as much as the window lets."""
        while self.is_open and len(self.in_flight) < self.window and len(self.outbox) < 1 << 18:
            self.publish()

    def publish(self, **options):
        message = self.account.attempt(self.number)
        while True:
            self.next_id = self.next_id % 59999 + 1
            if self.next_id not in self.in_flight:
                break
        self.in_flight[self.next_id] = (message, False)
        self.send(self.encode(self.next_id, message, **options))
        return message

    def encode(self, packet_id, message, **options):
        payload = message.ljust(self.payload_bytes, b" ")
        return packets.publish(self.topic, payload, self.qos, packet_id, self.version, **options)

    def resume(self):
        """Sends again what the standard lets a client send again after it has come back."""
        for packet_id, (message, is_released) in self.in_flight.items():
            if is_released:
                self.send(packets.answer(packets.PUBREL, packet_id))
            else:
                self.send(self.encode(packet_id, message, dup=True))

    def handle(self, kind, first, body):
        if kind not in (packets.PUBACK, packets.PUBREC, packets.PUBCOMP):
            return super().handle(kind, first, body)
        packet_id = int.from_bytes(body[:2], "big")
        message, _ = self.in_flight.get(packet_id, (None, None))
        if message is None:
            return None
        reason = self.last_reason = packets.reason(body, self.version)
        if reason >= 0x80:
            self.account.refuse(message)
            self.refused_since += 1
            del self.in_flight[packet_id]
        elif kind == packets.PUBREC:
            self.account.acknowledge(message)
            self.in_flight[packet_id] = (message, True)
            self.send(packets.answer(packets.PUBREL, packet_id))
        else:
            self.account.acknowledge(message)
            del self.in_flight[packet_id]
        return None


class Subscriber(Client):
    """Receives, acknowledges at once and tells the account; QoS 2 as an application sees it."""

    def __init__(self, name, account, version=5):
        super().__init__(name, version)
        self.account = account
        self.unreleased = set()
        self.topics = {}

    def handle(self, kind, first, body):
        if kind == packets.PUBLISH:
            topic, payload, packet_id, qos = packets.read_publish(first, body, self.version)
            if qos == 2:
                if packet_id not in self.unreleased:
                    self.unreleased.add(packet_id)
                    self.deliver(topic, payload, qos)
                self.send(packets.answer(packets.PUBREC, packet_id))
            else:
                self.deliver(topic, payload, qos)
                if qos:
                    self.send(packets.answer(packets.PUBACK, packet_id))
        elif kind == packets.PUBREL:
            packet_id = int.from_bytes(body[:2], "big")
            self.unreleased.discard(packet_id)
            self.send(packets.answer(packets.PUBCOMP, packet_id))
        else:
            super().handle(kind, first, body)

    def deliver(self, topic, payload, qos):
        message = payload.partition(b" ")[0]
        self.topics[topic] = self.topics.get(topic, 0) + 1
        self.account.deliver(self.name, message, qos)


def turn(clients, seconds):
    """Writes what waits to be written, and handles what arrives within `seconds`."""
    open_ones = [client for client in clients if client.is_open]
    for client in open_ones:
        client.flush()
    by_socket = {client.socket: client for client in open_ones if client.is_open}
    if not by_socket:
        return False
    writing = [it for it, client in by_socket.items() if client.outbox]
    readable, _, _ = select.select(list(by_socket), writing, [], max(seconds, 0.0))
    for it in readable:
        by_socket[it].read()
    return True


def wait(clients, until, seconds=PATIENCE):
    """Drives the clients until a condition holds; `Gone` if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not until():
        left = deadline - time.monotonic()
        if left <= 0:
            raise Gone(f"{names(clients)}: no answer within {seconds:.0f} s")
        if not turn(clients, left):
            if until():
                return
            raise Gone(f"{names(clients)}: the broker has closed the connection")
    for client in clients:
        client.flush()


def serve(clients, seconds):
    """Drives the clients for so long."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and turn(clients, left):
        pass


def names(clients):
    return ", ".join(client.name for client in clients)
