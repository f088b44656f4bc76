//! How far a member of a group has durably come: what it has promised to others and may never take back.

use serde::{Deserialize, Serialize};

use super::types::{LogId, Vote, entry_id};
use super::wire::VERSION;
use crate::codec::{self, CodecError};
use crate::ids::{EntryId, GroupId};
use crate::journal::Journal;

/// A vote: for whom, and whether that node is known to have won. Ordered as Raft orders.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Ballot {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) won: bool,
}

/// Where a member's log and vote stand. Of the same disk, only `last` may ever become less: entries that
/// were not committed may be overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) vote: Option<Ballot>,
    /// The last entry that it knows to be committed; never after `last`.
    pub(crate) committed: Option<EntryId>,
    /// The last entry of its log, or what the log was purged up to.
    pub(crate) last: Option<EntryId>,
}

impl Position {
    /// The position of `group` as the journal has accepted it; durable once everything accepted is.
    ///
    /// # Errors
    /// The journal holds something that this program does not know.
    pub(crate) fn of(journal: &Journal, group: GroupId) -> Result<Position, CodecError> {
        let state = journal.state(group);
        let vote = state.vote.map(|vote| codec::decode::<Vote>(VERSION, &vote)).transpose()?;
        let ballot = |vote: Vote| {
            let leader = vote.leader_id();
            Ballot { term: leader.term, node: leader.node_id, won: vote.is_committed() }
        };
        let committed = state.committed.map(|id| codec::decode::<Option<LogId>>(VERSION, &id));
        let committed = committed.transpose()?.flatten().map(|id| entry_id(&id));
        let index = |id: EntryId| id.index;
        let committed = committed.filter(|id| Some(id.index) <= state.last.map(index));
        // What was purged was committed.
        let committed = committed.max(state.purged);
        Ok(Position { vote: vote.map(ballot), committed, last: state.last })
    }

    /// What is missing here that was there at `earlier`, an earlier position of the same disk, as text.
    pub(crate) fn lacks(&self, earlier: &Position) -> Option<String> {
        if self.last < earlier.committed {
            let (had, has) = (place(earlier.committed), place(self.last));
            return Some(format!("it had entries up to {had} committed, and has them up to {has}"));
        }
        if self.vote < earlier.vote {
            let term = |vote: Option<Ballot>| vote.map_or(0, |vote| vote.term);
            let (voted, votes) = (term(earlier.vote), term(self.vote));
            return Some(format!("it had voted in term {voted}, and knows of term {votes}"));
        }
        None
    }

    /// The furthest of both, in what never becomes less.
    pub(crate) fn furthest(self, other: Position) -> Position {
        Position {
            vote: self.vote.max(other.vote),
            committed: self.committed.max(other.committed),
            last: None,
        }
    }
}

fn place(id: Option<EntryId>) -> String {
    id.map_or_else(|| "none".into(), |id| id.to_string())
}
