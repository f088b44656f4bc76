// How late the machine is: a timer that should fire every 10 ms is watched beside the tests.
//
// Some tests of the published suite live on the machine's pace: a stream of two seconds is touched at half of
// that and looked at later, with half a second to spare. Each of its requests passes through some five processes;
// where each of them runs a tenth of a second late, such a test fails whatever the server does.

const EVERY_MS = 10;
/** A test beside which a timer was so late was not given the pace that it lives on. */
export const STARVED_MS = 100;

export class Slip {
  /** Times at which a timer fired too late, and by how much, in milliseconds. */
  late = [];

  /** Watches until `stop`. */
  start() {
    let due = performance.now() + EVERY_MS;
    this.timer = setInterval(() => {
      const now = performance.now();
      if (STARVED_MS <= now - due) this.late.push({ at: Date.now(), by: Math.round(now - due) });
      due = now + EVERY_MS;
    }, EVERY_MS);
    return this;
  }

  stop() {
    clearInterval(this.timer);
  }

  /** The worst slip that reaches into a span of time; 0 where there was none. */
  during(from, to) {
    const within = this.late.filter(({ at, by }) => from <= at && at - by <= to);
    return within.reduce((worst, { by }) => Math.max(worst, by), 0);
  }
}

/** The tests of a report that did not pass, and how late the machine was meanwhile. */
export function failures(report, slip) {
  const results = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  return results
    .filter(({ status }) => status === "failed")
    .map(({ fullName, startTime, duration }) => {
      const from = startTime ?? 0;
      const to = startTime === undefined ? Infinity : startTime + (duration ?? 0);
      return { name: fullName, slip: slip.during(from, to) };
    });
}

/** A pattern that these tests match, and no others. */
export function only(names) {
  const escaped = names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return `(?:${escaped.join("|")})$`;
}

/**
 * Repeats what failed while the machine was starved, up to `tries` times, and nothing else; `again` runs tests by
 * a pattern and returns their report. Returns the tests that failed for good, and those that were repeated.
 */
export async function judge(report, slip, again, tries = 5) {
  const failed = [];
  const repeated = [];
  let open = failures(report, slip);
  for (let round = 0; open.length !== 0; round++) {
    const starved = open.filter(({ slip: by }) => STARVED_MS <= by && round < tries);
    failed.push(...open.filter((test) => !starved.includes(test)));
    if (starved.length === 0) break;
    for (const test of starved) {
      const known = repeated.find(({ name }) => name === test.name);
      if (known) known.slip = Math.max(known.slip, test.slip);
      else repeated.push({ ...test });
    }
    const names = starved.map(({ name }) => name);
    const second = await again(only(names));
    const results = second.testResults.flatMap(({ assertionResults }) => assertionResults);
    const ran = new Set(results.filter(({ status }) => status !== "skipped" && status !== "pending").map(({ fullName }) => fullName));
    // A test that was not run again has shown nothing.
    for (const test of starved) if (!ran.has(test.name)) failed.push({ ...test, why: "it was not run again" });
    open = failures(second, slip).filter(({ name }) => names.includes(name));
  }
  return { failed, repeated };
}
