"""The broker under test: a command that is started, killed and started again on one folder."""

import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import packets

PATIENCE = 60.0

# Whoever drops a message because a queue is full has not lost it; these experiments look for loss.
AGENTMQ = """[limits]
queue_messages = 10_000_000
queue_bytes = 4_000_000_000
durable_queue_bytes = 4_000_000_000
"""
# Started by root it becomes another user, who may not write into the data folder, and says nothing.
MOSQUITTO = """user root
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {data}/
autosave_interval 1
max_queued_messages 0
max_inflight_messages 1000
"""
# It counts a filter that ends in `/#` twice, and refuses what is more than 65535 together. What a
# session has not acknowledged it sends again after `ack_wait`, 30 s by default, and no sooner when
# the session returns.
NATS = """server_name: "faults"
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{data}" }}
mqtt {{ listen: "127.0.0.1:{port}", max_ack_pending: 20000, ack_wait: "2s" }}
"""
NATS_ALWAYS = NATS.replace('"{data}"', '"{data}", sync_interval: always')
SERVE = (
    "{binary} serve --config {config} --listen mqtt://127.0.0.1:{port} --data {data} --durability "
)
# Name: configuration, command, MQTT's version.
KINDS = {
    "agentmq": (AGENTMQ, SERVE + "fsync", 5),
    "agentmq-os": (AGENTMQ, SERVE + "os", 5),
    "mosquitto": (MOSQUITTO, "{binary} -c {config}", 5),
    "nats": (NATS_ALWAYS, "{binary} -c {config}", 4),
    "nats-default": (NATS, "{binary} -c {config}", 4),
}


# So long after its session has come back, and has got what was published since, a message may still
# come: seconds. It is late then, but not lost.
LATE = {"nats": 10.0, "nats-default": 10.0}


class DidNotStart(Exception):
    """The broker has ended, or does not listen."""


class Broker:
    """One broker with a port, a data folder and a log of its own."""

    def __init__(self, kind, binary, folder, data=None):
        config, self.command, self.version = KINDS[kind]
        self.kind, self.binary, self.folder = kind, binary, Path(folder)
        self.late = LATE.get(kind, 0.0)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = Path(data) if data else self.folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = self.folder / "broker.conf"
        self.config.write_text(config.format(port=self.port, data=self.data))
        self.log = self.folder / "broker.log"
        self.process = None
        self.pid = None

    def launch(self, wrap=(), environment=None):
        """Starts it and does not wait. `wrap` is a command that runs it as its child."""
        words = self.command.format(
            binary=self.binary, config=self.config, port=self.port, data=self.data
        )
        clean = {key: it for key, it in os.environ.items() if not key.startswith("AGENTMQ_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*wrap, *shlex.split(words)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**clean, **(environment or {})},
                start_new_session=True,
            )
        self.pid = None if wrap else self.process.pid

    def start(self, wrap=(), environment=None):
        """Starts it and waits until it answers a CONNECT; returns the seconds that took."""
        before = time.monotonic()
        self.launch(wrap, environment)
        self.wait_until_it_listens()
        self.wait_until_it_serves()
        if wrap:
            self.pid = only_child(self.process.pid)
        return time.monotonic() - before

    def wait_until_it_listens(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                raise DidNotStart(f"the broker ended at its start:\n{self.last_lines()}")
            time.sleep(0.002)
        raise DidNotStart(f"the broker does not listen:\n{self.last_lines()}")

    def wait_until_it_serves(self):
        """A socket may listen before the broker has read what an earlier run has left."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as first:
            first.sendall(packets.connect("greeting", self.version))
            try:
                answer = first.recv(4)
            except OSError:
                answer = b""
            if not answer:
                raise DidNotStart(f"the broker answers no CONNECT:\n{self.last_lines()}")

    def kill(self):
        """kill -9."""
        if self.process is None:
            return
        try:
            os.kill(self.pid or self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = self.pid = None

    def has_ended(self):
        return self.process.poll() is not None

    def has_ended_soon(self, seconds=5):
        """A process that has been killed takes a moment to end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_lines(self, count=15):
        return "\n".join(self.log_text().splitlines()[-count:])


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def only_child(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None
