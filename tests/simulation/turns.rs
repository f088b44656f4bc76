//! Clients that take turns: people who ask and interrupt, workers who speak, some of them too late.

use std::time::Duration;

use outlive::ids::{AgentName, SessionId, TurnEpoch, TurnId, WorkerName};
use outlive::runtime::claim::{Assignment, Claimer};
use outlive::session::{
    Applied, Cancel, Command, Input, NewEvent, Scope, SubTurn, Then, TurnOutput, TurnReport,
    WhenBusy,
};
use rand::Rng;
use tokio::time::Instant;

use crate::clients::{Answer, Client};
use crate::run::pass;

/// Names of turns: few, so that every life of a session has them.
const TURNS: u32 = 40;
const LEASE_MS: u64 = 1500;

fn agent() -> AgentName {
    AgentName::parse("agent").expect("a name")
}

impl Client {
    /// Asks for turns, speaks into them and interrupts them.
    pub(crate) async fn ask_for_turns(mut self) {
        while !self.is_over() {
            self.pause(400).await;
            let sessions = [&self.sessions.mortal[..], &self.sessions.kept[..1]].concat();
            let Some(id) = self.one_of(&sessions) else { return };
            let turn = format!("t{}", self.rng.random_range(0..TURNS));
            if self.rng.random_bool(0.25) {
                self.cancel(&id, &turn).await;
            } else {
                self.input(&id, &turn).await;
            }
        }
    }

    async fn input(&mut self, id: &SessionId, name: &str) {
        let turn = TurnId::parse(name).expect("a name");
        // The same input says the same.
        let (payload, output) = self.event(format!("i.{name}/{}", id.name()));
        let busy = self.rng.random_range(0..WhenBusy::ALL.len());
        let input =
            Input { when_busy: Some(WhenBusy::ALL[busy]), ..Input::new(turn, agent(), output) };
        let names = [payload];
        for _ in 0..3 {
            match self.ask(id, Command::Input(Box::new(input.clone()))).await {
                Answer::Yes(reply) => {
                    let Applied::Input { serial, duplicate, .. } = reply.applied else {
                        panic!("{id:?}: an input was answered with {reply:?}");
                    };
                    // One that was cancelled before it came is in no log.
                    if !duplicate && 0 < serial.0 {
                        self.judge.acked(id, reply.incarnation, serial, &names);
                        self.judge.count("inputs");
                    }
                    return;
                }
                Answer::No(_) => return,
                Answer::NotNow(_) | Answer::Unknown => {}
            }
            self.pause(200).await;
        }
    }

    async fn cancel(&mut self, id: &SessionId, name: &str) {
        let turn = TurnId::parse(name).expect("a name");
        let all = self.rng.random_bool(0.2);
        let scope = if all { Scope::All } else { Scope::Turn(turn) };
        let cancel = Command::Cancel(Box::new(Cancel::new(scope, "enough")));
        if let Answer::Yes(reply) = self.ask(id, cancel).await {
            let turn = (!all).then_some(name);
            self.judge.cancelled(id, reply.incarnation, turn, reply.tail);
            self.judge.lives(id, reply.incarnation, reply.tail);
        }
    }

    /// Takes turns and speaks in them; now and then it oversleeps and speaks all the same.
    pub(crate) async fn work(mut self) {
        let worker = WorkerName::parse(&format!("w{}", self.name)).expect("a name");
        // Half of them are lost with the node at which they claimed.
        let (agent, is_bound) = (agent().into(), self.name % 2 == 0);
        let (lease_ms, progress_timeout_ms, grant) = (LEASE_MS, 60_000, None);
        let claimer = Claimer { agent, worker, lease_ms, progress_timeout_ms, is_bound, grant };
        while !self.is_over() {
            self.pause(50).await;
            let Some((node, runtime)) = self.some_node() else { continue };
            let claimed =
                runtime.workers.claim(&claimer, Instant::now() + Duration::from_secs(2)).await;
            let Ok(Some(taken)) = claimed else { continue };
            let Some(lease) = &taken.turn.lease else { continue };
            let (name, id, turn) = (self.name, &taken.session, &taken.turn.turn);
            let (life, epoch) = (taken.incarnation.0, lease.epoch);
            self.judge.note(format_args!("c{name} n{node} {id:?} has {life} {turn} {epoch}"));
            self.judge.count("claims");
            self.speak(&taken, epoch).await;
        }
    }

