// MQTT.js logs in by every way that the broker offers: password, SCRAM-SHA-256, token.

import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";

import { Checks, expect, expectEqual, readArguments, require, within } from "./checks.mjs";
import { OwnBroker } from "./own_broker.mjs";

const mqtt = require("mqtt");
const args = readArguments();
const CONFIG = `
[[listeners]]
url = "mqtt://127.0.0.1:0"

[access]
policy = "policy.toml"
users = "users.toml"
tokens.keys = ["keys.json"]
`;
const POLICY = `
[[rules]]
effect = "allow"
topics = ["agents/{agent_id}/#"]
`;
const METHOD = "SCRAM-SHA-256";

const broker = await OwnBroker.prepare(args.agentmq, args.scratch, {
  "agentmq.toml": CONFIG,
  "policy.toml": POLICY,
});
await broker.run(["keys", "create", "keys.json"]);
await broker.run(["user", "add", "scout", "--agent", "scout"], "pencil\n");
await broker.start();

/** A client that tries once; its first answer, or the error. */
function login(options, prepare = () => {}) {
  const client = mqtt.connect(broker.url, { protocolVersion: 5, reconnectPeriod: 0, ...options });
  prepare(client);
  const answer = new Promise((resolve, reject) => {
    client.once("connect", (connack) => resolve({ client, connack }));
    client.once("error", (error) => {
      client.end(true);
      reject(error);
    });
  });
  return within(answer, "answer to CONNECT");
}

/** The code of the error that a login ends with. */
const refused = (options, prepare) =>
  login(options, prepare).then(
    () => "let in",
    (error) => error.code,
  );

async function isScout({ client }) {
  const [own] = await client.subscribeAsync("agents/scout/#");
  expectEqual(own.qos, 0, "its own topics");
  const other = await client.subscribeAsync("agents/other/#").catch((error) => error);
  expect(other instanceof Error || other[0].qos >= 128, "another's topics were granted");
  await client.endAsync();
}

/** SCRAM (RFC 5802) as a client does it. */
function scram(name, password, verify = () => {}) {
  const nonce = randomBytes(18).toString("base64");
  const bare = `n=${name},r=${nonce}`;
  const properties = {
    authenticationMethod: METHOD,
    authenticationData: Buffer.from(`n,,${bare}`),
  };
  const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
  const prepare = (client) => {
    client.handleAuth = (packet, callback) => {
      const first = packet.properties.authenticationData.toString();
      const [, server, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(first);
      const salted = pbkdf2Sync(password, Buffer.from(salt, "base64"), +rounds, 32, "sha256");
      const key = hmac(salted, "Client Key");
      const unsigned = `c=${Buffer.from("n,,").toString("base64")},r=${server}`;
      const signed = `${bare},${first},${unsigned}`;
      const signature = hmac(createHash("sha256").update(key).digest(), signed);
      const proof = Buffer.from(key.map((byte, at) => byte ^ signature[at])).toString("base64");
      verify(`v=${hmac(hmac(salted, "Server Key"), signed).toString("base64")}`);
      const authenticationData = Buffer.from(`${unsigned},p=${proof}`);
      callback(null, {
        cmd: "auth",
        reasonCode: 0x18,
        properties: { authenticationMethod: METHOD, authenticationData },
      });
    };
  };
  return [{ properties }, prepare];
}

const checks = new Checks(args.only);
for (const [version, protocolVersion] of Object.entries({ 311: 4, 5: 5 })) {
  await checks.run(`password-${version}`, async () => {
    await isScout(await login({ protocolVersion, username: "scout", password: "pencil" }));
    const code = await refused({ protocolVersion, username: "scout", password: "wrong" });
    expectEqual(code, protocolVersion === 5 ? 0x86 : 4, "code for a wrong password");
  });

  await checks.run(`token-${version}`, async () => {
    const password = await broker.run(["token", "create", "--agent", "scout"]);
    await isScout(await login({ protocolVersion, username: "any", password }));
    const forged = `${password.slice(0, -8)}AAAAAAAA`;
    const code = await refused({ protocolVersion, username: "any", password: forged });
    expectEqual(code, protocolVersion === 5 ? 0x86 : 4, "code for a forged token");
  });
}

await checks.run("scram", async () => {
  let expected;
  const options = scram("scout", "pencil", (signature) => {
    expected = signature;
  });
  const answer = await login(...options);
  const proof = answer.connack.properties.authenticationData.toString();
  expectEqual(proof, expected, "the server's proof");
  await isScout(answer);
});

await checks.run("scram-refused", async () => {
  expectEqual(await refused(...scram("scout", "wrong")), 0x86, "code for a wrong password");
  expectEqual(await refused(...scram("nobody", "pencil")), 0x86, "code for an unknown name");
});

await checks.run("token-by-method", async () => {
  const token = await broker.run(["token", "create", "--agent", "scout"]);
  const properties = {
    authenticationMethod: "JWT",
    authenticationData: Buffer.from(token),
  };
  await isScout(await login({ properties }));
});

await checks.run("without-credentials", async () => {
  expectEqual(await refused({}), 0x87, "code for nothing");
  expectEqual(await refused({ username: "scout" }), 0x87, "code for a name alone");
});

broker.stop();
checks.finish();
