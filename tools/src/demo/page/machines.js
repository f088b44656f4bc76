// The machines below the conversation: nodes, shards and agents, with the buttons to hurt them.
import { act, ask, inSession, processes } from "./nodes.js";
import { make, seconds } from "./talk.js";

const COUNT = document.querySelector("meta[name=demo-nodes]").content.split(" ").length;

export class Machines {
  /** `hurt` is called with what was done, the answer, and whether it hit the leader of this conversation. */
  constructor(root, ticker, hurt) {
    this.ticker = ticker;
    this.hurt = hurt;
    this.open = [];
    this.cards = Array.from({ length: COUNT }, (_, place) => this.card(place + 1));
    root.replaceChildren(...this.cards.map((card) => card.root));
    this.home = {};
  }

  card(node) {
    const card = { node, root: make("div", "node"), name: make("span", "", `node ${node}`), dot: make("i"),
      role: make("div", "role"), shards: make("div", "shards"), pid: make("span", "", "–"), kill: make("button", "small harm", "kill -9"),
      kin: make("div", "kin"), label: make("span", "label", "–"), doing: make("span", "doing"), end: make("button", "small harm", "kill -9"),
      freeze: make("button", "small", "freeze") };
    const name = make("div", "name");
    name.append(card.name, card.dot);
    const line = make("div", "act");
    line.append(card.pid, card.kill);
    const pair = make("div", "pair");
    pair.append(card.end, card.freeze);
    card.kin.append(card.label, card.doing, pair);
    card.root.append(name, card.role, card.shards, line, card.kin);
    for (const button of [card.kill, card.end, card.freeze]) button.type = "button";
    card.kill.onclick = () => this.act(card.pidNow
      ? { do: "kill-node", node } : { do: "start-node", node });
    card.end.onclick = () => this.act({ do: "kill-agent", pid: card.agent?.pid });
    card.freeze.onclick = () => this.act({ do: card.agent?.stopped ? "continue-agent" : "stop-agent", pid: card.agent?.pid });
    return card;
  }

  async act(what) {
    const began = performance.now();
    try {
      const done = await act(what);
      const whose = what.do.endsWith("node") ? `node ${done.node}` : `agent of node ${done.node}`;
      const leads = what.do === "kill-node" && this.home.leader === done.node ? ", which led this conversation" : "";
      this.tell(what.do, done.command, whose + leads, began);
      this.hurt(what.do, done, this.home.leader === done.node);
    } catch (why) {
      this.tell(what.do, "", why.message, began);
    }
    this.processes();
    this.cluster();
  }

  /** Adds a line with a stopwatch that runs until the next word. */
  tell(kind, command, whose, began) {
    this.ticker.querySelector(".none")?.remove();
    const line = make("li");
    const what = make("span");
    what.append(make("code", "", command), ` ${whose}`);
    const after = make("span", "after");
    line.append(what, after);
    this.ticker.prepend(line);
    while (30 < this.ticker.children.length) this.ticker.lastChild.remove();
    const awaited = { "kill-node": "next word", "kill-agent": "speaks again", "stop-agent": "noticed",
      "continue-agent": "next word", "start-node": "ready" }[kind];
    if (command) this.open.push({ kind, began, after, awaited });
  }

  /** Something came that stops the watches of these kinds. */
  came(kinds, now = performance.now()) {
    this.open = this.open.filter((watch) => {
      if (!kinds.includes(watch.kind)) return true;
      watch.after.classList.remove("runs");
      watch.after.textContent = `${watch.awaited} after ${seconds(now - watch.began)}`;
      return false;
    });
  }

  /** Nobody is speaking, so no next word will come of these. */
  forget(kinds) {
    this.open = this.open.filter((watch) => {
      if (!kinds.includes(watch.kind)) return true;
      watch.after.classList.remove("runs");
      watch.after.textContent = "nobody was speaking";
      return false;
    });
  }

  tick(now) {
    for (const watch of this.open) {
      watch.after.classList.add("runs");
      watch.after.textContent = seconds(now - watch.began);
    }
  }

  async processes() {
    const state = await processes();
    if (!state) return;
    for (const card of this.cards) {
      const node = state.nodes[card.node - 1];
      const [agent] = node.agents;
      card.pidNow = node.pid;
      card.agent = agent;
      card.root.classList.toggle("down", !node.pid);
      card.pid.textContent = node.pid ? `pid ${node.pid}` : "down";
      card.kill.textContent = node.pid ? "kill -9" : "start";
      card.kill.classList.toggle("harm", Boolean(node.pid));
      const works = agent && this.worker === agent.pid;
      card.label.textContent = agent ? `agent ${agent.pid}` : "no agent";
      card.doing.textContent = !agent ? "" : agent.stopped ? "frozen" : works ? "speaks" : "waits";
      card.kin.classList.toggle("stopped", Boolean(agent?.stopped));
      card.kin.classList.toggle("works", Boolean(works && !agent.stopped));
      card.end.disabled = card.freeze.disabled = !agent;
      card.freeze.textContent = agent?.stopped ? "thaw" : "freeze";
    }
  }

  async cluster() {
    let report, home;
    try {
      [report, home] = await Promise.all([ask("GET", "/v1/cluster"), inSession("GET", "/home")]);
    } catch {
      return;
    }
    this.home = home;
    for (const card of this.cards) {
      const member = report.members.find((member) => member.node === card.node);
      const isUp = Boolean(card.pidNow);
      card.root.classList.toggle("leads", home.leader === card.node);
      card.root.classList.toggle("joining", isUp && member?.reachable === false);
      card.role.textContent = !isUp ? "dead" : member?.reachable === false ? "coming back"
        : home.leader === card.node ? "leader" : "follower";
      if (isUp && member?.reachable) this.came(["start-node"].filter(() => card.root.dataset.was === "away"));
      card.root.dataset.was = isUp && member?.reachable ? "here" : "away";
      while (card.shards.children.length < report.shards.length) card.shards.append(make("i"));
      report.shards.forEach((shard, place) => {
        const square = card.shards.children[place];
        const leads = shard.leader === card.node;
        square.classList.toggle("led", leads);
        square.classList.toggle("ours", leads && shard.shard === home.shard);
        square.title = `shard ${shard.shard}, ${leads ? "leader" : "follower"}`;
      });
    }
  }
}
