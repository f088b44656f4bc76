//! The model of a session with turns: what a correct one answers and writes at the moment of a call.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;

use super::super::history::{Answer, Call, Record};
use super::super::turn::{Fact, Scope, Then, What, WhenBusy, received};

pub(super) struct Room {
    pub name: String,
    pub log: Vec<Record>,
    receipts: bool,
    open: Vec<Open>,
    /// Inputs that came: their turns and serials.
    known: BTreeMap<String, (String, u64)>,
    /// Turns that were cancelled before they came.
    early: BTreeSet<String>,
    epoch: u64,
    /// The branch of the last input.
    current: u64,
    /// Where everything lies that came of a request, by turn, epoch and number.
    output: BTreeMap<(String, u64, u64), Option<(u64, u64)>>,
}

struct Open {
    id: String,
    agent: String,
    holder: Option<(u64, u64)>,
    /// Inputs that were steered into it and not consumed yet.
    undelivered: Vec<String>,
    branch: u64,
}

impl Room {
    pub(super) fn new(name: &str, receipts: bool) -> Room {
        Room {
            name: name.to_owned(),
            log: Vec::new(),
            receipts,
            open: Vec::new(),
            known: BTreeMap::new(),
            early: BTreeSet::new(),
            epoch: 0,
            current: 0,
            output: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, call: &Call, rng: &mut StdRng) -> Result<Answer, &'static str> {
        match call {
            Call::Input { input, agent, value, when_busy } => {
                self.input(input, agent, value, *when_busy)
            }
            Call::Cancel { scope } => Ok(self.cancel(scope)),
            Call::Report { turn, epoch, seq, values, then } => {
                self.emit(turn, *epoch, *seq, values, *then, rng)
            }
            _ => Err("not in this model"),
        }
    }

