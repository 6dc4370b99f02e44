// MQTT.js over TCP and WebSocket, MQTT 3.1, 3.1.1 and 5.

import http from "node:http";
import net from "node:net";
import {
  binaryPayload,
  Checks,
  expect,
  expectEqual,
  Inbox,
  LIMIT_MS,
  readArguments,
  require,
  uniqueId,
  uniqueTopic,
  within,
} from "./checks.mjs";

const mqtt = require("mqtt");

const args = readArguments();
const MANY = 500;
// MQTT.js does not heed Receive Maximum.
const WINDOW = 16;
const PROTOCOLS = {
  31: { protocolVersion: 3, protocolId: "MQIsdp" },
  311: { protocolVersion: 4 },
  5: { protocolVersion: 5 },
};
const URLS = {
  tcp: `mqtt://${args.host}:${args.port}`,
  websockets: `ws://${args.host}:${args["ws-port"]}${args["ws-path"]}`,
};

/** A connected client; what it receives is in `client.inbox`. */
async function connect(opened, kase, options = {}) {
  const client = mqtt.connect(URLS[kase.transport], {
    clientId: uniqueId(),
    reconnectPeriod: 0,
    connectTimeout: LIMIT_MS,
    ...kase.protocol,
    ...options,
  });
  opened.push(() => client.endAsync(true));
  client.inbox = new Inbox();
  client.on("message", (topic, payload, packet) => client.inbox.put({ topic, payload, packet }));
  client.connack = await within(
    new Promise((resolve, reject) => client.once("connect", resolve).once("error", reject)),
    "CONNACK",
  );
  return client;
}

const subscribe = (client, filter, options) =>
  within(client.subscribeAsync(filter, options), "SUBACK");
const publish = (client, topic, payload, options) =>
  within(client.publishAsync(topic, payload, options), "acknowledgement");
const texts = (items) => items.map((item) => item.payload.toString());
const numbers = (count) => Array.from({ length: count }, (_, index) => String(index));

async function publishMany(client, topic, payloads, qos) {
  for (let start = 0; start < payloads.length; start += WINDOW) {
    const window = payloads.slice(start, start + WINDOW);
    await Promise.all(window.map((payload) => publish(client, topic, payload, { qos })));
  }
}

async function everyQosPair(opened, kase) {
  const topic = uniqueTopic("qos");
  const [subscriber, publisher] = [await connect(opened, kase), await connect(opened, kase)];
  const wanted = [];
  for (const granted of [0, 1, 2]) {
    const [grant] = await subscribe(subscriber, `${topic}/${granted}`, { qos: granted });
    expectEqual(grant.qos, granted, "SUBACK");
    for (const sent of [0, 1, 2]) {
      await publish(publisher, `${topic}/${granted}`, `${granted}${sent}`, { qos: sent });
      wanted.push(`${granted}${sent}:${Math.min(granted, sent)}`);
    }
  }
  const got = await subscriber.inbox.count(9, "PUBLISH");
  expectEqual(
    got.map((item) => `${item.payload}:${item.packet.qos}`).sort(),
    wanted,
    "publications",
  );
  expect(
    got.every((item) => !item.packet.dup && !item.packet.retain),
    "DUP or RETAIN set",
  );
}

async function manyInOrder(opened, kase, qos) {
  const topic = uniqueTopic("many");
  const [subscriber, publisher] = [await connect(opened, kase), await connect(opened, kase)];
  await subscribe(subscriber, topic, { qos });
  await publishMany(publisher, topic, numbers(MANY), qos);
  expectEqual(texts(await subscriber.inbox.count(MANY, "PUBLISH")), numbers(MANY), "order");
}

async function largePayload(opened, kase, qos) {
  const topic = uniqueTopic("large");
  const [subscriber, publisher] = [await connect(opened, kase), await connect(opened, kase)];
  await subscribe(subscriber, topic, { qos });
  const payload = binaryPayload();
  await publish(publisher, topic, payload, { qos });
  const [got] = await subscriber.inbox.count(1, "PUBLISH");
  expect(payload.equals(got.payload), `payload of ${got.payload.length} bytes differs`);
}

