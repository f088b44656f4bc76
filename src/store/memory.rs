//! An engine in memory that fails: reads and writes at will or by chance, flushes for good, and a power
//! cut that takes what was not persisted. Same seed and same calls, same faults. For tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::engine::{Engine, KeyRange, Keys, Rows, Snapshot, Table};

/// What the system returns when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Broken,
    /// ENOSPC.
    Full,
    /// EMFILE.
    Descriptors,
}

/// The disk below stores in memory: it stays when they fail. Clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<(Mutex<State>, Condvar)>,
}

type Rowed = BTreeMap<(Table, Bytes), Bytes>;

struct State {
    rng: SmallRng,
    /// What was opened in an earlier life fails.
    life: u64,
    /// What programs see.
    live: Arc<Rowed>,
    /// What a power cut cannot take.
    durable: Arc<Rowed>,
    /// What came since, in order; no value where a key was removed.
    pending: Vec<(Table, Bytes, Option<Bytes>)>,
    /// Whether a write or flush failed in this life.
    poisoned: bool,
    reads: Trouble,
    writes: Trouble,
    flushes: Trouble,
}

/// How calls of one kind go.
#[derive(Clone, Copy, Default)]
struct Trouble {
    /// How each call fails, and how likely that is.
    fault: Option<(Fault, f64)>,
    /// Calls that still go well before one fails.
    once: Option<(u64, Fault)>,
    hang: bool,
    calls: u64,
}

/// A disk's state as one process has it open.
pub(super) struct Opened {
    disk: MemoryDisk,
    life: u64,
}

impl Fault {
    fn error(self) -> io::Error {
        use rustix::io::Errno;
        let errno = match self {
            Fault::Broken => Errno::IO,
            Fault::Full => Errno::NOSPC,
            Fault::Descriptors => Errno::MFILE,
        };
        errno.into()
    }
}

impl Trouble {
    fn call(&mut self, rng: &mut SmallRng) -> io::Result<()> {
        self.calls += 1;
        if let Some((left, fault)) = &mut self.once {
            if *left == 0 {
                let fault = *fault;
                self.once = None;
                return Err(fault.error());
            }
            *left -= 1;
        }
        match self.fault {
            Some((fault, chance)) if rng.random_bool(chance) => Err(fault.error()),
            _ => Ok(()),
        }
    }
}

impl MemoryDisk {
    pub fn new(seed: u64) -> MemoryDisk {
        let state = State {
            rng: SmallRng::seed_from_u64(seed),
            life: 0,
            live: Arc::default(),
            durable: Arc::default(),
            pending: Vec::new(),
            poisoned: false,
            reads: Trouble::default(),
            writes: Trouble::default(),
            flushes: Trouble::default(),
        };
        MemoryDisk { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process dies, and the machine with it: of what was not persisted a prefix is kept. Faults are gone
    /// with the process.
    pub fn crash(&self) {
        let state = &mut *self.state();
        state.end();
        let pending = std::mem::take(&mut state.pending);
        let kept = state.rng.random_range(0..=pending.len());
        let durable = Arc::make_mut(&mut state.durable);
        for (table, key, value) in pending.into_iter().take(kept) {
            change(durable, table, key, value);
        }
        state.live = state.durable.clone();
        self.shared.1.notify_all();
    }

    /// The disk as it is on the medium now, apart from this one: what a restored image holds.
    #[must_use]
    pub fn image(&self, seed: u64) -> MemoryDisk {
        let image = MemoryDisk::new(seed);
        let durable = self.state().durable.clone();
        image.state().durable = durable.clone();
        image.state().live = durable;
        image
    }

    /// Reads fail with `fault`, each with a chance between 0 and 1, until [`MemoryDisk::heal`].
    pub fn fail_reads(&self, fault: Fault, chance: f64) {
        self.state().reads.fault = Some((fault, chance));
    }

    /// Writes fail in the same way. The first that does is the last write that is taken at all.
    pub fn fail_writes(&self, fault: Fault, chance: f64) {
        self.state().writes.fault = Some((fault, chance));
    }

    /// Flushes fail in the same way, and end all writing, too.
    pub fn fail_flushes(&self, fault: Fault, chance: f64) {
        self.state().flushes.fault = Some((fault, chance));
    }

    /// The `nth` read from now (1 is the next) fails once.
    pub fn fail_read(&self, nth: u64, fault: Fault) {
        self.state().reads.once = Some((nth.saturating_sub(1), fault));
    }

    /// The `nth` write from now fails, and all after it.
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        self.state().writes.once = Some((nth.saturating_sub(1), fault));
    }

    /// The next flush fails, and every write after it.
    pub fn fail_flush(&self, fault: Fault) {
        self.state().flushes.once = Some((0, fault));
    }

    /// A flush in the background failed: nothing is written any more in this life.
    pub fn poison(&self) {
        self.state().poisoned = true;
    }

    /// Reads wait until [`MemoryDisk::heal`] or [`MemoryDisk::crash`]; they block their thread.
    pub fn hang_reads(&self) {
        self.state().reads.hang = true;
    }

    /// Writes and flushes wait in the same way.
    pub fn hang_writes(&self) {
        let mut state = self.state();
        (state.writes.hang, state.flushes.hang) = (true, true);
    }

    /// Nothing fails or hangs any more; what is poisoned stays so until it is opened anew.
    pub fn heal(&self) {
        self.state().heal();
        self.shared.1.notify_all();
    }

    pub fn is_poisoned(&self) -> bool {
        self.state().poisoned
    }

    /// Reads, writes and flushes so far, failed ones included.
    pub fn calls(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.reads.calls, state.writes.calls, state.flushes.calls)
    }

