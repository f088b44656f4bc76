// What AG-UI's own client is to see, whatever becomes of nodes and agents.

import assert from "node:assert/strict";

import { HttpAgent } from "@ag-ui/client";

const LONG = "one two three four five six seven eight";

const others = (nodes, ...without) => nodes.numbers.filter((number) => !without.includes(number));

function client(url, threadId, messages = []) {
  return new HttpAgent({ url: `${url}/v1/ag-ui/poet`, threadId, initialMessages: messages });
}

/** Sends a text, and returns what the assistant said to it. */
async function say(on, text, runId = `run-${crypto.randomUUID()}`) {
  on.addMessage({ id: `m-${runId}`, role: "user", content: text });
  await on.runAgent({ runId });
  return on.messages.filter(({ role }) => role === "assistant").at(-1);
}

/** The events of a run, by plain requests: as clients do that come back with the last id they saw. */
async function* events(url, input, seen) {
  const answer = await fetch(`${url}/v1/ag-ui/poet`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(seen ? { "last-event-id": seen } : {}) },
    body: JSON.stringify(input),
  });
  assert.equal(answer.status, 200);
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const line = (name) => block.split("\n").find((line) => line.startsWith(name))?.slice(name.length).trim();
      yield { id: line("id:"), ...JSON.parse(line("data:")) };
    }
  }
}

export const agUi = {
  async "a run is answered, with its tools and reasoning"(nodes) {
    const on = client(nodes.url(1), "ag-run");
    assert.equal((await say(on, "short")).content, "Roses are red");
    await say(on, "tool");
    const kinds = on.messages.map(({ role }) => role);
    assert.deepEqual(kinds, ["user", "assistant", "user", "reasoning", "assistant", "tool", "assistant"]);
    const called = on.messages.find(({ toolCalls }) => toolCalls);
    assert.deepEqual(called.toolCalls[0].function, { name: "lookup", arguments: '{"id":7}' });
    assert.equal(on.messages.at(-1).content, "twelve");
  },

  async "the same run again goes on after the last event that was seen, and never begins anew"(nodes, agent) {
    const run = { threadId: "ag-again", runId: "ag-again-1", tools: [], context: [], state: {}, forwardedProps: {} };
    const input = { ...run, messages: [{ id: "m", role: "user", content: "again" }] };
    const head = [];
    for await (const event of events(nodes.url(1), input)) {
      head.push(event);
      if (event.delta?.includes("three")) break;
    }
    await agent.gate("again").reached;
    const tail = [];
    for await (const event of events(nodes.url(2), input, head.at(-1).id)) {
      tail.push(event);
      agent.gate("again").open();
    }
    const all = [...head, ...tail];
    assert.equal(new Set(all.map(({ id }) => id)).size, all.length, "each event once");
    assert.equal(all.filter(({ type }) => type === "TEXT_MESSAGE_CONTENT").map(({ delta }) => delta).join(""), LONG);
    assert.deepEqual([all[0].type, all.at(-1).type], ["RUN_STARTED", "RUN_FINISHED"]);
    const whole = [];
    for await (const event of events(nodes.url(3), input)) whole.push(event);
    assert.deepEqual(whole, all);
    assert.equal(agent.invocations.get("ag-again-1"), 1);
  },

  async "an interrupt ends a run, and another goes on with the answer"(nodes) {
    const on = client(nodes.url(1), "ag-ask");
    let interrupts;
    on.subscribe({ onRunFinishedEvent: ({ event }) => void (interrupts = event.outcome?.interrupts) });
    await say(on, "approve");
    assert.deepEqual(interrupts.map(({ reason, toolCallId }) => [reason, toolCallId]), [["tool_call", "d1"]]);
    const resume = [{ interruptId: interrupts[0].id, status: "resolved", payload: { approved: true } }];
    await on.runAgent({ runId: "ag-ask-2", resume });
    assert.equal(on.messages.at(-1).content, "done");
  },

  async "a failure fails the run"(nodes) {
    const on = client(nodes.url(2), "ag-fail");
    const failures = [];
    on.subscribe({ onRunErrorEvent: ({ event }) => void failures.push(event.message) });
    await say(on, "fail");
    assert.deepEqual(failures, ["no more ink"]);
  },

  async "the node that leads is killed in the middle: the text comes once, unasked"(nodes, agent) {
    const on = client(nodes.url(1), "ag-leader");
    await say(on, "short");
    const leader = await nodes.leader("ag-leader");
    const [at] = others(nodes, leader);
    const moved = client(nodes.url(at), "ag-leader", on.messages);
    const saying = say(moved, "agent", "ag-leader-1");
    await agent.gate("agent").reached;
    await nodes.kill(leader);
    agent.gate("agent").open();
    assert.equal((await saying).content, LONG);
    await nodes.start(leader);
    assert.equal(agent.invocations.get("ag-leader-1"), 1);
  },
};
