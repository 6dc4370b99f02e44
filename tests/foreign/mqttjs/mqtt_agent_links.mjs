// The published MCP server and client of MQTT.Agent where links break and servers go: what the
// broker does so that neither calls nor cards are lost by it. Nothing about the package is changed.

import { Checks, expect, expectEqual, Inbox, readArguments, require, within } from "./checks.mjs";
import { OwnBroker } from "./own_broker.mjs";

const mqtt = require("mqtt");
const { MCPClient, MCPServer, defineTool } = require("@cloudsignal/mcp-over-mqtt");
const { CloudSignalClient } = require("@cloudsignal/mqtt-client");

const args = readArguments();
const quiet = { info() {}, warn() {}, error() {} };

const CONFIG = `
[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
users = "users.toml"
tokens.keys = ["keys.json"]
service.organizations = "organizations.toml"

[admin]
url = "http://127.0.0.1:0"
`;
const USERS = `
["tools@acme.test"]
server_id = "tool-srv"
org_id = "acme"
tool_id = ["who", "wait"]

["a@acme.test"]
agent_id = "agent-a"
org_id = "acme"
`;

const broker = await OwnBroker.prepare(args.agentmq, args.scratch, {
  "agentmq.toml": CONFIG,
  "policy.toml": 'profiles = ["mqtt-agent"]\n',
  "users.toml": USERS,
});
await broker.run(["keys", "create", "keys.json"]);
const secretKey = await broker.run(["org", "add", "acme"]);
await broker.start();

const credentials = (userEmail) => ({
  orgId: "acme",
  tokenServiceUrl: broker.admin,
  secretKey,
  userEmail,
});
const calls = new Inbox();

/** A server, its link, and what it waits for before it answers. */
async function startServer(name) {
  const answers = new Inbox();
  const tools = [
    defineTool({ name: "who", description: "Who answers", handler: async () => name }),
    defineTool({
      name: "wait",
      description: "Answers when it is told to",
      handler: async () => {
        calls.put(name);
        await answers.count(1, "word to answer");
        return `late from ${name}`;
      },
    }),
  ];
  const options = { name: "tool-srv", tools, broker: broker.url, logger: quiet };
  const server = new MCPServer({ ...options, credentials: credentials("tools@acme.test") });
  await within(server.start(), `server ${name}`);
  return { server, answers, link: CloudSignalClient.last };
}

const checks = new Checks(args.only);
const client = new MCPClient({
  clientId: "agent-a",
  broker: broker.url,
  credentials: credentials("a@acme.test"),
  logger: quiet,
});
await within(client.start(), "client");
const ofClient = CloudSignalClient.last;
const call = (tool, timeoutMs = 20_000) => client.call(tool, {}, { timeoutMs });
const failure = (calling) => calling.then(() => "an answer", (error) => error.message);
const isUnavailable = (message, tool) => {
  const start = `MCP tool "${tool}" failed (unavailable): `;
  expect(message.startsWith(start), `got ${message}`);
};

/** Collects what a card says, as its status changes. */
async function watchCard(topic, opened) {
  const token = await fetch(`${broker.admin}/v2/tokens/create`, {
    method: "POST",
    body: JSON.stringify({
      organization_id: "acme",
      secret_key: secretKey,
      user_email: "a@acme.test",
    }),
  });
  const { mqtt_credentials } = await token.json();
  const watcher = await mqtt.connectAsync(broker.url, { protocolVersion: 5, ...mqtt_credentials });
  opened.push(() => watcher.endAsync());
  const seen = new Inbox();
  watcher.on("message", (_, payload) => seen.put(JSON.parse(payload.toString()).status));
  await watcher.subscribeAsync(topic, { qos: 1 });
  await seen.count(1, "card");
  return seen;
}

await checks.run("a-tool-without-a-server-is-unavailable-at-once", async () => {
  isUnavailable(await failure(call("nobody")), "nobody");
});

let one = await startServer("one");

await checks.run("an-answer-waits-for-a-caller-that-is-away", async () => {
  const waiting = call("wait");
  await calls.count(1, "call");
  const back = ofClient.cut();
  one.answers.put(true);
  expectEqual(await waiting, "late from one", "answer");
  await within(back, "reconnect");
});

await checks.run("a-call-waits-for-a-server-whose-link-has-broken", async (opened) => {
  const card = await watchCard("a2a/v1/mcp/servers/tool-srv/card", opened);
  const back = one.link.cut();
  expectEqual(await call("who"), "one", "answer");
  await within(back, "reconnect");
  expectEqual(card.items, ["online"], "card");
});

await checks.run("replicas-answer-in-turns", async (opened) => {
  const two = await startServer("two");
  opened.push(() => two.server.stop());
  const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => call("who")));
  const counts = ["one", "two"].map((name) => answers.filter((it) => it === name).length);
  expectEqual(counts, [3, 3], "answers of each");
});

await checks.run("a-replica-that-stops-leaves-the-service-online", async (opened) => {
  const card = await watchCard("a2a/v1/mcp/servers/tool-srv/card", opened);
  expectEqual(card.items, ["online"], "card");
  expectEqual((await client.getToolCard("who"))?.status, "online", "card of the tool");
  expectEqual(await call("who"), "one", "answer");
});

await checks.run("a-server-that-dies-leaves-nobody-waiting", async (opened) => {
  const card = await watchCard("a2a/v1/mcp/servers/tool-srv/card", opened);
  const tool = await watchCard("a2a/v1/mcp/tools/wait/card", opened);
  const two = await startServer("two");
  const failed = failure(call("wait"));
  await calls.count(2, "call");
  one.link.kill();
  two.link.kill();
  isUnavailable(await failed, "wait");
  await card.until((items) => items.at(-1) === "offline", "offline card");
  await tool.until((items) => items.at(-1) === "offline", "offline card of the tool");
  const offline = card.items.filter((status) => status === "offline").length;
  expectEqual(offline, 1, "wills that were sent");
  isUnavailable(await failure(call("who")), "who");
  one = await startServer("one");
  expectEqual(await call("who"), "one", "answer of a new one");
});

await one.server.stop();
await client.stop();
broker.stop();
checks.finish();
