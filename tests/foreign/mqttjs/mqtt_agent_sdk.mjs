// Our Rust SDK and the published package of MQTT.Agent, each as server and as client of the other,
// over our broker and over Debian's Mosquitto. Ours are our examples, as they come.

import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";

import { Checks, expect, expectEqual, Inbox, readArguments, require, within } from "./checks.mjs";
import { OwnBroker } from "./own_broker.mjs";

const { MCPClient, MCPServer, defineTool } = require("@cloudsignal/mcp-over-mqtt");

const args = readArguments();
const quiet = { info() {}, warn() {}, error() {} };
const ROOT = path.resolve(import.meta.dirname, "../../..");

const FILES = {
  "agentmq.toml": `
[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
users = "users.toml"
tokens.keys = ["keys.json"]
service.organizations = "organizations.toml"

[admin]
url = "http://127.0.0.1:0"
`,
  "policy.toml": 'profiles = ["mqtt-agent"]\n',
  "users.toml": `
["ours@acme.test"]
server_id = "calculator"
tool_id = ["add", "count_down"]
org_id = "acme"

["theirs@acme.test"]
server_id = "theirs"
tool_id = ["echo", "fail", "slow"]
org_id = "acme"

["a@acme.test"]
agent_id = "agent-a"
org_id = "acme"

["b@acme.test"]
agent_id = "agent-b"
org_id = "acme"
`,
};

/** Our broker, with the rules of the profile. */
async function startOurs() {
  const broker = await OwnBroker.prepare(args.agentmq, args.scratch, FILES);
  await broker.run(["keys", "create", "keys.json"]);
  const secretKey = await broker.run(["org", "add", "acme"]);
  await broker.start();
  return { url: broker.url, service: broker.admin, secretKey, stop: () => broker.stop() };
}