    pub(super) fn open(&self) -> Opened {
        let mut state = self.state();
        state.end();
        Opened { disk: self.clone(), life: state.life }
    }
}

impl State {
    fn heal(&mut self) {
        for trouble in [&mut self.reads, &mut self.writes, &mut self.flushes] {
            (trouble.fault, trouble.once, trouble.hang) = (None, None, false);
        }
    }

    /// Whatever has it open has it no more.
    fn end(&mut self) {
        self.life += 1;
        self.poisoned = false;
        self.heal();
    }

    fn read(&mut self) -> io::Result<()> {
        self.reads.call(&mut self.rng)
    }

    /// What is to be written is not, once this failed.
    fn writable(&mut self, flush: bool) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("an earlier write or flush failed"));
        }
        let trouble = if flush { &mut self.flushes } else { &mut self.writes };
        let called = trouble.call(&mut self.rng);
        self.poisoned = called.is_err();
        called
    }
}

fn change(rows: &mut Rowed, table: Table, key: Bytes, value: Option<Bytes>) {
    match value {
        Some(value) => rows.insert((table, key), value),
        None => rows.remove(&(table, key)),
    };
}

impl Opened {
    /// The state, once nothing hangs.
    fn state(&self, hangs: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        let (lock, changed) = &*self.disk.shared;
        let mut state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while state.life == self.life && hangs(&state) {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.life != self.life {
            return Err(io::Error::other("the store was open in an earlier life"));
        }
        Ok(state)
    }

    fn reads(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state(|state| state.reads.hang)?;
        state.read()?;
        Ok(state)
    }

    fn write(&self, table: Table, key: Bytes, value: Option<Bytes>) -> io::Result<()> {
        let mut state = self.state(|state| state.writes.hang)?;
        state.writable(false)?;
        change(Arc::make_mut(&mut state.live), table, key.clone(), value.clone());
        state.pending.push((table, key, value));
        Ok(())
    }
}

impl Engine for Opened {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let state = self.reads()?;
        Ok(state.live.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn insert(&self, table: Table, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        self.write(table, key.into(), Some(value.into()))
    }

    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
        self.write(table, Bytes::copy_from_slice(key), None)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        // Opening a view reads nothing yet.
        let rows = self.disk.state().live.clone();
        Box::new(View { rows, opened: Opened { disk: self.disk.clone(), life: self.life } })
    }

    fn check(&self) -> io::Result<()> {
        match self.state(|_| false)?.poisoned {
            true => Err(io::Error::other("an earlier write or flush failed")),
            false => Ok(()),
        }
    }

    fn is_pressed(&self) -> bool {
        false
    }

    fn compact(&self, _free_bytes: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn erase(&self, _free_bytes: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn persist(&self) -> io::Result<()> {
        let mut state = self.state(|state| state.flushes.hang)?;
        state.writable(true)?;
        state.durable = state.live.clone();
        state.pending.clear();
        Ok(())
    }
}

struct View {
    rows: Arc<Rowed>,
    opened: Opened,
}

impl Snapshot for View {
    fn rows(&self, table: Table, (start, end): KeyRange) -> Rows {
        let start = match start {
            Bound::Included(key) => Bound::Included((table, Bytes::from(key))),
            Bound::Excluded(key) => Bound::Excluded((table, Bytes::from(key))),
            Bound::Unbounded => Bound::Included((table, Bytes::new())),
        };
        let below_end = |key: &Bytes| match &end {
            Bound::Included(end) => *key <= end[..],
            Bound::Excluded(end) => *key < end[..],
            Bound::Unbounded => true,
        };
        let rows = self.rows.range((start, Bound::Unbounded));
        let rows: Vec<(Bytes, Bytes)> = rows
            .take_while(|((of, key), _)| *of == table && below_end(key))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        let opened = Opened { disk: self.opened.disk.clone(), life: self.opened.life };
        Box::new(rows.into_iter().map(move |row| opened.reads().map(|_| row)))
    }

    fn keys(&self, table: Table, range: KeyRange) -> Keys {
        Box::new(self.rows(table, range).map(|row| row.map(|(key, _)| key)))
    }
}
