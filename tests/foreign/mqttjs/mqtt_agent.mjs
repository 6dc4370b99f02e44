// The published MCP server and client of MQTT.Agent with our token service, as they come: nothing
// about them is changed, and their peer package is replaced by one with its weaknesses.

import { Checks, expect, expectEqual, Inbox, readArguments, require, within } from "./checks.mjs";
import { OwnBroker } from "./own_broker.mjs";

const mqtt = require("mqtt");
const { MCPClient, MCPServer, defineTool } = require("@cloudsignal/mcp-over-mqtt");
const { CloudSignalClient } = require("@cloudsignal/mqtt-client");

const args = readArguments();
const quiet = { info() {}, warn() {}, error() {} };
const LIFETIME_SECS = 6;

const CONFIG = `
[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
users = "users.toml"
tokens.keys = ["keys.json"]
service.organizations = "organizations.toml"
service.lifetime_secs = ${LIFETIME_SECS}

[admin]
url = "http://127.0.0.1:0"
`;
const USERS = `
["tools@acme.test"]
server_id = "tool-srv"
org_id = "acme"
tool_id = ["echo", "fail", "slow"]

["a@acme.test"]
agent_id = "agent-a"
org_id = "acme"
`;
const POLICY = `
profiles = ["mqtt-agent"]

[[rules]]
name = "nobody calls it"
effect = "deny"
topics = ["a2a/v1/mcp/tools/forbidden/call"]
`;
const PROVIDER = `
[[acme.providers]]
name = "idp"
issuer = "https://idp.test"
audience = "acme"
keys = "idp.json"
claims = { agent_id = "agent_id" }
`;
const IDP = `
[access]
tokens.keys = ["idp.json"]
tokens.issuers = ["https://idp.test"]
tokens.audience = "acme"
`;

const broker = await OwnBroker.prepare(args.agentmq, args.scratch, {
  "agentmq.toml": CONFIG,
  "policy.toml": POLICY,
  "users.toml": USERS,
  "idp.toml": IDP,
  "organizations.toml": PROVIDER,
});
await broker.run(["keys", "create", "keys.json"]);
await broker.run(["keys", "create", "idp.json"]);
const secretKey = await broker.run(["org", "secret", "acme"]);
await broker.start();
const base = { orgId: "acme", tokenServiceUrl: broker.admin };

const tools = [
  defineTool({
    name: "echo",
    description: "Says it again",
    input_schema: { type: "object", properties: { n: { type: "integer" } } },
    handler: async (given) => ({ given }),
  }),
  defineTool({
    name: "fail",
    description: "Fails",
    input_schema: { type: "object" },
    handler: async () => {
      throw new Error("on purpose");
    },
  }),
  defineTool({
    name: "slow",
    description: "Says three things on the way",
    input_schema: { type: "object" },
    supports_streaming: true,
    handler: async (_, { stream }) => {
      for (const word of ["one", "two", "three"]) await stream(word);
      return "done";
    },
  }),
];

function newServer(name, userEmail) {
  const credentials = { ...base, secretKey, userEmail };
  return new MCPServer({ name, tools, broker: broker.url, credentials, logger: quiet });
}

function newClient(clientId, more) {
  const credentials = { ...base, ...more };
  return new MCPClient({ clientId, broker: broker.url, credentials, logger: quiet });
}

const ofAgentA = { secretKey, userEmail: "a@acme.test" };
const checks = new Checks(args.only);
const server = newServer("tool-srv", "tools@acme.test");
await within(server.start(), "server");
const ofServer = CloudSignalClient.last;
const client = newClient("agent-a", ofAgentA);
await within(client.start(), "client");
const ofClient = CloudSignalClient.last;

await checks.run("tools-are-found-and-called", async () => {
  const card = await client.getToolCard("echo");
  expectEqual([card?.tool, card?.server, card?.status], ["echo", "tool-srv", "online"], "card");
  const answer = await client.call("echo", { a: 1 }, { timeoutMs: 10_000 });
  expectEqual(answer, { given: { a: 1 } }, "answer");
  const answers = await Promise.all(
    [1, 2, 3, 4, 5, 6].map((n) => client.call("echo", { n }, { timeoutMs: 10_000 })),
  );
  expectEqual(answers.map(({ given }) => given.n), [1, 2, 3, 4, 5, 6], "answers side by side");
});

await checks.run("a-tool-that-fails-says-so", async () => {
  const failed = await client.call("fail", {}, { timeoutMs: 10_000 }).catch((error) => error);
  expectEqual(failed.message, 'MCP tool "fail" failed (tool_error): on purpose', "error");
});

