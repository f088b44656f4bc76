//! Looks after the engine from a thread of its own: finds out that it takes no more writes, also when no task
//! writes, and that a write does not come back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::Engine;
use super::fault::Fault;
use crate::limits::STORE_STALL;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The writes under way.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pressed: AtomicBool,
    /// Syncs under way: they hold the engine's journal, and with it all writes.
    syncing: watch::Sender<usize>,
    /// The number of each of them and when it began, oldest first.
    writing: Mutex<Vec<(u64, Instant)>>,
}

/// One sync, until it is dropped: also by a panic, after which writes go on to find out what is wrong.
struct Syncing<'a>(&'a watch::Sender<usize>);

impl<'a> Syncing<'a> {
    fn begin(syncing: &'a watch::Sender<usize>) -> Syncing<'a> {
        syncing.send_modify(|under_way| *under_way += 1);
        Syncing(syncing)
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// One write, until it is dropped.
pub(super) struct Writing<'a> {
    watch: &'a Watch,
    number: u64,
}

impl Watch {
    pub(super) fn begin(&self) -> Writing<'_> {
        let mut writing = self.writing.lock().expect("no panic happens under this lock");
        let number = writing.last().map_or(0, |(number, _)| number + 1);
        writing.push((number, Instant::now()));
        Writing { watch: self, number }
    }

    /// Whether the engine is about to hold its callers up.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed) || 0 < *self.syncing.borrow()
    }

    /// Runs a sync.
    pub(super) fn sync<T>(&self, work: impl FnOnce() -> T) -> T {
        let _syncing = Syncing::begin(&self.syncing);
        work()
    }

    /// Returns once no sync is under way. Another one may begin right afterwards.
    pub(super) async fn synced(&self) {
        if 0 < *self.syncing.borrow() {
            let mut syncing = self.syncing.subscribe();
            syncing.wait_for(|under_way| *under_way == 0).await.expect("the sender lives in self");
        }
    }

    /// For how long the oldest write is under way.
    fn longest(&self) -> Duration {
        let writing = self.writing.lock().expect("no panic happens under this lock");
        writing.first().map_or(Duration::ZERO, |(_, begun)| begun.elapsed())
    }

    /// Looks once at the engine, and reports what is wrong with it.
    pub(super) fn look(&self, engine: &dyn Engine, fault: &Fault) {
        self.pressed.store(engine.is_pressed(), Ordering::Relaxed);
        if let Err(error) = engine.check() {
            fault.report("the engine", &error);
        }
        if STORE_STALL < self.longest() {
            fault.report("a write", &format!("it did not end within {STORE_STALL:?}"));
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut writing = self.watch.writing.lock().expect("no panic happens under this lock");
        writing.retain(|(number, _)| *number != self.number);
    }
}

/// Looks after the engine until it is held no more, or it has failed.
pub(super) fn start(engine: &Arc<dyn Engine>, watch: &Arc<Watch>, fault: &Fault) -> io::Result<()> {
    let (engine, watch, fault) = (Arc::downgrade(engine), watch.clone(), fault.clone());
    std::thread::Builder::new().name("outlive-store".into()).spawn(move || {
        while fault.reason().is_none() {
            let Some(engine) = engine.upgrade() else { return };
            watch.look(&*engine, &fault);
            drop(engine);
            std::thread::sleep(LOOK);
        }
    })?;
    Ok(())
}
