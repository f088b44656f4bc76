// The official Python client, driven line by line; see `client.py`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

const here = path.dirname(new URL(import.meta.url).pathname);
const interpreter = path.join(here, ".venv/bin/python");

/** Runs client.py; gives each of its lines to `line`, together with its standard input. */
async function run(words, line = () => {}) {
  const child = spawn(interpreter, [path.join(here, "client.py"), ...words.map(String)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // What is written to a client that died is of no interest: its exit code tells.
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (text) => line(text, child.stdin));
  // One that never ends, ends with this process.
  const cut = () => child.kill("SIGKILL");
  process.on("exit", cut);
  const [code] = await once(child, "close");
  process.off("exit", cut);
  if (code !== 0) throw new Error(`client.py ${words.join(" ")} ended with ${code}`);
}

async function messages(words) {
  const got = [];
  await run(words, (line) => got.push(JSON.parse(line)));
  return got;
}

export const python = {
  name: "python",
  installed: existsSync(interpreter),

  create: (url) => run(["create", url]),

  /** Writes 0 to `count` - 1, each once `gate` lets it. */
  produce: (url, count, gate) =>
    run(["produce", url, count], (message, input) => {
      gate(Number(message)).then(
        () => input.write("\n"),
        () => input.end(),
      );
    }),

  /** Reads live from the start until `count` messages came: this client does not know of closing. */
  read: (url, live, count) => messages(["read", url, live, count]),

  catchUp: (url) => messages(["read", url, "off", 0]),
};
