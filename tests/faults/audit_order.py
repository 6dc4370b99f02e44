"""No CONNACK is written before the sync that covers its row in the audit log has returned, and
after kill -9 at any moment the log is whole and has a row for each client that was let in.

strace tells in which order the broker's calls began and returned, as in `ack_order`.
"""

import json
import re
import subprocess

import packets
from ack_order import CALL, LIMIT, RETURNED, SENDS, Order, unescaped
from client import Client, wait
from trace import needs_strace

ROW = re.compile(rb'"kind":"connect","client_id":"([^"]+)"')


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    broker = bench.broker()
    path = broker.folder / "strace.txt"
    calls = ",".join(["pwrite64", "fdatasync", *sorted(SENDS)])
    trace = ["strace", "-f", "-qq", "-yy", "-xx", "-s", str(LIMIT), "-o", str(path)]
    trace += ["-e", "signal=none", "--seccomp-bpf", "-e", f"trace={calls}"]
    for number in range(1, result.count + 1):
        broker.start(trace)
        crowd = [Client(f"{number}-{at}", broker.version) for at in range(random.randrange(4, 40))]
        for client in crowd:
            client.dial(broker.port)
            client.send(packets.connect(client.name, broker.version))
        # The last few may be on their way when it is killed.
        enough = random.randrange(1, len(crowd) + 1)
        wait(crowd, lambda: sum(is_let_in(it) for it in crowd) >= enough)
        names = {it.socket.getsockname()[1]: it.name for it in crowd}
        broker.kill()
        let_in = {it.name for it in crowd if is_let_in(it)}
        seen, failures = check(Rows(path), names)
        result.count_up("CONNACKs in the trace", len(seen))
        failures += missing(broker, let_in)
        for failure in failures[:3]:
            result.fail(f"round {number}: {failure} ({len(failures)} such)")
        result.rounds += 1


def is_let_in(client):
    return client.session_present is not None


def check(rows, names):
    """Whose CONNACK is in the trace, and which of them came too early."""
    seen, failures = set(), []
    for began, port in rows.connacks(set(names)):
        name = names[port]
        seen.add(name)
        path, written = rows.connected.get(name, (None, None))
        if written is None or written > began:
            failures.append(f"{name} was let in before its row was written")
        elif not any(written < start and end < began for start, end in rows.syncs.get(path, [])):
            failures.append(f"{name} was let in before its row was synced")
    return seen, failures


def missing(broker, let_in):
    """What `agentmq audit` has to say after the kill."""

    def audit(*words):
        command = [broker.binary, "--json", "audit", *words, "--data", str(broker.data)]
        return subprocess.run(command, capture_output=True, text=True)

    verified = audit("verify")
    if verified.returncode:
        return [f"the log is not whole: {verified.stderr.strip()}"]
    found = audit("search", "--kind", "connect", "--limit", "1000000").stdout.splitlines()
    there = {json.loads(row).get("client_id") for row in found}
    return [f"{name} was let in, and has no row" for name in sorted(let_in - there)]


class Rows(Order):
    """The rows of the audit log among the broker's calls."""

    def __init__(self, path):
        self.connected = {}  # client identifier: file, and when the write had returned
        super().__init__(path)

    def add(self, began, at, line):
        super().add(began, at, line)
        call, returned = CALL.match(line), RETURNED.search(line)
        if not call or call[1] != "write" or not returned:
            return
        for name in ROW.findall(unescaped(call[3] or "")[: max(int(returned[1]), 0)]):
            self.connected.setdefault(name.decode(), (call[2], at))

    def connacks(self, ports):
        """Of each CONNACK with success to these ports: when it was sent, and the port."""
        for port in ports & set(self.sends):
            began, content = self.sends[port][0]
            if content[:1] == bytes([packets.CONNACK << 4]) and content[3:4] == b"\0":
                yield began, port
