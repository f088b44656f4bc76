//! Sessions that move: what one takes along, and how another begins with it.
//!
//! The events keep their serials, times and hashes, so the log is the same. What the state alone knows goes along as
//! [`Carried`]: who wrote, which inputs were taken, what was answered. Turns that are open are not: their workers are
//! elsewhere, so they end, each once, with the first events after the imported ones, as a fork ends them.

use serde::{Deserialize, Serialize};

use super::chain;
use super::command::{Create, Import, ImportBegin, ImportEvents, ImportStep};
use super::config::Config;
use super::cut::Inherited;
use super::event::Event;
use super::fact::{Fact, Member};
use super::ids::{ControlEpoch, Incarnation, Millis, Serial, TurnId};
use super::limits;
use super::live::{End, Live, check_size_of};
use super::log::Log;
use super::outcome::{Applied, DeleteReason};
use super::producers::{Producer, Producers};
use super::refusal::Refusal;
use super::standing::Standing;
use super::work::{Interaction, ToolOutcome};
use super::{Life, Session};

/// How a session came to be here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Arrival {
    /// It began here.
    #[default]
    Here,
    /// It is being imported, and clients do not see it.
    Coming(Box<Coming>),
    /// It was imported.
    Came {
        /// The hash of what it was, so that the same import again is known.
        digest: u128,
        /// The event after which the log's hash is not that of its last event; see [`Carried::unlinked`].
        unlinked: Option<Serial>,
    },
}

/// An import that is not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Coming {
    pub(super) digest: u128,
    /// When it is given up, unless more of it comes.
    pub(super) until: Millis,
    /// Those that came, in the order of their names.
    pub(super) producers: Vec<Producer>,
    /// Events so far that are not chained to the one before them: a fork's first, and those of its sources.
    pub(super) breaks: u32,
}

/// Some of the producers of a session that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writers(pub(crate) Vec<Producer>);

/// What a session takes along beside its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What it is.
    pub config: Config,
    /// The life whose serials these are.
    pub root: Incarnation,
    /// Its first event that can be read, inherited or own; one beyond the tail where there is none.
    pub first: Serial,
    /// Its last event.
    pub tail: Serial,
    /// The hash at the tail.
    pub chain: u64,
    /// Whether that is not the hash of the last event, but what the next one begins with: a fork's, whose events are
    /// all inherited.
    pub unlinked: bool,
    /// When it was created.
    pub created_at: Millis,
    /// When its log last changed.
    pub updated_at: Millis,
    /// What may be added to it.
    pub standing: Standing,
    pub(crate) end: End,
    pub(crate) order: Option<String>,
    pub(crate) writers: Writers,
    /// The inputs, messages and branches, and what is open.
    pub(crate) inherited: Inherited,
    pub(crate) cancels: Vec<TurnId>,
    /// Questions that are over.
    pub(crate) interactions: Vec<Interaction>,
    pub(crate) tool_results: Vec<ToolOutcome>,
    pub(crate) control_epoch: ControlEpoch,
    /// None where the session is to be another one: the keys of its calls are its own then.
    pub(crate) key_seed: Option<u128>,
}

/// Producers that one step carries: each takes at most about 1.4 KiB.
const WRITERS_AT_ONCE: usize = 256;

/// Numbers that clients choose, up to here: greater ones cannot be written in JSON.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Epochs, serials and lives up to here are believed, so that a session can go on from them for ever.
const EPOCH_MAX: u64 = 1 << 48;
const SERIAL_MAX: u64 = 1 << 48;
const INCARNATION_MAX: u32 = 1 << 24;

impl Carried {
    /// Whether it takes no more events.
    pub fn is_closed(&self) -> bool {
        self.end != End::Open
    }

    /// Turns that are open: they end where the session is imported.
    pub fn open_turns(&self) -> usize {
        self.inherited.open.len()
    }

    /// The same for a session of another name: the keys of its calls of tools are not those of this one.
    #[must_use]
    pub fn as_another(self) -> Carried {
        Carried { key_seed: None, ..self }
    }

    /// Takes out the producers, in pieces that a step can carry.
    pub fn take_writers(&mut self) -> Vec<Writers> {
        let all = std::mem::take(&mut self.writers.0);
        all.chunks(WRITERS_AT_ONCE).map(|some| Writers(some.to_vec())).collect()
    }

