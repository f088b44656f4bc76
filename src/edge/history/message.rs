//! One message of a session, as it is folded from events and told as JSON.

use bytes::Bytes;

use super::super::content::parts;
use super::super::content::raw::Json;
use super::super::content::{PARAGRAPH, parts::Answer};
use super::super::wire;
use crate::edge::attached::messages::{Piece, Speaks, Spoken};
use crate::edge::attached::questions::Reply;
use crate::ids::{
    AgentName, DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, StepName,
    TurnId,
};
use crate::session::{Event, Fact, Format, Receipt, Sender};

/// A message that is told.
pub(super) struct Message {
    /// Where it begins; its id.
    pub(super) id: Serial,
    pub(super) role: Speaks,
    pub(super) turn: Option<TurnId>,
    agent: Option<AgentName>,
    pub(super) step: Option<StepName>,
    sender: Option<Sender>,
    pub(super) input: Option<TurnId>,
    internal: bool,
    /// When it began.
    time: Millis,
    runs: Vec<Run>,
    /// Payload bytes of all runs and questions.
    pub(super) bytes: usize,
    /// The last event of it.
    to: Serial,
    /// Bytes that are missing at the beginning because there is no room for them.
    cut: u64,
    pub(super) complete: bool,
    /// How its turn ended, and why.
    pub(super) end: Option<(&'static str, String)>,
    /// What became of an input, and whether more is to come.
    pub(super) receipt: Option<(&'static str, String)>,
    pub(super) waits: bool,
    questions: Vec<Asked>,
}

/// Payloads of one format after each other; texts are one.
struct Run {
    format: Format,
    payload: Vec<u8>,
    /// The events that it is made of, each with the byte after its end.
    events: Vec<(Serial, usize)>,
}

/// A question that is part of a message.
struct Asked {
    interaction: InteractionId,
    kind: KindName,
    deadline: Option<Millis>,
    serial: Serial,
    said: (Format, Bytes),
    reply: Reply,
    /// Who answered, and where.
    by: Option<(Serial, Option<Sender>)>,
}

impl Message {
    /// What begins with an event; `id` is another one where the beginning was trimmed.
    pub(super) fn new(event: &Event, role: Speaks, id: Serial) -> Message {
        let mut message = Message {
            id,
            role,
            turn: event.fact.as_deref().and_then(Fact::turn).cloned(),
            agent: event.agent.clone(),
            step: None,
            sender: None,
            input: None,
            internal: false,
            time: event.time,
            runs: Vec::new(),
            bytes: 0,
            to: event.serial,
            cut: 0,
            complete: true,
            end: None,
            receipt: None,
            waits: false,
            questions: Vec::new(),
        };
        match event.fact.as_deref() {
            Some(Fact::Input { input, turn, sender, held, .. }) => {
                message.input = Some(input.clone());
                message.sender.clone_from(sender);
                message.waits = input != turn && !held;
            }
            Some(Fact::Person { input, sender, .. }) => {
                message.input = Some(input.clone());
                message.sender.clone_from(sender);
            }
            Some(Fact::Output(output)) => {
                message.step.clone_from(&output.step);
                message.internal = output.internal;
            }
            _ => {}
        }
        message
    }

    /// Takes one more payload.
    pub(super) fn push(&mut self, event: &Event) {
        let size = event.payload.len();
        (self.bytes, self.to) = (self.bytes + size, event.serial);
        // A paragraph that stands alone says that the next text is another part.
        let joins = |run: &&mut Run| {
            run.format == Format::TEXT
                && event.format == Format::TEXT
                && run.payload != PARAGRAPH.as_bytes()
        };
        let last = self.runs.last_mut().filter(joins);
        let Some(run) = last else {
            let (format, payload) = (event.format.clone(), event.payload.to_vec());
            self.runs.push(Run { format, payload, events: vec![(event.serial, size)] });
            return;
        };
        run.payload.extend_from_slice(&event.payload);
        run.events.push((event.serial, run.payload.len()));
    }

    /// Takes a question.
    pub(super) fn ask(&mut self, event: &Event) {
        let Some(Fact::Asked { interaction, kind, deadline, .. }) = event.fact.as_deref() else {
            return;
        };
        self.bytes += event.payload.len();
        self.to = event.serial;
        self.questions.push(Asked {
            interaction: interaction.clone(),
            kind: kind.clone(),
            deadline: *deadline,
            serial: event.serial,
            said: (event.format.clone(), event.payload.clone()),
            reply: Reply::Open,
            by: None,
        });
    }

    /// Takes what came of a question, if it is one of its own.
    pub(super) fn reply(&mut self, interaction: &InteractionId, event: &Event, reply: &Reply) {
        let mut asked = self.questions.iter_mut().rev();
        let Some(asked) = asked.find(|asked| asked.interaction == *interaction) else { return };
        asked.reply = reply.clone();
        self.bytes += event.payload.len();
        if let Some(Fact::Answered { by, .. }) = event.fact.as_deref() {
            asked.by = Some((event.serial, by.clone()));
        }
    }

    /// Takes a receipt for the input that it is; `turn` is where that is now.
    pub(super) fn receive(&mut self, receipt: &Receipt, turn: &TurnId) {
        let why = match receipt {
            Receipt::Dropped { why } => why.clone(),
            _ => String::new(),
        };
        let name = receipt.name().strip_prefix("input.").unwrap_or(receipt.name());
        self.receipt = Some((name, why));
        self.turn = Some(turn.clone());
        self.waits = match receipt {
            Receipt::Delivered { .. } => self.waits,
            Receipt::Deferred => self.input.as_ref() != Some(turn),
            Receipt::Consumed { .. } | Receipt::Dropped { .. } => false,
        };
    }

    /// Drops what is superseded.
    pub(super) fn rewind(&mut self, from: Serial, to: Serial) {
        for run in &mut self.runs {
            let gone = |serial: Serial| from <= serial && serial <= to;
            if !run.events.iter().any(|(serial, _)| gone(*serial)) {
                continue;
            }
            let (mut payload, mut events, mut begin) = (Vec::new(), Vec::new(), 0);
            for (serial, end) in &run.events {
                if gone(*serial) {
                    self.bytes -= end - begin;
                } else {
                    payload.extend_from_slice(&run.payload[begin..*end]);
                    events.push((*serial, payload.len()));
                }
                begin = *end;
            }
            (run.payload, run.events) = (payload, events);
        }
        self.runs.retain(|run| !run.events.is_empty());
        if from <= self.id && self.id <= to {
            self.cut = 0;
        }
    }

    /// Gives up its oldest payloads until it has so many bytes, or one payload.
    pub(super) fn shrink(&mut self, most: usize) {
        while most < self.bytes {
            let many = 1 < self.runs.len();
            let Some(run) = self.runs.first_mut().filter(|run| many || 1 < run.events.len()) else {
                return;
            };
            let over = self.bytes - most;
            // The last event stays, if there is nothing else.
            let kept = usize::from(!many);
            let count = run.events.iter().take_while(|(_, end)| *end < over).count() + 1;
            let count = count.min(run.events.len() - kept);
            let end = run.events[count - 1].1;
            run.events.drain(..count);
            run.payload.drain(..end);
            run.events.iter_mut().for_each(|(_, other)| *other -= end);
            (self.bytes, self.cut) = (self.bytes - end, self.cut + end as u64);
            self.runs.retain(|run| !run.events.is_empty());
        }
    }

    /// Whether anything of it stands.
    pub(super) fn is_told(&self) -> bool {
        !self.runs.is_empty() || !self.questions.is_empty() || 0 < self.cut
    }

    /// Its payloads.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.runs.iter().map(|run| Piece {
            serial: run.events.first().map_or(self.id, |(serial, _)| *serial),
            format: run.format.clone(),
            payload: Bytes::copy_from_slice(&run.payload),
        })
    }

    /// It as JSON. `later` and `answers` as for [`parts::of`]; `first` is the first event that can be read.
    pub(super) fn render(&self, later: &[Piece], answers: &[Answer<'_>], first: Serial) -> Json {
        let pieces: Vec<Piece> = self.pieces().collect();
        let (mut text, mut others) = (Vec::new(), Vec::new());
        for piece in &pieces {
            if piece.format == Format::TEXT {
                text.extend_from_slice(&piece.payload);
            } else {
                others.push(other(piece, text.len()));
            }
        }
        let spoken = Spoken { speaks: self.role, turn: self.turn.clone(), from: self.id, pieces };
        let role = match self.role {
            Speaks::Agent => "agent",
            Speaks::User => "user",
            Speaks::Person => "person",
        };
        let name = |name: Option<&str>| name.map_or(Json::Null, Json::from);
        let out = Json::object([
            ("id", self.id.0.into()),
            ("role", role.into()),
            ("turn", name(self.turn.as_ref().map(TurnId::as_str))),
            ("agent", name(self.agent.as_ref().map(AgentName::as_str))),
            ("time", self.time.0.into()),
            ("text", String::from_utf8_lossy(&text).as_ref().into()),
            ("from", self.id.0.into()),
            ("to", self.to.0.into()),
            ("complete", self.complete.into()),
            ("content", parts::of(&spoken, later, answers)),
        ]);
        self.render_rest(out, others, first)
    }

    /// What only some messages have.
    fn render_rest(&self, mut out: Json, others: Vec<Json>, first: Serial) -> Json {
        let word = |word: &str| (!word.is_empty()).then(|| word.into());
        if let Some((end, reason)) = &self.end {
            out = out.with("end", *end).with_some("reason", word(reason));
        }
        out = out.with_some("step", self.step.as_ref().map(|step| step.as_str().into()));
        out = out.with_some("input", self.input.as_ref().map(|input| input.as_str().into()));
        if let Some(sender) = &self.sender {
            out = with_sender(out, sender);
        }
        if let Some((state, why)) = &self.receipt {
            let receipt = Json::object([("state", (*state).into())]);
            out = out.with("receipt", receipt.with_some("why", word(why)));
        }
        if self.internal {
            out = out.with("visibility", "internal");
        }
        if 0 < self.cut {
            out = out.with("cut", self.cut);
        }
        if self.id < first {
            out = out.with("trimmed", true);
        }
        if !others.is_empty() {
            out = out.with("parts", others);
        }
        if !self.questions.is_empty() {
            let all: Vec<Json> = self.questions.iter().map(Asked::render).collect();
            out = out.with("questions", all);
        }
        out
    }
}

