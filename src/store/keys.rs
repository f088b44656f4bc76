//! The keys on disk. Their order is the order of their parts; they may never change.
//!
//! ```text
//! heads      shard: u32 | id
//! blocks     shard: u32 | id | 0x00 | incarnation: u32 | first serial: u64
//! deadlines  shard: u32 | due: u64 | id
//! marks      shard: u32
//! living     shard: u32 | id
//! pieces     shard: u32 | id | 0x00 | incarnation: u32 | file number: u64 | offset: u64
//! ```
//! Numbers are big-endian. An id is the full name of a session, which never holds 0x00, so that ends it.

use std::io;
use std::ops::Bound;

use super::LogOf;
use super::engine::KeyRange;
use crate::ids::{Millis, Serial, SessionId};

pub(super) fn head(shard: u32, id: &SessionId) -> Vec<u8> {
    [&shard.to_be_bytes()[..], id.full().as_bytes()].concat()
}

/// Everything in the shard that begins with `prefix`, after `after` where one is given.
pub(super) fn heads_range(shard: u32, prefix: &str, after: Option<&str>) -> KeyRange {
    let shard = shard.to_be_bytes();
    let start = [&shard[..], prefix.as_bytes()].concat();
    let end = successor(start.clone());
    let start = match after.map(|after| [&shard[..], after.as_bytes()].concat()) {
        Some(after) if start <= after => Bound::Excluded(after),
        _ => Bound::Included(start),
    };
    // An empty range must not be given back to front.
    let beyond = match &start {
        Bound::Excluded(start) => end <= *start,
        _ => false,
    };
    let end = if beyond {
        start.clone().map(|start| [start, vec![0]].concat())
    } else {
        Bound::Excluded(end)
    };
    (start, end)
}

/// The first key that does not begin with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return prefix;
        }
    }
    vec![u8::MAX; 5]
}

pub(super) fn id_of_head(key: &[u8]) -> io::Result<String> {
    text(key.get(4..).unwrap_or_default())
}

pub(super) fn block(at: &LogOf<'_>, first: Serial) -> Vec<u8> {
    [&log(at)[..], &first.0.to_be_bytes()].concat()
}

/// The first serial of the block with this key.
///
/// # Errors
/// It is no key of a block.
pub(super) fn first_of_block(key: &[u8]) -> io::Result<Serial> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the key of a block is cut short");
    Ok(Serial(u64::from_be_bytes(*key.last_chunk().ok_or_else(short)?)))
}

/// The blocks that begin at or before `serial`.
pub(super) fn blocks_to(at: &LogOf<'_>, serial: Serial) -> KeyRange {
    (Bound::Included(log(at)), Bound::Included(block(at, serial)))
}

/// The blocks from `start` on, or all.
pub(super) fn blocks_from(at: &LogOf<'_>, start: Option<Vec<u8>>) -> KeyRange {
    let start = start.unwrap_or_else(|| log(at));
    (Bound::Included(start), Bound::Included(block(at, Serial(u64::MAX))))
}

pub(super) fn piece(at: &LogOf<'_>, number: u64, offset: u64) -> Vec<u8> {
    [&log(at)[..], &number.to_be_bytes(), &offset.to_be_bytes()].concat()
}

/// The pieces of a file that begin at or before an offset, or all.
pub(super) fn pieces_of(at: &LogOf<'_>, number: u64, to: Option<u64>) -> KeyRange {
    let last = to.unwrap_or(u64::MAX);
    (Bound::Included(piece(at, number, 0)), Bound::Included(piece(at, number, last)))
}

/// The pieces of all files of a life.
pub(super) fn pieces_in(at: &LogOf<'_>) -> KeyRange {
    (Bound::Included(piece(at, 0, 0)), Bound::Included(piece(at, u64::MAX, u64::MAX)))
}

/// The number of the file of a piece, and its offset there.
pub(super) fn place_of_piece(key: &[u8]) -> io::Result<(u64, u64)> {
    let place = key.split_last_chunk::<16>().map(|(_, place)| u128::from_be_bytes(*place));
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the key of a piece is cut short");
    let place = place.ok_or_else(short)?;
    Ok(((place >> 64) as u64, place as u64))
}

fn log(at: &LogOf<'_>) -> Vec<u8> {
    let shard = at.shard.to_be_bytes();
    let incarnation = at.incarnation.0.to_be_bytes();
    [&shard[..], at.id.full().as_bytes(), &[0], &incarnation[..]].concat()
}

pub(super) fn deadline(shard: u32, due: Millis, id: &SessionId) -> Vec<u8> {
    [&shard.to_be_bytes()[..], &due.0.to_be_bytes(), id.full().as_bytes()].concat()
}

pub(super) fn deadlines_to(shard: u32, now: Millis) -> KeyRange {
    let start = shard.to_be_bytes();
    let end = [&start[..], &now.0.saturating_add(1).to_be_bytes()].concat();
    (Bound::Included(start.to_vec()), Bound::Excluded(end))
}

pub(super) fn parts_of_deadline(key: &[u8]) -> io::Result<(Millis, SessionId)> {
    let (due, id) = key.get(4..).and_then(<[u8]>::split_first_chunk).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the key of a deadline is cut short")
    })?;
    let id = SessionId::read(&text(id)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((Millis(u64::from_be_bytes(*due)), id))
}

fn text(bytes: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(bytes);
    Ok(text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?.to_string())
}
