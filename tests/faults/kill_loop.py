"""F01: kill -9 again and again on one data folder: under load, within the recovery that the kill
before has made necessary, and while the log is being cleaned.
"""

import threading
import time

import packets
from account import Account
from client import Publisher, Subscriber, wait
from moment import at_moment, seen
from scene import Scene

PUBLISHERS = 8
WINDOW = 128
# Every so many rounds the load makes the broker clean its log, and the kill falls into that.
CLEANING_EVERY = 5
# So often a kill falls into the recovery; in other rounds by chance.
RECOVERY_EVERY, IN_RECOVERY = 4, 0.1
# Shares of the kills, at least, in a run that is not a short one. A few may miss: in what a chunk
# of the campaign is, two of them are more than a share of 0.95 leaves.
UNDER_LOAD, WITHIN_RECOVERY, WITHIN_CLEANING = 0.95, 0.1, 0.1
ENOUGH, MISSES = 20, 2
# What the broker says when it has read what the run before has left.
READY = "what must survive is kept in"


def run(bench, result, random):
    broker = bench.broker()
    is_ours = broker.kind.startswith("agentmq")
    scene = Scene(broker, result, ["offline", "live"])
    scene.begin(Account(0))
    starts = [broker.start()]
    scene.subscribe()
    keeper = Keeper(broker)
    for number in range(1, result.count + 1):
        account = Account(number)
        scene.begin(account)
        keeper.add()
        cleans = is_ours and number % CLEANING_EVERY == 0
        publishers = [scene.publisher(it) for it in range(PUBLISHERS)]
        for publisher in publishers:
            publisher.window = WINDOW
            publisher.payload_bytes = 32 << 10 if cleans else random.choice([24, 64, 256, 1024])
        if cleans:
            killer = at_moment(broker, 0.0, "cleaning", 15.0)
        else:
            scene.part("offline")
            moment = "commit" if is_ours else "whenever"
            # A commit of a hundred messages, not one of a reader's acknowledgements.
            wanted = 100 * sum(it.payload_bytes for it in publishers) // PUBLISHERS
            killer = at_moment(broker, random.uniform(0.05, 0.8), moment, least=wanted)
        scene.publish_until(publishers, broker.has_ended)
        file = seen(killer)
        broker.kill()
        scene.after_the_kill(publishers)
        in_flight = sum(len(it.in_flight) for it in publishers)
        result.count_up("kills under load")
        result.count_up("with >= 100 publishes in flight", in_flight >= 100)
        if is_ours and not cleans:
            result.count_up("and within a commit", in_flight >= 100 and file is not None)
        elif cleans:
            # The file goes last, so one that is still there was still being cleaned.
            is_within = file is not None and file.exists()
            result.count_up("within the cleaning of the log", is_within)
        extra = (number % RECOVERY_EVERY == 0) + (random.random() < IN_RECOVERY)
        for _ in range(extra):
            in_recovery(broker, result, random.uniform(0.0, starts[-1]))
        starts.append(broker.start())
        scene.drain()
        result.add(account)
    keeper.drain()
    result.add(keeper.account)
    result.at_most("slowest start, s", max(starts))
    check_shares(result, is_ours)


def in_recovery(broker, result, seconds):
    """Starts it and kills it before it is ready, as a rule."""
    before = broker.log_text().count(READY)
    broker.launch()
    killer = threading.Timer(seconds, broker.process.kill)
    killer.start()
    killer.join()
    broker.kill()
    result.count_up("more kills at a start")
    if broker.kind.startswith("agentmq"):
        is_within = broker.log_text().count(READY) == before
        result.count_up("within the recovery", is_within)


def check_shares(result, is_ours):
    """The kills must have hit what they were meant for."""
    found = result.found
    loads, many = found["kills under load"], found["with >= 100 publishes in flight"]
    if not is_ours:
        return  # nobody aims there
    if many < UNDER_LOAD * loads - MISSES:
        result.fail(f"only {many} of {loads} kills had 100 publishes in flight")
    if result.count < ENOUGH:
        return
    ordinary = loads - result.count // CLEANING_EVERY
    commits = found["and within a commit"]
    if commits < UNDER_LOAD * ordinary - MISSES:
        result.fail(f"only {commits} of {ordinary} kills fell into a commit with 100 in flight")
    kills = loads + found["more kills at a start"]
    for what, share in [
        ("within the recovery", WITHIN_RECOVERY),
        ("within the cleaning of the log", WITHIN_CLEANING),
    ]:
        if found[what] < share * kills - MISSES:
            result.fail(f"only {found[what]} of {kills} kills fell {what}")


class Keeper:
    """A session that is away all the time, and a few messages for it in each round: so the log's
    old files hold a little that counts among much that does not, which cleaning writes again.
    """

    def __init__(self, broker):
        self.broker, self.account = broker, Account(1_000_000)
        self.account.expect("keeper")
        self.session = Subscriber("keeper", self.account, broker.version)
        self.session.open(broker.port, clean=False, expiry=packets.NEVER)
        self.session.subscribe("keep/#", 1)
        self.session.disconnect()

    def add(self):
        version = self.broker.version
        publisher = Publisher("keeping", self.account, 0, "keep/0", 1, version)
        publisher.open(self.broker.port)
        for _ in range(3):
            publisher.publish()
        wait([publisher], lambda: not publisher.in_flight)
        publisher.disconnect()

    def drain(self):
        self.session.open(self.broker.port, clean=False, expiry=packets.NEVER)
        deadline = time.monotonic() + 20 + self.broker.late
        while self.account.lost() and time.monotonic() < deadline:
            self.session.ping()
            time.sleep(0.01)
        self.session.disconnect()
