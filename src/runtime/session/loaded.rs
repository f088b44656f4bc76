//! A session in memory: its state, its hot tail, and what of it is not on disk yet.

use std::io;
use std::sync::Arc;

use super::super::allowance::tally::Counted;
use super::super::aside::aside;
use super::super::envelope::{self, Envelope, Request, Ticket};
use super::super::outcome::{Reply, SubmitError};
use super::super::shard::Shard;
use super::super::tail::{Mark, Served, Shown, Tail};
use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::limits::{BLOCK_BYTES, BLOCK_EVENTS};
use crate::session::{Applied, Command, FileRequest, Refusal, Session, Stand};
use crate::store::LogOf;
use crate::store::kept::{Block, Head};

/// The session, applied up to some entry.
pub(super) struct Loaded {
    pub(super) session: Session,
    pub(super) tail: Served,
    /// Events in no block.
    unsealed: Vec<Arc<Shown>>,
    /// Payload bytes of those.
    unsealed_bytes: usize,
    /// Index + 1 of the last entry applied.
    pub(super) next: u64,
    /// Whether the head on disk lacks something.
    dirty: bool,
    filed: Option<Millis>,
    /// First serial below which no blocks are left …
    freed: Serial,
    /// … which is known only once it was looked for.
    freed_since_load: bool,
    counted: Counted,
}

pub(super) type Outcome = (Ticket, Result<Reply, SubmitError>);

impl Loaded {
    pub(super) fn absent(shard: &Shard, id: &SessionId) -> Loaded {
        let session = Session::absent(id.clone());
        let tail = Served::new(Tail::new(mark(&session)));
        Loaded {
            session,
            tail,
            unsealed: Vec::new(),
            unsealed_bytes: 0,
            next: 0,
            dirty: false,
            filed: None,
            freed: Serial::ZERO,
            freed_since_load: false,
            counted: Counted::new(shard.tally(), id),
        }
    }

    /// Becomes what the head holds.
    pub(super) fn take(&mut self, head: Head) {
        self.next = head.next;
        self.filed = head.filed;
        self.session = head.session;
        self.unsealed = head.unsealed.into_iter().map(Shown::new).collect();
        self.unsealed_bytes = bytes_of(&self.unsealed);
        self.dirty = false;
        self.counted.is_as_stored(self.session.holding());
        (self.freed, self.freed_since_load) = (self.session.first(), false);
        let life = self.mark().incarnation;
        self.tail.extend(life, self.unsealed.iter().cloned(), self.sealed());
        self.tail.publish(self.mark());
    }

