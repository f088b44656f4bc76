//! The actor that owns one session: commands enter through it, committed ones come back as mail.
//!
//! Mail order is journal order. The actor applies, seals, shows and answers; it never waits (S8: every
//! replica does all of this, and only who holds a waiting request answers it).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cluster::group::{Fate, Group, Permit};
use cluster::settled::Hold;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::envelope::{self, Envelope, Ticket};
use super::outcome::{Reply, SubmitError};
use super::shard::{Shard, sessions::Exit};
use super::tail::{Mark, Served, Shown, Tail};
use crate::ids::{Millis, Serial, SessionId};
use crate::limits::{BLOCK_BYTES, BLOCK_EVENTS};
use crate::session::{Session, Status};
use crate::store::LogOf;
use crate::store::kept::{Block, Head};

/// A command that somebody waits for.
pub(super) struct Submission {
    pub(super) command: Bytes,
    pub(super) permit: Permit,
    pub(super) group: Arc<Group>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What the waiting side hears: the outcome, or that another node leads.
pub(super) enum Answer {
    Done(Result<Reply, SubmitError>),
    /// Never taken; try there.
    Elsewhere,
}

/// What an onlooker gets.
pub(super) struct Looked {
    pub(super) status: Option<Status>,
    pub(super) tail: Arc<Tail>,
}

pub(super) enum Mail {
    /// Commands of one entry, in order.
    Committed {
        index: u64,
        time: Millis,
        commands: Vec<Envelope>,
        hold: Arc<Hold>,
    },
    Submit(Box<Submission>),
    /// What became of a command that will not come back as committed mail.
    Lost {
        number: u64,
        fate: Fate,
    },
    Look(oneshot::Sender<Looked>),
    /// Write down what is not on disk, and say so.
    Flush(oneshot::Sender<io::Result<()>>),
    /// The store has a newer state: take it.
    Reload(oneshot::Sender<io::Result<()>>),
    /// A deadline may have come.
    Due(Arc<Group>),
    /// Leave if nobody needs you.
    Retire,
    /// Fail, as a bug would make you.
    #[cfg(test)]
    Fail,
}

/// The actor; what it knows lies in [`Owned`].
pub(super) struct SessionActor;

/// What an actor is started with.
pub(super) struct Start {
    pub(super) id: SessionId,
    pub(super) shard: Arc<Shard>,
}

/// Everything one session owns on this node.
pub(super) struct Owned {
    id: SessionId,
    shard: Arc<Shard>,
    /// Loaded by the first mail, so that a failure to load is a failure of the actor.
    loaded: Option<Loaded>,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    received: u64,
}

struct Loaded {
    session: Session,
    tail: Served,
    /// Events in no block.
    unsealed: Vec<Arc<Shown>>,
    /// Index + 1 of the last entry applied.
    next: u64,
    /// Whether the head on disk lacks something.
    dirty: bool,
    filed: Option<Millis>,
    /// First serial below which no blocks are left.
    freed: Serial,
}

impl Actor for SessionActor {
    type Msg = Mail;
    type State = Owned;
    type Arguments = Start;

