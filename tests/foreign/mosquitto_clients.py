"""mosquitto_pub, mosquitto_sub and mosquitto_rr over TCP: MQTT 3.1, 3.1.1 and 5."""

import functools
import subprocess
import tempfile
import threading

from checks import (
    LIMIT,
    Checks,
    Inbox,
    binary_payload,
    expect,
    expect_equal,
    parser,
    unique_id,
    unique_topic,
)

MANY = 500


class Case:
    """One protocol version, and how to start the programs for it."""

    def __init__(self, version, args):
        self.version = version
        self._address = ["-h", args.host, "-p", str(args.port), "-V", f"mqttv{version}"]

    def command(self, program, *options):
        return [f"mosquitto_{program}", *self._address, *options]

    def run(self, program, *options, stdin=None):
        """Run to the end; its output."""
        done = subprocess.run(
            self.command(program, *options), input=stdin, capture_output=True, timeout=LIMIT
        )
        errors = done.stderr.decode(errors="replace")
        expect(done.returncode == 0, f"mosquitto_{program} ended with {done.returncode}: {errors}")
        return done.stdout

    def publish(self, topic, payload, qos=0, *options):
        message = ["-n"] if payload == "" else ["-m", payload]
        self.run("pub", "-t", topic, "-q", str(qos), *message, *options)


class Subscriber:
    """A running mosquitto_sub, each line of output an event; subscribed once the constructor ends.

    Its retained marker tells when: all filters of the command line are one SUBSCRIBE.
    """

    def __init__(self, opened, case, filters, *options, form="%q %r %p"):
        marker = unique_topic("ready")
        case.publish(marker, "ready", 1, "-r")
        names = [word for pattern in [*filters, marker] for word in ("-t", pattern)]
        # `%t` leads each line so that the marker is told from the rest.
        # `-W` ends it even if this process is killed.
        command = case.command("sub", *names, *options, "-W", "60", "-F", f"%t\t{form}")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        opened.callback(self.kill)
        self.lines = Inbox()
        self._reader = threading.Thread(target=self._read, args=(marker,), daemon=True)
        self._ready = Inbox()
        self._reader.start()
        self._ready.wait_count(1, "retained marker")
        case.publish(marker, "", 1, "-r")

    def _read(self, marker):
        for line in self._process.stdout:
            topic, _, rest = line.decode(errors="replace").rstrip("\n").partition("\t")
            if topic == marker:
                self._ready.put(rest)
            else:
                self.lines.put((topic, rest))

    def receive(self, count):
        """What the first `count` publications printed, without their topics."""
        return [rest for _, rest in self.lines.wait_count(count, "line")]

    def kill(self):
        """As `kill -9`: the connection is lost without DISCONNECT."""
        self._process.kill()
        self._process.wait(LIMIT)
        self._reader.join(LIMIT)


def every_qos_pair(opened, case):
    topic = unique_topic("qos")
    for granted in range(3):
        subscriber = Subscriber(opened, case, [topic], "-q", str(granted))
        wanted = []
        for sent in range(3):
            case.publish(topic, f"{granted}{sent}", sent)
            wanted.append(f"{min(granted, sent)} 0 {granted}{sent}")
        expect_equal(sorted(subscriber.receive(3)), sorted(wanted), f"to QoS {granted}")
        subscriber.kill()


def many_in_order(opened, case, qos):
    topic = unique_topic("many")
    subscriber = Subscriber(opened, case, [topic], "-q", str(qos), form="%p")
    wanted = [str(number) for number in range(MANY)]
    lines = "".join(f"{number}\n" for number in wanted).encode()
    case.run("pub", "-t", topic, "-q", str(qos), "-l", stdin=lines)
    expect_equal(subscriber.receive(MANY), wanted, "order")


def large_file(opened, case, qos):
    """Both as a live message, and kept for a later subscriber."""
    topic = unique_topic("large")
    payload = binary_payload()
    subscriber = Subscriber(opened, case, [topic], "-q", str(qos), form="%x")
    with tempfile.NamedTemporaryFile() as file:
        file.write(payload)
        file.flush()
        case.run("pub", "-t", topic, "-q", str(qos), "-r", "-f", file.name)
    expect(subscriber.receive(1)[0] == payload.hex(), "live payload differs")
    late = case.run("sub", "-t", topic, "-q", str(qos), "-C", "1", "-N", "-W", str(int(LIMIT)))
    expect(late == payload, "retained payload differs")
    case.publish(topic, "", 1, "-r")


def retained_and_cleared(opened, case):
    topic = unique_topic("retained")
    for name in ("gone", "kept"):
        case.publish(f"{topic}/{name}", name, 1, "-r")
    case.publish(f"{topic}/gone", "", 1, "-r")
    subscriber = Subscriber(opened, case, [f"{topic}/#"], "-q", "1")
    # The marker's filter came last on the command line, yet it need not be delivered last.
    expect_equal(subscriber.receive(1), ["1 1 kept"], "retained")
    case.publish(f"{topic}/live", "end", 1)
    expect_equal(subscriber.receive(2), ["1 1 kept", "1 0 end"], "retained, then live")


