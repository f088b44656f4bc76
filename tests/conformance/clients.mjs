// The official clients while the node that leads their stream is killed (kill -9) and started again:
// every message comes once and in order, to live readers and from every node afterwards.

import { Checks, difference, within } from "./checks.mjs";
import { withNodes } from "./nodes.mjs";
import { python } from "./python.mjs";
import { Spread } from "./spread.mjs";
import { typescript } from "./typescript.mjs";

const MESSAGES = 400;
/** A kill begins before these messages… */
const KILLS = [100, 200, 300];
/** …and is done before so many later ones: the messages between them meet it in the air. */
const MEETING = 20;
const PATIENCE_MS = 120_000;

const wanted = Array.from({ length: MESSAGES }, (_, message) => message);
const checks = new Checks("clients");

/** Lets a writer through; kills and starts the leader of `stream` on its way. */
function faults(nodes, stream) {
  let killed = Promise.resolve();
  let started = Promise.resolve();
  const gate = async (message) => {
    if (KILLS.includes(message)) {
      const before = started;
      killed = before.then(() => nodes.leader(stream)).then((victim) => nodes.kill(victim).then(() => victim));
      started = killed.then((victim) => nodes.start(victim));
      started.catch(() => {});
    }
    if (KILLS.includes(message - MEETING)) await killed;
  };
  return { gate, over: () => started };
}

async function play(client, nodes, spread) {
  const stream = `${client.name}-${nodes.count}`;
  const at = (base) => `${base}/v1/stream/${stream}`;
  const name = (what) => `${client.name}, ${nodes.count} node(s), ${what}`;
  const url = at(spread.url);

  await within(PATIENCE_MS, "create", client.create(url));
  let giveUp;
  const givenUp = new Promise((_, reject) => (giveUp = reject));
  givenUp.catch(() => {});
  const readers = ["sse", "long-poll"].map((live) => {
    const reading = within(PATIENCE_MS, "read", client.read(url, live, MESSAGES));
    return checks.run(name(live), async () => {
      const why = difference(await Promise.race([reading, givenUp]), wanted);
      if (why) throw new Error(why);
    });
  });
  const { gate, over } = faults(nodes, stream);
  await checks.run(name("write"), async () => {
    const writing = within(PATIENCE_MS, "write", client.produce(url, MESSAGES, gate));
    // Readers would wait for what nobody writes any more.
    writing.catch(() => giveUp(new Error("the writer failed")));
    await writing;
  });
  await Promise.all([...readers, over()]);
  for (const number of nodes.numbers) {
    await checks.run(name(`node ${number} afterwards`), async () => {
      const got = await within(PATIENCE_MS, "catch up", client.catchUp(at(nodes.url(number))));
      const why = difference(got, wanted);
      if (why) throw new Error(why);
    });
  }
}

if (!python.installed) console.log("SKIPPED: the Python client, for lack of python3 with venv");
const clients = [typescript, python].filter((client) => client.installed !== false);

for (const count of [1, 3]) {
  await withNodes(count, async (nodes) => {
    const before = checks.failed;
    const spread = new Spread(nodes.urls);
    await spread.listen();
    for (const client of clients) await play(client, nodes, spread);
    for (const line of spread.violations) checks.count("spread", line);
    console.log(`${count} node(s): ${spread.cut.length} requests were cut by ${KILLS.length * clients.length} kills`);
    await spread.close();
    return checks.failed - before;
  });
}
checks.close();
// Readers that never ended keep the process: they were counted.
process.exit();
