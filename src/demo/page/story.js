// placeholder until the story is known
export function storyOf(answer) { return { words: answer.text.split(/\s+/).filter(Boolean).length, lost: 0, duplicated: 0 }; }
