"""The official MCP SDK for Python by HTTP at both ends: a client of it before the broker's `/mcp`, with
a token, and a server of it exposed with `--http`; servers of other SDKs beside it. Both eras of the
protocol."""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess

import httpx2
from mcp.client.streamable_http import streamable_http_client

from checks import LIMIT, Checks, parser
from mcp_bridge import CARGO, exposed, program, run_all, rust, typescript

CONFIG = """
durability = "memory"

[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
tokens.keys = ["keys.json"]

[admin]
url = "http://127.0.0.1:0"
"""


class OwnBroker:
    """A broker that knows one key, with the rules for MCP."""

    def __init__(self, opened, args):
        self.agentmq = args.agentmq
        self.folder = pathlib.Path(args.scratch) / "mcp-http"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "agentmq.toml").write_text(CONFIG)
        (self.folder / "policy.toml").write_text('profiles = ["mcp"]\n')
        self.printed("keys", "create", "keys.json")
        command = [self.agentmq, "serve", "--json", "--config", "agentmq.toml"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        opened.enter_context(process)
        opened.callback(process.terminate)
        listening = json.loads(process.stdout.readline())
        self.url, self.admin = listening["listeners"][0]["url"], listening["admin"]

    def printed(self, *arguments):
        command = [self.agentmq, *arguments]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()


async def web_server(opened, name):
    """A server by HTTP, once it can be reached; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = opened.enter_context(subprocess.Popen(program(name, str(port))))
    opened.callback(process.terminate)
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return f"http://127.0.0.1:{port}/mcp"
            await asyncio.sleep(0.05)


async def main():
    arguments = parser(__doc__)
    arguments.add_argument("--agentmq", required=True, help="the program")
    arguments.add_argument("--scratch", required=True, help="a folder to work in")
    args = arguments.parse_args()
    checks = Checks(args.only)
    subprocess.run(["cargo", "build", *CARGO], check=True)
    with contextlib.ExitStack() as opened:
        broker = OwnBroker(opened, args)
        args.url, args.prefix = broker.url, "foreign-mcp"
        os.environ["AGENTMQ_PASSWORD"] = broker.printed("token", "create", "--server", "tools")
        agent = broker.printed("token", "create", "--agent", "scout")
        headers = {"Authorization": f"Bearer {agent}"}

        def reach(_):
            web = httpx2.AsyncClient(headers=headers, timeout=LIMIT)
            return streamable_http_client(broker.admin + "/mcp", http_client=web)

        args.reach = reach
        exposed(opened, args, f"{args.prefix}/calc", "--http", await web_server(opened, "calc"))
        exposed(opened, args, f"{args.prefix}/files", "--", *program("files"))
        typescript(opened, args, "typescript")
        # It has no other way to show who it is.
        login = broker.url.replace("//", f"//server:{os.environ['AGENTMQ_PASSWORD']}@")
        rust(opened, argparse.Namespace(url=login, prefix=args.prefix), "rust")
        await run_all(checks, args, ["calc", "files", "typescript", "rust"])
    checks.finish()


asyncio.run(main())
