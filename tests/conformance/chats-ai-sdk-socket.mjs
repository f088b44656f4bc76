// What the AI SDK's chat is to see by its `WebSocketChatTransport`: many chats on one connection.

import assert from "node:assert/strict";

import { WebSocketChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import { WebSocket } from "ws";

import { chunk, words } from "./agent.mjs";
import { device, once, shows, textOf } from "./ai-sdk.mjs";

const LONG = "one two three four five six seven eight";

export const scripts = {
  "socket one": words(LONG, 3, "socket one"),
  "socket two": words("two one", 1, "socket two"),
  "socket stop": words(LONG, 3, "socket stop"),
  "socket leave": words(LONG, 3, "socket leave"),
  "socket lead": words(LONG, 4, "socket lead"),
  "socket approve": async function* ({ answers }) {
    if (answers.length === 0) {
      yield chunk({ type: "tool-input-available", toolCallId: "d1", toolName: "drop", input: { table: "a" } });
      const tool = { id: "d1", name: "drop", arguments: { table: "a" } };
      yield { ask: [{ interaction: "sap-1", kind: "approval", question: { data: { tool } } }], then: "wait" };
      return;
    }
    yield { step: "dropped", ...chunk({ type: "tool-output-available", toolCallId: "d1", output: answers[0].data }) };
    yield { events: [{ text: "done" }], then: "complete" };
  },
};

const id = (name) => `socket-${name}`;

/** The chats of one page at one node. */
const page = (url) =>
  new WebSocketChatTransport({ url: `${url}/v1/ai-sdk/poet/ws`, webSocket: WebSocket });

const chat = (transport, name, more = {}) => device("", "poet", id(name), { transport, ...more });

export const aiSdkSocket = {
  async "two chats at once share a connection, and a third device joins at another node"(nodes, agent) {
    const transport = page(nodes.url(1));
    const [one, two] = [chat(transport, "one"), chat(transport, "two")];
    const sending = [one.chat.sendMessage({ text: "socket one" }), two.chat.sendMessage({ text: "socket two" })];
    await shows(one, "three");
    await shows(two, "two");
    const late = chat(page(nodes.url(2)), "one");
    const resuming = late.chat.resumeStream();
    await shows(late, "three");
    agent.gate("socket two").open();
    await sending[1];
    agent.gate("socket one").open();
    await Promise.all([...sending, resuming]);
    assert.deepEqual([one, two, late].map((on) => textOf(on.last())), [LONG, "two one", LONG]);
    assert.equal(one.last().id, late.last().id);
    assert.deepEqual([one.errors, two.errors, late.errors], [[], [], []]);
    once(agent, one);
    // The chat goes on, on the same connection, and by HTTP.
    await one.chat.sendMessage({ text: "short" });
    const plain = device(nodes.url(3), "poet", id("one"), { messages: one.chat.messages });
    await plain.chat.sendMessage({ text: "short" });
    assert.deepEqual([textOf(one.last()), textOf(plain.last())], ["Roses are red", "Roses are red"]);
    assert.equal(await transport.reconnectToStream({ chatId: id("one") }), null);
    await transport.close();
  },

  async "stop ends the answer everywhere, and a page that closes ends nothing"(nodes, agent) {
    const transport = page(nodes.url(1));
    const on = chat(transport, "stop");
    const sending = on.chat.sendMessage({ text: "socket stop" });
    await shows(on, "three");
    const other = chat(page(nodes.url(2)), "stop");
    const resuming = other.chat.resumeStream();
    await shows(other, "three");
    await on.chat.stop();
    await Promise.all([sending, resuming]);
    agent.gate("socket stop").open();
    assert.deepEqual([textOf(other.last()), other.chat.status], ["one two three", "ready"]);

    const left = chat(transport, "leave");
    const leaving = left.chat.sendMessage({ text: "socket leave" });
    await shows(left, "three");
    await transport.close();
    await leaving;
    const back = chat(page(nodes.url(3)), "leave");
    const returning = back.chat.resumeStream();
    await shows(back, "three");
    agent.gate("socket leave").open();
    await returning;
    assert.equal(textOf(back.last()), LONG);
    once(agent, left);
  },

  async "an approval is asked for and answered through its part"(nodes) {
    const on = chat(page(nodes.url(2)), "approve", {
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await on.chat.sendMessage({ text: "socket approve" });
    const asked = on.last().parts.find(({ type }) => type === "tool-drop");
    assert.equal(asked.state, "approval-requested");
    await on.chat.addToolApprovalResponse({ id: asked.approval.id, approved: true });
    await shows(on, "done");
    assert.deepEqual([on.errors, on.chat.messages.length], [[], 2]);
  },

  async "nodes are killed in the middle: the leader unasked, the page's own by resuming elsewhere"(nodes, agent) {
    await chat(page(nodes.url(1)), "lead").chat.sendMessage({ text: "short" });
    const leader = await nodes.leader(id("lead"));
    const [at, next] = nodes.numbers.filter((number) => number !== leader);
    const on = chat(page(nodes.url(at)), "lead");
    const sending = on.chat.sendMessage({ text: "socket lead" });
    await shows(on, "four");
    await nodes.kill(leader);
    const watching = chat(page(nodes.url(next)), "lead");
    const resuming = watching.chat.resumeStream();
    await shows(watching, "four");
    await nodes.start(leader);
    await nodes.kill(at);
    await sending;
    assert.equal(on.chat.status, "error");
    agent.gate("socket lead").open();
    await resuming;
    await nodes.start(at);
    assert.deepEqual([textOf(watching.last()), watching.errors, watching.last().id], [LONG, [], on.last().id]);
    once(agent, on);
  },
};
