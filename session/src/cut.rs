//! What is open at a place of a log, found by reading it: a fork that begins there ends it.
//!
//! The message before the place names since when turns were open ([`TreePlace::open`]), so little is read.
//!
//! [`TreePlace::open`]: crate::branch::TreePlace::open

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::branch::Branches;
use crate::control::Mode;
use crate::event::Event;
use crate::fact::{Fact, Receipt};
use crate::ids::{AgentName, InteractionId, Serial, TurnEpoch, TurnId};
use crate::limits;
use crate::work::{Known, Work};

/// What a fork knows of the turns and messages that it inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// The last inputs, so that the same again is known; up to [`limits::FORK_INPUTS`].
    pub(crate) inputs: Vec<Known>,
    /// Where the newest message begins; 0 where none is known.
    pub message: Serial,
    /// The branches as they were.
    pub branches: Branches,
    /// Turns that were open, the oldest first; up to [`limits::TURNS`].
    pub open: Vec<OpenTurn>,
    /// The last epoch that was given to a worker.
    pub(crate) epoch: TurnEpoch,
    /// All of it is known, and nothing is to be looked for in the log.
    pub is_exact: bool,
}

/// A turn that is open at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTurn {
    /// Its name.
    pub turn: TurnId,
    /// The agent that it is for.
    pub agent: AgentName,
    /// Inputs that were steered into it and that no worker has taken in.
    pub inputs: Vec<TurnId>,
    /// Its questions without an answer.
    pub interactions: Vec<InteractionId>,
}

impl OpenTurn {
    fn new(turn: TurnId, agent: AgentName) -> OpenTurn {
        OpenTurn { turn, agent, inputs: Vec::new(), interactions: Vec::new() }
    }
}

/// What is found while a log is read up to a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    open: Vec<OpenTurn>,
    held: Option<(TurnId, AgentName)>,
    message: Serial,
    branch: Serial,
    /// The newest message of each branch, with its turn and the one before it.
    leaves: BTreeMap<Serial, (Serial, Option<TurnId>, Serial)>,
}

impl Inherited {
    /// What the state knows of a place in the log.
    pub(crate) fn of(work: &Work, at: Serial, tail: Serial) -> Inherited {
        // Where there never was an input, nothing is to be looked for.
        let is_exact = at == tail || (work.message == Serial::ZERO && !work.branches.is_tree());
        let known = work.inputs.iter().filter(|known| known.serial <= at);
        let spare = known.clone().count().saturating_sub(limits::FORK_INPUTS);
        let inputs = known.skip(spare).map(|known| {
            // What came later is nothing that the fork has.
            let ended = known.ended.filter(|ended| *ended <= at);
            let emitted = known.emitted.filter(|_| ended.is_some());
            Known { pending: false, ended, emitted, ..known.clone() }
        });
        Inherited {
            inputs: inputs.collect(),
            message: if work.message <= at { work.message } else { Serial::ZERO },
            branches: work.branches.at(at),
            open: if at == tail { work.open_turns() } else { Vec::new() },
            epoch: work.epoch,
            is_exact,
        }
    }

    /// What a session that moves takes along: all inputs that it remembers.
    pub(crate) fn whole(work: &Work, tail: Serial) -> Inherited {
        let inputs = work.inputs.iter().map(|known| Known { pending: false, ..known.clone() });
        Inherited { inputs: inputs.collect(), ..Inherited::of(work, tail, tail) }
    }

    /// The same, with what was found in the log; `branch` is the current one, if the caller names it.
    pub fn with(mut self, cut: Cut, branch: Option<Serial>) -> Inherited {
        (self.message, self.open) = (cut.message, cut.open());
        for (branch, (leaf, ..)) in cut.leaves {
            self.branches.set_leaf(branch, leaf);
        }
        self.is_exact = true;
        self.on(Some(branch.unwrap_or(cut.branch)))
    }

    /// The same, going on with this branch, if one is given and exists.
    pub fn on(mut self, branch: Option<Serial>) -> Inherited {
        if let Some(branch) = branch.filter(|branch| self.branches.find(*branch).is_some()) {
            self.branches.current = branch;
        }
        self
    }
}