def will_sent(opened, case):
    topic = unique_topic("will")
    watcher = Subscriber(opened, case, [topic], "-q", "1")
    will = ["--will-topic", topic, "--will-payload", "lost", "--will-qos", "1"]
    dying = Subscriber(opened, case, [unique_topic("other")], *will)
    dying.kill()
    expect_equal(watcher.receive(1), ["1 0 lost"], "will")


def shared(opened, case):
    topic = unique_topic("shared")
    filters = [f"$share/group/{topic}", f"{topic}/end"]
    members = [Subscriber(opened, case, filters, "-q", "1", form="%p") for _ in range(2)]
    wanted = sorted(str(number) for number in range(60))
    case.run("pub", "-t", topic, "-q", "1", "-l", stdin="".join(f"{w}\n" for w in wanted).encode())
    case.publish(f"{topic}/end", "end", 1)
    got = []
    for member in members:
        lines = member.lines.wait(lambda items: any(rest == "end" for _, rest in items), "end")
        got += [rest for _, rest in lines if rest != "end"]
    expect_equal(sorted(got), wanted, "shared")


def persistent_session(opened, case):
    topic = unique_topic("session")
    # MQTT 3.1 allows 23 bytes.
    stay = ["-i", unique_id("m"), "-q", "1", "-t", topic]
    opened.callback(case.run, "sub", *stay, "-E")
    case.run("sub", "-c", *stay, "-E")
    wanted = [str(number) for number in range(50)]
    case.run("pub", "-t", topic, "-q", "1", "-l", stdin="".join(f"{w}\n" for w in wanted).encode())
    got = case.run("sub", "-c", *stay, "-C", "50", "-W", str(int(LIMIT)))
    expect_equal(got.decode().split(), wanted, "queued")


def request_response(opened, case):
    """mosquitto_rr asks, a mosquitto_sub hears it, a mosquitto_pub answers."""
    topic = unique_topic("call")
    # MQTT 5 carries where to answer and what to repeat; before it both sides just know.
    form = "%R\t%D\t%p" if case.version == "5" else f"{topic}/reply\t\t%p"
    server = Subscriber(opened, case, [f"{topic}/request"], "-q", "1", form=form)

    def answer():
        reply_topic, correlation, payload = server.receive(1)[0].split("\t")
        extra = ["-D", "publish", "correlation-data", correlation] if correlation else []
        case.publish(reply_topic, f"answer to {payload}", 1, *extra)

    answering = threading.Thread(target=answer, daemon=True)
    answering.start()
    request = ["-t", f"{topic}/request", "-e", f"{topic}/reply", "-m", "ping", "-q", "1"]
    if case.version == "5":
        request += ["-D", "publish", "correlation-data", "c-42"]
    got = case.run("rr", *request, "-W", str(int(LIMIT)))
    answering.join(LIMIT)
    expect_equal(got.decode().strip(), "answer to ping", "reply")


def publish_properties(opened, case):
    """-D: user properties in order, Content Type, expiry."""
    topic = unique_topic("properties")
    subscriber = Subscriber(opened, case, [topic], "-q", "1", form="%C|%P|%E|%p")
    users = [("b", "1"), ("a", "2"), ("b", "3")]
    options = ["-D", "publish", "content-type", "text/plain"]
    options += ["-D", "publish", "message-expiry-interval", "1000"]
    for name, value in users:
        options += ["-D", "publish", "user-property", name, value]
    case.publish(topic, "hello", 1, *options)
    content, pairs, expiry, payload = subscriber.receive(1)[0].split("|")
    expect_equal((content, pairs, payload), ("text/plain", "b:1 a:2 b:3", "hello"), "properties")
    expect(990 <= int(expiry) <= 1000, f"message expiry {expiry}")


def retain_as_published(opened, case):
    """[MQTT-3.3.1-13]."""
    topic = unique_topic("options")
    case.publish(f"{topic}/a", "old", 1, "-r")
    keeps = Subscriber(opened, case, [f"{topic}/#"], "-q", "1", "--retain-as-published")
    case.publish(f"{topic}/b", "new", 1, "-r")
    expect_equal(keeps.receive(2), ["1 1 old", "1 1 new"], "RETAIN as published")
    for name in "ab":
        case.publish(f"{topic}/{name}", "", 1, "-r")


CHECKS = {
    "every-qos-pair": every_qos_pair,
    "retained-and-cleared": retained_and_cleared,
    "will": will_sent,
    "persistent-session": persistent_session,
    "request-response": request_response,
}
CHECKS_BY_QOS = {"many-in-order": many_in_order, "large-file": large_file}
CHECKS_V5 = {"properties": publish_properties, "retain-as-published": retain_as_published}


def main():
    args = parser(__doc__).parse_args()
    checks = Checks(args.only)
    for version in ("31", "311", "5"):
        case = Case(version, args)
        wanted = dict(CHECKS)
        for name, check in CHECKS_BY_QOS.items():
            for qos in range(3):
                wanted[f"{name}-qos{qos}"] = functools.partial(check, qos=qos)
        # MQTT 3.1 clients know no shared subscriptions; 3.1.1 ones are served like MQTT 5.
        if version != "31":
            wanted["shared"] = shared
        if version == "5":
            wanted.update(CHECKS_V5)
        for name, check in wanted.items():
            checks.run(f"{version}/{name}", check, case)
    checks.finish()


if __name__ == "__main__":
    main()
