//! What bodies ask of turns, parsed once and strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::error::{self, Problem};
use super::super::name::in_frame;
use super::tools::{self, MarkBody};
use super::{Item, interactions};
use crate::ids::{
    AgentId, AgentName, BadId, DeviceName, InteractionId, KindName, ParticipantName, Serial,
    SessionId, StepName, TenantName, ToolName, TurnEpoch, TurnId, WorkerName,
};
use crate::limits;
use crate::runtime::claim::Claimer;
use crate::session::{
    Ask, Cancel, Input, Phase, Policy, Role, Said, Say, Scope, Sender, Then, Unwatched, WhenBusy,
    Withdraw,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputBody<'b> {
    input: String,
    agent: String,
    #[serde(borrow)]
    said: Item<'b>,
    when_busy: Option<String>,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
    attempts: Option<u32>,
    quiet_ms: Option<u64>,
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

/// What a worker says, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SayBody<'b> {
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
    heard: Option<u64>,
    delivered: Option<u64>,
    quiet_ms: Option<u64>,
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
    quiet_ms: Option<u64>,
}

/// How a session treats its turns, as JSON.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::edge) struct PolicyBody {
    when_busy: Option<String>,
    unwatched: Option<UnwatchedBody>,
    attempts: Option<u32>,
    escalate: bool,
    wait_ms: Option<u64>,
    merge_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UnwatchedBody {
    Name(String),
    After(AfterBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AfterBody {
    pause_after_ms: Option<u64>,
    cancel_after_ms: Option<u64>,
}

pub(in crate::edge) fn policy(asked: PolicyBody) -> Result<Policy, Problem> {
    let unwatched = match asked.unwatched {
        None => Unwatched::Continue,
        Some(UnwatchedBody::Name(name)) if name == "continue" => Unwatched::Continue,
        Some(UnwatchedBody::After(AfterBody {
            pause_after_ms: Some(after_ms),
            cancel_after_ms: None,
        })) => Unwatched::Pause { after_ms },
        Some(UnwatchedBody::After(AfterBody {
            pause_after_ms: None,
            cancel_after_ms: Some(after_ms),
        })) => Unwatched::Cancel { after_ms },
        Some(_) => {
            let how =
                "unwatched is \"continue\", {\"pause_after_ms\":n} or {\"cancel_after_ms\":n}";
            return Err(bad(how));
        }
    };
    Ok(Policy {
        when_busy: when_busy(asked.when_busy.as_deref())?.unwrap_or_default(),
        unwatched,
        attempts: asked.attempts,
        escalate: asked.escalate,
        wait_ms: asked.wait_ms,
        merge_ms: asked.merge_ms,
    })
}

pub(in crate::edge) fn input(body: &[u8]) -> Result<Input, Problem> {
    let asked: InputBody<'_> = json(body)?;
    if !asked.attempts.is_none_or(|attempts| (1..=limits::ATTEMPTS_MAX).contains(&attempts)) {
        return Err(bad(&format!("attempts must be 1 to {}", limits::ATTEMPTS_MAX)));
    }
    Ok(Input {
        input: name("input", &asked.input, TurnId::parse)?,
        agent: name("agent", &asked.agent, AgentName::parse)?,
        said: asked.said.event()?,
        sender: sender(asked.participant.as_deref(), asked.device.as_deref())?,
        when_busy: when_busy(asked.when_busy.as_deref())?,
        role: role(asked.role.as_deref())?,
        attempts: asked.attempts,
        quiet_ms: asked.quiet_ms.map(quiet).transpose()?,
    })
}

pub(in crate::edge) fn cancel(body: &[u8]) -> Result<Cancel, Problem> {
    let asked: CancelBody = json(body)?;
    let scope = match (&asked.turn, &asked.step) {
        (Some(turn), Some(step)) if asked.agent.is_none() && !asked.all => {
            Scope::Step(name("turn", turn, TurnId::parse)?, name("step", step, StepName::parse)?)
        }
        (_, Some(_)) => return Err(bad("a step is one of a turn")),
        (_, None) => scope(asked.turn.as_deref(), asked.agent.as_deref(), asked.all)?,
    };
    let by = sender(asked.participant.as_deref(), asked.device.as_deref())?;
    Ok(Cancel { scope, by, reason: reason(asked.reason)?, role: role(asked.role.as_deref())? })
}

pub(in crate::edge) fn say(turn: TurnId, body: &[u8]) -> Result<Say, Problem> {
    let asked = in_path(body)?;
    let epoch = asked.epoch.ok_or_else(|| bad("missing field `epoch`"))?;
    said(turn, epoch, asked)
}

/// The same from a line, which may leave the epoch to the address; with its seq, also where it is refused.
pub(in crate::edge) fn line(
    turn: TurnId,
    epoch: TurnEpoch,
    line: &[u8],
) -> Result<Say, (Option<u64>, Problem)> {
    let numbered = || serde_json::from_slice(line).ok().map(|Numbered { seq }| seq);
    let asked = in_path(line).map_err(|why| (numbered(), why))?;
    let seq = asked.seq;
    if asked.epoch.is_some_and(|given| given != epoch) {
        return Err((seq, bad("the line and the address name different epochs")));
    }
    said(turn, epoch, asked).map_err(|why| (seq, why))
}

fn in_path(body: &[u8]) -> Result<SayBody<'_>, Problem> {
    let asked: SayBody<'_> = json(body)?;
    if asked.r#type.is_some() || asked.session.is_some() || asked.turn.is_some() {
        return Err(bad("the path says which session and turn"));
    }
    Ok(asked)
}

