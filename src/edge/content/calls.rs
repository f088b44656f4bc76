//! The calls of a conversation: each is found by the id that its server gave it, which may be another call's in
//! another turn.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Call, Conversation, Outcome, Part};
use crate::ids::TurnId;

impl Conversation {
    /// The newest call of this id, wherever it is.
    pub(super) fn call(&mut self, id: &str) -> Option<&mut Call> {
        let (entry, part) = *self.calls.get(id)?;
        match self.entries.get_mut(entry)?.parts.get_mut(part)? {
            Part::Call(call) => Some(call),
            _ => None,
        }
    }

    /// The call of this id, if it is of the turn that speaks.
    pub(super) fn call_here(&mut self, id: &str) -> Option<&mut Call> {
        self.is_here(id).then(|| self.call(id)).flatten()
    }

    /// The call that a result of this id is of: one of an earlier turn has its own already, if it has any.
    pub(super) fn called(&mut self, id: &str) -> Option<&mut Call> {
        let here = self.is_here(id);
        self.call(id).filter(|call| here || call.result == Outcome::Open)
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
