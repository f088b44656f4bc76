// An HTTP proxy for tests: every request, not every connection, goes to the next upstream in turn.
//
//   node spread.mjs PORT URL…     by hand; exits with 1 if a rule was broken
//
// Bodies flow unbuffered both ways and headers pass untouched, `Host` among them. Nothing of a request is
// sent before its upstream has taken the connection, so a dead node costs nobody a request: the next node
// gets it, as any load balancer does it. A node that dies later takes its requests along: they are reset,
// never repeated. A redirect breaks the rules: nodes answer for each other.

import http from "node:http";
import net from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** Headers that belong to one hop: both sides have connections of their own. */
const HOP = new Set(["connection", "keep-alive", "proxy-connection"]);

function passed(raw, without) {
  const kept = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at].toLowerCase();
    if (!HOP.has(name) && name !== without) kept.push(raw[at], raw[at + 1]);
  }
  return kept;
}

export class Spread {
  #nodes;
  #turn = 0;
  #server = http.createServer({ keepAliveTimeout: 60_000, requestTimeout: 0, headersTimeout: 0 });

  /** Broken rules, as lines for people. */
  violations = [];
  /** Requests that broke off because their node did, as lines for people. */
  cut = [];

  constructor(urls) {
    this.#nodes = urls.map((url) => {
      const { hostname, port } = new URL(url);
      return { url, hostname, port: Number(port), requests: 0, open: new Set(), out: false };
    });
    this.#server.on("request", (request, response) => {
      this.#carry(request, response).catch(() => request.socket.destroy());
    });
    this.#server.on("clientError", (_, socket) => socket.destroy());
  }

  async listen(port = 0) {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.url = `http://127.0.0.1:${this.#server.address().port}`);
  }

  async close() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** How many requests each upstream got. */
  get requests() {
    return this.#nodes.map((node) => node.requests);
  }

  /** Sends a node (from 1) no more requests, and waits until those it has are done; at most `ms`. */
  async drain(number, ms) {
    const node = this.#nodes[number - 1];
    node.out = true;
    const late = AbortSignal.timeout(ms);
    while (0 < node.open.size && !late.aborted) {
      await Promise.race([Promise.all([...node.open]), once(late, "abort")]);
    }
  }

  undrain(number) {
    this.#nodes[number - 1].out = false;
  }

  /** A connection to the next upstream that takes one. */
  async #connect() {
    for (let tries = 0; tries < this.#nodes.length; tries++) {
      const node = this.#nodes[this.#turn++ % this.#nodes.length];
      if (node.out) continue;
      const socket = net.connect({ host: node.hostname, port: node.port, noDelay: true });
      // From here on, so that a drain waits also for what is only about to be sent.
      const ended = new Promise((resolve) => socket.once("close", resolve));
      node.open.add(ended);
      ended.then(() => node.open.delete(ended));
      try {
        await once(socket, "connect");
        return { node, socket };
      } catch {
        socket.destroy();
      }
    }
    throw new Error("no upstream takes connections");
  }

  async #carry(request, response) {
    // What happens to the client meanwhile is seen when its request is carried on.
    request.on("error", () => {});
    response.on("error", () => {});
    const { node, socket } = await this.#connect();
    if (request.socket.destroyed) return void socket.destroy();
    node.requests++;
    const { method, url } = request;
    const upstream = http.request({
      method,
      path: url,
      headers: [...passed(request.rawHeaders), "Connection", "close"],
      createConnection: () => socket,
    });
    let whole = false;
    const broke = () => {
      socket.destroy();
      if (whole || response.destroyed) return;
      this.cut.push(`${method} ${url} at ${node.url}`);
      request.socket.destroy();
    };
    upstream.on("error", broke);
    response.on("close", () => {
      if (!response.writableFinished) whole = true;
      socket.destroy();
    });
    upstream.on("response", (answer) => {
      const { statusCode } = answer;
      if (300 <= statusCode && statusCode < 400 && statusCode !== 304) {
        this.violations.push(`${node.url} answers ${method} ${url} with ${statusCode}`);
      }
      response.sendDate = false;
      response.writeHead(statusCode, answer.statusMessage, passed(answer.rawHeaders, "transfer-encoding"));
      response.flushHeaders();
      answer.on("error", broke);
      answer.on("end", () => {
        whole = answer.complete;
        if (whole) response.end();
      });
      answer.pipe(response, { end: false });
    });
    request.pipe(upstream);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, ...urls] = process.argv.slice(2);
  if (urls.length === 0) {
    console.error("spread.mjs: call it with PORT URL…");
    process.exit(2);
  }
  const spread = new Spread(urls);
  console.log(await spread.listen(Number(port)));
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.on(signal, () => {
      for (const line of spread.violations) console.error(line);
      console.log(`requests: ${spread.requests.join(" ")}`);
      process.exit(spread.violations.length === 0 ? 0 : 1);
    });
  }
}
