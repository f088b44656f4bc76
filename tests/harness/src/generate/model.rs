//! The model of one session: a log with idempotent producers, that can be trimmed, closed, deleted.

use std::collections::BTreeMap;

use super::super::history::{Answer, Call, Producer, ReadMode, Record};

/// A page of an ordinary read.
const PAGE: usize = 8;

/// One session, or the place where one was.
#[derive(Default)]
pub(super) struct Room {
    pub name: String,
    pub incarnation: u32,
    pub alive: bool,
    pub closed: bool,
    pub first: u64,
    pub log: Vec<Record>,
    pub leases: BTreeMap<String, TurnLease>,
}

/// What is known about one producer: its last number, and where each of its writes went.
#[derive(Default)]
pub(super) struct TurnLease {
    pub epoch: u64,
    pub seq: u64,
    pub places: BTreeMap<(u64, u64), (u64, u64)>,
}

impl Room {
    /// What the model answers, and does, to one call at the moment it takes effect.
    pub(super) fn apply(
        &mut self,
        request: Option<u32>,
        call: &Call,
        stale: u64,
        keep: Option<u64>,
    ) -> Result<Answer, &'static str> {
        if *call == Call::Create {
            if !self.alive {
                let (name, incarnation) = (self.name.clone(), self.incarnation + 1);
                *self = Room { name, incarnation, alive: true, first: 1, ..Room::default() };
            }
            return Ok(Answer::Done { incarnation: self.incarnation });
        }
        if !self.alive || request.is_some_and(|request| request != self.incarnation) {
            return Err("no such session");
        }
        let (incarnation, first, tail) = (self.incarnation, self.first, self.log.len() as u64);
        match call {
            Call::Append { values, producer } => self.append(values, producer.as_ref(), keep),
            Call::Tail => Ok(Answer::Tail { incarnation, tail }),
            Call::Read { after, mode } => {
                let tail = match mode {
                    ReadMode::Stale => tail.saturating_sub(stale).max(self.first - 1),
                    _ => tail,
                };
                let most = if *mode == ReadMode::Final { usize::MAX } else { PAGE };
                let from = (after + 1).max(first) as usize - 1;
                let records = self.log.get(from..tail as usize).unwrap_or_default();
                let records = records.iter().take(most).cloned().collect();
                Ok(Answer::Page { incarnation, first, tail: Some(tail), records })
            }
            Call::Delete => {
                self.alive = false;
                Ok(Answer::Done { incarnation })
            }
            Call::Close => {
                self.closed = true;
                Ok(Answer::Done { incarnation })
            }
            Call::Trim { before } => {
                self.first = first.max((*before).min(tail + 1));
                Ok(Answer::Done { incarnation })
            }
            Call::Import { .. } => {
                let records = self.log.get(first as usize - 1..).unwrap_or_default().to_vec();
                let chain = self.log.last().and_then(|record| record.chain).unwrap_or(0);
                Ok(Answer::Imported { incarnation, first, tail, chain, records })
            }
            _ => Ok(Answer::Done { incarnation }),
        }
    }

    fn append(
        &mut self,
        values: &[String],
        producer: Option<&Producer>,
        keep: Option<u64>,
    ) -> Result<Answer, &'static str> {
        let incarnation = self.incarnation;
        if let Some(Producer { id, epoch, seq }) = producer {
            let known = self.leases.contains_key(id);
            let lease = self.leases.entry(id.clone()).or_default();
            if known && *epoch < lease.epoch {
                return Err("stale epoch");
            }
            if let Some(&(first, last)) = lease.places.get(&(*epoch, *seq)) {
                return Ok(Answer::Appended { incarnation, first, last });
            }
            let wanted = if known && *epoch == lease.epoch { lease.seq + 1 } else { 0 };
            if self.closed || *seq != wanted {
                if !known {
                    self.leases.remove(id);
                }
                return Err("closed, or a number is missing");
            }
        } else if self.closed {
            return Err("closed");
        }
        let first = self.log.len() as u64 + 1;
        for value in values {
            let serial = self.log.len() as u64 + 1;
            let before = self.log.last().and_then(|record| record.chain).unwrap_or(0);
            let text = format!("{before:x}/{serial}/{value}");
            let chain = Some(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
            self.log.push(Record { serial, value: value.clone(), chain, fact: None });
        }
        let last = self.log.len() as u64;
        if let Some(Producer { id, epoch, seq }) = producer {
            let lease = self.leases.entry(id.clone()).or_default();
            (lease.epoch, lease.seq) = (*epoch, *seq);
            lease.places.insert((*epoch, *seq), (first, last));
        }
        if let Some(keep) = keep
            && self.first + 2 * keep < last
        {
            self.first = last + 1 - keep;
        }
        Ok(Answer::Appended { incarnation, first, last })
    }
}
