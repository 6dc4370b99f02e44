// The published MCP server and client of MQTT.Agent, for two organisations on one broker: all of them
// use the same names, of topics and of themselves, and each has its own tools and answers.

import { Checks, expectEqual, readArguments, require, within } from "./checks.mjs";
import { OwnBroker } from "./own_broker.mjs";

const { MCPClient, MCPServer, defineTool } = require("@cloudsignal/mcp-over-mqtt");

const args = readArguments();
const quiet = { info() {}, warn() {}, error() {} };
const ORGANIZATIONS = ["acme", "other"];

const CONFIG = `
[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
users = "users.toml"
tokens.keys = ["keys.json"]
service.organizations = "organizations.toml"
isolate_organizations = true

[admin]
url = "http://127.0.0.1:0"
`;
const USERS = ORGANIZATIONS.map(
  (org) => `
["tools@${org}.test"]
server_id = "srv"
org_id = "${org}"
tool_id = "echo"

["a@${org}.test"]
agent_id = "agent"
org_id = "${org}"
`,
).join("");

const broker = await OwnBroker.prepare(args.agentmq, args.scratch, {
  "agentmq.toml": CONFIG,
  "policy.toml": 'profiles = ["mqtt-agent"]\n',
  "users.toml": USERS,
  "organizations.toml": "[acme]\n[other]\n",
});
await broker.run(["keys", "create", "keys.json"]);
const secretKeys = {};
for (const org of ORGANIZATIONS) secretKeys[org] = await broker.run(["org", "secret", org]);
await broker.start();

const credentials = (org, who) => ({
  orgId: org,
  tokenServiceUrl: broker.admin,
  secretKey: secretKeys[org],
  userEmail: `${who}@${org}.test`,
});

function newServer(org) {
  const echo = defineTool({
    name: "echo",
    description: `Says it again, for ${org}`,
    input_schema: { type: "object" },
    handler: async (given) => ({ given, of: org }),
  });
  const options = { broker: broker.url, credentials: credentials(org, "tools"), logger: quiet };
  return new MCPServer({ name: "srv", tools: [echo], ...options });
}

function newClient(org) {
  const options = { broker: broker.url, credentials: credentials(org, "a"), logger: quiet };
  return new MCPClient({ clientId: "agent", ...options });
}

const checks = new Checks(args.only);
const servers = ORGANIZATIONS.map(newServer);
for (const server of servers) await within(server.start(), "server");
const clients = ORGANIZATIONS.map(newClient);
for (const client of clients) await within(client.start(), "client");

await checks.run("each-has-its-own-tool-of-the-same-name", async () => {
  for (const [at, org] of ORGANIZATIONS.entries()) {
    const card = await clients[at].getToolCard("echo");
    expectEqual([card?.server, card?.status], ["srv", "online"], "card");
    const calls = [1, 2, 3, 4].map((n) => clients[at].call("echo", { n }, { timeoutMs: 10_000 }));
    const answers = await Promise.all(calls);
    const expected = [1, 2, 3, 4].map((n) => ({ given: { n }, of: org }));
    expectEqual(answers, expected, "answers");
  }
});

await checks.run("nobody-answers-for-one-that-has-gone", async () => {
  await servers[1].stop();
  const options = { timeoutMs: 1_500 };
  const unanswered = await clients[1].call("echo", {}, options).catch((error) => error);
  expectEqual(unanswered instanceof Error, true, "the tool of the other organisation answered");
  const answer = await clients[0].call("echo", {}, { timeoutMs: 10_000 });
  expectEqual(answer.of, "acme", "the other one goes on");
});

await servers[0].stop();
for (const client of clients) await client.stop();
broker.stop();
checks.finish();
