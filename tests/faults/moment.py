"""A kill -9 at a chosen moment of the broker's writer, as /proc shows it.

It runs as a process of its own, so that the load does not make it late:

    python3 moment.py PID LOG-FOLDER SECONDS commit|cleaning|whenever PATIENCE BYTES

After SECONDS it waits for the moment, PATIENCE at most, kills, and says what it saw. The writer is
the broker's thread `log`. It is within a commit while it is in a call that syncs, here one before
which it has written so many BYTES; it reads files for no other reason than to clean the log's
oldest one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

# fsync and fdatasync of x86-64, and of the table that most others share.
SYNCS = {"74", "75", "82", "83"}
# Less is no part of a file that is being cleaned: 256 KiB are looked at at once.
PART = 64 << 10
WRITER = "log"


def at_moment(broker, seconds, moment, patience=6.0, least=0):
    """Starts the process; `seen` waits for it."""
    words = [broker.process.pid, broker.data / "log", seconds, moment, patience, least]
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
        self.read_before, self.written_before = self.bytes_moved()

    def bytes_moved(self):
        """Read and written so far."""
        if self.folder is None:
            return 0, 0
        numbers = (self.folder / "io").read_text().split()
        return int(numbers[1]), int(numbers[3])

    def commits_to(self, least):
        """The log's newest file, if it syncs what it has written to that."""
        if self.folder is None:
            return None
        call = (self.folder / "syscall").read_text().partition(" ")[0].strip()
        written = self.bytes_moved()[1]
        if call not in SYNCS:
            self.written_before = written
        elif written - self.written_before >= least:
            return max(self.log.glob("*.log"), default=None)
        return None

    def cleans(self):
        """The log's oldest file, if it is being read since the last look."""
        oldest = min(self.log.glob("*.log"), default=None)
        before, self.read_before = self.read_before, self.bytes_moved()[0]
        return oldest if self.read_before - before >= PART else None


def main():
    pid, log, seconds, moment, patience, least = sys.argv[1:]
    time.sleep(float(seconds))
    found = None
    try:
        writer = Writer(pid, Path(log))
        least = int(least)
        looks = {"commit": lambda: writer.commits_to(least), "cleaning": writer.cleans}
        look = looks.get(moment)
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
