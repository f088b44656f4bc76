//! What this member knows to be committed, and the check that no request makes it give that up.
//!
//! Raft itself takes every entry below the committed index for the same as its own, without a look. A
//! leader elected by a voter that had lost entries (a restored disk) would therefore diverge from this
//! member unnoticed. So each request of a leader is compared first: one that contradicts a committed
//! entry stops the group on this node for good ([`Broken`]); keeps S3.

use std::io;
use std::sync::{Arc, Mutex};

use openraft::raft::AppendEntriesRequest;
use tokio::sync::watch;

use super::types::{LogId, Types, Vote, entry_id};
use super::wire::VERSION;
use crate::codec;
use crate::ids::{EntryId, GroupId};
use crate::journal::Journal;

/// Why a group takes no part on this node any more; empty while it does. Only another disk, by
/// replacing the node, mends it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    group: GroupId,
    reason: watch::Sender<Option<String>>,
}

impl Broken {
    pub(crate) fn new(group: GroupId) -> Self {
        Broken { group, reason: watch::Sender::new(None) }
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Returns once the group is broken.
    pub(crate) async fn happened(&self) {
        let mut reason = self.reason.subscribe();
        reason.wait_for(Option::is_some).await.expect("the sender lives in self");
    }

    /// The first reason stays.
    fn set(&self, what: &str) {
        self.reason.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(
                    group = %self.group,
                    "the group stops on this node for good: {what}. A voter has lost what it acknowledged; find \
                     the node whose disk was rolled back, wipe its data directory and replace the node"
                );
                *reason = Some(what.to_string());
            }
            first
        });
    }
}

/// The committed entries of one member. Clones are the same.
#[derive(Clone)]
pub(super) struct History {
    journal: Journal,
    group: GroupId,
    committed: Arc<Mutex<Option<EntryId>>>,
    broken: Broken,
}

impl History {
    pub(super) fn new(journal: Journal, group: GroupId, broken: Broken) -> Self {
        History { journal, group, committed: Arc::default(), broken }
    }

    /// Takes `id`, and so all before it, for committed.
    pub(super) fn commit(&self, id: Option<&LogId>) {
        let id = id.map(entry_id);
        let mut committed = self.lock();
        if committed.map(|committed| committed.index) < id.map(|id| id.index) {
            *committed = id;
        }
    }

    /// Whether a leader's append is in order; if not, the group is broken.
    ///
    /// # Errors
    /// The append contradicts what is committed here; it must go no further.
    pub(super) fn admits(&self, request: &AppendEntriesRequest<Types>) -> Result<(), String> {
        let places = [&request.prev_log_id, &request.leader_commit].into_iter().flatten();
        let entries = request.entries.iter().map(|entry| &entry.log_id);
        self.check(&request.vote, places.chain(entries).map(entry_id))
    }

    /// The same for a snapshot that covers everything up to `last`.
    ///
    /// # Errors
    /// See [`History::admits`].
    pub(super) fn admits_snapshot(&self, vote: &Vote, last: Option<&LogId>) -> Result<(), String> {
        self.check(vote, last.map(entry_id).into_iter())
    }

