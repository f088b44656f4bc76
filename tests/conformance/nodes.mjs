// Real nodes on this machine, through `scripts/cluster.sh`; numbers count from 1.
//
// CONFORMANCE_CLUSTER names another script with the same commands: the proofs hold for any server.

import { execFile, execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const script =
  process.env.CONFORMANCE_CLUSTER ??
  path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../../scripts/cluster.sh");

/** What the nodes are told, where the binary knows the setting; the environment wins. */
const SETTINGS = {
  // The suite waits for the timeout of long polls many times.
  OUTLIVE_LONG_POLL_MS: "500",
  // The suite receives its webhooks on 127.0.0.1.
  OUTLIVE_WEBHOOK_REACH: "loopback",
};

/** Settings that the binary names in its help: an unknown one is an error. */
function settings() {
  if (process.env.CONFORMANCE_CLUSTER || !process.env.OUTLIVE_BINARY) return {};
  const help = execFileSync(process.env.OUTLIVE_BINARY, ["serve", "--help"], { encoding: "utf8" });
  const known = Object.entries(SETTINGS).filter(([name]) => help.includes(`${name}=`));
  return Object.fromEntries(known.map(([name, value]) => [name, process.env[name] ?? value]));
}

async function taken(port) {
  const [tcp, udp] = [net.createServer(), createSocket("udp4")];
  const bound = (server, event) =>
    Promise.race([once(server, event).then(() => false), once(server, "error").then(() => true)]);
  tcp.listen(port, "127.0.0.1");
  udp.bind(port + 1000, "127.0.0.1");
  const both = await Promise.all([bound(tcp, "listening"), bound(udp, "listening")]);
  tcp.close();
  udp.close();
  return both.some(Boolean);
}

/** The first of `count` ports in a row that are free, below those the system hands out itself. */
async function freePorts(count) {
  for (;;) {
    const base = 21_000 + 10 * Math.floor(Math.random() * 900);
    const ports = Array.from({ length: count }, (_, at) => base + at);
    if (!(await Promise.all(ports.map(taken))).some(Boolean)) return base;
  }
}

export class Nodes {
  /** Starts `count` nodes, told `more` besides; returns when all are ready. They end with `down`. */
  static async up(count, more = {}) {
    const nodes = new Nodes();
    nodes.count = count;
    nodes.base = await freePorts(count);
    nodes.dir = mkdtempSync(path.join(tmpdir(), "outlive-conformance-"));
    nodes.env = {
      ...process.env,
      ...settings(),
      ...more,
      OUTLIVE_CLUSTER_DIR: nodes.dir,
      OUTLIVE_BASE_PORT: String(nodes.base),
    };
    try {
      await nodes.#run("up", count);
    } catch (why) {
      await nodes.down(false);
      throw why;
    }
    return nodes;
  }

  async #run(...words) {
    try {
      const { stdout } = await promisify(execFile)(script, words.map(String), { env: this.env });
      return stdout.trim();
    } catch (why) {
      throw new Error(`${words.join(" ")}: ${why.stderr || why.message}`);
    }
  }

  url(number) {
    return `http://127.0.0.1:${this.base + number - 1}`;
  }

  get numbers() {
    return Array.from({ length: this.count }, (_, at) => at + 1);
  }

  get urls() {
    return this.numbers.map((number) => this.url(number));
  }

  /** Starts a node again; returns when it is ready. */
  start = (number) => this.#run("start", number);
  /** SIGTERM: the node hands its leaderships over; returns when it is gone. */
  stop = (number) => this.#run("stop", number);
  /** kill -9; returns when it is gone. */
  kill = (number) => this.#run("kill", number);

  /** The node that leads a stream, or a random one where the server does not tell. */
  async leader(stream) {
    for (const url of this.urls) {
      const answer = await fetch(`${url}/v1/sessions/${encodeURIComponent(stream)}/home`).catch(() => null);
      const home = answer?.ok ? await answer.json().catch(() => null) : null;
      if (this.numbers.includes(home?.leader)) return home.leader;
    }
    return 1 + Math.floor(Math.random() * this.count);
  }

  /** A node that leads no group, another one each round; where nobody can tell, any. */
  async follower(round) {
    const answer = await fetch(`${this.url(1 + (round % this.count))}/v1/cluster`).catch(() => null);
    const report = answer?.ok ? await answer.json().catch(() => null) : null;
    const known = (report?.members ?? []).filter(({ node, leads }) => leads === 0 && this.numbers.includes(node));
    const all = known.length ? known.map(({ node }) => node) : this.numbers;
    return all[round % all.length];
  }

  /** Ends all nodes; their data and logs stay if something failed. */
  async down(failed) {
    await this.#run("down").catch((why) => console.error(String(why)));
    if (failed) console.error(`data and logs are kept in ${this.dir}`);
    else rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * Runs `body` with nodes that are ended afterwards, whatever happens; a signal ends them too.
 * `body` returns how many of its checks failed.
 */
export async function withNodes(count, body, more) {
  const nodes = await Nodes.up(count, more);
  for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143 })) {
    process.once(signal, () => nodes.down(true).then(() => process.exit(code)));
  }
  let failed = 1;
  try {
    failed = await body(nodes);
  } finally {
    await nodes.down(0 < failed);
    process.removeAllListeners("SIGINT").removeAllListeners("SIGTERM");
  }
  return failed;
}

/** A pause in a loop: between two tries, or between two faults. */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