/// The same from a frame of a tenant's worker, which names its session and its turn.
pub(in crate::edge) fn frame(
    tenant: Option<&TenantName>,
    body: &[u8],
) -> Result<(SessionId, Say), Problem> {
    let mut asked: SayBody<'_> = json(body)?;
    let (session, turn) = (asked.session.take(), asked.turn.take());
    let Some((session, turn)) = session.zip(turn) else {
        return Err(bad("a frame names its session and its turn"));
    };
    let session = name("session", &session, |name| in_frame(tenant, name))?;
    if session.is_reserved() {
        return Err(bad("the session's name is kept for the program itself"));
    }
    let epoch = asked.epoch.ok_or_else(|| bad("missing field `epoch`"))?;
    Ok((session, said(name("turn", &turn, TurnId::parse)?, epoch, asked)?))
}

fn said(turn: TurnId, epoch: TurnEpoch, asked: SayBody<'_>) -> Result<Say, Problem> {
    let then = match (asked.then.as_deref(), asked.reason) {
        (None, None) => Then::GoOn,
        (Some("complete"), None) => Then::Complete,
        (Some("complete"), Some(given)) => Then::CompleteFor { reason: reason(given)? },
        (Some("release"), None) => Then::Release,
        (Some("wait"), None) => Then::Wait,
        (Some("pause"), None) => Then::Pause,
        (Some("fail"), given) => Then::Fail { reason: reason(given.unwrap_or_default())? },
        _ => return Err(bad("then is complete or fail (with a reason), release, wait or pause")),
    };
    let says = !asked.events.is_empty()
        || !asked.ask.is_empty()
        || !asked.withdraw.is_empty()
        || !asked.tools.is_empty()
        || asked.step.is_some()
        || then != Then::GoOn;
    if says && asked.seq.is_none() {
        return Err(bad("what is said has a seq, which counts from 0 in each epoch"));
    }
    if limits::INTERACTIONS < asked.ask.len().max(asked.withdraw.len()) {
        return Err(bad(&format!("at most {} questions at once", limits::INTERACTIONS)));
    }
    let step = asked.step.map(|step| name("step", &step, StepName::parse)).transpose()?;
    let events = asked.events.into_iter().map(Item::event).collect::<Result<_, _>>()?;
    let ask = asked.ask.into_iter().map(ask).collect::<Result<_, _>>()?;
    if limits::TOOL_CALLS < asked.tools.len() {
        return Err(bad(&format!("at most {} calls of tools at once", limits::TOOL_CALLS)));
    }
    let tools = tools::marks(asked.tools)?;
    let withdraw = asked.withdraw.into_iter().map(withdraw).collect::<Result<_, _>>()?;
    let (rewind, mark, internal) = (asked.rewind, asked.mark, asked.internal);
    let said = |seq| Said { seq, step, rewind, mark, events, internal, ask, then, withdraw, tools };
    let said = asked.seq.map(said);
    let checkpoint = asked.checkpoint.map(|text| STANDARD.decode(text)).transpose();
    let checkpoint = checkpoint.map_err(|why| bad(&format!("checkpoint is base64: {why}")))?;
    Ok(Say {
        turn,
        epoch,
        said,
        heard: asked.heard.map(Serial),
        delivered: asked.delivered.map(Serial),
        quiet_ms: asked.quiet_ms.map(quiet).transpose()?,
        phase: asked.phase.map(phase).transpose()?,
        checkpoint: checkpoint.map(Into::into),
    })
}

