//! The files of a session: what the session knows about them, not their bytes, which lie beside the log's blocks.
//!
//! A file comes in pieces, each at the offset where the last one ended, so that a repetition is known by its
//! offset. Its hash is carried along as the pieces come, and the last one is taken only if it fits. Every event whose
//! payload has a file's name refers to it. Logs lose events only at their beginning, so the last event that refers
//! to a file decides how long the file lives. A file that is not whole, or that no event refers to, lives for a while.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::digest::generic_array::GenericArray;

use crate::content_type::ContentType;
use crate::event::Event;
use crate::ids::{FileId, Millis, Serial};
use crate::limits::{self, FILE_UNIT};
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;

/// A request about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// Announces a file whose bytes are to come.
    Begin(BeginFile),
    /// Brings the next of its bytes.
    Put(Piece),
    /// Gives up a file that no event refers to, or that is not whole.
    Drop {
        /// Its name.
        file: FileId,
        /// See [`File::number`].
        number: u64,
        /// The hash that it was announced with: another one of its name, in this life or the next, is not meant.
        sha256: [u8; 32],
    },
    /// Gives up the one that was announced as this number, unless it has become whole: its bytes are others.
    GiveUp {
        /// Its name.
        file: FileId,
        /// See [`File::number`].
        number: u64,
    },
}

/// A file that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginFile {
    /// Its name; who names it again with the same size, hash and type finds it.
    pub id: FileId,
    /// 1 to [`limits::FILE_BYTES`].
    pub size: u64,
    /// SHA-256 of all its bytes.
    pub sha256: [u8; 32],
    /// What the bytes are, if the client names it.
    pub media_type: Option<ContentType>,
    /// Its name for people, up to [`limits::FILE_NAME_BYTES`] bytes without control characters.
    pub name: Option<String>,
    /// How long it is kept while nothing of it comes, and when it is whole and no event refers to it, in milliseconds;
    /// within [`limits::FILE_KEEP_MS_RANGE`].
    pub keep_ms: u64,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Of which one.
    pub file: FileId,
    /// The hash that it was announced with: a name may be announced anew meanwhile, for other bytes.
    pub sha256: [u8; 32],
    /// Where they begin in the file, in bytes.
    pub offset: u64,
    /// Up to [`limits::PIECE_BYTES`]; a multiple of [`FILE_UNIT`], or they end the file.
    pub bytes: Bytes,
}

/// What a session knows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub id: FileId,
    /// Which file of this life of the session it is, from 0: a name may be given again, a number never is.
    pub number: u64,
    /// Bytes that it has, or will have.
    pub size: u64,
    /// SHA-256 of all its bytes.
    pub sha256: [u8; 32],
    /// What the bytes are, if the client named it.
    pub media_type: Option<ContentType>,
    /// Its name for people.
    pub name: Option<String>,
    /// Bytes that have come.
    pub received: u64,
    /// The hash of what has come, half way.
    hash: [u32; 8],
    /// When it was announced.
    pub begun_at: Millis,
    /// When something of it came last.
    pub touched_at: Millis,
    /// See [`BeginFile::keep_ms`].
    pub keep_ms: u64,
    /// The first and the last event that refer to it.
    pub cited: Option<(Serial, Serial)>,
}

/// Why there can be no such file, or piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BadFile {
    /// It has no byte.
    Empty,
    /// Its name for people is empty, too long, or has a control character.
    Name,
    /// The time for which it is to be kept is out of its range.
    KeepMs,
    /// A piece is larger than [`limits::PIECE_BYTES`], or neither a multiple of [`FILE_UNIT`] nor the last one.
    Piece,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keep = limits::FILE_KEEP_MS_RANGE;
        match self {
            BadFile::Empty => write!(f, "it has no byte"),
            BadFile::Name => write!(
                f,
                "its name for people must be 1 to {} bytes without control characters",
                limits::FILE_NAME_BYTES
            ),
            BadFile::KeepMs => {
                write!(f, "it may be kept for {} to {} ms", keep.start(), keep.end())
            }
            BadFile::Piece => write!(
                f,
                "a piece has up to {} bytes, and a multiple of {FILE_UNIT} unless it is the last one",
                limits::PIECE_BYTES
            ),
        }
    }
}

