// What OpenAI's own client is to see, whatever becomes of nodes and agents.

import assert from "node:assert/strict";

import OpenAI from "openai";

const LONG = "one two three four five six seven eight";

const client = (url, more = {}) => new OpenAI({ apiKey: "none", baseURL: `${url}/v1/openai`, ...more });
const others = (nodes, ...without) => nodes.numbers.filter((number) => !without.includes(number));

/** Takes the events of a stream; `until` says when that is enough. */
async function take(stream, until = () => false) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (until(event)) break;
  }
  return events;
}

const textOf = (events) =>
  events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta).join("");

const isDense = (events, first = 0) =>
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => first + at));

const once = (agent, before, what) =>
  assert.equal([...agent.invocations.values()].reduce((a, b) => a + b, 0) - before, 1, what);

const total = (agent) => [...agent.invocations.values()].reduce((a, b) => a + b, 0);

export const openai = {
  async "a response is created, and retrieved at another node"(nodes) {
    const made = await client(nodes.url(1)).responses.create({ model: "poet", input: "short" });
    assert.deepEqual([made.status, made.output_text], ["completed", "Roses are red"]);
    const again = await client(nodes.url(2)).responses.retrieve(made.id);
    assert.deepEqual(again.output, made.output);
    const items = await client(nodes.url(3)).responses.inputItems.list(made.id);
    assert.equal(items.data[0].content[0].text, "short");
    await client(nodes.url(2)).responses.delete(made.id);
    await assert.rejects(client(nodes.url(1)).responses.retrieve(made.id), OpenAI.NotFoundError);
  },

  async "the stream helper sees the whole of it"(nodes) {
    const stream = client(nodes.url(1)).responses.stream({ model: "poet", input: "tool" });
    const whole = await stream.finalResponse();
    assert.deepEqual(whole.output.map(({ type }) => type), ["reasoning", "mcp_call", "image_generation_call", "message"]);
    assert.equal(whole.output_text, "twelve");
    const replayed = client(nodes.url(2)).responses.stream({ response_id: whole.id, starting_after: 3 });
    assert.deepEqual((await replayed.finalResponse()).output, whole.output);
  },

  async "in the background, a stream goes on where it broke, at any node"(nodes, agent) {
    const before = total(agent);
    const request = { model: "poet", input: "broken", background: true, stream: true };
    const stream = await client(nodes.url(1)).responses.create(request);
    const head = await take(stream, ({ type, delta }) => type === "response.output_text.delta" && delta.includes("three"));
    const id = head[0].response.id;
    await agent.gate("broken").reached;
    assert.equal((await client(nodes.url(2)).responses.retrieve(id)).status, "in_progress");
    const last = head.at(-1).sequence_number;
    const rest = client(nodes.url(3)).responses.retrieve(id, { stream: true, starting_after: last });
    agent.gate("broken").open();
    const tail = await take(await rest);
    isDense([...head, ...tail]);
    assert.equal(textOf([...head, ...tail]), LONG);
    const whole = await take(await client(nodes.url(2)).responses.retrieve(id, { stream: true }));
    assert.deepEqual(whole, [...head, ...tail]);
    assert.equal(whole.at(-1).response.output[0].content[0].text, LONG);
    once(agent, before, "the agent was asked once");
  },

  async "a response is cancelled"(nodes, agent) {
    const made = await client(nodes.url(1)).responses.create({ model: "poet", input: "cancel", background: true });
    assert.ok(["queued", "in_progress"].includes(made.status), made.status);
    await agent.gate("cancel").reached;
    const over = await client(nodes.url(2)).responses.cancel(made.id);
    agent.gate("cancel").open();
    assert.equal(over.status, "cancelled");
    assert.deepEqual(await client(nodes.url(3)).responses.cancel(made.id), over);
  },

  async "a conversation is a session, and goes on after a response"(nodes) {
    const at = (number) => client(nodes.url(number));
    const { id } = await at(1).conversations.create();
    const one = await at(2).responses.create({ model: "poet", input: "short", conversation: id });
    const two = await at(3).responses.create({ model: "poet", input: "short", previous_response_id: one.id });
    assert.deepEqual([one.conversation.id, two.conversation.id], [id, id]);
    assert.equal((await at(2).conversations.retrieve(id)).id, id);
    await assert.rejects(at(1).responses.delete(two.id), OpenAI.ConflictError);
    await at(1).conversations.delete(id);
    await assert.rejects(at(2).responses.retrieve(one.id), OpenAI.NotFoundError);
  },

  async "the same request under one key is one response"(nodes, agent) {
    const before = total(agent);
    const headers = { "Idempotency-Key": "one-key" };
    const send = (number) => client(nodes.url(number)).responses.create({ model: "poet", input: "short" }, { headers });
    const [one, two, three] = await Promise.all([send(1), send(2), send(3)]);
    assert.deepEqual([two, three], [one, one]);
    once(agent, before, "the agent was asked once");
  },

  async "a call of the client is answered by the next request"(nodes) {
    const asked = await client(nodes.url(1)).responses.create({ model: "poet", input: "client" });
    const call = asked.output.at(-1);
    assert.deepEqual([call.type, call.name, call.arguments], ["function_call", "place", "{}"]);
    const output = JSON.stringify({ city: "Graz" });
    const input = [{ type: "function_call_output", call_id: call.call_id, output }];
    const told = await client(nodes.url(2)).responses.create({ model: "poet", input, previous_response_id: asked.id });
    assert.equal(told.output_text, "in Graz");
  },

  async "a failure fails the response"(nodes) {
    const made = await client(nodes.url(1)).responses.create({ model: "poet", input: "fail" });
    assert.deepEqual([made.status, made.error.message], ["failed", "no more ink"]);
  },

  async "what is asked wrongly is told in the client's own errors"(nodes) {
    const at = client(nodes.url(1), { maxRetries: 0 });
    await assert.rejects(at.responses.create({ model: "poet", input: [] }), OpenAI.BadRequestError);
    await assert.rejects(at.responses.retrieve("resp_no"), OpenAI.NotFoundError);
    await assert.rejects(at.responses.cancel("resp_no"), OpenAI.NotFoundError);
  },

  async "chat completions, whole and as they come"(nodes) {
    const messages = [{ role: "user", content: "short" }];
    const whole = await client(nodes.url(1)).chat.completions.create({ model: "poet", messages });
    assert.deepEqual([whole.choices[0].message.content, whole.choices[0].finish_reason], ["Roses are red", "stop"]);
    const stream = client(nodes.url(2)).chat.completions.stream({ model: "poet", messages });
    assert.equal((await stream.finalChatCompletion()).choices[0].message.content, "Roses are red");
    const failing = [{ role: "user", content: "fail" }];
    const failed = client(nodes.url(3)).chat.completions.stream({ model: "poet", messages: failing });
    await assert.rejects(failed.finalChatCompletion(), /no more ink/);
  },

  async "the node that leads is killed in the middle: the text comes once, unasked"(nodes, agent) {
    const before = total(agent);
    const { id: conversation } = await client(nodes.url(1)).conversations.create();
    const leader = await nodes.leader(conversation);
    const [at, joins] = others(nodes, leader);
    const request = { model: "poet", input: "lead", background: true, stream: true, conversation };
    const stream = await client(nodes.url(at)).responses.create(request);
    let first;
    const id = new Promise((resolve) => (first = resolve));
    const taking = take(stream, (event) => void (event.response && first(event.response.id)));
    await agent.gate("lead").reached;
    await nodes.kill(leader);
    agent.gate("lead").open();
    const events = await taking;
    isDense(events);
    assert.equal(textOf(events), LONG);
    const again = await take(await client(nodes.url(joins)).responses.retrieve(await id, { stream: true }));
    assert.deepEqual(again, events);
    await nodes.start(leader);
    once(agent, before, "the agent was asked once");
  },

  async "the client's own node is killed: it goes on after the last event it has"(nodes, agent) {
    const before = total(agent);
    const request = { model: "poet", input: "own", background: true, stream: true };
    const stream = await client(nodes.url(2), { maxRetries: 0 }).responses.create(request);
    const head = [];
    const broken = (async () => {
      for await (const event of stream) head.push(event);
    })();
    broken.catch(() => {});
    await agent.gate("own").reached;
    while (!textOf(head).includes("four")) await new Promise((resolve) => setTimeout(resolve, 5));
    await nodes.kill(2);
    await assert.rejects(broken);
    const [id, after] = [head[0].response.id, head.at(-1).sequence_number];
    const rest = client(nodes.url(3)).responses.retrieve(id, { stream: true, starting_after: after });
    agent.gate("own").open();
    const events = [...head, ...(await take(await rest))];
    await nodes.start(2);
    isDense(events);
    assert.equal(textOf(events), LONG);
    once(agent, before, "the agent was asked once");
  },
};
