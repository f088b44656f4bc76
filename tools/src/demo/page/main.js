// The window: puts the conversation, the machines and the score together. Everything it knows of the
// conversation comes from the public API of the nodes.
import { follow } from "./feed.js";
import { Machines } from "./machines.js";
import { fresh, inSession, session } from "./nodes.js";
import { Score } from "./score.js";
import { Talk, make, seconds } from "./talk.js";

const $ = (id) => document.getElementById(id);
const AGENT = "demo";

// ---- who and where ------------------------------------------------------------------------------------

const asked = new URLSearchParams(location.search).get("device");
const isDevice = asked === "phone";
document.body.classList.toggle("device", isDevice);
// A reload is the same device, another window is another one; the phone in the frame shares this window's memory.
const kind = asked ?? "laptop";
const device = isDevice ? "phone" : sessionStorage[`device ${kind}`] ??= fresh(kind).slice(0, -4);
const USER = { participant: "ada", device };
/** Who takes over: another person, who sits at this window. */
const PERSON = { participant: "sam", device };

let control = { mode: "auto", holder: null };
let turn = null;
let health = null;
let lastToken = null;
const done = new Set(JSON.parse(sessionStorage.done ?? "[]"));

const isHolder = () => control.mode === "manual" && control.holder?.participant === PERSON.participant
  && control.holder?.device === device;
const me = () => isHolder() ? { ...PERSON, role: "supervisor" } : { ...USER, role: "controller" };

// ---- things to try ------------------------------------------------------------------------------------

const TRIES = [
  ["ask", "ask for the long story"], ["leader", "kill -9 its leader"], ["reload", "reload this page"],
  ["second", "open a second device"], ["steer", "correct it while it speaks"], ["stop", "stop it on the phone"],
  ["agent", "kill -9 the agent"], ["freeze", "freeze the agent"], ["take", "take over, hand back"],
];
const tries = new Map(TRIES.map(([name, text]) => [name, make("li", "", text)]));
$("tries").append(...tries.values());
function tried(name) {
  done.add(name);
  tries.get(name)?.classList.add("done");
  sessionStorage.done = JSON.stringify([...done]);
}
if (!isDevice) done.forEach(tried);

// ---- the conversation ---------------------------------------------------------------------------------

const talk = new Talk($("transcript"), me);
const score = new Score();
const machines = new Machines($("nodes"), $("ticker"), (kind, hit, ledThis) => {
  if (!talk.live()) machines.forget(["kill-node", "kill-agent"]);
  // The one that speaks has died: what comes next is another's word.
  if (kind === "kill-agent" && hit.pid === machines.worker) respawned = false;
  if (kind === "kill-node" && ledThis) tried("leader");
  if (kind === "kill-agent") tried("agent");
  if (kind === "stop-agent") tried("freeze");
});

const HURT = ["kill-node", "kill-agent", "continue-agent"];

function take(event) {
  score.event(event);
  talk.take(event);
  const now = performance.now();
  switch (event.type) {
    case "turn.output":
      lastToken = now;
      score.piece(event.turn, now);
      machines.came(HURT.filter((kind) => kind !== "kill-agent" || respawned), now);
      break;
    case "turn.started":
      respawned = true;
      if (event.attempt === 1) score.pause = 0;
      break;
    case "agent.lost": machines.came(["stop-agent"], now); break;
    case "agent.stalled": machines.came(["stop-agent"], now); break;
    case "turn.paused": case "turn.waiting": case "turn.resumed": case "interaction.requested":
      score.rest(event.turn);
      break;
    case "turn.completed": case "turn.cancelled": case "turn.failed":
      score.rest(event.turn);
      machines.forget(["continue-agent"]);
      announce(event.type.replace(".", " "));
      break;
    default: break;
  }
  if (event.type === "turn.cancelled" && event.device?.startsWith("phone")) tried("stop");
  if (event.type === "input.accepted" && event.turn !== event.input) tried("steer");
  if (event.type?.startsWith("control.")) {
    const mode = event.type === "control.taken" || event.type === "control.granted" ? event.mode : "auto";
    if (event.type !== "control.requested") {
      control = { mode, holder: { participant: event.participant, device: event.device } };
    }
    if (event.type === "control.released") tried("take");
    drawControl();
  }
  if (event.type && event.type !== "turn.output") look();
  dirty = true;
}

