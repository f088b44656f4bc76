// The judge of starved tests, by itself: `node --test slip.test.mjs`.
import assert from "node:assert";
import { test } from "node:test";
import { judge, only, Slip, STARVED_MS } from "./slip.mjs";

const report = (...results) => ({
  testResults: [{ assertionResults: results.map(([fullName, status, startTime]) => ({ fullName, status, startTime, duration: 100 })) }],
});

function slipping(...late) {
  const slip = new Slip();
  slip.late.push(...late.map(([at, by]) => ({ at, by })));
  return slip;
}

test("what fails on a machine that keeps up fails for good", async () => {
  const first = report(["a", "passed", 0], ["b (x)", "failed", 1000]);
  const { failed, repeated } = await judge(first, slipping([5000, 400]), () => assert.fail("nothing is repeated"));
  assert.deepEqual([failed.map(({ name }) => name), repeated], [["b (x)"], []]);
});

test("what was starved is run again, alone, and only until the machine keeps up", async () => {
  const first = report(["a", "failed", 1000], ["b (x)", "failed", 2000], ["c", "failed", 3000]);
  const slip = slipping([1050, 400], [2400, 320]);
  const patterns = [];
  const rounds = [
    report(["a", "passed", 5000], ["b (x)", "failed", 5100], ["c", "skipped"]),
    report(["b (x)", "failed", 9000]),
  ];
  const again = async (pattern) => {
    patterns.push(pattern);
    if (patterns.length === 1) slip.late.push({ at: 5150, by: 900 });
    return rounds.shift();
  };
  const { failed, repeated } = await judge(first, slip, again);
  assert.deepEqual(failed.map(({ name }) => name), ["c", "b (x)"]);
  assert.deepEqual(repeated, [{ name: "a", slip: 400 }, { name: "b (x)", slip: 900 }]);
  assert.deepEqual(patterns, [only(["a", "b (x)"]), only(["b (x)"])]);
  assert.match("suite b (x)", new RegExp(patterns[1]));
});

test("it ends, and what was not run again has failed", async () => {
  const first = report(["a", "failed", 1000], ["b", "failed", 1000]);
  let rounds = 0;
  const again = async () => report(...(rounds++ ? [["a", "failed", 1000]] : [["a", "failed", 1000], ["b", "pending"]]));
  const { failed } = await judge(first, slipping([1050, 400]), again, 3);
  assert.deepEqual([failed.map(({ name }) => name), rounds], [["b", "a"], 3]);
});

test("a machine that is held up is noticed", async () => {
  const slip = new Slip().start();
  const from = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const until = Date.now() + 400;
  while (Date.now() < until);
  while (slip.late.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  slip.stop();
  assert(STARVED_MS <= slip.during(from, Date.now()));
  assert.equal(slip.during(from - 10_000, from - 5_000), 0);
});
