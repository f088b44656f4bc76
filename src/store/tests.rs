//! Both engines keep the same promises, and the one in memory fails as it is set to.

use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use super::engine::{Engine, Table};
use super::kept::{Block, Head};
use super::lsm::Lsm;
use super::memory::{Fault, MemoryDisk};
use super::watch::Watch;
use super::{LogOf, Store};
use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::session::{Event, Format};

fn key(number: u8) -> Vec<u8> {
    vec![b'k', number]
}

fn put(engine: &dyn Engine, table: Table, number: u8) -> std::io::Result<()> {
    engine.insert(table, key(number), vec![number; 2000])
}

/// The numbers of a table, as both kinds of iterators give them, in both directions.
fn numbers(engine: &dyn Engine, table: Table) -> Vec<u8> {
    let range = || (Bound::Included(key(0)), Bound::Excluded(key(100)));
    let view = engine.snapshot();
    let keys: Vec<u8> = view.keys(table, range()).map(|key| key.unwrap()[1]).collect();
    let mut back: Vec<u8> = view.rows(table, range()).rev().map(|row| row.unwrap().1[0]).collect();
    back.reverse();
    assert_eq!(keys, back);
    keys
}

fn keeps_its_promises(engine: &dyn Engine) {
    for number in [3, 1, 2, 100] {
        put(engine, Table::Blocks, number).unwrap();
    }
    put(engine, Table::Marks, 7).unwrap();
    let before = engine.snapshot();
    engine.remove(Table::Blocks, &key(2)).unwrap();
    engine.remove(Table::Blocks, &key(50)).unwrap();
    engine.insert(Table::Blocks, key(3), b"new".to_vec()).unwrap();

    assert_eq!(engine.get(Table::Blocks, &key(3)).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.get(Table::Blocks, &key(2)).unwrap(), None);
    assert_eq!(engine.get(Table::Heads, &key(1)).unwrap(), None);
    assert_eq!(numbers(engine, Table::Marks), [7]);
    let range = (Bound::Excluded(key(1)), Bound::Included(key(3)));
    let then: Vec<_> =
        before.rows(Table::Blocks, range.clone()).map(|row| row.unwrap().1).collect();
    assert_eq!(then, [vec![2; 2000], vec![3; 2000]], "a view does not change");
    let now: Vec<_> = engine.snapshot().keys(Table::Blocks, range).map(Result::unwrap).collect();
    assert_eq!(now, [key(3)]);
    engine.persist().unwrap();
}

#[test]
fn an_engine_is_ordered_and_a_view_of_it_stands_still() {
    keeps_its_promises(&MemoryDisk::new(1).open());
    let dir = tempfile::tempdir().unwrap();
    keeps_its_promises(&Lsm::open(dir.path()).unwrap());
}

