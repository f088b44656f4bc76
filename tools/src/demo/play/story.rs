//! The story as it must be: the scripted agent's words, and its notes between them.

use anyhow::ensure;

use crate::demo_agent::story;

/// What stands between words is in a note of its own: a line break, what it is about in brackets, and
/// the rest of the line.
const NOTES: [&str; 3] = ["\n[steer] ", "\n[tool] ", "\n[answer] "];

/// Checks that a text is the beginning of the story that was requested, and counts its words.
///
/// # Errors
/// A word is missing, comes twice, or is another one; the text names which, and what there is.
pub(super) fn check(text: &str, request: &str) -> anyhow::Result<usize> {
    let (mut rest, mut words) = (text, 0);
    while !rest.is_empty() {
        if NOTES.iter().any(|note| rest.starts_with(note)) {
            let end = rest[1..].find('\n');
            let end = end.ok_or_else(|| anyhow::anyhow!("a note without an end: {rest:?}"))?;
            rest = &rest[end + 2..];
            continue;
        }
        let next = story::word(request, words);
        let found = rest.strip_prefix(next.as_str());
        ensure!(found.is_some(), "word {words} is to be {next:?}, but there is {:?}", begin(rest));
        (rest, words) = (found.unwrap_or_default(), words + 1);
    }
    Ok(usize::try_from(words)?)
}

/// The first few words.
fn begin(text: &str) -> String {
    text.split_inclusive(' ').take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_whole_only_with_every_word_once_in_its_place() {
        let words: Vec<String> = (0..80).map(|number| story::word("a story", number)).collect();
        let story_of = |from: usize, to: usize| words[from..to].concat();
        assert_eq!(check("", "a story").unwrap(), 0);
        assert_eq!(check(&story_of(0, 80), "a story").unwrap(), 80);
        let steered = story_of(0, 35) + "\n[steer] make it rain\n" + &story_of(35, 50);
        assert_eq!(check(&steered, "a story").unwrap(), 50);
        for broken in [
            story_of(0, 9) + &story_of(10, 20),
            story_of(0, 10) + &story_of(9, 20),
            story_of(1, 9),
            story_of(0, 9) + "x",
            story_of(0, 9) + "\n[steer] half",
        ] {
            assert!(check(&broken, "a story").is_err(), "{broken:?}");
        }
    }
}
