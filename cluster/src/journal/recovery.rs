//! Recovery: reads every segment in order, distinguishes a torn tail from damage, and repairs only the
//! former. Nothing on disk changes before everything was checked.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::OpenError;
use super::batch::{self, FRAME, Spot};
use super::disk::{Disk, File};
use super::ledger::{EntryPlace, Ledger};
use super::record::{self, salt};
use super::segment::{self, Head, Header, SECTOR, Segment};

/// What was found, repaired and ready to go on.
pub(super) struct Recovered {
    pub(super) journal: u64,
    pub(super) ledger: Ledger,
    /// All segments, oldest first; the active one is the last that holds a batch.
    pub(super) segments: Vec<Segment>,
    pub(super) active: usize,
    /// Number of the next batch.
    pub(super) number: u64,
    /// Whether the last batch is an empty one, or there is none.
    pub(super) confirmed: bool,
    /// Bytes of a torn batch that were cut.
    pub(super) cut_bytes: u64,
}

/// One segment while it is checked.
struct Scan {
    segment: Segment,
    /// Where bytes that are no zeros end.
    dirty: u64,
}

struct Walk {
    journal: Option<u64>,
    ledger: Ledger,
    scans: Vec<Scan>,
    active: Option<usize>,
    /// Number of the next batch, once the first was seen.
    number: Option<u64>,
    confirmed: bool,
    /// Where batches stopped first; a valid one after it is proof of damage.
    stop: Option<(u64, u64)>,
    last: Option<(usize, u64, Vec<u8>)>,
    /// A newest segment whose creation was interrupted.
    unfinished: Option<u64>,
}

/// Reads and repairs the journal in `dir`; `None` where there is none yet.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, OpenError> {
    let mut seqs: Vec<u64> =
        disk.list(dir)?.iter().filter_map(|name| segment::parse_name(name)).collect();
    seqs.sort_unstable();
    if let Some(pair) = seqs.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(corrupt(pair[0] + 1, 0, "the segment is missing"));
    }
    let mut walk = Walk {
        journal: None,
        ledger: Ledger::default(),
        scans: Vec::new(),
        active: None,
        number: None,
        confirmed: true,
        stop: None,
        last: None,
        unfinished: None,
    };
    for seq in &seqs {
        let file = disk.open(&segment::path(dir, *seq))?;
        walk.segment(*seq, file, Some(seq) == seqs.last())?;
    }
    walk.check()?;
    walk.repair(disk, dir)
}

impl Walk {
    fn segment(&mut self, seq: u64, file: Arc<dyn File>, newest: bool) -> Result<(), OpenError> {
        let bytes = load(file.as_ref())?;
        let header = match segment::parse(&bytes) {
            Head::Valid(header) if header.seq == seq => header,
            Head::Version(found) => return Err(OpenError::Format { segment: seq, found }),
            Head::Blank if newest && !claims(&bytes, seq, self.journal, SECTOR) => {
                self.unfinished = Some(seq);
                return Ok(());
            }
            _ => return Err(corrupt(seq, 0, "the header does not verify")),
        };
        if *self.journal.get_or_insert(header.journal) != header.journal {
            return Err(corrupt(seq, 0, "the segment belongs to another journal"));
        }
        let end = self.batches(&bytes, header)?;
        let dirty = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        let size = header.size.max(bytes.len() as u64);
        self.scans.push(Scan { segment: Segment { seq, file, end, size, reached: end }, dirty });
        Ok(())
    }

