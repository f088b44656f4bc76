// How the published suite is run: one file, patient with slow disks, results also as JSON.
import { defineConfig } from "vitest/config";

const timeout = Number(process.env.CONFORMANCE_TEST_TIMEOUT_MS ?? 30_000);

export default defineConfig({
  test: {
    include: ["conformance.test.mjs"],
    testTimeout: timeout,
    hookTimeout: timeout,
    reporters: ["default", "json"],
    outputFile: { json: process.env.CONFORMANCE_REPORT ?? "reports/suite.json" },
  },
});