    fn input(
        &mut self,
        input: &str,
        agent: &str,
        value: &str,
        when_busy: WhenBusy,
    ) -> Result<Answer, &'static str> {
        if let Some((turn, serial)) = self.known.get(input) {
            return Ok(Answer::Accepted { turn: turn.clone(), serial: *serial, duplicate: true });
        }
        let early = self.early.contains(input);
        let busy = self.open.iter().rposition(|open| open.agent == agent && !early);
        let into = match (busy, when_busy) {
            (Some(_), WhenBusy::Reject) => return Err("busy"),
            (Some(at), WhenBusy::Steer) => Some(at),
            _ => None,
        };
        if when_busy == WhenBusy::Interrupt && !early {
            self.end(What::Cancelled, |open| open.agent == agent);
        }
        let turn = into.map_or_else(|| input.to_owned(), |at| self.open[at].id.clone());
        let agent = agent.to_owned();
        let accepted = Fact::of_input(What::Accepted, &turn, input);
        let serial = self.log.len() as u64 + 1;
        let output =
            self.log.iter().find(|it| it.fact.as_ref().is_some_and(|it| it.what.is_output()));
        // Now and then a person goes back to the first message.
        let parent =
            output.map(|output| output.serial).filter(|_| into.is_none() && serial % 3 == 1);
        self.current = match (parent, into) {
            (Some(_), _) => serial,
            (None, Some(at)) => self.open[at].branch,
            (None, None) => self.current,
        };
        let branch = self.current;
        let fact = Fact { agent: Some(agent.clone()), branch, parent, ..accepted };
        let serial = self.push(fact, Some(value));
        self.known.insert(input.to_owned(), (turn.clone(), serial));
        match into {
            Some(at) => self.open[at].undelivered.push(input.to_owned()),
            None => {
                let (id, undelivered) = (turn.clone(), Vec::new());
                self.open.push(Open { id, agent, holder: None, undelivered, branch });
            }
        }
        if early {
            self.early.remove(input);
            self.end(What::Cancelled, |open| open.id == input);
        }
        Ok(Answer::Accepted { turn, serial, duplicate: false })
    }

    fn cancel(&mut self, scope: &Scope) -> Answer {
        let turns = self.end(What::Cancelled, |open| match scope {
            Scope::All => true,
            Scope::Agent(agent) => open.agent == *agent,
            Scope::Turn(turn) => open.id == *turn,
        });
        if let Scope::Turn(turn) = scope
            && !self.known.contains_key(turn)
        {
            self.early.insert(turn.clone());
        }
        Answer::Cancelled { turns, tail: self.log.len() as u64 }
    }

    /// Gives out the first turn of this agent that has no worker.
    pub(super) fn claim(&mut self, agent: &str) -> Option<(String, u64)> {
        let at = self.open.iter().position(|open| open.agent == agent)?;
        if self.open[at].holder.is_some() {
            return None;
        }
        self.epoch += 1;
        let (epoch, turn) = (self.epoch, self.open[at].id.clone());
        self.open[at].holder = Some((epoch, 0));
        self.push(Fact::of_epoch(What::Started, &turn, epoch), None);
        self.hear(at, epoch);
        Some((turn, epoch))
    }

    fn emit(
        &mut self,
        turn: &str,
        epoch: u64,
        seq: Option<u64>,
        values: &[String],
        then: Then,
        rng: &mut StdRng,
    ) -> Result<Answer, &'static str> {
        let at = self.open.iter().position(|open| open.id == turn);
        if let Some(seq) = seq
            && let Some(places) = self.output.get(&(turn.to_owned(), epoch, seq))
        {
            let places = if rng.random_bool(0.5) { *places } else { None };
            return Ok(Answer::OutputAccepted { places, duplicate: true, over: at.is_none() });
        }
        let at = at.ok_or("turn over")?;
        let (held, next) = self.open[at].holder.ok_or("fenced")?;
        if held != epoch {
            return Err("fenced");
        }
        let before = self.log.len() as u64;
        if let Some(seq) = seq {
            if seq != next {
                return Err("a number is missing");
            }
            self.open[at].holder = Some((epoch, next + 1));
        }
        if rng.random_bool(0.5) {
            self.hear(at, epoch);
        }
        for value in values {
            let branch = self.open[at].branch;
            let fact = Fact { branch, ..Fact::of_epoch(What::Output, turn, epoch) };
            self.push(fact, Some(value));
        }
        match then {
            Then::GoOn => {}
            Then::Complete => {
                self.end(What::Completed, |open| open.id == turn);
            }
            Then::Release => {
                self.open[at].holder = None;
                self.push(Fact::of_epoch(What::Lost, turn, epoch), None);
            }
        }
        let last = self.log.len() as u64;
        let places = (before < last).then_some((before + 1, last));
        if let Some(seq) = seq {
            self.output.insert((turn.to_owned(), epoch, seq), places);
        }
        let over = !self.open.iter().any(|open| open.id == turn);
        Ok(Answer::OutputAccepted { places, duplicate: false, over })
    }

    /// Takes the worker of some turn away.
    pub(super) fn lose(&mut self, dice: usize) {
        let Some(open) = self.open.get_mut(dice) else { return };
        let Some((epoch, _)) = open.holder.take() else { return };
        let turn = open.id.clone();
        self.push(Fact::of_epoch(What::Lost, &turn, epoch), None);
    }

    /// Ends what was not ended.
    pub(super) fn rest(&mut self) {
        while !self.open.is_empty() {
            self.end(What::Failed, |_| true);
        }
    }

    fn hear(&mut self, at: usize, epoch: u64) {
        let turn = self.open[at].id.clone();
        for input in std::mem::take(&mut self.open[at].undelivered) {
            let fact = Fact::of_input(What::Consumed, &turn, &input);
            self.receipt(Fact { epoch: Some(epoch), ..fact });
        }
    }

    fn receipt(&mut self, fact: Fact) {
        if self.receipts {
            self.push(fact, None);
        }
    }

    fn end(&mut self, what: What, chosen: impl Fn(&Open) -> bool) -> u64 {
        let open = std::mem::take(&mut self.open);
        let (over, left): (Vec<_>, Vec<_>) = open.into_iter().partition(chosen);
        self.open = left;
        for turn in &over {
            self.push(Fact::new(what, &turn.id), None);
            let Some(first) = turn.undelivered.first().filter(|_| self.receipts) else { continue };
            let deferred = what == What::Completed;
            for input in &turn.undelivered {
                let (fate, into) = match deferred {
                    true => (What::Deferred, first),
                    false => (What::Dropped, &turn.id),
                };
                self.receipt(Fact::of_input(fate, into, input));
            }
            if deferred {
                // The turn begins with the first of them, and gets the others.
                let (id, agent) = (first.clone(), turn.agent.clone());
                let undelivered = turn.undelivered[1..].to_vec();
                let branch = turn.branch;
                self.open.push(Open { id, agent, holder: None, undelivered, branch });
            }
        }
        over.len() as u64
    }

    fn push(&mut self, fact: Fact, output: Option<&str>) -> u64 {
        let serial = self.log.len() as u64 + 1;
        let name = format!("{:?}", fact.what);
        let value = output.map_or_else(|| received(serial, &name, &fact), str::to_owned);
        let before = self.log.last().and_then(|record| record.chain).unwrap_or(0);
        let text = format!("{before:x}/{serial}/{value}");
        let chain = Some(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        self.log.push(Record { serial, value, chain, fact: Some(Box::new(fact)) });
        serial
    }
}
