"""The official MCP SDK for Python as a host before a bridge, with servers of three SDKs on the bus,
its own among them. Both eras of the protocol. Over Debian's Mosquitto, too, with what is ours on
both ends of it: a server on our SDK, and the bridge."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

from mcp import Client, MCPError, StdioServerParameters

from checks import LIMIT, Checks, expect, expect_equal, parser
from mosquitto_broker import mosquitto

HERE = pathlib.Path(__file__).parent
TOOLS = ["add", "fail", "steps", "wait", "grow"]
CARGO = ["--quiet", "--locked", "-p", "agentmq-sdk", "--example", "rmcp_server"]


def program(server, *more):
    return [sys.executable, str(HERE / "mcp_server.py"), server, *more]


def exposed(opened, args, name, *server):
    """Puts a server on the bus, and waits until it is there."""
    command = [args.agentmq, "mcp", "expose", "--json", "--url", args.url, "--name", name, *server]
    return online(opened, command)


def online(opened, command):
    process = opened.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    opened.callback(process.terminate)
    first = json.loads(process.stdout.readline())
    expect_equal(first.get("event"), "online", f"first line of {command}")
    return process


def python(opened, args, name):
    return exposed(opened, args, f"{args.prefix}/{name}", "--", *program(name))


def typescript(opened, args, name):
    server = ["node", str(HERE / "mcpjs" / "server.mjs"), "2", name]
    return exposed(opened, args, f"{args.prefix}/{name}", "--", *server)


def rust(opened, args, name):
    """It needs nobody who puts it on the bus."""
    return online(opened, ["cargo", "run", *CARGO, "--", args.url, f"{args.prefix}/{name}"])


def bridge(args):
    """The bridge, which a host's client starts itself."""
    arguments = ["mcp", "bridge", "--url", args.url, "--server", args.prefix + "/#"]
    return StdioServerParameters(command=args.agentmq, args=arguments)


async def connected(opened, case, **options):
    args, mode, _ = case
    client = Client(args.reach(args), mode=mode, read_timeout_seconds=LIMIT, **options)
    return await opened.enter_async_context(client)


def called(listed, args, server, name):
    """What the bridge calls a tool: with a hash at its end, since the server's name has a slash."""
    start = f"{args.prefix}-{server}__{name}_"
    found = [it.name for it in listed if it.name.startswith(start)]
    expect(len(found) == 1, f"one name begins with {start}: {[it.name for it in listed]}")
    return found[0]


async def tool(client, case, name):
    args, _, server = case
    return called((await client.list_tools()).tools, args, server, name)


def text(result):
    return result.content[0].text


async def run(opened, check, case):
    """Runs a check. What fails inside of the client's task groups comes out in groups of one."""
    try:
        async with contextlib.AsyncExitStack() as inside:
            await check(inside, case)
    except BaseExceptionGroup as group:
        error = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def tools(opened, case):
    client = await connected(opened, case)
    for name in TOOLS:
        await tool(client, case, name)
    name = await tool(client, case, "add")
    result = await client.call_tool(name, {"a": 2, "b": 40})
    expect_equal((text(result), bool(result.is_error)), ("42", False), name)
    expect_equal(result.structured_content, {"result": 42}, "structured content")


async def errors(opened, case):
    client = await connected(opened, case)
    failed = await client.call_tool(await tool(client, case, "fail"), {})
    words = ("Error executing tool", "the disk is full")
    expect(failed.is_error and any(it in text(failed) for it in words), f"its failure: {failed}")
    wrong = await client.call_tool(await tool(client, case, "add"), {"a": "x", "b": 1})
    expect(wrong.is_error, f"wrong arguments: {wrong}")
    try:
        await client.call_tool("no__such", {})
    except MCPError as error:
        expect_equal(error.error.code, -32602, "code for an unknown tool")
    else:
        raise AssertionError("an unknown tool was called")


async def progress(opened, case):
    client = await connected(opened, case)
    told = []

    async def tell(done, total, message):
        told.append((done, total, message))

    name = await tool(client, case, "steps")
    result = await client.call_tool(name, {"count": 10}, progress_callback=tell)
    expect_equal(text(result), "done", "result")
    expect_equal(told, [(n, 10, f"step {n}") for n in range(1, 11)], "progress")


