// A broker of a scenario's own, with the settings that it needs.

import { execFile, spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

import { within } from "./checks.mjs";

const run = promisify(execFile);

export class OwnBroker {
  #process;
  #folder;

  /** The program, in an empty folder below `scratch`, with these files. */
  static async prepare(program, scratch, files) {
    const own = new OwnBroker();
    own.program = path.resolve(program);
    own.#folder = path.join(scratch, "own");
    await rm(own.#folder, { recursive: true, force: true });
    await mkdir(own.#folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      await writeFile(path.join(own.#folder, name), text);
    }
    return own;
  }

  /** What a command of the program prints; `input` is what it reads. */
  async run(words, input = "") {
    const child = run(this.program, words, { cwd: this.#folder });
    child.child.stdin.on("error", () => {}); // one that reads nothing may be over already
    child.child.stdin.end(input);
    return (await child).stdout.trim();
  }

  async write(name, text) {
    await writeFile(path.join(this.#folder, name), text);
  }

  /** Starts it; `url` is where MQTT is spoken, `admin` where HTTP. */
  async start() {
    const stdio = ["ignore", "pipe", "inherit"];
    this.#process = spawn(this.program, ["serve", "--json"], { cwd: this.#folder, stdio });
    const lines = createInterface({ input: this.#process.stdout });
    const line = await within(
      new Promise((resolve) => lines.once("line", resolve)),
      "line that says where the broker listens",
    );
    const event = JSON.parse(line);
    this.url = event.listeners[0].url;
    this.admin = event.admin;
  }

  stop() {
    this.#process?.kill();
  }
}
