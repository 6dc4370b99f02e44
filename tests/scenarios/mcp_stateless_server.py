"""A small MCP server of revision 2026-07-28 alone, for scenarios: nothing but the standard library.

    mcp_stateless_server.py [--name NAME] [--trace FILE]

It has no `initialize`. `wait` is never answered, and when it is taken back that stands in FILE.
"""

import argparse
import json
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--name", default="fixture")
parser.add_argument("--trace")
options = parser.parse_args()

REVISION = "2026-07-28"
KEY = "io.modelcontextprotocol/"
waiting = {}
listening = {}
tools = ["whoami", "meta", "ask", "wait", "second", "steps", "grow", "touch"]


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def trace(line):
    if options.trace:
        with open(options.trace, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def notify(method, wants, params=None):
    for subscription, wanted in listening.items():
        if wants(wanted):
            meta = {KEY + "subscriptionId": json.loads(subscription)}
            send({"method": method, "params": {**(params or {}), "_meta": meta}})


def text(value):
    return {"resultType": "complete", "content": [{"type": "text", "text": value}]}


def describe(name):
    hints = {"idempotentHint": name == "second"}
    schema = {"type": "object", "properties": {}}
    return {"name": name, "inputSchema": schema, "annotations": hints}


def ask(params):
    answers = params.get("inputResponses")
    if answers is None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        question = {"mode": "form", "message": "Who are you?", "requestedSchema": schema}
        request = {"method": "elicitation/create", "params": question}
        return {
            "resultType": "input_required",
            "inputRequests": {"who": request},
            "requestState": "state-1",
        }
    name = answers["who"]["content"]["name"]
    return text(f"{name} with {params['requestState']}")


def call(request, params):
    name, meta = params["name"], params["_meta"]
    if name not in tools:
        raise LookupError(f"unknown tool: {name}")
    if name == "whoami":
        return text(str(os.getpid()))
    if name == "meta":
        return text(json.dumps(meta))
    if name == "ask":
        return ask(params)
    if name == "steps":
        for step in range(params["arguments"]["count"]):
            if "progressToken" in meta:
                report = {"progressToken": meta["progressToken"], "progress": step + 1}
                send({"method": "notifications/progress", "params": report})
        return text("all steps done")
    if name == "wait":
        waiting[json.dumps(request["id"])] = True
        trace("waiting")
        return None
    if name == "second":
        # Whoever is asked first, of all who write to FILE, does not answer.
        with open(options.trace, "a+", encoding="utf-8") as file:
            file.seek(0)
            if "asked" in file.read():
                return text("second")
            file.write("asked\n")
        return None
    if name == "grow":
        tools.append("grown")
        if params.get("arguments", {}).get("unheard"):
            for subscription in list(listening):
                listening.pop(subscription)
                error = {"code": -32603, "message": "no more"}
                send({"id": json.loads(subscription), "error": error})
        notify("notifications/tools/list_changed", lambda it: it.get("toolsListChanged"))
        return text("grown")
    uri = "note:///one"
    wants = lambda it: uri in it.get("resourceSubscriptions", [])
    notify("notifications/resources/updated", wants, {"uri": uri})
    return text("touched")


def answer(request):
    method, params = request["method"], request.get("params") or {}
    meta = params.get("_meta") or {}
    if KEY + "protocolVersion" not in meta or KEY + "clientCapabilities" not in meta:
        raise LookupError("request _meta is missing")
    if method == "server/discover":
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
        }
        info = {"name": options.name, "version": "1"}
        return {
            "resultType": "complete",
            "supportedVersions": [REVISION],
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {KEY + "serverInfo": info},
        }
    cached = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    if method == "tools/list":
        return {**cached, "tools": [describe(name) for name in tools]}
    if method == "tools/call":
        return call(request, params)
    if method == "resources/list":
        return {**cached, "resources": [{"uri": "note:///one", "name": "one"}]}
    if method == "resources/templates/list":
        return {**cached, "resourceTemplates": []}
    if method == "resources/read":
        return {**cached, "contents": [{"uri": params["uri"], "text": "a note"}]}
    if method == "subscriptions/listen":
        wanted = params["notifications"]
        listening[json.dumps(request["id"])] = wanted
        meta = {KEY + "subscriptionId": request["id"]}
        told = {"notifications": wanted, "_meta": meta}
        send({"method": "notifications/subscriptions/acknowledged", "params": told})
        trace(f"listening {sorted(wanted.get('resourceSubscriptions', []))}")
        return None
    raise NotImplementedError(method)


def handle(message):
    if message.get("method") == "notifications/cancelled":
        known = json.dumps(message["params"]["requestId"])
        listening.pop(known, None)
        if waiting.pop(known, None):
            trace("cancelled")
        return
    if "id" not in message or "method" not in message:
        return
    try:
        result = answer(message)
    except NotImplementedError as error:
        send({"id": message["id"], "error": {"code": -32601, "message": str(error)}})
    except (LookupError, TypeError, KeyError) as error:
        send({"id": message["id"], "error": {"code": -32602, "message": str(error)}})
    else:
        if result is not None:
            send({"id": message["id"], "result": result})


try:
    for line in sys.stdin:
        handle(json.loads(line))
except BrokenPipeError:
    pass  # whoever has asked does not read the answer any more
trace("ended")
