//! One group's log and vote, kept in the node's journal.
//!
//! All writes of a group pass through the journal in order, votes included, as openraft demands.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::history::History;
use super::types::{Entry, LogId, Types, Vote, entry_id, log_id};
use super::wire::{VERSION, decode_batch, from_journal, to_journal};
use crate::blocking::off_thread;
use crate::codec;
use crate::ids::GroupId;
use crate::journal::{Done, Journal};
use crate::limits::{READ_BYTES, RECORD_BYTES, TIME_ENTRIES};

/// The log of one group. Clones share the journal.
#[derive(Clone)]
pub(super) struct GroupLog {
    journal: Journal,
    group: GroupId,
    history: History,
}

impl GroupLog {
    pub(super) fn new(journal: Journal, group: GroupId, history: History) -> Self {
        GroupLog { journal, group, history }
    }

    async fn read(&self, range: impl RangeBounds<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        let found = self.journal.find(self.group, start..end, max_bytes)?;
        let entries = match found.is_in_memory() {
            true => found.read(),
            false => off_thread(move || found.read()).await?,
        }?;
        entries.into_iter().map(|entry| from_journal(entry).map_err(invalid)).collect()
    }

    /// The time of the last entry that has one, in ms, if it is among the last of the log.
    pub(super) async fn last_time(&self) -> io::Result<Option<u64>> {
        let next = self.journal.state(self.group).last.map_or(0, |id| id.index + 1);
        for at in (next.saturating_sub(TIME_ENTRIES)..next).rev() {
            // What was purged is before everything that was not.
            let Some(entry) = self.read(at..=at, READ_BYTES).await?.pop() else { break };
            if let EntryPayload::Normal(batch) = entry.payload {
                return decode_batch(&batch).map(|(time_ms, _)| Some(time_ms)).map_err(invalid);
            }
        }
        Ok(None)
    }
}

fn invalid(error: codec::CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: Option<Bytes>) -> io::Result<Option<T>> {
    bytes.map(|bytes| codec::decode(VERSION, &bytes).map_err(invalid)).transpose()
}

/// A callback for the journal, and the future of its answer.
fn durable() -> (Done, impl Future<Output = io::Result<()>>) {
    let (sender, receiver) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        // The waiter may have been dropped with its group.
        sender.send(result).ok();
    });
    let wait = async { receiver.await.map_err(|_| io::Error::other("the journal is closed"))? };
    (done, wait)
}

impl RaftLogReader<Types> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(range, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        decode(self.journal.state(self.group).vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES).await
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: openraft::alias::LeaderIdOf<Types>,
        range: RB,
    ) -> impl futures::Stream<Item = openraft::storage::LeaderBoundedStreamResult<Types>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        use openraft::errors::LeaderChanged;
        use openraft::storage::LeaderBoundedStreamError;

        let held = |vote: &Option<Vote>| {
            vote.as_ref().is_some_and(|vote| vote.leader_id() == &leader && vote.is_committed())
        };
        let changed = |vote| Err(LeaderBoundedStreamError::from(LeaderChanged::new(leader, vote)));
        let before = self.read_vote().await;
        let entries = self.read(range, READ_BYTES).await;
        let items: Vec<_> = match (before, entries, self.read_vote().await) {
            (Ok(before), Ok(entries), Ok(after)) if held(&before) && held(&after) => {
                entries.into_iter().map(Ok).collect()
            }
            (Ok(_), Ok(_), Ok(after)) => vec![changed(after)],
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                vec![Err(LeaderBoundedStreamError::from(error))]
            }
        };
        futures::stream::iter(items)
    }
}

impl RaftLogStorage<Types> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.journal.state(self.group);
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, wait) = durable();
        self.journal.save_vote(self.group, codec::encode(VERSION, vote).into(), done);
        wait.await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.history.commit(committed.as_ref());
        let committed = codec::encode(VERSION, &committed);
        self.journal.note_committed(self.group, committed.into());
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let committed = self.journal.state(self.group).committed;
        Ok(decode::<Option<LogId>>(committed)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().map(to_journal).collect();
        if let Some(large) = entries.iter().find(|entry| RECORD_BYTES < entry.payload.len()) {
            let text = format!("entry {} has {} bytes", large.id, large.payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let Some(first) = entries.first() {
            self.history.may_drop(first.id.index)?;
        }
        self.journal.append(
            self.group,
            entries,
            Box::new(move |result| callback.io_completed(result)),
        )
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.history.may_drop(last.map_or(0, |id| id.index + 1))?;
        let (done, wait) = durable();
        self.journal.truncate_after(self.group, last.map(|id| id.index), done);
        wait.await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        // No caller waits for a purge: should it be lost, the entries are purged again later.
        self.journal.purge(self.group, entry_id(&upto), Box::new(|_| ()));
        Ok(())
    }
}
