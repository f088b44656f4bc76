//! The tree of a session's messages: its branches, and the paths through them.
//!
//! A message follows another one. Where a message is sent after one that something else follows already, or where a
//! client wants another answer, a *branch* begins; it has the name of the event that it begins with, and the first
//! one is 0. The messages of a branch are in the order of the log. A *view* is a path: a branch up to its end, and
//! before it whatever it branched off, up to there. The state knows branches and not messages, so it is as large as
//! the tree has forks, and not as the log is long.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::fact::Fact;
use crate::ids::Serial;
use crate::limits;

/// Where an event stands in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreePlace {
    /// Where the message before it in the log begins, if one begins here; 0 where none is known.
    pub previous: Serial,
    /// Where the message that it follows begins, if one begins here; 0 where none is known.
    pub parent: Serial,
    /// The branch that it is of.
    pub branch: Serial,
    /// If a message begins here: the first input of the oldest turn that was open before; 0 where none was.
    pub open: Serial,
    /// It requests another answer to its parent: its content is the same, and it is no message of its own.
    pub again: bool,
}

/// The branches of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branches {
    /// The newest message of the first branch; 0 where none is known.
    pub root: Serial,
    /// All others, in the order of the log; up to [`limits::BRANCHES`].
    pub all: Vec<Branch>,
    /// The branch on which a participant last sent something.
    pub current: Serial,
}

/// A branch that is not the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The event that it begins with, and so its name.
    pub begin: Serial,
    /// The message that it follows; 0 where it begins as the conversation does.
    pub parent: Serial,
    /// The branch of that message.
    pub of: Serial,
    /// The newest message on it, its parent where it has none yet; 0 where that is not known.
    pub leaf: Serial,
    /// It begins with another answer to its parent.
    pub again: bool,
}

/// A path through the tree: which messages are on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// From the first branch on; nothing where all messages are meant, in the order of the log.
    path: Vec<Part>,
    /// The newest message that is known on it; 0 where none is.
    leaf: Serial,
}

/// What is on a path of one branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    branch: Branch,
    /// The last message of it.
    upto: Serial,
}

/// Beyond all messages.
const END: Serial = Serial(u64::MAX);

impl TreePlace {
    /// Whether its place is more than the order of the log shows.
    pub fn is_branched(&self) -> bool {
        self.branch != Serial::ZERO || self.parent != self.previous
    }
}

impl Event {
    /// Where it stands, if a message begins with it.
    pub fn begins(&self) -> Option<TreePlace> {
        match self.fact.as_deref()? {
            Fact::Input { place, .. } | Fact::Person { place, .. } => Some(*place),
            Fact::Output(output) if output.message == self.serial => Some(output.place),
            Fact::Requested { message, place, .. } if *message == self.serial => Some(*place),
            _ => None,
        }
    }
}

impl Branches {
    /// Whether there is more than one path.
    pub fn is_tree(&self) -> bool {
        !self.all.is_empty()
    }

    /// A branch by its name.
    pub fn find(&self, branch: Serial) -> Option<Branch> {
        if branch == Serial::ZERO {
            let none = Serial::ZERO;
            let leaf = self.root;
            return Some(Branch { begin: none, parent: none, of: none, leaf, again: false });
        }
        let at = self.all.binary_search_by_key(&branch, |held| held.begin).ok()?;
        self.all.get(at).copied()
    }

    /// The newest message of a branch; 0 where none is known.
    pub(crate) fn leaf(&self, branch: Serial) -> Serial {
        self.find(branch).map_or(Serial::ZERO, |found| found.leaf)
    }

    /// Sets the newest message of a branch, and returns the one before.
    pub(crate) fn set_leaf(&mut self, branch: Serial, leaf: Serial) -> Serial {
        let held = match self.all.binary_search_by_key(&branch, |held| held.begin) {
            Ok(at) => &mut self.all[at].leaf,
            Err(_) => &mut self.root,
        };
        std::mem::replace(held, leaf)
    }

    /// The path that ends with a branch; all messages, where there is no other path. None where there is no such
    /// branch.
    pub fn view(&self, branch: Serial) -> Option<View> {
        match self.is_tree() {
            true => self.path(branch),
            false => self.find(branch).map(|last| View { path: Vec::new(), leaf: last.leaf }),
        }
    }

    /// The path that ends with a branch, also where there is no other; none where there is no such branch.
    pub fn path(&self, branch: Serial) -> Option<View> {
        let last = self.find(branch)?;
        let (mut path, mut part) = (Vec::new(), Part { branch: last, upto: END });
        while part.branch.begin != Serial::ZERO {
            path.push(part);
            let Branch { parent, of, .. } = part.branch;
            part = Part { branch: self.find(of)?, upto: parent };
        }
        path.push(part);
        path.reverse();
        Some(View { path, leaf: last.leaf })
    }

