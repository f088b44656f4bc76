//! One turn of an endpoint: the conversation goes there, and its answer comes into the log as it is read.

use std::mem::take;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::attached::messages;
use super::super::attached::questions::Questions;
use super::super::content::raw::Json;
use super::super::content::{Call as ToolCall, Conversation};
use super::answer::{Answer, End, Piece, Question};
use super::call::{Call, CallRequest, Failed};
use super::{Endpoint, Request, Taken};
use crate::config::Protocol;
use crate::ids::{
    CallId, Cursor, Incarnation, InteractionId, KindName, SessionId, StepName, ToolName, TurnEpoch,
    TurnId,
};
use crate::limits;
use crate::runtime::agent::{FromWorker, Speaker, TurnKey};
use crate::runtime::claim::Assignment;
use crate::runtime::{Freshness, Sessions};
use crate::session::{Ask, Format, NewEvent, Phase, Role, Then, TurnOutput, TurnReport, tool_key};

/// Which turn it is, and whose.
pub(super) fn key(assignment: &Assignment) -> TurnKey {
    TurnKey {
        session: assignment.session.clone(),
        turn: assignment.turn.turn.clone(),
        epoch: assignment.turn.lease.as_ref().map_or(TurnEpoch::NONE, |lease| lease.epoch),
    }
}

/// Works on a turn until the endpoint's answer ends, or the turn does. If the attempt came to nothing, returns why:
/// the turn is tried again under its budget.
pub(super) async fn run(
    sessions: &Sessions,
    endpoint: &Endpoint,
    assignment: &Assignment,
    speaker: &Speaker,
    mut outcomes: watch::Receiver<Taken>,
    stop: CancellationToken,
) -> Option<Failed> {
    let mut words = Words::new(assignment, endpoint, speaker);
    let work = async {
        match answer(sessions, endpoint, assignment, &mut words).await {
            Ok(()) => {}
            Err(Failed::Refused(reason)) => words.end(fail(reason)).await,
            Err(failed) => return Some(failed),
        }
        // What the session does not take now, it would not take of another attempt.
        if let Some(reason) = words.refused(&mut outcomes).await {
            words.end(fail(reason)).await;
        }
        None
    };
    tokio::select! {
        failed = work => failed,
        // The connection closes with the call: that is how a cancel reaches the endpoint.
        () = stop.cancelled() => None,
    }
}

async fn answer(
    sessions: &Sessions,
    endpoint: &Endpoint,
    assignment: &Assignment,
    words: &mut Words<'_>,
) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS_MAX);
    let session = &assignment.session;
    let broken = |why: &str| Failed::Log(why.to_owned());
    let status = sessions.status(session, Freshness::Linearizable, deadline).await;
    let status = status.map_err(|why| Failed::Log(why.to_string()))?;
    let status = status.ok_or_else(|| broken("the session is gone"))?;
    let room = endpoint.context_tokens.map(|tokens| tokens.saturating_mul(limits::TOKEN_BYTES));
    let room = room.map_or(limits::MESSAGES_BYTES, |bytes| bytes.min(limits::MESSAGES_BYTES));
    let upto = Cursor { incarnation: status.incarnation, serial: status.tail };
    let read =
        messages::read_for(sessions, session, &status, upto, (&assignment.turn, room), deadline)
            .await;
    let read = read.map_err(|_| broken("the log is not here in time"))?;
    let turn = &assignment.turn.turn;
    if read.questions.waits_on(turn) {
        // The session offers the turn at its first answer; the endpoint is to have all of them.
        words.end(Then::Wait).await;
        return Ok(());
    }
    let waited = read.questions.waited(turn).map(|(_, times)| times);
    words.go_on_after(waited);
    if let Some(begins) = read.begins() {
        let notice = json!({ "type": "conversation", "before": begins.0 });
        words.leave_out(notice).await;
    }
    let conversation = Conversation::of(&read, turn);
    let request = Request {
        in_doubt: in_doubt(session, status.incarnation, turn, &conversation),
        session: session.name(),
        turn: turn.as_str(),
        conversation: &conversation,
        model: endpoint.model.as_deref(),
        max_tokens: endpoint.max_tokens,
        waited,
    };
    let mut answer = Answer::new(endpoint.protocol, &request);
    let outgoing =
        CallRequest { id: id(assignment, waited), body: endpoint.protocol.body(&request) };
    match call(endpoint, &outgoing, &mut answer, words).await? {
        End::Complete { reason } => words.end(then_complete(reason)).await,
        End::Fail { reason } => words.end(fail(reason)).await,
        End::Again { reason } => return Err(Failed::Reported(reason)),
        End::Ask(questions) => words.ask(questions, &read.questions).await,
    }
    Ok(())
}

