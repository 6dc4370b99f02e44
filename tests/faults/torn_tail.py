"""F06: the log ends anywhere. It opens, and all that stands whole before the cut is there.

What follows the cut are zeros or noise, as in a file whose room is taken beforehand. A file that
is really shorter must open too, but the commit that the cut goes through may be gone as a whole.
"""

import bisect

from bit_flips import take
from prepared import Prepared, content_end

TAIL = 64 << 10
# What a commit begins with in the file.
BLOCK = b"AMQb"


def run(bench, result, random):
    bench.needs_agentmq()
    prepared = Prepared(bench, result)
    newest = prepared.log_files()[-1]
    raw = newest.read_bytes()
    end = content_end(raw)
    ends = record_ends(raw, prepared.account.acked)
    result.note(f"cuts in the last {min(TAIL, end)} of {end} bytes")
    for number in range(1, result.count + 1):
        cut = random.randrange(max(0, end - TAIL), end)
        rest = random.choice(["nothing", "zeros", "noise"])

        def tear(log):
            kept = raw[:cut]
            if rest == "zeros":
                kept += bytes(len(raw) - cut)
            elif rest == "noise":
                kept += random.randbytes(end - cut)
            (log / newest.name).write_bytes(kept)

        scene, account = prepared.hurt(number, tear)
        last = raw.rfind(BLOCK, 0, cut) if rest == "nothing" else cut
        account.acked = {message for message in account.acked if ends[message] <= last}
        if gone := take(scene):
            result.fail(f"cut at {cut}, then {rest}: sessions {gone} are gone")
        failures = len(result.failures)
        result.add(account)
        if len(result.failures) > failures:
            result.fail(f"that was the cut at {cut}, followed by {rest}")
        scene.broker.kill()


def record_ends(raw, messages):
    """Where each message's record has ended for certain: at the next message, or the next commit.

    Behind its payload a record may hold small changes that survive with the message or not at all.
    """
    starts = {message: raw.find(message.ljust(300, b" ")) for message in messages}
    edges = sorted(starts.values())
    ends = {}
    for message, start in starts.items():
        following = bisect.bisect_right(edges, start)
        block = raw.find(BLOCK, start)
        nexts = edges[following : following + 1] + [block] * (block > 0) + [len(raw)]
        ends[message] = min(nexts)
    return ends