async function retainedAndCleared(opened, kase) {
  const topic = uniqueTopic("retained");
  const [late, publisher] = [await connect(opened, kase), await connect(opened, kase)];
  for (const name of ["gone", "kept"]) {
    await publish(publisher, `${topic}/${name}`, name, { qos: 1, retain: true });
  }
  await publish(publisher, `${topic}/gone`, "", { qos: 1, retain: true });
  await subscribe(late, `${topic}/gone`, { qos: 1 });
  await subscribe(late, `${topic}/kept`, { qos: 1 });
  const got = await late.inbox.count(1, "retained PUBLISH");
  expectEqual(
    got.map((item) => [item.topic, item.packet.retain]),
    [[`${topic}/kept`, true]],
    "retained",
  );
}

async function willSent(opened, kase) {
  const topic = uniqueTopic("will");
  const subscriber = await connect(opened, kase);
  await subscribe(subscriber, topic, { qos: 1 });
  const dying = await connect(opened, kase, {
    will: { topic, payload: Buffer.from("lost"), qos: 1 },
  });
  dying.stream.destroy();
  expectEqual(texts(await subscriber.inbox.count(1, "will")), ["lost"], "will");
}

async function persistentSession(opened, kase) {
  const topic = uniqueTopic("session");
  const stay = { clientId: uniqueId(), clean: false };
  if (kase.name.endsWith("/5")) stay.properties = { sessionExpiryInterval: 300 };
  const first = await connect(opened, kase, stay);
  await subscribe(first, topic, { qos: 1 });
  await within(first.endAsync(), "close");
  const publisher = await connect(opened, kase);
  await publishMany(publisher, topic, numbers(50), 1);
  const second = await connect(opened, kase, stay);
  // MQTT 3.1 has no Session Present flag.
  if (!kase.name.endsWith("/31")) expect(second.connack.sessionPresent, "Session Present is 0");
  expectEqual(texts(await second.inbox.count(50, "queued PUBLISH")), numbers(50), "queued");
}

async function shared(opened, kase) {
  const topic = uniqueTopic("shared");
  const members = [await connect(opened, kase), await connect(opened, kase)];
  for (const member of members)
    await subscribe(member, [`$share/group/${topic}`, `${topic}/end`], { qos: 1 });
  const publisher = await connect(opened, kase);
  await publishMany(publisher, topic, numbers(40), 1);
  await publish(publisher, `${topic}/end`, "end", { qos: 1 });
  const got = [];
  for (const member of members) {
    const items = await member.inbox.until((all) => texts(all).includes("end"), "end");
    got.push(...texts(items).filter((text) => text !== "end"));
  }
  expectEqual(got.sort(), numbers(40).sort(), "shared");
}

async function requestResponse(opened, kase) {
  const topic = uniqueTopic("call");
  const [caller, server] = [await connect(opened, kase), await connect(opened, kase)];
  await subscribe(server, `${topic}/request`, { qos: 1 });
  await subscribe(caller, `${topic}/reply`, { qos: 1 });
  const correlationData = Buffer.from([0, 255, 1]);
  const userProperties = { a: ["1", "2"], b: "3" };
  const properties = { responseTopic: `${topic}/reply`, correlationData, userProperties };
  await publish(caller, `${topic}/request`, "ping", { qos: 1, properties });
  const request = (await server.inbox.count(1, "request"))[0].packet.properties;
  expectEqual({ ...request.userProperties }, userProperties, "user properties");
  const { responseTopic } = request;
  const answer = { qos: 1, properties: { correlationData: request.correlationData } };
  await publish(server, responseTopic, "pong", answer);
  const [reply] = await caller.inbox.count(1, "reply");
  expectEqual([...reply.packet.properties.correlationData], [0, 255, 1], "Correlation Data");
}

/** Aliases chosen by MQTT.js on the way in, and by the broker, if it wants to, on the way out. */
async function topicAliases(opened, kase) {
  const topic = uniqueTopic("alias");
  const subscriber = await connect(opened, kase, { properties: { topicAliasMaximum: 10 } });
  const publisher = await connect(opened, kase, { autoAssignTopicAlias: true });
  await subscribe(subscriber, `${topic}/#`, { qos: 1 });
  const wanted = numbers(60).map((number) => `${topic}/${number % 3}`);
  for (const name of wanted) await publish(publisher, name, name, { qos: 1 });
  const got = await subscriber.inbox.count(wanted.length, "PUBLISH");
  expectEqual(
    got.map((item) => item.topic),
    wanted,
    "topics",
  );
  expectEqual(texts(got), wanted, "payloads");
}

