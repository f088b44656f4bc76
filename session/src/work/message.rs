//! Where messages begin, so that each event shows by itself which message it is of.
//!
//! An input is a message, and so is what a person with control sends. Output of a turn is one message until another
//! step begins, a participant sends something, it turns internal or public, or all of it is superseded; what the turn
//! asks people is part of it. The event that begins a message names the one that began before it, so that whoever
//! reads backward need not read what lies between, and the one that it follows on its branch, which is another one
//! where there is more than one ([`crate::branch`]).

use serde::{Deserialize, Serialize};

use crate::branch::{Branch, TreePlace};
use crate::command::{Follows, Input};
use crate::ids::{Serial, StepName};
use crate::limits;
use crate::live::Live;
use crate::refusal::Refusal;
use crate::turn::Turn;
use crate::work::Work;

/// The message that a turn's next output goes on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenMessage {
    pub(crate) first: Serial,
    /// Where the message before it begins.
    previous: Serial,
    step: Option<StepName>,
    internal: bool,
    /// A question is part of it, which stays whatever is superseded.
    asks: bool,
    /// The message that it follows.
    parent: Serial,
}

/// Where an input is to stand in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// At the end of a branch.
    End(Serial),
    /// A branch begins with it.
    Begins { parent: Serial, of: Serial, again: bool },
}

impl Spot {
    /// The branch that is there already.
    pub(super) fn branch(self) -> Option<Serial> {
        match self {
            Spot::End(branch) => Some(branch),
            Spot::Begins { .. } => None,
        }
    }
}

impl Live {
    /// Where an input is to stand.
    pub(super) fn spot(&self, request: &Input) -> Result<Spot, Refusal> {
        let branches = &self.work.branches;
        let Some(Follows { message, again, found }) = &request.follows else {
            return Ok(Spot::End(branches.current));
        };
        let found = found.filter(|found| {
            let is_here = found.life == self.incarnation && found.message <= self.log.tail;
            is_here && branches.find(found.branch).is_some()
        });
        let found = found.ok_or(Refusal::NoSuchMessage { message: *message })?;
        self.after((found.message, found.branch), *again)
    }

    /// Where that stands which follows a message of this branch, or requests another answer to it.
    pub(super) fn after(
        &self,
        (parent, of): (Serial, Serial),
        again: bool,
    ) -> Result<Spot, Refusal> {
        let branches = &self.work.branches;
        if !again && branches.leaf(of) == parent {
            return Ok(Spot::End(of));
        }
        let kept = self.work.needed_branches(of);
        if !branches.clone().make_room(self.first(), &kept) {
            return Err(Refusal::TooManyBranches { limit: limits::BRANCHES });
        }
        Ok(Spot::Begins { parent, of, again })
    }

    /// What an input at this spot follows, and the branch of that; where it requests another answer, what the one
    /// before is followed by. None where that is not known.
    pub(super) fn followed_at(&self, spot: Spot) -> Option<(Serial, Serial)> {
        let branches = &self.work.branches;
        match spot {
            Spot::Begins { parent, of, again: false } => Some((parent, of)),
            Spot::Begins { of, again: true, .. } => {
                Some((branches.leaf(of), of)).filter(|(leaf, _)| *leaf != Serial::ZERO)
            }
            Spot::End(branch) => {
                let Branch { begin, parent, of, leaf, .. } = branches.find(branch)?;
                // Where a branch has no message of its own yet, its newest one is of another branch.
                let is_first = begin != Serial::ZERO && leaf == parent;
                // In a fork, 0 may be a message that is not known.
                let known = leaf != Serial::ZERO || self.fork.is_none();
                known.then_some((leaf, if is_first { of } else { branch }))
            }
        }
    }

    /// Begins a message with the event at `serial`, and a branch too where `spot` begins one.
    pub(super) fn begin_message(&mut self, serial: Serial, spot: Spot) -> TreePlace {
        let first = self.first();
        let open = self.work.needed().unwrap_or_default();
        let kept = match spot {
            Spot::Begins { of, .. } => self.work.needed_branches(of),
            Spot::End(_) => Vec::new(),
        };
        let previous = std::mem::replace(&mut self.work.message, serial);
        let branches = &mut self.work.branches;
        let (branch, parent, again) = match spot {
            Spot::End(branch) => (branch, branches.set_leaf(branch, serial), false),
            Spot::Begins { parent, of, again } => {
                branches.make_room(first, &kept);
                let leaf = if again { parent } else { serial };
                branches.all.push(Branch { begin: serial, parent, of, leaf, again });
                (serial, parent, again)
            }
        };
        branches.current = branch;
        TreePlace { previous, parent, branch, open, again }
    }
}

impl Work {
    /// The branches that open turns and held inputs are on; `of` among them.
    fn needed_branches(&self, of: Serial) -> Vec<Serial> {
        let held = self.control.held.iter().map(|held| held.branch);
        self.turns.iter().map(|turn| turn.branch).chain(held).chain([of]).collect()
    }

    /// Where the message begins that an output at `serial` is of, and where it stands.
    pub(crate) fn message_of_output(
        &mut self,
        at: usize,
        serial: Serial,
        internal: bool,
    ) -> (Serial, TreePlace) {
        let turn = &self.turns[at];
        let (step, branch) = (turn.step.as_ref().map(|step| &step.name), turn.branch);
        let goes_on = |open: &&OpenMessage| open.internal == internal && open.step.as_ref() == step;
        if let Some(message) = turn.message.as_ref().filter(goes_on) {
            return (message.first, TreePlace { branch, ..TreePlace::default() });
        }
        let step = step.cloned();
        let open = self.needed().unwrap_or_default();
        let previous = std::mem::replace(&mut self.message, serial);
        let parent = self.branches.set_leaf(branch, serial);
        let message = OpenMessage { first: serial, previous, step, internal, asks: false, parent };
        self.turns[at].message = Some(message);
        (serial, TreePlace { previous, parent, branch, open, again: false })
    }

    /// The same for a question at `serial`, which is for everyone.
    pub(crate) fn message_of_question(&mut self, at: usize, serial: Serial) -> (Serial, TreePlace) {
        let begun = self.message_of_output(at, serial, false);
        if let Some(open) = &mut self.turns[at].message {
            open.asks = true;
        }
        begun
    }

    /// Ends the message of a turn whose output from `from` on is superseded, if all of it is.
    pub(crate) fn rewind_message(&mut self, at: usize, from: Serial) {
        let superseded = |open: &mut OpenMessage| from <= open.first;
        let turn = &mut self.turns[at];
        let branch = turn.branch;
        let Some(open) = turn.message.take_if(superseded) else { return };
        // No reader needs to look at it any more.
        if open.asks {
            return;
        }
        if self.message == open.first {
            self.message = open.previous;
        }
        if self.branches.leaf(branch) == open.first {
            self.branches.set_leaf(branch, open.parent);
        }
    }

    /// Ends the messages of all turns: a participant sent something.
    pub(crate) fn end_messages(&mut self) {
        self.turns.iter_mut().for_each(Turn::end_message);
    }
}

impl Turn {
    /// Ends its message: what it puts out next begins another one.
    pub(crate) fn end_message(&mut self) {
        self.message = None;
    }
}