#[test]
fn a_power_cut_keeps_what_was_persisted_and_a_prefix_of_the_rest() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..200 {
        let disk = MemoryDisk::new(seed);
        let engine = disk.open();
        put(&engine, Table::Heads, 0).unwrap();
        engine.persist().unwrap();
        for number in 1..10 {
            put(&engine, Table::Heads, number).unwrap();
            put(&engine, Table::Blocks, number).unwrap();
        }
        disk.crash();
        assert!(engine.get(Table::Heads, &key(0)).is_err(), "the process is dead");
        let engine = disk.open();
        let heads = numbers(&engine, Table::Heads);
        let blocks = numbers(&engine, Table::Blocks);
        assert_eq!(heads, (0..u8::try_from(heads.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(blocks, (1..=u8::try_from(blocks.len()).unwrap()).collect::<Vec<_>>());
        lost += usize::from(heads.len() == 1);
        kept += usize::from(heads.len() == 10);
        // Heads are written first, then blocks.
        assert!((0..=1).contains(&(heads.len() - 1 - blocks.len())), "{heads:?} {blocks:?}");
    }
    assert!(0 < lost && 0 < kept, "{lost} {kept}");
}

/// Copies the files of a directory that are `wanted` by their names.
fn copy(from: &std::path::Path, to: &std::path::Path, wanted: fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to, wanted);
        } else if wanted(&entry.file_name().to_string_lossy()) {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A head must not be there without the blocks that it counts on, whatever the engine flushes by itself.
#[test]
fn a_power_cut_leaves_a_prefix_of_all_writes_whatever_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (live, left) = (dir.path().join("live"), dir.path().join("left"));
    let engine = Lsm::open(&live).unwrap();
    let put = |number| {
        for table in [Table::Blocks, Table::Heads] {
            put(&engine, table, number).unwrap();
        }
    };
    put(1);
    engine.persist().unwrap();
    // The engine syncs its journal here for the last time, and everything else that it writes later.
    copy(&live, &left, |_| true);
    put(2);
    engine.flush();
    put(3);
    copy(&live, &left, |name| !name.ends_with(".jnl"));
    let left = Lsm::open(&left).unwrap();
    assert_eq!(numbers(&left, Table::Heads), [1, 2]);
    assert_eq!(numbers(&left, Table::Blocks), [1, 2]);
}

#[test]
fn what_could_not_be_written_is_the_last_that_was() {
    type Break = fn(&MemoryDisk);
    let broken = std::io::Error::from(rustix::io::Errno::IO).kind();
    for (breaks, kind) in [
        ((|disk| disk.fail_write(2, Fault::Full)) as Break, ErrorKind::StorageFull),
        (|disk| disk.fail_writes(Fault::Full, 1.0), ErrorKind::StorageFull),
        (|disk| disk.fail_flush(Fault::Broken), broken),
        (|disk| disk.poison(), ErrorKind::Other),
    ] {
        let disk = MemoryDisk::new(1);
        let engine = disk.open();
        put(&engine, Table::Heads, 1).unwrap();
        engine.persist().unwrap();
        breaks(&disk);
        let mut failed = put(&engine, Table::Heads, 2).err();
        failed = failed.or_else(|| put(&engine, Table::Heads, 3).err());
        failed = failed.or_else(|| engine.persist().err());
        assert_eq!(failed.unwrap().kind(), kind);
        disk.heal();
        assert!(disk.is_poisoned());
        assert!(put(&engine, Table::Heads, 4).is_err() && engine.persist().is_err());
        assert_eq!(engine.get(Table::Heads, &key(1)).unwrap().unwrap().len(), 2000);
        let engine = disk.open();
        put(&engine, Table::Heads, 5).unwrap();
        engine.persist().unwrap();
    }
}

#[test]
fn reads_fail_while_they_are_told_to() {
    let disk = MemoryDisk::new(1);
    let engine = disk.open();
    for number in 1..10 {
        put(&engine, Table::Heads, number).unwrap();
    }
    disk.fail_reads(Fault::Descriptors, 0.5);
    let range = (Bound::Included(key(0)), Bound::Excluded(key(100)));
    let rows: Vec<_> = engine.snapshot().rows(Table::Heads, range).collect();
    let failed: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
    assert!(!failed.is_empty() && failed.len() < 9);
    let errno = Some(rustix::io::Errno::MFILE.raw_os_error());
    assert!(failed.iter().all(|error| error.raw_os_error() == errno));
    disk.heal();
    assert_eq!(numbers(&engine, Table::Heads).len(), 9);
    disk.fail_read(2, Fault::Broken);
    assert!(engine.get(Table::Heads, &key(1)).is_ok());
    assert!(engine.get(Table::Heads, &key(1)).is_err());
    assert!(engine.get(Table::Heads, &key(1)).is_ok());
}

#[test]
fn what_hangs_goes_on_when_it_may() {
    let disk = MemoryDisk::new(1);
    let engine: Arc<dyn Engine> = Arc::new(disk.open());
    for ends in [MemoryDisk::heal as fn(&MemoryDisk), MemoryDisk::crash] {
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        disk.hang_writes();
        let (failing, hears) = std::sync::mpsc::sync_channel(1);
        let there = engine.clone();
        let hung = std::thread::spawn(move || {
            failing.send(()).unwrap();
            put(&*there, Table::Heads, 1)
        });
        hears.recv().unwrap();
        assert!(engine.get(Table::Heads, &key(9)).is_ok(), "only writes hang");
        ends(&disk);
        let ended = hung.join().unwrap();
        // Healed it is written; a crash may have come before or after the thread began.
        assert!(ended.is_ok() || engine.get(Table::Heads, &key(1)).is_err());
    }
    assert!(engine.persist().is_err(), "the first life is long over");
}

#[test]
fn an_image_is_what_was_on_the_medium() {
    let disk = MemoryDisk::new(1);
    let engine = disk.open();
    put(&engine, Table::Heads, 1).unwrap();
    engine.persist().unwrap();
    put(&engine, Table::Heads, 2).unwrap();
    let image = disk.image(2);
    put(&engine, Table::Heads, 3).unwrap();
    engine.persist().unwrap();
    assert_eq!(numbers(&image.open(), Table::Heads), [1]);
    assert_eq!(numbers(&engine, Table::Heads), [1, 2, 3]);
}

fn head(name: &str, lives: bool) -> (crate::ids::SessionId, Head) {
    use crate::session::{Command, Config, Session};
    let id = crate::ids::SessionId::parse(name).unwrap();
    let mut session = Session::absent(id.clone());
    let mut commands = vec![Command::from(Config::default())];
    if !lives {
        commands.push(Command::Delete { incarnation: None });
    }
    for command in commands {
        session.apply(crate::ids::Millis(1), &command, &mut Vec::new()).unwrap();
    }
    let head = Head { next: 1, session, unsealed: Vec::new(), filed: None };
    (id, head)
}

#[test]
fn a_list_costs_nothing_for_names_that_were_deleted() {
    let disk = MemoryDisk::new(1);
    let store = Store::in_memory(&disk);
    for number in 0..1000 {
        let lives = number % 500 == 499;
        let (id, head) = head(&format!("s{number:04}"), lives);
        store.put_living(1, &id, lives).unwrap();
        store.put_head(1, &id, &head).unwrap();
    }
    let (before, ..) = disk.calls();
    let names: Vec<String> = store.living(1, "", None).map(|head| head.unwrap().0).collect();
    assert_eq!(names, ["s0499", "s0999"]);
    let reads = disk.calls().0 - before;
    assert!(reads <= 8, "{reads} reads for two names");
    assert_eq!(store.heads(1, "", None).count(), 1000);
}

#[test]
fn the_first_write_that_fails_is_the_end_of_a_store() {
    let disk = MemoryDisk::new(1);
    let store = Store::in_memory(&disk);
    let (id, head) = head("s", true);
    store.put_head(1, &id, &head).unwrap();
    assert_eq!(store.fault().reason(), None);
    disk.fail_write(1, Fault::Full);
    assert!(store.put_head(1, &id, &head).is_err());
    disk.heal();
    let reason = store.fault().reason().expect("there is a reason");
    assert!(reason.contains("a head"), "{reason}");
    for done in [store.put_head(1, &id, &head), store.persist(), store.put_living(1, &id, false)] {
        assert!(done.is_err(), "nothing is written after it");
    }
    assert!(store.head(1, &id).unwrap().is_some(), "what is there can still be read");
}

#[test]
fn work_of_the_engine_that_fails_in_the_background_is_found_out() {
    let disk = MemoryDisk::new(1);
    let store = Store::in_memory(&disk);
    disk.poison();
    store.watch.look(&*store.engine, &store.fault);
    assert!(store.fault().reason().is_some());
}

#[test]
fn blocks_are_freed_from_where_they_were_freed_before() {
    let id = SessionId::parse("s").unwrap();
    let at = LogOf { shard: 1, id: &id, incarnation: Incarnation(1) };
    let event = |serial| Event {
        serial: Serial(serial),
        time: Millis(1),
        format: Format::RAW,
        payload: vec![1; 9].into(),
        chain: serial,
        origin: None,
        agent: None,
        fact: None,
    };
    let store = Store::in_memory(&MemoryDisk::new(1));
    for first in [1, 11, 21, 31] {
        let events: Vec<_> = (first..first + 10).map(event).collect();
        store.put_block(&at, Serial(first), &Block { index: first, events }).unwrap();
    }
    let left = || -> Vec<u64> {
        let blocks = store.blocks(&at, Serial(1)).map(|block| block.unwrap().index);
        blocks.collect()
    };
    for (from, first, are_left) in [
        (None, 10, vec![1, 11, 21, 31]),
        (None, 12, vec![11, 21, 31]),
        (Some(12), 31, vec![31]),
        (Some(31), 40, vec![31]),
        (Some(40), 41, vec![]),
    ] {
        store.free_blocks(&at, from.map(Serial), Some(Serial(first))).unwrap();
        assert_eq!(left(), are_left, "{from:?} {first}");
    }
}

/// A writer that awaits it holds no thread meanwhile, as each one did that was held up by the engine.
#[tokio::test]
async fn the_end_of_a_sync_can_be_awaited() {
    let watch = Arc::new(Watch::default());
    let ((begun, begins), (end, ends)) = (oneshot::channel(), mpsc::sync_channel::<()>(1));
    let syncing = watch.clone();
    let sync = std::thread::spawn(move || {
        syncing.sync(|| {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        });
    });
    begins.await.unwrap();
    assert!(watch.is_pressed());
    let mut synced = std::pin::pin!(watch.synced());
    assert!(futures::poll!(synced.as_mut()).is_pending());
    end.send(()).unwrap();
    synced.await;
    sync.join().unwrap();
    assert!(!watch.is_pressed());
    watch.synced().await;
}

#[test]
fn a_mark_is_not_there_without_what_it_covers() {
    let id = SessionId::parse("s").unwrap();
    let mut marked = 0;
    for seed in 0..400 {
        let disk = MemoryDisk::new(seed);
        let store = Store::in_memory(&disk);
        let session = crate::session::Session::absent(id.clone());
        let head: Head = Head { next: 7, session, unsealed: Vec::new(), filed: None };
        store.put_head(1, &id, &head).unwrap();
        // One of the two syncs fails, or the power goes after both.
        match seed % 3 {
            0 => disk.fail_flush(Fault::Broken),
            1 => disk.fail_write(1, Fault::Full),
            _ => {}
        }
        let covered = store.cover(1, 7, &bytes::Bytes::from_static(b"mark"));
        disk.crash();
        let store = Store::in_memory(&disk);
        let mark = store.mark(1).unwrap();
        assert!(mark.is_some() || covered.is_err(), "seed {seed}");
        assert!(mark.is_none() || store.head(1, &id).unwrap().is_some(), "seed {seed}");
        marked += usize::from(mark.is_some());
    }
    assert!(0 < marked);
}
