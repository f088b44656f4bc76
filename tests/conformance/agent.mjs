// An agent for the tests of chat clients: a worker by plain HTTP that goes on at another node when one fails.
//
// What it does in a turn is a script, chosen by the text of the turn's last input. It counts how often it was given
// each turn, and stops where a script says so until the test lets it go on.

import { pause } from "./nodes.mjs";

const WAIT_MS = 2_000;
const LEASE_MS = 10_000;
const TRY_MS = 10_000;

export class Agent {
  #urls;
  #scripts;
  #stop = new AbortController();
  #running = [];
  #gates = new Map();
  /** How often each turn was given to this agent, by its name. */
  invocations = new Map();

  /** `scripts` has for each text an async generator function over `{ input, answers, gate }` that yields says. */
  constructor(name, urls, scripts) {
    this.name = name;
    this.#urls = urls;
    this.#scripts = scripts;
  }

  start(workers = 3) {
    for (let worker = 0; worker < workers; worker++) this.#running.push(this.#work(`${this.name}-${worker}`));
    return this;
  }

  async stop() {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  /** Where a script waits under this name: `reached` when it does, and `open` lets it go on. */
  gate(name) {
    if (!this.#gates.has(name)) {
      const gate = {};
      gate.reached = new Promise((resolve) => (gate.reach = resolve));
      gate.opened = new Promise((resolve) => (gate.open = resolve));
      this.#gates.set(name, gate);
    }
    return this.#gates.get(name);
  }

  /** A request that may be repeated, at the next node where one fails. */
  async #ask(path, body) {
    for (let tries = 0; ; tries++) {
      const url = this.#urls[tries % this.#urls.length] + path;
      const signal = AbortSignal.timeout(TRY_MS);
      const request = { method: "POST", body: JSON.stringify(body), signal };
      const answer = await fetch(url, request).catch(() => null);
      const text = await answer?.text().catch(() => null);
      if (answer && text !== null && answer.status < 500) {
        return { status: answer.status, body: text ? JSON.parse(text) : null };
      }
      if (this.#stop.signal.aborted) return { status: 410, body: null };
      await pause(20);
    }
  }

  async #work(worker) {
    while (!this.#stop.signal.aborted) {
      const claim = { worker, wait_ms: WAIT_MS, lease_ms: LEASE_MS };
      const { status, body } = await this.#ask(`/v1/agents/${this.name}/claim`, claim);
      if (status === 200) await this.#turn(body);
    }
  }

  async #turn(turn) {
    this.invocations.set(turn.turn, 1 + (this.invocations.get(turn.turn) ?? 0));
    const events = turn.events;
    const input = events.filter(({ type }) => type === "input.accepted").at(-1);
    const answers = events.filter(({ type }) => type === "interaction.resolved");
    const text = input.text ?? JSON.stringify(input.data);
    const script = this.#scripts[text] ?? this.#scripts.default;
    const gate = async (name) => {
      const found = this.gate(name);
      found.reach();
      await found.opened;
    };
    const path = `/v1/sessions/${encodeURIComponent(turn.session)}/turns/${encodeURIComponent(turn.turn)}/output`;
    let seq = 0;
    for await (const report of script({ text, input, answers, gate, turn })) {
      const { status } = await this.#ask(path, { epoch: turn.epoch, seq: seq++, consumed: input.serial, ...report });
      if (status !== 200) return;
    }
  }
}

/** Says words one by one, and waits before one of them where a gate is named. */
export const words = (text, at = -1, name = "") =>
  async function* ({ gate }) {
    const all = text.split(" ");
    for (const [place, word] of all.entries()) {
      if (place === at) await gate(name);
      yield { events: [{ text: place === 0 ? word : ` ${word}` }] };
    }
    yield { then: "complete" };
  };

/** Says these chunks of the AI SDK, each as an endpoint's answer keeps it. */
export const chunk = (chunk) => ({ events: [{ format: "ai-sdk/1", text: JSON.stringify(chunk) }] });
