//! What clients can request of a session, each verb once: a body is parsed into a command, the command is submitted,
//! and what came of it is rendered. The doors (HTTP, WebSocket, lines, frames of workers) only carry.

mod append;
mod create;
mod follows;
#[cfg(test)]
mod fuzz;
pub(super) mod http;
mod object;
mod people;
mod policy;
mod render;
mod subturns;
mod tools;
pub(super) mod turns;

use tokio::time::Instant;

pub(super) use append::{Item, body_limit, command as append};
pub(super) use create::{ForkAt, fork};
pub(super) use render::{append_headers, keys, render};

use super::error::Problem;
use super::{Edge, interactions};
use crate::auth::{Caller, audit};
use crate::ids::{InteractionId, SessionId, TurnId};
use crate::limits;
use crate::runtime::{Reply, SubmitError};
use crate::session::{Applied, Command, NewEvent, Origin, Standing};

/// A verb whose request is JSON, with what stands beside the body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verb {
    Create,
    /// By a writer who is named beside it.
    Append(Option<Origin>),
    Touch,
    Trim,
    Input,
    Cancel,
    Report(TurnId),
    /// The interaction stands in the path; where there is none, in the body.
    Answer(Option<InteractionId>),
    /// The same for who makes a call for an agent, and who does not any more.
    ClaimCall(Option<InteractionId>),
    ReleaseCall(Option<InteractionId>),
    /// What came of a call of a tool in a turn.
    ToolResult(TurnId),
    Control,
    Pause,
    Resume,
    /// Freezes, archives or restores.
    Shelve(Standing),
}

impl Verb {
    /// The verbs of a WebSocket, by their names.
    pub(super) const NAMED: [(&str, Verb); 10] = [
        ("create", Verb::Create),
        ("append", Verb::Append(None)),
        ("input", Verb::Input),
        ("cancel", Verb::Cancel),
        ("answer", Verb::Answer(None)),
        ("claim", Verb::ClaimCall(None)),
        ("release", Verb::ReleaseCall(None)),
        ("control", Verb::Control),
        ("pause", Verb::Pause),
        ("resume", Verb::Resume),
    ];

    /// The command of a body.
    ///
    /// # Errors
    /// The body is not what this verb takes; nothing was submitted to the session.
    pub(super) fn parse(self, body: &[u8]) -> Result<Command, Problem> {
        Ok(match self {
            Verb::Create => create::create(body)?,
            Verb::Append(producer) => append::enveloped(producer, body)?,
            Verb::Touch => Command::Touch,
            Verb::Trim => create::trim(body)?,
            Verb::Input => Command::Input(Box::new(turns::input(body)?)),
            Verb::Cancel => Command::Cancel(Box::new(turns::cancel(body)?)),
            Verb::Report(turn) => Command::Report(Box::new(turns::emit(turn, body)?)),
            Verb::Answer(interaction) => {
                Command::Answer(Box::new(people::answer(interaction, body)?))
            }
            Verb::ClaimCall(interaction) => {
                Command::ClaimCall(Box::new(people::claim_call(interaction, body)?))
            }
            Verb::ReleaseCall(interaction) => {
                Command::ReleaseCall(Box::new(people::release_call(interaction, body)?))
            }
            Verb::ToolResult(turn) => Command::ToolResult(Box::new(tools::result(turn, body)?)),
            Verb::Control => Command::Control(Box::new(people::control(body)?)),
            Verb::Pause => Command::Pause(Box::new(people::pause(body)?)),
            Verb::Resume => Command::Resume(Box::new(people::resume(body)?)),
            Verb::Shelve(standing) => Command::Shelve(Box::new(people::shelve(standing, body)?)),
        })
    }

    /// How large a body may be, in bytes.
    fn body_limit(&self) -> usize {
        match self {
            Verb::Append(_)
            | Verb::Input
            | Verb::Report(_)
            | Verb::Answer(_)
            | Verb::ToolResult(_) => limits::BODY_BYTES,
            Verb::Create | Verb::Touch | Verb::Trim | Verb::Cancel => limits::HEAD_BYTES,
            Verb::ClaimCall(_) | Verb::ReleaseCall(_) => limits::HEAD_BYTES,
            Verb::Control | Verb::Pause | Verb::Resume | Verb::Shelve(_) => limits::HEAD_BYTES,
        }
    }