async def cancellation(opened, case):
    client = await connected(opened, case)
    folder = pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory()))
    started, stopped = folder / "started", folder / "stopped"
    name = await tool(client, case, "wait")
    arguments = {"started": str(started), "stopped": str(stopped)}
    call = asyncio.create_task(client.call_tool(name, arguments))
    await there(started)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await there(stopped)


async def there(path):
    """Waits for a file that another process makes."""
    async with asyncio.timeout(LIMIT):
        while not path.exists():
            await asyncio.sleep(0.01)


async def resources(opened, case):
    args, _, server = case
    client = await connected(opened, case)
    base = f"agentmq://{args.prefix}%2F{server}/"
    listed = await client.list_resources()
    uris = [str(it.uri) for it in listed.resources if str(it.uri).startswith(base)]
    expect_equal(uris, [f"{base}note://first"], "URIs")
    read = await client.read_resource(uris[0])
    expect_equal(read.contents[0].text, f"the first note of {server}", "contents")
    templates = await client.list_resource_templates()
    patterns = [it.uri_template for it in templates.resource_templates]
    expect(f"{base}note://{{title}}" in patterns, f"templates: {patterns}")
    read = await client.read_resource(f"{base}note://shopping")
    expect_equal(read.contents[0].text, f"the note shopping of {server}", "contents by a template")


async def prompts(opened, case):
    args, _, server = case
    client = await connected(opened, case)
    name = called((await client.list_prompts()).prompts, args, server, "greet")
    prompt = await client.get_prompt(name, {"who": "Ada"})
    expect_equal(prompt.messages[0].content.text, f"Greet Ada from {server}.", "prompt")


async def list_changes(opened, case):
    """A server that leaves takes its tools with it, and the host is told of both."""
    args, mode, _ = case
    changes = asyncio.Queue()

    async def handler(message):
        if type(message).__name__ == "ToolListChangedNotification":
            changes.put_nowait(message)

    client = await connected(opened, case, message_handler=handler)
    before = len((await client.list_tools()).tools)
    if mode == "legacy":
        change = changes.get
    else:
        stream = await opened.enter_async_context(client.listen(tools_list_changed=True))
        change = aiter(stream).__anext__

    async def told_until(count):
        """Lists again at each notice; those of the start may come late."""
        async with asyncio.timeout(LIMIT):
            while True:
                await change()
                if len((await client.list_tools(cache_mode="bypass")).tools) == count:
                    return

    with contextlib.ExitStack() as more:
        other = python(more, args, "other")
        await told_until(before + len(TOOLS))
        other.terminate()
        await told_until(before)


CHECKS = (tools, errors, progress, cancellation, resources, prompts, list_changes)


async def run_all(checks, args, servers, where=""):
    """All checks with these servers, which are on the bus."""
    for mode in ("legacy", "auto"):
        for server in servers:
            for check in CHECKS:
                name = f"{where}{mode}/{server}/{check.__name__.replace('_', '-')}"
                await checks.run_async(name, run, check, (args, mode, server))


async def main():
    arguments = parser(__doc__)
    arguments.add_argument("--agentmq", required=True, help="the program")
    arguments.add_argument("--scratch", default="scratch", help="a folder")
    args = arguments.parse_args()
    args.prefix = "foreign-mcp"
    args.reach = bridge
    checks = Checks(args.only)
    subprocess.run(["cargo", "build", *CARGO], check=True)
    with contextlib.ExitStack() as opened:
        args.url = f"mqtt://{args.host}:{args.port}"
        for put in (python, typescript, rust):
            put(opened, args, put.__name__)
        await run_all(checks, args, ["python", "typescript", "rust"])
    with contextlib.ExitStack() as opened:
        args.url = mosquitto(opened, args.scratch)
        rust(opened, args, "rust")
        await run_all(checks, args, ["rust"], "mosquitto/")
    checks.finish()


if __name__ == "__main__":
    asyncio.run(main())