/// The files of one life of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files {
    /// How many there ever were.
    begun: u64,
    /// In order of their numbers; up to [`limits::FILES`].
    all: Vec<File>,
    /// Names in events of files that are not here, or not yet; up to [`limits::FILES_AHEAD`], those of the last events.
    ahead: Vec<Ahead>,
}

/// A file that events refer to before it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ahead {
    id: FileId,
    /// The first and the last of them.
    cited: (Serial, Serial),
}

impl BeginFile {
    /// Whether it can be taken at all.
    ///
    /// # Errors
    /// What it says is beyond limits.
    pub fn check(&self) -> Result<(), Refusal> {
        if limits::FILE_BYTES < self.size {
            return Err(Refusal::FileTooLarge { bytes: self.size, limit: limits::FILE_BYTES });
        }
        let bad = |why| Err(Refusal::BadFile(why));
        if self.size == 0 {
            return bad(BadFile::Empty);
        }
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            return bad(BadFile::Name);
        }
        if !limits::FILE_KEEP_MS_RANGE.contains(&self.keep_ms) {
            return bad(BadFile::KeepMs);
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::FILE_NAME_BYTES && !name.contains(char::is_control)
}

impl File {
    /// Whether all its bytes are there.
    pub fn is_whole(&self) -> bool {
        self.received == self.size
    }

    /// When it is given up, unless something of it comes or an event refers to it; none for one that is referred to.
    pub fn expires_at(&self) -> Option<Millis> {
        let is_kept = self.is_whole() && self.cited.is_some();
        (!is_kept).then(|| self.touched_at.after(self.keep_ms))
    }

    fn is_as(&self, begin: &BeginFile) -> bool {
        self.size == begin.size
            && self.sha256 == begin.sha256
            && self.media_type == begin.media_type
            && self.name == begin.name
    }

    fn holds(&self, first: Serial, tail: Serial) -> bool {
        let cited = self.cited.is_none_or(|(from, to)| from <= to && first <= to && to <= tail);
        let size = (1..=limits::FILE_BYTES).contains(&self.size) && self.received <= self.size;
        let named = self.name.as_deref().is_none_or(is_name);
        let even = self.is_whole() || self.received.is_multiple_of(FILE_UNIT as u64);
        cited && size && named && even && limits::FILE_KEEP_MS_RANGE.contains(&self.keep_ms)
    }
}

impl Files {
    pub(crate) fn all(&self) -> &[File] {
        &self.all
    }

    /// How many are no more.
    pub(crate) fn removed(&self) -> u64 {
        self.begun - self.all.len() as u64
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.all.iter().map(|file| file.received).sum()
    }

    /// When the next one is given up.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.all.iter().filter_map(File::expires_at).min()
    }

    /// Whether what is stored can be, for a log from `first` to `tail`.
    pub(crate) fn holds(&self, first: Serial, tail: Serial) -> bool {
        let in_order = self.all.windows(2).all(|pair| pair[0].number < pair[1].number);
        let numbered = self.all.last().is_none_or(|last| last.number < self.begun);
        let few = self.all.len() <= limits::FILES && self.coming() <= limits::UPLOADS;
        let counted = self.all.len() as u64 <= self.begun;
        let each = self.all.iter().all(|file| file.holds(first, tail));
        let is_ahead = |ahead: &Ahead| {
            let (from, to) = ahead.cited;
            from <= to && first <= to && to <= tail && self.place(&ahead.id).is_err()
        };
        let ahead = self.ahead.len() <= limits::FILES_AHEAD && self.ahead.iter().all(is_ahead);
        in_order && numbered && few && counted && each && ahead
    }

