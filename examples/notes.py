"""An MCP server of the official SDK for Python (PyPI `mcp`) that knows nothing of MQTT. This puts it
on the bus:

    agentmq mcp expose --name notes -- python3 examples/notes.py

And this calls it, from any machine:

    agentmq tools call notes/remember --arg title=shopping --arg text=bread
    agentmq tools call notes/recall --arg title=shopping
"""

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes")
notes = {}


@server.tool()
def remember(title: str, text: str) -> str:
    """Keep a note under its title."""
    notes[title] = text
    return f"{len(notes)} kept"


@server.tool()
def recall(title: str) -> str:
    """What was kept under this title."""
    return notes.get(title, "nothing")


@server.resource("note://{title}")
def note(title: str) -> str:
    """The same, as a resource."""
    return notes.get(title, "nothing")


server.run()