fn phase(asked: PhaseBody) -> Result<Phase, Problem> {
    match asked {
        PhaseBody::Name(name) if name == "thinking" => Ok(Phase::Thinking),
        PhaseBody::Name(name) if name == "streaming" => Ok(Phase::Streaming),
        PhaseBody::Tool(tool) => Ok(Phase::Tool(name("tool", &tool.tool, ToolName::parse)?)),
        PhaseBody::Name(_) => Err(bad("phase is thinking, streaming or {\"tool\":\"name\"}")),
    }
}

fn ask(asked: AskBody<'_>) -> Result<Ask, Problem> {
    if let Some(span_ms) = asked.deadline_ms
        && !(1..=limits::INTERACTION_MS_MAX).contains(&span_ms)
    {
        return Err(bad(&format!("deadline_ms must be 1 to {}", limits::INTERACTION_MS_MAX)));
    }
    let (kind, question) = (name("kind", &asked.kind, KindName::parse)?, asked.question.event()?);
    interactions::question(kind.as_str(), &question)
        .map_err(|why| Problem::new(&error::BAD_QUESTION, why))?;
    let role = match asked.role {
        Some(given) => role(Some(&given))?,
        None => Role::Participant,
    };
    if role < Role::Participant {
        return Err(bad("an observer answers nothing: role is participant or more"));
    }
    let interaction = name("interaction", &asked.interaction, InteractionId::parse)?;
    Ok(Ask { interaction, kind, question, deadline_ms: asked.deadline_ms, role })
}

fn withdraw(asked: WithdrawBody) -> Result<Withdraw, Problem> {
    Ok(Withdraw {
        interaction: name("interaction", &asked.interaction, InteractionId::parse)?,
        reason: reason(asked.reason)?,
    })
}

/// The worker, and how long it waits.
pub(in crate::edge) fn claimer(agent: AgentId, body: &[u8]) -> Result<(Claimer, u64), Problem> {
    let asked: ClaimBody = json(body)?;
    let lease_ms = asked.lease_ms.map_or(Ok(limits::LEASE_MS), lease)?;
    let wait_ms = asked.wait_ms.unwrap_or(limits::POLL_MS);
    if limits::POLL_MS_MAX < wait_ms {
        return Err(bad(&format!("wait_ms must be at most {}", limits::POLL_MS_MAX)));
    }
    let worker = name("worker", &asked.worker, WorkerName::parse)?;
    let quiet_ms = asked.quiet_ms.map_or(Ok(limits::QUIET_MS), quiet)?;
    Ok((Claimer { agent, worker, lease_ms, quiet_ms, is_bound: false }, wait_ms))
}

pub(in crate::edge) fn lease(ms: u64) -> Result<u64, Problem> {
    if !limits::LEASE_MS_RANGE.contains(&ms) {
        let (least, most) = (limits::LEASE_MS_RANGE.start(), limits::LEASE_MS_RANGE.end());
        return Err(bad(&format!("lease_ms must be {least} to {most}")));
    }
    Ok(ms)
}