/** Whether the next word comes from an agent that was not killed just now. */
let respawned = true;
let dirty = true;

follow({ ...USER, role: "supervisor" }, {
  attached(data) {
    score.begin(data.cursor);
    talk.snapshot(data.snapshot);
    if (data.snapshot?.control) control = data.snapshot.control;
    if (data.snapshot?.presence) people(data.snapshot.presence);
    if (talk.live()) tried("reload");
    drawControl();
    look();
    dirty = true;
  },
  event: take,
  presence: people,
  ping: look,
  gap() {}, reset() {},
  lost(node) { $("where").textContent = `node ${node} is gone, moving on`; },
  moved(node) { $("where").textContent = `this window reads at node ${node}`; },
  end(why) { announce(`the conversation is ${why}`); },
});

function people(presence) {
  const list = presence.people ?? [];
  const lines = list.flatMap((person) => (person.devices ?? []).map((one) => {
    const line = make("li", one.device === device ? "own" : "", `${person.participant}, ${one.device}`);
    if (1 < one.links) line.append(` ×${one.links}`);
    return line;
  }));
  $("devices").replaceChildren(...lines);
  $("audience").textContent = `${presence.watchers ?? lines.length} watching`;
  if (1 < lines.length) tried("second");
}

// ---- how the agent is ---------------------------------------------------------------------------------

const TONES = { streaming: "good", thinking: "good", working: "good", starting: "good", waiting: "warm",
  paused: "person", suspect: "warm", stalled: "bad", dead: "bad", recovering: "bad", queued: "warm",
  "no majority answers": "bad" };

/** When a node last reported how the session is. */
let lookedAt = performance.now();
/** Time without any node after which the health is unknown. */
const ALONE_MS = 6000;
const NOBODY = "no majority answers";
let looking = false;
async function look() {
  if (looking) return;
  looking = true;
  try {
    // Only a majority knows how the agent is; a node that is alone remembers how it was.
    const status = await inSession("GET", "");
    turn = status.turns?.find((open) => open.state !== "queued") ?? status.turns?.[0] ?? null;
    if (status.control) control = status.control;
    lookedAt = performance.now();
  } catch { /* the next look is soon */ }
  looking = false;
  drawAgent();
  drawControl();
}

function drawAgent() {
  const was = health;
  // What nobody can tell is not guessed.
  const isKnown = performance.now() - lookedAt < ALONE_MS;
  health = isKnown ? turn?.health ?? turn?.state ?? "idle" : NOBODY;
  const chip = $("chip");
  chip.dataset.health = health;
  chip.dataset.tone = TONES[health] ?? "";
  const label = { working: `using ${turn?.tool ?? "a tool"}`, recovering: `recovering ${turn?.lost ?? ""} of ${turn?.of ?? ""}`,
    stalled: "stalled", waiting: "your turn", paused: "paused" }[health] ?? health;
  if ($("chip-text").textContent !== label) $("chip-text").textContent = label;
  if (was !== health && ["suspect", "stalled"].includes(health)) machines.came(["stop-agent"]);
  // The nodes name the agents that they start: "node 2 process 4711".
  machines.worker = Number(/process (\d+)$/.exec(turn?.worker ?? "")?.[1] ?? NaN);
  $("clock-attempt").textContent = turn?.attempt ?? "–";
  $("stop").disabled = !turn && !talk.live();
  const speaking = Boolean(talk.live()) && !isHolder();
  $("send").textContent = isHolder() ? "Answer" : speaking ? "Correct it" : "Ask";
  drawAsks(speaking);
}

