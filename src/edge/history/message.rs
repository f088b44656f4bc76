//! One message of a session, as it is folded from events and rendered as JSON.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::content::raw::Json;
use super::super::content::{self, parts};
use super::super::content::{PARAGRAPH, parts::Answer, parts::Found};
use super::super::wire;
use crate::edge::attached::messages::{MessagePieces, Piece, Speaks};
use crate::edge::attached::questions::Reply;
use crate::ids::{
    AgentName, DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, StepName,
    TurnId,
};
use crate::limits::{MESSAGES_BYTES, MESSAGES_QUESTIONS};
use crate::session::{Branches, Event, Fact, Format, Output, Receipt, Sender, Status, TreePlace};

/// A message that is shown.
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
    /// Payload bytes of all runs.
    bytes: usize,
    /// Payload bytes of its questions and their answers, as far as there is room for them.
    words: usize,
    /// The last event of it.
    to: Serial,
    /// What is missing at the beginning because there is no room for it: its events, each with its bytes.
    cut: Vec<(Serial, u64)>,
    /// Where in the output of its turn it goes on, once that is known.
    offset: Option<u64>,
    pub(super) complete: bool,
    /// How its turn ended, and why.
    pub(super) end: Option<(&'static str, String)>,
    /// What became of an input, and whether more is to come.
    pub(super) receipt: Option<(&'static str, String)>,
    pub(super) waits: bool,
    questions: VecDeque<QuestionPart>,
    /// Questions before these, for which there is no room.
    questions_cut: u64,
    /// Where it stands in the tree, and whether its first event records it.
    place: TreePlace,
    begins: bool,
}

/// Payloads of one format after each other; texts are one.
struct Run {
    format: Format,
    payload: Vec<u8>,
    /// The events that it is made of, each with the byte after its end.
    events: Vec<(Serial, usize)>,
}

/// A question that is part of a message.
struct QuestionPart {
    interaction: InteractionId,
    kind: KindName,
    deadline: Option<Millis>,
    serial: Serial,
    /// None where there is no room for it.
    sent_content: Option<(Format, Bytes)>,
    reply: Reply,
    /// There is no room for the answer.
    answer_cut: bool,
    /// Who answered, and where.
    by: Option<(Serial, Option<Sender>)>,
}

impl Message {
    /// What begins with an event; `id` is another one where the beginning was trimmed.
    pub(super) fn new(event: &Event, role: Speaks, id: Serial, place: TreePlace) -> Message {
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
            words: 0,
            to: event.serial,
            cut: Vec::new(),
            offset: None,
            complete: true,
            end: None,
            receipt: None,
            waits: false,
            questions: VecDeque::new(),
            questions_cut: 0,
            place,
            begins: id == event.serial,
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
        // A paragraph that stands alone means that the next text is another part.
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

    /// Takes one more output, which does not go on where the last one ended if those between were not read.
    pub(super) fn put_out(&mut self, event: &Event, output: &Output) {
        let missing = self.offset.map_or(0, |offset| output.offset.saturating_sub(offset));
        if 0 < missing {
            for run in std::mem::take(&mut self.runs) {
                self.cut_off(run.events.into_iter());
            }
            (self.bytes, self.to) = (0, event.serial);
            self.cut.push((Serial(event.serial.0 - 1), missing));
        }
        self.offset = Some(output.offset + event.payload.len() as u64);
        self.push(event);
    }

    /// Counts events of a run as missing, from its beginning on.
    fn cut_off(&mut self, events: impl Iterator<Item = (Serial, usize)>) {
        let mut begin = 0;
        for (serial, end) in events {
            self.cut.push((serial, (end - begin) as u64));
            begin = end;
        }
    }

    /// Takes a question.
    pub(super) fn ask(&mut self, event: &Event) {
        let Some(Fact::Requested { interaction, kind, deadline, .. }) = event.fact.as_deref()
        else {
            return;
        };
        if MESSAGES_QUESTIONS <= self.questions.len() {
            let gone = self.questions.pop_front().map_or(0, |pending| pending.size());
            (self.words, self.questions_cut) = (self.words - gone, self.questions_cut + 1);
        }
        let sent_content =
            self.has_room(&event.payload).then(|| (event.format.clone(), event.payload.clone()));
        self.to = event.serial;
        self.questions.push_back(QuestionPart {
            interaction: interaction.clone(),
            kind: kind.clone(),
            deadline: *deadline,
            serial: event.serial,
            sent_content,
            reply: Reply::Open,
            answer_cut: false,
            by: None,
        });
    }

    /// Takes room for the text of a question or an answer, if there is some: they are shown whole or not at all.
    fn has_room(&mut self, words: &Bytes) -> bool {
        let has_room = self.words + words.len() <= MESSAGES_BYTES;
        self.words += if has_room { words.len() } else { 0 };
        has_room
    }

    /// Takes what came of a question, if it is one of its own.
    pub(super) fn reply(&mut self, interaction: &InteractionId, event: &Event, reply: &Reply) {
        let named = |pending: &QuestionPart| pending.interaction == *interaction;
        let Some(at) = self.questions.iter().rposition(named) else { return };
        let has_room = self.has_room(&event.payload);
        let pending = &mut self.questions[at];
        (pending.reply, pending.answer_cut) = (reply.clone(), !has_room);
        if let (Reply::Answered { payload, .. }, false) = (&mut pending.reply, has_room) {
            *payload = Bytes::new();
        }
        if let Some(Fact::Answered { by, .. }) = event.fact.as_deref() {
            pending.by = Some((event.serial, by.clone()));
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
        self.cut.retain(|(serial, _)| *serial < from || to < *serial);
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
            let gone: Vec<_> = run.events.drain(..count).collect();
            run.payload.drain(..end);
            run.events.iter_mut().for_each(|(_, other)| *other -= end);
            self.cut_off(gone.into_iter());
            self.bytes -= end;
            self.runs.retain(|run| !run.events.is_empty());
        }
    }

    /// Whether anything of it stands.
    pub(super) fn is_shown(&self) -> bool {
        !self.runs.is_empty() || !self.questions.is_empty() || !self.cut.is_empty()
    }

    /// Its payload bytes, with those of its questions.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.words
    }

    fn piece(&self, run: &Run) -> Piece {
        Piece {
            serial: run.events.first().map_or(self.id, |(serial, _)| *serial),
            format: run.format.clone(),
            payload: Bytes::copy_from_slice(&run.payload),
        }
    }

    /// Its payloads that are no text.
    pub(super) fn others(&self) -> impl Iterator<Item = Piece> {
        let others = self.runs.iter().filter(|run| run.format != Format::TEXT);
        others.map(|run| self.piece(run))
    }

    /// It as JSON. `later` and `answers` as for [`parts::of`]; `status` is the session's.
    pub(super) fn render(&self, later: &[Found], answers: &[Answer<'_>], status: &Status) -> Json {
        let pieces: Vec<Piece> = self.runs.iter().map(|run| self.piece(run)).collect();
        let (mut text, mut others) = (Vec::new(), Vec::new());
        for piece in &pieces {
            if piece.format == Format::TEXT {
                text.extend_from_slice(&piece.payload);
            } else {
                others.push(other(piece, text.len()));
            }
        }
        if text.is_empty() && self.role != Speaks::Agent {
            let sent_content = pieces.iter().find_map(|it| content::texts(&it.format, &it.payload));
            text = sent_content.unwrap_or_default().into_bytes();
        }
        let last_input =
            MessagePieces { speaks: self.role, turn: self.turn.clone(), from: self.id, pieces };
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
            ("content", parts::of(&last_input, later, answers)),
        ]);
        let out = self.render_rest(out, others, status.first);
        self.render_place(out, &status.branches)
    }

    /// Where it stands, in a conversation that has more than one branch.
    fn render_place(&self, mut out: Json, branches: &Branches) -> Json {
        if !branches.is_tree() {
            return out;
        }
        let TreePlace { parent, branch, .. } = self.place;
        out = out.with("branch", branch.0);
        // What is left of a message does not show what it follows.
        if !self.begins {
            return out;
        }
        let is_first = parent == Serial::ZERO;
        out = out.with("parent", if is_first { Json::Null } else { parent.0.into() });
        let siblings = branches.siblings(self.id, parent, branch);
        if siblings.is_empty() {
            return out;
        }
        out.with("siblings", siblings.into_iter().map(|of| of.0.into()).collect::<Vec<Json>>())
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
        if !self.cut.is_empty() {
            out = out.with("cut", self.cut.iter().map(|(_, bytes)| bytes).sum::<u64>());
        }
        if self.id < first {
            out = out.with("trimmed", true);
        }
        if !others.is_empty() {
            out = out.with("parts", others);
        }
        if !self.questions.is_empty() {
            let all: Vec<Json> = self.questions.iter().map(QuestionPart::render).collect();
            out = out.with("questions", all);
        }
        if 0 < self.questions_cut {
            out = out.with("questions_cut", self.questions_cut);
        }
        out
    }
}

