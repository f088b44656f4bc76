// The official TypeScript client, as an application would use it.

import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import { pause } from "./nodes.mjs";

/** Repeats the same request while nobody answers; the producer itself repeats none. */
async function patient(...request) {
  for (;;) {
    const answer = await fetch(...request).catch(() => null);
    if (answer && answer.status < 500) return answer;
    await answer?.body?.cancel();
    await pause(20);
  }
}

/** Messages that are flushed together: small, so that many requests are in the air. */
const BATCH = 5;

export const typescript = {
  name: "typescript",

  async create(url) {
    await DurableStream.create({ url, contentType: "application/json" });
  },

  /** Writes 0 to `count` - 1, each once `gate` lets it, and closes the stream with the last one. */
  async produce(url, count, gate) {
    const handle = new DurableStream({ url, contentType: "application/json" });
    let broken = null;
    const producer = new IdempotentProducer(handle, "writer", {
      fetch: patient,
      lingerMs: 1,
      onError: (why) => (broken ??= why),
    });
    for (let message = 0; message < count - 1; message++) {
      await gate(message);
      producer.append(JSON.stringify(message));
      if (message % BATCH === 0) await pause(2);
    }
    await producer.flush();
    if (broken) throw broken;
    await producer.close(JSON.stringify(count - 1));
  },

  /**
   * Reads live from the start until `count` messages came, or the stream is closed.
   *
   * A connection that breaks in the middle of an answer ends this client's reading with an error, so the
   * application goes on after the last batch it was given. This client tells that the stream is closed
   * before it gives out the last batch: what is still missing then is read at the end.
   */
  async read(url, live, count) {
    const messages = [];
    let [offset, closed] = ["-1", false];
    while (!closed && messages.length < count) {
      const sseResilience = { logWarnings: false };
      const answer = await stream({ url, live, offset, json: true, sseResilience });
      let over = false;
      await new Promise((resolve) => {
        answer.subscribeJson((batch) => {
          if (over) return;
          messages.push(...batch.items);
          offset = batch.offset;
          if (count <= messages.length) resolve();
        });
        answer.closed.then(() => resolve((closed = true)), resolve);
      });
      over = true;
      answer.cancel();
    }
    return messages.length < count ? [...messages, ...(await this.catchUp(url, offset))] : messages;
  },

  async catchUp(url, offset = "-1") {
    const answer = await stream({ url, live: false, offset, json: true });
    return answer.json();
  },
};
