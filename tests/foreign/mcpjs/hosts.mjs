// The official MCP SDKs for TypeScript as hosts, with a handshake and without, and the inspector's
// command line: each with servers of four SDKs on the bus. They get at it by bridges, or, with
// `--via http`, by the `/mcp` of a broker of this scenario's own, with a token.

import { execFile, spawn } from "node:child_process";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

import {
  Checks,
  expect,
  expectEqual,
  Inbox,
  LIMIT_MS,
  readArguments,
  within,
} from "../mqttjs/checks.mjs";
import { OwnBroker } from "../mqttjs/own_broker.mjs";

// By `require`, which also looks along NODE_PATH: they may be installed elsewhere.
const require = createRequire(import.meta.url);
const first = {
  ...require("@modelcontextprotocol/sdk/client/index.js"),
  ...require("@modelcontextprotocol/sdk/client/stdio.js"),
  ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
};
const second = {
  ...require("@modelcontextprotocol/client"),
  ...require("@modelcontextprotocol/client/stdio"),
};

const args = readArguments();
const ROOT = path.resolve(import.meta.dirname, "../../..");
const HERE = import.meta.dirname;
const PREFIX = "foreign-hosts";

const FILES = {
  "agentmq.toml": `
durability = "memory"

[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
tokens.keys = ["keys.json"]

[admin]
url = "http://127.0.0.1:0"
`,
  "policy.toml": 'profiles = ["mcp"]\n',
};

/** The bus that this is about: where it is, what lets servers in, and what a host connects to. */
async function findBus() {
  if (args.via === "bridge") {
    const url = `mqtt://${args.host}:${args.port}`;
    const words = ["mcp", "bridge", "--url", url, "--server", `${PREFIX}/#`];
    return { url, password: "", entry: { command: args.agentmq, args: words }, stop() {} };
  }
  const broker = await OwnBroker.prepare(args.agentmq, args.scratch, FILES);
  await broker.run(["keys", "create", "keys.json"]);
  const password = await broker.run(["token", "create", "--server", "tools"]);
  const token = await broker.run(["token", "create", "--agent", "host"]);
  await broker.start();
  const headers = { Authorization: `Bearer ${token}` };
  const entry = { type: "streamable-http", url: `${broker.admin}/mcp`, headers };
  return { url: broker.url, password, entry, stop: () => broker.stop() };
}

const SERVERS = {
  typescript1: ["node", path.join(HERE, "server.mjs"), "1", "typescript1"],
  typescript2: ["node", path.join(HERE, "server.mjs"), "2", "typescript2"],
  python: ["python", path.join(HERE, "../mcp_server.py"), "python"],
  rust: null, // needs nobody who puts it on the bus
};

/** What the cases run: a generation of the SDK, and how it finds out what the server speaks. */
const HOSTS = [
  ["sdk", first, {}, undefined],
  ["client-legacy", second, { versionNegotiation: { mode: "legacy" } }, "legacy"],
  ["client-modern", second, { versionNegotiation: { mode: { pin: "2026-07-28" } } }, "modern"],
];

/** Starts what puts a server on the bus, and waits until it is there. */
async function online(name) {
  const on = `${PREFIX}/${name}`;
  const login = bus.url.replace("//", `//server:${bus.password}@`);
  const [program, words] = SERVERS[name]
    ? [args.agentmq, ["mcp", "expose", "--json", "--url", bus.url, "--name", on, "--"]]
    : ["cargo", [...CARGO("run"), "--example", "rmcp_server", "--", login, on]];
  const env = { ...process.env, AGENTMQ_PASSWORD: bus.password };
  const options = { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"], env };
  const child = spawn(program, [...words, ...(SERVERS[name] ?? [])], options);
  const lines = new Inbox();
  createInterface({ input: child.stdout }).on("line", (line) => lines.put(JSON.parse(line)));
  await lines.until((all) => all.some(({ event }) => event === "online"), `server ${on}`);
  return child;
}

const CARGO = (task) => [task, "--quiet", "--locked", "-p", "agentmq-sdk"];

async function build() {
  const stdio = ["ignore", "inherit", "inherit"];
  const child = spawn("cargo", [...CARGO("build"), "--examples"], { cwd: ROOT, stdio });
  expectEqual(await new Promise((resolve) => child.once("close", resolve)), 0, "build");
}

/** A host that is connected; `opened` closes it. */
async function connect(opened, [, sdk, options, era], more = {}) {
  const client = new sdk.Client({ name: "host", version: "1" }, { ...options, ...more });
  const { url, headers } = bus.entry;
  const transport = url
    ? new sdk.StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } })
    : new sdk.StdioClientTransport(bus.entry);
  const came = [];
  transport.onmessage = (message) => came.push(message); // the client calls it before its own
  await within(client.connect(transport), "connection");
  opened.push(() => client.close());
  if (era) expectEqual(client.getProtocolEra(), era, "era");
  client.came = came;
  return client;
}

