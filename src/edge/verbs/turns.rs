//! Bodies of requests about turns, parsed once and strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::error::{self, Problem};
use super::super::name::in_frame;
pub(in crate::edge) use super::object::{json, object};
use super::subturns::{self, BeginBody};
use super::tools::{self, MarkBody};
use super::{Item, interactions};
use crate::ids::{
    AgentId, AgentName, BadId, DeviceName, InteractionId, KindName, ParticipantName, Serial,
    SessionId, StepName, TenantName, ToolName, TurnEpoch, TurnId, WorkerName,
};
use crate::limits;
use crate::runtime::claim::Claimer;
use crate::session::{
    Ask, Cancel, Follows, Format, Input, NewEvent, Phase, Role, Scope, Sender, Then, TurnOutput,
    TurnReport, WhenBusy, Withdraw,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputBody<'b> {
    #[serde(alias = "input")]
    id: String,
    agent: Option<String>,
    #[serde(borrow)]
    #[serde(alias = "said")]
    content: Option<Item<'b>>,
    when_busy: Option<String>,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
    attempts: Option<u32>,
    #[serde(alias = "quiet_ms")]
    progress_timeout_ms: Option<u64>,
    parent: Option<u64>,
    regenerate: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    turn: Option<String>,
    step: Option<String>,
    agent: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    reason: String,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
}

/// A worker's report, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportBody<'b> {
    // What a frame has besides; a request has it in its path.
    r#type: Option<IgnoredAny>,
    session: Option<String>,
    turn: Option<String>,
    epoch: Option<TurnEpoch>,
    seq: Option<u64>,
    #[serde(borrow, default)]
    events: Vec<Item<'b>>,
    then: Option<String>,
    reason: Option<String>,
    #[serde(alias = "heard")]
    consumed: Option<u64>,
    delivered: Option<u64>,
    #[serde(alias = "quiet_ms")]
    progress_timeout_ms: Option<u64>,
    phase: Option<PhaseBody>,
    step: Option<String>,
    #[serde(default)]
    rewind: bool,
    #[serde(default)]
    mark: bool,
    #[serde(default)]
    internal: bool,
    #[serde(borrow, default)]
    ask: Vec<AskBody<'b>>,
    #[serde(default)]
    withdraw: Vec<WithdrawBody>,
    #[serde(borrow, default)]
    tools: Vec<MarkBody<'b>>,
    #[serde(borrow, default)]
    begin: Vec<BeginBody<'b>>,
    checkpoint: Option<String>,
}