/** MQTT 3.1.1 packets by hand, for what a client library hides. */
const text = (value) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
const packet = (first, ...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([first, body.length]), body]);
};
const frame = (bytes) =>
  Buffer.concat([Buffer.from([0x82, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]);

/** A raw connection of the transport: its socket, what it receives, and how to write a packet. */
async function rawLink(opened, kase) {
  const host = args.host;
  let socket;
  if (kase.transport === "tcp") {
    socket = net.connect({ host, port: Number(args.port) });
    await within(
      new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject)),
      "TCP",
    );
  } else {
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Protocol": "mqtt",
    };
    const request = http.get({ host, port: args["ws-port"], path: args["ws-path"], headers });
    socket = await within(
      new Promise((resolve, reject) => {
        request.once("upgrade", (_response, upgraded) => resolve(upgraded)).once("error", reject);
      }),
      "WebSocket upgrade",
    );
  }
  opened.push(() => socket.destroy());
  const chunks = new Inbox();
  socket.on("data", (chunk) => chunks.put(chunk));
  const write = (bytes) => socket.write(kase.transport === "tcp" ? bytes : frame(bytes));
  return { chunks, write };
}

/**
 * SUBACK comes first, and by itself: clients that set up a handler when SUBACK is reported miss a
 * retained message that lies in the same chunk. A busy machine may join two chunks now and then,
 * a broker that writes both at once joins them every time.
 */
async function subackBeforeRetained(opened, kase) {
  const topic = uniqueTopic("chunk");
  const publisher = await connect(opened, kase);
  await publish(publisher, topic, "retained-value", { qos: 1, retain: true });
  const SUBACK = Buffer.from([0x90, 3, 0x12, 0x34, 0]);
  const rounds = 20;
  let apart = 0;
  for (let round = 0; round < rounds; round += 1) {
    const { chunks, write } = await rawLink(opened, kase);
    const flagsAndKeepAlive = Buffer.from([4, 2, 0, 60]);
    write(packet(0x10, text("MQTT"), flagsAndKeepAlive, text(uniqueId())));
    await chunks.count(1, "CONNACK");
    write(packet(0x82, Buffer.from([0x12, 0x34]), text(topic), Buffer.from([0])));
    const whole = (all) => Buffer.concat(all);
    const got = await chunks.until(
      (all) => whole(all).includes("retained-value"),
      "retained PUBLISH",
    );
    const at = whole(got).indexOf(SUBACK);
    expect(at >= 0 && at < whole(got).indexOf(topic), "retained PUBLISH came before SUBACK");
    apart += got.some((chunk) => chunk.includes(SUBACK) && !chunk.includes("retained-value"))
      ? 1
      : 0;
  }
  expect(apart > rounds / 2, `SUBACK was in an earlier chunk in ${apart} of ${rounds} rounds only`);
}

const CHECKS = {
  "every-qos-pair": everyQosPair,
  "retained-and-cleared": retainedAndCleared,
  will: willSent,
  "persistent-session": persistentSession,
};
const CHECKS_BY_QOS = { "many-in-order": manyInOrder, "large-payload": largePayload };
// MQTT 3.1 clients know no shared subscriptions; 3.1.1 ones are served like MQTT 5.
const CHECKS_BY_VERSION = {
  31: {},
  311: { shared, "suback-before-retained": subackBeforeRetained },
  5: { shared, "request-response": requestResponse, "topic-aliases": topicAliases },
};

const checks = new Checks(args.only);
for (const transport of Object.keys(URLS)) {
  for (const [version, protocol] of Object.entries(PROTOCOLS)) {
    const kase = { name: `${transport}/${version}`, transport, protocol };
    for (const [name, check] of Object.entries({ ...CHECKS, ...CHECKS_BY_VERSION[version] })) {
      await checks.run(`${kase.name}/${name}`, (opened) => check(opened, kase));
    }
    for (const [name, check] of Object.entries(CHECKS_BY_QOS)) {
      for (const qos of [0, 1, 2]) {
        await checks.run(`${kase.name}/${name}-qos${qos}`, (opened) => check(opened, kase, qos));
      }
    }
  }
}
checks.finish();
