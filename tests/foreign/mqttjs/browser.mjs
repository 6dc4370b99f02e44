// MQTT.js's browser bundle in headless Chromium, over WebSocket.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  Checks,
  expect,
  expectEqual,
  LIMIT_MS,
  readArguments,
  require,
  uniqueTopic,
  within,
} from "./checks.mjs";

const { chromium } = require("playwright-core");

const args = readArguments();
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const BUNDLE = require.resolve("mqtt/dist/mqtt.min");
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A page with nothing but the bundle, from a server of our own on a free port. */
async function servePage() {
  const files = {
    "/": ["text/html", '<!doctype html><title>AgentMQ</title><script src="/mqtt.min.js"></script>'],
    "/mqtt.min.js": ["text/javascript", await readFile(BUNDLE)],
  };
  const server = http.createServer((request, response) => {
    const [type, body] = files[request.url] ?? ["text/plain", ""];
    response.writeHead(type === "text/plain" ? 404 : 200, { "Content-Type": type }).end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

// The functions below run in the page; they see its globals and their one argument only.

/** `payloadSize` bytes there and back at each QoS; what came, as plain values. */
async function roundTrips({ url, topic, protocolVersion, payloadSize }) {
  const options = { protocolVersion, reconnectPeriod: 0 };
  const [subscriber, publisher] = await Promise.all(
    [0, 1].map(() => mqtt.connectAsync(url, options, false)),
  );
  const sent = Uint8Array.from({ length: payloadSize }, (_, index) => index + (index >> 8));
  const arrived = [];
  let look = () => {};
  subscriber.on("message", (name, payload, packet) => {
    const same =
      payload.length === sent.length && payload.every((byte, index) => byte === sent[index]);
    arrived.push({ name, qos: packet.qos, length: payload.length, same });
    look();
  });
  await subscriber.subscribeAsync(topic, { qos: 2 });
  for (const qos of [0, 1, 2]) await publisher.publishAsync(topic, sent, { qos });
  await new Promise((resolve) => {
    look = () => arrived.length === 3 && resolve();
    look();
  });
  await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
  return arrived;
}

/** The subprotocol that the broker chose of those MQTT.js offers ([MQTT-6.0.0-4]). */
async function chosenSubprotocol({ url }) {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0 }, false);
  const { protocol } = client.stream.socket;
  await client.endAsync();
  return protocol;
}

/** Retained messages and a handler that is there before SUBSCRIBE. */
async function retained({ url, topic, protocolVersion }) {
  const client = await mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0 }, false);
  await client.publishAsync(topic, "kept", { qos: 1, retain: true });
  const message = new Promise((resolve) => {
    client.on("message", (_, payload, packet) => resolve([payload.toString(), packet.retain]));
  });
  await client.subscribeAsync(topic, { qos: 1 });
  const got = await message;
  await client.publishAsync(topic, "", { qos: 1, retain: true });
  await client.endAsync();
  return got;
}

const inPage = (page, what, check, values) =>
  within(page.evaluate(check, values), what, 2 * LIMIT_MS);

const server = await servePage();
const profile = await mkdtemp(path.join(tmpdir(), "agentmq-browser-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: CHROMIUM,
  headless: true,
  args: FLAGS,
});
const checks = new Checks(args.only);
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const url = `ws://${args.host}:${args["ws-port"]}${args["ws-path"]}`;
  await checks.run("browser/subprotocol", async () => {
    expectEqual(
      await inPage(page, "connection", chosenSubprotocol, { url }),
      "mqtt",
      "subprotocol",
    );
  });
  for (const protocolVersion of [4, 5]) {
    for (const payloadSize of [5, 300_000]) {
      await checks.run(`browser/v${protocolVersion}/every-qos-${payloadSize}-bytes`, async () => {
        const topic = uniqueTopic("browser");
        const values = { url, topic, protocolVersion, payloadSize };
        const got = await inPage(page, "round trips", roundTrips, values);
        expectEqual(got.map((item) => item.qos).sort(), [0, 1, 2], "QoS");
        expect(
          got.every((item) => item.same && item.name === topic),
          `differs: ${JSON.stringify(got)}`,
        );
      });
    }
    await checks.run(`browser/v${protocolVersion}/retained`, async () => {
      const values = { url, topic: uniqueTopic("browser"), protocolVersion };
      expectEqual(
        await inPage(page, "retained message", retained, values),
        ["kept", true],
        "message",
      );
    });
  }
} finally {
  await browser.close();
  server.close();
  await rm(profile, { recursive: true, force: true });
}
checks.finish();