    /// How the import of this begins.
    pub fn begin(&self) -> ImportBegin {
        let (config, incarnation) = (self.config.clone(), self.root);
        ImportBegin { config, incarnation, first: self.first, chain: self.chain }
    }
}

impl Session {
    /// What the session takes along if it moves; none where it does not exist.
    pub fn carried(&self) -> Option<Carried> {
        let live = self.live()?;
        let (work, tail) = (&live.work, live.log.tail);
        let inherited = Inherited::whole(work, tail);
        let over = work.interactions.iter().filter(|request| request.over.is_some());
        Some(Carried {
            config: live.config.clone(),
            root: live.root(),
            first: live.first(),
            tail,
            chain: live.log.chain,
            unlinked: match (&live.fork, &live.arrival) {
                (Some(fork), _) => fork.at == tail,
                (None, Arrival::Came { unlinked, .. }) => *unlinked == Some(tail),
                (None, Arrival::Here | Arrival::Coming(_)) => false,
            },
            created_at: live.created_at,
            updated_at: live.updated_at,
            standing: live.standing,
            end: live.end.clone(),
            order: live.order.clone(),
            writers: Writers(live.producers.all.clone()),
            inherited,
            cancels: work.cancels.iter().cloned().collect(),
            interactions: over.cloned().collect(),
            tool_results: work.tool_results.iter().cloned().collect(),
            control_epoch: work.control.epoch,
            key_seed: Some(work.key_seed),
        })
    }

    pub(super) fn import(
        &mut self,
        at: Millis,
        import: &Import,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(done) = self.imported(at, import.digest) {
            return done;
        }
        if let ImportStep::Begin(begin) = &import.step {
            return self.begin_import(at, import.digest, begin);
        }
        let now = self.now(at);
        let Life::Live(live) = &mut self.life else { return Err(Refusal::ImportOver) };
        let coming = live.coming().ok_or(Refusal::ImportOver)?;
        if coming.digest != import.digest || live.incarnation != import.life {
            return Err(Refusal::ImportOver);
        }
        if import.step == ImportStep::GiveUp {
            return Ok(self.bury(import.life, now, DeleteReason::Requested));
        }
        // Whatever a step brings, the session is as sessions are, or the step is not taken.
        let (mut next, mut events) = (live.clone(), Vec::new());
        match &import.step {
            ImportStep::Begin(_) | ImportStep::GiveUp => unreachable!("it was taken above"),
            ImportStep::Writers(writers) => next.import_writers(writers)?,
            ImportStep::Events(some) => next.import_events(at, some, &mut events)?,
            ImportStep::Finish(carried) => {
                next.finish_import(now, import.digest, carried, &mut events)?;
            }
        }
        if let Arrival::Coming(coming) = &mut next.arrival {
            coming.until = now.after(limits::IMPORT_MS);
        }
        next.clock = next.clock.max(now);
        // Retention may have taken events just now.
        next.forget_files();
        next.check().map_err(|why| bad(why.to_string()))?;
        let (tail, complete) = (next.log.tail, next.coming().is_none());
        *live = next;
        out.append(&mut events);
        Ok(Applied::Imported { tail, complete, again: false })
    }

