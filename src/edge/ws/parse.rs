//! Requests of a client on a WebSocket, parsed once and strictly.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::ephemeral::{self, EphemeralRequest};
use super::super::error::{self, Problem};
use super::super::verbs::{self, Verb};
use super::super::{attached, cursor, headers, name};
use crate::auth::Caller;
use crate::ids::{ProducerEpoch, SessionId};
use crate::limits;
use crate::runtime::{Freshness, Start};
use crate::session::{Command, Origin};

/// One frame of a client.
pub(super) enum Frame {
    Request(Box<Request>),
    /// A newer key or token, in place of the one that the connection was opened with.
    Auth {
        re: Option<u64>,
        credential: String,
    },
}

/// A frame that is about a session.
pub(super) struct Request {
    /// The client's number for it.
    pub(super) re: Option<u64>,
    pub(super) session: SessionId,
    pub(super) operation: Operation,
}

pub(super) enum Operation {
    Attach(Attach),
    Detach,
    /// Room for so many events more.
    Credit(u32),
    Verb(Box<Called>),
    /// Sends a message that is not kept.
    Ephemeral(Box<EphemeralRequest>),
}

pub(super) struct Attach {
    pub(super) start: Start,
    /// Who attaches, and what is wanted beside the events.
    pub(super) wants: attached::AttachOptions,
    pub(super) freshness: Freshness,
    pub(super) credit: u32,
    pub(super) timeout_ms: u64,
}

/// The request of a verb to a session.
pub(super) struct Called {
    pub(super) command: Command,
    /// Of the frame's body.
    pub(super) bytes: usize,
    pub(super) timeout_ms: u64,
}

/// A frame that is not understood, as far as it is.
pub(super) struct Misunderstood {
    pub(super) re: Option<u64>,
    pub(super) why: Problem,
}

/// What every frame has.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<u64>,
    op: String,
    session: Option<String>,
}

/// Of a frame that lacks the rest.
#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttachFrame {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "session")]
    _session: IgnoredAny,
    after: Option<String>,
    read: Option<String>,
    credit: Option<u32>,
    timeout_ms: Option<u64>,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
    snapshot: Option<Snapshot>,
    on_gap: Option<String>,
    fold: Option<bool>,
    visibility: Option<String>,
    ephemeral: Option<bool>,
    branch: Option<Branch>,
    leaf: Option<u64>,
}

/// All messages, or the path that ends with a branch.
#[derive(Deserialize)]
#[serde(untagged)]
enum Branch {
    Number(u64),
    Name(String),
}

/// Whether there is to be one, or how many messages it is to have.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Snapshot {
    Flag(bool),
    Messages(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthFrame {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetachFrame {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "session")]
    _session: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreditFrame {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "session")]
    _session: IgnoredAny,
    events: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerbFrame<'f> {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "session")]
    _session: IgnoredAny,
    #[serde(borrow)]
    body: Option<&'f RawValue>,
    producer: Option<Producer>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Producer {
    id: String,
    epoch: u64,
    seq: u64,
}

/// Understands one frame, in which the caller names sessions of its tenant.
pub(super) fn frame(caller: &Caller, text: &str) -> Result<Frame, Misunderstood> {
    let head: Head = parsed(text).map_err(|why| {
        let numbered = parsed(text).ok();
        Misunderstood { re: numbered.map(|Numbered { id }| id), why }
    })?;
    let re = head.id;
    let understood = || {
        if head.op == "auth" {
            let AuthFrame { token, .. } = parsed(text)?;
            return Ok(Frame::Auth { re, credential: token });
        }
        let session = head.session.ok_or_else(|| bad("missing field `session`".to_owned()))?;
        let session = name::session(caller, &session)?;
        Ok(Frame::Request(Box::new(Request { re, session, operation: operation(&head.op, text)? })))
    };
    understood().map_err(|why| Misunderstood { re, why })
}

