"""F03: kill -9 while wills are pending. Each is sent once, and none of a client that came back."""

import time

import packets
from account import Account
from client import Client, Subscriber, turn, wait
from scene import ROOT

DELAY = 2
# How an agent fares: it dies before the broker, with the broker, or with it and comes back.
FATES = ["dead before", "dead with the broker", "back in time"]


def run(bench, result, random):
    broker = bench.broker()
    broker.start()
    watcher = Subscriber("watcher", Account(0), broker.version)
    watcher.open(broker.port, clean=False, expiry=packets.NEVER)
    watcher.subscribe(f"{ROOT}/#", 2)
    slowest = 0.0
    for number in range(1, result.count + 1):
        account = watcher.account = Account(number)
        account.expect("watcher")
        agents = {}
        for at in range(12):
            # A will's place in the books: it is promised once, with the CONNACK.
            fate, message = FATES[at % 3], account.attempt(at)
            agent = Client(f"agent-{number}-{at}", broker.version)
            will = (f"{ROOT}/will", message, 1 + at % 2, DELAY)
            agent.open(broker.port, clean=True, expiry=60, will=will)
            agent.ping()
            agents[agent] = fate
            if fate != "back in time":
                account.acknowledge(message)
            else:
                account.refuse(message)
        # What is acknowledged stands behind the CONNECTs in the broker's log.
        mark = Client("mark", broker.version)
        mark.open(broker.port)
        mark.send(packets.publish("fault/mark", b"mark", 1, 1, broker.version))
        wait([mark, watcher], lambda: b"fault/mark" in watcher.topics, 20)
        watcher.topics.clear()
        mark.close()
        for agent, fate in agents.items():
            if fate == "dead before":
                agent.close()
        deadline = time.monotonic() + random.uniform(0.0, 0.5 * DELAY)
        while time.monotonic() < deadline:
            turn([watcher], 0.05)
        broker.kill()
        for client in [watcher, *agents]:
            client.read_to_the_end()
        broker.start()
        back = time.monotonic()
        watcher.open(broker.port, clean=False, expiry=packets.NEVER)
        for agent, fate in agents.items():
            if fate == "back in time":
                if not agent.open(broker.port, clean=False, expiry=60):
                    result.fail(f"round {number}: the session of {agent.name} is gone")
        while account.lost() and time.monotonic() < back + 5 * DELAY:
            turn([watcher], 0.05)
        slowest = max(slowest, time.monotonic() - back)
        # Whatever would come a second time would come by now.
        quiet = time.monotonic() + 0.5
        while time.monotonic() < quiet:
            turn([watcher], 0.1)
        result.add(account)
        for message in account.refused & account.delivered["watcher"]:
            result.fail(f"round {number}: will {message.decode()}, though its client came back")
        watcher.ping()
        for agent, fate in agents.items():
            if fate == "back in time":
                agent.disconnect()
    result.note(f"will delay {DELAY} s")
    result.at_most("the last will after the restart, s", slowest)
    if slowest > 2 * DELAY:
        result.fail(f"a will came {slowest:.1f} s after the restart")
