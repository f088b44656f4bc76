// Follows the session at one node after the other. A node that dies costs a reconnect and nothing else: the
// next one goes on after the last cursor.
import { nodes, session } from "./nodes.js";

/** Silence after which a node counts as dead: two of its pings. */
const SILENCE_MS = 11000;
const PAUSE_MS = [20, 60, 150, 300, 600];

/**
 * `who`: participant, device and role. `handlers` has a function for each name of a frame (`event` for those
 * without one), and `lost` and `moved` for the connection itself.
 */
export function follow(who, handlers) {
  let source = null, cursor = null, tries = 0, watch = 0, stopped = false, again = 0;
  let at = Math.floor(Math.random() * nodes.length);

  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(broke, SILENCE_MS);
  };

  function broke() {
    if (stopped) return;
    source?.close();
    clearTimeout(watch);
    handlers.lost(at + 1);
    const wait = PAUSE_MS[Math.min(Math.floor(tries / nodes.length), PAUSE_MS.length - 1)];
    tries += 1;
    at = (at + 1) % nodes.length;
    clearTimeout(again);
    again = setTimeout(attach, wait * (0.5 + Math.random() / 2));
  }

  function attach() {
    const query = new URLSearchParams({ live: "sse", ...who });
    // The first time all messages come as one snapshot; after that, what is missing.
    if (cursor === null) query.set("snapshot", "1");
    else query.set("after", cursor);
    source = new EventSource(`${nodes[at]}/v1/sessions/${encodeURIComponent(session)}/events?${query}`);
    const mine = source;
    const on = (name, take) => mine.addEventListener(name, (frame) => {
      // What a connection brings after it was given up is brought again by the next one.
      if (mine !== source || stopped) return;
      heard();
      take(frame.data ? JSON.parse(frame.data) : {}, frame.lastEventId);
    });
    heard();
    mine.onerror = () => { if (mine === source) broke(); };
    on("attached", (data) => {
      const first = cursor === null;
      cursor ??= data.cursor;
      handlers.moved(at + 1);
      if (first) handlers.attached(data);
    });
    on("message", (data, id) => {
      tries = 0;
      cursor = id;
      handlers.event(data);
    });
    on("caught-up", () => { tries = 0; handlers.caughtUp?.(); });
    on("ping", (data) => handlers.ping?.(data));
    on("presence", (data) => handlers.presence?.(data));
    // The log that we know is not the log that is there: begin with a snapshot of what is.
    for (const name of ["gap", "reset"]) on(name, () => { cursor = null; handlers[name](); broke(); });
    for (const name of ["end", "deleted"]) on(name, () => { stop(); handlers.end?.(name); });
    on("detached", broke);
  }

  function stop() {
    stopped = true;
    source?.close();
    clearTimeout(watch);
    clearTimeout(again);
  }

  attach();
  return { stop };
}