    async fn pre_start(
        &self,
        _myself: ActorRef<Mail>,
        start: Start,
    ) -> Result<Owned, ActorProcessingErr> {
        let Start { id, shard } = start;
        Ok(Owned { id, shard, loaded: None, waiting: HashMap::new(), received: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Mail>,
        mail: Mail,
        owned: &mut Owned,
    ) -> Result<(), ActorProcessingErr> {
        owned.received += 1;
        match mail {
            Mail::Committed { index, time, commands, hold } => {
                owned.committed(index, time, commands)?;
                drop(hold);
            }
            Mail::Submit(submission) => owned.submit(*submission, &myself),
            Mail::Lost { number, fate } => owned.lost(number, fate),
            Mail::Look(reply) => {
                let loaded = owned.loaded()?;
                let tail = loaded.tail.shared();
                // Whoever asked may have given up.
                reply.send(Looked { status: loaded.session.status(), tail }).ok();
            }
            Mail::Flush(reply) => drop(reply.send(owned.flush())),
            Mail::Reload(reply) => drop(reply.send(owned.reload())),
            Mail::Due(group) => owned.due(&group)?,
            #[cfg(test)]
            Mail::Fail => panic!("asked to fail"),
            Mail::Retire => {
                if owned.may_retire() && owned.flush().is_ok() {
                    let exit = owned.shard.sessions().leave(&owned.id, owned.received);
                    if exit == Exit::Left {
                        myself.stop(None);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Owned {
    fn loaded(&mut self) -> io::Result<&mut Loaded> {
        if self.loaded.is_none() {
            self.loaded = Some(self.load()?);
        }
        Ok(self.loaded.as_mut().expect("it was just loaded"))
    }

    fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::absent(&self.id);
        if let Some(head) = self.shard.store().head(self.shard.number(), &self.id)? {
            loaded.take(head)?;
        }
        if self.shard.sessions().was_lost(&self.id) {
            // An earlier actor of this session failed: what it knew beyond its head is in the journal.
            for (index, time, commands) in self.shard.replay(&self.id, loaded.next)? {
                loaded.apply(&self.shard, &self.id, index, time, &commands)?;
            }
        }
        Ok(loaded)
    }

    fn committed(
        &mut self,
        index: u64,
        time: Millis,
        commands: Vec<Envelope>,
    ) -> Result<(), ActorProcessingErr> {
        let (shard, id) = (self.shard.clone(), self.id.clone());
        let loaded = self.loaded()?;
        if index < loaded.next {
            // Replayed after a restart: the head knows it already. Its effect is not in memory any more,
            // so whoever waits hears nothing definite.
            for envelope in commands {
                self.answer(envelope.ticket, Err(SubmitError::Unknown("it was replayed".into())));
            }
            return Ok(());
        }
        let outcomes = loaded.apply(&shard, &id, index, time, &commands)?;
        for (ticket, outcome) in outcomes {
            self.answer(ticket, outcome);
        }
        Ok(())
    }

    fn submit(&mut self, submission: Submission, myself: &ActorRef<Mail>) {
        let Submission { command, permit, group, reply } = submission;
        let number = self.shard.next_number();
        let ticket = Ticket { origin: self.shard.origin(), number };
        self.waiting.insert(number, reply);
        let bytes = envelope::encode(ticket, &self.id, &command);
        let (shard, id, myself) = (self.shard.clone(), self.id.clone(), myself.clone());
        let told = move |fate| {
            if !matches!(fate, Fate::Committed(_)) {
                shard.sessions().tell(&id, &myself, Mail::Lost { number, fate });
            }
        };
        group.propose(permit, bytes, Box::new(told));
    }

    fn lost(&mut self, number: u64, fate: Fate) {
        let Some(reply) = self.waiting.remove(&number) else { return };
        let answer = match fate {
            Fate::Refused { .. } => Answer::Elsewhere,
            Fate::Unknown(text) => Answer::Done(Err(SubmitError::Unknown(text))),
            Fate::Committed(_) => unreachable!("only uncommitted commands are lost"),
        };
        // Whoever asked may have given up.
        reply.send(answer).ok();
    }

    fn answer(&mut self, ticket: Ticket, outcome: Result<Reply, SubmitError>) {
        if ticket.origin != self.shard.origin() {
            return;
        }
        if let Some(reply) = self.waiting.remove(&ticket.number) {
            reply.send(Answer::Done(outcome)).ok();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let (shard, id) = (self.shard.clone(), self.id.clone());
        match &mut self.loaded {
            Some(loaded) => loaded.flush(&shard, &id),
            None => Ok(()),
        }
    }

    fn reload(&mut self) -> io::Result<()> {
        let head = self.shard.store().head(self.shard.number(), &self.id)?;
        let Some(head) = head else { return Ok(()) };
        let loaded = self.loaded()?;
        if loaded.next < head.next {
            loaded.tail.clear();
            loaded.take(head)?;
            loaded.tail.publish(loaded.mark());
        }
        Ok(())
    }

    /// Files the session anew, or lets what is due happen, where this node leads.
    fn due(&mut self, group: &Arc<Group>) -> io::Result<()> {
        let (shard, id) = (self.shard.clone(), self.id.clone());
        let now = Millis(shard.now_ms());
        let loaded = self.loaded()?;
        if loaded.session.deadline().is_some_and(|deadline| deadline <= now) {
            let command = envelope::freeze(&crate::session::Command::Tick);
            let Ok(permit) = group.admit(cluster::group::Class::Control, command.len()) else {
                return Ok(());
            };
            let ticket = Ticket { origin: 0, number: 0 };
            let bytes = envelope::encode(ticket, &id, &command);
            // Should it be lost, the deadline is still filed.
            group.propose(permit, bytes, Box::new(|_| ()));
            return Ok(());
        }
        loaded.file(&shard, &id)
    }

    fn may_retire(&self) -> bool {
        let watched = self.loaded.as_ref().is_some_and(|loaded| 0 < loaded.tail.readers());
        self.waiting.is_empty() && !watched
    }
}

type Outcome = (Ticket, Result<Reply, SubmitError>);

impl Loaded {
    fn absent(id: &SessionId) -> Loaded {
        let session = Session::absent(id.clone());
        let tail = Served::new(Tail::new(mark(&session)));
        let (unsealed, freed) = (Vec::new(), Serial::ZERO);
        Loaded { session, tail, unsealed, next: 0, dirty: false, filed: None, freed }
    }

    /// Becomes what the head says.
    fn take(&mut self, head: Head<'static>) -> io::Result<()> {
        let invalid = |error: crate::session::frozen::ThawError| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        self.next = head.next;
        self.filed = head.filed();
        self.session = Session::thaw(head.session).map_err(invalid)?;
        let events = head.unsealed.into_iter().map(crate::session::Event::thaw);
        let events: Result<Vec<_>, _> = events.map(|event| event.map(Shown::new)).collect();
        self.unsealed = events.map_err(invalid)?;
        self.dirty = false;
        self.freed = self.session.first();
        self.tail.extend(self.unsealed.iter().cloned(), self.sealed());
        self.tail.publish(self.mark());
        Ok(())
    }

    fn mark(&self) -> Mark {
        mark(&self.session)
    }

    /// Last serial that is in a block.
    fn sealed(&self) -> Serial {
        let first = self.unsealed.first().map(|shown| Serial(shown.event.serial.0 - 1));
        first.unwrap_or(self.session.tail())
    }

    fn apply(
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
        let now = self.mark();
        if was.incarnation != now.incarnation || was.live != now.live {
            // Births and deaths are listed from the store.
            self.flush(shard, id)?;
        }
        self.free(shard, id, was)?;
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
        let command = match envelope::thaw(command) {
            Ok(command) => command,
            Err(error) => {
                // Every replica reads the same bytes, so every replica skips it.
                tracing::error!(session = %id, %error, "a committed command is unreadable");
                return Ok(Err(SubmitError::Unknown(error.to_string())));
            }
        };
        let mut events = Vec::new();
        let lived = self.session.incarnation();
        let applied = self.session.apply(time, &command, &mut events);
        if self.session.incarnation() != lived {
            self.unsealed.clear();
            self.tail.clear();
        }
        if !events.is_empty() {
            let shown: Vec<_> = events.into_iter().map(Shown::new).collect();
            self.unsealed.extend(shown.iter().cloned());
            self.seal(shard, id, index)?;
            self.tail.extend(shown.into_iter(), self.sealed());
        }
        let (incarnation, tail) = (self.session.incarnation(), self.session.tail());
        Ok(match applied {
            Ok(applied) => {
                let incarnation = incarnation.expect("what was applied to has lived");
                Ok(Reply { applied, incarnation, tail })
            }
            Err(refusal) => Err(SubmitError::Refused { refusal, incarnation, tail }),
        })
    }

    /// Seals what gathered; by count and bytes alone, so that every replica cuts the same blocks.
    fn seal(&mut self, shard: &Shard, id: &SessionId, index: u64) -> io::Result<()> {
        let bytes: usize = self.unsealed.iter().map(|shown| shown.event.payload.len()).sum();
        if self.unsealed.len() < BLOCK_EVENTS && bytes < BLOCK_BYTES {
            return Ok(());
        }
        let events = self.unsealed.iter().map(|shown| shown.event.freeze()).collect();
        shard.store().put_block(&self.log(shard, id), &Block { index, events })?;
        self.unsealed.clear();
        Ok(())
    }

    fn flush(&mut self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let head = Head {
            next: self.next,
            session: self.session.freeze(),
            unsealed: self.unsealed.iter().map(|shown| shown.event.freeze()).collect(),
            filed: self.filed.map(|filed| filed.0),
        };
        shard.store().put_head(shard.number(), id, &head)?;
        self.dirty = false;
        Ok(())
    }

    /// Frees the blocks of an ended life, and those that retention gave up.
    fn free(&mut self, shard: &Shard, id: &SessionId, was: Mark) -> io::Result<()> {
        let now = self.mark();
        if was.live && (was.incarnation != now.incarnation || !now.live) {
            let at = LogOf { incarnation: was.incarnation, ..self.log(shard, id) };
            self.freed = Serial::ZERO;
            return shard.store().free_blocks(&at, None);
        }
        if now.live && self.freed.0 + BLOCK_EVENTS as u64 <= now.first.0 {
            self.freed = now.first;
            return shard.store().free_blocks(&self.log(shard, id), Some(now.first));
        }
        Ok(())
    }

    /// Files a deadline that is not filed, or would come too late.
    fn file_sooner(&mut self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        match (self.session.deadline(), self.filed) {
            (Some(deadline), Some(filed)) if filed <= deadline => Ok(()),
            (None, _) => Ok(()),
            (Some(_), _) => self.file(shard, id),
        }
    }

    fn file(&mut self, shard: &Shard, id: &SessionId) -> io::Result<()> {
        let deadline = self.session.deadline();
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

fn mark(session: &Session) -> Mark {
    Mark {
        incarnation: session.incarnation().unwrap_or(crate::ids::Incarnation(0)),
        first: session.first(),
        tail: session.tail(),
        closed: session.is_closed(),
        live: session.is_live(),
        served: true,
    }
}