impl Asked {
    fn render(&self) -> Json {
        let state = match &self.reply {
            Reply::Open => "open",
            Reply::Answered { .. } => "answered",
            Reply::Expired => "expired",
        };
        let mut out = Json::object([
            ("interaction", self.interaction.as_str().into()),
            ("kind", self.kind.as_str().into()),
            ("serial", self.serial.0.into()),
            ("deadline", self.deadline.map_or(Json::Null, |at| at.0.into())),
            ("question", wire::said(&self.said.0, &self.said.1)),
            ("state", state.into()),
        ]);
        if let Reply::Answered { format, payload } = &self.reply {
            out = out.with("answer", wire::said(format, payload));
        }
        if let Some((at, by)) = &self.by {
            out = out.with("answered", at.0);
            if let Some(sender) = by {
                out = with_sender(out, sender);
            }
        }
        out
    }
}

fn with_sender(out: Json, sender: &Sender) -> Json {
    let device = sender.device.as_ref().map(DeviceName::as_str);
    let participant = ParticipantName::as_str(&sender.participant);
    out.with("participant", participant).with("device", device.map_or(Json::Null, Json::from))
}

/// A payload that is no text, and where in the text it stands.
fn other(piece: &Piece, at: usize) -> Json {
    let head = format!("{{\"serial\":{},\"at\":{at},", piece.serial.0);
    let said = wire::said(&piece.format, &piece.payload).to_string();
    Json::raw(&format!("{head}{}", &said[1..]))
}
