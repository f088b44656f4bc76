//! What the demo agent plays beside its story: words of the input that begin with a slash.

/// One thing that it plays, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Waits for a tool, for so many milliseconds.
    Tool(u64),
    /// Asks people a question, and keeps its lease.
    Ask,
    /// Asks people a question, and gives its lease up until one answers.
    Wait,
    /// Lives and sends no more output; a successor does not.
    Stall,
    /// Ignores that it is to stop.
    Deaf,
    /// Gives the turn up for good.
    Fail,
    /// Its process ends; a successor's does not.
    Exit,
}

/// What the input wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) acts: Vec<Act>,
    pub(super) words: u64,
    pub(super) every_ms: u64,
}

impl Script {
    /// Reads an input; what it does not set is as given.
    pub(super) fn read(input: &str, words: u64, every_ms: u64) -> Script {
        let mut script = Script { acts: Vec::new(), words, every_ms };
        let mut all = input.split_whitespace().peekable();
        while let Some(word) = all.next() {
            let mut number = || {
                let given = all.peek().and_then(|next| next.parse::<f64>().ok())?;
                all.next();
                // More than a day means for ever.
                Some(given.clamp(0.0, 86_400_000.0))
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            let whole = |number: f64| number as u64;
            match word {
                "/words" => script.words = number().map_or(script.words, whole),
                "/every" => script.every_ms = number().map_or(script.every_ms, whole),
                "/tool" => {
                    let seconds = number().unwrap_or(5.0);
                    script.acts.push(Act::Tool(whole(seconds * 1000.0)));
                }
                "/ask" => script.acts.push(Act::Ask),
                "/wait" => script.acts.push(Act::Wait),
                "/stall" => script.acts.push(Act::Stall),
                "/deaf" => script.acts.push(Act::Deaf),
                "/fail" => script.acts.push(Act::Fail),
                "/exit" => script.acts.push(Act::Exit),
                _ => {}
            }
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_a_script_in_its_own_order() {
        let script = Script::read("a tale /tool 0.5 /ask /words 20 please /stall", 400, 60);
        assert_eq!(script.acts, [Act::Tool(500), Act::Ask, Act::Stall]);
        assert_eq!((script.words, script.every_ms), (20, 60));
        assert_eq!(Script::read("/words", 400, 60).words, 400);
    }
}
