//! What came of the calls and questions of a page's turns, looked up by where it came.
//!
//! A message has what came in its turn after it began, up to a bound that is counted from there (S10). So it is
//! the same on whatever page it stands, however much else stands there.

use std::collections::HashMap;

use super::message::Message;
use crate::edge::attached::messages::{Piece, Speaks};
use crate::edge::attached::questions::Reply;
use crate::edge::content::parts::{Answer, Found, found};
use crate::ids::{InteractionId, Serial, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_QUESTIONS};

/// What came in the turns of a page, in the order of the log.
#[derive(Default)]
pub(super) struct Results {
    turns: HashMap<TurnId, OfTurn>,
}

#[derive(Default)]
struct OfTurn {
    /// Where the last message of the page begins.
    last: Serial,
    /// Results in messages that are not listed; of all messages after [`Results::look_up`].
    results: Vec<Found>,
    /// Payload bytes of those that came after `last`.
    bytes: usize,
    pending: Vec<OpenQuestion>,
}

/// The questions of a turn.
struct OpenQuestion {
    at: Serial,
    interaction: InteractionId,
    /// What came of it, and where.
    reply: Reply,
    replied: Serial,
}

impl Results {
    /// A message of the page begins.
    pub(super) fn begin(&mut self, turn: &TurnId, id: Serial) {
        let of = self.turns.entry(turn.clone()).or_default();
        (of.last, of.bytes) = (id, 0);
    }

    /// Keeps what an output that is not listed has of a call.
    pub(super) fn look_at(&mut self, turn: &TurnId, piece: Piece) {
        let Some(of) = self.turns.get_mut(turn) else { return };
        if let Some(found) = (of.bytes < MESSAGES_BYTES).then(|| found(piece)).flatten() {
            of.bytes += found.len();
            of.results.push(found);
        }
    }

    pub(super) fn ask(&mut self, turn: &TurnId, interaction: &InteractionId, at: Serial) {
        let Some(of) = self.turns.get_mut(turn) else { return };
        if of.since(of.last).count() < MESSAGES_QUESTIONS {
            let (interaction, reply, replied) = (interaction.clone(), Reply::Open, Serial::ZERO);
            of.pending.push(OpenQuestion { at, interaction, reply, replied });
        }
    }

    pub(super) fn reply(
        &mut self,
        turn: &TurnId,
        interaction: &InteractionId,
        at: Serial,
        reply: &Reply,
    ) {
        let Some(of) = self.turns.get_mut(turn) else { return };
        let room = MESSAGES_BYTES.saturating_sub(of.since(of.last).map(OpenQuestion::len).sum());
        let named = |pending: &&mut OpenQuestion| pending.interaction == *interaction;
        let Some(pending) = of.pending.iter_mut().rev().find(named) else { return };
        if pending.at < of.last || size(reply) <= room {
            (pending.reply, pending.replied) = (reply.clone(), at);
        }
    }

    /// Drops what is superseded.
    pub(super) fn rewind(&mut self, turn: &TurnId, from: Serial, to: Serial) {
        if let Some(of) = self.turns.get_mut(turn) {
            of.results.retain(|it| it.piece.serial < from || to < it.piece.serial);
            let since = of.results.iter().filter(|it| of.last < it.piece.serial);
            of.bytes = since.map(Found::len).sum();
        }
    }

    /// Takes the results of the messages that are listed, so that those before them can look them up.
    pub(super) fn look_up<'a>(&mut self, listed: impl Iterator<Item = &'a Message>) {
        for message in listed.filter(|message| message.role == Speaks::Agent) {
            let turn = message.turn.as_ref();
            let Some(of) = turn.and_then(|turn| self.turns.get_mut(turn)) else { continue };
            of.results.extend(message.others().filter_map(found));
        }
        let turns = self.turns.values_mut();
        turns.for_each(|of| of.results.sort_by_key(|it| it.piece.serial));
    }

    /// What came of calls in the turn of a message after it began.
    pub(super) fn after(&self, message: &Message) -> &[Found] {
        let Some(of) = message.turn.as_ref().and_then(|turn| self.turns.get(turn)) else {
            return &[];
        };
        let begin = of.results.partition_point(|it| it.piece.serial <= message.id);
        let (after, mut bytes) = (&of.results[begin..], 0);
        let fits = after.iter().take_while(|it| {
            bytes += it.len();
            bytes <= MESSAGES_BYTES
        });
        &after[..fits.count()]
    }

    /// The questions of a message's turn after it began, and their ends.
    pub(super) fn answers(&self, message: &Message) -> Vec<Answer<'_>> {
        let Some(of) = message.turn.as_ref().and_then(|turn| self.turns.get(turn)) else {
            return Vec::new();
        };
        let pending = of.pending.iter().filter(|pending| message.id <= pending.at);
        let pending: Vec<&OpenQuestion> = pending.take(MESSAGES_QUESTIONS).collect();
        let mut replied: Vec<&&OpenQuestion> = pending.iter().collect();
        replied.sort_by_key(|pending| pending.replied);
        let mut bytes = 0;
        let beyond = replied.into_iter().find(|pending| {
            bytes += pending.len();
            MESSAGES_BYTES < bytes
        });
        let until = beyond.map_or(Serial(u64::MAX), |beyond| beyond.replied);
        let rows = pending.into_iter().map(|pending| {
            let reply = if pending.replied < until { &pending.reply } else { &Reply::Open };
            (pending.interaction.as_str(), reply)
        });
        rows.collect()
    }
}

impl OfTurn {
    fn since(&self, at: Serial) -> impl Iterator<Item = &OpenQuestion> {
        self.pending.iter().rev().take_while(move |pending| at <= pending.at)
    }
}

impl OpenQuestion {
    fn len(&self) -> usize {
        size(&self.reply)
    }
}

/// Payload bytes of a reply.
fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Answered { payload, .. } => payload.len(),
        Reply::Open | Reply::Expired | Reply::Withdrawn => 0,
    }
}
