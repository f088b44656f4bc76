//! What the agents of a session asked, and what they were answered: collected while its log is read.

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
    /// Where a turn that is open last began to wait for people, and how often it has.
    waits: HashMap<TurnId, (Serial, u32)>,
}

pub(in crate::edge) struct Question {
    pub(in crate::edge) interaction: InteractionId,
    pub(in crate::edge) turn: TurnId,
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
    /// Nobody can answer any more.
    Expired,
}

impl Questions {
    pub(super) fn take(&mut self, event: &Event) {
        match event.fact.as_deref() {
            Some(Fact::Asked { interaction, turn, .. }) => {
                let (interaction, turn) = (interaction.clone(), turn.clone());
                self.all.push_back(Question { interaction, turn, reply: Reply::Open });
            }
            Some(Fact::Answered { interaction, .. }) => {
                let (format, payload) = (event.format.clone(), event.payload.clone());
                self.bytes += payload.len();
                self.reply(interaction, Reply::Answered { format, payload });
            }
            Some(Fact::Expired { interaction, .. }) => self.reply(interaction, Reply::Expired),
            Some(Fact::Waiting { turn }) => {
                let (at, times) = self.waits.entry(turn.clone()).or_default();
                (*at, *times) = (event.serial, *times + 1);
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
        let asked = self.all.iter_mut().rev().find(|asked| asked.interaction == *interaction);
        match asked {
            Some(asked) => asked.reply = reply,
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
        self.waits.get(turn).copied()
    }
}
