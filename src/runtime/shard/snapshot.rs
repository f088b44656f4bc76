//! What another replica lacks: heads that changed since an entry, and the blocks after them.
//!
//! A chunk is one record through the codec. The source reads the live store: it may be ahead of the
//! checkpoint it is sent for, which does no harm, because each head records which entries it knows.

use std::io;

use bytes::Bytes;
use cluster::codec;
use cluster::machine::{SnapshotSource, Staged};
use serde::{Deserialize, Serialize};

use super::Shard;
use crate::ids::{Incarnation, SessionId};
use crate::store::kept::{Block, Head, StoredPiece};
use crate::store::{LogOf, PlacedPiece, Store};

const VERSION: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Block {
        id: SessionId,
        incarnation: Incarnation,
        block: Block,
    },
    /// Comes after its blocks and pieces.
    Head {
        id: SessionId,
        head: Head,
    },
    /// Bytes of a file.
    Piece {
        id: SessionId,
        incarnation: Incarnation,
        number: u64,
        offset: u64,
        piece: StoredPiece,
    },
}

type Heads = Box<dyn Iterator<Item = io::Result<(String, Head)>> + Send>;
type Pieces = Box<dyn Iterator<Item = io::Result<PlacedPiece>> + Send>;
type Blocks = Box<dyn Iterator<Item = io::Result<Block>> + Send>;

/// Reads what changed since an entry.
pub(super) struct Source {
    store: Store,
    shard: u32,
    since_next: u64,
    heads: Heads,
    current: Option<Current>,
}

struct Current {
    id: SessionId,
    incarnation: Incarnation,
    head: Option<Head>,
    blocks: Blocks,
    pieces: Pieces,
}

impl Source {
    pub(super) fn new(shard: &Shard, since_next: u64) -> Source {
        Source::of(shard.store().clone(), shard.number(), since_next)
    }

    fn of(store: Store, shard: u32, since_next: u64) -> Source {
        let heads = Box::new(store.heads_since(shard, since_next));
        Source { store, shard, since_next, heads, current: None }
    }

    fn open(&self, id: &str, head: Head) -> io::Result<Current> {
        let id = SessionId::read(id).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        // Of a name that has no log now, there are no blocks.
        let incarnation = kept(&head).unwrap_or(Incarnation(0));
        let at = LogOf { shard: self.shard, id: &id, incarnation };
        let blocks: Blocks = Box::new(self.store.newest_blocks(&at, self.since_next));
        let numbers = numbers(&head);
        let pieces: Pieces = Box::new(self.store.newest_pieces(&at, &numbers, self.since_next));
        Ok(Current { id, incarnation, head: Some(head), blocks, pieces })
    }
}

impl SnapshotSource for Source {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(current) = &mut self.current {
                let id = current.id.clone();
                if let Some(block) = current.blocks.next().transpose()? {
                    let incarnation = current.incarnation;
                    return Ok(Some(encode(&Record::Block { id, incarnation, block })));
                }
                if let Some((number, offset, piece)) = current.pieces.next().transpose()? {
                    let incarnation = current.incarnation;
                    let record = Record::Piece { id, incarnation, number, offset, piece };
                    return Ok(Some(encode(&record)));
                }
                if let Some(head) = current.head.take() {
                    return Ok(Some(encode(&Record::Head { id, head })));
                }
                self.current = None;
            }
            let Some((id, head)) = self.heads.next().transpose()? else { return Ok(None) };
            self.current = Some(self.open(&id, head)?);
        }
    }
}

fn encode(record: &Record) -> Bytes {
    codec::encode(VERSION, record).into()
}

