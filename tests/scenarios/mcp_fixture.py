"""What both MCP servers of the scenarios have: messages by lines, and tools that either revision offers."""

import argparse
import json
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--name", default="fixture")
parser.add_argument("--trace")
options = parser.parse_args()

waiting = set()


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def trace(line):
    if options.trace:
        with open(options.trace, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def steps(params):
    """Reports progress, if the caller wants to hear of it."""
    token = (params.get("_meta") or {}).get("progressToken")
    count = params["arguments"]["count"]
    for step in range(count):
        if token is not None:
            report = {"progressToken": token, "progress": step + 1, "total": count}
            send({"method": "notifications/progress", "params": report})


def wait(request):
    """Never answers; that it is taken back stands in FILE."""
    waiting.add(json.dumps(request["id"]))
    trace("waiting")


def is_first():
    """Whether nobody of all who write to FILE was asked before."""
    with open(options.trace, "a+", encoding="utf-8") as file:
        file.seek(0)
        if "asked" in file.read():
            return False
        file.write("asked\n")
    return True


def handle(message, answer, taken_back):
    if message.get("method") == "notifications/cancelled":
        request_id = json.dumps(message["params"]["requestId"])
        if request_id in waiting:
            waiting.remove(request_id)
            trace("cancelled")
        taken_back(request_id)
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


def serve(answer, taken_back=lambda request_id: None):
    """Answers every request with what `answer` makes of it; None is no answer."""
    try:
        for line in sys.stdin:
            handle(json.loads(line), answer, taken_back)
    except BrokenPipeError:
        pass  # whoever has asked does not read the answer any more
    trace("ended")
