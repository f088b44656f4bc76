//! The questions of a session's agents, and their answers: collected while its log is read.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::ids::{InteractionId, Serial, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_QUESTIONS};
use crate::session::{Event, Fact, Format};

/// Questions, oldest first; the oldest go where there are too many, or too many bytes of answers (S10).
#[derive(Default)]
pub(in crate::edge) struct Questions {
    all: VecDeque<Question>,
    /// Payload bytes of the answers.
    bytes: usize,
    /// How turns that are open wait for people.
    waits: HashMap<TurnId, Wait>,
}

/// How a turn waits for people.
#[derive(Default)]
struct Wait {
    /// Where it last began to, for questions that were new, and where it did before.
    at: Serial,
    before: Serial,
    times: u32,
    /// It has a question since.
    requested: bool,
    /// It was steered since.
    answered_by_input: bool,
}

pub(in crate::edge) struct Question {
    pub(in crate::edge) interaction: InteractionId,
    pub(in crate::edge) turn: TurnId,
    /// Where the question is.
    serial: Serial,
    pub(in crate::edge) reply: Reply,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::edge) enum Reply {
    Open,
    Answered {
        format: Format,
        payload: Bytes,
    },
    /// No answer is taken any more.
    Expired,
    /// The agent took it back.
    Withdrawn,
}

impl Questions {
    pub(super) fn take(&mut self, event: &Event) {
        match event.fact.as_deref() {
            Some(Fact::Requested { interaction, turn, .. }) => {
                self.waits.entry(turn.clone()).or_default().requested = true;
                let (interaction, turn) = (interaction.clone(), turn.clone());
                let (serial, reply) = (event.serial, Reply::Open);
                self.all.push_back(Question { interaction, turn, serial, reply });
            }
            Some(Fact::Answered { interaction, .. }) => {
                let (format, payload) = (event.format.clone(), event.payload.clone());
                self.bytes += payload.len();
                self.reply(interaction, Reply::Answered { format, payload });
            }
            Some(Fact::Expired { interaction, .. }) => self.reply(interaction, Reply::Expired),
            Some(Fact::Withdrawn { interaction, .. }) => self.reply(interaction, Reply::Withdrawn),
            Some(Fact::Waiting { turn }) => {
                // It may wait on for what is left of its questions.
                if let Some(wait) = self.waits.get_mut(turn).filter(|wait| wait.requested) {
                    (wait.before, wait.at) = (wait.at, event.serial);
                    (wait.times, wait.requested, wait.answered_by_input) =
                        (wait.times + 1, false, false);
                }
                return;
            }
            Some(Fact::Input { turn, .. }) => {
                if let Some(wait) = self.waits.get_mut(turn) {
                    wait.answered_by_input = true;
                }
                return;
            }
            Some(Fact::Ended { turn, .. }) => _ = self.waits.remove(turn),
            _ => return,
        }
        while MESSAGES_QUESTIONS < self.all.len() || MESSAGES_BYTES < self.bytes {
            let Some(oldest) = self.all.pop_front() else { return };
            if let Reply::Answered { payload, .. } = oldest.reply {
                self.bytes -= payload.len();
            }
        }
    }

    fn reply(&mut self, interaction: &InteractionId, reply: Reply) {
        let requested =
            self.all.iter_mut().rev().find(|requested| requested.interaction == *interaction);
        match requested {
            Some(requested) => requested.reply = reply,
            None => {
                if let Reply::Answered { payload, .. } = reply {
                    self.bytes -= payload.len();
                }
            }
        }
    }

    pub(in crate::edge) fn all(&self) -> impl DoubleEndedIterator<Item = &Question> {
        self.all.iter()
    }

    /// Where a turn that is open last began to wait for people, and how often it has, if it has.
    pub(in crate::edge) fn waited(&self, turn: &TurnId) -> Option<(Serial, u32)> {
        let wait = self.waits.get(turn).filter(|wait| 0 < wait.times)?;
        Some((wait.at, wait.times))
    }

    /// Whether a turn that waited is to wait on: a question of its last wait is open, and no input came instead.
    pub(in crate::edge) fn waits_on(&self, turn: &TurnId) -> bool {
        let Some(wait) =
            self.waits.get(turn).filter(|wait| 0 < wait.times && !wait.answered_by_input)
        else {
            return false;
        };
        let of_wait =
            |requested: &Question| wait.before < requested.serial && requested.serial < wait.at;
        self.all.iter().any(|requested| {
            requested.turn == *turn && requested.reply == Reply::Open && of_wait(requested)
        })
    }
}
