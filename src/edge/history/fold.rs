//! Folding the events of a log into the messages of one page.
//!
//! It begins where the page's first message does. Messages of the page are listed; of what comes after them only what
//! changes them is taken: results of their calls, answers to their questions, ends and rewinds of their turns.

use std::collections::{BTreeMap, HashSet};

use super::message::Message;
use super::page::Side;
use super::results::Results;
use crate::edge::attached::Visibility;
use crate::edge::attached::fold::is_internal;
use crate::edge::attached::messages::{Piece, Speaks};
use crate::edge::attached::questions::Reply;
use crate::edge::content::raw::Json;
use crate::ids::{InteractionId, Serial, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_EVENTS};
use crate::session::{Event, Fact, Output, Status, TreePlace, View};

/// The messages of a page while they are folded.
pub(super) struct Fold {
    pub(super) visibility: Visibility,
    /// The path whose messages are wanted.
    pub(super) view: View,
    /// Messages that begin from here on are of the page; before `hi`, where there is one.
    lo: Serial,
    hi: Option<Serial>,
    /// The one message that is wanted, if no other is.
    pub(super) only: Option<Serial>,
    /// The one turn whose agent's messages are wanted, if no others are.
    pub(super) only_turn: Option<TurnId>,
    /// What is left of messages that began before the log does, and after this, is of the page.
    remnants: Option<Serial>,
    limit: usize,
    /// Which messages are of the next page where there is no room for all.
    side: Side,
    all: BTreeMap<Serial, Message>,
    bytes: usize,
    /// The first message that is of the next page, on the newer side.
    pub(super) next: Option<Serial>,
    /// The newest message that is left to the next page, on the older side.
    left: Option<Serial>,
    /// Turns of the page's agents that are not over.
    open: HashSet<TurnId>,
    /// What came of the calls and questions of its turns.
    results: Results,
}

impl Fold {
    pub(super) fn new(lo: Serial, hi: Option<Serial>, limit: usize, side: Side) -> Fold {
        Fold {
            visibility: Visibility::All,
            view: View::default(),
            lo,
            hi,
            only: None,
            only_turn: None,
            remnants: None,
            limit,
            side,
            all: BTreeMap::new(),
            bytes: 0,
            next: None,
            left: None,
            open: HashSet::new(),
            results: Results::default(),
        }
    }

    /// The same, for what a reader is shown.
    pub(super) fn of(self, visibility: Visibility, view: &View) -> Fold {
        Fold { visibility, view: view.clone(), ..self }
    }

    /// The same, with what is left of messages whose beginning was trimmed, if they began after a place.
    pub(super) fn with_remnants(self, after: Option<Serial>) -> Fold {
        Fold { remnants: after, ..self }
    }

    /// Where the messages begin that there was room for, whether anything of them stands or not, if some are left to
    /// the next page on the older side.
    pub(super) fn rest(&self) -> Option<Serial> {
        self.left.and_then(|_| self.all.keys().next().copied())
    }

    /// Whether messages of the page are left to the next one for want of room.
    pub(super) fn has_rest(&self) -> bool {
        self.left.is_some()
    }

    /// Whether a message began before the log does, and what is left of it is of the page.
    fn is_remnant(&self, id: Serial) -> bool {
        id < self.lo && self.remnants.is_some_and(|after| after < id)
    }

    /// Whether no message that begins at `serial` or later is of the page.
    pub(super) fn is_past(&self, serial: Serial) -> bool {
        [self.hi, self.next].into_iter().flatten().any(|end| end <= serial)
    }

    /// Ends a page that lies after a place: what begins at `serial` or later is of the next one.
    pub(super) fn end(&mut self, serial: Serial) {
        if self.side == Side::Newer {
            self.next = self.next.or(Some(serial));
        }
    }

