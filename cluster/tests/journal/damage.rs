//! A torn tail is cut, damage is refused, and neither is taken for the other.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Entry, OpenError, Round};
use expect_test::expect;

use crate::support::{
    A, Acks, B, SEGMENT, config, disk_with, entries, files, id, open, payloads, refusal,
};

const SECTOR: usize = 512;

/// Where the bytes of a segment that are no zeros end, rounded up to a batch boundary.
fn written(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    (last + 1).next_multiple_of(SECTOR)
}

fn segment(seq: u64) -> PathBuf {
    config().dir.join(format!("{seq:016x}.seg"))
}

#[test]
fn a_batch_torn_at_any_byte_is_cut_as_a_whole() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 0..2), Acks::ignore()).unwrap();
    writer.round();
    let start = written(&disk.bytes(&segment(1)));
    journal.append(A, entries(1, 2..8), Acks::ignore()).unwrap();
    let big = Entry { id: id(1, 0), payload: Bytes::from(vec![3; 600]) };
    journal.append(B, vec![big], Acks::ignore()).unwrap();
    writer.round();
    let whole = disk.bytes(&segment(1));
    let end = written(&whole);
    assert!(start + 2 * SECTOR <= end);
    for cut in start..=end {
        let mut bytes = whole.clone();
        bytes[cut..end].fill(0);
        let intact = bytes == whole;
        let disk = disk_with(&[(segment(1), bytes)]);
        let (journal, mut writer) = open(&disk).unwrap();
        let expected = if intact { (8, 1) } else { (2, 0) };
        assert_eq!((payloads(&journal, A).len(), payloads(&journal, B).len()), expected, "{cut}");
        let next = expected.0 as u64;
        journal.append(A, entries(2, next..next + 1), Acks::ignore()).unwrap();
        writer.round();
        drop((journal, writer));
        let (journal, _writer) = open(&disk).unwrap();
        assert_eq!(payloads(&journal, A).len(), expected.0 + 1, "{cut}");
    }
}

#[test]
fn what_was_cut_never_comes_back() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let one = |index| Entry { id: id(1, index), payload: Bytes::from(vec![1; 1500]) };
    journal.append(A, vec![one(0)], Acks::ignore()).unwrap();
    writer.round();
    let mut bytes = disk.bytes(&segment(1));
    bytes[SECTOR + 1000] ^= 1;
    let disk = disk_with(&[(segment(1), bytes)]);
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(journal.state(A).last, None);
    assert!(0 < journal.stats().cut_bytes);
    assert_eq!(written(&disk.bytes(&segment(1))), SECTOR, "only the header is left");
}

/// A closed journal of several segments: batches, a spare, and a closing batch.
fn closed() -> Vec<(PathBuf, Vec<u8>)> {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    for index in 0..7 {
        let payload = Bytes::from(vec![u8::try_from(index).unwrap(); 700]);
        journal.append(A, vec![Entry { id: id(1, index), payload }], Acks::ignore()).unwrap();
        journal.save_vote(B, Bytes::from_static(b"vote"), Acks::ignore());
        writer.round();
    }
    journal.close();
    assert_eq!(writer.round(), Round::Closed);
    files(&disk)
}

/// Exempt are: the unused rest of a segment after its last batch, and the closing batch.
#[test]
fn a_bit_flipped_anywhere_below_the_durable_mark_is_refused_and_nothing_changes() {
    let files = closed();
    let spare = files.len() - 1;
    assert!(3 <= spare, "several segments and a spare");
    for (number, (path, bytes)) in files.iter().enumerate() {
        let closing = if number == spare - 1 { SECTOR } else { 0 };
        let limit = written(bytes) - closing;
        for at in 0..bytes.len() {
            let mut damaged = files.clone();
            damaged[number].1[at] ^= 1 << (at % 8);
            let disk = disk_with(&damaged);
            if at < limit {
                match refusal(&disk) {
                    OpenError::Corrupt { segment, offset, .. } => {
                        assert_eq!(segment, number as u64 + 1, "{path:?} at {at}");
                        assert!(offset <= at as u64, "{path:?} at {at}: {offset}");
                    }
                    error => panic!("{path:?} at {at}: {error}"),
                }
                assert_eq!(crate::support::files(&disk), damaged, "{path:?} at {at}");
            } else if at % 61 == 0 {
                let (journal, _writer) = open(&disk).unwrap();
                assert_eq!(payloads(&journal, A).len(), 7, "{path:?} at {at}");
            }
        }
    }
}