/// Writes a received snapshot into the store. Heads that this replica has newer are left alone.
pub(super) fn install(shard: &Shard, staged: &Staged) -> io::Result<()> {
    let store = shard.store();
    for chunk in staged.chunks()? {
        let record = codec::decode(VERSION, &chunk?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match record {
            Record::Block { id, incarnation, block } => {
                let at = LogOf { shard: shard.number(), id: &id, incarnation };
                if let Some(first) = block.first() {
                    store.put_block(&at, first, &block)?;
                }
            }
            Record::Piece { id, incarnation, number, offset, piece } => {
                let at = LogOf { shard: shard.number(), id: &id, incarnation };
                store.put_piece(&at, (number, offset), piece.index, &piece.bytes)?;
            }
            Record::Head { id, head } => {
                let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
                head.session.check().map_err(wrong)?;
                let old = store.head(shard.number(), &id)?;
                let stays = old.as_ref().filter(|old| head.next <= old.next);
                keep_files(shard, &id, [old.as_ref(), Some(&head)], stays.unwrap_or(&head))?;
                if stays.is_none() {
                    if old.is_some() {
                        // The new head may have less than the old one.
                        store.note_freed();
                    }
                    free_ended(shard, &id, old.as_ref(), &head)?;
                    let filed = old.as_ref().and_then(|old| old.filed);
                    store.put_deadline(shard.number(), &id, head.filed, filed)?;
                    store.put_living(shard.number(), &id, head.session.is_live())?;
                    store.put_head(shard.number(), &id, &head)?;
                    if let Some(tally) = shard.tally() {
                        let before = old.map(|old| old.session.holding()).unwrap_or_default();
                        tally.change(&id, &before, &head.session.holding());
                    }
                }
            }
        }
    }
    Ok(())
}

/// The files of a session.
fn numbers(head: &Head) -> Vec<u64> {
    head.session.files().iter().map(|file| file.number).collect()
}

/// Frees what is here of files that the head which stays does not have.
fn keep_files(
    shard: &Shard,
    id: &SessionId,
    heads: [Option<&Head>; 2],
    stays: &Head,
) -> io::Result<()> {
    for incarnation in heads.into_iter().flatten().filter_map(kept) {
        let numbers = if kept(stays) == Some(incarnation) { numbers(stays) } else { Vec::new() };
        let at = LogOf { shard: shard.number(), id, incarnation };
        shard.store().keep_files(&at, &numbers)?;
    }
    Ok(())
}

/// The life whose log a session has.
fn kept(head: &Head) -> Option<Incarnation> {
    head.session.incarnation().filter(|_| head.session.is_kept())
}

/// Frees the blocks of a life that ended meanwhile.
fn free_ended(shard: &Shard, id: &SessionId, old: Option<&Head>, new: &Head) -> io::Result<()> {
    match old.and_then(kept) {
        Some(incarnation) if kept(new) != Some(incarnation) => {
            shard.store().free_blocks(&LogOf { shard: shard.number(), id, incarnation }, None, None)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::ids::{FileId, Millis};
    use crate::session::{BeginFile, Command, Config, FileRequest, Session};

    fn absent(id: &str) -> Session {
        Session::absent(SessionId::parse(id).expect("a name"))
    }

    fn head(id: &str, next: u64, filed: Option<Millis>) -> Head {
        Head { next, session: absent(id), unsealed: Vec::new(), filed }
    }

    #[test]
    fn of_a_head_that_did_not_change_only_its_place_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let id = |id: &str| SessionId::parse(id).expect("a name");
        for (name, next) in [("a", 4), ("c", 9), ("d", 8)] {
            store.put_head(1, &id(name), &head(name, next, None)).expect("it is written");
        }
        // Its place is 7; the rest is no head, and whoever looks at it fails.
        store.put_head_bytes(1, &id("b"), &[1, 7, 255, 255]).expect("it is written");
        let sent = |since| {
            let mut source = Source::of(store.clone(), 1, since);
            let mut heads = Vec::new();
            while let Some(chunk) = source.next_chunk()? {
                match codec::decode(VERSION, &chunk).expect("it decodes") {
                    Record::Head { id, head } => heads.push((id.full().to_owned(), head.next)),
                    Record::Block { .. } | Record::Piece { .. } => panic!("there are none"),
                }
            }
            io::Result::Ok(heads)
        };
        assert_eq!(sent(8).expect("the old ones are passed by"), [("c".to_string(), 9)]);
        assert_eq!(sent(9).expect("nothing changed"), []);
        assert!(sent(6).is_err(), "the broken one is looked at where it is wanted");
    }

    #[test]
    fn the_pieces_of_files_that_came_since_are_sent_before_their_head() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let mut session = absent("s");
        let begin = BeginFile {
            id: FileId::parse("file_0123456789abcdef").expect("a name"),
            size: 300,
            sha256: [0; 32],
            media_type: None,
            name: None,
            keep_ms: 5_000,
        };
        let begin = Command::File(Box::new(FileRequest::Begin(begin)));
        for command in [Config::default().into(), begin] {
            session.apply(Millis(1), &command, &mut Vec::new()).expect("it is applied");
        }
        let (id, incarnation) = (session.id().clone(), Incarnation(1));
        let at = LogOf { shard: 1, id: &id, incarnation };
        for (number, offset, index) in [(0, 0, 5), (0, 64, 7), (0, 128, 8), (1, 0, 8)] {
            let bytes = Bytes::from(vec![index as u8; 64]);
            store.put_piece(&at, (number, offset), index, &bytes).expect("it is written");
        }
        let head: Head = Head { next: 9, session, unsealed: Vec::new(), filed: None };
        store.put_head(1, &id, &head).expect("it is written");
        let sent = |since| {
            let mut source = Source::of(store.clone(), 1, since);
            let mut all = Vec::new();
            while let Some(chunk) = source.next_chunk().expect("it is read") {
                all.push(match codec::decode(VERSION, &chunk).expect("it decodes") {
                    Record::Piece { number, offset, piece, .. } => (number, offset, piece.index),
                    Record::Head { head, .. } => (u64::MAX, u64::MAX, head.next),
                    Record::Block { .. } => panic!("there are no blocks"),
                });
            }
            all
        };
        // Of a file that the session does not have, nothing is sent.
        let last = (u64::MAX, u64::MAX, 9);
        assert_eq!(sent(0), [(0, 128, 8), (0, 64, 7), (0, 0, 5), last]);
        assert_eq!(sent(7), [(0, 128, 8), (0, 64, 7), last]);
        assert_eq!(sent(9), []);
    }

    #[test]
    fn what_a_snapshot_carries_keeps_its_bytes() {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let block = Block { index: 3, events: vec![crate::store::kept::sample()] };
        let head = head("s", 4, Some(Millis(6)));
        let piece = StoredPiece { index: 3, bytes: Bytes::from_static(b"hi") };
        let s = || SessionId::parse("s").expect("a name");
        for (record, wanted) in [
            (
                Record::Block { id: s(), incarnation: Incarnation(1), block },
                expect!["01000173010301070904746578740268690b000000"],
            ),
            (Record::Head { id: s(), head }, expect!["0101017304017300000000000106"]),
            (
                Record::Piece {
                    id: s(),
                    incarnation: Incarnation(1),
                    number: 2,
                    offset: 64,
                    piece,
                },
                expect!["0102017301024003026869"],
            ),
        ] {
            let bytes = encode(&record);
            wanted.assert_eq(&hex(&bytes));
            let back: Record = codec::decode(VERSION, &bytes).expect("it decodes");
            assert_eq!(encode(&back), bytes);
        }
    }
}