fn operation(op: &str, text: &str) -> Result<Operation, Problem> {
    Ok(match op {
        "attach" => Operation::Attach(attach(parsed(text)?)?),
        "detach" => {
            let DetachFrame { .. } = parsed(text)?;
            Operation::Detach
        }
        "credit" => {
            let CreditFrame { events, .. } = parsed(text)?;
            Operation::Credit(credit(events, 1)?)
        }
        "ephemeral" => {
            let VerbFrame { body, producer: None, .. } = parsed(text)? else {
                return Err(bad("what is not kept has no producer".to_owned()));
            };
            let body = body.ok_or_else(|| bad("missing field `body`".to_owned()))?;
            Operation::Ephemeral(Box::new(ephemeral::parse(body.get().as_bytes())?))
        }
        other => match Verb::NAMED.into_iter().find(|(name, _)| *name == other) {
            Some((_, verb)) => Operation::Verb(Box::new(called(verb, parsed(text)?)?)),
            None => {
                let known = Verb::NAMED.map(|(name, _)| name).join(", ");
                return Err(bad(format!(
                    "there is no op {other:?}; there are auth, attach, detach, credit, ephemeral, {known}"
                )));
            }
        },
    })
}

fn attach(frame: AttachFrame) -> Result<Attach, Problem> {
    let freshness = match frame.read.as_deref() {
        None | Some("linearizable") => Freshness::Linearizable,
        Some("local") => Freshness::Local,
        Some(_) => return Err(bad("read is linearizable or local".to_owned())),
    };
    let wants = wants(&frame)?;
    let now = wants.snapshot.then_some("now");
    Ok(Attach {
        start: cursor::place(now.or(frame.after.as_deref()))?.start,
        wants,
        freshness,
        credit: credit(frame.credit.unwrap_or(limits::SOCKET_CREDIT), 0)?,
        timeout_ms: timeout(frame.timeout_ms)?,
    })
}

/// The same options as in the query of a live read.
fn wants(frame: &AttachFrame) -> Result<attached::AttachOptions, Problem> {
    let flag = |on: bool| if on { "1" } else { "0" };
    let snapshot = frame.snapshot.map(|snapshot| match snapshot {
        Snapshot::Flag(on) => flag(on).to_owned(),
        Snapshot::Messages(count) => count.to_string(),
    });
    let branch = frame.branch.as_ref().map(|branch| match branch {
        Branch::Number(number) => number.to_string(),
        Branch::Name(name) => name.clone(),
    });
    let leaf = frame.leaf.map(|leaf| leaf.to_string());
    let given = |name: &str| match name {
        "participant" => frame.participant.as_deref(),
        "device" => frame.device.as_deref(),
        "role" => frame.role.as_deref(),
        "snapshot" => snapshot.as_deref(),
        "on_gap" => frame.on_gap.as_deref(),
        "fold" => frame.fold.map(flag),
        "visibility" => frame.visibility.as_deref(),
        "ephemeral" => frame.ephemeral.map(flag),
        "branch" => branch.as_deref(),
        "leaf" => leaf.as_deref(),
        _ => None,
    };
    let options = attached::AttachOptions::parse(given).map_err(bad)?;
    if options.snapshot && frame.after.is_some() {
        return Err(bad("a snapshot is of the present: leave out after".to_owned()));
    }
    Ok(attached::AttachOptions { pings: true, ..options })
}

fn called(verb: Verb, frame: VerbFrame<'_>) -> Result<Called, Problem> {
    let verb = match (verb, frame.producer) {
        (Verb::Append(_), Some(producer)) => Verb::Append(Some(origin(producer)?)),
        (_, Some(_)) => return Err(bad("only an append has a producer".to_owned())),
        (verb, None) => verb,
    };
    let timeout_ms = timeout(frame.timeout_ms)?;
    let body = frame.body.map_or(&[][..], |body| body.get().as_bytes());
    Ok(Called { command: verb.parse(body)?, bytes: body.len(), timeout_ms })
}

