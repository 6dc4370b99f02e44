"""What every Python scenario shares: its arguments, its report and its bounded waits.

A check is a function that raises when the broker is wrong. `Checks.run` prints one line for each,
`Checks.finish` prints the totals and ends the process with 1 if any failed.
"""

import argparse
import contextlib
import sys
import threading
import time
import uuid

# Long enough for a loaded two-core machine; a broker that is right never comes near it.
LIMIT = 20.0


def parser(description):
    """Arguments that every scenario takes."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--host", default="127.0.0.1")
    result.add_argument("--port", type=int, default=1883)
    result.add_argument("--ws-port", type=int, default=8083)
    result.add_argument("--ws-path", default="/mqtt")
    result.add_argument("--only", default="", help="run checks whose name contains this")
    return result


def unique_topic(name):
    """A topic no other check uses, so that scenarios may run side by side."""
    return f"foreign/{uuid.uuid4().hex[:12]}/{name}"


def unique_id(prefix="f"):
    """A client identifier of at most 23 bytes: all that MQTT 3.1 allows."""
    return prefix + uuid.uuid4().hex[:16]


def binary_payload(size=300_000):
    """Every byte value, in an order that shows a lost or repeated block."""
    blocks = bytearray()
    block = 0
    while len(blocks) < size:
        blocks += block.to_bytes(4, "big") + bytes((block + i) % 256 for i in range(252))
        block += 1
    return bytes(blocks[:size])


def expect(condition, reason):
    """Fail the check with `reason` unless `condition` holds."""
    if not condition:
        raise AssertionError(reason)


def expect_equal(actual, wanted, what):
    """Fail the check unless both are equal; long values are cut in the report."""
    if actual != wanted:
        raise AssertionError(f"{what}: got {shorten(actual)}, want {shorten(wanted)}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:150]}… ({len(text)} characters)"


class Inbox:
    """Events in the order they came, filled by a client's thread and awaited by the check."""

    def __init__(self, describe=repr):
        self._items = []
        self._describe = describe
        self._changed = threading.Condition()

    def put(self, item):
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def items(self):
        with self._changed:
            return list(self._items)

    def wait(self, done, what, limit=LIMIT):
        """All items as soon as `done(items)` holds; fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        with self._changed:
            while not done(self._items):
                left = deadline - time.monotonic()
                if left <= 0:
                    had = f"{len(self._items)} in all"
                    if self._items:
                        had += f", the last {shorten(self._describe(self._items[-1]))}"
                    raise AssertionError(f"no {what} in {limit:g} s; had {had}")
                self._changed.wait(left)
            return list(self._items)

    def wait_count(self, count, what, limit=LIMIT):
        return self.wait(lambda items: len(items) >= count, f"{count} × {what}", limit)


class Checks:
    """The report of one scenario."""

    def __init__(self, only=""):
        self._only = only
        self._passed = 0
        self._failed = 0

    def run(self, name, function, *args):
        """Run one check. What it opens goes on the ExitStack it gets as its first argument."""
        if not self._wanted(name):
            return
        try:
            with contextlib.ExitStack() as opened:
                function(opened, *args)
        except Exception as error:  # a check may fail in any way its client library knows
            self.failed(name, error)
        else:
            self.passed(name)

    async def run_async(self, name, coroutine_function, *args):
        """The same for a coroutine, which gets an AsyncExitStack."""
        if not self._wanted(name):
            return
        try:
            async with contextlib.AsyncExitStack() as opened:
                await coroutine_function(opened, *args)
        except Exception as error:
            self.failed(name, error)
        else:
            self.passed(name)

    def passed(self, name):
        self._passed += 1
        print(f"ok {name}", flush=True)

    def failed(self, name, reason):
        self._failed += 1
        if isinstance(reason, BaseException) and not isinstance(reason, AssertionError):
            reason = f"{type(reason).__name__}: {reason}"
        print(f"FAIL {name}: {' '.join(str(reason).split())}", flush=True)

    def finish(self):
        print(f"{self._passed} passed, {self._failed} failed", flush=True)
        sys.exit(1 if self._failed or not self._passed else 0)

    def _wanted(self, name):
        return self._only in name
