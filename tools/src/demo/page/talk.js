// The conversation as the log tells it: every line on the screen is a fold of events.
import { inSession, fresh } from "./nodes.js";

const make = (tag, name, text) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
};

const seconds = (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
export { make, seconds };

const payload = (event) =>
  event.text ?? (typeof event.data === "string" ? event.data : event.data?.question ?? JSON.stringify(event.data ?? ""));

const sender = (event) => [event.participant, event.device].filter(Boolean).join(", ") || "somebody";

/** A place where a line may end, so that no word is torn. */
const BREAK = "\u200b";
/** The scripted agent's notes, and how they are shown. */
const NOTE = /\n\[(steer|tool|answer)\] ([^\n]*)\n/;
const NOTED = { steer: "read:", tool: "looked it up:", answer: "got an answer:" };

/**
 * One answer of the agent: pieces by serial, so that a piece that is taken back can be found. Where somebody
 * spoke into it, it goes on below that.
 */
class Answer {
  constructor(turn, agent, add) {
    Object.assign(this, { turn, agent, add, items: [], lines: [], isOpen: false, isSplit: true });
    this.ending = make("div", "ending");
  }

  say(item) {
    if (this.isSplit) this.begin();
    item.line = this.lines.length - 1;
    this.items.push(item);
    this.draw(item);
    if (!item.mark) this.text += item.text;
  }

  /** Begins a line of its own for what comes next. */
  begin() {
    this.isSplit = false;
    const line = make("li", "answer");
    line.append(make("div", "who", this.agent), make("div", "content"), this.ending);
    this.lines.at(-1)?.classList.remove("live");
    this.lines.push(line);
    this.add(line);
    this.open(this.isOpen);
  }

  split() {
    if (this.isOpen) this.isSplit = true;
  }

  draw({ line, text, mark, draft }) {
    const body = this.lines[line].children[1];
    if (mark) {
      body.append(make("span", "mark", mark), BREAK);
      return;
    }
    // What the agent says beside its story: odd places are what the note is about, and what it says.
    const parts = text.split(NOTE);
    parts.forEach((part, place) => {
      if (place % 3 === 1) body.append(make("span", "mark note", `${NOTED[part]} ${parts[place + 1]}`), BREAK);
      if (place % 3 !== 0 || !part) return;
      if (draft) {
        body.append(make("span", "draft", part));
      } else if (body.lastChild?.nodeType === Node.TEXT_NODE) {
        body.lastChild.appendData(part);
      } else {
        body.append(part);
      }
    });
  }

  /** Takes back the output of a failed attempt. */
  rewind(from, to) {
    this.items = this.items.filter((item) => item.mark || item.serial < from || to < item.serial);
    for (const line of this.lines) line.children[1].replaceChildren();
    for (const item of this.items) this.draw(item);
    this.text = this.items.filter((item) => !item.mark).map((item) => item.text).join("");
  }

  /** The text of the agent, whole. */
  text = "";

  /** What it was asked; unknown where that lies before what this window has. */
  asked = undefined;

  open(isOpen, ending) {
    if (this.lines.length === 0) this.begin();
    this.isOpen = isOpen;
    this.lines.at(-1).classList.toggle("live", isOpen);
    if (ending !== undefined) this.ending.textContent = ending;
  }
}

export class Talk {
  constructor(list, me) {
    this.list = list;
    this.me = me;
    this.isAtEnd = true;
    list.addEventListener("scroll", () => {
      this.isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    });
    this.clear();
  }

  clear() {
    this.answers = new Map();
    this.inputs = new Map();
    this.asked = new Map();
    this.questions = new Map();
    this.list.replaceChildren(make("li", "empty",
      "Ask for the long story. While it is told, kill the node that leads this conversation, kill the agent, or reload this page: the story goes on with the next word."));
  }

  /** All messages from before this window came. */
  snapshot(snapshot) {
    this.clear();
    for (const message of snapshot?.messages ?? []) {
      if (message.role !== "agent") {
        this.person(message, message.role);
        continue;
      }
      const answer = this.answer(message.turn, message.agent);
      if (message.cut) answer.asked = undefined;
      answer.say({ serial: message.from, text: message.text, draft: message.visibility === "internal" });
      const ending = { "turn.cancelled": "stopped", "turn.failed": "failed" }[message.end] ?? "";
      answer.open(!message.complete, ending);
    }
    // What was steered into an answer stands below it, and so does what comes next.
    const live = this.live();
    if (live && live.lines.at(-1) !== this.list.lastChild) live.split();
    for (const turn of snapshot?.turns ?? []) {
      if (turn.state !== "queued" || this.answers.has(turn.turn)) this.answer(turn.turn, turn.agent).open(true);
    }
    for (const asked of snapshot?.interactions ?? []) {
      this.question(asked, asked.question ? payload(asked.question) : "The agent waits for an answer.");
    }
    this.scroll(true);
  }

  answer(turn, agent = "agent") {
    let answer = this.answers.get(turn);
    if (!answer) {
      answer = new Answer(turn, agent, (line) => this.add(line));
      answer.asked = this.asked.get(turn);
      this.answers.set(turn, answer);
    }
    return answer;
  }

  add(line) {
    this.list.querySelector(".empty")?.remove();
    this.list.append(line);
  }

  note(text) {
    this.add(make("li", "note", text));
  }

  person(event, kind) {
    const line = make("li", kind);
    const who = make("div", "who", kind === "person" ? `${sender(event)} instead of the agent` : sender(event));
    const receipt = make("span", "receipt");
    who.append(receipt);
    line.append(who, make("div", "content", payload(event)));
    if (event.input) this.inputs.set(event.input, receipt);
    if (event.turn && !this.asked.has(event.turn)) this.asked.set(event.turn, payload(event));
    this.add(line);
    return receipt;
  }

  receipt(event, text) {
    const line = this.inputs.get(event.input);
    if (line) line.textContent = text;
  }

  question(event, text = payload(event)) {
    const line = make("li", "question");
    const row = make("div", "row");
    line.append(make("div", "content", text), row);
    const answer = async (yes) => {
      for (const button of row.querySelectorAll("button")) button.disabled = true;
      try {
        await inSession("POST", `/interactions/${encodeURIComponent(event.interaction)}`,
          { answer: { text: yes ? "yes" : "no" }, ...this.me() });
      } catch (why) {
        row.append(` ${why.message}`);
      }
    };
    for (const [label, yes] of [["Approve", true], ["Decline", false]]) {
      const button = make("button", yes ? "primary" : "", label);
      button.type = "button";
      button.onclick = () => answer(yes);
      row.append(button);
    }
    this.questions.set(event.interaction, row);
    this.add(line);
  }

  /** Takes the next event; says what it was, for those who count. */
  take(event) {
    const answer = event.turn && this.answers.get(event.turn);
    switch (event.type) {
      case "input.accepted": {
        const receipt = this.person(event, "user");
        if (event.held) receipt.textContent = "waits for a person";
        answer?.split();
        break;
      }
      case "input.delivered": this.receipt(event, "delivered"); break;
      case "input.consumed":
        this.receipt(event, "read");
        break;
      case "input.deferred": this.receipt(event, "comes next"); break;
      case "input.dropped": this.receipt(event, `dropped${event.why ? `: ${event.why}` : ""}`); break;
      case "person.message": this.person(event, "person"); break;
      case "turn.started": {
        const started = this.answer(event.turn, event.agent);
        if (1 < (event.attempt ?? 1)) started.say({ mark: `attempt ${event.attempt} goes on` });
        started.open(true, "");
        this.receipt({ input: event.turn }, "read");
        break;
      }
      case "turn.output": {
        const body = this.answer(event.turn, event.agent);
        body.say({ serial: event.serial, text: payload(event), draft: event.visibility === "internal" });
        break;
      }
      case "step.rewound": answer?.rewind(event.from, event.to); break;
      case "agent.lost": answer?.open(true, lost(event)); break;
      case "agent.stalled": answer?.open(true, "no word for a while: stalled"); break;
      case "agent.resumed": answer?.open(true, ""); break;
      case "turn.paused": answer?.open(true, `paused${event.reason ? `: ${event.reason}` : ""}`); break;
      case "turn.resumed": answer?.open(true, ""); break;
      case "turn.completed": answer?.open(false, ""); break;
      case "turn.failed": answer?.open(false, `failed${event.reason ? `: ${event.reason}` : ""}`); break;
      case "turn.cancelled":
        this.answer(event.turn, event.agent).open(false, `stopped by ${sender(event)}`);
        break;
      case "interaction.requested":
        this.question(event);
        answer?.split();
        break;
      case "interaction.resolved":
        this.questions.get(event.interaction)?.parentElement.classList.add("closed");
        this.questions.get(event.interaction)?.replaceChildren(`answered by ${sender(event)}`);
        break;
      case "interaction.expired":
        this.questions.get(event.interaction)?.replaceChildren("nobody answered in time");
        break;
      case "control.taken": this.note(`${sender(event)} answers now instead of the agent`); break;
      case "control.released": this.note("handed back to the agent"); break;
      case "control.expired": this.note("nobody spoke for the person's time: back to the agent"); break;
      case "control.requested": this.note(`${sender(event)} asks for a person`); break;
      default: break;
    }
    this.scroll();
  }

  scroll(now) {
    if (now) this.isAtEnd = true;
    if (this.isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  /** The answer that is being given, if one is. */
  live() {
    return [...this.answers.values()].findLast((answer) => answer.isOpen);
  }
}

function lost(event) {
  const why = { silent: "fell silent", stalled: "stalled", released: "gave up its turn", disconnected: "died",
    exited: "died", replaced: "was replaced", throttled: "has no room now" }[event.cause] ?? "is gone";
  return `the agent ${why}; another one goes on`;
}

export { fresh };