    async fn speak(&mut self, taken: &Assignment, epoch: TurnEpoch) {
        let Assignment { session: id, incarnation: life, turn } = taken;
        let reports = self.rng.random_range(1..5);
        // Whoever has the turn next begins the same again, and whatever it began before.
        let is_first = turn.parent.is_none() && turn.subturns.is_empty();
        let parts = if is_first && self.rng.random_bool(0.3) { 2 } else { turn.subturns.len() };
        let waits = is_first && self.rng.random_bool(0.7);
        for seq in 0..=reports {
            let late = self.rng.random_bool(0.1);
            if late {
                pass(Duration::from_millis(LEASE_MS + 1500)).await;
            } else {
                self.pause(200).await;
            }
            let count = if seq == reports { 0 } else { self.rng.random_range(1..4) };
            let named = (0..count).map(|_| {
                let of = format!("{}.{}.{epoch}", life.0, turn.turn);
                self.event(format!("o{}.{}/{of}./{}", self.name, self.number, id.name()))
            });
            let (names, events): (Vec<_>, Vec<NewEvent>) =
                named.collect::<Vec<_>>().into_iter().unzip();
            let begin = if seq == 0 { self.parts(id, &turn.turn, parts) } else { Vec::new() };
            let then = match seq {
                0 if 0 < parts && waits => Then::WaitAll,
                seq if seq == reports => Then::Complete,
                _ => Then::GoOn,
            };
            let is_given_up = then == Then::WaitAll;
            let output = TurnOutput { seq, events, then, begin, ..TurnOutput::default() };
            let received = (seq == reports).then_some(turn.last_input);
            let report = TurnReport {
                output: Some(output),
                consumed: received,
                ..TurnReport::new(turn.turn.clone(), epoch)
            };
            if !self.emit(taken, &report, &names).await {
                return;
            }
            if is_given_up {
                self.judge.count("joins");
                return;
            }
        }
        self.judge.count("turns");
    }

    /// The first sub-turns of a turn: the same whoever begins them.
    fn parts(&mut self, id: &SessionId, turn: &TurnId, count: usize) -> Vec<SubTurn> {
        let part = |part| {
            let name = format!("{turn}-{part}");
            let (_, content) = self.event(format!("i.{name}/{}", id.name()));
            SubTurn {
                turn: TurnId::parse(&name).expect("a name"),
                agent: agent(),
                content,
                attempts: None,
                progress_timeout_ms: None,
            }
        };
        (0..count).map(part).collect()
    }

    /// Says something, and repeats it while it does not know; says whether the turn is still its own.
    async fn emit(&mut self, taken: &Assignment, report: &TurnReport, names: &[String]) -> bool {
        let id = &taken.session;
        let mut doubt = false;
        for _ in 0..5 {
            match self.ask(id, Command::Report(Box::new(report.clone()))).await {
                Answer::Yes(reply) => {
                    let Applied::OutputAccepted { places, duplicate, over, .. } = reply.applied
                    else {
                        panic!("{id:?}: a report was answered with {reply:?}");
                    };
                    let new = doubt || !duplicate;
                    assert!(new, "{id:?}: {names:?} was new, and is a duplicate: {reply:?}");
                    // Receipts of inputs may stand in front of the words.
                    if let Some((first, last)) = places
                        && !names.is_empty()
                        && last.0 + 1 - first.0 == names.len() as u64
                    {
                        let same = reply.incarnation == taken.incarnation;
                        assert!(same, "{id:?}: {names:?} of {:?} in {reply:?}", taken.incarnation);
                        self.judge.acked(id, reply.incarnation, first, names);
                    }
                    return !over;
                }
                Answer::No(_) => {
                    if !doubt {
                        self.judge.refused(names);
                    }
                    return false;
                }
                Answer::NotNow(_) => {}
                Answer::Unknown => doubt = true,
            }
            self.pause(200).await;
        }
        false
    }
}
