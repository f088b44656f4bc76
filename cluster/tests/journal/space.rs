//! Space and failure: segments are freed, a full disk loses nothing, a failed one ends the journal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Entry, Journal, Round};

use crate::support::{A, Acks, B, C, SEGMENT, entries, files, id, open, payloads};

fn append(journal: &Journal, index: u64, acks: &Acks) {
    let entry = Entry { id: id(1, index), payload: Bytes::from(vec![1; 900]) };
    journal.append(A, vec![entry], acks.next()).unwrap();
}

#[test]
fn segments_are_freed_when_every_group_has_purged_them() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    journal.save_vote(B, Bytes::from_static(b"only here"), acks.next());
    journal.note_committed(B, Bytes::from_static(b"mark"));
    journal.append(C, entries(1, 0..2), acks.next()).unwrap();
    for index in 0..40 {
        append(&journal, index, &acks);
        writer.round();
    }
    let before = journal.stats();
    journal.purge(A, id(1, 38), acks.next());
    writer.round();
    assert_eq!(journal.pinned_by(), [(C, id(1, 0))], "an idle group pins them");
    assert_eq!(journal.stats().segments_removed, 0);
    journal.purge(C, id(1, 1), acks.next());
    writer.round();
    let after = journal.stats();
    assert!(journal.pinned_by().is_empty());
    assert!(10 < before.segments && after.segments <= 3, "{before:?} {after:?}");
    assert_eq!(after.disk_bytes, after.segments * SEGMENT);
    drop((journal, writer));
    disk.crash();
    disk.restart();
    let (journal, _writer) = open(&disk).unwrap();
    let state = journal.state(B);
    assert_eq!(state.vote, Some(Bytes::from_static(b"only here")));
    assert_eq!(state.committed, Some(Bytes::from_static(b"mark")));
    assert_eq!(journal.state(C).last, Some(id(1, 1)));
    assert_eq!(journal.read(A, 0..99, 9999).unwrap().len(), 1);
    assert_eq!(journal.stats().segments, after.segments);
}

#[test]
fn what_was_purged_leaves_the_disk_when_a_segment_is_begun() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    let secret = Bytes::from_static(b"what nobody may read any more");
    let found = |disk: &FaultDisk| {
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == &secret[..]);
        files(disk).iter().filter(|(_, bytes)| holds(bytes)).count()
    };
    journal.save_vote(B, Bytes::from_static(b"only here"), acks.next());
    journal.append(A, vec![Entry { id: id(1, 0), payload: secret.clone() }], acks.next()).unwrap();
    writer.round();
    journal.purge(A, id(1, 0), acks.next());
    writer.round();
    assert_eq!(found(&disk), 1, "the segment that is written to stays");
    let mut rolled = journal.roll();
    writer.round();
    let first = rolled.try_recv().unwrap();
    assert_eq!((found(&disk), journal.oldest()), (0, first));
    drop((journal, writer));
    disk.crash();
    disk.restart();
    let (journal, mut writer) = open(&disk).unwrap();
    assert_eq!(journal.state(B).vote, Some(Bytes::from_static(b"only here")));
    assert_eq!(journal.state(A).purged, Some(id(1, 0)));

    let mut twice = [journal.roll(), journal.roll()];
    writer.round();
    assert_eq!(twice.each_mut().map(|rolled| rolled.try_recv()), [Ok(first + 1), Ok(first + 1)]);
    journal.close();
    assert!(journal.roll().try_recv().is_err());
}

#[test]
fn a_segment_that_finds_no_space_is_begun_when_there_is_some() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    append(&journal, 0, &acks);
    writer.round();
    disk.set_capacity(2 * SEGMENT);
    let mut first = journal.roll();
    writer.round();
    let mut second = journal.roll();
    assert_eq!(writer.round(), Round::Held);
    assert!(journal.full());
    disk.set_capacity(6 * SEGMENT);
    writer.round();
    writer.round();
    assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    assert!(!journal.full());
}

#[test]
fn a_segment_stays_until_the_purge_that_frees_it_is_durable() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    for index in 0..20 {
        append(&journal, index, &acks);
        writer.round();
    }
    let segments = journal.stats().segments;
    journal.purge(A, id(1, 19), acks.next());
    disk.crash_at_sync(1);
    assert_eq!(writer.round(), Round::Poisoned);
    disk.restart();
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(journal.stats().segments, segments);
}