    /// Whether nothing that comes at `serial` or later can change the page's messages.
    pub(super) fn is_settled(&self, serial: Serial) -> bool {
        // What is left of a message may come late, because others send output in between.
        let seeks = self.remnants.is_some() && serial.0 < self.lo.0 + MESSAGES_EVENTS as u64;
        !seeks
            && self.all.values().all(|message| {
                let goes_on = message.role == Speaks::Agent
                    && message.turn.as_ref().is_some_and(|turn| self.open.contains(turn));
                !goes_on && !message.waits
            })
    }

    /// Takes the next event.
    pub(super) fn take(&mut self, event: &Event) {
        let Some(fact) = event.fact.as_deref() else { return };
        match fact {
            Fact::Input { turn, place, .. } => {
                self.each_of(turn, |message| message.complete = true);
                self.begin(event, Speaks::User, event.serial, *place);
            }
            Fact::Person { place, .. } => {
                self.all.values_mut().for_each(|message| message.complete = true);
                self.begin(event, Speaks::Person, event.serial, *place);
            }
            Fact::Step { turn, step, .. } => self.each_of(turn, |message| {
                message.complete |= message.step.as_ref() != Some(step);
            }),
            Fact::Output(output) => self.output(event, output),
            Fact::Requested { message, turn, interaction, place, .. } => {
                self.reach(event, *message, turn, *place);
                if let Some(of) = self.all.get_mut(message) {
                    of.ask(event);
                    self.count();
                }
                self.results.ask(turn, interaction, event.serial);
                self.make_room();
            }
            Fact::Answered { interaction, turn, .. } => {
                let (format, payload) = (event.format.clone(), event.payload.clone());
                self.reply(turn, interaction, event, &Reply::Answered { format, payload });
            }
            Fact::Expired { interaction, turn } => {
                self.reply(turn, interaction, event, &Reply::Expired);
            }
            Fact::Withdrawn { interaction, turn, .. } => {
                self.reply(turn, interaction, event, &Reply::Withdrawn);
            }
            Fact::Receipt { input, turn, receipt } => {
                let named = |message: &&mut Message| message.input.as_ref() == Some(input);
                if let Some(message) = self.all.values_mut().find(named) {
                    message.receive(receipt, turn);
                }
            }
            Fact::Rewound { turn, step, from, to, .. } => {
                self.each_of(turn, |message| {
                    if step.is_none() || message.step == *step {
                        message.rewind(*from, *to);
                    }
                });
                self.results.rewind(turn, *from, *to);
                self.count();
            }
            Fact::Ended { turn, end } => {
                let (name, reason) = (end.name(), end.reason());
                self.each_of(turn, |message| {
                    (message.complete, message.end) = (true, Some((name, reason.to_owned())));
                });
                self.open.remove(turn);
            }
            _ => {}
        }
    }

    /// Takes an output, if it is of a message of the page or may have the results of one's calls.
    fn output(&mut self, event: &Event, output: &Output) {
        let (of, turn) = (output.message, &output.turn);
        if self.visibility == Visibility::Public && is_internal(event) {
            if of == event.serial {
                self.each_of(turn, |message| message.complete = true);
            }
            return;
        }
        self.reach(event, of, turn, output.place);
        if let Some(message) = self.all.get_mut(&of) {
            // Where it began with a question, that did not have it.
            message.step.clone_from(&output.step);
            let before = message.size();
            message.put_out(event, output);
            message.complete = false;
            self.bytes = self.bytes + message.size() - before;
            return self.make_room();
        }
        if self.open.contains(turn) {
            let (serial, format) = (event.serial, event.format.clone());
            self.results.look_at(turn, Piece { serial, format, payload: event.payload.clone() });
        }
    }

    /// Begins the agent's message that an event is of, if it is to begin here.
    fn reach(&mut self, event: &Event, of: Serial, turn: &TurnId, place: TreePlace) {
        let begins = of == event.serial;
        if begins {
            self.each_of(turn, |message| message.complete = true);
        }
        let is_left = self.is_remnant(of) && !self.all.contains_key(&of);
        if (begins || is_left) && self.begin(event, Speaks::Agent, of, place) {
            self.open.insert(turn.clone());
            self.results.begin(turn, of);
        }
    }

