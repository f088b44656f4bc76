// The AI SDK without a page: its own chat, over a state that is an array, and its own transport.

import assert from "node:assert/strict";

import { AbstractChat, DefaultChatTransport } from "ai";

class State {
  status = "ready";
  error = undefined;

  constructor(messages = []) {
    this.messages = structuredClone(messages);
  }

  pushMessage = (message) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (at, message) => void (this.messages[at] = structuredClone(message));
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
  constructor(init) {
    super({ ...init, state: new State(init.messages) });
  }
}

/** A device: a chat at one node, with what it has seen. */
export function device(url, agent, id, more = {}) {
  const { route = "ai-sdk", headers, ...init } = more;
  const api = `${url}/v1/${route}/${agent}`;
  const seen = { chunks: [], errors: [], data: [] };
  const chat = new Chat({
    id,
    transport: new DefaultChatTransport({ api, headers }),
    onError: (why) => seen.errors.push(why),
    onData: (part) => seen.data.push(part),
    ...init,
  });
  return { chat, api, ...seen, last: () => chat.messages.at(-1) };
}

export const transport = (url, agent, more = {}) =>
  new DefaultChatTransport({ api: `${url}/v1/ai-sdk/${agent}`, ...more });

export const textOf = (message) =>
  message.parts
    .filter(({ type }) => type === "text")
    .map(({ text }) => text)
    .join("|");

/** All chunks of a stream. */
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** Waits until a device shows this much. */
export async function shows(on, text) {
  while (!on.last()?.parts || !textOf(on.last()).includes(text)) {
    if (on.errors.length) throw on.errors[0];
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** That the agent was asked once for the first message of a device. */
export function once(agent, on) {
  const turn = on.chat.messages.find(({ role }) => role === "user").id;
  assert.equal(agent.invocations.get(turn), 1, "the agent was asked once");
}
