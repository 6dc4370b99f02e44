"""A small MCP server of revision 2026-07-28 alone, for scenarios: nothing but the standard library.

    mcp_stateless_server.py [--name NAME] [--trace FILE]

It has no `initialize`. `wait` is never answered, and when it is taken back that stands in FILE.
"""

import json
import os

from mcp_fixture import is_first, options, send, serve, steps, trace, wait

REVISION = "2026-07-28"
KEY = "io.modelcontextprotocol/"
listening = {}
tools = ["whoami", "meta", "ask", "wait", "second", "steps", "grow", "touch"]


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
        steps(params)
        return text("all steps done")
    if name == "wait":
        return wait(request)
    if name == "second":
        return None if is_first() else text("second")
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


serve(answer, taken_back=lambda request_id: listening.pop(request_id, None))