/// Of what is not understood otherwise.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PhaseBody {
    Name(String),
    Tool(ToolBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolBody {
    tool: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskBody<'b> {
    interaction: String,
    kind: String,
    #[serde(borrow)]
    question: Item<'b>,
    deadline_ms: Option<u64>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawBody {
    interaction: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimBody {
    worker: String,
    wait_ms: Option<u64>,
    lease_ms: Option<u64>,
    #[serde(alias = "quiet_ms")]
    progress_timeout_ms: Option<u64>,
}

pub(in crate::edge) fn input(body: &[u8]) -> Result<Input, Problem> {
    let request: InputBody<'_> = json(body)?;
    let (follows, content) = match (request.parent, request.regenerate, request.content) {
        (None, None, Some(content)) => (None, content.event()?),
        (Some(parent), None, Some(content)) => (Some(follows(parent, false)), content.event()?),
        // The earlier content is sent again.
        (None, Some(message), None) => (Some(follows(message, true)), nothing()),
        (_, None, None) => return Err(bad("missing field `content`")),
        _ => return Err(bad("with regenerate, content and parent are those of the message")),
    };
    let agent = match (request.agent.as_deref(), &follows) {
        (None, Some(Follows { again: true, .. })) => UNNAMED,
        (agent, _) => agent.ok_or_else(|| bad("missing field `agent`"))?,
    };
    Ok(Input {
        input: name("id", &request.id, TurnId::parse)?,
        agent: name("agent", agent, AgentName::parse)?,
        content,
        sender: sender(request.participant.as_deref(), request.device.as_deref())?,
        when_busy: when_busy(request.when_busy.as_deref())?,
        role: role(request.role.as_deref())?,
        attempts: attempts(request.attempts)?,
        progress_timeout_ms: request.progress_timeout_ms.map(progress_timeout).transpose()?,
        follows,
    })
}

pub(super) fn attempts(given: Option<u32>) -> Result<Option<u32>, Problem> {
    if !given.is_none_or(|attempts| (1..=limits::ATTEMPTS_MAX).contains(&attempts)) {
        return Err(bad(&format!("attempts must be 1 to {}", limits::ATTEMPTS_MAX)));
    }
    Ok(given)
}

/// Stands for the agent where none is named, until it is known who answered before.
pub(super) const UNNAMED: &str = "-";

/// A message that an input names, before it is looked for.
pub(in crate::edge) fn follows(message: u64, again: bool) -> Follows {
    Follows { message: Serial(message), again, found: None }
}

/// The content until the earlier one is known.
pub(in crate::edge) fn nothing() -> NewEvent {
    NewEvent { format: Format::JSON, payload: Bytes::from_static(b"null") }
}

pub(in crate::edge) fn cancel(body: &[u8]) -> Result<Cancel, Problem> {
    let request: CancelBody = json(body)?;
    let scope = match (&request.turn, &request.step) {
        (Some(turn), Some(step)) if request.agent.is_none() && !request.all => {
            Scope::Step(name("turn", turn, TurnId::parse)?, name("step", step, StepName::parse)?)
        }
        (_, Some(_)) => return Err(bad("a step is one of a turn")),
        (_, None) => scope(request.turn.as_deref(), request.agent.as_deref(), request.all)?,
    };
    let by = sender(request.participant.as_deref(), request.device.as_deref())?;
    Ok(Cancel { scope, by, reason: reason(request.reason)?, role: role(request.role.as_deref())? })
}

pub(in crate::edge) fn emit(turn: TurnId, body: &[u8]) -> Result<TurnReport, Problem> {
    let request = in_path(body)?;
    let epoch = request.epoch.ok_or_else(|| bad("missing field `epoch`"))?;
    output(turn, epoch, request)
}

/// The same from a line, which may leave the epoch to the address; with its seq, also where it is refused.
pub(in crate::edge) fn line(
    turn: TurnId,
    epoch: TurnEpoch,
    line: &[u8],
) -> Result<TurnReport, (Option<u64>, Problem)> {
    let numbered = || serde_json::from_slice(line).ok().map(|Numbered { seq }| seq);
    let request = in_path(line).map_err(|why| (numbered(), why))?;
    let seq = request.seq;
    if request.epoch.is_some_and(|given| given != epoch) {
        return Err((seq, bad("the line and the address name different epochs")));
    }
    output(turn, epoch, request).map_err(|why| (seq, why))
}

fn in_path(body: &[u8]) -> Result<ReportBody<'_>, Problem> {
    let request: ReportBody<'_> = json(body)?;
    if request.r#type.is_some() || request.session.is_some() || request.turn.is_some() {
        return Err(bad("the path says which session and turn"));
    }
    Ok(request)
}

/// The same from a frame of a tenant's worker, which names its session and its turn.
pub(in crate::edge) fn frame(
    tenant: Option<&TenantName>,
    body: &[u8],
) -> Result<(SessionId, TurnReport), Problem> {
    let mut request: ReportBody<'_> = json(body)?;
    let (session, turn) = (request.session.take(), request.turn.take());
    let Some((session, turn)) = session.zip(turn) else {
        return Err(bad("a frame names its session and its turn"));
    };
    let session = name("session", &session, |name| in_frame(tenant, name))?;
    if session.is_reserved() {
        return Err(bad("the session's name is kept for the program itself"));
    }
    let epoch = request.epoch.ok_or_else(|| bad("missing field `epoch`"))?;
    Ok((session, output(name("turn", &turn, TurnId::parse)?, epoch, request)?))
}

/// How a report says that its turn goes on.
const THEN: &str =
    "then is complete or fail (with a reason), release, wait, wait_all, wait_any or pause";

fn output(turn: TurnId, epoch: TurnEpoch, request: ReportBody<'_>) -> Result<TurnReport, Problem> {
    let then = match (request.then.as_deref(), request.reason) {
        (None, None) => Then::GoOn,
        (Some("complete"), None) => Then::Complete,
        (Some("complete"), Some(given)) => Then::CompleteFor { reason: reason(given)? },
        (Some("release"), None) => Then::Release,
        (Some("wait"), None) => Then::Wait,
        (Some("wait_all"), None) => Then::WaitAll,
        (Some("wait_any"), None) => Then::WaitAny,
        (Some("pause"), None) => Then::Pause,
        (Some("fail"), given) => Then::Fail { reason: reason(given.unwrap_or_default())? },
        _ => return Err(bad(THEN)),
    };
    let has_output = !request.events.is_empty()
        || !request.ask.is_empty()
        || !request.withdraw.is_empty()
        || !request.tools.is_empty()
        || !request.begin.is_empty()
        || request.step.is_some()
        || then != Then::GoOn;
    if (request.rewind || request.mark || request.internal) && request.seq.is_none() {
        return Err(bad("rewind, mark and internal go with a seq"));
    }
    if has_output && request.seq.is_none() {
        return Err(bad("output has a seq, which counts from 0 in each epoch"));
    }
    if limits::INTERACTIONS < request.ask.len().max(request.withdraw.len()) {
        return Err(bad(&format!("at most {} questions at once", limits::INTERACTIONS)));
    }
    let step = request.step.map(|step| name("step", &step, StepName::parse)).transpose()?;
    let events = request.events.into_iter().map(Item::event).collect::<Result<_, _>>()?;
    let ask = request.ask.into_iter().map(ask).collect::<Result<_, _>>()?;
    if limits::TOOL_CALLS < request.tools.len() {
        return Err(bad(&format!("at most {} calls of tools at once", limits::TOOL_CALLS)));
    }
    let tools = tools::marks(request.tools)?;
    let withdraw = request.withdraw.into_iter().map(withdraw).collect::<Result<_, _>>()?;
    let (rewind, mark, internal) = (request.rewind, request.mark, request.internal);
    let begin = subturns::begins(request.begin)?;
    let output = |seq| TurnOutput {
        seq,
        step,
        rewind,
        mark,
        events,
        internal,
        ask,
        then,
        withdraw,
        tools,
        begin,
    };
    let output = request.seq.map(output);
    let checkpoint = request.checkpoint.map(|text| STANDARD.decode(text)).transpose();
    let checkpoint = checkpoint.map_err(|why| bad(&format!("checkpoint is base64: {why}")))?;
    Ok(TurnReport {
        turn,
        epoch,
        output,
        consumed: request.consumed.map(Serial),
        delivered: request.delivered.map(Serial),
        progress_timeout_ms: request.progress_timeout_ms.map(progress_timeout).transpose()?,
        phase: request.phase.map(phase).transpose()?,
        checkpoint: checkpoint.map(Into::into),
    })
}

fn phase(request: PhaseBody) -> Result<Phase, Problem> {
    match request {
        PhaseBody::Name(name) if name == "thinking" => Ok(Phase::Thinking),
        PhaseBody::Name(name) if name == "streaming" => Ok(Phase::Streaming),
        PhaseBody::Tool(tool) => Ok(Phase::Tool(name("tool", &tool.tool, ToolName::parse)?)),
        PhaseBody::Name(_) => Err(bad("phase is thinking, streaming or {\"tool\":\"name\"}")),
    }
}

fn ask(request: AskBody<'_>) -> Result<Ask, Problem> {
    if let Some(span_ms) = request.deadline_ms
        && !(1..=limits::INTERACTION_MS_MAX).contains(&span_ms)
    {
        return Err(bad(&format!("deadline_ms must be 1 to {}", limits::INTERACTION_MS_MAX)));
    }
    let (kind, question) =
        (name("kind", &request.kind, KindName::parse)?, request.question.event()?);
    interactions::question(kind.as_str(), &question)
        .map_err(|why| Problem::new(&error::BAD_QUESTION, why))?;
    let role = match request.role {
        Some(given) => role(Some(&given))?,
        None => Role::Participant,
    };
    if role < Role::Participant {
        return Err(bad("an observer answers nothing: role is participant or more"));
    }
    let interaction = name("interaction", &request.interaction, InteractionId::parse)?;
    Ok(Ask { interaction, kind, question, deadline_ms: request.deadline_ms, role })
}

fn withdraw(request: WithdrawBody) -> Result<Withdraw, Problem> {
    Ok(Withdraw {
        interaction: name("interaction", &request.interaction, InteractionId::parse)?,
        reason: reason(request.reason)?,
    })
}

/// The worker, and how long it waits.
pub(in crate::edge) fn claimer(agent: AgentId, body: &[u8]) -> Result<(Claimer, u64), Problem> {
    let request: ClaimBody = json(body)?;
    let lease_ms = request.lease_ms.map_or(Ok(limits::LEASE_MS), lease)?;
    let wait_ms = request.wait_ms.unwrap_or(limits::POLL_MS);
    if limits::POLL_MS_MAX < wait_ms {
        return Err(bad(&format!("wait_ms must be at most {}", limits::POLL_MS_MAX)));
    }
    let worker = name("worker", &request.worker, WorkerName::parse)?;
    let progress_timeout_ms =
        request.progress_timeout_ms.map_or(Ok(limits::PROGRESS_TIMEOUT_MS), progress_timeout)?;
    let (is_bound, grant) = (false, None);
    Ok((Claimer { agent, worker, lease_ms, progress_timeout_ms, is_bound, grant }, wait_ms))
}

pub(in crate::edge) fn lease(ms: u64) -> Result<u64, Problem> {
    if !limits::LEASE_MS_RANGE.contains(&ms) {
        let (least, most) = (limits::LEASE_MS_RANGE.start(), limits::LEASE_MS_RANGE.end());
        return Err(bad(&format!("lease_ms must be {least} to {most}")));
    }
    Ok(ms)
}

pub(in crate::edge) fn progress_timeout(ms: u64) -> Result<u64, Problem> {
    if !(1..=limits::PROGRESS_TIMEOUT_MS_MAX).contains(&ms) {
        return Err(bad(&format!(
            "progress_timeout_ms must be 1 to {}",
            limits::PROGRESS_TIMEOUT_MS_MAX
        )));
    }
    Ok(ms)
}

pub(in crate::edge) fn reason(text: String) -> Result<String, Problem> {
    if limits::REASON_BYTES < text.len() {
        return Err(bad(&format!("a reason has at most {} bytes", limits::REASON_BYTES)));
    }
    Ok(text)
}

/// The turns that are meant: one, those of an agent, or all.
pub(in crate::edge) fn scope(
    turn: Option<&str>,
    agent: Option<&str>,
    all: bool,
) -> Result<Scope, Problem> {
    match (turn, agent, all) {
        (Some(turn), None, false) => Ok(Scope::Turn(name("turn", turn, TurnId::parse)?)),
        (None, Some(agent), false) => Ok(Scope::Agent(name("agent", agent, AgentName::parse)?)),
        (None, None, true) => Ok(Scope::All),
        _ => Err(bad("name one of turn, agent and all")),
    }
}

pub(in crate::edge) fn role(given: Option<&str>) -> Result<Role, Problem> {
    let Some(given) = given else { return Ok(Role::default()) };
    Role::parse(given).ok_or_else(|| bad("role is observer, participant, controller or supervisor"))
}

pub(super) fn when_busy(given: Option<&str>) -> Result<Option<WhenBusy>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let busy = WhenBusy::parse(given);
    busy.map(Some).ok_or_else(|| {
        bad("when_busy is steer, queue, interrupt, reject, instead, parallel, merge or rollback")
    })
}

pub(in crate::edge) fn sender(
    participant: Option<&str>,
    device: Option<&str>,
) -> Result<Option<Sender>, Problem> {
    let Some(participant) = participant else {
        return if device.is_none() { Ok(None) } else { Err(bad("a device is somebody's")) };
    };
    let participant = name("participant", participant, ParticipantName::parse)?;
    let device = device.map(|device| name("device", device, DeviceName::parse)).transpose()?;
    Ok(Some(Sender { participant, device }))
}

pub(in crate::edge) fn name<T>(
    what: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, BadId>,
) -> Result<T, Problem> {
    parse(text).map_err(|why| bad(&format!("{what}: {why}")))
}

pub(in crate::edge) fn bad(detail: &str) -> Problem {
    Problem::new(&error::BAD_JSON, detail)
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
