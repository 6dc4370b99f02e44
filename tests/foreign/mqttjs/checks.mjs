// What the JavaScript scenarios share: arguments, report, bounded waits.

import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// Long enough for a loaded two-core machine; a broker that is right never comes near it.
export const LIMIT_MS = 20_000;

/** Packages by `require`, which also looks along NODE_PATH: they may be installed elsewhere. */
export const require = createRequire(import.meta.url);

export function readArguments() {
  const { values } = parseArgs({
    options: {
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "1883" },
      "ws-port": { type: "string", default: "8083" },
      "ws-path": { type: "string", default: "/mqtt" },
      only: { type: "string", default: "" },
      // For scenarios with a broker of their own: the program, and a folder.
      agentmq: { type: "string", default: "agentmq" },
      scratch: { type: "string", default: "scratch" },
      // For hosts of MCP: how they get at the bus, by a "bridge" of their own or by "http".
      via: { type: "string", default: "bridge" },
    },
  });
  return values;
}

/** A topic no other check uses, so that scenarios may run side by side. */
export const uniqueTopic = (name) => `foreign/${randomUUID().slice(-12)}/${name}`;

/** A client identifier of at most 23 bytes: all that MQTT 3.1 allows. */
export const uniqueId = () => `j${randomUUID().replaceAll("-", "").slice(0, 16)}`;

/** Every byte value, in an order that shows a lost or repeated block. */
export function binaryPayload(size = 300_000) {
  return Buffer.from(Uint8Array.from({ length: size }, (_, index) => index + (index >> 8)));
}

export function expect(condition, reason) {
  if (!condition) throw new Error(reason);
}

export function expectEqual(actual, wanted, what) {
  const [got, want] = [JSON.stringify(actual), JSON.stringify(wanted)];
  if (got !== want)
    throw new Error(`${what}: got ${got.slice(0, 150)}, want ${want.slice(0, 150)}`);
}

/** The promise, or a failure that names what did not come. */
export function within(promise, what, limit = LIMIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in ${limit / 1000} s`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Events in the order they came; `until` resolves when they satisfy the caller. */
export class Inbox {
  items = [];
  #waiting = new Set();

  put(item) {
    this.items.push(item);
    for (const look of this.#waiting) look();
  }

  until(done, what) {
    let look;
    const found = new Promise((resolve) => {
      look = () => done(this.items) && resolve([...this.items]);
      this.#waiting.add(look);
      look();
    });
    return within(found, what).finally(() => this.#waiting.delete(look));
  }

  count(number, what) {
    return this.until((items) => items.length >= number, `${number} × ${what}`);
  }
}

/** The report of one scenario. */
export class Checks {
  #only;
  #passed = 0;
  #failed = 0;

  constructor(only) {
    this.#only = only;
  }

  /** Runs `check(opened)`; whatever it pushes on `opened` is called when it is over. */
  async run(name, check) {
    if (!name.includes(this.#only)) return;
    const opened = [];
    try {
      await check(opened);
      this.#passed += 1;
      console.log(`ok ${name}`);
    } catch (error) {
      this.#failed += 1;
      console.log(`FAIL ${name}: ${String(error.message ?? error).replaceAll(/\s+/g, " ")}`);
    }
    await Promise.allSettled(opened.reverse().map((close) => close()));
  }

  finish() {
    console.log(`${this.#passed} passed, ${this.#failed} failed`);
    process.exit(this.#failed || !this.#passed ? 1 : 0);
  }
}