impl Work {
    fn open_turns(&self) -> Vec<OpenTurn> {
        let open = self.turns.iter().map(|turn| {
            let inputs = self.inputs.iter().filter(|known| known.pending && known.turn == turn.id);
            let request = self.interactions.iter();
            let request =
                request.filter(|request| request.over.is_none() && request.turn == turn.id);
            OpenTurn {
                turn: turn.id.clone(),
                agent: turn.agent.clone(),
                inputs: inputs.map(|known| known.input.clone()).collect(),
                interactions: request.map(|request| request.id.clone()).collect(),
            }
        });
        // It would begin a turn, and in the fork it is never given free.
        let held = self.control.held.iter();
        let held = held.map(|held| OpenTurn::new(held.input.clone(), held.agent.clone()));
        open.chain(held).collect()
    }
}

impl Cut {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event) {
        let Some(fact) = event.fact.as_deref() else { return };
        if let Some(place) = event.begins() {
            (self.message, self.branch) = (event.serial, place.branch);
            let leaf = if place.again { place.parent } else { event.serial };
            let turn = match fact {
                Fact::Output(output) => Some(output.turn.clone()),
                _ => None,
            };
            self.leaves.insert(place.branch, (leaf, turn, place.parent));
        }
        match (fact, &event.agent) {
            (Fact::Input { input, held: true, .. }, Some(agent)) => {
                self.held = Some((input.clone(), agent.clone()));
            }
            (Fact::Input { input, turn, .. }, Some(agent)) => self.speak(input, turn, agent),
            // Retention may have taken its input.
            (Fact::Started { turn, .. }, Some(agent)) => self.speak(turn, turn, agent),
            (Fact::Output(output), Some(agent)) => self.speak(&output.turn, &output.turn, agent),
            (Fact::Receipt { input, turn, receipt: Receipt::Deferred }, Some(agent)) => {
                self.forget(input);
                self.speak(input, turn, agent);
            }
            (
                Fact::Receipt {
                    input,
                    receipt: Receipt::Consumed { .. } | Receipt::Dropped { .. },
                    ..
                },
                _,
            ) => self.forget(input),
            // What was held back begins a turn, once it is held back no longer.
            (Fact::Control(control), _) if control.mode != Mode::Manual => {
                if let Some((input, agent)) = self.held.take() {
                    self.speak(&input, &input, &agent);
                }
            }
            (Fact::Requested { interaction, turn, .. }, _) => {
                if let Some(open) = self.open.iter_mut().find(|open| open.turn == *turn) {
                    open.interactions.push(interaction.clone());
                }
            }
            (
                Fact::Answered { interaction, .. }
                | Fact::Expired { interaction, .. }
                | Fact::Withdrawn { interaction, .. },
                _,
            ) => {
                let all = self.open.iter_mut();
                all.for_each(|open| open.interactions.retain(|other| other != interaction));
            }
            (Fact::Rewound { turn, from, .. }, _) => {
                for (leaf, of, parent) in self.leaves.values_mut() {
                    if of.as_ref() == Some(turn) && from <= leaf {
                        (*leaf, *of) = (*parent, None);
                    }
                }
            }
            (Fact::Ended { turn, .. }, _) => {
                self.open.retain(|open| open.turn != *turn);
                self.held.take_if(|(held, _)| held == turn);
            }
            _ => {}
        }
    }

    /// The turns that are open, and what is held back, which would be one.
    pub fn open(&self) -> Vec<OpenTurn> {
        let held = self.held.clone().map(|(turn, agent)| OpenTurn::new(turn, agent));
        self.open.iter().cloned().chain(held).collect()
    }

    fn speak(&mut self, input: &TurnId, turn: &TurnId, agent: &AgentName) {
        let at = self.open.iter().position(|open| open.turn == *turn);
        match at {
            Some(at) if input != turn => self.open[at].inputs.push(input.clone()),
            Some(_) => {}
            None => {
                self.open.push(OpenTurn::new(turn.clone(), agent.clone()));
            }
        }
    }

    fn forget(&mut self, input: &TurnId) {
        self.open.iter_mut().for_each(|open| open.inputs.retain(|other| other != input));
    }
}
