//! What the worker of a turn is given of the log when it takes the turn: one answer for all ways of taking one.

use std::collections::VecDeque;

use crate::ids::{AgentName, Serial, TurnId};
use crate::limits::{MAILBOX, PAGE_BYTES};
use crate::session::{Event, Fact, Receipt, TurnStatus};

/// The events of one turn, as they are found in the log from its first input on.
pub(super) struct Story {
    turn: TurnId,
    agent: AgentName,
    branch: Serial,
    /// How many events it may have, at most.
    limit: usize,
    events: Vec<Event>,
    bytes: usize,
    /// Inputs of other turns of the agent; a turn that is completed leaves those that it has not consumed to this one.
    others: VecDeque<Event>,
    /// A worker has had the turn: nothing more is left to it.
    begun: bool,
}

/// What came of one more event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// It is looked at, and part of the turn or not.
    All,
    /// There is no room for it; it is as if it had not been looked at.
    Full,
}

impl Story {
    pub(super) fn of(turn: &TurnStatus, limit: usize) -> Story {
        Story {
            turn: turn.turn.clone(),
            agent: turn.agent.clone(),
            branch: turn.branch,
            limit,
            events: Vec::new(),
            bytes: 0,
            others: VecDeque::new(),
            begun: false,
        }
    }

    /// Looks at the next event of the log.
    pub(super) fn take(&mut self, event: &Event) -> Took {
        if self.limit <= self.events.len() || PAGE_BYTES <= self.bytes {
            return if self.brings(event) { Took::Full } else { Took::All };
        }
        if let Some(event) = self.look(event) {
            self.bytes += event.payload.len();
            self.events.push(event);
        }
        Took::All
    }

    /// What an event brings the worker: itself, or an input that another turn left.
    pub(super) fn look(&mut self, event: &Event) -> Option<Event> {
        match event.fact.as_deref()? {
            Fact::Input { held: false, turn, .. } if *turn != self.turn => {
                if event.agent.as_ref() == Some(&self.agent) && !self.begun {
                    self.others.push_back(event.clone());
                    if MAILBOX < self.others.len() {
                        self.others.pop_front();
                    }
                }
                None
            }
            Fact::Receipt { input, turn, receipt: Receipt::Deferred } if *turn == self.turn => {
                let at = self.others.iter().position(|other| is_input(other, input))?;
                self.others.remove(at)
            }
            fact => {
                if matches!(fact, Fact::Started { turn, .. } if *turn == self.turn) {
                    self.begun = true;
                    self.others = VecDeque::new();
                }
                self.concerns(fact).then(|| event.clone())
            }
        }
    }

    /// Whether an event brings the worker anything, or may come to.
    fn brings(&self, event: &Event) -> bool {
        match event.fact.as_deref() {
            None => false,
            Some(Fact::Input { held: false, turn, .. }) if *turn != self.turn => {
                event.agent.as_ref() == Some(&self.agent) && !self.begun
            }
            Some(fact) => self.concerns(fact),
        }
    }

    /// Whether a worker of this turn is to know it: what is of its turn, and what people sent on its branch and did
    /// meanwhile.
    fn concerns(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Control(_) => true,
            Fact::Person { place, .. } | Fact::Input { held: true, place, .. } => {
                place.branch == self.branch
            }
            Fact::ToolLate { of, .. } => *of == self.turn,
            fact => fact.turn() == Some(&self.turn),
        }
    }

    /// What was found, in order.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

fn is_input(event: &Event, named: &TurnId) -> bool {
    matches!(event.fact.as_deref(), Some(Fact::Input { input, .. }) if input == named)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{Millis, SessionId, TurnEpoch, WorkerName};
    use crate::limits::EVENT_BYTES;
    use crate::session::{
        Applied, Claim, Command, Config, Format, Input, NewEvent, Session, Then, TurnOutput,
        TurnReport,
    };

    fn id(name: &str) -> TurnId {
        TurnId::parse(name).unwrap()
    }

    /// A turn that was completed while inputs of so many bytes waited, and the turn that begins with them.
    fn left(inputs: usize, bytes: usize) -> (Vec<Event>, TurnStatus) {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        let mut log = Vec::new();
        let mut run = |command| session.apply(Millis(1), &command, &mut log).unwrap();
        let input = |name: &str, bytes: usize| {
            let payload = Bytes::from(vec![b'x'; bytes]);
            let output = NewEvent { format: Format::TEXT, payload };
            let agent = AgentName::parse("a").unwrap();
            Command::Input(Box::new(Input::new(id(name), agent, output)))
        };
        let claim = |turn: &str| {
            let worker = WorkerName::parse("w").unwrap();
            Claim {
                turn: id(turn),
                worker,
                key: 1,
                lease_ms: 1_000,
                progress_timeout_ms: 1_000,
                node: None,
            }
        };
        run(Config::default().into());
        run(input("t", 1));
        run(Command::Claim(Box::new(claim("t"))));
        for at in 0..inputs {
            run(input(&format!("i{at}"), bytes));
        }
        let output = Some(TurnOutput { then: Then::Complete, ..TurnOutput::default() });
        run(Command::Report(Box::new(TurnReport {
            output,
            ..TurnReport::new(id("t"), TurnEpoch(1))
        })));
        let taken = run(Command::Claim(Box::new(claim("i0"))));
        let Applied::Claimed { turn } = taken else { panic!("{taken:?}") };
        let from = turn.input;
        log.retain(|event| from <= event.serial);
        (log, *turn)
    }

    fn inputs(events: &[Event]) -> Vec<usize> {
        let is_input = |event: &&Event| matches!(event.fact.as_deref(), Some(Fact::Input { .. }));
        events.iter().filter(is_input).map(|event| event.payload.len()).collect()
    }

    #[test]
    fn what_another_turn_left_comes_with_its_text() {
        let (log, turn) = left(3, 7);
        let mut story = Story::of(&turn, 100);
        assert!(log.iter().all(|event| story.take(event) == Took::All));
        assert_eq!(inputs(&story.events()), [7, 7, 7]);
    }

    #[test]
    fn where_there_is_no_room_for_all_that_was_left_the_rest_comes_one_by_one() {
        let (log, turn) = left(12, EVENT_BYTES);
        let mut story = Story::of(&turn, 100);
        let full = log.iter().position(|event| story.take(event) == Took::Full).unwrap();
        let mut all = inputs(&story.events());
        assert!((4..12).contains(&all.len()), "{}", all.len());
        let rest: Vec<_> = log[full..].iter().filter_map(|event| story.look(event)).collect();
        all.extend(inputs(&rest));
        assert_eq!(all, [EVENT_BYTES; 12]);
        assert!(story.others.is_empty() && story.begun);
    }
}