pub(in crate::edge) fn quiet(ms: u64) -> Result<u64, Problem> {
    if !(1..=limits::QUIET_MS_MAX).contains(&ms) {
        return Err(bad(&format!("quiet_ms must be 1 to {}", limits::QUIET_MS_MAX)));
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

fn when_busy(given: Option<&str>) -> Result<Option<WhenBusy>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let busy = WhenBusy::parse(given);
    busy.map(Some).ok_or_else(|| {
        bad("when_busy is steer, queue, interrupt, reject, instead, parallel or merge")
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

/// Takes a body that is one JSON object.
pub(in crate::edge) fn json<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    object(body).map_err(|why| bad(&why))
}

/// Takes a text that is one JSON object.
pub(in crate::edge) fn object<'b, T: Deserialize<'b>>(text: &'b [u8]) -> Result<T, String> {
    // What is derived takes an array of the members' values, too.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    serde_json::from_slice(text).map_err(|why| why.to_string())
}

pub(in crate::edge) fn bad(detail: &str) -> Problem {
    Problem::new(&error::BAD_JSON, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> TurnId {
        TurnId::parse("t").unwrap()
    }

    #[test]
    fn bodies_are_taken_whole_or_refused() {
        let asked = input(br#"{"input":"i","agent":"a","said":{"text":"hi"}}"#).unwrap();
        assert_eq!((asked.when_busy, asked.sender), (None, None));
        let asked = input(
            br#"{"input":"i","agent":"a","said":{"data":{"x":1}},"when_busy":"queue","participant":"p","device":"d"}"#,
        );
        assert!(asked.unwrap().sender.is_some_and(|sender| sender.device.is_some()));
        for body in [
            &br#"{"input":"","agent":"a","said":{"text":"hi"}}"#[..],
            br#"{"input":"i","agent":"a"}"#,
            br#"{"input":"i","agent":"a","said":{"text":"hi"},"when_busy":"x"}"#,
            br#"{"input":"i","agent":"a","said":{"text":"hi"},"device":"d"}"#,
            br#"{"input":"i","agent":"a","said":{"text":"hi"},"x":1}"#,
        ] {
            assert!(input(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(cancel(br#"{"all":true}"#).unwrap().scope, Scope::All);
        assert_eq!(cancel(br#"{"turn":"t"}"#).unwrap().scope, Scope::Turn(turn()));
        assert!(cancel(b"{}").is_err() && cancel(br#"{"turn":"t","all":true}"#).is_err());
    }

    #[test]
    fn a_line_may_leave_the_epoch_to_the_address_and_is_refused_under_its_number() {
        for text in [&b"{}"[..], b" { }\r\n", br#"{"epoch":7}"#] {
            assert_eq!(line(turn(), TurnEpoch(7), text).unwrap().epoch, TurnEpoch(7));
        }
        for (text, seq) in [
            (&br#"{"epoch":6,"seq":3,"events":[{"text":"a"}]}"#[..], Some(3)),
            (br#"{"seq":4,"then":"stop"}"#, Some(4)),
            (br#"{"seq":5,"thn":"complete"}"#, Some(5)),
            (b"{", None),
        ] {
            assert_eq!(line(turn(), TurnEpoch(7), text).unwrap_err().0, seq);
        }
    }

    #[test]
    fn a_beat_needs_no_number_and_what_is_said_does() {
        let beat = say(turn(), br#"{"epoch":3,"quiet_ms":60000}"#).unwrap();
        assert_eq!((beat.said, beat.quiet_ms), (None, Some(60_000)));
        let said = say(turn(), br#"{"epoch":3,"seq":0,"events":[{"text":"a"}]}"#).unwrap();
        assert_eq!(said.said.unwrap().events.len(), 1);
        let failed = say(turn(), br#"{"epoch":3,"seq":0,"then":"fail","reason":"x"}"#).unwrap();
        assert_eq!(failed.said.unwrap().then, Then::Fail { reason: "x".into() });
        let cut = say(turn(), br#"{"epoch":3,"seq":0,"then":"complete","reason":"length"}"#);
        assert_eq!(cut.unwrap().said.unwrap().then, Then::CompleteFor { reason: "length".into() });
        for body in [
            &br#"{"seq":0}"#[..],
            br#"{"epoch":1,"events":[{"text":"a"}]}"#,
            br#"{"epoch":1,"then":"complete"}"#,
            br#"{"epoch":1,"seq":0,"then":"release","reason":"x"}"#,
            br#"{"epoch":1,"seq":0,"then":"stop"}"#,
            br#"{"epoch":1,"quiet_ms":0}"#,
            br#"{"epoch":1,"checkpoint":"%"}"#,
        ] {
            assert!(say(turn(), body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
