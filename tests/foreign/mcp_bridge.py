"""The official MCP SDK for Python on both ends: two of its servers exposed on the bus, one of its
clients before a bridge, as a host would start it. Both eras of the protocol."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

from mcp import Client, MCPError, StdioServerParameters

from checks import LIMIT, Checks, expect, expect_equal, parser

HERE = pathlib.Path(__file__).parent
NAMES = ["add", "fail", "steps", "wait"]


def exposed(opened, args, name, server):
    """Puts a server on the bus, and waits until it is there."""
    command = [args.agentmq, "mcp", "expose", "--json", "--url", args.url, "--name", name, "--"]
    command += [sys.executable, str(HERE / "mcp_server.py"), server]
    process = opened.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    opened.callback(process.terminate)
    online = json.loads(process.stdout.readline())
    expect_equal(online.get("event"), "online", f"first line of expose {name}")
    return process


def host(args, mode, **options):
    """A host's client, which starts the bridge itself."""
    arguments = ["mcp", "bridge", "--url", args.url, "--server", args.prefix + "/#"]
    parameters = StdioServerParameters(command=args.agentmq, args=arguments)
    return Client(parameters, mode=mode, read_timeout_seconds=LIMIT, **options)


async def connected(opened, case, **options):
    args, mode = case
    return await opened.enter_async_context(host(args, mode, **options))


def called(tools, server, tool):
    """What the bridge calls a tool: with a hash at its end, since the server's name has a slash."""
    start = f"{server.replace('/', '-')}__{tool}_"
    found = [it.name for it in tools.tools if it.name.startswith(start)]
    expect(len(found) == 1, f"one tool begins with {start}: {[it.name for it in tools.tools]}")
    return found[0]


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


async def tools_of_two_servers(opened, case):
    client = await connected(opened, case)
    tools = await client.list_tools()
    expect_equal(len(tools.tools), 2 * len(NAMES), "tools")
    for server in ("calc", "files"):
        name = called(tools, f"{case[0].prefix}/{server}", "add")
        result = await client.call_tool(name, {"a": 2, "b": 40})
        expect_equal((text(result), result.is_error), ("42", False), name)
        expect_equal(result.structured_content, {"result": 42}, "structured content")


async def errors(opened, case):
    client = await connected(opened, case)
    tools = await client.list_tools()
    prefix = case[0].prefix
    failed = await client.call_tool(called(tools, f"{prefix}/calc", "fail"), {})
    expect(failed.is_error and "Error executing tool" in text(failed), f"its failure: {failed}")
    wrong = await client.call_tool(called(tools, f"{prefix}/calc", "add"), {"a": "x", "b": 1})
    expect(wrong.is_error, f"wrong arguments: {wrong}")
    try:
        await client.call_tool("no__such", {})
    except MCPError as error:
        expect_equal(error.error.code, -32602, "code for an unknown tool")
    else:
        raise AssertionError("an unknown tool was called")


async def progress(opened, case):
    client = await connected(opened, case)
    tools = await client.list_tools()
    told = []

    async def tell(done, total, message):
        told.append((done, total, message))

    name = called(tools, f"{case[0].prefix}/calc", "steps")
    result = await client.call_tool(name, {"count": 10}, progress_callback=tell)
    expect_equal(text(result), "done", "result")
    expect_equal(told, [(n, 10, f"step {n}") for n in range(1, 11)], "progress")


async def cancellation(opened, case):
    client = await connected(opened, case)
    tools = await client.list_tools()
    folder = pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory()))
    started, stopped = folder / "started", folder / "stopped"
    name = called(tools, f"{case[0].prefix}/calc", "wait")
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
    client = await connected(opened, case)
    prefix = case[0].prefix
    listed = await client.list_resources()
    uris = sorted(str(it.uri) for it in listed.resources)
    server = f"agentmq://{prefix}%2Fcalc/"
    expect_equal(uris, [f"agentmq://{prefix}%2F{it}/note://first" for it in ("calc", "files")], "URIs")
    read = await client.read_resource(uris[0])
    expect_equal(read.contents[0].text, "the first note of calc", "contents")
    templates = await client.list_resource_templates()
    patterns = [it.uri_template for it in templates.resource_templates]
    expect(server + "note://{name}" in patterns, f"templates: {patterns}")
    read = await client.read_resource(server + "note://shopping")
    expect_equal(read.contents[0].text, "the note shopping of calc", "contents by a template")


async def prompts(opened, case):
    client = await connected(opened, case)
    listed = await client.list_prompts()
    expect_equal(len(listed.prompts), 2, "prompts")
    start = f"{case[0].prefix}-files__greet"
    name = next(it.name for it in listed.prompts if it.name.startswith(start))
    prompt = await client.get_prompt(name, {"who": "Ada"})
    expect_equal(prompt.messages[0].content.text, "Greet Ada from files.", "prompt")


async def list_changes(opened, case):
    """A server that leaves takes its tools with it, and the host is told of both."""
    args, mode = case
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
    with contextlib.ExitStack() as more:
        third = exposed(more, args, args.prefix + "/third", "third")
        await asyncio.wait_for(change(), LIMIT)
        tools = await client.list_tools(cache_mode="bypass")
        expect_equal(len(tools.tools), before + len(NAMES), "tools with the third server")
        third.terminate()
        await asyncio.wait_for(change(), LIMIT)
        tools = await client.list_tools(cache_mode="bypass")
        expect_equal(len(tools.tools), before, "tools without it")


async def main():
    arguments = parser(__doc__)
    arguments.add_argument("--agentmq", required=True, help="the program")
    args = arguments.parse_args()
    args.url = f"mqtt://{args.host}:{args.port}"
    args.prefix = "foreign-mcp"
    checks = Checks(args.only)
    with contextlib.ExitStack() as opened:
        for name in ("calc", "files"):
            exposed(opened, args, f"{args.prefix}/{name}", name)
        for mode in ("legacy", "auto"):
            case = (args, mode)
            for check in (
                tools_of_two_servers,
                errors,
                progress,
                cancellation,
                resources,
                prompts,
                list_changes,
            ):
                name = check.__name__.replace("_", "-")
                await checks.run_async(f"{mode}/{name}", run, check, case)
    checks.finish()


asyncio.run(main())
