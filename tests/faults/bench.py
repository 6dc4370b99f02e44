"""The place an experiment happens in: a folder, brokers that end with it, tools that may lack."""

import shutil
import subprocess
from pathlib import Path

from broker import Broker


class Missing(Exception):
    """What an experiment needs is not here; it is skipped."""


class Bench:
    """Folder and brokers of one experiment."""

    def __init__(self, kind, binary, folder):
        self.kind = kind
        self.binary = str(Path(shutil.which(binary) or binary).resolve())
        self.folder = Path(folder).resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.brokers = []
        self.mounts = []

    def broker(self, name="broker", data=None):
        made = Broker(self.kind, self.binary, self.folder / name, data)
        self.brokers.append(made)
        return made

    def needs(self, program, package):
        if not shutil.which(program):
            raise Missing(f"`{program}` is not installed (Debian: apt-get install {package})")

    def needs_agentmq(self):
        if not self.kind.startswith("agentmq"):
            raise Missing(f"reads what agentmq writes; this is {self.kind}")

    def small_disk(self, mebibytes):
        """A disk of this size, in memory."""
        where = self.folder / "disk"
        where.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "faults", str(where)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise Missing("`mount` is not installed") from None
        if done.returncode:
            raise Missing(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        self.mounts.append(where)
        return where

    def remove_disks(self):
        for where in self.mounts:
            subprocess.run(["umount", str(where)], check=False)
        self.mounts.clear()

    def end(self, result):
        """Ends what still runs. A panic is a failure, whatever else was seen."""
        for broker in self.brokers:
            broker.kill()
            panics = [line for line in broker.log_text().splitlines() if "panicked" in line]
            if panics:
                result.fail(f"the broker panicked: {panics[0]} ({broker.log})")
        self.remove_disks()
        if not result.failures:
            for broker in self.brokers:
                shutil.rmtree(broker.data, ignore_errors=True)
