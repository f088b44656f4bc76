//! One shard whose journal is the test's: how a session whose actor failed is rebuilt, and who waits for it.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::ids::{EntryId, GroupId};
use cluster::journal::disk::RealDisk;
use cluster::journal::{self, Journal, JournalConfig};
use cluster::machine::{Committed, Machine, MachineFactory};
use ractor::Actor;
use tokio::runtime::Handle;
use tokio::sync::{mpsc as sync, oneshot};
use tokio::time::timeout;

use super::effect::World;
use super::envelope;
use super::session::{Looked, Mail};
use super::shard::{Common, Replay, Shard};
use super::shards::{Factory, Shards};
use super::supervisor::Supervisor;
use super::wiring;
use crate::ids::SessionId;
use crate::limits::{REBUILD_BYTES, REBUILD_WAIT};
use crate::session::{Command, Config};
use crate::store::Store;
use crate::store::memory::MemoryDisk;

const GROUP: GroupId = GroupId(1);
const ENTRIES: u64 = 3;
const LONG: Duration = Duration::from_secs(30);

struct Place {
    shards: Arc<Shards>,
    shard: Arc<Shard>,
    machine: Box<dyn Machine>,
}

fn id() -> SessionId {
    SessionId::parse("s").expect("a name")
}

/// The session is created once, and requested again in each later entry.
fn entry(index: u64) -> Committed {
    let ticket = envelope::Ticket { origin: 0, number: 0 };
    let create = envelope::plain(&Command::from(Config::default()));
    let commands = vec![envelope::encode(ticket, &id(), &create)];
    Committed { id: EntryId { term: 1, node: 1, index }, time_ms: 1, commands }
}

/// A shard that has applied its entries, and whose one session has lost its actor.
async fn lost(replay: Replay) -> Place {
    let common = Common {
        store: Store::in_memory(&MemoryDisk::new(1)),
        origin: 1,
        numbers: Arc::default(),
        tallies: false,
        replay,
        purged: Arc::new(|_| 0),
        last: Arc::new(|_| 0),
        world: Arc::new(World::empty()),
        work: Handle::current(),
    };
    let shards = Shards::new(common);
    let spawned = Actor::spawn(None, Supervisor, shards.clone()).await;
    shards.supervise(spawned.expect("it starts").0.get_cell());
    let (mut machine, settled) = Factory(shards.clone()).open(GROUP).expect("it opens");
    for index in 0..ENTRIES {
        machine.apply(entry(index)).await.expect("it is applied");
    }
    settled.reached(ENTRIES - 1).await;
    let shard = shards.get(GROUP).expect("it is open");
    shard.actors().send(&id(), Mail::Fail);
    while !shard.actors().is_lost(&id()) {
        tokio::task::yield_now().await;
    }
    Place { shards, shard, machine }
}

fn look(shard: &Shard) -> oneshot::Receiver<Looked> {
    let (reply, looked) = oneshot::channel();
    shard.actors().send(&id(), Mail::Look(reply));
    looked
}

/// A journal that gives one entry at a time, and none before the gate is open; reports the ranges that were requested.
fn gated() -> (Replay, mpsc::SyncSender<()>, sync::Receiver<Range<u64>>) {
    let (gate, opened) = mpsc::sync_channel(1);
    let opened = Mutex::new(opened);
    let (tell, request) = sync::channel(64);
    let replay = move |_: GroupId, range: Range<u64>| {
        let index = range.start;
        tell.try_send(range).expect("few pieces are asked for");
        // Once its sender is gone, it stays open.
        match opened.lock().expect("no panic under this lock").recv_timeout(LONG) {
            Err(mpsc::RecvTimeoutError::Timeout) => Err(io::Error::other("nobody else went on")),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => Ok(vec![entry(index)]),
        }
    };
    (Arc::new(replay), gate, request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_is_rebuilt_piece_by_piece_while_others_go_on() {
    let (replay, gate, mut request) = gated();
    let place = lost(replay).await;
    let looked = look(&place.shard);
    // Its creation is in its head.
    assert_eq!(request.recv().await, Some(1..ENTRIES));
    // The journal's disk is slow. The one thread of all actors has others to serve.
    let mut others = tokio::task::JoinSet::new();
    others.spawn(async move { drop(gate) });
    let looked = looked.await.expect("it is rebuilt");
    assert!(looked.status.is_some() && looked.next == ENTRIES);
    for next in 2..ENTRIES {
        assert_eq!(request.recv().await, Some(next..ENTRIES), "what was read is not read again");
    }
    assert!(request.try_recv().is_err());
}

#[test]
fn a_piece_of_the_journal_has_a_limit_of_bytes_and_at_least_one_entry() {
    let (dir, third) = (tempfile::tempdir().expect("a directory"), REBUILD_BYTES / 3);
    // Some is in memory, and some on the disk only.
    let (segment_bytes, tail_bytes) = (1 << 20, third);
    let config = JournalConfig { dir: dir.path().to_path_buf(), segment_bytes, tail_bytes };
    let (journal, writer) = Journal::open(Arc::new(RealDisk), config).expect("it opens");
    let writer = std::thread::spawn(move || writer.run());
    let blank = |(bytes, index): (usize, u64)| journal::Entry {
        id: EntryId { term: 1, node: 1, index },
        payload: vec![0; bytes].into(),
    };
    let sizes = [third; 7].into_iter().zip(0..).map(blank);
    journal.append(GROUP, sizes.collect(), Box::new(|_| ())).expect("it is taken");
    let replay = wiring::replay(journal.clone());
    let (mut next, mut pieces) = (0, Vec::new());
    while next < 7 {
        let piece = replay(GROUP, next..7).expect("it is read");
        next = piece.last().expect("at least one").id.index + 1;
        pieces.push(piece.len());
    }
    assert_eq!(pieces, [3, 3, 1]);
    journal.close();
    writer.join().expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_rebuilt_reads_the_journal_no_more_at_each_mail() {
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let place = lost(Arc::new(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("a bad spot"))
    }))
    .await;
    for wanted in 1..4 {
        for _ in 0..20 {
            assert!(look(&place.shard).await.is_err());
            while place.shard.actors().count() != 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(reads.load(Ordering::Relaxed), wanted);
        tokio::time::advance(REBUILD_WAIT * 2u32.pow(wanted - 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_vacated_once_its_old_actors_have_ended() {
    let (replay, gate, mut request) = gated();
    let Place { shards, shard, machine } = lost(replay).await;
    let looked = look(&shard);
    request.recv().await.expect("it is being rebuilt");
    // The group stops, and is to be opened anew.
    drop(machine);
    let factory = Factory(shards);
    let mut vacated = factory.vacated(GROUP);
    assert!(futures::poll!(&mut vacated).is_pending(), "an actor may still write");
    drop(gate);
    timeout(LONG, vacated).await.expect("it ends");
    // It was at work until then.
    assert!(looked.await.is_ok());
}