    /// Whether a body must be declared as JSON, or not at all.
    fn is_typed(&self) -> bool {
        matches!(self, Verb::Create | Verb::Trim)
    }
}

/// Commits a command of `caller` wherever its session lives, and counts what it appended.
///
/// # Errors
/// The caller may not request this, or not so much; or as the runtime answers; one whose outcome is unknown informs a
/// client whose request has no key that it must not simply send it again.
pub(super) async fn submit(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    command: Command,
    deadline: Instant,
) -> Result<Reply, Problem> {
    submit_as(edge, caller, id, command, deadline, Problem::from).await
}

/// The same for a dialect that has problems of its own.
pub(super) async fn submit_as(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    mut command: Command,
    deadline: Instant,
    problem: impl FnOnce(SubmitError) -> Problem,
) -> Result<Reply, Problem> {
    // What it may not do costs nothing.
    caller.narrow(id, &mut command)?;
    // Also what is looked up costs something.
    edge.auth.spend(caller, &command)?;
    place(edge, id, &mut command, deadline).await?;
    carry_out(edge, caller, id, command, deadline, problem).await
}

/// The same for what the caller's quotas were spent on before.
pub(super) async fn submit_spent(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    mut command: Command,
    deadline: Instant,
    problem: impl FnOnce(SubmitError) -> Problem,
) -> Result<Reply, Problem> {
    caller.narrow(id, &mut command)?;
    place(edge, id, &mut command, deadline).await?;
    carry_out(edge, caller, id, command, deadline, problem).await
}

/// Finds the message that an input names.
async fn place(
    edge: &Edge,
    id: &SessionId,
    command: &mut Command,
    deadline: Instant,
) -> Result<(), Problem> {
    match command {
        Command::Input(input) if input.follows.is_some() => {
            Box::pin(follows::find(edge, id, input, deadline)).await
        }
        _ => Ok(()),
    }
}

async fn carry_out(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    command: Command,
    deadline: Instant,
    problem: impl FnOnce(SubmitError) -> Problem,
) -> Result<Reply, Problem> {
    let audited = audited(&command);
    let (weight, has_key) = (weigh(&command), command.has_key());
    let begun = Instant::now();
    let grant = caller.judged().map(|grant| &**grant);
    let done = match command {
        Command::Answer(answer) => interactions::answer(edge, grant, id, answer, deadline).await?,
        command => edge.runtime.sessions.submit_for(grant, id, command, deadline).await,
    };
    if let Err(SubmitError::Refused { refusal, .. }) = &done {
        edge.auth.quotas().refused(id.tenant().as_ref(), refusal);
    }
    let reply =
        done.map_err(problem).map_err(|why| if has_key { why } else { why.of_keyless() })?;
    if let Some(what) = audited {
        audit(caller, what, id.name());
    }
    if let Some((count, bytes)) = weight {
        edge.metrics.append_duration_seconds.observe(begun.elapsed().as_secs_f64());
        if let Applied::Appended { duplicate: false, .. } = reply.applied {
            edge.metrics.appended_events.inc_by(count);
            edge.metrics.appended_bytes.inc_by(bytes);
        }
    }
    Ok(reply)
}

/// What is written down of those who do it.
fn audited(command: &Command) -> Option<&'static str> {
    match command {
        Command::Delete { .. } | Command::DeleteUnchanged { .. } => Some("session.delete"),
        Command::Control(control) if matches!(control.verb, session::ControlVerb::Take { .. }) => {
            Some("control.take")
        }
        Command::Shelve(shelve) => Some(shelve.standing.event()),
        _ => None,
    }
}

/// Events and payload bytes of an append; zero of a close.
fn weigh(command: &Command) -> Option<(u64, u64)> {
    let bytes = |event: &NewEvent| event.payload.len() as u64;
    match command {
        Command::Append(append) => {
            Some((append.events.len() as u64, append.events.iter().map(bytes).sum()))
        }
        Command::AppendEach(each) => {
            Some((each.events.len() as u64, each.events.iter().map(bytes).sum()))
        }
        Command::Close { .. } => Some((0, 0)),
        _ => None,
    }
}
