//! The actor that owns one session: commands enter through it, committed ones come back as mail.
//!
//! Mail order is journal order. The actor applies, seals, shows and answers; it never waits (S8: every
//! replica does all of this, and only who holds a waiting request answers it).

mod callers;
mod gone;
mod loaded;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cluster::group::{Fate, Group, Permit};
use cluster::settled::Hold;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::aside::aside;
use super::changes::Change;
use super::effect::Watched;
use super::envelope::{self, Envelope, Ticket};
use super::files::SessionFiles;
use super::flow;
use super::outcome::{Reply, SubmitError};
use super::shard::{Shard, actors::Exit};
use super::tail::Tail;
use super::turn_queue::Waiting;
use crate::ids::{AgentId, FileId, Incarnation, Millis, SessionId, TurnId};
use crate::session::{
    Carried, Cause, Command, Effect, Fork, Lose, ReleaseCall, Session, Status, TurnPlace,
};
use callers::Callers;
pub(super) use gone::Gone;
use loaded::Loaded;
#[cfg(test)]
pub(super) use loaded::mark;

/// A command with a waiting caller.
pub(super) struct Submission {
    pub(super) command: Bytes,
    pub(super) permit: Permit,
    pub(super) group: Arc<Group>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What the waiting side gets: the outcome, or that another node leads.
pub(super) enum Answer {
    Done(Result<Reply, SubmitError>),
    /// Never taken; try there.
    Elsewhere,
}

/// What an onlooker gets.
pub(super) struct Looked {
    pub(super) status: Option<Status>,
    pub(super) inherits: Option<Fork>,
    pub(super) tail: Arc<Tail>,
    /// Index + 1 of the last entry that it has applied.
    pub(super) next: u64,
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
    /// Return what is remembered of an input.
    PlaceOf {
        input: TurnId,
        reply: oneshot::Sender<Option<TurnPlace>>,
    },
    /// Return what is known about a file, or about all.
    Files {
        name: Option<FileId>,
        reply: oneshot::Sender<Option<SessionFiles>>,
    },
    /// Return what the session takes along if it moves.
    Carried(oneshot::Sender<Option<Box<Carried>>>),
    /// Write down what is not on disk, and report so.
    Flush(oneshot::Sender<io::Result<()>>),
    /// The store has a newer state: take it.
    Reload(oneshot::Sender<io::Result<()>>),
    /// Something may be due: by the deadline under which the session was found, if it was.
    Due {
        group: Arc<Group>,
        filed: Option<Millis>,
    },
    /// Starts of a node are gone, and so are the workers that were bound to them.
    Gone {
        group: Arc<Group>,
        starts: Gone,
    },
    /// Leave if you are not needed.
    Retire,
    /// An attempt at an effect is over.
    Performed(Effect),
    /// An attempt to notify the session of how many watch is over.
    Counted {
        notified: bool,
    },
    /// Fail, as a bug would make you.
    #[cfg(any(test, tokio_unstable))]
    Fail,
}

/// The actor; what it knows lies in [`Owned`].
pub(super) struct SessionActor;

/// What an actor is started with.
pub(super) struct Start {
    pub(super) id: SessionId,
    pub(super) shard: Arc<Shard>,
    /// Held until the actor has ended.
    pub(super) running: TaskTrackerToken,
}

/// Everything one session owns on this node.
pub(super) struct Owned {
    id: SessionId,
    shard: Arc<Shard>,
    /// Loaded by the first mail, so that a failure to load is a failure of the actor.
    loaded: Option<Loaded>,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    received: u64,
    /// Effects that are being done.
    performing: Vec<Effect>,
    /// Whether it is being notified of how many watch.
    counting: bool,
    /// Devices that make calls and were seen here, so that it is known when they leave.
    callers: Callers,
    /// Whether something of it may lie in the turn queue: also what an actor before this one laid there.
    offered: bool,
    _running: TaskTrackerToken,
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
        let Start { id, shard, running } = start;
        Ok(Owned {
            id,
            shard,
            loaded: None,
            waiting: BTreeMap::new(),
            received: 0,
            performing: Vec::new(),
            counting: false,
            callers: Callers::default(),
            offered: true,
            _running: running,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Mail>,
        mail: Mail,
        owned: &mut Owned,
    ) -> Result<(), ActorProcessingErr> {
        owned.received += 1;
        if matches!(mail, Mail::Committed { .. } | Mail::Flush(_)) {
            owned.shard.store().synced().await;
        }
        match mail {
            Mail::Committed { index, time, commands, hold } => {
                owned.committed(index, time, commands)?;
                owned.tell();
                drop(hold);
                owned.perform(time, &myself);
                owned.count(&myself);
                owned.see_callers();
                // A request for what does not exist leaves nothing behind.
                if owned.loaded.as_ref().is_some_and(|loaded| !loaded.lived()) {
                    owned.retire(&myself);
                }
            }
            Mail::Submit(submission) => owned.submit(*submission, &myself),
            Mail::Lost { number, fate } => owned.lost(number, fate),
            Mail::Look(reply) => {
                let loaded = owned.loaded()?;
                let tail = loaded.tail.shared();
                // The caller may have given up.
                let inherits = loaded.session.inherits().cloned();
                let (status, next) = (loaded.session.status(), loaded.next);
                reply.send(Looked { status, inherits, tail, next }).ok();
            }
            Mail::PlaceOf { input, reply } => {
                reply.send(owned.loaded()?.session.place_of(&input)).ok();
            }
            Mail::Files { name, reply } => {
                reply.send(SessionFiles::of(&owned.loaded()?.session, name.as_ref())).ok();
            }
            Mail::Carried(reply) => {
                reply.send(owned.loaded()?.session.carried().map(Box::new)).ok();
            }
            Mail::Flush(reply) => {
                // A session whose actor failed is rebuilt for this, or there is nothing to answer.
                owned.loaded()?;
                reply.send(owned.flush()).ok();
            }
            Mail::Reload(reply) => drop(reply.send(owned.reload())),
            Mail::Due { group, filed } => owned.due(&group, filed, &myself)?,
            Mail::Gone { group, starts } => owned.gone(&group, starts),
            Mail::Counted { notified } => {
                owned.counting = false;
                // A participant may have come or left meanwhile. What failed is tried at the next look.
                if notified {
                    owned.count(&myself);
                }
            }
            Mail::Performed(effect) => owned.performing.retain(|other| *other != effect),
            #[cfg(any(test, tokio_unstable))]
            Mail::Fail => panic!("it is to fail"),
            Mail::Retire => owned.retire(&myself),
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
        let mut loaded = Loaded::absent(&self.shard, &self.id);
        if let Some(head) = self.shard.store().head(self.shard.number(), &self.id)? {
            loaded.take(head);
            loaded.file_as_the_head_says(&self.shard, &self.id)?;
        }
        if self.shard.actors().is_lost(&self.id) {
            // An earlier actor of this session failed: what it knew beyond its head is in the journal.
            let (shard, id) = (&self.shard, &self.id);
            aside(|| {
                shard.replay(id, loaded.next, |index, time, commands| {
                    loaded.apply(shard, id, index, time, &commands).map(drop)
                })
            })?;
            shard.actors().rebuilt(id);
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
            // so whoever waits gets no definite answer.
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

    /// Notifies listeners of how far the log goes now.
    fn tell(&self) {
        let Some(loaded) = &self.loaded else { return };
        self.shard.world().feeds.tell(&self.id, || Change {
            id: self.id.clone(),
            root: loaded.session.root().unwrap_or(Incarnation(0)),
            tail: loaded.session.tail(),
            live: loaded.session.is_live(),
        });
    }

    fn submit(&mut self, submission: Submission, myself: &ActorRef<Mail>) {
        let Submission { command, permit, group, reply } = submission;
        let number = self.shard.next_number();
        let ticket = Ticket { origin: self.shard.origin(), number };
        self.waiting.insert(number, reply);
        let bytes = envelope::encode(ticket, &self.id, &command);
        let (shard, id, myself) = (self.shard.clone(), self.id.clone(), myself.clone());
        let notified = move |fate| {
            if !matches!(fate, Fate::Committed(_)) {
                shard.actors().tell(&id, &myself, Mail::Lost { number, fate });
            }
        };
        group.propose(permit, bytes, Box::new(notified));
    }

    fn lost(&mut self, number: u64, fate: Fate) {
        let Some(reply) = self.waiting.remove(&number) else { return };
        let answer = match fate {
            Fate::Refused { .. } => Answer::Elsewhere,
            Fate::Unknown(text) => Answer::Done(Err(SubmitError::Unknown(text))),
            Fate::Committed(_) => unreachable!("only uncommitted commands are lost"),
        };
        // The caller may have given up.
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
            loaded.take(head);
            loaded.tail.publish(loaded.mark());
        }
        Ok(())
    }

    /// Files the session anew, or lets what is due happen, where this node leads.
    fn due(
        &mut self,
        group: &Arc<Group>,
        filed: Option<Millis>,
        myself: &ActorRef<Mail>,
    ) -> io::Result<()> {
        let (shard, id) = (self.shard.clone(), self.id.clone());
        let now = Millis(group.now_ms());
        let loaded = self.loaded()?;
        if let Some(row) = filed {
            loaded.forget_stale(&shard, &id, row)?;
        }
        self.perform(now, myself);
        self.count(myself);
        for release in self.see_callers() {
            // Should it be lost, the lease runs out.
            self.propose_own(group, &Command::ReleaseCall(Box::new(release)));
        }
        let loaded = self.loaded()?;
        if loaded.session.tick_at().is_some_and(|deadline| deadline <= now) {
            // Should it be lost, the deadline is still filed.
            self.propose_own(group, &Command::Tick);
            return Ok(());
        }
        loaded.file_again(&shard, &id, now)
    }

    /// Takes the turns from the workers that a node took with it. Should that be lost, their leases run out.
    fn gone(&self, group: &Arc<Group>, starts: Gone) {
        let Some(loaded) = &self.loaded else { return };
        for (turn, epoch) in loaded.session.held_by(|start| starts.has(start)) {
            let (cause, detail) = (Cause::NodeGone, starts.to_string());
            let lose = Lose { turn, epoch, cause, wait_ms: 0, detail };
            self.propose_own(group, &Command::Lose(Box::new(lose)));
        }
    }

    /// Proposes a command without a waiting caller, if there is room.
    fn propose_own(&self, group: &Arc<Group>, command: &Command) {
        let command = envelope::plain(command);
        let (class, flow) = (cluster::group::Class::Control, flow::of(&self.id));
        let Ok(permit) = group.admit(class, flow, command.len()) else { return };
        let ticket = Ticket { origin: 0, number: 0 };
        group.propose(permit, envelope::encode(ticket, &self.id, &command), Box::new(|_| ()));
    }

    /// Does what the world owes the session, where this node leads.
    fn perform(&mut self, now: Millis, myself: &ActorRef<Mail>) {
        let Some(loaded) = &self.loaded else { return };
        let effects = loaded.session.effects(now);
        if (effects.is_empty() && !self.offered) || !self.shard.world().leads(self.shard.number()) {
            return;
        }
        let mut offers = Vec::new();
        for effect in effects {
            if let Effect::Offer { turn, agent, attempt } = effect {
                let agent = AgentId { tenant: self.id.tenant(), name: agent };
                offers.push(Waiting { agent, turn, attempt });
                continue;
            }
            if self.performing.contains(&effect) {
                continue;
            }
            self.performing.push(effect.clone());
            let (shard, id, myself) = (self.shard.clone(), self.id.clone(), myself.clone());
            let done = move |effect| shard.actors().tell(&id, &myself, Mail::Performed(effect));
            self.shard.world().perform(self.id.clone(), effect, done);
        }
        if self.offered || !offers.is_empty() {
            self.offered = !offers.is_empty();
            self.shard.world().offer(&self.id, self.shard.number(), offers);
        }
    }

    /// Has the session notified of how many watch, where this node leads and it does not know.
    fn count(&mut self, myself: &ActorRef<Mail>) {
        let Some(loaded) = self.loaded.as_ref().filter(|_| !self.counting) else { return };
        let (shard, id, myself) = (self.shard.clone(), self.id.clone(), myself.clone());
        let done = move |notified| shard.actors().tell(&id, &myself, Mail::Counted { notified });
        let (world, number) = (self.shard.world(), self.shard.number());
        self.counting = world.tell_audience(&self.id, number, watched(&loaded.session), done);
    }

    /// Looks at who of those that make calls is there; returns which have left.
    fn see_callers(&mut self) -> Vec<ReleaseCall> {
        let Some(loaded) = &self.loaded else { return Vec::new() };
        let (world, shard) = (self.shard.world(), self.shard.number());
        self.callers.see(loaded.session.claimed_calls(), |by| world.attends(&self.id, shard, by))
    }

    /// Leaves, if it is not needed: from then on the session costs disk, not memory.
    fn retire(&mut self, myself: &ActorRef<Mail>) {
        if self.may_retire()
            && self.flush().is_ok()
            && self.shard.actors().leave(&self.id, self.received) == Exit::Left
        {
            myself.stop(None);
        }
    }

    fn may_retire(&self) -> bool {
        let watched = self.loaded.as_ref().is_some_and(|loaded| 0 < loaded.tail.readers());
        let busy = self.counting || !self.performing.is_empty() || !self.callers.is_empty();
        self.waiting.is_empty() && !busy && !watched
    }
}

fn watched(session: &Session) -> Option<Watched> {
    let (counted, busy, unwatched, ends) = session.watched()?;
    Some(Watched { counted, busy, unwatched, ends })
}
