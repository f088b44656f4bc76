//! The bytes of sessions' files, beside the blocks of their logs: one row for each piece that a command brought,
//! under the life, the file's number and the piece's offset. Written once, read in ranges, freed by file.

use std::io;

use bytes::Bytes;
use cluster::codec;

use super::engine::Table;
use super::kept::{PIECE_VERSION, StoredPiece};
use super::{LogOf, Store, decode, keys};

/// A piece, and where it lies: the number of its file, and its offset there in bytes.
pub type PlacedPiece = (u64, u64, StoredPiece);

impl Store {
    /// Writes a piece of a file.
    ///
    /// # Errors
    /// The piece may or may not be there.
    pub fn put_piece(
        &self,
        at: &LogOf<'_>,
        (number, offset): (u64, u64),
        index: u64,
        bytes: &Bytes,
    ) -> io::Result<()> {
        let key = keys::piece(at, number, offset);
        let row = codec::encode(PIECE_VERSION, &StoredPiece { index, bytes: bytes.clone() });
        self.write("a piece of a file", |engine| engine.insert(Table::Pieces, key, row))
    }

    /// Up to `most` bytes of a file from `from` on: at least one, and not beyond the piece that has the first; none
    /// where this disk does not have it.
    ///
    /// # Errors
    /// The disk fails or the piece is damaged.
    pub fn file_bytes(
        &self,
        at: &LogOf<'_>,
        number: u64,
        from: u64,
        most: usize,
    ) -> io::Result<Option<Bytes>> {
        let range = keys::pieces_of(at, number, Some(from));
        let row = self.engine.snapshot().rows(Table::Pieces, range).next_back();
        let Some(row) = row.transpose()? else { return Ok(None) };
        let (_, offset) = keys::place_of_piece(&row.0)?;
        let piece: StoredPiece = decode(PIECE_VERSION, &row.1)?;
        let skipped = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = piece.bytes.len();
        let found = (skipped < length)
            .then(|| piece.bytes.slice(skipped..skipped.saturating_add(most).min(length)));
        Ok(found)
    }

    /// The pieces of these files that came with entry `since` or later, file by file, newest first.
    pub fn newest_pieces(
        &self,
        at: &LogOf<'_>,
        numbers: &[u64],
        since: u64,
    ) -> impl Iterator<Item = io::Result<PlacedPiece>> + use<> {
        let view = self.engine.snapshot();
        let ranges: Vec<_> =
            numbers.iter().map(|number| keys::pieces_of(at, *number, None)).collect();
        ranges.into_iter().flat_map(move |range| {
            let rows = view.rows(Table::Pieces, range).rev().map(placed);
            rows.take_while(move |piece| {
                piece.as_ref().map_or(true, |piece| since <= piece.2.index)
            })
        })
    }

    /// Removes the pieces of all files of this life but those with these numbers.
    ///
    /// # Errors
    /// Some may be left; removing again is harmless.
    pub fn keep_files(&self, at: &LogOf<'_>, numbers: &[u64]) -> io::Result<()> {
        let view = self.engine.snapshot();
        for key in view.keys(Table::Pieces, keys::pieces_in(at)) {
            let key = key?;
            let (number, _) = keys::place_of_piece(&key)?;
            if !numbers.contains(&number) {
                self.write("a freed piece", |engine| engine.remove(Table::Pieces, &key))?;
                self.note_freed();
            }
        }
        Ok(())
    }
}

fn placed(row: io::Result<(Bytes, Bytes)>) -> io::Result<PlacedPiece> {
    let (key, value) = row?;
    let (number, offset) = keys::place_of_piece(&key)?;
    Ok((number, offset, decode(PIECE_VERSION, &value)?))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryDisk;
    use super::*;
    use crate::ids::{Incarnation, SessionId};

    #[test]
    fn ranges_are_read_and_what_is_not_kept_goes() {
        let store = Store::in_memory(&MemoryDisk::new(1));
        let id = SessionId::parse("s").unwrap();
        let at = LogOf { shard: 1, id: &id, incarnation: Incarnation(1) };
        let next = LogOf { incarnation: Incarnation(2), ..at };
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        for (at, number, offset, index, text) in [
            (at, 1, 0, 5, "abc"),
            (at, 1, 3, 6, "def"),
            (at, 2, 0, 7, "xyz"),
            (next, 1, 0, 9, "new"),
        ] {
            store.put_piece(&at, (number, offset), index, &bytes(text)).unwrap();
        }
        let read = |at, number, from, most| store.file_bytes(at, number, from, most).unwrap();
        assert_eq!(read(&at, 1, 1, 9), Some(bytes("bc")));
        assert_eq!(read(&at, 1, 3, 2), Some(bytes("de")));
        assert_eq!(read(&at, 1, 6, 9), None);
        assert_eq!(read(&at, 3, 0, 9), None);
        let newest = |numbers: &[u64], since| -> Vec<_> {
            let pieces = store.newest_pieces(&at, numbers, since).map(Result::unwrap);
            pieces.map(|(number, offset, piece)| (number, offset, piece.bytes)).collect()
        };
        assert_eq!(newest(&[1, 2], 6), [(1, 3, bytes("def")), (2, 0, bytes("xyz"))]);
        assert_eq!(newest(&[1], 0), [(1, 3, bytes("def")), (1, 0, bytes("abc"))]);
        store.keep_files(&at, &[2]).unwrap();
        assert_eq!((read(&at, 1, 0, 9), read(&at, 2, 0, 9)), (None, Some(bytes("xyz"))));
        assert_eq!(read(&next, 1, 0, 9), Some(bytes("new")), "another life's stay");
        store.keep_files(&at, &[]).unwrap();
        assert_eq!((read(&at, 2, 0, 9), store.freed()), (None, 3));
    }
}
