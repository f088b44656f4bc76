// Counts checks and says what was wrong; the closing line is the same for every mode.

export class Checks {
  passed = 0;
  failed = 0;

  constructor(mode) {
    this.mode = mode;
  }

  /** Counts one check; `why` tells what was wrong, and nothing if all was well. */
  count(name, why) {
    if (why) {
      this.failed++;
      console.log(`FAILED ${name}: ${why}`);
    } else {
      this.passed++;
    }
  }

  /** Runs one check that throws what was wrong. */
  async run(name, body) {
    try {
      await body();
      this.count(name, null);
    } catch (why) {
      this.count(name, why.message ?? String(why));
    }
  }

  close() {
    console.log(`conformance ${this.mode}: ${this.passed} passed, ${this.failed} failed`);
    process.exitCode = 0 < this.failed || this.passed === 0 ? 1 : 0;
  }
}

/** Says where `got` first differs from `wanted`; null where it does not. */
export function difference(got, wanted) {
  const at = wanted.findIndex((message, place) => got[place] !== message);
  if (0 <= at) return `message ${at} is ${got[at]}, not ${wanted[at]}; ${got.length} of ${wanted.length} came`;
  if (wanted.length < got.length) return `after the last message came ${got[wanted.length]}`;
  return null;
}

/** Fails instead of waiting longer than `ms`. */
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing for ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
