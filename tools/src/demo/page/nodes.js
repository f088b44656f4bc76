// The nodes, and requests to whichever of them answers.

const meta = (name) => document.querySelector(`meta[name=demo-${name}]`).content;

export const session = meta("session");
export const nodes = meta("nodes").split(" ");
const key = meta("key");
const here = `/v1/sessions/${encodeURIComponent(session)}`;

/** The node to begin with: the last one that answered. */
let at = Math.floor(Math.random() * nodes.length);

/** Time that one node has for one answer, and all of them together, in milliseconds. */
const ONE_MS = 4000;
const ALL_MS = 30000;

const pause = (ms) => new Promise((go) => setTimeout(go, ms));

/** A refusal: final, and of the service itself. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || problem.code);
    this.code = problem.code;
  }
}

/**
 * Asks one node after the other until there is an answer that is final. Whatever is asked here has the
 * effect of one however often it is sent.
 */
export async function ask(method, path, body) {
  const end = performance.now() + ALL_MS;
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await fetch(nodes[at] + path, {
        method, signal: AbortSignal.timeout(ONE_MS),
        body: body && JSON.stringify(body), headers: body && { "content-type": "application/json" },
      });
      // A node that dies while it answers has not answered.
      if (answer.ok) return await answer.json();
      const problem = await answer.json().catch(() => ({}));
      if (answer.status < 500 && answer.status !== 429) throw new Refused(problem);
    } catch (why) {
      if (why instanceof Refused || end < performance.now()) throw why;
    }
    if (end < performance.now()) throw new Error("no node answers");
    at = (at + 1) % nodes.length;
    await pause(Math.min(40 * 2 ** Math.min(tries, 4), 500));
  }
}

export const inSession = (method, path, body) => ask(method, here + path, body);

/** What a request that may be repeated is known by. */
export const fresh = (what) => `${what}-${crypto.randomUUID().slice(0, 8)}`;

/** The processes, as this demo's own server sees them; nothing where it is gone. */
export async function processes() {
  try {
    return await (await fetch("/state", { signal: AbortSignal.timeout(ONE_MS) })).json();
  } catch {
    return null;
  }
}

/** Does something to a process. Not repeated: it is no request of the service. */
export async function act(what) {
  const answer = await fetch("/act", {
    method: "POST", body: JSON.stringify(what),
    headers: { "x-demo-key": key, "content-type": "application/json" },
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
