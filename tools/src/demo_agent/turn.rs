//! One story: resumed where an earlier attempt stopped, steered, cancelled, paused.
//!
//! Where it stands is the checkpoint that rides with each word: it is committed with the word or not at all.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::script::{Act, Script};
use super::{Output, Settings, story};

/// Outputs without an acknowledgement; beyond them it waits.
const AHEAD: u64 = 32;
/// Words in front of what the script plays.
const BEFORE_ACTS: u64 = 4;

/// A story as it is sent.
struct Story {
    frame: Value,
    frames: mpsc::Receiver<Value>,
    output: Output,
    input: String,
    script: Script,
    /// Words that were sent, and acts that were played.
    words: u64,
    acts: usize,
    seq: u64,
    acked: u64,
    /// Inputs that it has not answered: place and text.
    steers: Vec<(u64, String)>,
    /// Answers of people: interaction and text.
    answers: Vec<(String, String)>,
    phase: &'static str,
    deaf: bool,
}

/// What ends a story early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It is not its own any more: it reports that it is done.
    Taken,
    /// It is to rest.
    PauseReason,
}

/// Sends one story until it is over, or another's.
pub(super) async fn tell(
    settings: Settings,
    frame: Value,
    frames: mpsc::Receiver<Value>,
    output: Output,
) -> std::io::Result<()> {
    let first = frame["input"].as_u64().unwrap_or_default();
    let received = frame["consumed"].as_u64().unwrap_or_default();
    let events = frame["events"].as_array().cloned().unwrap_or_default();
    let mut inputs = events.iter().filter(|event| event["type"] == "input.accepted");
    let input = inputs.next().map(text_of).unwrap_or_default();
    let missed = inputs.filter(|event| received < event["serial"].as_u64().unwrap_or_default());
    let steers = missed.map(|event| (event["serial"].as_u64().unwrap_or(first), text_of(event)));
    let steers = steers.collect();
    let resolved = |event: &&Value| event["type"] == "interaction.resolved";
    let answers = events.iter().filter(resolved).map(answer_of).collect();
    let (words, acts) = checkpoint(&frame);
    let script = Script::read(&input, settings.words, settings.every_ms);
    let (seq, acked, phase, deaf) = (0, 0, "", false);
    let mut story = Story {
        frame,
        frames,
        output,
        input,
        script,
        words,
        acts,
        seq,
        acked,
        steers,
        answers,
        phase,
        deaf,
    };
    match story.run(first.max(received)).await? {
        None => Ok(()),
        Some(Stop::PauseReason) => story.emit(json!({ "then": "pause" })),
        Some(Stop::Taken) => {
            let done = story.about("done", json!({}));
            story.output.emit(&done)
        }
    }
}

impl Story {
    async fn run(&mut self, received: u64) -> std::io::Result<Option<Stop>> {
        let mut received = Some(received);
        loop {
            if let Some(stop) = self.pause(self.script.every_ms).await {
                return Ok(Some(stop));
            }
            if !self.steers.is_empty() {
                let (serial, text) = self.steers.remove(0);
                let more = Script::read(&text, self.script.words, self.script.every_ms);
                self.script.words = more.words;
                self.script.every_ms = more.every_ms;
                // What a steer wants is played by the one attempt that consumes it.
                let note = format!("\n[steer] {text}\n");
                self.emit(json!({ "events": [{ "text": note }], "consumed": serial }))?;
                for act in more.acts {
                    if let Some(end) = self.play(act).await? {
                        return Ok(end);
                    }
                }
                continue;
            }
            let next = self.script.acts.get(self.acts).copied();
            if let Some(act) = next.filter(|_| BEFORE_ACTS.min(self.script.words) <= self.words) {
                if let Some(end) = self.play(act).await? {
                    return Ok(end);
                }
                self.acts += 1;
                continue;
            }
            if self.script.words <= self.words {
                self.emit(json!({ "then": "complete" }))?;
                return Ok(None);
            }
            let word = story::word(&self.input, self.words);
            self.words += 1;
            self.phase = "streaming";
            self.emit(json!({ "events": [{ "text": word }], "consumed": received.take() }))?;
        }
    }

