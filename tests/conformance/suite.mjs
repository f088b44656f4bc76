// The published suite against real nodes: `node suite.mjs one|three|followers|leaders`.
//
//   one         one node
//   three       three nodes; each request goes to the next one
//   followers   the same, and every 5 s a node that leads nothing is killed (kill -9) and started again
//   leaders     the same, and every 5 s the next node is stopped: it hands its leaderships over
//
// The suite's tests do not repeat a request that broke off, so a node gets no new requests before its
// fault, as with any load balancer that is told; all other nodes serve on while it is gone.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { pause, withNodes } from "./nodes.mjs";
import { judge, Slip } from "./slip.mjs";
import { Spread } from "./spread.mjs";

const PERIOD_MS = 5_000;
/** How long requests of a node may take before its fault cuts them. */
const DRAIN_MS = 10_000;

const FAULTS = {
  async followers(nodes, round) {
    const victim = await nodes.follower(round);
    return { victim, strike: () => nodes.kill(victim) };
  },
  async leaders(nodes, round) {
    const victim = 1 + (round % nodes.count);
    return { victim, strike: () => nodes.stop(victim) };
  },
};

/** What nodes are told besides: of many groups every node leads some, and none could be killed that only follows. */
const MORE = { followers: { OUTLIVE_GROUPS: "1" } };

/** Strikes again and again until `done`; returns how often. */
async function strikes(fault, nodes, spread, done) {
  for (let round = 0; ; round++) {
    const from = Date.now();
    const { victim, strike } = await fault(nodes, round);
    await spread.drain(victim, DRAIN_MS);
    await strike();
    await nodes.start(victim);
    spread.undrain(victim);
    while (Date.now() - from < PERIOD_MS && !done.aborted) await pause(100);
    if (done.aborted) return round + 1;
  }
}

async function vitest(url, report, pattern) {
  rmSync(report, { force: true });
  const env = { ...process.env, CONFORMANCE_TEST_URL: url, CONFORMANCE_REPORT: report, CI: "1" };
  const child = spawn(process.execPath, ["node_modules/vitest/vitest.mjs", "run", ...(pattern ? ["-t", pattern] : [])], {
    cwd: path.dirname(new URL(import.meta.url).pathname),
    env,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = await once(child, "exit");
  try {
    return JSON.parse(readFileSync(report, "utf8"));
  } catch {
    throw new Error(`the suite ended with ${code} and left no report`);
  }
}

const mode = process.argv[2];
if (!["one", "three", ...Object.keys(FAULTS)].includes(mode)) {
  console.error("suite.mjs: call it with one, three, followers or leaders");
  process.exit(2);
}

const failed = await withNodes(mode === "one" ? 1 : 3, async (nodes) => {
  const spread = new Spread(nodes.urls);
  const spreading = await spread.listen();
  const url = mode === "one" ? nodes.url(1) : spreading;
  const reports = path.resolve(path.dirname(new URL(import.meta.url).pathname), "reports");
  mkdirSync(reports, { recursive: true });

  const slip = new Slip().start();
  const done = new AbortController();
  const running = vitest(url, path.join(reports, `${mode}.json`)).finally(() => done.abort());
  const struck = FAULTS[mode] ? strikes(FAULTS[mode], nodes, spread, done.signal) : 0;
  const [report, faults] = await Promise.all([running, struck]);
  // The machine may not have given a test the pace that it lives on: only such a test is run again.
  const again = (pattern) => vitest(url, path.join(reports, `${mode}-again.json`), pattern);
  const { failed, repeated } = await judge(report, slip, again);
  slip.stop();
  await spread.close();

  for (const line of spread.violations) console.log(`VIOLATION ${line}`);
  for (const { assertionResults } of report.testResults) {
    for (const { status, fullName } of assertionResults) {
      if (status !== "passed" && status !== "failed") console.log(`${status.toUpperCase()} ${fullName}`);
    }
  }
  for (const { name, slip: by, why } of failed) {
    console.log(`FAILED ${name}${by ? ` (a timer was ${by} ms late)` : ""}${why ? `: ${why}` : ""}`);
  }
  for (const { name, slip: by } of repeated) {
    console.log(`conformance ${mode}: STARVED and repeated, a timer was ${by} ms late: ${name}`);
  }
  const { numTotalTests: total, numPassedTests: first, numFailedTests: fell } = report;
  const passed = first + fell - failed.length;
  const broken = total - passed + spread.violations.length + (total === 0 ? 1 : 0);
  for (const line of spread.cut) console.log(`CUT ${line}`);
  if (mode !== "one") console.log(`requests to each node: ${spread.requests.join(" ")}; faults: ${faults}`);
  console.log(`conformance ${mode}: ${passed} passed, ${broken} failed`);
  return broken;
}, MORE[mode]);
process.exitCode = failed === 0 ? 0 : 1;
