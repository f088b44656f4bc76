// The protocol without a client: one writer that repeats itself, and two live readers.

import { pause } from "./nodes.mjs";

const JSON_TYPE = { "content-type": "application/json" };

/** How long one request may stay unanswered before a writer or reader asks again. */
const REQUEST_MS = 15_000;

export async function create(url) {
  const answer = await fetch(url, { method: "PUT", headers: JSON_TYPE });
  if (answer.status !== 201) throw new Error(`PUT ${url} answered ${answer.status}`);
}

/** One numbered request of producer `id`; repeated, at the next node, until somebody answers. */
export async function append(urls, id, seq, message, { close = false } = {}) {
  const request = {
    method: "POST",
    headers: {
      ...JSON_TYPE,
      "Producer-Id": id,
      "Producer-Epoch": "0",
      "Producer-Seq": String(seq),
      ...(close ? { "Stream-Closed": "true" } : {}),
    },
    body: JSON.stringify([message]),
  };
  for (let tries = 0; ; tries++) {
    const url = urls[tries % urls.length];
    const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(REQUEST_MS) }).catch(() => null);
    const text = await answer?.text().catch(() => "");
    if (!answer || 500 <= answer.status) {
      await pause(20);
      continue;
    }
    // 204 says that it was there already: only a repetition may hear that.
    if (answer.status === 200 || (answer.status === 204 && 0 < tries)) return;
    throw new Error(`${id} ${seq}, try ${tries + 1}: ${answer.status} ${text}`);
  }
}

/** All messages that one node has for a reader who does not wait. */
export async function catchUp(url) {
  const messages = [];
  for (let offset = "-1"; ; ) {
    const answer = await fetch(`${url}?offset=${offset}`, { signal: AbortSignal.timeout(REQUEST_MS) });
    if (answer.status !== 200) throw new Error(`GET ${url} answered ${answer.status}`);
    messages.push(...(await answer.json()));
    offset = answer.headers.get("stream-next-offset");
    if (answer.headers.get("stream-up-to-date") === "true") {
      return { messages, closed: answer.headers.get("stream-closed") === "true" };
    }
  }
}

/** Reads by long polls after `offset` until the stream is closed; says when each poll is sent. */
export async function longPoll(url, offset, parked) {
  const messages = [];
  for (let cursor = ""; ; ) {
    const asking = fetch(`${url}?offset=${offset}&live=long-poll${cursor}`, {
      signal: AbortSignal.timeout(REQUEST_MS * 2),
    });
    parked();
    const answer = await asking;
    if (answer.status !== 200 && answer.status !== 204) throw new Error(`long-poll answered ${answer.status}`);
    if (answer.status === 200) messages.push(...(await answer.json()));
    offset = answer.headers.get("stream-next-offset") ?? offset;
    cursor = `&cursor=${answer.headers.get("stream-cursor") ?? ""}`;
    if (answer.headers.get("stream-closed") === "true") return messages;
  }
}

/** Reads events after `offset` until the stream is closed; says when it is at the end. */
export async function events(url, offset, parked) {
  const messages = [];
  for (;;) {
    const answer = await fetch(`${url}?offset=${offset}&live=sse`, { signal: AbortSignal.timeout(REQUEST_MS * 4) });
    if (answer.status !== 200) throw new Error(`SSE answered ${answer.status}`);
    let [text, pending] = ["", []];
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (text + piece.replaceAll("\r\n", "\n")).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n");
        const kind = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
        if (kind === "data") pending.push(...JSON.parse(data));
        if (kind !== "control") continue;
        const control = JSON.parse(data);
        // Data counts once its control event tells where to go on.
        messages.push(...pending.splice(0));
        offset = control.streamNextOffset;
        if (control.streamClosed) return messages;
        if (control.upToDate) parked();
      }
    }
  }
}
