// An MCP server of the official SDK for TypeScript on standard input and output, as anybody would
// write it: `node server.mjs GENERATION NAME`. Generation 1 is the package `sdk`, which knows
// revisions with a handshake; 2 is `server`, which knows 2026-07-28, too.

import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

// By `require`, which also looks along NODE_PATH: they may be installed elsewhere.
const require = createRequire(import.meta.url);
const { z } = require("zod");

const [, , generation, name] = process.argv;
const first = generation === "1";
const { McpServer, ResourceTemplate } = require(
  first ? "@modelcontextprotocol/sdk/server/mcp.js" : "@modelcontextprotocol/server",
);

/** What a tool is told of its call, by either generation. */
function call(context) {
  if (!first) return { ...context.mcpReq, token: context.mcpReq._meta?.progressToken };
  const { signal, sendNotification: notify, _meta } = context;
  return { signal, notify, token: _meta?.progressToken };
}

const text = (value) => ({ content: [{ type: "text", text: value }] });
const note = (uri, value) => ({ contents: [{ uri: uri.href, text: value }] });

function make() {
  const server = new McpServer({ name, version: "1" });
  const tool = (about, properties, run) =>
    server.registerTool(
      about.name,
      { inputSchema: z.object(properties), ...about },
      (given, context) => run(given, call(context)),
    );

  tool(
    {
      name: "add",
      description: "Add two numbers.",
      outputSchema: z.object({ result: z.number() }),
    },
    { a: z.number().int(), b: z.number().int() },
    async ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { result: a + b } }),
  );

  tool({ name: "fail", description: "Fail, and say so." }, {}, async () => {
    throw new Error("the disk is full");
  });

  tool(
    { name: "steps", description: "Report each step." },
    { count: z.number().int() },
    async ({ count }, { notify, token }) => {
      for (let progress = 1; progress <= count; progress += 1) {
        const params = { progressToken: token, progress, total: count, message: `step ${progress}` };
        await notify({ method: "notifications/progress", params });
      }
      return text("done");
    },
  );

  tool(
    { name: "wait", description: "Work until it is taken back; both moments leave a file." },
    { started: z.string(), stopped: z.string() },
    async ({ started, stopped }, { signal }) => {
      const taken = new Promise((resolve) => signal.addEventListener("abort", resolve));
      await writeFile(started, "started");
      await taken;
      await writeFile(stopped, "stopped");
      return text("never");
    },
  );

  tool(
    { name: "grow", description: "Have one tool more." },
    { tool: z.string() },
    async ({ tool: more }) => {
      tool({ name: more, description: "Say that it is there." }, {}, async () => text(more));
      return text("grown");
    },
  );

  server.registerResource("first", "note://first", { description: "The first note." }, (uri) =>
    note(uri, `the first note of ${name}`),
  );
  server.registerResource(
    "note",
    new ResourceTemplate("note://{title}", { list: undefined }),
    { description: "A note by its title." },
    (uri, { title }) => note(uri, `the note ${title} of ${name}`),
  );
  const who = { who: z.string() };
  server.registerPrompt(
    "greet",
    { description: "Greet somebody.", argsSchema: first ? who : z.object(who) },
    ({ who }) => ({
      messages: [
        { role: "user", content: { type: "text", text: `Greet ${who} from ${name}.` } },
      ],
    }),
  );
  return server;
}

if (first) {
  const { StdioServerTransport } = require("@modelcontextprotocol/sdk/server/stdio.js");
  await make().connect(new StdioServerTransport());
} else {
  const { serveStdio } = require("@modelcontextprotocol/server/stdio");
  serveStdio(make);
}
