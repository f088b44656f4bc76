//! A client's answers to questions of an agent, for all dialects in one way: a repeat finds out what the first try did,
//! and whoever was not the first is shown what came of the answer that was (S11).

use std::collections::HashMap;

use tokio::time::Instant;

use super::super::Edge;
use super::super::content::is_named;
use super::super::error::{self, Problem};
use super::super::verbs::submit;
use super::begin::{Begun, status};
use super::follow::Follow;
use super::live::Begins;
use super::question::client_call;
use crate::auth::Caller;
use crate::ids::{Incarnation, InteractionId, Serial, SessionId, TurnId};
use crate::runtime::Reply;
use crate::session::{
    Answer, Applied, Command, Fact, InteractionStatus, NewEvent, Refusal, Status,
};

/// Who answers, where, and until when.
pub(super) type ChatPlace<'a> = (&'a Edge, &'a Caller, &'a SessionId, Instant);

/// The turn of the question, where the request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) turn: TurnId,
    /// Its input.
    pub(super) from: Serial,
    pub(super) life: Incarnation,
    /// Only what is open is answered: a client that sends all that was ever answered along would request the rest in
    /// vain.
    pub(super) open_only: bool,
}

/// What came of answers.
#[derive(Debug)]
pub(super) struct Answered {
    /// The turn of the question, which goes on.
    pub(super) begun: Begun,
    /// Where the last of the answers is, by this request or an earlier try of it; else why none was taken.
    pub(super) last: Result<Serial, Problem>,
}

/// What came of one answer.
#[derive(Debug)]
enum Came {
    Taken(TurnId, Serial),
    /// There is no such question, or it is forgotten.
    Unknown,
    /// Another answer came first, or the time was over.
    Late(Problem),
}

impl Answered {
    /// The turn, and what of it the client is shown: what follows its answers.
    pub(super) fn shown(self) -> (Begun, Begins) {
        let begins = self.last.map_or(Begins::AfterAnswers, |serial| Begins::At(serial.next()));
        (self.begun, begins)
    }
}

/// Answers the questions of a turn, by their names.
///
/// # Errors
/// Some may have been taken: the same request again finds out.
pub(super) async fn answer(
    place: ChatPlace<'_>,
    asker: Option<Asker>,
    answers: Vec<(String, NewEvent)>,
) -> Result<Answered, Problem> {
    let (edge, caller, id, deadline) = place;
    let status = status(edge, id, deadline).await?.ok_or(Refusal::NotFound)?;
    if asker.as_ref().is_some_and(|asker| asker.life != status.incarnation) {
        return Err(Refusal::NotFound.into());
    }
    let calls = calls(place, &status, asker.as_ref()).await?;
    let open_only = asker.as_ref().is_some_and(|asker| asker.open_only);
    let mut turn = asker.as_ref().map(|asker| asker.turn.clone());
    let mut last: Result<Serial, _> =
        Err(Problem::new(&error::BAD_JSON, "it answers no open question"));
    let mut late = None;
    for (name, sent_content) in answers {
        let name = calls.get(&name).map_or(name.as_str(), InteractionId::as_str);
        let Some(interaction) = named(&status, turn.as_ref(), name, open_only) else { continue };
        let answer = Answer::new(interaction.clone(), sent_content);
        let done = submit(edge, caller, id, Command::Answer(Box::new(answer)), deadline).await;
        match came(done)? {
            Came::Taken(of, serial) if turn.as_ref().is_none_or(|turn| *turn == of) => {
                let before = last.as_ref().map_or(Serial::ZERO, |before| *before);
                last = Ok(before.max(serial));
                turn = Some(of);
            }
            Came::Taken(..) | Came::Unknown => {}
            Came::Late(why) => late = Some((interaction, why)),
        }
    }
    let begun = match (asker, &turn, &late) {
        (Some(Asker { turn, from, life, .. }), ..) => {
            Begun { turn, serial: from, life, duplicate: true }
        }
        (None, None, None) => return Err(last.expect_err("nothing was taken")),
        (None, turn, late) => {
            let late = late.as_ref().map(|(interaction, _)| interaction);
            find(place, &status, turn.as_ref(), late).await?
        }
    };
    let last = last.map_err(|why| late.map_or(why, |(_, late)| late));
    Ok(Answered { begun, last })
}

