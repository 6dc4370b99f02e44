"""The programs in `examples/`, by the commands at their tops, over our broker and over Debian's
Mosquitto: the same servers and the same callers of both bindings. And what the README says of tools
on the bus, command by command."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

from checks import LIMIT, Checks, expect, expect_equal, parser
from mosquitto_broker import mosquitto

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANYWHERE = "mqtt://127.0.0.1:1883"  # what the commands say


def commands(name):
    """The commands at the top of an example, as they stand there."""
    text = (ROOT / "examples" / name).read_text()
    if name.endswith(".py"):
        return re.findall(r"^    (agentmq .+)$", text, re.MULTILINE)
    head = [line.removeprefix("//! ") for line in text.splitlines() if line.startswith("//!")]
    return re.findall(r"`(cargo run [^`]+)`", " ".join(head))


class Bus:
    """A broker, and what runs a command of the examples against it."""

    def __init__(self, url, agentmq):
        path = f"{pathlib.Path(agentmq).resolve().parent}:{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "AGENTMQ_URL": url}
        self._url = url

    def _shell(self, command):
        line = command.replace("cargo run", "cargo run --quiet --locked")
        line = line.replace(ANYWHERE, self._url)
        return {"args": ["sh", "-c", line], "cwd": ROOT, "env": self._environment}

    def run(self, command):
        """What it prints, line by line."""
        shell = self._shell(command)
        done = subprocess.run(**shell, stdout=subprocess.PIPE, text=True, timeout=3 * LIMIT)
        expect_equal(done.returncode, 0, f"exit code of {command}")
        return done.stdout.splitlines()

    def start(self, opened, command, sign):
        """Starts one that stays, and waits until it prints a line with the sign."""
        shell = self._shell(f"exec {command}")
        pipe = subprocess.PIPE
        process = subprocess.Popen(**shell, stdin=pipe, stdout=pipe, text=True)
        opened.enter_context(process)
        opened.callback(process.terminate)
        said = iter(process.stdout.readline, "")
        process.line = next((line for line in said if sign in line), None)
        expect(process.line, f"{command} says {sign}")
        return process


def tools(opened, bus):
    (serve,) = commands("tool_server.rs")
    (call,) = commands("tool_client.rs")
    caller, _ = call.split(" add ")
    server = bus.start(opened, serve, "online")
    expect_equal(bus.run(call), ['{"result":42}'], "answer")
    counted = [json.loads(line) for line in bus.run(caller + " count_down '{\"from\":2}'")]
    expect_equal(counted, [{"says": 2}, {"says": 1}, {"result": "done, me"}], "stream")
    listed = [json.loads(line) for line in bus.run(caller)]
    expect({"tool": "add", "online": True} in listed, f"list: {listed}")
    server.stdin.close()
    expect_equal(server.wait(LIMIT), 0, "exit code of the server")
    listed = [json.loads(line) for line in bus.run(caller)]
    expect({"tool": "add", "online": False} in listed, f"list: {listed}")


def replicas(opened, bus):
    (command,) = commands("replicas.rs")
    first, *calls = bus.run(command)
    expect_equal(first, 'all of them have answered: {"blue", "green", "red"}', "first line")
    answers = [line.rsplit(" ", 1)[1] for line in calls]
    expect_equal((len(answers), set(answers)), (6, {"red", "blue"}), "answers of the others")


def mcp(opened, bus):
    (serve,) = commands("mcp_server.rs")
    (call,) = commands("mcp_client.rs")
    bus.start(opened, serve, "online")
    lines = ["greeter has greet: Greets somebody", "Good morning, Ada!"]
    expect_equal(bus.run(call), lines, "lines")


def exposed_program(opened, bus):
    expose, remember, recall = commands("notes.py")
    bus.start(opened, expose, "notes is online")
    expect_equal(bus.run(remember), ["1 kept"], "answer")
    expect_equal(bus.run(recall), ["bread"], "answer")


def readme(opened, agentmq):
    """Runs the blocks marked `tools`, with the Python that has the SDK in place of the README's."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"<!-- readme: tools( background)? -->\n```sh\n(.+?)```", text, re.DOTALL)
    bus = Bus("", agentmq)
    printed = []
    for background, block in blocks:
        for command in block.replace(".venv/bin/python", sys.executable).splitlines():
            if not background:
                printed += bus.run(command)
            elif command == "agentmq dev":
                broker = bus.start(opened, command, "listening on")
                url = broker.line.split()[2]
                bus = Bus(url, agentmq)
            else:
                bus.start(opened, command, "is online")
    expect_equal(len(blocks), 3, "blocks: a broker, a server, a caller")
    expect(any(line.startswith("notes/remember ") for line in printed), f"printed {printed}")
    expect_equal(printed[-1], "1 kept", "answer")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--agentmq", required=True, help="the program")
    arguments.add_argument("--scratch", default="scratch", help="a folder")
    args = arguments.parse_args()
    build = ["cargo", "build", "--quiet", "--locked", "-p", "agentmq-sdk", "--examples"]
    subprocess.run(build, cwd=ROOT, check=True)
    checks = Checks(args.only)
    with contextlib.ExitStack() as opened:
        brokers = {"agentmq": f"mqtt://{args.host}:{args.port}"}
        brokers["mosquitto"] = mosquitto(opened, args.scratch)
        for broker, url in brokers.items():
            for check in (tools, replicas, mcp, exposed_program):
                name = check.__name__.replace("_", "-")
                checks.run(f"{broker}/{name}", check, Bus(url, args.agentmq))
    checks.run("readme", readme, args.agentmq)
    checks.finish()


main()
