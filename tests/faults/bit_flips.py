"""F07: one bit of the log flips. It is told, and everything that it does not hit is served."""

import re
import shutil

import packets
from client import Subscriber
from prepared import Prepared, content_end

TOLD = re.compile(r"records=(\d+).*is damaged|is damaged.*records=(\d+)")


def run(bench, result, random):
    bench.needs_agentmq()
    prepared = Prepared(bench, result)
    for number in range(1, result.count + 1):
        place = {}

        def flip(log):
            path = random.choice(sorted(log.glob("*.log")))
            raw = bytearray(path.read_bytes())
            at, bit = random.randrange(content_end(raw)), random.randrange(8)
            raw[at] ^= 1 << bit
            path.write_bytes(raw)
            place["is"] = f"round {number}: bit {bit} of byte {at} in {path.name}"

        scene, account = prepared.hurt(number, flip)
        failures = len(result.failures)
        gone = take(scene)
        broker = scene.broker
        reported = [int(a or b) for a, b in TOLD.findall(broker.log_text())]
        lost = account.lost()
        for session, message in lost:
            account.delivered[session].add(message)  # counted below, against what was told
        result.add(account)
        result.sums["delivered"] -= len(lost)
        if len(result.failures) > failures:
            kept = bench.folder / f"failed-{number}"
            shutil.copytree(broker.folder, kept, dirs_exist_ok=True)
            result.fail(f"that was {place['is']}; see {kept}")
        records = {message for session, message in lost if session not in gone}
        unexplained = len(records) - sum(reported)
        if unexplained > 0 or (gone and not reported):
            result.sums["lost"] += max(unexplained, 1)
            result.fail(f"{place['is']}: {len(lost)} missing, {len(gone)} sessions gone, "
                        f"and only {sum(reported)} records told")
        result.count_up("damage told", bool(reported))
        result.count_up("flips hit nothing that counts", not reported and not lost)
        result.count_up("deliveries missing and told", len(lost))
        result.count_up("sessions of them all", len(gone))
        broker.kill()


def take(scene):
    """Connects the sessions, whichever are left, and takes everything; returns who is gone."""
    gone = []
    for name in scene.names:
        session = scene.sessions[name] = Subscriber(name, scene.account, scene.broker.version)
        if not session.open(scene.broker.port, clean=False, expiry=packets.NEVER):
            gone.append(name)
        session.subscribe("fault/#", 2)  # the flip may have hit what it had subscribed to
        scene.marks = 0
    scene.drain(20)
    return gone
