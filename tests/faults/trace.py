"""A broker under strace: calls that fail on purpose, and what had been written when it ended."""

import re
import shutil
import subprocess

from bench import Missing

WRITE = re.compile(r"pwrite64\(\d+<([^>]*)>, .*?, (\d+), (\d+)")
DONE = re.compile(r"= 0( \(DELAYED\))?$")
SYNC = re.compile(r"fdatasync\(\d+<([^>]*)>")


def needs_strace(bench):
    bench.needs("strace", "strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        raise Missing("strace may not trace processes here")


class Trace:
    """What one run of a broker wrote to its log, in order."""

    def __init__(self, folder, inject=None, others=()):
        self.path = folder / "strace.txt"
        self.path.unlink(missing_ok=True)
        self.command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(self.path)]
        self.command += ["-e", "signal=none"]
        if "signal=" not in (inject or ""):
            self.command.append("--seccomp-bpf")  # faster, and then strace sends no signals
        calls = ["pwrite64", "fdatasync", "fallocate", "ftruncate", *others]
        self.command += ["-e", f"trace={','.join(calls)}"]
        if inject:
            self.command += ["-e", f"inject={inject}"]
        self.seen = 0
        self.injected = False

    def has_injected(self):
        """Whether the call has failed by now."""
        if not self.injected and self.path.exists():
            with open(self.path, errors="replace") as file:
                file.seek(max(0, self.seen - 40))
                self.injected = "(INJECTED)" in file.read()
                self.seen = file.tell()
        return self.injected

    def unsynced(self):
        """For each file, what was written since it was last made durable: offset and length."""
        waiting, unfinished = {}, {}
        for line in self.path.read_text(errors="replace").splitlines():
            thread, _, call = line.partition(" ")
            written, synced = WRITE.search(call), SYNC.search(call)
            if written:
                path, length, offset = written.groups()
                waiting.setdefault(path, []).append((int(offset), int(length)))
            elif synced:
                unfinished[thread] = synced.group(1)
            if "fdatasync" in call and DONE.search(call):
                waiting.pop(unfinished.get(thread), None)
        return waiting


def lose_power(trace, before, data, keep):
    """Takes back writes that were never made durable, as a disk may that loses power.

    `before` is a copy of the data folder from before the run; `keep` says for each sector of 512
    bytes whether it had reached the disk after all. Returns how many bytes were taken back.
    """
    lost = 0
    for path, ranges in trace.unsynced().items():
        path = data.__class__(path)
        old = before / path.relative_to(data.resolve())
        old = old.read_bytes() if old.exists() else b""
        if not path.exists():
            continue
        with open(path, "r+b") as file:
            for start, length in ranges:
                at = start
                while at < start + length:
                    end = min((at // 512 + 1) * 512, start + length)
                    if not keep():
                        file.seek(at)
                        file.write(old[at:end].ljust(end - at, b"\0"))
                        lost += end - at
                    at = end
    return lost


def copy(data, to):
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(data, to)
    return to
