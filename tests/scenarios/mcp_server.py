"""A small MCP server on standard input and output, for scenarios: nothing but the standard library.

    mcp_server.py [--name NAME] [--trace FILE]

It answers in the order in which it can: `wait` never, and when it is taken back that stands in FILE.
"""

import json
import os
import sys

from mcp_fixture import is_first, options, send, serve, steps, trace, wait

tools = ["echo", "add", "fail", "steps", "wait", "second", "crash", "grow", "whoami", "environment"]
watched = set()


def describe(name):
    properties = {
        "echo": {"message": {"type": "string"}},
        "add": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "steps": {"count": {"type": "integer"}},
    }.get(name, {})
    schema = {"type": "object", "properties": properties}
    hints = {"idempotentHint": name == "second"}
    about = {"name": name, "description": f"{name} of {options.name}", "annotations": hints}
    return {**about, "inputSchema": schema}


def text(value, is_error=False):
    return {"content": [{"type": "text", "text": value}], "isError": is_error}


def call(request, params):
    name, arguments = params.get("name"), params.get("arguments") or {}
    if name not in tools:
        raise LookupError(f"unknown tool: {name}")
    if name == "echo":
        return text(arguments["message"])
    if name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if name == "fail":
        return text("it did not work \x1b[2J", is_error=True)
    if name == "steps":
        steps(params)
        return text("all steps done")
    if name == "wait":
        return wait(request)
    if name == "second":
        return None if is_first() else text("second")
    if name == "crash":
        sys.stderr.write("about to crash\n")
        sys.stderr.flush()
        os._exit(7)
    if name == "grow":
        tools.append("grown")
        send({"method": "notifications/tools/list_changed"})
        return text("grown")
    if name == "whoami":
        return text(str(os.getpid()))
    if name == "environment":
        return text(json.dumps(dict(os.environ)))
    return text(name)


def answer(request):
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "prompts": {},
            "completions": {},
        }
        info = {"name": options.name, "version": "1", "title": f"The {options.name} server"}
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
    if method == "ping":
        return {}
    if method == "tools/list":
        # In pages of four.
        start = int(params.get("cursor") or 0)
        page = {"tools": [describe(name) for name in tools[start : start + 4]]}
        if start + 4 < len(tools):
            page["nextCursor"] = str(start + 4)
        return page
    if method == "tools/call":
        return call(request, params)
    if method == "resources/list":
        return {"resources": [{"uri": "note:///one", "name": "one"}]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "note:///{name}", "name": "any note"}]}
    if method == "resources/read":
        contents = {"uri": params["uri"], "text": f"{params['uri']} of {options.name}"}
        return {"contents": [contents]}
    if method == "resources/subscribe":
        watched.add(params["uri"])
        send({"method": "notifications/resources/updated", "params": {"uri": params["uri"]}})
        return {}
    if method == "resources/unsubscribe":
        watched.discard(params["uri"])
        trace(f"unsubscribed {params['uri']}")
        return {}
    if method == "prompts/list":
        return {"prompts": [{"name": "greet", "arguments": [{"name": "who"}]}]}
    if method == "prompts/get":
        said = f"Greet {params['arguments']['who']} from {options.name}."
        return {"messages": [{"role": "user", "content": {"type": "text", "text": said}}]}
    if method == "completion/complete":
        return {"completion": {"values": [params["argument"]["value"] + "-completed"]}}
    raise NotImplementedError(method)


sys.stderr.write("started\n")
sys.stderr.flush()
serve(answer)
