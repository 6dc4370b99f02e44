"""F08: the n-th fdatasync fails. What it covered may be gone, and it is taken away here.

Every fifth round it is a write that fails, with an error that is not for want of room.
"""

from account import Account
from client import Gone, wait
from scene import Scene
from trace import Trace, copy, lose_power, needs_strace

REFUSED = 0x97


def run(bench, result, random):
    bench.needs_agentmq()
    needs_strace(bench)
    for number in range(1, result.count + 1):
        broker = bench.broker(f"round-{number}")
        scene = Scene(broker, result, ["offline"])
        account = Account(number)
        scene.begin(account)
        broker.start()
        scene.subscribe()
        scene.part("offline")
        broker.kill()
        before = copy(broker.data, broker.folder / "before")
        call = "fdatasync" if number % 5 else "pwrite64"
        trace = Trace(broker.folder, f"{call}:error=EIO:when={(number - 1) % 50 + 1}")
        # Of the files that it writes, those of the log are meant.
        broker.start(trace.command, {"AGENTMQ_AUDIT__ENABLED": "false"})
        publishers = [scene.publisher(it) for it in range(4)]
        for publisher in publishers:
            publisher.window, publisher.payload_bytes = 4, random.choice([32, 512, 4096])
        scene.publish_until(publishers, trace.has_injected, 30)
        if not trace.has_injected():
            result.fail(f"round {number}: there was no such {call}")
        # A client that comes now is told, and is not kept waiting for what can not be kept.
        late = scene.publisher(9)
        for _ in range(20):
            late.publish()
        try:
            wait([late, *publishers], lambda: not late.in_flight, 20)
        except Gone as error:
            result.fail(f"round {number}: after the failure: {error}")
        result.count_up("publishes refused with 0x97 after the failure", late.refused_since)
        if late.refused_since != 20 or late.last_reason != REFUSED:
            reason = late.last_reason
            result.fail(f"round {number}: {late.refused_since} of 20 refused, last {reason:#x}")
        broker.kill()
        scene.after_the_kill([late, *publishers])
        if "nothing is acknowledged any more" not in broker.log_text():
            if "nothing more is kept" not in broker.log_text():
                result.fail(f"round {number}: the log does not tell of the failure")
        taken = lose_power(trace, before, broker.data, lambda: random.random() < 0.3)
        result.count_up("bytes that no fdatasync had covered, taken back", taken)
        broker.start()
        scene.drain()
        result.add(account)
        broker.kill()
