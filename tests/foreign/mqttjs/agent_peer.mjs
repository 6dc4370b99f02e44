// The published server and client of MQTT.Agent as a program, for scenarios in other languages: it
// serves three tools, and calls what it is told to. Lines in: {"tool", "args"}; lines out: {"ready"},
// then {"result"} or {"failed"} and what was streamed, for each.

import http from "node:http";
import { createInterface } from "node:readline";

import { readArguments, require } from "./checks.mjs";

const { MCPClient, MCPServer, defineTool } = require("@cloudsignal/mcp-over-mqtt");

const args = readArguments();
const quiet = { info() {}, warn() {}, error() {} };

/** A token service that gives anything to anybody, since the package knows no other login. */
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

const login = {
  broker: `mqtt://${args.host}:${args.port}`,
  credentials: {
    orgId: "any",
    tokenServiceUrl: `http://127.0.0.1:${service.address().port}`,
    secretKey: "any",
    userEmail: "any@any.test",
  },
  logger: quiet,
};

const server = new MCPServer({
  name: "foreign-npm",
  ...login,
  tools: [
    defineTool({
      name: "foreign_greet",
      description: "Greets somebody",
      input_schema: {
        type: "object",
        properties: { who: { type: "string" } },
        required: ["who"],
      },
      handler: async ({ who }) => ({ greeting: `Hello, ${who}` }),
    }),
    defineTool({
      name: "foreign_fail",
      description: "Fails",
      input_schema: { type: "object" },
      handler: async () => {
        throw new Error("on purpose");
      },
    }),
    defineTool({
      name: "foreign_slow",
      description: "Says three things on the way",
      input_schema: { type: "object" },
      supports_streaming: true,
      handler: async (_, { stream }) => {
        for (const said of ["one", "two", "three"]) await stream(said);
        return "done";
      },
    }),
  ],
});
await server.start();
const client = new MCPClient({ clientId: "foreign-npm-agent", ...login });
await client.start();
console.log(JSON.stringify({ ready: true }));

for await (const line of createInterface({ input: process.stdin })) {
  const { tool, args: given } = JSON.parse(line);
  const streamed = [];
  const options = { timeoutMs: 10_000, onStream: (said) => streamed.push(said) };
  const answer = await client.call(tool, given, options).then(
    (result) => ({ result }),
    (error) => ({ failed: error.message }),
  );
  console.log(JSON.stringify({ ...answer, streamed }));
}
await client.stop();
await server.stop();
service.close();