/// Calls that clients are to make, whose questions have other names: they answer by the name of the call.
async fn calls(
    (edge, _, id, deadline): ChatPlace<'_>,
    status: &Status,
    asker: Option<&Asker>,
) -> Result<HashMap<String, InteractionId>, Problem> {
    let mut calls = HashMap::new();
    let Some(asker) = asker else { return Ok(calls) };
    let asks = |question: &&InteractionStatus| {
        question.turn == asker.turn && question.kind.as_str() == "client_tool"
    };
    let open: Vec<_> = status.interactions.iter().filter(asks).collect();
    let Some(first) = open.iter().map(|question| question.serial).min() else { return Ok(calls) };
    Follow::each(edge, id, first, deadline, |event| {
        if let Some((call, question)) = client_call(event, &asker.turn)
            && open.iter().any(|open| open.interaction == question)
        {
            calls.insert(call, question);
        }
        calls.len() < open.len()
    })
    .await?;
    Ok(calls)
}

/// The question that an answer names: the turn's own where that has it, also under the name that it has where its own
/// was taken; else one that is over. None where it is another turn's.
fn named(
    status: &Status,
    turn: Option<&TurnId>,
    name: &str,
    open_only: bool,
) -> Option<InteractionId> {
    let mut open = status.interactions.iter().rev();
    let is_its = |question: &TurnId| turn.is_none_or(|turn| turn == question);
    let is_named = |given: &InteractionId| match turn {
        Some(_) => is_named(given.as_str(), name),
        None => given.as_str() == name,
    };
    if let Some(question) =
        open.find(|question| is_its(&question.turn) && is_named(&question.interaction))
    {
        return Some(question.interaction.clone());
    }
    let others = status.interactions.iter().any(|question| question.interaction.as_str() == name);
    if open_only || others { None } else { InteractionId::parse(name).ok() }
}

/// The session's result for an answer.
///
/// # Errors
/// Nothing is known of it, or the caller may not send it.
fn came(done: Result<Reply, Problem>) -> Result<Came, Problem> {
    let late =
        [&error::INTERACTION_ALREADY_ANSWERED, &error::INTERACTION_CLOSED, &error::CALL_CLAIMED];
    match done {
        Ok(reply) => match reply.applied {
            Applied::Answered { turn, serial, .. } => Ok(Came::Taken(turn, serial)),
            _ => Err(Problem::new(&error::OUTCOME_UNKNOWN, "the session answered something else")),
        },
        // Calls that the agent made itself are sent along by some.
        Err(why) if *why.kind() == error::NO_SUCH_INTERACTION => Ok(Came::Unknown),
        Err(why) if late.contains(&why.kind()) => Ok(Came::Late(why)),
        Err(why) => Err(why),
    }
}

/// The turn of the question, and its input: of one that is over the log has it.
async fn find(
    (edge, _, id, deadline): ChatPlace<'_>,
    status: &Status,
    turn: Option<&TurnId>,
    question: Option<&InteractionId>,
) -> Result<Begun, Problem> {
    let life = status.incarnation;
    let begun = |turn: &TurnId, serial| Begun { turn: turn.clone(), serial, life, duplicate: true };
    if let Some(open) = status.turns.iter().find(|open| Some(&open.turn) == turn) {
        return Ok(begun(&open.turn, open.input));
    }
    let mut inputs: Vec<(TurnId, Serial)> = Vec::new();
    let mut found = None;
    Follow::each(edge, id, status.first, deadline, |event| {
        match event.fact.as_deref() {
            Some(Fact::Input { input, turn: of, .. }) if input == of => {
                inputs.push((of.clone(), event.serial));
            }
            Some(Fact::Requested { interaction, turn: of, .. }) => {
                let is_it = turn.map_or(question == Some(interaction), |turn| turn == of);
                let input = inputs.iter().rev().find(|(turn, _)| turn == of);
                found =
                    input.filter(|_| is_it).map(|(of, serial)| begun(of, *serial)).or(found.take());
            }
            Some(Fact::Ended { turn: of, .. }) => inputs.retain(|(turn, _)| turn != of),
            _ => {}
        }
        true
    })
    .await?;
    found.ok_or_else(|| {
        Problem::new(&error::TURN_ENDED, "the log has nothing of that turn any more")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_an_answer_says_what_came_of_it() {
        let mut all = String::new();
        for refusal in [
            Refusal::NoSuchInteraction,
            Refusal::InteractionClosed,
            Refusal::InteractionAlreadyAnswered { by: "ada".into(), at: Serial(9) },
            Refusal::NotFound,
            Refusal::NoSuchTurn,
        ] {
            let came = match came(Err(refusal.into())) {
                Ok(Came::Taken(..)) => "taken".to_owned(),
                Ok(Came::Unknown) => "unknown".to_owned(),
                Ok(Came::Late(why)) => format!("late: {}", why.kind().code),
                Err(why) => format!("an error: {}", why.kind().code),
            };
            all += &format!("{came}\n");
        }
        expect_test::expect![[r#"
            unknown
            late: interaction_closed
            late: interaction_already_answered
            an error: not_found
            an error: no_such_turn
        "#]]
        .assert_eq(&all);
    }
}