    /// Whether entries from `first` on may be dropped or overwritten; if not, the group is broken.
    ///
    /// # Errors
    /// A committed entry is among them; nothing may be changed.
    pub(super) fn may_drop(&self, first: u64) -> io::Result<()> {
        match *self.lock() {
            Some(committed) if first <= committed.index => {
                let what = format!(
                    "entries from {first} on are to be overwritten, and {committed} is committed here"
                );
                self.broken.set(&what);
                Err(io::Error::other(what))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, vote: &Vote, mut ids: impl Iterator<Item = EntryId>) -> Result<(), String> {
        let Some(committed) = *self.lock() else { return Ok(()) };
        let Some((theirs, ours)) = ids.find_map(|id| Some((id, self.contradicted(committed, id)?)))
        else {
            return Ok(());
        };
        // A leader that was deposed may send what it likes; Raft refuses it. The vote is read last, so that it
        // is no older than what is known to be committed.
        let voted = self.journal.state(self.group).vote;
        let voted = voted.and_then(|vote| codec::decode::<Vote>(VERSION, &vote).ok());
        if voted.is_some_and(|voted| *vote < voted) {
            return Ok(());
        }
        let leader = vote.leader_id().node_id;
        let what =
            format!("the leader n{leader} has entry {theirs} where {ours} is committed here");
        self.broken.set(&what);
        Err(what)
    }

    /// The committed entry that cannot stand in one log with `id`.
    fn contradicted(&self, committed: EntryId, id: EntryId) -> Option<EntryId> {
        if committed.index < id.index {
            // Terms never fall along a log.
            return (id.term < committed.term).then_some(committed);
        }
        if committed.index == id.index || committed.term < id.term {
            return (id != committed).then_some(committed);
        }
        // The journal's older entries are of the same history if its entry at the committed place is.
        let ours = self.journal.id_of(self.group, id.index)?;
        let is_same = || self.journal.id_of(self.group, committed.index) == Some(committed);
        (ours != id && is_same()).then_some(ours)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<EntryId>> {
        self.committed.lock().expect("no panic happens under this lock")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::types::log_id;
    use super::*;
    use crate::journal::fault_disk::FaultDisk;
    use crate::journal::{Entry, JournalConfig};

    const GROUP: GroupId = GroupId(1);

    fn id(term: u64, index: u64) -> EntryId {
        EntryId { term, node: term, index }
    }

    /// A member that voted in term 5 and has 0 to 2 of term 1 and 3 to 9 of term 3, the first six committed
    /// and the first one purged.
    fn member() -> History {
        let config =
            JournalConfig { dir: "/j".into(), segment_bytes: 1 << 20, tail_bytes: 1 << 10 };
        let (journal, writer) = Journal::open(Arc::new(FaultDisk::new(1)), config).unwrap();
        std::thread::spawn(move || writer.run());
        let term = |index| if index < 3 { 1 } else { 3 };
        let entry = |index| Entry { id: id(term(index), index), payload: Bytes::from_static(&[0]) };
        journal.append(GROUP, (0..10).map(entry).collect(), Box::new(|_| ())).unwrap();
        journal.purge(GROUP, id(1, 0), Box::new(|_| ()));
        let vote = codec::encode(VERSION, &Vote::new(5, 5));
        journal.save_vote(GROUP, vote.into(), Box::new(|_| ()));
        let history = History::new(journal, GROUP, Broken::new(GROUP));
        history.commit(Some(&log_id(id(3, 5))));
        history.commit(Some(&log_id(id(1, 2))));
        history
    }

    fn append(vote: Vote, prev: EntryId, entries: &[EntryId]) -> AppendEntriesRequest<Types> {
        let entry = |id: &EntryId| super::super::types::Entry {
            log_id: log_id(*id),
            payload: openraft::EntryPayload::Blank,
        };
        AppendEntriesRequest {
            vote,
            prev_log_id: Some(log_id(prev)),
            entries: entries.iter().map(entry).collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn what_agrees_with_the_committed_entries_is_admitted() {
        let history = member();
        let vote = Vote::new_committed(6, 6);
        for (prev, entries) in [
            (id(1, 2), vec![id(3, 3), id(3, 4), id(3, 5), id(3, 6), id(6, 7)]),
            (id(1, 0), vec![id(1, 1)]),
            // Nothing of 6 to 9 is committed.
            (id(3, 5), vec![id(4, 6), id(6, 7)]),
            (id(6, 12), vec![]),
        ] {
            assert_eq!(history.admits(&append(vote, prev, &entries)), Ok(()));
        }
        assert_eq!(history.admits_snapshot(&vote, Some(&log_id(id(4, 30)))), Ok(()));
        assert_eq!(history.admits_snapshot(&vote, None), Ok(()));
        assert!(history.may_drop(6).is_ok());
        assert_eq!(history.broken.reason(), None);
    }

    #[test]
    fn what_contradicts_a_committed_entry_breaks_the_group() {
        let vote = Vote::new_committed(6, 6);
        for (prev, entries) in [
            (id(1, 2), vec![id(3, 3), id(4, 4)]),
            (id(4, 5), vec![]),
            (id(2, 2), vec![]),
            (id(1, 1), vec![id(1, 2), id(1, 3)]),
            // Of the wrong term at a place that was purged, and after what is committed.
            (id(4, 0), vec![]),
            (id(2, 7), vec![]),
        ] {
            let history = member();
            assert!(history.admits(&append(vote, prev, &entries)).is_err(), "{prev} {entries:?}");
            assert!(history.broken.reason().is_some());
        }
        for last in [id(4, 5), id(4, 3), id(2, 30)] {
            assert!(member().admits_snapshot(&vote, Some(&log_id(last))).is_err(), "{last}");
        }
        let history = member();
        assert!(history.may_drop(5).is_err() && history.broken.reason().is_some());
    }

    #[test]
    fn a_leader_that_was_deposed_breaks_nothing() {
        let history = member();
        let request = append(Vote::new_committed(4, 4), id(3, 3), &[id(4, 4)]);
        assert_eq!(history.admits(&request), Ok(()));
        assert_eq!(history.broken.reason(), None);
    }

    #[test]
    fn older_entries_count_only_where_the_log_reaches_the_committed_place() {
        // A snapshot was installed and the log that it replaces is not purged yet.
        let history = member();
        history.commit(Some(&log_id(id(5, 40))));
        let request = append(Vote::new_committed(6, 6), id(4, 8), &[]);
        assert_eq!(history.admits(&request), Ok(()));
    }
}