/** Mosquitto, which lets everybody in, and a token service that gives anything to anybody. */
async function startMosquitto() {
  const service = http.createServer((_, answer) => {
    const inAnHour = new Date(Date.now() + 3_600_000).toISOString();
    const body = {
      access_token: "any",
      mqtt_credentials: { username: "any", password: "any" },
      token_id: "any",
      expires_at: inAnHour,
      refresh_recommended_at: inAnHour,
    };
    answer.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  await new Promise((resolve) => service.listen(0, "127.0.0.1", resolve));
  const free = net.createServer();
  await new Promise((resolve) => free.listen(0, "127.0.0.1", resolve));
  const { port } = free.address();
  await new Promise((resolve) => free.close(resolve));
  await mkdir(args.scratch, { recursive: true });
  const file = path.join(args.scratch, "mosquitto.conf");
  const text = "allow_anonymous true\npersistence false\nlog_type information\nuser root\n";
  await writeFile(file, `${text}listener ${port} 127.0.0.1\n`);
  const stdio = ["ignore", "ignore", "pipe"];
  // Debian installs it where only root's PATH looks.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const broker = spawn("mosquitto", ["-c", file], { stdio, env });
  const running = new Inbox();
  createInterface({ input: broker.stderr }).on("line", (line) => running.put(line));
  await running.until((lines) => lines.some((line) => line.endsWith("running")), "Mosquitto");
  const stop = () => {
    broker.kill();
    service.close();
  };
  const at = `http://127.0.0.1:${service.address().port}`;
  return { url: `mqtt://127.0.0.1:${port}`, service: at, secretKey: "any", stop };
}

/** One of our examples, and the lines that it prints. */
function example(name, words) {
  const command = ["run", "--quiet", "--locked", "-p", "agentmq-sdk", "--example", name, "--"];
  const stdio = ["pipe", "pipe", "inherit"];
  const child = spawn("cargo", [...command, ...words], { cwd: ROOT, stdio });
  const lines = new Inbox();
  const ended = new Promise((resolve) => child.once("close", resolve));
  createInterface({ input: child.stdout }).on("line", (line) => lines.put(line));
  return { child, lines, ended };
}

async function build() {
  const command = ["build", "--quiet", "--locked", "-p", "agentmq-sdk", "--examples"];
  const child = spawn("cargo", command, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  expectEqual(await new Promise((resolve) => child.once("close", resolve)), 0, "build");
}

/** The address with the name and password that the token service gives this user. */
async function address(broker, userEmail) {
  const body = { organization_id: "acme", secret_key: broker.secretKey, user_email: userEmail };
  const asked = await fetch(`${broker.service}/v2/tokens/create`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  const { username, password } = (await asked.json()).mqtt_credentials;
  const login = [username, password].map(encodeURIComponent).join(":");
  return broker.url.replace("mqtt://", `mqtt://${login}@`);
}

/** What our client prints, as values. */
async function ours(broker, words) {
  const client = example("tool_client", [await address(broker, "b@acme.test"), "agent-b", ...words]);
  expectEqual(await within(client.ended, `end of our client, ${words}`), 0, "exit code");
  return client.lines.items.map((line) => JSON.parse(line));
}

const checks = new Checks(args.only);

async function both(name, broker) {
  const credentials = (userEmail) => ({
    orgId: "acme",
    tokenServiceUrl: broker.service,
    secretKey: broker.secretKey,
    userEmail,
  });
  const theirs = new MCPServer({
    name: "theirs",
    broker: broker.url,
    credentials: credentials("theirs@acme.test"),
    logger: quiet,
    tools: [
      defineTool({
        name: "echo",
        description: "Says it again",
        handler: async (given, { client }) => ({ given, client }),
      }),
      defineTool({
        name: "fail",
        description: "Fails",
        handler: async () => {
          throw new Error("on purpose");
        },
      }),
      defineTool({
        name: "slow",
        description: "Says three things on the way",
        supports_streaming: true,
        handler: async (_, { stream }) => {
          for (const said of ["one", { n: 2 }, "three"]) await stream(said);
          return "done";
        },
      }),
    ],
  });
  const server = example("tool_server", [await address(broker, "ours@acme.test")]);
  await server.lines.until((lines) => lines.includes("online"), "our server");
  await within(theirs.start(), "their server");
  const login = { broker: broker.url, credentials: credentials("a@acme.test"), logger: quiet };
  const client = new MCPClient({ clientId: "agent-a", ...login });
  await within(client.start(), "their client");
  const options = { timeoutMs: 10_000 };

  await checks.run(`${name}/their-client-calls-our-tools`, async () => {
    const card = await client.getToolCard("add");
    expectEqual([card?.server, card?.status], ["calculator", "online"], "card");
    expectEqual(await client.call("add", { a: 2, b: 40 }, options), 42, "answer");
    const wrong = await client.call("add", { a: 2, b: "x" }, options).catch((error) => error);
    // Our broker answers before the server sees it, in words of its own.
    const names = /^MCP tool "add" failed \(invalid_arguments\): (arguments: )?\/b: /;
    expect(names.test(wrong.message), `got ${wrong.message}`);
  });

  await checks.run(`${name}/their-client-reads-our-streams`, async () => {
    const said = [];
    const reading = { ...options, onStream: (value) => said.push(value) };
    expectEqual(await client.call("count_down", { from: 3 }, reading), "done, agent-a", "answer");
    expectEqual(said, [3, 2, 1], "stream");
  });

  await checks.run(`${name}/our-client-calls-their-tools`, async () => {
    const listed = (await ours(broker, [])).map(({ tool, online }) => `${tool} ${online}`);
    const all = ["add", "count_down", "echo", "fail", "slow"].map((tool) => `${tool} true`);
    expectEqual(listed, all, "list");
    const result = { client: "agent-b", given: { a: 1 } };
    expectEqual(await ours(broker, ["echo", '{"a":1}']), [{ result }], "answer");
    const [failed] = await ours(broker, ["fail"]);
    expectEqual([failed.failed, failed.message], ["tool_error", "on purpose"], "failure");
    const [nobody] = await ours(broker, ["nobody"]);
    expectEqual(nobody.failed, "unavailable", "failure");
  });

  await checks.run(`${name}/our-client-reads-their-streams`, async () => {
    const words = [{ says: "one" }, { says: { n: 2 } }, { says: "three" }, { result: "done" }];
    expectEqual(await ours(broker, ["slow"]), words, "lines");
  });

  await checks.run(`${name}/our-server-says-that-it-stops`, async () => {
    server.child.stdin.end();
    expectEqual(await within(server.ended, "end of our server"), 0, "exit code");
    const listed = (await ours(broker, [])).filter(({ tool }) => tool === "add");
    expectEqual(listed, [{ online: false, tool: "add" }], "list");
  });

  server.child.kill();
  await theirs.stop();
  await client.stop();
  broker.stop();
}

await build();
await both("agentmq", await startOurs());
await both("mosquitto", await startMosquitto());
checks.finish();
