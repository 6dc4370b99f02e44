"""R1: no acknowledgement is written before the sync that covers its message has returned.

Nothing is hurt here. strace tells in which order the broker's calls began and returned: what was
acknowledged must stand in a write to the log, a sync of that file must have begun after the write
returned, and must have returned before the acknowledgement's send began.
"""

import re

import packets
from account import Account
from client import Publisher, wait
from scene import ROOT, Scene
from trace import needs_strace

# Of each call: the file or connection, the bytes, what the call returned.
CALL = re.compile(r"(\w+)\(\d+<((?:->|[^>])*)>(?:, \"([^\"]*)\")?(.*)$")
RETURNED = re.compile(r"= (-?\d+)[^=]*$")
UNFINISHED, RESUMED = " <unfinished ...>", re.compile(r"<\.\.\. \w+ resumed>")
MESSAGE = re.compile(rb"(\d+\.\d+\.\d+) ")
SENDS, LIMIT = {"sendto", "write", "writev", "sendmsg"}, 1 << 24


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    broker = bench.broker()
    scene = Scene(broker, result, ["offline"], qos=2)
    scene.begin(Account(0))
    broker.start()
    scene.subscribe()
    path = broker.folder / "strace.txt"
    calls = ",".join(["pwrite64", "fdatasync", *sorted(SENDS)])
    trace = ["strace", "-f", "-qq", "-yy", "-xx", "-s", str(LIMIT), "-o", str(path)]
    trace += ["-e", "signal=none", "--seccomp-bpf", "-e", f"trace={calls}"]
    for number in range(1, result.count + 1):
        scene.part("offline")
        broker.kill()
        account = Account(number)
        scene.begin(account)
        broker.start(trace)
        publishers = [Remembering(broker, account, at, 1 + at % 2) for at in range(4)]
        by_port = {it.socket.getsockname()[1]: it.messages for it in publishers}
        for publisher in publishers:
            publisher.window = random.choice([1, 8, 64])
        wanted = random.choice([50, 200, 400])
        scene.publish_until(publishers, lambda: account.attempted() >= wanted)
        wait(publishers, lambda: all(not it.in_flight for it in publishers))
        for publisher in publishers:
            # strace may have no time for the last call of a thread before the kill: a pong's.
            publisher.ping(publishers)
        broker.kill()
        scene.after_the_kill(publishers)
        failures = check(Order(path), by_port, account, result)
        for failure in failures[:3]:
            result.fail(f"round {number}: {failure} ({len(failures)} such)")
        broker.start()
        scene.drain()
        result.add(account)


class Remembering(Publisher):
    """Knows which message each packet identifier meant; none is used twice in a round."""

    def __init__(self, broker, account, number, qos):
        name, topic = f"publisher-{number}", f"{ROOT}/{number}"
        super().__init__(name, account, number, topic, qos, broker.version)
        self.messages = {}
        self.open(broker.port)

    def encode(self, packet_id, message, **options):
        self.messages[packet_id] = message
        return super().encode(packet_id, message, **options)


def check(order, by_port, account, result):
    """What was acknowledged too early; each message's first acknowledgement counts."""
    failures, seen = [], set()
    for began, port, packet_id in order.acknowledgements(set(by_port)):
        message = by_port[port].get(packet_id)
        if message is None or message in seen:
            continue
        seen.add(message)
        name = message.decode()
        path, written = order.written.get(message, (None, None))
        if written is None or written > began:
            failures.append(f"{name} was acknowledged before it was written")
        elif not any(written < start and end < began for start, end in order.syncs[path]):
            failures.append(f"{name} was acknowledged before it was synced")
    if missing := account.acked - seen:
        failures.append(f"{len(missing)} acknowledgements are not in the trace")
    result.count_up("acknowledgements in the trace", len(seen))
    result.count_up("syncs in the trace", sum(map(len, order.syncs.values())))
    return failures


class Order:
    """The broker's calls. A moment is the number of a line: calls begin and return in lines."""

    def __init__(self, path):
        self.written = {}  # message: file, and when the write had returned
        self.syncs = {}  # file: when each sync began, and when it had returned
        self.sends = {}  # the client's port: when the send began, and what was sent
        waiting = {}
        with open(path, errors="replace") as lines:
            for at, line in enumerate(lines):
                thread, _, line = line.rstrip("\n").partition(" ")
                line = line.strip()
                began = at
                if line.endswith(UNFINISHED):
                    waiting[thread] = (at, line.removesuffix(UNFINISHED))
                    continue
                if resumed := RESUMED.match(line):
                    began, start = waiting.pop(thread, (at, ""))
                    line = start + line[resumed.end() :]
                self.add(began, at, line)

    def add(self, began, at, line):
        call, returned = CALL.match(line), RETURNED.search(line)
        if not call or not returned or int(returned[1]) < 0:
            return
        name, target, data, _ = call.groups()
        if name == "fdatasync":
            self.syncs.setdefault(target, []).append((began, at))
            return
        content = unescaped(data or "")[: int(returned[1])]
        if name == "pwrite64":
            self.syncs.setdefault(target, [])
            for message in MESSAGE.findall(content):
                # Only the first: cleaning writes some again.
                self.written.setdefault(message, (target, at))
        elif target.startswith("TCP:"):
            port = int(target.rstrip("]").rpartition(":")[2])
            self.sends.setdefault(port, []).append((began, content))

    def acknowledgements(self, ports):
        """Of each PUBACK and PUBREC to these ports: when it was sent, the port, the identifier."""
        for port in ports & set(self.sends):
            stream, starts = bytearray(), []
            for began, content in self.sends[port]:
                starts.append((len(stream), began))
                stream += content
            at = 0
            for first, body in packets.split(stream)[0]:
                if first >> 4 in (packets.PUBACK, packets.PUBREC) and packets.reason(body) < 0x80:
                    began = max((start, began) for start, began in starts if start <= at)[1]
                    yield began, port, int.from_bytes(body[:2], "big")
                at += len(packets.packet(first, body))


def unescaped(text):
    return bytes.fromhex(text.replace("\\x", ""))