await checks.run("arguments-that-are-not-what-the-card-says-do-not-reach-the-tool", async () => {
  const options = { timeoutMs: 10_000 };
  const refused = await client.call("echo", { n: "one" }, options).catch((error) => error);
  const start = 'MCP tool "echo" failed (invalid_arguments): /n: ';
  expect(refused.message?.startsWith(start), `got ${refused.message}`);
});

await checks.run("a-call-that-is-not-allowed-fails-with-a-typed-error", async () => {
  const options = { timeoutMs: 10_000 };
  const refused = await client.call("forbidden", {}, options).catch((error) => error);
  const start = 'MCP tool "forbidden" failed (unauthorized): ';
  expect(refused.message?.startsWith(start), `got ${refused.message}`);
});

await checks.run("a-stream-is-read-by-who-called", async () => {
  const words = [];
  const options = { timeoutMs: 10_000, onStream: (word) => words.push(word) };
  expectEqual(await client.call("slow", {}, options), "done", "answer");
  expectEqual(words, ["one", "two", "three"], "stream");
});

await checks.run("a-provider-s-token-is-exchanged", async (opened) => {
  const create = ["token", "create", "--agent", "agent-b", "--config", "idp.toml"];
  const externalToken = await broker.run(create);
  const other = newClient("agent-b", { externalToken });
  opened.push(() => other.stop());
  await within(other.start(), "client with an exchanged token");
  expectEqual(await other.call("echo", {}, { timeoutMs: 10_000 }), { given: {} }, "answer");
});

await checks.run("an-impostor-is-refused-at-its-subscription", async (opened) => {
  const impostor = newClient("agent-z", ofAgentA);
  opened.push(() => CloudSignalClient.last.disconnect());
  const refused = await impostor.start().catch((error) => error);
  expect(refused instanceof Error, "it started with another agent's client identifier");
  expect(refused.message.startsWith("Subscribe error:"), refused.message);
});

await checks.run("an-impostor-of-a-server-is-refused-by-its-will", async () => {
  const impostor = newServer("other-srv", "tools@acme.test");
  const refused = await impostor.start().catch((error) => error);
  expect(refused instanceof Error, "it started as a server that it is not");
  expect(/not authorized/i.test(refused.message), refused.message);
});

await checks.run("wrong-credentials-are-told", async () => {
  const wrong = newClient("agent-a", { ...ofAgentA, secretKey: "sk_wrong" });
  const refused = await wrong.start().catch((error) => error);
  expect(refused.message.startsWith("AUTH_FAILED:"), refused.message);
});

await checks.run("an-answer-is-not-sent-to-another-agent", async (opened) => {
  const body = { organization_id: "acme", secret_key: secretKey, user_email: "a@acme.test" };
  const asked = await fetch(`${broker.admin}/v2/tokens/create`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  const { mqtt_credentials } = await asked.json();
  const options = { protocolVersion: 5, reconnectPeriod: 0, ...mqtt_credentials };
  const raw = await mqtt.connectAsync(broker.url, options);
  opened.push(() => raw.endAsync());
  const call = JSON.stringify({ call_id: "c", arguments: {}, client: "agent-b" });
  const send = (responseTopic) =>
    raw
      .publishAsync("a2a/v1/mcp/tools/echo/call", call, { qos: 1, properties: { responseTopic } })
      .catch((error) => error);
  const refused = await send("a2a/v1/mcp/clients/agent-b/responses");
  expect(/not authorized/i.test(refused.message ?? ""), "the call was taken");
  const taken = await send("a2a/v1/mcp/clients/agent-a/responses");
  expect(!(taken instanceof Error), `its own was refused: ${taken.message}`);
});

await checks.run("the-first-token-is-good-while-it-is-refreshed", async () => {
  const refreshed = new Inbox();
  const watch = setInterval(() => {
    if (ofClient.refreshes >= 2 && ofServer.refreshes >= 2) refreshed.put(true);
  }, 50);
  await refreshed.count(1, "two refreshes of both");
  clearInterval(watch);
  expectEqual(await client.call("echo", {}, { timeoutMs: 10_000 }), { given: {} }, "answer");
  // The published peer comes back with its first token, which is too old by itself.
  await within(Promise.all([ofClient.cut(), ofServer.cut()]), "reconnect");
  const called = new Inbox();
  const again = setInterval(async () => {
    const answer = await client.call("echo", {}, { timeoutMs: 1_000 }).catch(() => undefined);
    if (answer) called.put(answer);
  }, 1_100);
  await called.count(1, "answer after a reconnect");
  clearInterval(again);
});

await server.stop();
await client.stop();
broker.stop();
checks.finish();
