"""Which system calls brokers make for the publications that they acknowledge, and how many of these.

    python3 tests/faults/syscalls.py --agentmq PATH --mosquitto PATH --nats PATH --folder FOLDER

Each broker gets the same load, on the same disk: QoS 1 publications to a persistent session whose
client is away. `strace -f -c` counts from when all are connected until the last acknowledgement;
it slows every call down, so the rate is measured apart, without it, by `agentmq bench offline`.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from account import Account, Result
from bench import Bench
from client import wait
from scene import Scene
from trace import needs_strace

# Name, kind of broker, the option that names its program.
BROKERS = [
    ("AgentMQ, fsync", "agentmq", "agentmq"),
    ("AgentMQ, os", "agentmq-os", "agentmq"),
    ("Mosquitto, autosave 1 s", "mosquitto", "mosquitto"),
    ("NATS, default", "nats-default", "nats"),
    ("NATS, sync_interval: always", "nats", "nats"),
]
CALLS = ["fdatasync", "fsync", "pwrite64", "write", "writev", "sendto", "sendmsg", "futex"]
PUBLISHERS, WINDOW, SIZE, MESSAGES = 8, 100, 64, 50_000


def main():
    options = read_options()
    rows = []
    for name, kind, program in BROKERS:
        binary = shutil.which(getattr(options, program) or "")
        if binary is None:
            print(f"{name}: its program is not here ({getattr(options, program)}), left out")
            continue
        rate = bench_offline(options, kind, binary)
        acknowledged, calls = under_strace(options, kind, binary)
        rows.append((name, rate, acknowledged, calls))
        print(f"{name}: {acknowledged} acknowledged, {sum(calls.values())} calls", flush=True)
    print("\n" + table(rows))
    return 0 if rows else 1


def under_strace(options, kind, binary):
    """Publishes for a while; how many were acknowledged, and the calls by name."""
    bench = Bench(kind, binary, Path(options.folder) / "syscalls")
    needs_strace(bench)
    result = Result(kind, 1, 0)
    broker = bench.broker()
    broker.start()
    scene = Scene(broker, result, ["offline"])
    account = Account(1)
    scene.begin(account)
    scene.subscribe()
    scene.part("offline")
    publishers = [scene.publisher(at) for at in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.window, publisher.payload_bytes = WINDOW, SIZE
    counted = bench.folder / "counted.txt"
    command = ["strace", "-f", "-c", "-U", "calls,name", "-o", str(counted)]
    tracer = subprocess.Popen([*command, "-p", str(broker.process.pid)], stderr=subprocess.PIPE)
    tracer.stderr.readline()  # it has attached itself
    end = time.monotonic() + options.seconds
    scene.publish_until(publishers, lambda: time.monotonic() > end)
    wait(publishers, lambda: all(not it.in_flight for it in publishers))
    tracer.send_signal(signal.SIGINT)
    tracer.communicate()
    scene.drain()
    result.add(account)  # says so if something is missing
    bench.end(result)
    lines = [line.split() for line in counted.read_text().splitlines()]
    pairs = [line for line in lines if len(line) == 2 and line[0].isdigit()]
    return len(account.acked), {name: int(calls) for calls, name in pairs if name != "total"}


def bench_offline(options, kind, binary):
    """Acknowledged a second, without strace; the median of three."""
    rates = []
    for _ in range(3):
        bench = Bench(kind, binary, Path(options.folder) / "syscalls")
        broker = bench.broker()
        broker.start()
        words = [options.agentmq, "bench", "offline", "--json", "--qos", "1"]
        words += ["--messages", str(MESSAGES), "--publishers", str(PUBLISHERS)]
        words += ["--window", str(WINDOW), "--size", str(SIZE)]
        words += ["--url", f"mqtt://127.0.0.1:{broker.port}"]
        words += [] if broker.version == 5 else ["-V", "3.1.1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        bench.end(Result(kind, 1, 0))
        report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
        if not report or report["integrity"]["lost"]:
            sys.exit(f"agentmq bench offline: {done.stdout} {done.stderr.strip()}")
        rates.append(report["more"]["queued_per_second"])
    return sorted(rates)[1]


def table(rows):
    """Markdown; calls for each 1000 acknowledged publications."""
    lines = ["| | " + " | ".join(name for name, *_ in rows) + " |"]
    lines.append("|---|" + "--:|" * len(rows))

    def line(head, cells):
        lines.append(f"| {head} | " + " | ".join(cells) + " |")

    line("acknowledged under strace", [spaced(row[2]) for row in rows])
    for call in CALLS:
        each = [1000 * calls.get(call, 0) / acknowledged for *_, acknowledged, calls in rows]
        line(f"`{call}`", [f"{it:.1f}" if it < 100 else f"{it:.0f}" for it in each])
    each = [1000 * sum(calls.values()) / acknowledged for *_, acknowledged, calls in rows]
    line("all calls", [f"{it:.0f}" for it in each])
    line("acknowledged a second, without strace", [spaced(row[1]) for row in rows])
    return "\n".join(lines)


def spaced(number):
    return f"{number:,.0f}".replace(",", " ")


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agentmq", required=True, help="the broker's program, and the load's")
    parser.add_argument("--mosquitto", default="mosquitto")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--seconds", type=float, default=5.0, help="of publishing under strace")
    parser.add_argument("--folder", default="target/faults", help="for data and logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
