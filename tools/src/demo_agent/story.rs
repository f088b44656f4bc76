//! A story: each of its words is a pure function of the input and of the word's number.

/// Word `number` of the story that `input` requests, from 0, with the space after it.
pub fn word(input: &str, number: u64) -> String {
    let chance = mix(seed(input) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let pick = |words: &[&'static str]| {
        let many = words.len() as u64;
        words[usize::try_from(chance % many).expect("a list of words is short")]
    };
    let (sentence, place) = (number / SENTENCE, number % SENTENCE);
    match place {
        0 => format!("{} ", pick(&["The", "One", "Every", "That", "No"])),
        1 | 5 => format!("{} ", pick(ADJECTIVES)),
        2 => format!("{} ", pick(NOUNS)),
        3 => format!("{} ", pick(VERBS)),
        4 => format!("{} ", pick(&["the", "a", "its", "some", "this"])),
        _ if (sentence + 1) % PARAGRAPH == 0 => format!("{}.\n\n", pick(NOUNS)),
        _ => format!("{}. ", pick(NOUNS)),
    }
}

/// The first `count` words.
pub fn text(input: &str, count: u64) -> String {
    (0..count).map(|number| word(input, number)).collect()
}

const SENTENCE: u64 = 7;
const PARAGRAPH: u64 = 5;

const ADJECTIVES: &[&str] = &[
    "old",
    "quiet",
    "bright",
    "distant",
    "patient",
    "restless",
    "silver",
    "hollow",
    "gentle",
    "crooked",
    "golden",
    "sleepless",
    "wandering",
    "stubborn",
    "tiny",
    "vast",
];
const NOUNS: &[&str] = &[
    "river", "lantern", "clock", "harbour", "sparrow", "mountain", "letter", "garden", "engine",
    "winter", "captain", "bridge", "window", "forest", "signal", "shadow", "orchard", "kettle",
];
const VERBS: &[&str] = &[
    "follows",
    "remembers",
    "carries",
    "outlives",
    "answers",
    "mends",
    "counts",
    "crosses",
    "finds",
    "guards",
    "hears",
    "keeps",
    "leaves",
    "names",
    "waits for",
    "wakes",
];

/// FNV-1a, the same on every machine.
fn seed(input: &str) -> u64 {
    input.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finish of splitmix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_story_is_the_same_wherever_it_is_told() {
        expect![[""]].assert_eq(&text("a story", 0));
        assert_ne!(text("a story", 40), text("another story", 40));
        assert_eq!(text("a story", 40).matches('.').count(), 5);
        assert!(text("a story", 40).starts_with(&text("a story", 39)));
    }
}
