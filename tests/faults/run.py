"""Fault experiments: a broker is hurt, and what it has acknowledged is asked for.

    python3 tests/faults/run.py --binary target/release/agentmq --experiment kill-loop --count 10

It knows the broker from outside only: a command, sockets, files and signals.
"""

import argparse
import importlib
import json
import random
import sys
import time
import traceback
from pathlib import Path

from account import Result
from bench import Bench, Missing

# Name, module, what happens, rounds, and rounds of a short run.
EXPERIMENTS = [
    ("kill-loop", "kill_loop", "kill -9 under load, in recovery, while cleaning", 100, 5),
    ("large-queue", "large_queue", "kill -9 while thousands of messages wait", 1000, 50),
    ("qos2-points", "qos2_points", "kill -9 at each step of a QoS 2 exchange", 400, 16),
    ("will-pending", "will_pending", "kill -9 while wills are pending", 20, 1),
    ("absent-client", "absent_client", "publishes between restart and return", 50, 5),
    ("power-loss", "power_loss", "what no fdatasync had covered is lost or torn", 50, 4),
    ("torn-tail", "torn_tail", "the log ends anywhere", 200, 15),
    ("bit-flips", "bit_flips", "one bit of the log flips", 200, 15),
    ("sync-error", "sync_error", "the n-th fdatasync fails, and what it covered is lost", 50, 6),
    ("disk-full", "disk_full", "the disk is full, and has room again", 20, 4),
    ("small-disk", "small_disk", "much more is delivered than the disk holds", 9, 1),
    ("abort-points", "abort_points", "kill -9 at the n-th system call that writes", 100, 8),
    ("no-room", "no_room", "a single call fails for want of room", 60, 3),
    ("clock-jump", "clock_jump", "the wall clock jumps by hours", 8, 1),
    ("zero-fault", "zero_fault", "nothing goes wrong", 30, 1),
    ("ack-order", "ack_order", "no acknowledgement is written before its sync", 50, 4),
    ("audit-order", "audit_order", "nobody is let in before the audit log has it", 50, 4),
]


def main():
    options = read_options()
    known = [row[0] for row in EXPERIMENTS]
    if options.list:
        for name, _, what, count, short in EXPERIMENTS:
            print(f"{name:<16} {count:>5} rounds, {short:>3} if short: {what}")
        return 0
    for name in options.experiment:
        if name not in known:
            sys.exit(f"no experiment {name}; these are: {', '.join(known)}")
    results = []
    for name, module, what, count, short in EXPERIMENTS:
        if options.experiment and name not in options.experiment:
            continue
        rounds = options.count or (short if options.short else count)
        print(f"{name}: {what}; {rounds} rounds, seed {options.seed}", flush=True)
        result = Result(name, rounds, options.seed)
        results.append(result)
        one(module, result, options)
        print(f"  {result.verdict()} in {result.seconds:.1f} s", flush=True)
        for note in result.all_notes():
            print(f"  {note}", flush=True)
    print("\n" + table(results))
    if options.json:
        text = "".join(json.dumps(result.as_dict()) + "\n" for result in results)
        Path(options.json).write_text(text)
    return 1 if any(result.failures for result in results) else 0


def one(module, result, options):
    """One experiment; whatever goes wrong in it is a failure of it."""
    bench = Bench(options.broker, options.binary, Path(options.folder) / result.name)
    before = time.monotonic()
    try:
        importlib.import_module(module).run(bench, result, random.Random(options.seed))
        result.is_whole = True
    except Missing as missing:
        result.skipped = str(missing)
        print(f"  skipped: {missing}", flush=True)
    except Exception as error:
        traceback.print_exc()
        result.fail(f"{type(error).__name__}: {error}")
    finally:
        bench.end(result)
        result.seconds = time.monotonic() - before


def table(results):
    heads = ["experiment", "rounds", "seed", *Result.COLUMNS, "verdict"]
    rows = [heads]
    for result in results:
        sums = [result.sums[column] for column in Result.COLUMNS]
        row = [result.name, result.rounds, result.seed, *sums, result.verdict()]
        rows.append([str(cell) for cell in row])
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="agentmq", help="the broker's program")
    parser.add_argument("--broker", default="agentmq", help="agentmq, mosquitto or nats")
    parser.add_argument("--experiment", action="append", default=[], help="this one (repeatable)")
    parser.add_argument("--count", type=int, help="rounds of each experiment")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a few rounds of each")
    parser.add_argument("--folder", default="target/faults", help="for data and logs")
    parser.add_argument("--json", help="write the results here, one object a line")
    parser.add_argument("--list", action="store_true", help="name the experiments")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