fn origin(given: Producer) -> Result<Origin, Problem> {
    let bad = |detail: String| Problem::new(&error::BAD_PRODUCER, detail);
    let Producer { id, epoch, seq } = given;
    if headers::NUMBER_MAX < epoch.max(seq) {
        return Err(bad("epoch and seq are at most 2^53-1".to_owned()));
    }
    let producer = headers::producer_name(&id).map_err(|why| bad(format!("producer: {why}")))?;
    Ok(Origin { producer, epoch: ProducerEpoch(epoch), seq })
}

fn credit(events: u32, least: u32) -> Result<u32, Problem> {
    let most = limits::SOCKET_CREDIT_MAX;
    if !(least..=most).contains(&events) {
        return Err(bad(format!("credit is {least} to {most} events")));
    }
    Ok(events)
}

fn timeout(ms: Option<u64>) -> Result<u64, Problem> {
    let ms = ms.unwrap_or(limits::REQUEST_MS);
    if !(1..=limits::REQUEST_MS_MAX).contains(&ms) {
        return Err(bad(format!("timeout_ms must be 1 to {}", limits::REQUEST_MS_MAX)));
    }
    Ok(ms)
}

fn parsed<'f, T: Deserialize<'f>>(text: &'f str) -> Result<T, Problem> {
    verbs::turns::object(text.as_bytes()).map_err(bad)
}

pub(super) fn bad(detail: String) -> Problem {
    Problem::new(&error::BAD_FRAME, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_understood_whole_or_refused_under_its_number() {
        for (text, re, code) in [
            ("", None, "bad_frame"),
            ("[]", None, "bad_frame"),
            ("{", None, "bad_frame"),
            (r#"{"id":-1,"op":"attach","session":"s"}"#, None, "bad_frame"),
            (r#"{"id":7}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"attach"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"attach","session":""}"#, Some(7), "bad_session_id"),
            (r#"{"id":7,"op":"attach","session":".."}"#, Some(7), "bad_session_id"),
            (r#"{"id":7,"op":"attach","session":"__ds/x"}"#, Some(7), "unknown_path"),
            (r#"{"id":7,"op":"attach","session":"s","after":"x"}"#, Some(7), "bad_cursor"),
            (r#"{"id":7,"op":"attach","session":"s","afer":"x"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"attach","session":"s","credit":65537}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"attach","session":"s","session":"s"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"attach","session":"s","read":"x"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"detach","session":"s","body":{}}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"credit","session":"s","events":0}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"credit","session":"s"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"delete","session":"s"}"#, Some(7), "bad_frame"),
            (r#"{"id":7,"op":"input","session":"s","timeout_ms":0}"#, Some(7), "bad_frame"),
            (
                r#"{"op":"input","session":"s","producer":{"id":"p","epoch":0,"seq":0}}"#,
                None,
                "bad_frame",
            ),
            (
                r#"{"op":"append","session":"s","producer":{"id":"__ds/p","epoch":0,"seq":0}}"#,
                None,
                "bad_producer",
            ),
        ] {
            let Err(not) = frame(&Caller::anybody(), text) else { panic!("{text} was understood") };
            assert_eq!((not.re, not.why.kind().code), (re, code), "{text}");
        }
    }

    #[test]
    fn a_verb_is_parsed_as_the_same_body_by_http() {
        let text = r#"{"op":"append","session":"a/b","body":{ "events" : [{"text":"x"}] },"producer":{"id":"p","epoch":1,"seq":2}}"#;
        let Ok(Frame::Request(request)) = frame(&Caller::anybody(), text) else {
            panic!("{text} was not understood")
        };
        let Request { re: None, session, operation: Operation::Verb(called) } = *request else {
            panic!("not understood")
        };
        let Command::Append(append) = called.command else { panic!("no append") };
        assert_eq!((session.name(), append.events.len()), ("a/b", 1));
        assert_eq!(append.producer.map(|origin| (origin.epoch.0, origin.seq)), Some((1, 2)));
    }
}
