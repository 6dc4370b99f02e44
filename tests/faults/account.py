"""What was published, what the broker promised to keep, and what came out."""

from collections import Counter


class Account:
    """The books of one round. A message is named `run.publisher.sequence`."""

    def __init__(self, run):
        self.run = run
        self.next = Counter()
        self.acked, self.refused = set(), set()
        self.delivered = {}  # session: messages
        self.newest = {}  # session and publisher: sequence number
        self.repeated = 0  # deliveries of QoS 1 beyond the first
        self.duplicated = 0  # deliveries of QoS 2 beyond the first
        self.reordered = self.unexpected = self.stale = 0

    def attempt(self, publisher):
        sequence = self.next[publisher]
        self.next[publisher] += 1
        return b"%d.%d.%d" % (self.run, publisher, sequence)

    def acknowledge(self, message):
        self.acked.add(message)

    def refuse(self, message):
        self.refused.add(message)

    def expect(self, session):
        """This session must get everything."""
        self.delivered.setdefault(session, set())

    def deliver(self, session, message, qos):
        seen = self.delivered.setdefault(session, set())
        try:
            run, publisher, sequence = map(int, message.split(b"."))
        except ValueError:
            return  # a mark of the experiment's own
        if run < self.run:
            # Its acknowledgement was lost in a crash: allowed for QoS 1 alone.
            self.stale += 1
            self.duplicated += qos == 2
            return
        if run > self.run or sequence >= self.next[publisher]:
            self.unexpected += 1
            return
        if message in seen:
            self.repeated += qos == 1
            self.duplicated += qos == 2
            return
        seen.add(message)
        newest = self.newest.get((session, publisher), -1)
        self.reordered += sequence < newest
        self.newest[session, publisher] = max(newest, sequence)

    def attempted(self):
        return sum(self.next.values())

    def lost(self):
        """Acknowledged, and not delivered to a session that must have it."""
        return {
            (session, message)
            for session, seen in self.delivered.items()
            for message in self.acked - seen
        }


class Result:
    """The sum of an experiment's rounds."""

    COLUMNS = ("attempted", "acked", "delivered", "lost", "duplicated", "reordered", "repeated")

    def __init__(self, name, count, seed):
        self.name, self.count, self.seed = name, count, seed
        self.rounds = 0
        self.is_whole = False  # the experiment has come to its end
        self.sums = Counter()
        self.found, self.most = Counter(), {}
        self.failures = []
        self.notes = []
        self.skipped = None
        self.seconds = 0.0

    def add(self, account):
        self.rounds += 1
        lost = account.lost()
        self.sums["attempted"] += account.attempted()
        self.sums["acked"] += len(account.acked)
        self.sums["delivered"] += sum(map(len, account.delivered.values()))
        self.sums["lost"] += len(lost)
        self.sums["duplicated"] += account.duplicated
        self.sums["reordered"] += account.reordered
        self.sums["repeated"] += account.repeated + account.stale
        where = f"round {account.run}"
        if lost:
            some = ", ".join(f"{m.decode()} to {s}" for s, m in sorted(lost)[:5])
            self.fail(f"{where}: {len(lost)} acknowledged and lost: {some}")
        if account.duplicated:
            self.fail(f"{where}: {account.duplicated} of QoS 2 delivered more than once")
        if account.reordered:
            self.fail(f"{where}: {account.reordered} delivered out of order")
        if account.unexpected:
            self.fail(f"{where}: {account.unexpected} delivered that nobody has published")

    def fail(self, what):
        self.failures.append(what)
        print(f"  FAILED {what}", flush=True)

    def note(self, what):
        self.notes.append(what)

    def count_up(self, what, number=1):
        """A number that runs of the same experiment may add up."""
        self.found[what] += number

    def at_most(self, what, number):
        """A number of which the largest is told."""
        self.most[what] = max(number, self.most.get(what, number))

    def all_notes(self):
        numbers = [f"{what}: {number}" for what, number in self.found.items()]
        return numbers + [f"{what}: {round(it, 2)}" for what, it in self.most.items()] + self.notes

    def verdict(self):
        if self.skipped:
            return "skipped"
        return "FAILED" if self.failures else "ok"

    def as_dict(self):
        return {
            "experiment": self.name,
            "count": self.count,
            "rounds": self.rounds,
            "done": self.count if self.is_whole else min(self.rounds, self.count),
            "seed": self.seed,
            "verdict": self.verdict(),
            **{column: self.sums[column] for column in self.COLUMNS},
            "failures": self.failures[:20],
            "notes": self.notes,
            "sums": self.found,
            "most": self.most,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 1),
        }