/// Calls that the attempt before may have made, as endpoints get them.
fn in_doubt(
    session: &SessionId,
    life: Incarnation,
    turn: &TurnId,
    conversation: &Conversation,
) -> Vec<Json> {
    let seed = tool_key::seed(session, life);
    let notice = |call: &ToolCall| {
        let key = CallId::parse(&call.id).ok().map(|id| tool_key::of(seed, turn, &id));
        Json::object([
            ("toolCallId", call.id.as_str().into()),
            ("toolName", call.tool.as_str().into()),
            ("input", Json::raw(call.arguments())),
        ])
        .with_some("idempotencyKey", key.map(|key| tool_key::text(key).into()))
    };
    conversation.in_doubt.iter().take(limits::INTERACTIONS).map(notice).collect()
}

/// Names one attempt at a turn, and which of its answers it is.
fn id(assignment: &Assignment, waited: Option<u32>) -> String {
    let TurnKey { session, turn, epoch } = key(assignment);
    let input = assignment.turn.input.0;
    let tenant = session.tenant();
    let named = format!("{tenant:?}\n{}\n{}\n{input}", session.name(), turn.as_str());
    // Routes may take the same id for the same request, so it must be infeasible to find names with the same one.
    let hash = digest(&SHA256, named.as_bytes());
    let hash = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..18]);
    format!("{hash}-{}-{}", epoch.0, waited.unwrap_or_default())
}

/// Makes a call, commits what is read of its answer, and returns how that ended.
async fn call(
    endpoint: &Endpoint,
    outgoing: &CallRequest,
    answer: &mut Answer,
    words: &mut Words<'_>,
) -> Result<End, Failed> {
    let silence = Duration::from_millis(endpoint.progress_timeout_ms);
    let until = endpoint.call_limit.map(|limit| Instant::now() + limit);
    let late = |until: Option<Instant>| match until {
        Some(until) if until <= Instant::now() => Failed::TooLong,
        _ => Failed::Late,
    };
    let by = |span: Duration| (Instant::now() + span).min(until.unwrap_or_else(far));
    let mut call = timeout_at(by(silence), Call::start(endpoint, outgoing))
        .await
        .map_err(|_| late(until))??;
    let mut finished_at = None;
    loop {
        // Comments may come for ever after the end.
        let deadline =
            finished_at.map_or_else(|| by(silence), |at: Instant| at + limits::FINISH_GRACE);
        let read = match timeout_at(deadline, call.next()).await {
            _ if until.is_some_and(|until| until <= Instant::now()) => Err(Failed::TooLong),
            Ok(read) => read,
            Err(_) => Err(Failed::Late),
        };
        let ended = matches!(read, Ok(None) | Err(_));
        let frames = match read {
            Ok(Some(frames)) => frames,
            Ok(None) => call.last().into_iter().collect(),
            // A connection that breaks off, or stays, after the end changes nothing.
            Err(failed) => return answer.end().ok_or(failed),
        };
        let mut pieces = Vec::new();
        let mut last = ended;
        for frame in &frames {
            pieces.extend(answer.take(frame));
            // What comes after the end, and does not go on, begins no new wait.
            finished_at = answer.is_finished().then(|| finished_at.unwrap_or_else(Instant::now));
            if answer.is_last(frame) {
                last = true;
                break;
            }
        }
        words.take(pieces).await;
        if last {
            return answer.end().ok_or_else(|| call.broke_off());
        }
    }
}

/// Later than anything that is waited for.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(24 * 60 * 60)
}

