"""A kill -9 at a chosen moment of the broker's writer, as /proc shows it.

It runs as a process of its own, so that the load does not make it late:

    python3 moment.py PID LOG-FOLDER SECONDS commit|cleaning|whenever PATIENCE

After SECONDS it waits for the moment, PATIENCE at most, kills, and says what it saw. The writer is
the broker's thread `log`. It is within a commit while it is in a call that writes or syncs; it
reads files for no other reason than to clean the log's oldest one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

# x86-64 and, behind it, the generic table (arm64).
WRITES = {"18", "74", "75", "285", "68", "82", "83", "47"}
# Less is no part of a file that is being cleaned: 256 KiB are looked at at once.
PART = 64 << 10
WRITER = "log"


def at_moment(broker, seconds, moment, patience=2.0):
    """Starts the process; `seen` waits for it."""
    words = [broker.process.pid, broker.data / "log", seconds, moment, patience]
    command = [sys.executable, "-S", "-E", __file__, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seen(killer):
    """The file that was being written or cleaned when the broker was killed, if one was."""
    said, _ = killer.communicate()
    name = json.loads(said or "null")
    return name and Path(name)


class Writer:
    """The thread, from outside."""

    def __init__(self, pid, log):
        self.folder, self.log = None, log
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip() == WRITER:
                self.folder = task
        self.read_before = self.bytes_read()

    def bytes_read(self):
        if self.folder is None:
            return 0
        first = (self.folder / "io").read_text().partition("\n")[0]
        return int(first.partition(":")[2])

    def commits_to(self):
        """The log's newest file, if it writes to that."""
        if self.folder is None:
            return None
        call = (self.folder / "syscall").read_text().partition(" ")[0].strip()
        return max(self.log.glob("*.log"), default=None) if call in WRITES else None

    def cleans(self):
        """The log's oldest file, if it is being read since the last look."""
        oldest = min(self.log.glob("*.log"), default=None)
        before, self.read_before = self.read_before, self.bytes_read()
        return oldest if self.read_before - before >= PART else None


def main():
    pid, log, seconds, moment, patience = sys.argv[1:]
    time.sleep(float(seconds))
    found = None
    try:
        writer = Writer(pid, Path(log))
        look = {"commit": writer.commits_to, "cleaning": writer.cleans}.get(moment)
        deadline = time.monotonic() + float(patience)
        while look and not found and time.monotonic() < deadline:
            found = look()
            if moment == "cleaning":
                time.sleep(random.uniform(0.0005, 0.005))  # and the kill is anywhere in it
        os.kill(int(pid), signal.SIGKILL)
    except (OSError, ValueError):
        pass  # it has ended by itself
    print(json.dumps(found and str(found)))


if __name__ == "__main__":
    main()
