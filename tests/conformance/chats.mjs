// Stock chat clients, unchanged, against three nodes: `node chats.mjs`.

import { Agent } from "./agent.mjs";
import { agUi } from "./chats-ag-ui.mjs";
import { aiSdk, scripts as ofAiSdk } from "./chats-ai-sdk.mjs";
import { aiSdkSocket, scripts as ofSockets } from "./chats-ai-sdk-socket.mjs";
import { openai } from "./chats-openai.mjs";
import { Checks, within } from "./checks.mjs";
import { withNodes } from "./nodes.mjs";

const PATIENCE_MS = 60_000;

const checks = new Checks("chats");

await withNodes(3, async (nodes) => {
  const agent = new Agent("poet", nodes.urls, { ...ofAiSdk, ...ofSockets }).start();
  const clients = { "ai sdk": aiSdk, "ai sdk by socket": aiSdkSocket, openai, "ag-ui": agUi };
  for (const [client, all] of Object.entries(clients)) {
    for (const [name, body] of Object.entries(all)) {
      await checks.run(`${client}, ${name}`, () => within(PATIENCE_MS, name, body(nodes, agent)));
    }
  }
  await agent.stop();
  return checks.failed;
});
checks.close();
// Clients that were given up keep the process: they were counted.
process.exit();
