// The score: counted here, from what this page received, by rules that need no trust in the service.
//
// Serials say whether each event came, once, and in order. Words say the same of the agents: the scripted
// agent's story is a pure function of its place, so whoever goes on after a crash must go on with the next word.
import { Judge } from "./story.js";

export class Score {
  constructor() {
    Object.assign(this, { events: 0, words: 0, lost: 0, duplicated: 0, disordered: 0, pause: 0 });
    this.next = null;
    this.seen = new Set();
    this.last = new Map();
    this.judges = new WeakMap();
  }

  /** Where this page begins, or begins again: everything up to here came as a snapshot. */
  begin(cursor) {
    this.next = Number(cursor.split("_")[1]) + 1;
  }

  event(event) {
    const from = event.from ?? event.serial;
    if (this.next !== null && from < this.next) {
      if (this.seen.has(event.serial)) this.duplicated += 1; else this.disordered += 1;
    } else {
      if (this.next !== null && this.next < from) this.lost += from - this.next;
      this.next = event.serial + 1;
    }
    this.seen.add(event.serial);
    // What could still come a second time lies close after it.
    if (2000 < this.seen.size) this.seen.delete(this.seen.values().next().value);
    this.events += 1;
  }

  /** A piece of an answer came: how long was the silence before it? */
  piece(turn, now) {
    const before = this.last.get(turn);
    if (before !== undefined) this.pause = Math.max(this.pause, now - before);
    this.last.set(turn, now);
  }

  /** Silence that was asked for is none. */
  rest(turn) {
    this.last.delete(turn);
  }

  /** The whole text of an answer against the story as it must be. */
  judge(answers) {
    let [words, lost, duplicated] = [0, 0, 0];
    for (const answer of answers) {
      if (answer.asked === undefined) continue;
      const judged = this.judges.get(answer) ?? new Judge(answer.asked);
      this.judges.set(answer, judged);
      judged.take(answer.text);
      words += judged.words;
      lost += judged.lost;
      duplicated += judged.duplicated;
    }
    this.words = words;
    return { words, lost: this.lost + lost, duplicated: this.duplicated + duplicated, disordered: this.disordered };
  }
}
