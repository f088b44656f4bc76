// What the AI SDK's own chat and transport are to see, whatever becomes of nodes, clients and agents.

import assert from "node:assert/strict";

import { lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import * as five from "ai-5";
import * as six from "ai-6";

import { chunk, words } from "./agent.mjs";
import { collect, device, once, shows, textOf, transport } from "./ai-sdk.mjs";

const LONG = "one two three four five six seven eight";

export const scripts = {
  short: words("Roses are red"),
  default: words("Roses are red"),
  device: words(LONG, 3, "device"),
  stop: words(LONG, 3, "stop"),
  leave: words(LONG, 3, "leave"),
  twice: words(LONG, 3, "twice"),
  leader: words(LONG, 4, "leader"),
  node: words(LONG, 4, "node"),
  broken: words(LONG, 4, "broken"),
  cancel: words(LONG, 4, "cancel"),
  lead: words(LONG, 4, "lead"),
  own: words(LONG, 4, "own"),
  again: words(LONG, 4, "again"),
  agent: words(LONG, 4, "agent"),
  anew: async function* ({ gate }) {
    yield { events: [{ text: "wrong" }] };
    await gate("anew");
    yield { rewind: true, events: [{ text: "right" }] };
    yield { then: "complete" };
  },
  fail: async function* () {
    yield { events: [{ text: "one" }], then: "fail", reason: "no more ink" };
  },
  tool: async function* () {
    yield chunk({ type: "start-step" });
    yield chunk({ type: "reasoning-start", id: "r" });
    yield chunk({ type: "reasoning-delta", id: "r", delta: "Look it up." });
    yield chunk({ type: "reasoning-end", id: "r" });
    yield chunk({ type: "tool-input-start", toolCallId: "k1", toolName: "lookup" });
    yield chunk({ type: "tool-input-delta", toolCallId: "k1", inputTextDelta: '{"id":7}' });
    yield chunk({ type: "tool-input-available", toolCallId: "k1", toolName: "lookup", input: { id: 7 } });
    yield chunk({ type: "tool-output-available", toolCallId: "k1", output: { left: 12 } });
    yield chunk({ type: "source-url", sourceId: "s", url: "https://example.com/a", title: "A" });
    yield chunk({ type: "data-weather", id: "w", data: { sun: true } });
    yield chunk({ type: "file", mediaType: "image/png", url: "data:image/png;base64,AA==" });
    yield chunk({ type: "not-known-yet", a: 1 });
    yield chunk({ type: "start-step" });
    yield { events: [{ text: "twelve" }], then: "complete" };
  },
  approve: async function* ({ answers }) {
    if (answers.length === 0) {
      yield chunk({ type: "tool-input-available", toolCallId: "d1", toolName: "drop", input: { table: "a" } });
      const tool = { id: "d1", name: "drop", arguments: { table: "a" } };
      yield { ask: [{ interaction: "ap-1", kind: "approval", question: { data: { tool } } }], then: "wait" };
      return;
    }
    yield { step: "dropped", ...chunk({ type: "tool-output-available", toolCallId: "d1", output: answers[0].data }) };
    yield { events: [{ text: "done" }], then: "complete" };
  },
  client: async function* ({ answers }) {
    if (answers.length === 0) {
      yield chunk({ type: "tool-input-available", toolCallId: "c1", toolName: "place", input: {} });
      const tool = { id: "c1", name: "place", arguments: {} };
      yield { ask: [{ interaction: "c1", kind: "client_tool", question: { data: { tool } } }], then: "wait" };
      return;
    }
    const { data } = answers[0];
    const { city } = typeof data === "string" ? JSON.parse(data) : data;
    yield { step: "placed", events: [{ text: `in ${city}` }], then: "complete" };
  },
};

const id = (name) => `chat-${name}`;
const others = (nodes, ...without) => nodes.numbers.filter((number) => !without.includes(number));

export const aiSdk = {
  async "a message is answered, and a chat goes on"(nodes, agent) {
    const on = device(nodes.url(1), "poet", id("send"));
    await on.chat.sendMessage({ text: "short" });
    assert.deepEqual([on.chat.status, textOf(on.last())], ["ready", "Roses are red"]);
    await on.chat.sendMessage({ text: "short" });
    assert.deepEqual(on.chat.messages.map(({ role }) => role), ["user", "assistant", "user", "assistant"]);
    assert.deepEqual(on.errors, []);
    once(agent, on);
  },

  async "a second device joins at another node, with the same ids"(nodes, agent) {
    const first = device(nodes.url(1), "poet", id("device"));
    const sending = first.chat.sendMessage({ text: "device" });
    await agent.gate("device").reached;
    await shows(first, "three");
    const second = device(nodes.url(2), "poet", id("device"));
    const resuming = second.chat.resumeStream();
    await shows(second, "three");
    agent.gate("device").open();
    await Promise.all([sending, resuming]);
    assert.deepEqual([textOf(first.last()), textOf(second.last())], [LONG, LONG]);
    assert.equal(first.last().id, second.last().id);
    once(agent, first);
  },

  async "stop ends the answer on every device"(nodes, agent) {
    const on = device(nodes.url(1), "poet", id("stop"));
    const sending = on.chat.sendMessage({ text: "stop" });
    await agent.gate("stop").reached;
    const stopped = await fetch(`${nodes.url(3)}/v1/ai-sdk/poet/${id("stop")}/stop`, { method: "POST" });
    assert.equal(stopped.status, 200);
    await sending;
    agent.gate("stop").open();
    assert.deepEqual([textOf(on.last()), on.chat.status], ["one two three", "ready"]);
    assert.equal(await transport(nodes.url(2), "poet").reconnectToStream({ chatId: id("stop") }), null);
  },

  async "nothing is resumed where nothing runs"(nodes) {
    for (const chatId of [id("send"), id("never"), "a b/ä"]) {
      for (const url of nodes.urls) {
        assert.equal(await transport(url, "poet").reconnectToStream({ chatId }), null);
      }
    }
  },

  async "a client that leaves cancels nothing"(nodes, agent) {
    const left = device(nodes.url(1), "poet", id("leave"));
    const sending = left.chat.sendMessage({ text: "leave" });
    await agent.gate("leave").reached;
    await left.chat.stop();
    await sending;
    const back = device(nodes.url(2), "poet", id("leave"));
    const resuming = back.chat.resumeStream();
    await shows(back, "three");
    agent.gate("leave").open();
    await resuming;
    assert.equal(textOf(back.last()), LONG);
    once(agent, left);
  },

  async "the same request twice begins one turn"(nodes, agent) {
    const messages = [{ id: "twice-1", role: "user", parts: [{ type: "text", text: "twice" }] }];
    const send = (url) =>
      transport(url, "poet").sendMessages({ trigger: "submit-message", chatId: id("twice"), messages });
    const streams = [send(nodes.url(1)), send(nodes.url(2))];
    const during = (await Promise.all(streams)).map(collect);
    agent.gate("twice").open();
    const [one, two] = await Promise.all(during);
    const three = await collect(await send(nodes.url(3)));
    const said = (chunks) => chunks.filter(({ type }) => type === "text-delta").map(({ delta }) => delta).join("");
    assert.deepEqual([one, two, three].map(said), [LONG, LONG, LONG]);
    assert.deepEqual(one, two);
    assert.deepEqual(one, three);
    assert.equal(agent.invocations.get("twice-1"), 1);
  },

  async "reasoning, tools, sources, files and data come as their own parts"(nodes) {
    const on = device(nodes.url(2), "poet", id("tool"));
    await on.chat.sendMessage({ text: "tool" });
    assert.deepEqual(on.errors, []);
    const parts = on.last().parts;
    const kinds = parts.map(({ type }) => type);
    assert.deepEqual(kinds, [
      "step-start",
      "reasoning",
      "tool-lookup",
      "source-url",
      "data-weather",
      "file",
      "data-event",
      "step-start",
      "text",
    ]);
    assert.deepEqual([parts[2].state, parts[2].output], ["output-available", { left: 12 }]);
    assert.equal(parts[1].text, "Look it up.");
  },

  async "clients of 5 and 6 have routes of their own"(nodes) {
    const kinds = async (sdk, route, text) => {
      const client = new sdk.DefaultChatTransport({ api: `${nodes.url(1)}/v1/${route}/poet` });
      const messages = [{ id: `${route}-${text}`, role: "user", parts: [{ type: "text", text }] }];
      const stream = await client.sendMessages({ trigger: "submit-message", chatId: id(route + text), messages });
      let last;
      const fail = (why) => {
        throw why;
      };
      for await (const message of sdk.readUIMessageStream({ stream, onError: fail })) last = message;
      return last.parts.map(({ type, state }) => [type, state].filter(Boolean).join(" ")).join(", ");
    };
    const tool =
      "step-start, reasoning done, tool-lookup output-available, source-url, data-weather, file, data-event, " +
      "step-start, text done";
    for (const [sdk, route] of [[five, "ai-sdk-5"], [six, "ai-sdk-6"]]) {
      assert.equal(await kinds(sdk, route, "tool"), tool);
    }
    const asked = "step-start, tool-drop input-available, data-interaction";
    assert.equal(await kinds(five, "ai-sdk-5", "approve"), asked);
    assert.equal(await kinds(six, "ai-sdk-6", "approve"), "step-start, tool-drop approval-requested");
  },

  async "an approval is asked for and answered through its part"(nodes) {
    const on = device(nodes.url(1), "poet", id("approve"), {
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await on.chat.sendMessage({ text: "approve" });
    const asked = on.last().parts.find(({ type }) => type === "tool-drop");
    assert.equal(asked.state, "approval-requested");
    const late = device(nodes.url(3), "poet", id("approve"));
    await late.chat.resumeStream();
    assert.equal(late.last().parts.find(({ type }) => type === "tool-drop").state, "approval-requested");
    await on.chat.addToolApprovalResponse({ id: asked.approval.id, approved: true, reason: "fine" });
    await shows(on, "done");
    const part = on.last().parts.find(({ type }) => type === "tool-drop");
    assert.deepEqual([part.state, part.output], ["output-available", { approved: true, reason: "fine" }]);
    assert.deepEqual([on.errors, on.chat.messages.length], [[], 2]);
  },

  async "a client's own tool answers by the next message"(nodes) {
    const on = device(nodes.url(2), "poet", id("client"));
    await on.chat.sendMessage({ text: "client" });
    assert.equal(on.last().parts.find(({ type }) => type === "tool-place").state, "input-available");
    await on.chat.addToolOutput({ tool: "place", toolCallId: "c1", output: { city: "Graz" } });
    await on.chat.sendMessage();
    assert.deepEqual([textOf(on.last()), on.errors.length], ["in Graz", 0]);
  },

  async "what an agent takes back is taken back"(nodes, agent) {
    const on = device(nodes.url(1), "poet", id("anew"));
    const sending = on.chat.sendMessage({ text: "anew" });
    await shows(on, "wrong");
    agent.gate("anew").open();
    await sending;
    assert.deepEqual([textOf(on.last()), on.errors.length], ["right", 0]);
  },

  async "a failure is an error, and not a short answer"(nodes) {
    const on = device(nodes.url(1), "poet", id("fail"));
    await on.chat.sendMessage({ text: "fail" });
    assert.deepEqual([on.chat.status, on.errors.map(({ message }) => message)], ["error", ["no more ink"]]);
  },

  async "how the agent is comes to those who ask"(nodes) {
    const on = device(nodes.url(1), "poet", id("health"), { headers: { "outlive-health": "1" } });
    await on.chat.sendMessage({ text: "short" });
    assert.equal(on.errors.length, 0);
    assert.ok(on.data.every(({ type, transient }) => type === "data-health" && transient));
  },

  async "another answer and an edited message are turns of their own"(nodes) {
    const on = device(nodes.url(1), "poet", id("edit"));
    await on.chat.sendMessage({ text: "short" });
    const [asked, first] = on.chat.messages;
    await on.chat.regenerate({ messageId: first.id });
    assert.notEqual(on.last().id, first.id);
    await on.chat.sendMessage({ text: "tool", messageId: asked.id });
    assert.deepEqual([textOf(on.last()), on.chat.messages.length], ["twelve", 2]);
    assert.deepEqual(on.errors, []);
  },

  async "the node that leads is killed in the middle: the text comes once, unasked"(nodes, agent) {
    const chat = id("leader");
    // The chat has to be there for somebody to lead it.
    await device(nodes.url(1), "poet", chat).chat.sendMessage({ text: "short" });
    const leader = await nodes.leader(chat);
    const [at, joins] = others(nodes, leader);
    const on = device(nodes.url(at), "poet", chat);
    const sending = on.chat.sendMessage({ text: "leader" });
    await agent.gate("leader").reached;
    await shows(on, "four");
    const second = device(nodes.url(joins), "poet", chat);
    const resuming = second.chat.resumeStream();
    await shows(second, "four");
    await nodes.kill(leader);
    agent.gate("leader").open();
    await Promise.all([sending, resuming]);
    await nodes.start(leader);
    assert.deepEqual([textOf(on.last()), textOf(second.last())], [LONG, LONG]);
    assert.deepEqual([on.errors, second.errors, on.last().id], [[], [], second.last().id]);
    once(agent, on);
  },

  async "the client's own node is killed: it resumes elsewhere, and the text is whole"(nodes, agent) {
    const chat = id("node");
    const broken = device(nodes.url(2), "poet", chat);
    const sending = broken.chat.sendMessage({ text: "node" });
    await agent.gate("node").reached;
    await shows(broken, "four");
    await nodes.kill(2);
    await sending;
    assert.equal(broken.chat.status, "error");
    const asked = broken.chat.messages[0];
    const on = device(nodes.url(3), "poet", chat, { messages: [asked] });
    const resuming = on.chat.resumeStream();
    await shows(on, "four");
    agent.gate("node").open();
    await resuming;
    await nodes.start(2);
    assert.deepEqual([textOf(on.last()), on.chat.messages.length, on.errors], [LONG, 2, []]);
    assert.equal(on.last().id, broken.last().id);
    // Whoever comes later than that has the same message answered again, without asking the agent.
    await broken.chat.sendMessage({ text: "node", messageId: asked.id });
    assert.deepEqual([textOf(broken.last()), broken.last().id], [LONG, on.last().id]);
    once(agent, on);
  },
};