/** What the bridge calls a tool: with a hash at its end, since the server's name has a slash. */
function called(listed, server, name) {
  const start = `${PREFIX}-${server}__${name}_`;
  const found = listed.map((item) => item.name).filter((it) => it.startsWith(start));
  expectEqual(found.length, 1, `number of names that begin with ${start}`);
  return found[0];
}

async function toolName(client, server, name) {
  return called((await client.listTools()).tools, server, name);
}

const said = (result) => result.content[0].text;

/** The client's own way to call with options has changed between the generations. */
function call([, sdk], client, request, options) {
  return sdk === first
    ? client.callTool(request, undefined, options)
    : client.callTool(request, options);
}

async function exists(file) {
  for (const until = Date.now() + LIMIT_MS; Date.now() < until; await pause(10)) {
    if (await access(file).then(() => true, () => false)) return;
  }
  throw new Error(`no file ${path.basename(file)}`);
}

const CHECKS = {
  async tools(opened, host, server) {
    const client = await connect(opened, host);
    const name = await toolName(client, server, "add");
    const result = await client.callTool({ name, arguments: { a: 2, b: 40 } });
    expectEqual([said(result), result.isError ?? false], ["42", false], name);
    expectEqual(result.structuredContent, { result: 42 }, "structured content");
  },

  async errors(opened, host, server) {
    const client = await connect(opened, host);
    const failed = await client.callTool({
      name: await toolName(client, server, "fail"),
      arguments: {},
    });
    expect(failed.isError && /fail|disk/.test(said(failed)), `its failure: ${said(failed)}`);
    const name = await toolName(client, server, "add");
    const wrong = await client
      .callTool({ name, arguments: { a: "x", b: 1 } })
      .catch((error) => ({ isError: error.code === -32602 }));
    expect(wrong.isError, `wrong arguments: ${JSON.stringify(wrong)}`);
    const unknown = await client.callTool({ name: "no__such", arguments: {} }).catch((it) => it);
    expectEqual(unknown.code, -32602, "code for an unknown tool");
  },

  async progress(opened, host, server) {
    const client = await connect(opened, host);
    const told = [];
    const name = await toolName(client, server, "steps");
    const options = { onprogress: ({ progress, total }) => told.push([progress, total]) };
    const result = await call(host, client, { name, arguments: { count: 10 } }, options);
    expectEqual(said(result), "done", "result");
    const all = Array.from({ length: 10 }, (_, n) => [n + 1, 10]);
    const messages = client.came.filter(({ method }) => method === "notifications/progress");
    expectEqual(messages.map(({ params }) => [params.progress, params.total]), all, "messages");
    // The client forgets those that it reads together with the answer behind them.
    expectEqual(told, all.slice(0, told.length), "progress");
  },

  async cancellation(opened, host, server) {
    const client = await connect(opened, host);
    const folder = await mkdtemp(path.join(tmpdir(), "agentmq-"));
    opened.push(() => rm(folder, { recursive: true }));
    const [started, stopped] = ["started", "stopped"].map((file) => path.join(folder, file));
    const name = await toolName(client, server, "wait");
    const taken = new AbortController();
    const options = { signal: taken.signal };
    const calling = call(host, client, { name, arguments: { started, stopped } }, options);
    const outcome = calling.then(() => "answered", () => "taken back");
    await exists(started);
    taken.abort();
    await exists(stopped);
    expectEqual(await outcome, "taken back", "outcome");
  },

  async resources(opened, host, server) {
    const client = await connect(opened, host);
    const base = `agentmq://${PREFIX}%2F${server}/`;
    const { resources } = await client.listResources();
    const uris = resources.map(({ uri }) => uri).filter((uri) => uri.startsWith(base));
    expectEqual(uris, [`${base}note://first`], "URIs");
    const read = await client.readResource({ uri: uris[0] });
    expectEqual(read.contents[0].text, `the first note of ${server}`, "contents");
    const { resourceTemplates } = await client.listResourceTemplates();
    const patterns = resourceTemplates.map(({ uriTemplate }) => uriTemplate);
    expect(patterns.some((it) => it.startsWith(`${base}note://{`)), `templates: ${patterns}`);
    const by = await client.readResource({ uri: `${base}note://shopping` });
    expectEqual(by.contents[0].text, `the note shopping of ${server}`, "contents by a template");
  },

  async prompts(opened, host, server) {
    const client = await connect(opened, host);
    const name = called((await client.listPrompts()).prompts, server, "greet");
    const prompt = await client.getPrompt({ name, arguments: { who: "Ada" } });
    expectEqual(prompt.messages[0].content.text, `Greet Ada from ${server}.`, "prompt");
  },

  async "list-changes"(opened, host, server) {
    const lists = new Inbox();
    const onChanged = (error, tools) => lists.put(error ? [] : tools.map((tool) => tool.name));
    const client = await connect(opened, host, { listChanged: { tools: { onChanged } } });
    const name = await toolName(client, server, "grow");
    const more = `from-${host[0]}`;
    await client.callTool({ name, arguments: { tool: more } });
    const start = `${PREFIX}-${server}__${more}_`;
    const has = (list) => list.some((tool) => tool.startsWith(start));
    await lists.until((all) => all.some(has), `list with ${start}`);
    const grown = await toolName(client, server, more);
    expectEqual(said(await client.callTool({ name: grown, arguments: {} })), more, "the new tool");
  },
};