#[test]
fn a_lost_sector_below_the_durable_mark_is_refused() {
    let files = closed();
    for number in 0..files.len() - 1 {
        let closing = if number == files.len() - 2 { SECTOR } else { 0 };
        for sector in 0..(written(&files[number].1) - closing) / SECTOR {
            let mut damaged = files.clone();
            damaged[number].1[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            let disk = disk_with(&damaged);
            assert!(matches!(refusal(&disk), OpenError::Corrupt { .. }));
            assert_eq!(crate::support::files(&disk), damaged);
        }
    }
}

#[test]
fn a_lost_swapped_or_foreign_segment_is_refused() {
    let files = closed();
    let refused = |files: &[(PathBuf, Vec<u8>)]| {
        assert!(matches!(refusal(&disk_with(files)), OpenError::Corrupt { .. }));
    };
    for lost in 0..files.len() - 1 {
        let mut left = files.clone();
        left.remove(lost);
        refused(&left);
    }
    let mut swapped = files.clone();
    (swapped[0].1, swapped[1].1) = (files[1].1.clone(), files[0].1.clone());
    refused(&swapped);
    let mut shortened = files.clone();
    shortened[0].1.truncate(2 * SECTOR);
    refused(&shortened);
    let other = FaultDisk::new(99);
    let _open = open(&other).unwrap();
    let mut foreign = files;
    foreign.last_mut().unwrap().1 = other.bytes(&segment(2));
    refused(&foreign);
}

#[test]
fn a_read_that_does_not_verify_any_more_is_an_error() {
    let disk = FaultDisk::new(1);
    let (journal, mut writer) = open(&disk).unwrap();
    let one = |index| Entry { id: id(1, index), payload: Bytes::from(vec![1; 700]) };
    journal.append(A, vec![one(0), one(1)], Acks::ignore()).unwrap();
    writer.round();
    drop((journal, writer));
    let (journal, _writer) = open(&disk).unwrap();
    // The open file is the one on the disk, so the flip goes through another name for it.
    let file = cluster::journal::disk::Disk::open(&disk, &segment(1)).unwrap();
    file.write_at(&[0xff], 700).unwrap();
    let error = journal.read(A, 0..1, 9999).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(journal.read(A, 1..2, 9999).unwrap(), [one(1)]);
}

fn header(version: u32, journal: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    bytes[..8].copy_from_slice(b"outlvjrn");
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[16..24].copy_from_slice(&1_u64.to_le_bytes());
    bytes[24..32].copy_from_slice(&journal.to_le_bytes());
    bytes[32..40].copy_from_slice(&size.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn another_format_is_named_and_left_alone() {
    let disk = disk_with(&[(segment(1), header(2, 7, SEGMENT))]);
    assert!(matches!(refusal(&disk), OpenError::Format { segment: 1, found: 2 }));
}

#[test]
fn the_format_is_these_bytes() {
    let disk = disk_with(&[(segment(1), header(1, 0x0123_4567_89ab_cdef, SEGMENT))]);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.save_vote(A, Bytes::from_static(b"vote"), Acks::ignore());
    journal.append(A, entries(3, 0..2), Acks::ignore()).unwrap();
    journal.note_committed(B, Bytes::from_static(b"mark"));
    writer.round();
    journal.truncate_after(A, Some(0), Acks::ignore());
    journal.truncate_after(B, None, Acks::ignore());
    journal.purge(A, id(9, 5), Acks::ignore());
    writer.round();
    let bytes = disk.bytes(&segment(1));
    let mut text = String::new();
    for (row, line) in bytes.chunks(20).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let _ = write!(text, "{:4}", row * 20);
            for group in line.chunks(4) {
                let _ = write!(text, " ");
                for byte in group {
                    let _ = write!(text, "{byte:02x}");
                }
            }
            text.push('\n');
        }
    }
    expect![[r#"
           0 6f75746c 766a726e 01000000 00000000 01000000
          20 00000000 efcdab89 67452301 00100000 00000000
          60 dff9b77d 00000000 00000000 00000000 00000000
         500 00000000 00000000 00000000 6f626174 dffe8370
         520 efcdab89 67452301 01000000 00000000 00020000
         540 00000000 01000000 00000000 ae000000 04000000
         560 758cc409 00000000 00000000 00000000 0d24529f
         580 04000000 02000000 01000000 00000000 00000000
         600 00000000 00000000 00000000 00000000 766f7465
         620 ca72b420 03000000 01000000 01000000 03000000
         640 00000000 01000000 00000000 00000000 00000000
         660 332e309c 9d3d9603 00000001 00000001 00000003
         680 00000000 00000001 00000000 00000001 00000000
         700 00000033 2e31328f 59ff0400 00000300 00000200
         740 00000000 00006d61 726b0000 00000000 00000000
        1020 00000000 6f626174 6667b062 efcdab89 67452301
        1040 01000000 00000000 00040000 00000000 02000000
        1060 00000000 78000000 03000000 91d69dd5 00000000
        1080 00000000 00000000 38ffa8c7 00000000 04000000
        1100 01000000 00000000 00000000 00000000 00000000
        1120 00000000 00000000 b5fdac34 00000000 05000000
        1140 02000000 00000000 00000000 00000000 00000000
        1160 00000000 00000000 4134cd4a 00000000 06000000
        1180 01000000 09000000 00000000 01000000 00000000
        1200 05000000 00000000 00000000 00000000 00000000
    "#]]
    .assert_eq(&text);
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// What may become of a file.
    #[derive(Clone, Debug)]
    enum Change {
        Byte {
            at: usize,
            to: u8,
        },
        /// Bytes of one place stand in another, in this file or in another one.
        Copy {
            from: usize,
            of: usize,
            at: usize,
            bytes: usize,
        },
        Cut {
            to: usize,
        },
        Zeros {
            at: usize,
            bytes: usize,
        },
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = || any::<prop::sample::Index>().prop_map(|index| index.index(SEGMENT as usize));
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, to)| Change::Byte { at, to }),
            2 => (at(), 0..8_usize, at(), 1..2048_usize)
                .prop_map(|(from, of, at, bytes)| Change::Copy { from, of, at, bytes }),
            1 => at().prop_map(|to| Change::Cut { to }),
            1 => (at(), 1..2048_usize).prop_map(|(at, bytes)| Change::Zeros { at, bytes }),
        ]
    }

    fn apply(files: &mut [(PathBuf, Vec<u8>)], of_file: usize, change: &Change) {
        let number = of_file % files.len();
        let whole = |bytes: usize, at: usize, length: usize| at..(at + bytes).min(length).max(at);
        match *change {
            Change::Byte { at, to } => {
                let Some(byte) = files[number].1.get_mut(at) else { return };
                *byte = to;
            }
            Change::Copy { from, of, at, bytes } => {
                let source = &files[of % files.len()].1;
                let range = whole(bytes, from.min(source.len()), source.len());
                let piece = source[range].to_vec();
                let file = &mut files[number].1;
                for (byte, new) in file.iter_mut().skip(at).zip(piece) {
                    *byte = new;
                }
            }
            Change::Cut { to } => files[number].1.truncate(to),
            Change::Zeros { at, bytes } => {
                let file = &mut files[number].1;
                let at = at.min(file.len());
                let range = whole(bytes, at, file.len());
                file[range].fill(0);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever lies in the directory, the journal is refused and nothing changes, or it opens with a prefix of
        /// what was written, in which no byte is another one.
        #[test]
        fn whatever_files_there_are_it_opens_with_what_was_written_or_not_at_all(
            changes in prop::collection::vec((0..8_usize, change()), 1..6),
        ) {
            let mut files = closed();
            for (of_file, change) in &changes {
                apply(&mut files, *of_file, change);
            }
            let disk = disk_with(&files);
            match open(&disk) {
                Err(_) => prop_assert_eq!(crate::support::files(&disk), files),
                Ok((journal, _writer)) => {
                    let read = journal.read(A, 0..u64::MAX, usize::MAX).unwrap();
                    prop_assert!(read.len() <= 7);
                    for (index, entry) in (0..).zip(&read) {
                        let written = vec![u8::try_from(index).unwrap(); 700];
                        prop_assert_eq!((entry.id, &entry.payload[..]), (id(1, index), &written[..]));
                    }
                    prop_assert!(journal.read(B, 0..u64::MAX, usize::MAX).unwrap().is_empty());
                }
            }
        }
    }
}