    /// Walks the batches of one segment and returns where they end.
    fn batches(&mut self, bytes: &[u8], header: Header) -> Result<u64, OpenError> {
        let (journal, segment) = (header.journal, header.seq);
        let mut at = SECTOR;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let offset = at as u64;
            let frame = batch::parse(rest, Spot { journal, segment, offset });
            if let Some(frame) = frame {
                let purged_head = self.scans.is_empty() && segment != 1;
                let first = if purged_head { frame.number } else { 1 };
                let expected = self.number.unwrap_or(first);
                if frame.number != expected {
                    let (segment, offset) = self.stop.unwrap_or((segment, offset));
                    return Err(corrupt(segment, offset, "batches are missing or damaged here"));
                }
                if frame.covers(rest) {
                    self.records(&rest[..FRAME + frame.length], frame.records, header, offset)?;
                    self.active = Some(self.scans.len());
                    self.last = Some((self.scans.len(), offset, rest[..frame.size()].to_vec()));
                    self.number = Some(expected + 1);
                    self.confirmed = frame.records == 0;
                    at += frame.size();
                    self.stop = Some((segment, at as u64));
                    continue;
                }
            }
            self.stop.get_or_insert((segment, offset));
            if claims(bytes, segment, Some(journal), at + SECTOR) {
                return Err(corrupt(segment, offset, "a batch was durable here and is damaged"));
            }
            return Ok(offset);
        }
    }

    fn records(
        &mut self,
        batch: &[u8],
        count: u32,
        header: Header,
        offset: u64,
    ) -> Result<(), OpenError> {
        let salt = salt(header.journal, header.seq);
        let (mut at, mut left) = (FRAME, count);
        while at < batch.len() {
            let here = offset + at as u64;
            let Some(found) = record::parse(&batch[at..], salt) else {
                return Err(corrupt(header.seq, here, "the record does not verify"));
            };
            let place = EntryPlace {
                term: found.id.term,
                node: found.id.node,
                segment: header.seq,
                offset: here,
                length: u32::try_from(found.payload.len()).unwrap_or(u32::MAX),
            };
            let payload = || Bytes::copy_from_slice(found.payload);
            self.ledger
                .apply(found.kind, found.group, found.id.index, place, payload)
                .map_err(|what| corrupt(header.seq, here, what))?;
            at += found.size();
            left = left.wrapping_sub(1);
        }
        if left != 0 {
            return Err(corrupt(header.seq, offset, "the batch does not hold what its frame says"));
        }
        Ok(())
    }

    /// What can be checked only at the end.
    fn check(&self) -> Result<(), OpenError> {
        let first = self.scans.first().map_or(1, |scan| scan.segment.seq);
        let stop = self.stop.unwrap_or((first, 0));
        if self.number.is_none() && first != 1 {
            return Err(corrupt(first, SECTOR as u64, "the first batch is damaged"));
        }
        if self.scans.is_empty() && self.unfinished.is_some_and(|seq| seq != 1) {
            return Err(corrupt(self.unfinished.unwrap_or(1), 0, "the header is lost"));
        }
        match self.ledger.hole() {
            Some(_) => Err(corrupt(stop.0, stop.1, "a group has lost entries it did not purge")),
            None => Ok(()),
        }
    }

    fn repair(self, disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, OpenError> {
        let mut cut_bytes = 0;
        for scan in self.scans.iter().skip(self.active.unwrap_or(0)) {
            let end = scan.segment.end;
            if end < scan.dirty {
                tracing::warn!(segment = scan.segment.seq, offset = end, "torn batch cut");
                cut_bytes += scan.dirty - end;
                let zeros = vec![0; usize::try_from(scan.dirty - end).unwrap_or(0)];
                scan.segment.file.write_at(&zeros, end)?;
                scan.segment.file.sync_data()?;
            }
        }
        // The page cache may show a batch that the disk does not have: write it once more.
        if let Some((at, offset, bytes)) = &self.last {
            let file = &self.scans[*at].segment.file;
            file.write_at(bytes, *offset)?;
            file.sync_data()?;
        }
        if let Some(seq) = self.unfinished {
            disk.remove(&segment::path(dir, seq))?;
        }
        // A name may be in the page cache only, too.
        disk.sync_dir(dir)?;
        let Some(journal) = self.journal else { return Ok(None) };
        Ok(Some(Recovered {
            journal,
            ledger: self.ledger,
            segments: self.scans.into_iter().map(|scan| scan.segment).collect(),
            active: self.active.unwrap_or(0),
            number: self.number.unwrap_or(1),
            confirmed: self.confirmed,
            cut_bytes,
        }))
    }
}

/// Whether a valid frame is anywhere from `from` on, at the places where frames may be.
fn claims(bytes: &[u8], segment: u64, journal: Option<u64>, from: usize) -> bool {
    (from..bytes.len()).step_by(SECTOR).any(|at| {
        let frame = &bytes[at..];
        if frame.len() < FRAME {
            return false;
        }
        let journal = journal.unwrap_or_else(|| record::u64_at(frame, 8));
        batch::parse(frame, Spot { journal, segment, offset: at as u64 }).is_some()
    })
}

fn load(file: &dyn File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let filled = file.read_at(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

fn corrupt(segment: u64, offset: u64, what: &'static str) -> OpenError {
    OpenError::Corrupt { segment, offset, what }
}