#[test]
fn a_full_disk_takes_votes_on_the_spare_then_holds_and_loses_nothing() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    disk.set_capacity(2 * SEGMENT);
    let mut request = 0;
    while !journal.full() {
        append(&journal, request, &acks);
        request += 1;
        assert_eq!(writer.round(), Round::Wrote);
    }
    assert_eq!(acks.good() as u64, request, "everything before is acknowledged");
    journal.save_vote(B, Bytes::from_static(b"vote"), acks.next());
    assert_eq!(writer.round(), Round::Wrote, "the spare takes votes");
    loop {
        append(&journal, request, &acks);
        request += 1;
        if writer.round() == Round::Held {
            break;
        }
        assert!(request < 20, "the spare must end");
    }
    assert_eq!((journal.full(), acks.bad()), (true, 0));
    assert_eq!(acks.good() as u64, request, "only the last one waits");
    assert_eq!(payloads(&journal, A).len() as u64, request, "still readable");
    disk.set_capacity(4 * SEGMENT);
    assert_eq!(writer.round(), Round::Wrote);
    assert_eq!((journal.full(), acks.bad()), (false, 0));
    assert_eq!(acks.good() as u64, request + 1);
    drop((journal, writer));
    disk.crash();
    disk.restart();
    assert_eq!(payloads(&open(&disk).unwrap().0, A).len() as u64, request);
}

#[test]
fn a_purge_on_a_full_disk_makes_room() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    disk.set_capacity(2 * SEGMENT);
    let mut request = 0;
    while !journal.full() {
        append(&journal, request, &acks);
        request += 1;
        writer.round();
    }
    journal.purge(A, id(1, request - 1), acks.next());
    writer.round();
    assert!(!journal.full());
}

#[test]
fn a_full_disk_is_not_held_for_ever_after_close() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let acks = Acks::default();
    disk.set_capacity(2 * SEGMENT);
    let mut index = 0;
    while writer.round() != Round::Held {
        append(&journal, index, &acks);
        index += 1;
    }
    journal.close();
    assert_eq!(writer.round(), Round::Closed);
    assert_eq!(acks.bad(), 1);
}

/// Fails one call to the disk, and expects that nothing is acknowledged or tried again.
fn check_poison(fail: impl Fn(&FaultDisk)) {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let (acks, calls) = (Acks::default(), Arc::new(AtomicUsize::new(0)));
    let count = calls.clone();
    writer.on_fatal(Box::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    append(&journal, 0, &acks);
    writer.round();
    fail(&disk);
    append(&journal, 1, &acks);
    journal.save_vote(B, Bytes::new(), acks.next());
    assert_eq!(writer.round(), Round::Poisoned);
    assert_eq!((acks.good(), acks.bad(), calls.load(Ordering::SeqCst)), (1, 2, 1));
    let (syncs, writes) = (disk.syncs(), disk.writes());
    assert!(journal.append(A, entries(1, 2..3), acks.next()).is_err());
    assert!(journal.read(A, 0..1, 1).is_err());
    journal.save_vote(B, Bytes::new(), acks.next());
    journal.purge(A, id(1, 0), acks.next());
    journal.close();
    assert_eq!(writer.round(), Round::Poisoned);
    writer.run();
    assert_eq!((acks.good(), acks.bad(), calls.load(Ordering::SeqCst)), (1, 4, 1));
    assert_eq!((disk.syncs(), disk.writes()), (syncs, writes), "never tried again");
}

#[test]
fn a_failed_sync_poisons_the_journal_and_is_never_tried_again() {
    check_poison(|disk| disk.fail_sync(1));
}

#[test]
fn a_failed_write_poisons_the_journal() {
    check_poison(|disk| disk.fail_write(1));
}

#[test]
fn a_writer_that_panics_fails_the_journal_as_its_disk_would() {
    let (journal, mut writer) = open(&FaultDisk::new(1)).unwrap();
    let (acks, calls) = (Acks::default(), Arc::new(AtomicUsize::new(0)));
    let count = calls.clone();
    writer.on_fatal(Box::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    journal.save_vote(B, Bytes::new(), Box::new(|_| panic!("a callback fails, as it was told")));
    append(&journal, 0, &acks);
    assert!(std::thread::spawn(move || writer.run()).join().is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the process must end");
    let error = journal.append(A, entries(1, 1..2), acks.next()).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[test]
fn a_writer_that_is_dropped_fails_what_waits() {
    let (journal, writer) = open(&FaultDisk::new(1)).unwrap();
    let acks = Acks::default();
    append(&journal, 0, &acks);
    drop(writer);
    assert_eq!((acks.good(), acks.bad()), (0, 1));
    let error = journal.append(A, entries(1, 1..2), acks.next()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
