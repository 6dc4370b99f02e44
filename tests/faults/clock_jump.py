"""F20: the wall clock jumps. Nobody is thrown out, no session ends, and nothing is lost."""

import time
from pathlib import Path

import packets
from account import Account
from bench import Missing
from client import Client, Subscriber, turn, wait
from scene import Scene

JUMPS = [["+7200"], ["-7200"], ["+86400"], ["+3600", "+0", "-3600", "+0"]]
KEEP_ALIVE = 2
AFTERWARDS = 2 * KEEP_ALIVE


def run(bench, result, random):
    library = find_library()
    disconnected = 0
    for number in range(1, result.count + 1):
        jumps = JUMPS[number % len(JUMPS)]
        where = f"round {number} ({' '.join(jumps)} s)"
        broker = bench.broker(f"round-{number}")
        clock = broker.folder / "clock"
        clock.write_text("+0\n")
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        scene = Scene(broker, result, ["offline", "live"], qos=2)
        account = Account(number)
        scene.begin(account)
        broker.start(environment=environment)
        scene.subscribe()
        scene.part("offline")
        hour = Subscriber("hour", Account(0), broker.version)
        hour.open(broker.port, clean=False, expiry=3600)
        hour.disconnect()
        clients = [Client(f"alive-{at}", broker.version) for at in range(10)]
        for client in clients:
            client.open(broker.port, keep_alive=KEEP_ALIVE)
        publishers = [scene.publisher(at, qos) for at, qos in enumerate((1, 2))]
        everyone = [*clients, *publishers, scene.sessions["live"]]
        for jump in ["+0", *jumps]:
            clock.write_text(f"{jump}\n")
            until = time.monotonic() + AFTERWARDS / len(jumps)
            while time.monotonic() < until:
                for publisher in publishers:
                    publisher.publish()
                for client in clients:
                    client.send(packets.PING)
                pause = time.monotonic() + KEEP_ALIVE / 4
                while time.monotonic() < pause:
                    turn(everyone, 0.05)
        disconnected += sum(not client.is_open for client in everyone)
        for client in everyone:
            if not client.is_open:
                result.fail(f"{where}: {client.name} was disconnected")
        if not hour.open(broker.port, clean=False, expiry=3600):
            result.fail(f"{where}: a session of an hour ended when the clock jumped")
        wait(everyone, lambda: all(not it.in_flight for it in publishers))
        broker.kill()
        scene.after_the_kill(publishers)
        if number % 2:
            clock.write_text("+0\n")
        broker.start(environment=environment)
        scene.drain()
        result.add(account)
        broker.kill()
    result.count_up("clients disconnected", disconnected)


def find_library():
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise Missing("libfaketime is not installed (Debian: apt-get install faketime)")
    return found[0]