    /// Files the deadline that the head has, unless it is filed. A head is written later than the row
    /// that files it, so a power cut may leave a newer row's traces with an older head.
    pub(super) fn file_as_the_head_says(&self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        match self.filed {
            Some(due) if !shard.store().is_filed(shard.number(), id, due)? => {
                shard.store().put_deadline(shard.number(), id, Some(due), None)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        mark(&self.session)
    }

    /// Whether anybody ever created it.
    pub(super) fn lived(&self) -> bool {
        self.session.incarnation().is_some()
    }

    /// Last serial that is in a block.
    fn sealed(&self) -> Serial {
        let first = self.unsealed.first().map(|shown| Serial(shown.event.serial.0 - 1));
        first.unwrap_or(self.session.tail())
    }

    pub(super) fn apply(
        &mut self,
        shard: &Shard,
        id: &SessionId,
        index: u64,
        time: Millis,
        commands: &[Envelope],
    ) -> io::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let was = self.mark();
        for envelope in commands {
            let outcome = self.apply_one(shard, id, index, time, &envelope.command)?;
            outcomes.push((envelope.ticket, outcome));
        }
        self.next = index + 1;
        self.dirty = true;
        self.counted.holds(|| self.session.holding());
        let now = self.mark();
        if was.incarnation != now.incarnation || was.live != now.live {
            // Births and deaths are listed from the store.
            shard.store().put_living(shard.number(), id, now.live)?;
            self.flush(shard, id)?;
        }
        self.file_sooner(shard, id)?;
        self.tail.publish(now);
        Ok(outcomes)
    }

    fn apply_one(
        &mut self,
        shard: &Shard,
        id: &SessionId,
        index: u64,
        time: Millis,
        command: &[u8],
    ) -> io::Result<Result<Reply, SubmitError>> {
        let Request { key, bounds, command } = match envelope::parse(command) {
            Ok(parsed) => parsed,
            Err(error) => {
                // Other replicas may understand it: to skip it would be another state under the same name.
                let id = id.for_operators();
                shard.stop(format!("entry {index} has a command for session {id}: {error}"));
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        };
        let mut events = Vec::new();
        let (was, lived) = (self.mark(), self.session.incarnation());
        let files = self.session.files_removed();
        let request = (key.as_ref(), &bounds);
        let applied = self.session.apply_within(time, request, &command, &mut events);
        if self.session.incarnation() != lived {
            self.nothing_is_unsealed();
            self.tail.clear();
        }
        if let (Command::File(request), Ok(Applied::File { file, changed: true })) =
            (&command, &applied)
            && let FileRequest::Put(piece) = &**request
        {
            let place = (file.number, piece.offset);
            shard.store().put_piece(&self.log(shard, id), place, index, &piece.bytes)?;
        }
        if files != self.session.files_removed() {
            self.free_files(shard, id, files)?;
        }
        if !events.is_empty() {
            let shown: Vec<_> = events.into_iter().map(Shown::new).collect();
            self.unsealed.extend(shown.iter().cloned());
            self.unsealed_bytes += bytes_of(&shown);
            self.seal(shard, id, index)?;
            self.tail.extend(self.mark().incarnation, shown.into_iter(), self.sealed());
        }
        // Before a head says that it is done: a killed process does it again.
        self.free(shard, id, was)?;
        Ok(match (applied, self.session.stand_of(key.as_ref())) {
            (Ok(applied), Some(Stand { incarnation, root, tail })) => {
                Ok(Reply { applied, incarnation, root, tail })
            }
            (applied, stand) => Err(SubmitError::Refused {
                // Where it was never created, nothing happened to it.
                refusal: applied.err().unwrap_or(Refusal::NotFound),
                incarnation: stand.map(|stand| stand.incarnation),
                root: stand.map(|stand| stand.root),
                tail: stand.map_or(Serial::ZERO, |stand| stand.tail),
            }),
        })
    }

    /// Seals what gathered; by count and bytes alone, so that every replica cuts the same blocks.
    fn seal(&mut self, shard: &Shard, id: &SessionId, index: u64) -> io::Result<()> {
        if self.unsealed.len() < BLOCK_EVENTS && self.unsealed_bytes < BLOCK_BYTES {
            return Ok(());
        }
        let Some(first) = self.unsealed.first().map(|shown| shown.event.serial) else {
            return Ok(());
        };
        let events = self.unsealed.iter().map(|shown| &shown.event).collect();
        shard.store().put_block(&self.log(shard, id), first, &Block { index, events })?;
        self.nothing_is_unsealed();
        Ok(())
    }

    fn nothing_is_unsealed(&mut self) {
        self.unsealed.clear();
        self.unsealed_bytes = 0;
    }

    pub(super) fn flush(&mut self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        // Of what never lived there is nothing to keep.
        if !self.dirty || !self.lived() {
            return Ok(());
        }
        let head = Head {
            next: self.next,
            session: &self.session,
            unsealed: self.unsealed.iter().map(|shown| &shown.event).collect(),
            filed: self.filed,
        };
        shard.put_head(id, &head)?;
        self.counted.was_stored();
        self.dirty = false;
        Ok(())
    }

    /// Frees the blocks of an ended life, and those that retention gave up.
    fn free(&mut self, shard: &Shard, id: &SessionId, was: Mark) -> io::Result<()> {
        let now = self.mark();
        let ended = was.kept && (was.incarnation != now.incarnation || !now.kept);
        if ended || was.first < now.first {
            shard.store().note_freed();
        }
        if was.first < now.first {
            self.unsealed.retain(|shown| now.first <= shown.event.serial);
            self.unsealed_bytes = bytes_of(&self.unsealed);
        }
        if ended {
            if !now.kept {
                self.nothing_is_unsealed();
            }
            let at = LogOf { incarnation: was.incarnation, ..self.log(shard, id) };
            (self.freed, self.freed_since_load) = (Serial::ZERO, false);
            // A long log has many.
            return aside(|| shard.store().free_blocks(&at, None, None));
        }
        let nothing_is_left = was.first < now.first && now.tail < now.first;
        if now.kept && (self.freed.0 + BLOCK_EVENTS as u64 <= now.first.0 || nothing_is_left) {
            // What was freed before is not gone through again.
            let from = self.freed_since_load.then_some(self.freed);
            (self.freed, self.freed_since_load) = (now.first, true);
            return shard.store().free_blocks(&self.log(shard, id), from, Some(now.first));
        }
        Ok(())
    }

    /// Frees the bytes of files that the session, or its life, has no more.
    fn free_files(
        &self,
        shard: &Shard,
        id: &SessionId,
        was: Option<(Incarnation, u64)>,
    ) -> io::Result<()> {
        let Some((incarnation, _)) = was else { return Ok(()) };
        let now = self.session.files_removed().map(|(incarnation, _)| incarnation);
        let files = self.session.files().iter().filter(|_| now == Some(incarnation));
        let numbers: Vec<u64> = files.map(|file| file.number).collect();
        shard.store().keep_files(&LogOf { incarnation, ..self.log(shard, id) }, &numbers)
    }

    /// Files a deadline that is not filed, or would come too late.
    fn file_sooner(&mut self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        match (self.session.deadline(), self.filed) {
            (Some(deadline), Some(filed)) if filed <= deadline => Ok(()),
            (None, _) => Ok(()),
            (deadline, _) => self.file(shard, id, deadline),
        }
    }

    /// Removes a row under which the session is not filed: a power cut kept it, and not the head that knew.
    pub(super) fn forget_stale(
        &mut self,
        shard: &Shard,
        id: &SessionId,
        row: Millis,
    ) -> io::Result<()> {
        if self.filed == Some(row) {
            return Ok(());
        }
        shard.store().put_deadline(shard.number(), id, None, Some(row))
    }

    /// Files the session anew, now that it was looked at.
    pub(super) fn file_again(
        &mut self,
        shard: &Shard,
        id: &SessionId,
        now: Millis,
    ) -> io::Result<()> {
        self.file(shard, id, self.session.next_look(now))
    }

    fn file(&mut self, shard: &Shard, id: &SessionId, deadline: Option<Millis>) -> io::Result<()> {
        if deadline != self.filed {
            shard.store().put_deadline(shard.number(), id, deadline, self.filed)?;
            self.filed = deadline;
            self.dirty = true;
        }
        Ok(())
    }

    fn log<'a>(&self, shard: &Shard, id: &'a SessionId) -> LogOf<'a> {
        let incarnation = self.session.incarnation().unwrap_or(crate::ids::Incarnation::FIRST);
        LogOf { shard: shard.number(), id, incarnation }
    }
}

fn bytes_of(events: &[Arc<Shown>]) -> usize {
    events.iter().map(|shown| shown.event.payload.len()).sum()
}

pub(in crate::runtime) fn mark(session: &Session) -> Mark {
    Mark {
        incarnation: session.incarnation().unwrap_or(crate::ids::Incarnation(0)),
        first: session.first(),
        tail: session.tail(),
        closed: session.is_closed(),
        live: session.is_live(),
        kept: session.is_kept(),
        served: true,
    }
}