/** The inspector, and what it prints. */
async function inspector(words) {
  const program = require.resolve("@modelcontextprotocol/inspector/package.json");
  const launcher = path.join(path.dirname(program), "clients/launcher/build/index.js");
  const home = await mkdtemp(path.join(tmpdir(), "agentmq-"));
  const config = path.join(home, "mcp.json");
  await writeFile(config, JSON.stringify({ mcpServers: { bus: bus.entry } }));
  const command = [launcher, "--cli", "--config", config, "--server", "bus", ...words];
  command.push("--format", "json");
  try {
    // Its own home, and no keychain.
    const env = { ...process.env, HOME: home, MCP_INSPECTOR_SECRET_STORE: "memory" };
    const options = { env, timeout: LIMIT_MS };
    const { stdout } = await promisify(execFile)(process.execPath, command, options);
    return JSON.parse(stdout).result;
  } finally {
    await rm(home, { recursive: true });
  }
}

async function inspect(era, server) {
  const listed = await inspector(["--protocol-era", era, "--method", "tools/list"]);
  const name = called(listed.tools, server, "add");
  const call = ["--method", "tools/call", "--tool-name", name, "--tool-arg", "a=2", "b=40"];
  expectEqual(said(await inspector(["--protocol-era", era, ...call])), "42", "answer");
}

const checks = new Checks(args.only);
await build();
const bus = await findBus();
const children = await Promise.all(Object.keys(SERVERS).map(online));
for (const host of HOSTS) {
  for (const server of Object.keys(SERVERS)) {
    for (const [name, check] of Object.entries(CHECKS)) {
      await checks.run(`${host[0]}/${server}/${name}`, (opened) => check(opened, host, server));
    }
  }
}
for (const era of ["legacy", "modern"]) {
  await checks.run(`inspector-${era}`, () => inspect(era, "typescript2"));
}
for (const child of children) child.kill();
bus.stop();
checks.finish();