    /// Plays an act; what ends the story with it.
    async fn play(&mut self, act: Act) -> std::io::Result<Option<Option<Stop>>> {
        let first = self.frame["attempt"].as_u64() == Some(1);
        match act {
            Act::Tool(ms) => {
                let progress_timeout_ms = ms.saturating_add(5_000);
                let beat = json!({ "phase": { "tool": "search" }, "progress_timeout_ms": progress_timeout_ms });
                self.output.emit(&self.about("beat", beat))?;
                if let Some(stop) = self.pause(ms).await {
                    return Ok(Some(Some(stop)));
                }
                self.phase = "streaming";
                self.note("tool", "done")?;
            }
            Act::Ask | Act::Wait => {
                let name = format!("{} {}", self.text("turn"), self.acts);
                let given = self.answers.iter().find(|(request, _)| *request == name);
                let mut given = given.map(|(_, text)| text.clone());
                if given.is_none() {
                    let question = json!({ "data": { "question": "May I go on?" } });
                    let ask = json!({
                        "interaction": name, "kind": "approval", "question": question,
                    });
                    let away = act == Act::Wait;
                    self.emit(json!({ "ask": [ask], "then": away.then_some("wait") }))?;
                    if away {
                        return Ok(Some(None));
                    }
                }
                while given.is_none() {
                    if let Some(stop) = self.wait(Instant::now() + FOR_EVER).await {
                        return Ok(Some(Some(stop)));
                    }
                    let answer = self.answers.iter().find(|(request, _)| *request == name);
                    given = answer.map(|(_, text)| text.clone());
                }
                self.note("answer", &given.unwrap_or_default())?;
            }
            Act::Stall if first => loop {
                if let Some(stop) = self.wait(Instant::now() + FOR_EVER).await {
                    return Ok(Some(Some(stop)));
                }
            },
            Act::Deaf => self.deaf = true,
            Act::Fail => {
                self.emit(json!({ "then": "fail", "reason": "the story was to fail" }))?;
                return Ok(Some(None));
            }
            Act::Exit if first => {
                eprintln!("the demo agent exits as its input says");
                std::process::exit(3);
            }
            Act::Stall | Act::Exit => {}
        }
        Ok(None)
    }

    fn note(&mut self, what: &str, text: &str) -> std::io::Result<()> {
        self.emit(json!({ "events": [{ "text": format!("\n[{what}] {text}\n") }] }))
    }

    /// Listens for so long, and until there is room for another output.
    async fn pause(&mut self, ms: u64) -> Option<Stop> {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until {
            if let Some(stop) = self.wait(until).await {
                return Some(stop);
            }
        }
        while self.acked + AHEAD <= self.seq {
            if let Some(stop) = self.wait(Instant::now() + FOR_EVER).await {
                return Some(stop);
            }
        }
        None
    }

    /// Listens for one frame.
    async fn wait(&mut self, until: Instant) -> Option<Stop> {
        let Ok(frame) = timeout_at(until, self.frames.recv()).await else { return None };
        let frame = frame?;
        match (frame["type"].as_str(), frame["what"].as_str()) {
            (Some("ack"), _) => {
                self.acked = frame["seq"].as_u64().map_or(self.acked, |seq| seq + 1)
            }
            (Some("refused"), _) => {
                // The signal that its turn is another's comes in a moment.
                self.acked = frame["seq"].as_u64().map_or(self.acked, |seq| seq + 1);
            }
            (_, Some("cancel" | "fenced")) if !self.deaf => return Some(Stop::Taken),
            (_, Some("pause")) => return Some(Stop::PauseReason),
            (_, Some("steer")) => {
                let serial = frame["serial"].as_u64().unwrap_or_default();
                self.steers.push((serial, text_of(&frame["event"])));
            }
            (_, Some("answer")) => self.answers.push(answer_of(&frame["event"])),
            _ => {}
        }
        None
    }

    /// Sends output; where the story stands goes with it.
    fn emit(&mut self, mut members: Value) -> std::io::Result<()> {
        let stands = json!({ "words": self.words, "acts": self.acts }).to_string();
        members["seq"] = self.seq.into();
        members["checkpoint"] = STANDARD.encode(stands).into();
        if !self.phase.is_empty() {
            members["phase"] = std::mem::take(&mut self.phase).into();
        }
        self.seq += 1;
        self.output.emit(&self.about("say", members))
    }

    /// A frame about this turn.
    fn about(&self, kind: &str, mut members: Value) -> Value {
        members["type"] = kind.into();
        for name in ["session", "turn", "epoch"] {
            members[name] = self.frame[name].clone();
        }
        if let Value::Object(members) = &mut members {
            members.retain(|_, value| !value.is_null());
        }
        members
    }

    fn text(&self, name: &str) -> &str {
        self.frame[name].as_str().unwrap_or_default()
    }
}

const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Where an earlier attempt stopped: words and acts.
fn checkpoint(frame: &Value) -> (u64, usize) {
    let bytes = frame["checkpoint"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let stands: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let number = |name: &str| stands.as_ref().and_then(|stands| stands[name].as_u64());
    let acts = number("acts").and_then(|acts| usize::try_from(acts).ok());
    (number("words").unwrap_or_default(), acts.unwrap_or_default())
}

/// The content of an event, as text.
fn text_of(event: &Value) -> String {
    match (&event["text"], &event["data"]) {
        (Value::String(text), _) => text.clone(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => String::new(),
        (_, data) => data.to_string(),
    }
}

fn answer_of(event: &Value) -> (String, String) {
    (event["interaction"].as_str().unwrap_or_default().to_owned(), text_of(event))
}
