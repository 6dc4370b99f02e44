"""MCP and MQTT.Agent through the gateways: the npm package of MQTT.Agent calls a server of the official
MCP SDK for Python that is exposed, and that SDK's client, behind a bridge, calls tools of the npm package."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys

from mcp import Client, StdioServerParameters

from checks import LIMIT, Checks, expect, expect_equal, parser

HERE = pathlib.Path(__file__).parent
SERVER = "foreign-agents"


def started(opened, command, **options):
    process = opened.enter_context(
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    )
    opened.callback(process.terminate)
    return process


def exposed(opened, args):
    """Puts the Python server on the bus, and waits until clients of MQTT.Agent can call it."""
    command = [args.agentmq, "mcp", "expose", "--json", "--url", args.url, "--name", SERVER, "--"]
    process = started(opened, [*command, sys.executable, str(HERE / "mcp_server.py"), "calc"])
    for line in process.stdout:
        event = json.loads(line)
        expect(event["event"] != "refused", f"refused: {line}")
        if event["event"] == "offered":
            return event["tools"]
    raise AssertionError("it has ended")


class Npm:
    """The published server and client."""

    def __init__(self, opened, args):
        command = ["node", str(HERE / "mqttjs/agent_peer.mjs"), "--host", args.host]
        command += ["--port", str(args.port)]
        self.process = started(opened, command, stdin=subprocess.PIPE)
        expect_equal(self.line(), {"ready": True}, "its first line")

    def line(self):
        return json.loads(self.process.stdout.readline())

    def call(self, tool, args):
        self.process.stdin.write(json.dumps({"tool": tool, "args": args}) + "\n")
        self.process.stdin.flush()
        return self.line()


def npm_client_calls_python_server(_, npm, tools):
    expect(f"{SERVER}__add" in tools, f"tools: {tools}")
    answer = npm.call(f"{SERVER}__add", {"a": 2, "b": 40})
    expect_equal(answer["result"]["content"][0]["text"], "42", "content")
    expect_equal(answer["result"]["structuredContent"], {"result": 42}, "structured content")
    failed = npm.call(f"{SERVER}__fail", {})["failed"]
    expect("(tool_error): Error executing tool" in failed, failed)
    wrong = npm.call(f"{SERVER}__add", {"a": "x", "b": 1})["failed"]
    expect("(invalid_arguments): /a: " in wrong, wrong)


def npm_client_hears_progress(_, npm):
    answer = npm.call(f"{SERVER}__steps", {"count": 3})
    expect_equal(answer["result"]["content"][0]["text"], "done", "content")
    told = [(it["progress"], it["total"], it["message"]) for it in answer["streamed"]]
    expect_equal(told, [(n, 3, f"step {n}") for n in (1, 2, 3)], "streamed")


def bridge(args):
    arguments = ["mcp", "bridge", "--url", args.url, "--server", "foreign-npm"]
    parameters = StdioServerParameters(command=args.agentmq, args=arguments)
    return Client(parameters, mode=args.mode, read_timeout_seconds=LIMIT)


async def python_client_calls_npm_server(opened, args):
    client = await opened.enter_async_context(bridge(args))
    tools = {it.name: it for it in (await client.list_tools()).tools}
    names = [f"foreign-npm__foreign_{it}" for it in ("fail", "greet", "slow")]
    expect_equal(sorted(tools), names, "tools")
    expect_equal(tools[names[1]].input_schema["required"], ["who"], "schema")
    result = await client.call_tool(names[1], {"who": "Ada"})
    expect_equal(result.structured_content, {"greeting": "Hello, Ada"}, "result")
    failed = await client.call_tool(names[0], {})
    expect_equal((failed.is_error, failed.content[0].text), (True, "on purpose"), "failure")
    told = []

    async def tell(done, total, message):
        told.append((done, message))

    slow = await client.call_tool(names[2], {}, progress_callback=tell)
    expect_equal(slow.content[0].text, "done", "result")
    expect_equal(told, [(1, "one"), (2, "two"), (3, "three")], "progress")


async def main():
    arguments = parser(__doc__)
    arguments.add_argument("--agentmq", required=True, help="the program")
    args = arguments.parse_args()
    args.url = f"mqtt://{args.host}:{args.port}"
    checks = Checks(args.only)
    with contextlib.ExitStack() as opened:
        npm = Npm(opened, args)
        tools = exposed(opened, args)
        checks.run("npm-client-calls-python-server", npm_client_calls_python_server, npm, tools)
        checks.run("npm-client-hears-progress", npm_client_hears_progress, npm)
        for args.mode in ("legacy", "auto"):
            name = f"{args.mode}/python-client-calls-npm-server"
            await checks.run_async(name, python_client_calls_npm_server, args)
    checks.finish()


asyncio.run(main())