    /// Begins a message, and returns whether it is of the page.
    fn begin(&mut self, event: &Event, role: Speaks, id: Serial, place: TreePlace) -> bool {
        if self.visibility == Visibility::Public && is_internal(event) {
            return false;
        }
        let is_left = self.is_remnant(id);
        let is_other = self.only.is_some_and(|only| only != id)
            || place.again
            || !self.view.has(place.branch, id)
            || self.only_turn.as_ref().is_some_and(|turn| {
                role != Speaks::Agent || event.fact.as_deref().and_then(Fact::turn) != Some(turn)
            });
        let has_no_room = self.left.is_some_and(|left| id <= left);
        if (id < self.lo && !is_left) || self.is_past(id) || is_other || has_no_room {
            return false;
        }
        let count = self.all.values().filter(|message| message.is_shown()).count();
        let far = MESSAGES_EVENTS as u64 <= id.0.saturating_sub(self.lo.0) && 0 < count;
        if self.side == Side::Newer && !is_left && (self.limit <= count || far) {
            self.next = Some(id);
            return false;
        }
        let mut message = Message::new(event, role, id, place);
        if role == Speaks::Agent {
            message.complete = false;
        } else {
            message.push(event);
            self.bytes += event.payload.len();
        }
        self.all.insert(id, message);
        self.make_room();
        self.all.contains_key(&id)
    }

    fn reply(&mut self, turn: &TurnId, name: &InteractionId, event: &Event, reply: &Reply) {
        self.results.reply(turn, name, event.serial, reply);
        self.each_of(turn, |message| message.reply(name, event, reply));
        self.count();
        self.make_room();
    }

    fn count(&mut self) {
        self.bytes = self.all.values().map(Message::size).sum();
    }

    fn each_of(&mut self, turn: &TurnId, change: impl FnMut(&mut Message)) {
        let of = |message: &&mut Message| {
            message.role == Speaks::Agent && message.turn.as_ref() == Some(turn)
        };
        self.all.values_mut().filter(of).for_each(change);
    }

    /// Leaves what there is no room for to the next page, or cuts a message that is too large for any.
    fn make_room(&mut self) {
        while MESSAGES_BYTES < self.bytes && 1 < self.all.len() {
            let gone = match self.side {
                Side::Older => self.all.pop_first(),
                Side::Newer => self.all.pop_last(),
            };
            let Some((id, message)) = gone else { return };
            self.bytes -= message.size();
            if self.side == Side::Older {
                self.left = Some(id);
            } else {
                self.next = Some(self.next.map_or(id, |next| next.min(id)));
                if let Some(turn) = &message.turn {
                    message.others().for_each(|piece| self.results.look_at(turn, piece));
                }
            }
        }
        // Not with each event, because what is cut is moved. Its questions have as much room again.
        if 3 * MESSAGES_BYTES < self.bytes {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.all.values_mut().for_each(|message| message.shrink(MESSAGES_BYTES));
        self.count();
    }

    /// The messages that stand, oldest first, each with its id, of a session as it is in `status`.
    pub(super) async fn finish(mut self, status: &Status) -> Vec<(Serial, Json)> {
        self.shrink();
        self.results.look_up(self.all.values());
        let mut listed = Vec::new();
        for message in self.all.values().filter(|message| message.is_shown()) {
            listed.push((message.id, self.render(message, status)));
            // Others have their turn.
            tokio::task::yield_now().await;
        }
        listed
    }

    fn render(&self, message: &Message, status: &Status) -> Json {
        if message.others().next().is_none() {
            return message.render(&[], &[], status);
        }
        let answers = self.results.answers(message);
        message.render(self.results.after(message), &answers, status)
    }
}
