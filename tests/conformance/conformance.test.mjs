// The published Durable Streams suite, subscriptions included, against CONFORMANCE_TEST_URL.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

const baseUrl = process.env.CONFORMANCE_TEST_URL;
if (!baseUrl) throw new Error("CONFORMANCE_TEST_URL names no server");

runConformanceTests({
  baseUrl,
  subscriptions: true,
  // Must not be less than the server's own, or the tests end before it answers.
  longPollTimeoutMs: Number(process.env.CONFORMANCE_LONG_POLL_MS ?? 500),
});
