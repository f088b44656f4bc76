// The scripted agent's story: word n is a pure function of what was asked and of n, so this page can tell
// whether a word was lost or came twice, whoever told it. The same function as in src/storyteller/story.rs.

const SENTENCE = 7n, PARAGRAPH = 5n, MASK = (1n << 64n) - 1n;
const ADJECTIVES = [
  "old", "quiet", "bright", "distant", "patient", "restless", "silver", "hollow", "gentle", "crooked",
  "golden", "sleepless", "wandering", "stubborn", "tiny", "vast",
];
const NOUNS = [
  "river", "lantern", "clock", "harbour", "sparrow", "mountain", "letter", "garden", "engine", "winter",
  "captain", "bridge", "window", "forest", "signal", "shadow", "orchard", "kettle",
];
const VERBS = [
  "follows", "remembers", "carries", "outlives", "answers", "mends", "counts", "crosses", "finds", "guards",
  "hears", "keeps", "leaves", "names", "waits for", "wakes",
];

/** FNV-1a of the UTF-8 bytes. */
function seed(input) {
  return new TextEncoder().encode(input)
    .reduce((hash, byte) => ((hash ^ BigInt(byte)) * 0x100000001b3n) & MASK, 0xcbf29ce484222325n);
}

/** The finish of splitmix64. */
function mix(value) {
  value = ((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  value = ((value ^ (value >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return value ^ (value >> 31n);
}

/** Word n of a story, from 0, with the space after it. */
function word(seed, n) {
  const number = BigInt(n);
  const chance = mix(seed ^ ((number * 0x9e3779b97f4a7c15n) & MASK));
  const pick = (words) => words[Number(chance % BigInt(words.length))];
  switch (n % 7) {
    case 0: return `${pick(["The", "One", "Every", "That", "No"])} `;
    case 1: case 5: return `${pick(ADJECTIVES)} `;
    case 2: return `${pick(NOUNS)} `;
    case 3: return `${pick(VERBS)} `;
    case 4: return `${pick(["the", "a", "its", "some", "this"])} `;
    default: return (number / SENTENCE + 1n) % PARAGRAPH === 0n ? `${pick(NOUNS)}.\n\n` : `${pick(NOUNS)}. `;
  }
}

/** What the agent says beside its story, on a line of its own. */
const NOTE = /^\n\[(?:steer|tool|answer)\] [^\n]*\n/;
/** How far a word is looked for that is not where it should be. */
const FAR = 12;

/** Follows one answer and counts its words, those that are missing and those that came twice. */
export class Judge {
  constructor(asked) {
    this.seed = seed(asked);
    this.begin("");
  }

  begin(text) {
    Object.assign(this, { text: "", rest: text, next: 0, words: 0, lost: 0, duplicated: 0 });
  }

  /** Takes the whole text as it is now. */
  take(text) {
    if (text.startsWith(this.text)) this.rest += text.slice(this.text.length);
    else this.begin(text);
    this.text = text;
    while (this.rest) {
      const note = NOTE.exec(this.rest);
      if (note) {
        this.rest = this.rest.slice(note[0].length);
        continue;
      }
      const place = this.find();
      if (place === null) {
        // No word of the story from here on: what should be here is lost.
        this.lost += 1;
        this.rest = this.rest.replace(/^\s*\S+\s*/, "");
        continue;
      }
      this.lost += Math.max(place - this.next, 0);
      this.duplicated += Math.max(this.next - place, 0);
      this.words += 1;
      this.rest = this.rest.slice(word(this.seed, place).length);
      this.next = place + 1;
    }
  }

  /** The number of the word that is here: the one that comes next, or one nearby. */
  find() {
    const is = (n) => 0 <= n && this.rest.startsWith(word(this.seed, n));
    if (is(this.next)) return this.next;
    for (let far = 1; far <= FAR; far += 1) {
      for (const n of [this.next + far, this.next - far]) if (is(n)) return n;
    }
    return null;
  }
}
