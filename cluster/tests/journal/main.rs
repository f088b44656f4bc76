//! The promises of the journal, kept on a disk that lies.

mod crash;
mod damage;
mod space;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cluster::ids::{EntryId, GroupId};
use cluster::journal::disk::RealDisk;
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Entry, Journal, JournalConfig, OpenError, Round};
use cluster::limits::RECORD_BYTES;

use support::{A, Acks, B, entries, entry, id, open, payloads};

#[test]
fn an_entry_is_readable_at_once_and_acknowledged_only_after_the_sync() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    journal.append(A, entries(1, 0..3), acks.next()).unwrap();
    assert_eq!(payloads(&journal, A), ["1.0", "1.1", "1.2"]);
    assert_eq!((acks.good(), 0 < journal.queued_bytes()), (0, true));
    assert_eq!(writer.round(), Round::Wrote);
    assert_eq!((acks.good(), journal.queued_bytes()), (1, 0));
    assert_eq!(writer.round(), Round::Idle);
}

#[test]
fn many_appends_of_many_groups_share_one_sync() {
    let disk = FaultDisk::new(1);
    let config = JournalConfig { segment_bytes: 1 << 20, ..support::config() };
    let (journal, mut writer) = Journal::open(Arc::new(disk.clone()), config).unwrap();
    let acks = Acks::default();
    for index in 0..100 {
        for group in 0..8 {
            journal.append(GroupId(group), entries(1, index..index + 1), acks.next()).unwrap();
        }
        journal.save_vote(A, Bytes::from_static(b"v"), acks.next());
    }
    let before = disk.syncs();
    assert_eq!(writer.round(), Round::Wrote);
    assert_eq!((disk.syncs() - before, acks.good()), (1, 900));
    assert_eq!((journal.stats().fsyncs, journal.stats().records), (1, 900));
}

#[test]
fn callbacks_run_in_the_order_of_the_calls() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for turn in 0..20_u64 {
        let seen = seen.clone();
        let done = Box::new(move |_| seen.lock().unwrap().push(turn));
        match turn % 3 {
            0 => journal.append(A, Vec::new(), done).unwrap(),
            1 => journal.save_vote(B, Bytes::from(vec![7; 900]), done),
            _ => journal.truncate_after(B, None, done),
        }
    }
    writer.round();
    assert_eq!(*seen.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[test]
fn what_was_overwritten_stays_overwritten_after_a_restart() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 0..5), Acks::ignore()).unwrap();
    writer.round();
    journal.append(A, entries(2, 2..4), Acks::ignore()).unwrap();
    let expected = ["1.0", "1.1", "2.2", "2.3"];
    assert_eq!(payloads(&journal, A), expected);
    writer.round();
    journal.append(A, entries(3, 4..9), Acks::ignore()).unwrap();
    journal.truncate_after(A, Some(3), Acks::ignore());
    writer.round();
    disk.crash();
    disk.restart();
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(payloads(&journal, A), expected);
    assert_eq!(journal.state(A).last, Some(id(2, 3)));
}

#[test]
fn a_purge_beyond_the_last_entry_leaves_an_empty_log_that_goes_on_behind_it() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 0..3), Acks::ignore()).unwrap();
    journal.purge(A, id(4, 99), Acks::ignore());
    assert!(journal.append(A, entries(4, 3..4), Acks::ignore()).is_err());
    writer.round();
    drop((journal, writer));
    let (journal, mut writer) = open(&disk).unwrap();
    let state = journal.state(A);
    assert_eq!((state.purged, state.last), (Some(id(4, 99)), Some(id(4, 99))));
    assert_eq!(journal.id_of(A, 99), Some(id(4, 99)));
    assert!(payloads(&journal, A).is_empty());
    journal.append(A, entries(4, 100..102), Acks::ignore()).unwrap();
    writer.round();
    drop((journal, writer));
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(payloads(&journal, A), ["4.100", "4.101"]);
}

#[test]
fn reads_stop_at_the_bytes_asked_for_but_give_at_least_one_entry() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let big = |index| Entry { id: id(1, index), payload: Bytes::from(vec![9; 300]) };
    journal.append(A, (0..8).map(big).collect(), Acks::ignore()).unwrap();
    writer.round();
    let count = |range, bytes| journal.read(A, range, bytes).unwrap().len();
    assert_eq!([count(0..8, 0), count(0..8, 600), count(3..99, 9_999)], [1, 2, 5]);
    assert_eq!([count(8..9, 99), count(50..60, 99), count(5..5, 99)], [0, 0, 0]);
    assert_eq!(journal.read(A, 0..8, 9_999).unwrap(), (0..8).map(big).collect::<Vec<_>>());
}

#[test]
fn entries_that_leave_a_hole_or_are_too_large_change_nothing() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 0..2), Acks::ignore()).unwrap();
    let large = Entry { id: id(1, 2), payload: Bytes::from(vec![0; RECORD_BYTES + 1]) };
    for bad in [vec![entry(1, 3)], vec![entry(1, 2), entry(1, 4)], vec![large]] {
        let error = journal.append(A, bad, Acks::ignore()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    writer.round();
    assert_eq!(payloads(&journal, A), ["1.0", "1.1"]);
}

#[test]
fn a_record_larger_than_a_segment_gets_a_longer_one() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let big = Entry { id: id(1, 1), payload: Bytes::from(vec![5; 20_000]) };
    journal.append(A, vec![entry(1, 0), big.clone(), entry(1, 2)], Acks::ignore()).unwrap();
    writer.round();
    drop((journal, writer));
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(journal.read(A, 1..2, 1).unwrap(), [big]);
    assert_eq!(journal.state(A).last, Some(id(1, 2)));
}

