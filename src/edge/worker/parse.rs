//! What workers send: frames, parsed once and strictly.

use serde::Deserialize;

use super::super::ephemeral;
use super::super::error::Problem;
use super::super::name::in_frame;
use super::super::verbs::Item;
use super::super::verbs::turns::{self, bad, name, progress_timeout};
use crate::ids::{AgentName, TenantName, TurnEpoch, TurnId, WorkerName};
use crate::limits;
use crate::runtime::agent::{Frame, FromWorker, Refused, Registration, TurnKey};

/// What every frame has.
#[derive(Deserialize)]
struct Head {
    r#type: String,
    session: Option<String>,
    turn: Option<String>,
    epoch: Option<TurnEpoch>,
    seq: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterFrame {
    #[serde(rename = "type")]
    _type: String,
    agent: Option<String>,
    worker: Option<String>,
    capacity: Option<usize>,
    lease_ms: Option<u64>,
    #[serde(alias = "quiet_ms")]
    progress_timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoneFrame {
    #[serde(rename = "type")]
    _type: String,
    session: String,
    turn: String,
    epoch: TurnEpoch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EphemeralFrame<'f> {
    #[serde(rename = "type")]
    _type: String,
    session: String,
    turn: String,
    epoch: TurnEpoch,
    kind: String,
    #[serde(borrow)]
    #[serde(alias = "said")]
    content: Option<Item<'f>>,
    #[serde(default)]
    internal: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BareFrame {
    #[serde(rename = "type")]
    _type: String,
}

/// Reads one frame.
pub(super) fn read(tenant: Option<&TenantName>, frame: &[u8]) -> Result<Frame, Box<Refused>> {
    // Whatever is wrong with the rest: the worker learns which report it was.
    let head: Head = turns::json(frame).map_err(|problem| refused(&problem, None, None))?;
    let seq = head.seq;
    let key = key(tenant, &head);
    parse(tenant, &head, frame).map_err(|problem| refused(&problem, key, seq))
}

fn parse(tenant: Option<&TenantName>, head: &Head, frame: &[u8]) -> Result<Frame, Problem> {
    Ok(Frame::FromWorker(match head.r#type.as_str() {
        "register" => return registration(turns::json(frame)?).map(Frame::Register),
        "output" | "say" => {
            let (session, report) = turns::frame(tenant, frame)?;
            let has_output = report.output.is_some();
            if !has_output {
                return Err(bad(
                    "an output frame has a seq, which counts from 0 in each epoch; a heartbeat has none",
                ));
            }
            FromWorker::Report { session, report: Box::new(report) }
        }
        "heartbeat" | "beat" => {
            let (session, report) = turns::frame(tenant, frame)?;
            if report.output.is_some() {
                return Err(bad("a heartbeat has no seq, and no output"));
            }
            FromWorker::Report { session, report: Box::new(report) }
        }
        "done" => {
            let done: DoneFrame = turns::json(frame)?;
            let session = name("session", &done.session, |name| in_frame(tenant, name))?;
            let turn = name("turn", &done.turn, TurnId::parse)?;
            FromWorker::Done(TurnKey { session, turn, epoch: done.epoch })
        }
        "ephemeral" => {
            let EphemeralFrame { session, turn, epoch, kind, content, internal, .. } =
                turns::json(frame)?;
            let session = name("session", &session, |name| in_frame(tenant, name))?;
            let turn = name("turn", &turn, TurnId::parse)?;
            let (kind, content) = ephemeral::checked(&kind, content)?;
            FromWorker::Ephemeral { key: TurnKey { session, turn, epoch }, kind, content, internal }
        }
        "pong" => bare(frame, FromWorker::Pong)?,
        "drain" => bare(frame, FromWorker::Drain)?,
        _ => {
            return Err(bad("type is register, output, heartbeat, ephemeral, done, pong or drain"));
        }
    }))
}

fn bare(frame: &[u8], means: FromWorker) -> Result<FromWorker, Problem> {
    turns::json::<BareFrame>(frame)?;
    Ok(means)
}

fn registration(request: RegisterFrame) -> Result<Registration, Problem> {
    if request.capacity.is_some_and(|many| !(1..=limits::LINK_TURNS).contains(&many)) {
        return Err(bad(&format!("capacity must be 1 to {}", limits::LINK_TURNS)));
    }
    Ok(Registration {
        agent: request.agent.map(|text| name("agent", &text, AgentName::parse)).transpose()?,
        worker: request.worker.map(|text| name("worker", &text, WorkerName::parse)).transpose()?,
        capacity: request.capacity,
        lease_ms: request.lease_ms.map(turns::lease).transpose()?,
        progress_timeout_ms: request.progress_timeout_ms.map(progress_timeout).transpose()?,
    })
}

fn key(tenant: Option<&TenantName>, head: &Head) -> Option<TurnKey> {
    let session = in_frame(tenant, head.session.as_ref()?).ok()?;
    let turn = TurnId::parse(head.turn.as_ref()?).ok()?;
    Some(TurnKey { session, turn, epoch: head.epoch? })
}

/// The answer to a frame that changes nothing.
pub(in crate::edge) fn refused(
    problem: &Problem,
    key: Option<TurnKey>,
    seq: Option<u64>,
) -> Box<Refused> {
    let (code, detail) = (problem.code(), problem.detail().to_owned());
    Box::new(Refused { key, seq, code, detail, retry_after_ms: problem.retry_after_ms() })
}
