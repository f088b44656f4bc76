//! What a chat client's message does to its session, by the verbs that all doors have.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{self, Problem};
use super::super::verbs::{Verb, submit, submit_spent};
use super::super::{Edge, headers};
use crate::auth::Caller;
use crate::ids::{AgentName, Incarnation, Serial, SessionId, TurnId};
use crate::limits;
use crate::runtime::Freshness;
use crate::session::{
    Applied, Command, Follows, Input, NewEvent, Refusal, Right, Role, Status, WhenBusy,
};

/// An input that was taken.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    /// The turn that answers it.
    pub(super) turn: TurnId,
    /// Its place in the log.
    pub(super) serial: Serial,
    /// The life of the session that has it.
    pub(super) life: Incarnation,
    /// It was there before.
    pub(super) duplicate: bool,
}

/// Until when a request that begins a turn may take: its client does not come back by itself, so it is held longer
/// than others.
///
/// # Errors
/// The request's own time is none.
pub(super) fn deadline(given: &HeaderMap) -> Result<Instant, Problem> {
    if headers::one(given, &headers::OUTLIVE_TIMEOUT_MS)?.is_some() {
        return headers::deadline(given);
    }
    Ok(Instant::now() + Duration::from_millis(limits::ANSWER_HOLD_MS))
}

/// Sends an input; creates its session where there is none yet. Where nothing else is requested, it waits for its agent
/// to be free, and ends a turn that waits for people, if the caller may: they send an input instead of an answer.
///
/// # Errors
/// As [`submit`].
pub(super) async fn begin(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    (input, agent, content): (TurnId, &AgentName, NewEvent),
    (when_busy, follows): (Option<WhenBusy>, Option<Follows>),
    deadline: Instant,
) -> Result<Begun, Problem> {
    let may_end = caller.may(Right::Cancel, Some(id)).is_ok();
    let when_busy = match when_busy {
        Some(given) => given,
        // Judged where it is applied, so that nothing is ended that goes on meanwhile.
        None if may_end => WhenBusy::Instead,
        None => WhenBusy::Queue,
    };
    let command = || {
        Command::Input(Box::new(Input {
            input: input.clone(),
            agent: agent.clone(),
            content: content.clone(),
            sender: None,
            when_busy: Some(when_busy),
            role: Role::default(),
            attempts: None,
            progress_timeout_ms: None,
            follows: follows.clone(),
        }))
    };
    let mut done = submit(edge, caller, id, command(), deadline).await;
    if done.as_ref().is_err_and(|why| *why.kind() == error::NOT_FOUND) {
        // What the new session would refuse is not to leave it behind.
        let mut refused = command();
        caller.narrow(id, &mut refused)?;
        if matches!(&refused, Command::Input(input) if input.role < Role::Participant) {
            return Err(Refusal::InsufficientRole { needs: Role::Participant }.into());
        }
        submit(edge, caller, id, Verb::Create.parse(&[])?, deadline).await?;
        // It is the same input as before, so it is paid for.
        done = submit_spent(edge, caller, id, command(), deadline, Problem::from).await;
    }
    let reply = done?;
    let life = reply.incarnation;
    match reply.applied {
        Applied::Input { turn, serial, duplicate } => Ok(Begun { turn, serial, life, duplicate }),
        _ => Err(Problem::new(&error::OUTCOME_UNKNOWN, "the session answered something else")),
    }
}

/// The session as it is now; none where there is none.
///
/// # Errors
/// Its leader does not answer in time.
pub(super) async fn status(
    edge: &Edge,
    id: &SessionId,
    deadline: Instant,
) -> Result<Option<Status>, Problem> {
    let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
    // A deleted one may be kept for its forks.
    Ok(status.filter(|status| !status.hidden))
}

/// A name that is made of another one and of what makes it another one.
pub(super) fn named(name: &str, mark: &str) -> Result<TurnId, Problem> {
    let mark = format!("~{:016x}", xxh3_64(mark.as_bytes()));
    let room = limits::NAME_BYTES - mark.len();
    let kept = &name[..name.floor_char_boundary(room)];
    turn_id(&format!("{kept}{mark}"))
}

/// The name of an input: a client's own for its message.
pub(super) fn turn_id(name: &str) -> Result<TurnId, Problem> {
    TurnId::parse(name)
        .map_err(|why| Problem::new(&error::BAD_NAME, format!("the message's id: {why}")))
}