#[test]
fn a_committed_mark_costs_no_sync_and_rides_with_the_next_record() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    for mark in 0..10_u8 {
        journal.note_committed(A, Bytes::from(vec![mark]));
    }
    assert_eq!(writer.round(), Round::Idle);
    assert_eq!(journal.state(A).committed, Some(Bytes::from(vec![9])));
    journal.save_vote(B, Bytes::from_static(b"v"), Acks::ignore());
    writer.round();
    assert_eq!((journal.stats().fsyncs, journal.stats().records), (1, 2));
    disk.crash();
    disk.restart();
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(journal.state(A).committed, Some(Bytes::from(vec![9])));
}

#[test]
fn a_real_disk_keeps_what_threads_append_in_a_private_directory_that_one_process_owns() {
    let home = tempfile::tempdir().unwrap();
    let config = JournalConfig { dir: home.path().join("journal"), ..support::config() };
    let (journal, writer) = Journal::open(Arc::new(RealDisk), config.clone()).unwrap();
    let second = Journal::open(Arc::new(RealDisk), config.clone());
    assert!(matches!(second, Err(OpenError::Locked)));
    let thread = std::thread::spawn(move || writer.run());
    let acked = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    for group in 0..4 {
        let (journal, acked) = (journal.clone(), acked.clone());
        threads.push(std::thread::spawn(move || {
            for index in 0..50 {
                let acked = acked.clone();
                let done = Box::new(move |result: std::io::Result<()>| {
                    result.unwrap();
                    acked.fetch_add(1, Ordering::SeqCst);
                });
                journal.append(GroupId(group), entries(1, index..index + 1), done).unwrap();
            }
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    journal.close();
    thread.join().unwrap();
    assert_eq!(acked.load(Ordering::SeqCst), 200);
    assert!(journal.append(A, entries(1, 50..51), Acks::ignore()).is_err());

    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.dir), 0o700);
    for file in std::fs::read_dir(&config.dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let (journal, _writer) = Journal::open(Arc::new(RealDisk), config).unwrap();
    for group in 0..4 {
        assert_eq!(payloads(&journal, GroupId(group)).len(), 50);
    }
}

#[test]
fn dropping_the_last_handle_drains_the_queue_and_ends_the_writer() {
    let disk = FaultDisk::new(1);
    let (journal, writer) = open(&disk).unwrap();
    let acks = Acks::default();
    journal.append(A, entries(1, 0..1), acks.next()).unwrap();
    drop(journal);
    writer.run();
    assert_eq!(acks.good(), 1);
    assert_eq!(payloads(&open(&disk).unwrap().0, A), ["1.0"]);
}

#[test]
fn ids_are_known_without_reading() {
    let (journal, _writer) = open(&FaultDisk::new(1)).unwrap();
    journal.append(A, entries(3, 0..2), Acks::ignore()).unwrap();
    assert_eq!(journal.id_of(A, 1), Some(EntryId { term: 3, node: 1, index: 1 }));
    assert_eq!((journal.id_of(A, 2), journal.id_of(B, 0)), (None, None));
    assert_eq!(journal.groups(), [A]);
}

#[test]
fn a_group_may_begin_at_any_index_and_a_later_restart_agrees() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 5..8), Acks::ignore()).unwrap();
    journal.append(B, entries(1, 5..6), Acks::ignore()).unwrap();
    journal.truncate_after(B, None, Acks::ignore());
    journal.append(B, entries(2, 0..2), Acks::ignore()).unwrap();
    for _ in 0..20 {
        journal.save_vote(GroupId(9), Bytes::from(vec![1; 900]), Acks::ignore());
        writer.round();
    }
    drop((journal, writer));
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(payloads(&journal, A), ["1.5", "1.6", "1.7"]);
    assert_eq!(payloads(&journal, B), ["2.0", "2.1"]);
}

#[test]
fn an_entry_overwritten_while_its_batch_is_written_is_never_read_from_the_old_place() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let big = |term| Entry { id: id(term, 0), payload: Bytes::from(vec![term as u8; 3000]) };
    let seen = Arc::new(std::sync::Mutex::new(None));
    let (reader, result) = (journal.clone(), seen.clone());
    let done = Box::new(move |_| *result.lock().unwrap() = Some(reader.read(A, 0..1, 1)));
    journal.append(A, vec![big(1)], done).unwrap();
    journal.append(A, vec![big(2)], Acks::ignore()).unwrap();
    writer.round();
    assert_eq!(journal.stats().fsyncs, 2, "two batches, and the callback between them");
    let read = seen.lock().unwrap().take().unwrap();
    assert_eq!(read.unwrap(), [big(2)]);
    assert_eq!(journal.read(A, 0..1, 1).unwrap(), [big(2)]);
}