function drawControl() {
  const manual = control.mode === "manual";
  const holder = control.holder?.participant ?? "somebody";
  $("control").textContent = manual ? isHolder() ? "you answer now" : `${holder} answers` : "the agent answers";
  $("control").classList.toggle("manual", manual);
  $("take").textContent = isHolder() ? "Hand back" : "Take over";
  $("say").placeholder = isHolder() ? "Answer in the agent's place" : talk.live() ? "A correction" : "Say something";
}

const ago = (ms) => ms < 0 ? "0.0 s ago" : ms < 60000 ? `${(ms / 1000).toFixed(1)} s ago` : `${Math.round(ms / 60000)} min ago`;

// ---- what the people say ------------------------------------------------------------------------------

const ASKS = ["Tell me the long story", "Look something up first /tool 6", "Ask me before you go on /ask"];
const STEERS = ["Make it rain in the story", "Slower, please /every 200"];
let drawn = null;
function drawAsks(speaking) {
  const kind = isHolder() ? "person" : speaking ? "steer" : "ask";
  if (drawn === kind) return;
  drawn = kind;
  const texts = { ask: ASKS, steer: STEERS, person: ["Sam here. Let me help you with that."] }[kind];
  $("asks").replaceChildren(...texts.map((text) => {
    const button = make("button", "", text);
    button.type = "button";
    button.onclick = () => say(text);
    return button;
  }));
}

async function attempt(what, button) {
  try {
    await what();
    $("hint").hidden = true;
  } catch (why) {
    $("hint").textContent = why.message;
    $("hint").hidden = false;
    look();
    return false;
  }
  look();
  return true;
}

const say = (text) => attempt(async () => {
  if (text === ASKS[0]) tried("ask");
  await inSession("POST", "/inputs", { id: fresh("ask"), agent: AGENT, content: { text }, ...me() });
});

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("say").value.trim();
  if (!text) return;
  $("say").value = "";
  say(text).then((taken) => {
    // What nobody took is not lost, unless something else was typed meanwhile.
    if (!taken && !$("say").value) $("say").value = text;
  });
};
$("say").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
};
$("stop").onclick = () => attempt(() => inSession("POST", "/cancel", { all: true, ...me() }));
$("take").onclick = () => attempt(() => isHolder()
  ? inSession("POST", "/control", { verb: "release", ...PERSON, role: "supervisor" })
  : inSession("POST", "/control", { verb: "take", mode: "manual", for_ms: 120000, ...PERSON, role: "supervisor" }));

function announce(text) {
  $("announce").textContent = text;
}

// ---- clocks -------------------------------------------------------------------------------------------

function draw() {
  const now = performance.now();
  machines.tick(now);
  $("clock-beat").textContent = turn?.last_seen_at ? ago(Date.now() - turn.last_seen_at) : "–";
  $("clock-token").textContent = lastToken !== null && turn ? ago(now - lastToken)
    : turn?.progress_at ? ago(Date.now() - turn.progress_at) : "–";
  if (dirty) {
    dirty = false;
    const judged = score.judge(talk.answers.values());
    $("score-words").textContent = `${judged.words.toLocaleString("en")} words`;
    for (const name of ["lost", "duplicated", "disordered"]) {
      const cell = $(`score-${name}`);
      cell.textContent = judged[name];
      cell.className = judged[name] ? "broken" : "whole";
    }
    $("score-pause").textContent = score.pause ? seconds(score.pause) : "–";
  }
}

setInterval(draw, 100);
setInterval(drawAgent, 1000);
setInterval(look, 1000);
if (!isDevice) {
  setInterval(() => machines.processes(), 500);
  setInterval(() => machines.cluster(), 1000);
  machines.processes().then(() => machines.cluster());
  // The phone is there where there is room for it, also when the window grows later.
  const wide = matchMedia("(min-width: 1181px)");
  const show = () => {
    if (wide.matches && !$("phone").src) $("phone").src = "/?device=phone";
  };
  wide.addEventListener("change", show);
  show();
}
drawAgent();
drawControl();
document.title = `outlive – ${session}`;