    /// The path on which a participant last sent something.
    pub fn current_view(&self) -> View {
        self.view(self.current).unwrap_or_default()
    }

    /// The branches on which something follows the message that `id` follows: first that message's own. Nothing where
    /// `id`, which is on `branch`, is the only one.
    pub fn siblings(&self, id: Serial, parent: Serial, branch: Serial) -> Vec<Serial> {
        let Some(own) = self.find(branch) else { return Vec::new() };
        // What a branch begins with follows something on another one.
        let is_first = own.begin != Serial::ZERO && parent == own.parent;
        let of = if is_first { own.of } else { branch };
        let others = self.all.iter().filter(|held| held.of == of && held.parent == parent);
        let mut all: Vec<_> = others.map(|held| held.begin).collect();
        debug_assert!(parent < id, "a message follows an earlier one");
        if !all.is_empty() {
            all.insert(0, of);
        }
        all
    }

    /// Forgets branches of which nothing can be read any more, and which nothing goes on from, until there is room for
    /// one more; returns whether there is. Those in `kept` stay.
    pub(crate) fn make_room(&mut self, first: Serial, kept: &[Serial]) -> bool {
        while limits::BRANCHES <= self.all.len() {
            let is_gone = |held: &Branch| {
                held.leaf < first
                    && held.begin < first
                    && held.begin != self.current
                    && !kept.contains(&held.begin)
                    && self.all.iter().all(|other| other.of != held.begin)
            };
            let Some(at) = self.all.iter().position(is_gone) else { return false };
            self.all.remove(at);
        }
        true
    }

    /// The branches as they were at a place in the log. Where one went on after it, its newest message is not known.
    pub(crate) fn at(&self, at: Serial) -> Branches {
        let known = |leaf: Serial| if leaf <= at { leaf } else { Serial::ZERO };
        let all = self.all.iter().filter(|held| held.begin <= at);
        Branches {
            root: known(self.root),
            all: all.map(|held| Branch { leaf: known(held.leaf), ..*held }).collect(),
            current: if self.current <= at { self.current } else { Serial::ZERO },
        }
    }
}

impl View {
    /// The same, up to a message of its last branch and no further.
    pub fn upto(mut self, leaf: Serial) -> View {
        if let Some(last) = self.path.last_mut() {
            last.upto = leaf;
        }
        View { leaf, ..self }
    }

    /// Whether all messages are meant, in the order of the log.
    pub fn is_whole(&self) -> bool {
        self.path.is_empty()
    }

    /// The branch that it ends with.
    pub fn branch(&self) -> Serial {
        self.path.last().map_or(Serial::ZERO, |last| last.branch.begin)
    }

    /// The newest message that is known on it; 0 where none is.
    pub fn leaf(&self) -> Serial {
        self.leaf
    }

    /// Whether a message is on it.
    pub fn has(&self, branch: Serial, message: Serial) -> bool {
        self.is_whole() || self.part(branch).is_some_and(|part| message <= part.upto)
    }

    /// The same for one who is to answer: a message that is to be answered again stands where that was requested.
    pub fn has_for_agent(&self, branch: Serial, message: Serial) -> bool {
        let asked_again = |part: &Part| part.branch.again && part.branch.parent == message;
        self.has(branch, message) && !self.path.iter().any(asked_again)
    }

    /// Whether a branch begins as the conversation does.
    pub fn is_root(&self, begin: Serial) -> bool {
        let is_it = |part: &Part| part.branch.begin == begin && begin != Serial::ZERO;
        self.path.iter().any(|part| is_it(part) && part.branch.parent == Serial::ZERO)
    }

    /// The first place from `from` on where something of it may be; none where nothing is.
    pub fn next_from(&self, from: Serial) -> Option<Serial> {
        if self.is_whole() {
            return Some(from);
        }
        let mut parts = self.path.iter().filter(|part| from <= part.upto);
        parts.next().map(|part| from.max(part.branch.begin))
    }

    /// The last place before `before` where a message of it may begin, and whether one is known to.
    pub fn last_before(&self, before: Serial) -> (Serial, bool) {
        let upto = Serial(before.0.saturating_sub(1));
        let part = self.path.iter().rev().find(|part| part.branch.begin <= upto);
        match part {
            Some(part) if part.upto <= upto => (part.upto, true),
            _ => (upto, false),
        }
    }

    fn part(&self, branch: Serial) -> Option<&Part> {
        self.path.iter().rev().find(|part| part.branch.begin == branch)
    }
}