    /// Notes the names that events have, each with where the first and the last of them is. Costs what files and names
    /// there are, whatever the events hold.
    fn cite(&mut self, mut names: BTreeMap<&str, (Serial, Serial)>) {
        for file in &mut self.all {
            if let Some((first, last)) = names.remove(file.id.as_str()) {
                file.cited = Some((file.cited.map_or(first, |(first, _)| first), last));
            }
        }
        for ahead in &mut self.ahead {
            if let Some((_, last)) = names.remove(ahead.id.as_str()) {
                ahead.cited.1 = last;
            }
        }
        let new = names
            .into_iter()
            .filter_map(|(name, cited)| Some(Ahead { id: FileId::parse(name).ok()?, cited }));
        self.ahead.extend(new);
        let beyond = self.ahead.len().saturating_sub(limits::FILES_AHEAD);
        if 0 < beyond {
            self.ahead.sort_by_key(|ahead| ahead.cited.1);
            self.ahead.drain(..beyond);
        }
    }

    /// Remembers what refers to a file that is not here.
    fn expect_file(&mut self, id: FileId, cited: (Serial, Serial)) {
        if limits::FILES_AHEAD <= self.ahead.len() {
            let oldest = (0..self.ahead.len()).min_by_key(|at| self.ahead[*at].cited.1);
            oldest.map(|at| self.ahead.remove(at));
        }
        self.ahead.push(Ahead { id, cited });
    }

    /// Lets go of a file; what refers to it is remembered for another one of its name.
    fn remove(&mut self, at: usize) -> File {
        let file = self.all.remove(at);
        if let Some(cited) = file.cited {
            self.expect_file(file.id.clone(), cited);
        }
        file
    }

    fn coming(&self) -> usize {
        self.all.iter().filter(|file| !file.is_whole()).count()
    }

    fn place(&self, id: &FileId) -> Result<usize, Refusal> {
        self.all.iter().position(|file| file.id == *id).ok_or(Refusal::NoSuchFile)
    }
}

impl Live {
    /// Takes a file, or gives one up.
    pub(crate) fn file(&mut self, now: Millis, request: &FileRequest) -> Result<Applied, Refusal> {
        let (file, changed) = match request {
            FileRequest::Begin(begin) => self.begin_file(now, begin)?,
            FileRequest::Put(piece) => self.put_piece(now, piece)?,
            FileRequest::Drop { file, number, sha256 } => {
                (self.drop_file(file, *number, sha256)?, true)
            }
            FileRequest::GiveUp { file, number } => self.give_up_file(file, *number)?,
        };
        if changed {
            (self.touched_at, self.clock) = (now, now);
        }
        Ok(Applied::File { file: Box::new(file), changed })
    }

    fn begin_file(&mut self, now: Millis, begin: &BeginFile) -> Result<(File, bool), Refusal> {
        if let Ok(at) = self.files.place(&begin.id) {
            let known = &self.files.all[at];
            let same = known.is_as(begin).then(|| (known.clone(), false));
            return same.ok_or(Refusal::FileDiffers);
        }
        self.check_takes_files()?;
        begin.check()?;
        if limits::FILES <= self.files.all.len() {
            return Err(Refusal::TooManyFiles { limit: limits::FILES, coming: false });
        }
        if limits::UPLOADS <= self.files.coming() {
            return Err(Refusal::TooManyFiles { limit: limits::UPLOADS, coming: true });
        }
        let ahead = self.files.ahead.iter().position(|ahead| ahead.id == begin.id);
        let cited = ahead.map(|at| self.files.ahead.remove(at).cited);
        let file = File {
            id: begin.id.clone(),
            number: self.files.begun,
            size: begin.size,
            sha256: begin.sha256,
            media_type: begin.media_type.clone(),
            name: begin.name.clone(),
            received: 0,
            hash: SHA256,
            begun_at: now,
            touched_at: now,
            keep_ms: begin.keep_ms,
            cited,
        };
        self.files.begun += 1;
        self.files.all.push(file.clone());
        Ok((file, true))
    }

