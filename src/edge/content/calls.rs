//! The calls of a conversation: each is found by the id that its server gave it, which may be another call's in
//! another turn.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::raw;
use super::{Approval, Call, Conversation, Outcome, Part, approved, as_json};
use crate::edge::attached::messages::Piece;
use crate::edge::attached::questions::Reply;
use crate::edge::interactions::edited_arguments;
use crate::ids::{Serial, TurnId};
use crate::session::Format;

impl Conversation {
    /// The newest call of this id, wherever it is.
    pub(super) fn call(&mut self, id: &str) -> Option<&mut Call> {
        let (entry, part) = *self.calls.get(id)?;
        match self.entries.get_mut(entry)?.parts.get_mut(part)? {
            Part::Call(call) => Some(call),
            _ => None,
        }
    }

    /// The call of this id, if it is of the turn of this entry.
    pub(super) fn call_here(&mut self, id: &str) -> Option<&mut Call> {
        self.is_here(id).then(|| self.call(id)).flatten()
    }

    /// The call that a result of this id is of: one of an earlier turn has its own already, if it has any.
    pub(super) fn called(&mut self, id: &str) -> Option<&mut Call> {
        let here = self.is_here(id);
        self.call(id).filter(|call| here || call.result == Outcome::Open)
    }

    /// Takes note of calls that earlier attempts at a turn began, and that have no result. One that
    /// people had a question about was not made.
    pub(super) fn doubt<'p>(&mut self, tried: impl Iterator<Item = &'p Piece>, turn: &TurnId) {
        let mut attempts = Conversation::of_turn(turn, Serial::ZERO);
        for piece in tried {
            attempts.take(&piece.format, &piece.payload, Some(turn));
        }
        let parts = attempts.entries.into_iter().flat_map(|entry| entry.parts);
        self.in_doubt.extend(parts.filter_map(|part| match part {
            Part::Call(call)
                if call.result == Outcome::Open && call.is_whole() && call.approval.is_none() =>
            {
                Some(call)
            }
            _ => None,
        }));
    }

    fn is_here(&self, id: &str) -> bool {
        let turn = self.entries.last().and_then(|last| last.turn.as_ref());
        self.calls.get(id).is_some_and(|(at, _)| self.entries[*at].turn.as_ref() == turn)
    }

    /// A call begins. Servers may number their calls from the beginning in each answer, so one of another turn, or one
    /// that has its result, is another call.
    pub(super) fn begin_call(&mut self, id: &str, tool: Option<String>) -> &mut Call {
        let open = self.call_here(id).is_some_and(|call| call.result == Outcome::Open);
        if !open {
            let at = (self.entries.len() - 1, self.entry().parts.len());
            self.calls.insert(id.to_owned(), at);
            self.push(Part::Call(Call { id: id.to_owned(), ..Call::default() }));
        }
        let call = self.call(id).expect("it has begun");
        if call.tool.is_empty() {
            call.tool = tool.unwrap_or_default();
        }
        call
    }

    /// Gives each call an id of its own. One of the turn under way keeps its server's, which goes on with it.
    pub(super) fn name_calls(&mut self, turn: &TurnId) {
        let mut keeps: HashMap<String, (usize, usize)> = HashMap::new();
        let mut taken: HashSet<String> = HashSet::new();
        for (at, entry) in self.entries.iter().enumerate() {
            for (place, part) in entry.parts.iter().enumerate() {
                let Part::Call(call) = part else { continue };
                taken.insert(call.id.clone());
                if !keeps.contains_key(&call.id) || entry.turn.as_ref() == Some(turn) {
                    keeps.insert(call.id.clone(), (at, place));
                }
            }
        }
        for (at, entry) in self.entries.iter_mut().enumerate() {
            for (place, part) in entry.parts.iter_mut().enumerate() {
                let Part::Call(call) = part else { continue };
                if keeps.get(&call.id) == Some(&(at, place)) {
                    continue;
                }
                let mut names = (2..).map(|number| format!("{}~{number}", call.id));
                let free = names.find(|name| !taken.contains(name));
                call.id = free.expect("there are more numbers than calls");
                taken.insert(call.id.clone());
            }
        }
    }
}

impl Call {
    /// Takes the answer to whether it may be made, and with which arguments.
    pub(super) fn judged(&mut self, reply: Option<&Reply>) {
        let Some(approval) = &mut self.approval else { return };
        approval.answer = reply.and_then(approved);
        let Some(Reply::Answered { format, payload }) = reply else { return };
        let text = str::from_utf8(payload).ok().filter(|_| *format == Format::JSON);
        if let Some(edited) = text.and_then(edited_arguments) {
            self.proposed = Some(std::mem::replace(&mut self.arguments, edited));
        }
    }

    /// Its arguments as its agent knows them: one that still goes on has its own.
    pub(in crate::edge) fn arguments_of_agent(&self) -> &str {
        match (&self.result, &self.proposed) {
            (Outcome::Open, Some(proposed)) if !proposed.trim().is_empty() => proposed.trim(),
            _ => self.arguments(),
        }
    }

    /// Whether its tool and all of its arguments are there.
    pub(in crate::edge) fn is_whole(&self) -> bool {
        let arguments = self.arguments.trim();
        !self.tool.is_empty() && (arguments.is_empty() || raw::is_json(arguments))
    }

    /// Its arguments as JSON. Where none came, it has none.
    pub(in crate::edge) fn arguments(&self) -> &str {
        let arguments = self.arguments.trim();
        if arguments.is_empty() { "{}" } else { arguments }
    }

    /// What came of it where there is room for text alone: a string is itself, all else its JSON.
    pub(in crate::edge) fn result_text(&self) -> String {
        match &self.result {
            Outcome::Output(output) => raw::string(output).unwrap_or_else(|| output.clone()),
            Outcome::Failed(why) => why.clone(),
            Outcome::Denied => "the call was denied".into(),
            Outcome::Open => UNANSWERED.into(),
        }
    }

    /// Takes the answer of whoever was to make the call, and gives up one that will not be answered any more. `last`:
    /// no message follows it.
    pub(super) fn settle(&mut self, answer: Option<Reply>, goes_on: bool, last: bool) {
        if self.result != Outcome::Open {
            return;
        }
        let allowed = |approval: &Approval| matches!(approval.answer, Some((true, _)));
        self.result = match (answer, &self.approval) {
            (Some(Reply::Answered { format, payload }), None) => {
                Outcome::Output(as_json(&format, &payload).to_string())
            }
            // The endpoint itself knows what comes of it.
            (None, None) if goes_on && last => Outcome::Open,
            // It makes the call now, or reports to its model that it may not.
            (_, Some(_)) if goes_on && last => Outcome::Open,
            (_, Some(approval)) if !allowed(approval) => Outcome::Denied,
            _ => Outcome::Failed(UNANSWERED.into()),
        };
    }
}

/// The result of a call that came to nothing: dialects want one of each.
const UNANSWERED: &str = "the call came to no result";

impl Call {
    /// Its arguments are these from now on, and more of them may come.
    pub(super) fn begin_arguments(&mut self, arguments: &str) {
        self.anew += usize::from(!arguments.starts_with(&self.arguments));
        arguments.clone_into(&mut self.arguments);
    }

    /// Its arguments are these, whole; as JSON they are mostly what came in pieces.
    pub(super) fn end_arguments(&mut self, arguments: &str) {
        let is_new = !self.arguments.is_empty() && !is_same(&self.arguments, arguments);
        self.anew += usize::from(is_new);
        arguments.clone_into(&mut self.arguments);
    }
}

/// Whether two texts are the same JSON.
fn is_same(one: &str, other: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}
