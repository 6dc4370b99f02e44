// Stands in for the peer package of @cloudsignal/mcp-over-mqtt, written from what that peer is seen
// to do. It has its weaknesses on purpose: a broker that only serves a better client is of no use.
//
// - CONNECT has no properties, so a session ends with its connection.
// - A handler is registered after the SUBACK, in a later tick: what comes with the SUBACK is lost.
// - On connect the handlers are forgotten, and come back one filter every 50 ms.
// - Whoever finds its session again subscribes to nothing again.
// - A reconnect uses the first password for ever, whatever was refreshed since.

"use strict";

const mqtt = require("mqtt");

const RECONNECT_MS = 2_000;
const REFILL_MS = 50;

class CloudSignalClient {
  #service;
  #client;
  #token;
  #timer;
  #filters = new Map();
  #handlers = new Map();
  /** How often the token was refreshed; the test reads it. */
  refreshes = 0;

  constructor({ tokenServiceUrl }) {
    this.#service = tokenServiceUrl;
    CloudSignalClient.last = this;
  }

  async #ask(path, body) {
    const answer = await fetch(`${this.#service}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await answer.json();
    if (!answer.ok) {
      const what = answer.status === 401 ? "AUTH_FAILED" : `HTTP ${answer.status}`;
      throw new Error(`${what}: ${text.error_description ?? text.detail}`);
    }
    return text;
  }

  async connectWithToken(config) {
    const organization_id = config.organizationId;
    this.#token = config.externalToken
      ? await this.#ask("/v2/tokens/exchange", { organization_id, token: config.externalToken })
      : await this.#ask("/v2/tokens/create", {
          organization_id,
          secret_key: config.secretKey,
          user_email: config.userEmail,
          replace_existing: true,
        });
    this.#refreshLater();
    const { username, password } = this.#token.mqtt_credentials;
    const will = config.willTopic && {
      topic: config.willTopic,
      payload: Buffer.from(config.willMessage),
      qos: config.willQos,
      retain: config.willRetain,
    };
    this.#client = mqtt.connect(config.host, {
      protocolVersion: 5,
      clean: false,
      clientId: config.clientId,
      username,
      password,
      keepalive: 30,
      reconnectPeriod: RECONNECT_MS,
      ...(will ? { will } : {}),
    });
    this.#client.on("message", (topic, payload, packet) => {
      for (const [filter, handler] of this.#handlers) {
        if (matches(filter, topic)) handler(topic, payload, packet);
      }
    });
    this.#client.on("connect", () => this.#refill());
    await new Promise((resolve, reject) => {
      this.#client.once("connect", resolve);
      this.#client.once("error", (error) => {
        this.#client.end(true);
        reject(error);
      });
    });
    await this.subscribe(`response/${config.clientId}`, { qos: 1, callback() {} });
  }

  #refill() {
    this.#handlers.clear();
    [...this.#filters].forEach(([filter, handler], index) => {
      setTimeout(() => this.#handlers.set(filter, handler), (index + 1) * REFILL_MS);
    });
  }

  #refreshLater() {
    const at = new Date(this.#token.refresh_recommended_at).getTime() - Date.now();
    this.#timer = setTimeout(async () => {
      try {
        this.#token = await this.#ask("/v2/tokens/refresh", {
          token_id: this.#token.token_id,
          current_token_password: this.#token.access_token,
        });
        this.refreshes += 1;
        this.#refreshLater();
      } catch (error) {
        console.error(`the token was not refreshed: ${error.message}`);
      }
    }, at);
  }

  async transmit(topic, message, { qos = 0, retain = false, properties } = {}) {
    const given = properties?.correlationData;
    const correlationData = given && Buffer.from(given);
    const all = given ? { ...properties, correlationData } : properties;
    try {
      await this.#client.publishAsync(topic, message, { qos, retain, properties: all });
    } catch (error) {
      throw new Error(`Publish error: ${error.message}`);
    }
  }

  async subscribe(filter, { qos = 0, callback } = {}) {
    let granted;
    try {
      granted = await this.#client.subscribeAsync(filter, { qos });
    } catch (error) {
      throw new Error(`Subscribe error: ${error.message}`);
    }
    if (granted.some((one) => one.qos >= 128)) throw new Error("Subscribe error: Not authorized");
    const bare = filter.replace(/^\$share\/[^/]+\//, "");
    await new Promise((resolve) => setTimeout(resolve));
    this.#filters.set(bare, callback);
    this.#handlers.set(bare, callback);
  }

  async unsubscribe(filter) {
    this.#filters.delete(filter);
    this.#handlers.delete(filter);
    await this.#client.unsubscribeAsync(filter);
  }

  async disconnect() {
    clearTimeout(this.#timer);
    await this.#client.endAsync();
  }

  isConnected() {
    return this.#client?.connected ?? false;
  }

  /** Cuts the line, as a network does; the test asks for it. */
  cut() {
    const back = new Promise((resolve) => this.#client.once("connect", resolve));
    this.#client.stream.destroy();
    return back;
  }

  /** Ends as a process does that is killed: without DISCONNECT, and for good. */
  kill() {
    clearTimeout(this.#timer);
    this.#client.end(true);
  }
}

function matches(filter, topic) {
  const wanted = filter.split("/");
  const levels = topic.split("/");
  const fits = (level, at) => level === "+" || level === levels[at];
  if (wanted.at(-1) === "#") {
    return wanted.length - 1 <= levels.length && wanted.slice(0, -1).every(fits);
  }
  return wanted.length === levels.length && wanted.every(fits);
}

module.exports = { CloudSignalClient };
