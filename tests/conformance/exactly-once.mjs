// Exactly once across kill -9, in rounds: `node exactly-once.mjs [ROUNDS=10]`.
//
//   producers      four idempotent producers repeat every request that nobody answered, while the node that
//                  leads their stream is killed at a random point and started again; the last request closes
//                  the stream. On one node, and on three. Nothing is lost, doubled, moved or refused.
//   last message   append-and-close meets readers that are parked on the other nodes: each is given the
//                  last message, once, and then the end.

import { Checks, difference, within } from "./checks.mjs";
import { pause, withNodes } from "./nodes.mjs";
import { append, catchUp, create, events, longPoll } from "./raw.mjs";

const ROUNDS = Number(process.argv[2] ?? 10);
const PRODUCERS = ["a", "b", "c", "d"];
const MESSAGES = 15;
const PATIENCE_MS = 90_000;

const checks = new Checks("exactly-once");
const random = (below) => Math.floor(Math.random() * below);
const at = (nodes, stream) => (number) => `${nodes.url(number)}/v1/stream/${stream}`;

/** All nodes, beginning with `first`. */
const from = (nodes, first) => nodes.numbers.map((_, step) => 1 + ((first - 1 + step) % nodes.count));

function judge({ messages, closed }) {
  for (const id of PRODUCERS) {
    const own = messages.filter((message) => message.startsWith(`${id}-`));
    const wanted = Array.from({ length: MESSAGES }, (_, seq) => `${id}-${seq}`);
    const why = difference(own, wanted);
    if (why) throw new Error(`of producer ${id}, ${why}`);
  }
  if (messages.at(-1) !== "end-0" || messages.length !== PRODUCERS.length * MESSAGES + 1) {
    throw new Error(`the last of ${messages.length} messages is ${messages.at(-1)}`);
  }
  if (!closed) throw new Error("all is there, but the stream is not closed");
}

async function producers(nodes, round) {
  const stream = `exactly-once-${round}`;
  const url = at(nodes, stream);
  await create(url(1));
  const victim = await nodes.leader(stream);
  const urls = from(nodes, victim).map(url);

  // The kill comes a moment after so many acknowledgements, the closing one included.
  let acknowledgements = 0;
  const moment = random(PRODUCERS.length * MESSAGES + 1);
  let strike;
  const due = new Promise((resolve) => (strike = resolve));
  const reach = () => void (acknowledgements++ === moment && strike());
  const fault = due.then(() => pause(random(5))).then(() => nodes.kill(victim)).then(() => nodes.start(victim));

  reach();
  const write = async (id) => {
    for (let seq = 0; seq < MESSAGES; seq++) {
      await append(urls, id, seq, `${id}-${seq}`);
      reach();
    }
  };
  const writing = Promise.all(PRODUCERS.map(write)).then(() => append(urls, "end", 0, "end-0", { close: true }));
  try {
    await within(PATIENCE_MS, "writing", writing);
  } finally {
    strike();
    await fault;
  }
  for (const number of nodes.numbers) {
    try {
      judge(await catchUp(url(number)));
    } catch (why) {
      throw new Error(`killed node ${victim} after ${moment} acknowledgements; node ${number}: ${why.message}`);
    }
  }
}

async function lastMessage(nodes, round) {
  const stream = `last-message-${round}`;
  const url = at(nodes, stream);
  const writer = 1 + (round % nodes.count);
  await create(url(writer));
  await append([url(writer)], "w", 0, "first");

  const others = nodes.numbers.filter((number) => number !== writer || nodes.count === 1);
  const reading = [];
  const parked = [];
  for (const number of others) {
    for (const read of [longPoll, events]) {
      parked.push(
        new Promise((resolve, reject) => {
          const name = `${read.name} at node ${number}`;
          const run = read(url(number), "-1", resolve).then((messages) => {
            const why = difference(messages, ["first", "last"]);
            if (why) throw new Error(`${name}: ${why}`);
          });
          run.catch(reject);
          reading.push(within(PATIENCE_MS, name, run));
        }),
      );
    }
  }
  for (const read of reading) read.catch(() => {});
  await within(PATIENCE_MS, "parking", Promise.all(parked));
  // Which of poll and append comes first is a matter of milliseconds, and any order must do.
  await pause(random(20));
  await append([url(writer)], "w", 1, "last", { close: true });
  await Promise.all(reading);
}

for (const count of [1, 3]) {
  const failed = await withNodes(count, async (nodes) => {
    const before = checks.failed;
    for (let round = 0; round < ROUNDS; round++) {
      await checks.run(`producers, ${count} node(s), round ${round}`, () => producers(nodes, round));
    }
    for (let round = 0; round < ROUNDS; round++) {
      await checks.run(`last message, ${count} node(s), round ${round}`, () => lastMessage(nodes, round));
    }
    return checks.failed - before;
  });
  console.log(`${count} node(s): ${2 * ROUNDS} rounds, ${failed} failed`);
}
checks.close();
// Requests that were given up keep the process: they were counted.
process.exit();