    fn put_piece(&mut self, now: Millis, piece: &Piece) -> Result<(File, bool), Refusal> {
        let at = self.files.place(&piece.file)?;
        let file = &self.files.all[at];
        if file.sha256 != piece.sha256 {
            return Err(Refusal::NoSuchFile);
        }
        let (size, received) = (file.size, file.received);
        let end = piece.offset.saturating_add(piece.bytes.len() as u64);
        if size < end {
            return Err(Refusal::FileTooLarge { bytes: end, limit: size });
        }
        if end <= received {
            return Ok((file.clone(), false));
        }
        if piece.offset != received {
            return Err(Refusal::FileOffset { expected: received, given: piece.offset });
        }
        self.check_takes_files()?;
        let even = end == size || piece.bytes.len().is_multiple_of(FILE_UNIT);
        if limits::PIECE_BYTES < piece.bytes.len() || !even {
            return Err(Refusal::BadFile(BadFile::Piece));
        }
        let mut hash = file.hash;
        let rest = take(&mut hash, &piece.bytes);
        if end == size && finish(hash, rest, size) != file.sha256 {
            return Err(Refusal::HashMismatch);
        }
        let file = &mut self.files.all[at];
        (file.received, file.hash, file.touched_at) = (end, hash, now);
        Ok((file.clone(), true))
    }

    fn drop_file(&mut self, id: &FileId, number: u64, hash: &[u8; 32]) -> Result<File, Refusal> {
        let at = self.files.place(id)?;
        let file = &self.files.all[at];
        match file.cited {
            _ if file.number != number || file.sha256 != *hash => Err(Refusal::NoSuchFile),
            Some((_, at)) if file.is_whole() => Err(Refusal::FileInUse { at }),
            _ => Ok(self.files.remove(at)),
        }
    }

    fn give_up_file(&mut self, id: &FileId, number: u64) -> Result<(File, bool), Refusal> {
        let at = self.files.place(id)?;
        match &self.files.all[at] {
            file if file.number == number && !file.is_whole() => Ok((self.files.remove(at), true)),
            file => Ok((file.clone(), false)),
        }
    }

    fn check_takes_files(&self) -> Result<(), Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed { tail: self.log.tail });
        }
        self.check_standing()
    }

    /// Notes what new events refer to.
    pub(crate) fn cite_files(&mut self, new: &[Event]) {
        let mut names = BTreeMap::new();
        for event in new {
            for name in FileId::named_in(&event.payload) {
                names.entry(name).or_insert((event.serial, event.serial)).1 = event.serial;
            }
        }
        if !names.is_empty() {
            self.files.cite(names);
        }
    }

    /// Lets go of what only events referred to that are no more: only a log that begins later has such.
    pub(crate) fn forget_files(&mut self) {
        let first = self.log.first;
        self.files.ahead.retain(|ahead| first <= ahead.cited.1);
        self.files.all.retain_mut(|file| {
            let gone = file.cited.take_if(|(_, last)| *last < first).is_some();
            !gone || !file.is_whole()
        });
    }

    /// Gives up files to which nothing has come, or no event has referred, for too long; returns whether there were
    /// any.
    pub(crate) fn expire_files(&mut self, now: Millis) -> bool {
        let is_over = |file: &File| file.expires_at().is_some_and(|at| at <= now);
        let mut expired = false;
        while let Some(at) = self.files.all.iter().position(is_over) {
            self.files.remove(at);
            expired = true;
        }
        if expired {
            self.clock = now;
        }
        expired
    }
}

/// SHA-256 of nothing yet (FIPS 180-4, 5.3.3).
const SHA256: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Takes whole blocks into a hash; the bytes after them are left.
fn take<'b>(hash: &mut [u32; 8], bytes: &'b [u8]) -> &'b [u8] {
    let blocks = bytes.chunks_exact(FILE_UNIT);
    let rest = blocks.remainder();
    blocks.for_each(|block| {
        sha2::compress256(hash, std::slice::from_ref(GenericArray::from_slice(block)));
    });
    rest
}

/// The hash of `size` bytes in all, of which the last few are `rest` (FIPS 180-4, 5.1.1).
fn finish(mut hash: [u32; 8], rest: &[u8], size: u64) -> [u8; 32] {
    let mut last = rest.to_vec();
    last.push(0x80);
    while last.len() % FILE_UNIT != FILE_UNIT - 8 {
        last.push(0);
    }
    last.extend_from_slice(&(8 * size).to_be_bytes());
    take(&mut hash, &last);
    let mut digest = [0; 32];
    for (to, word) in digest.chunks_exact_mut(4).zip(hash) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = SHA256;
    let rest = take(&mut hash, bytes);
    finish(hash, rest, bytes.len() as u64)
}