    /// The answer where the session exists.
    fn imported(&mut self, at: Millis, digest: u128) -> Option<Result<Applied, Refusal>> {
        match self.live_at(at) {
            Ok((live, _)) => Some(match live.arrival {
                Arrival::Came { digest: came, .. } if came == digest => {
                    Ok(Applied::Imported { tail: live.log.tail, complete: true, again: true })
                }
                _ => Err(Refusal::SessionExists),
            }),
            Err(Refusal::NotFound) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn begin_import(
        &mut self,
        at: Millis,
        digest: u128,
        begin: &ImportBegin,
    ) -> Result<Applied, Refusal> {
        let now = self.now(at);
        if let Life::Live(live) = &mut self.life
            && let Arrival::Coming(coming) = &mut live.arrival
            && coming.digest == digest
        {
            coming.until = now.after(limits::IMPORT_MS);
            live.clock = now;
            return Ok(Applied::Imported { tail: live.log.tail, complete: false, again: true });
        }
        begin.config.check().map_err(Refusal::BadConfig)?;
        if begin.first == Serial::ZERO || SERIAL_MAX < begin.first.0 {
            return Err(bad("the first event has no possible serial"));
        }
        if INCARNATION_MAX < begin.incarnation.0 {
            return Err(bad("the life has no possible number"));
        }
        let incarnation = match self.incarnation() {
            None => Incarnation::FIRST,
            Some(last) => last.next().ok_or(Refusal::IncarnationsExhausted)?,
        };
        let incarnation = incarnation.max(begin.incarnation);
        // A life that is over and that no tick has ended yet, or an import that another one takes the place of.
        if let Life::Live(ended) = &self.life {
            let over = ended.incarnation;
            self.bury(over, now, DeleteReason::Expired);
        }
        let spent = self.spent();
        let create = Create { config: begin.config.clone(), ..Create::default() };
        let mut live = Live::new(&self.id, incarnation, &create, spent, now, &mut Vec::new());
        live.log = Log::new(begin.chain, Serial(begin.first.0 - 1));
        let until = now.after(limits::IMPORT_MS);
        let coming = Coming { digest, until, producers: Vec::new(), breaks: 0 };
        live.arrival = Arrival::Coming(Box::new(coming));
        let tail = live.log.tail;
        self.life = Life::Live(Box::new(live));
        Ok(Applied::Imported { tail, complete: false, again: false })
    }
}

impl Coming {
    fn take_writers(&mut self, Writers(some): &Writers) -> Result<(), Refusal> {
        let last = self.producers.last().map(|held| held.id.clone());
        let new = some.iter().filter(|given| last.as_ref().is_none_or(|last| *last < given.id));
        let count = new.clone().count();
        if limits::PRODUCERS < self.producers.len() + count {
            return Err(bad("it has more producers than a session remembers"));
        }
        if !some.is_sorted_by(|one, next| one.id < next.id) {
            return Err(bad("its producers are not in order"));
        }
        if some.iter().any(|given| NUMBER_MAX < given.epoch.0) {
            return Err(bad("a producer's epoch is beyond all counting"));
        }
        self.producers.extend(new.cloned());
        Ok(())
    }
}

impl Live {
    fn import_writers(&mut self, writers: &Writers) -> Result<(), Refusal> {
        match &mut self.arrival {
            Arrival::Coming(coming) => coming.take_writers(writers),
            Arrival::Here | Arrival::Came { .. } => Err(Refusal::ImportOver),
        }
    }

    /// Takes the next events as they are.
    fn import_events(
        &mut self,
        at: Millis,
        ImportEvents { linked, events }: &ImportEvents,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        check_size_of(events.iter().map(|event| (event.payload.len(), &event.format)))?;
        let known = events.iter().take_while(|event| event.serial <= self.log.tail).count();
        let linked = *linked || 0 < known;
        if !linked && self.log.first <= self.log.tail {
            self.import_break()?;
        }
        let mut log = self.log.clone();
        let mut newest = log.marks.last().map_or(Millis(0), |mark| mark.newest);
        for (at_event, event) in events[known..].iter().enumerate() {
            if event.serial != log.tail.next() {
                return Err(bad(format!("event {} follows event {}", event.serial, log.tail)));
            }
            if (linked || 0 < at_event) && chain::next(log.chain, event) != event.chain {
                return Err(bad(format!("the chain is broken at event {}", event.serial)));
            }
            if event.time < newest || at.after(limits::IMPORT_AHEAD_MS) < event.time {
                return Err(bad(format!("event {} is not of its time", event.serial)));
            }
            if SERIAL_MAX < event.serial.0 {
                return Err(bad(format!("event {} has no possible serial", event.serial)));
            }
            if !event.is_bounded() {
                let serial = event.serial;
                return Err(bad(format!("event {serial} has a text, or a number, beyond limits")));
            }
            if !event.points_back() {
                return Err(bad(format!(
                    "event {} points to what is no event before",
                    event.serial
                )));
            }
            newest = event.time;
            log.take(event, &self.config.retention);
        }
        self.log = log;
        self.clock = self.clock.max(newest);
        out.extend(events[known..].iter().cloned());
        Ok(())
    }

    /// A fork's log goes on from another one: as often as forks can be of forks, and no more often.
    fn import_break(&mut self) -> Result<(), Refusal> {
        let Arrival::Coming(coming) = &mut self.arrival else { return Err(Refusal::ImportOver) };
        coming.breaks += 1;
        let limit = limits::FORK_DEPTH as u32;
        if coming.breaks <= limit { Ok(()) } else { Err(bad("its chain is broken too often")) }
    }

    /// Becomes what was carried along; where this fails, nothing of it is to be kept.
    fn finish_import(
        &mut self,
        now: Millis,
        digest: u128,
        carried: &Carried,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        if carried.unlinked && self.log.first <= self.log.tail {
            self.import_break()?;
            self.log.chain = carried.chain;
        }
        if (self.log.tail, self.log.chain) != (carried.tail, carried.chain) {
            return Err(bad(format!(
                "the log ends at event {}, or in another chain",
                self.log.tail
            )));
        }
        let epochs = [carried.inherited.epoch.0, carried.control_epoch.0];
        if epochs.into_iter().any(|epoch| EPOCH_MAX < epoch) {
            return Err(bad("an epoch is beyond all counting"));
        }
        if carried.order.as_ref().is_some_and(|order| limits::ORDER_BYTES < order.len()) {
            return Err(bad("the stream seq is too long"));
        }
        let Inherited { inputs, open, .. } = &carried.inherited;
        let mail: usize = open.iter().map(|open| open.inputs.len()).sum();
        let questions: usize = open.iter().map(|open| open.interactions.len()).sum();
        // One more: what is held back for a person would be a turn.
        let fits = open.len() <= limits::TURNS + 1
            && inputs.len() <= limits::INPUTS.max(limits::MAILBOX + limits::TURNS)
            && mail <= limits::MAILBOX
            && questions <= limits::INTERACTIONS;
        if !fits {
            return Err(bad("it has more turns than a session may have"));
        }
        let clock = self.clock.max(now);
        let Arrival::Coming(coming) = std::mem::take(&mut self.arrival) else {
            return Err(Refusal::ImportOver);
        };
        let unlinked = carried.unlinked.then_some(carried.tail);
        self.arrival = Arrival::Came { digest, unlinked };
        let spent = std::mem::take(&mut self.producers);
        self.producers = Producers::moved(coming.producers, spent, clock);
        (self.created_at, self.touched_at) = (carried.created_at.min(clock), clock);
        (self.updated_at, self.clock) = (carried.updated_at.min(clock), clock);
        self.order.clone_from(&carried.order);
        let work = &mut self.work;
        work.cancels = carried.cancels.iter().cloned().collect();
        work.interactions.clone_from(&carried.interactions);
        work.tool_results = carried.tool_results.iter().cloned().collect();
        work.control.epoch = work.control.epoch.max(carried.control_epoch);
        work.key_seed = carried.key_seed.unwrap_or(work.key_seed);
        let over = |request: &Interaction| request.over.is_some() && request.caller.is_none();
        if !work.interactions.iter().all(over) {
            return Err(bad("a question is open"));
        }
        self.inherit(now, &carried.inherited, "the session was imported", out);
        self.end = carried.end.clone();
        self.standing = carried.standing;
        Ok(())
    }
}

/// What is imported is no session.
fn bad(why: impl Into<String>) -> Refusal {
    Refusal::BadImport { why: why.into() }
}

impl Event {
    /// Whether what it means, and who wrote it, are as long and as great as a session's own events have them.
    fn is_bounded(&self) -> bool {
        let number = |number: u64| number <= NUMBER_MAX;
        let mut fits = self.origin.as_ref().is_none_or(|of| number(of.epoch.0) && number(of.seq));
        if let Some(fact) = &self.fact {
            fact.members(&mut |_, member| {
                fits &= match member {
                    Member::Text(text) => text.len() <= limits::DETAIL_BYTES,
                    Member::Number(value) => number(value),
                    Member::Flag(_) => true,
                };
            });
        }
        fits
    }

    /// Whether all places that it names lie before it, or are its own: who follows them comes to an end.
    fn points_back(&self) -> bool {
        let before = |serial: Serial| serial < self.serial;
        let place = self.begins().is_none_or(|place| {
            let places = [place.previous, place.parent, place.open];
            places.into_iter().all(before) && place.branch <= self.serial
        });
        let message = match self.fact.as_deref() {
            Some(Fact::Output(output)) => output.message <= self.serial,
            Some(Fact::Requested { message, .. }) => *message <= self.serial,
            Some(Fact::Rewound { from, to, .. }) => before(*from) && before(*to),
            _ => true,
        };
        let whose =
            self.agent.is_some() == self.fact.as_deref().is_some_and(|fact| fact.turn().is_some());
        place && message && whose
    }
}