/// An endpoint's output, numbered.
struct Words<'a> {
    key: TurnKey,
    speaker: &'a Speaker,
    protocol: Protocol,
    whole: Format,
    seq: u64,
    /// The step that the first output begins.
    step: Option<StepName>,
    /// The next output supersedes what came before: of earlier attempts, or since the mark.
    rewinds: bool,
    /// The next output can be superseded by later output.
    marks: bool,
    /// The turn's time without progress.
    progress_timeout_ms: u64,
    /// When the session last got something from the endpoint.
    received_at: Instant,
}

impl Words<'_> {
    fn new<'a>(assignment: &Assignment, endpoint: &Endpoint, speaker: &'a Speaker) -> Words<'a> {
        let lease = assignment.turn.lease.as_ref();
        let format = format!("{}/1", endpoint.protocol.name());
        Words {
            key: key(assignment),
            speaker,
            protocol: endpoint.protocol,
            whole: Format::parse(&format).expect("the names of protocols are formats"),
            seq: 0,
            step: None,
            rewinds: 1 < assignment.turn.attempts,
            marks: false,
            progress_timeout_ms: lease
                .map_or(endpoint.progress_timeout_ms, |lease| lease.progress_timeout_ms),
            received_at: Instant::now(),
        }
    }

    /// The output goes on after the answers of people: it is a step of its own, so that another attempt at it
    /// supersedes nothing of what came before.
    fn go_on_after(&mut self, waited: Option<u32>) {
        if let Some(times) = waited {
            let name = format!("resume-{times}");
            self.step = Some(StepName::parse(&name).expect("it is short"));
            self.rewinds = true;
        }
    }

    /// Commits what was read at once, or a heartbeat if that was nothing.
    async fn take(&mut self, pieces: Vec<Piece>) {
        let mut events: Vec<NewEvent> = Vec::new();
        let mut phase = None;
        if pieces.is_empty()
            && Duration::from_millis(self.progress_timeout_ms / 4) <= self.received_at.elapsed()
        {
            return self.live().await;
        }
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    phase = Some(Phase::Streaming);
                    for text in split(&text) {
                        let payload = Bytes::copy_from_slice(text.as_bytes());
                        events.push(NewEvent { format: Format::TEXT, payload });
                    }
                }
                Piece::Whole(json) => events.push(self.whole(json)),
                Piece::Tool(tool) => phase = ToolName::parse(&tool).ok().map(Phase::Tool),
                Piece::Thinking => phase = Some(Phase::Thinking),
                Piece::Mark => {
                    self.speak(take(&mut events), phase.take(), Then::GoOn).await;
                    self.marks = true;
                }
                Piece::Rewind => {
                    self.speak(take(&mut events), phase.take(), Then::GoOn).await;
                    // There is no output since the mark where that is still to be set.
                    self.rewinds |= !self.marks;
                }
            }
        }
        self.speak(events, phase, Then::GoOn).await;
    }

    /// What is kept as it came, if an event can have it.
    fn whole(&self, json: String) -> NewEvent {
        let payload = match json.len() {
            ..=limits::EVENT_BYTES => Bytes::from(json),
            _ => Bytes::from(self.protocol.piece_left_out(&json).to_string()),
        };
        NewEvent { format: self.whole.clone(), payload }
    }

    /// Records that something is left out.
    async fn leave_out(&mut self, notice: Value) {
        let omitted = self.protocol.left_out(notice).to_string();
        let event = self.whole(omitted);
        self.speak(vec![event], None, Then::GoOn).await;
    }

    /// Why the session did not take all of the output, if it did not.
    async fn refused(&self, outcomes: &mut watch::Receiver<Taken>) -> Option<String> {
        let last = self.seq.checked_sub(1)?;
        let decided = outcomes.wait_for(|taken| taken.seq == Some(last) || taken.refusal.is_some());
        let taken = timeout(limits::FLUSH_WAIT, decided).await.ok()?.ok()?;
        taken.refusal.as_ref().map(|(_, why)| why.clone())
    }

    async fn end(&mut self, then: Then) {
        self.speak(Vec::new(), None, then).await;
    }

    /// Puts the endpoint's questions to people, under its names where they are free in this session.
    async fn ask(&mut self, questions: Vec<Question>, before: &Questions) {
        let mut asks: Vec<Ask> = Vec::new();
        for Question { id, kind, question } in questions {
            let mut name = id.clone();
            let taken = |name: &str, asks: &[Ask]| {
                let mut before = before.all().map(|outgoing| outgoing.interaction.as_str());
                before.any(|other| other == name)
                    || asks.iter().any(|ask| ask.interaction.as_str() == name)
            };
            for number in 2.. {
                if !taken(&name, &asks) {
                    break;
                }
                name = format!("{id}~{number}");
            }
            let (Ok(interaction), true) =
                (InteractionId::parse(&name), question.payload.len() <= limits::EVENT_BYTES)
            else {
                let reason = "the endpoint asks what cannot be kept: its name or its size";
                return self.end(fail(reason.into())).await;
            };
            let kind = KindName::parse(kind).expect("kinds are short");
            asks.push(Ask {
                interaction,
                kind,
                question,
                deadline_ms: None,
                role: Role::Participant,
            });
        }
        let mut output = self.output(Vec::new(), Then::Wait);
        output.ask = asks;
        self.hear(Some(output), None).await;
    }

    /// Reports progress of the endpoint to the session, which begins its time without progress anew.
    async fn live(&mut self) {
        self.received_at = Instant::now();
        let progress_timeout_ms = Some(self.progress_timeout_ms);
        let report = TurnReport {
            progress_timeout_ms,
            ..TurnReport::new(self.key.turn.clone(), self.key.epoch)
        };
        let session = self.key.session.clone();
        self.speaker.hear(FromWorker::Report { session, report: Box::new(report) }).await.ok();
    }

    /// Commits it in as many requests as its size needs.
    async fn speak(&mut self, events: Vec<NewEvent>, phase: Option<Phase>, then: Then) {
        let (mut ready, mut bytes) = (Vec::new(), 0);
        for event in events {
            let more = event.payload.len() + event.format.as_str().len();
            if ready.len() == limits::APPEND_EVENTS || limits::APPEND_BYTES < bytes + more {
                self.one(take(&mut ready), None, Then::GoOn).await;
                bytes = 0;
            }
            bytes += more;
            ready.push(event);
        }
        self.one(ready, phase, then).await;
    }

    async fn one(&mut self, events: Vec<NewEvent>, phase: Option<Phase>, then: Then) {
        let has_output = !events.is_empty() || then != Then::GoOn;
        if has_output || phase.is_some() {
            let output = has_output.then(|| self.output(events, then));
            self.hear(output, phase).await;
        }
    }

    /// The next of the output.
    fn output(&mut self, events: Vec<NewEvent>, then: Then) -> TurnOutput {
        let rewind = !events.is_empty() && take(&mut self.rewinds);
        let mark = !events.is_empty() && take(&mut self.marks);
        let (seq, step) = (self.seq, self.step.take());
        self.seq += 1;
        TurnOutput { seq, step, rewind, mark, events, then, ..TurnOutput::default() }
    }

    async fn hear(&mut self, output: Option<TurnOutput>, phase: Option<Phase>) {
        self.received_at = Instant::now();
        let report =
            TurnReport { output, phase, ..TurnReport::new(self.key.turn.clone(), self.key.epoch) };
        let session = self.key.session.clone();
        // A link that is closed has signalled the session already.
        self.speaker.hear(FromWorker::Report { session, report: Box::new(report) }).await.ok();
    }
}

/// The end of a turn that is complete, for a reason if there is one.
fn then_complete(reason: String) -> Then {
    if reason.is_empty() { Then::Complete } else { Then::CompleteFor { reason: cut(reason) } }
}

/// The end of a turn that failed.
fn fail(reason: String) -> Then {
    Then::Fail { reason: cut(reason) }
}

/// A reason that is no longer than one may be.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES));
    reason
}

/// Text in pieces that an event can have.
fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while limits::EVENT_BYTES < rest.len() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(limits::EVENT_BYTES));
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}
