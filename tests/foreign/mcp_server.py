"""An MCP server of the official Python SDK, as anybody would write it: on standard input and output,
or by HTTP on a port of this machine."""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer(sys.argv[1])


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail, and say so."""
    raise ValueError("the disk is full")


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Report each step."""
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step + 1}")
    return "done"


@server.tool()
async def wait(started: str, stopped: str) -> str:
    """Work until it is taken back; both moments leave a file."""
    await anyio.Path(started).write_text("started")
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(stopped).write_text("stopped")
    return "never"


@server.tool()
async def grow(tool: str, ctx: Context) -> str:
    """Have one tool more."""

    def more() -> str:
        """Say that it is there."""
        return tool

    server.add_tool(more, name=tool)
    await ctx.session.send_tool_list_changed()  # to who has a session
    await ctx.notify_tools_changed()  # to who listens
    return "grown"


@server.resource("note://{title}")
def note(title: str) -> str:
    """A note by its title."""
    return f"the note {title} of {sys.argv[1]}"


@server.resource("note://first")
def first() -> str:
    """The first note."""
    return f"the first note of {sys.argv[1]}"


@server.prompt()
def greet(who: str) -> str:
    """Greet somebody."""
    return f"Greet {who} from {sys.argv[1]}."


if len(sys.argv) > 2:
    server.run("streamable-http", port=int(sys.argv[2]))
else:
    server.run()