impl QuestionPart {
    /// Payload bytes that it has room for.
    fn size(&self) -> usize {
        let sent_content = self.sent_content.as_ref().map_or(0, |(_, words)| words.len());
        match &self.reply {
            Reply::Answered { payload, .. } => sent_content + payload.len(),
            Reply::Open | Reply::Expired | Reply::Withdrawn => sent_content,
        }
    }

    fn render(&self) -> Json {
        let state = match &self.reply {
            Reply::Open => "open",
            Reply::Answered { .. } => "answered",
            Reply::Expired => "expired",
            Reply::Withdrawn => "withdrawn",
        };
        let mut out = Json::object([
            ("interaction", self.interaction.as_str().into()),
            ("kind", self.kind.as_str().into()),
            ("serial", self.serial.0.into()),
            ("deadline", self.deadline.map_or(Json::Null, |at| at.0.into())),
        ]);
        let sent_content =
            self.sent_content.as_ref().map(|(format, words)| wire::content(format, words));
        out = out.with_some("question", sent_content).with("state", state);
        if let (Reply::Answered { format, payload }, false) = (&self.reply, self.answer_cut) {
            out = out.with("answer", wire::content(format, payload));
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
    let sent_content = wire::content(&piece.format, &piece.payload).to_string();
    Json::raw(&format!("{head}{}", &sent_content[1..]))
}
