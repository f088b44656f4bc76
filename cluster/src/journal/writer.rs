//! The writer: the single consumer of the queue. One swap, one write, one sync, all callbacks.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::batch::{self, FRAME, Spot, padded};
use super::disk::Disk;
use super::ledger::{EntryPlace, Ledger};
use super::queue::{Item, Shared, closed, copy};
use super::record::{Kind, Record};
use super::recovery::Recovered;
use super::segment::{Header, SECTOR, Segment, path};
use crate::ids::EntryId;
use crate::limits::{JOURNAL_BATCH_BYTES, JOURNAL_RETRY_MS};

/// What one round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Nothing waited.
    Idle,
    /// Everything that waited is durable, and its callbacks ran.
    Wrote,
    /// There is no space: the rest waits. Call again in a while.
    Held,
    /// The journal has failed; nothing follows.
    Poisoned,
    /// The journal was closed and is drained; nothing follows.
    Closed,
}

/// Where the journal lives.
pub(super) struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) segment_bytes: u64,
    /// Holds the lock on the directory.
    pub(super) _guard: Box<dyn Send + Sync>,
}

/// The single consumer of the queue. Drive it with [`Writer::run`] from a thread, or round by round.
pub struct Writer {
    shared: Arc<Shared>,
    home: Home,
    ledger: Ledger,
    active: Segment,
    spare: Option<Segment>,
    /// Number of the next batch.
    number: u64,
    pending: VecDeque<Item>,
    buffer: Vec<u8>,
    places: Vec<u64>,
    /// The last batch holds something, and no later one confirms it.
    unconfirmed: bool,
    fatal: Option<Box<dyn Fn(io::Error) + Send>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, home: Home, found: Recovered) -> io::Result<Writer> {
        let mut segments = found.segments.into_iter().skip(found.active);
        let active = segments.next().expect("a journal that was recovered has a segment");
        let spare = segments.next();
        let mut writer = Writer {
            shared,
            home,
            ledger: found.ledger,
            active,
            spare,
            number: found.number,
            pending: VecDeque::new(),
            buffer: Vec::new(),
            places: Vec::new(),
            unconfirmed: !found.confirmed,
            fatal: None,
        };
        writer.prepare()?;
        Ok(writer)
    }

    /// Sets what is called when the journal fails or its writer panics; in production it aborts the process.
    pub fn on_fatal(&mut self, hook: Box<dyn Fn(io::Error) + Send>) {
        self.fatal = Some(hook);
    }

    /// Woken when work arrives, and when the journal is closed.
    pub fn notify(&self) -> Arc<Notify> {
        self.shared.notify.clone()
    }

    /// Works until the journal is closed and drained, or has failed. Blocks.
    pub fn run(mut self) {
        let retry = Duration::from_millis(JOURNAL_RETRY_MS);
        loop {
            let round = self.round();
            if matches!(round, Round::Closed | Round::Poisoned) {
                return;
            }
            let mut state = self.shared.lock();
            if round == Round::Held || state.full {
                drop(self.shared.sleep(state, Some(retry)));
                continue;
            }
            while state.queue.is_empty() && !state.closed && state.rolls.is_empty() {
                state = self.shared.sleep(state, None);
            }
        }
    }

    /// One swap, write, sync and callbacks, if anything waits; more than one batch only where a
    /// segment ends or a batch would be too large. Also removes dead segments and keeps a spare.
    pub fn round(&mut self) -> Round {
        let Some(closing) = self.take() else { return Round::Poisoned };
        match self.work(closing) {
            Ok(round) => round,
            Err(error) => {
                self.poison(error);
                Round::Poisoned
            }
        }
    }

    /// Takes what waits; returns whether it is the last. `None` when the journal has failed.
    fn take(&mut self) -> Option<bool> {
        let mut state = self.shared.lock();
        if state.poison.is_some() {
            return None;
        }
        let fresh = !state.queue.is_empty();
        self.pending.append(&mut state.queue);
        if fresh || state.closed {
            for (group, committed) in std::mem::take(&mut state.noted) {
                let none = EntryId::default();
                let item = Item::new(Record::new(Kind::Committed, group, none, committed));
                state.queued_bytes += item.size();
                self.pending.push_back(item);
            }
        }
        Some(state.closed)
    }

    fn work(&mut self, closing: bool) -> io::Result<Round> {
        let waited = !self.pending.is_empty();
        let mut held = false;
        while !self.pending.is_empty() && !held {
            held = !self.commit()?;
        }
        if closing {
            if !held && self.unconfirmed {
                self.write(0)?;
            }
            self.fail(&io::Error::new(io::ErrorKind::StorageFull, "closed without space"));
            return Ok(Round::Closed);
        }
        held = held || !self.begin_segment()?;
        self.collect()?;
        self.prepare()?;
        if held {
            let mut state = self.shared.lock();
            state.full = true;
            state.stats.stalls += 1;
            return Ok(Round::Held);
        }
        Ok(if waited { Round::Wrote } else { Round::Idle })
    }

    /// Writes one batch, or goes on to the next segment; `false` when there is no space.
    fn commit(&mut self) -> io::Result<bool> {
        let head: usize = match self.active.is_empty() {
            true => self.ledger.head().iter().map(Record::size).sum(),
            false => 0,
        };
        let (mut size, mut count) = (FRAME + head, 0);
        for item in &self.pending {
            let first = count == 0;
            size += item.size();
            let fits = padded(size) <= self.active.room() || (first && self.active.is_empty());
            if !fits || (JOURNAL_BATCH_BYTES < size && !first) {
                break;
            }
            count += 1;
        }
        if count == 0 { self.roll() } else { self.write(count) }
    }

    fn roll(&mut self) -> io::Result<bool> {
        self.prepare()?;
        let Some(spare) = self.spare.take() else { return Ok(false) };
        self.active = spare;
        self.shared.lock().active = self.active.seq;
        Ok(true)
    }

    /// Goes on to the next segment if somebody waits for that, so that the older ones can be removed; `false` when
    /// there is no space, and they wait on.
    fn begin_segment(&mut self) -> io::Result<bool> {
        let rolls = std::mem::take(&mut self.shared.lock().rolls);
        if rolls.is_empty() {
            return Ok(true);
        }
        // The first batch repeats what the older segments say of each group.
        let begun = (self.active.is_empty() || self.roll()?) && self.write(0)?;
        if begun {
            for roll in rolls {
                // Who waited may have gone.
                roll.send(self.active.seq).ok();
            }
        } else {
            self.shared.lock().rolls.extend(rolls);
        }
        Ok(begun)
    }

    /// Makes the first `count` items durable as one batch; `false` when there is no space.
    fn write(&mut self, count: usize) -> io::Result<bool> {
        let head = if self.active.is_empty() { self.ledger.head() } else { Vec::new() };
        let (segment, offset) = (self.active.seq, self.active.end);
        let spot = Spot { journal: self.shared.journal, segment, offset };
        let items = self.pending.iter().take(count).filter_map(|item| item.record.as_ref());
        let (places, buffer) = (&mut self.places, &mut self.buffer);
        places.clear();
        batch::write(buffer, spot, self.number, head.iter().chain(items), |at| places.push(at));
        match self.active.write(buffer) {
            Err(error) if is_full(&error) => return Ok(false),
            written => written?,
        }
        self.active.file.sync_data()?;
        self.active.end += buffer.len() as u64;
        self.number += 1;
        self.unconfirmed = 0 < count;
        self.settle(count, head.len());
        Ok(true)
    }

    /// Notes where the first `count` items lie now, and calls who waits for them.
    fn settle(&mut self, count: usize, head: usize) {
        let segment = self.active.seq;
        let settled: Vec<Item> = self.pending.drain(..count).collect();
        let mut state = self.shared.lock();
        let mut places = self.places.iter().skip(head);
        for item in &settled {
            let Some(record) = &item.record else { continue };
            let offset = *places.next().expect("every record has a place");
            let EntryId { term, node, index } = record.id;
            let length = u32::try_from(record.payload.len()).expect("bounded by RECORD_BYTES");
            let place = EntryPlace { term, node, segment, offset, length };
            let payload = || record.payload.clone();
            self.ledger
                .apply(record.kind, record.group, index, place, payload)
                .expect("append refused what would leave a hole");
            if record.kind == Kind::Entry {
                state.index.placed(record.group, index, item.stamp, (segment, offset));
            }
            state.stats.records += 1;
            state.stats.payload_bytes += record.payload.len() as u64;
            state.queued_bytes -= item.size();
        }
        state.stats.fsyncs += 1;
        state.stats.batches += 1;
        state.stats.bytes_written += self.buffer.len() as u64;
        if self.active.size < self.active.end {
            state.stats.disk_bytes += self.active.end - self.active.size;
            self.active.size = self.active.end;
        }
        drop(state);
        for done in settled.into_iter().filter_map(|item| item.done) {
            done(Ok(()));
        }
        self.buffer.shrink_to(JOURNAL_BATCH_BYTES);
    }

    /// Removes the oldest segments while no live entry is in them.
    fn collect(&mut self) -> io::Result<()> {
        loop {
            let (oldest, file) = {
                let state = self.shared.lock();
                let (seq, file) =
                    state.segments.first_key_value().expect("the active one is there");
                (*seq, file.clone())
            };
            // Only the first batch of the active segment repeats what the older segments hold.
            if self.active.is_empty() || self.active.seq <= oldest || !self.ledger.is_dead(oldest) {
                return Ok(());
            }
            let size = file.size()?;
            self.home.disk.remove(&path(&self.home.dir, oldest))?;
            self.home.disk.sync_dir(&self.home.dir)?;
            let mut state = self.shared.lock();
            state.segments.remove(&oldest);
            state.stats.segments_removed += 1;
            state.stats.disk_bytes = state.stats.disk_bytes.saturating_sub(size);
        }
    }

    /// Sees that a spare segment stands after the active one; without space, the journal is full.
    fn prepare(&mut self) -> io::Result<()> {
        if self.spare.is_none() {
            let size = self.home.segment_bytes.max(4 * SECTOR as u64);
            let header = Header { seq: self.active.seq + 1, journal: self.shared.journal, size };
            match Segment::create(self.home.disk.as_ref(), &self.home.dir, header) {
                Ok(spare) => {
                    let mut state = self.shared.lock();
                    state.segments.insert(spare.seq, spare.file.clone());
                    state.stats.segments_created += 1;
                    state.stats.disk_bytes += spare.size;
                    drop(state);
                    self.spare = Some(spare);
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let full = self.spare.is_none();
        let mut state = self.shared.lock();
        if state.full != full {
            tracing::warn!(full, "space for the journal's next segment");
            state.full = full;
        }
        Ok(())
    }

    fn poison(&mut self, error: io::Error) {
        tracing::error!(%error, "the journal failed");
        let error = Arc::new(error);
        self.shared.lock().poison = Some(error.clone());
        if let Some(fatal) = &self.fatal {
            fatal(copy(&error));
        }
        self.fail(&error);
    }

    /// Answers all callers that wait: their records will not be written.
    fn fail(&mut self, error: &io::Error) {
        let mut state = self.shared.lock();
        self.pending.append(&mut state.queue);
        state.queued_bytes = 0;
        state.rolls.clear();
        drop(state);
        for done in self.pending.drain(..).filter_map(|item| item.done) {
            done(Err(copy(error)));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the disk has is unknown, and so is which callers got an answer: as after a failed sync.
            self.poison(io::Error::other("the journal's writer panicked"));
        }
        self.shared.lock().closed = true;
        self.fail(&closed());
    }
}

/// Whether `error` may pass when something is freed.
fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}
