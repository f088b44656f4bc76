//! Questions of agents to people: open until the first answer, on any device.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::branch::TreePlace;
use crate::command::{Answer, Ask, Role, Withdraw};
use crate::event::{Event, NewEvent};
use crate::fact::Fact;
use crate::ids::{
    CallEpoch, InteractionId, KindName, Millis, ParticipantName, Serial, TurnEpoch, TurnId,
};
use crate::limits;
use crate::live::{Live, check_size};
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::turn::Stage;
use crate::work::call::CallLease;
use crate::work::{Work, check_role};

/// Something that people are, or were, to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interaction {
    pub(crate) id: InteractionId,
    pub(crate) turn: TurnId,
    pub(crate) kind: KindName,
    /// The question's place in the log.
    pub(crate) serial: Serial,
    pub(crate) deadline: Option<Millis>,
    pub(crate) over: Option<Over>,
    /// Who may answer, at least.
    pub(crate) role: Role,
    /// Devices that have claimed the call, where it is one for a client to make.
    pub(crate) call_epoch: CallEpoch,
    /// The device that makes it now.
    pub(crate) caller: Option<CallLease>,
}

/// How an interaction came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Over {
    Answered {
        by: Option<ParticipantName>,
        /// Hash of the answer, so that the same one again is known.
        digest: u64,
        serial: Serial,
    },
    Expired,
    Withdrawn,
}

impl Work {
    /// Whether a turn waits for people.
    pub(crate) fn asks(&self, turn: &TurnId) -> bool {
        self.interactions.iter().any(|request| request.over.is_none() && request.turn == *turn)
    }

    pub(super) fn interaction(&self, id: &InteractionId) -> Option<usize> {
        self.interactions.iter().rposition(|request| request.id == *id)
    }

    /// Forgets the oldest interactions that are over.
    fn forget_answers(&mut self) {
        let over = self.interactions.iter().filter(|request| request.over.is_some()).count();
        let mut spare = over.saturating_sub(limits::ANSWERS);
        self.interactions.retain(|request| {
            let goes = request.over.is_some() && 0 < spare;
            spare -= usize::from(goes);
            !goes
        });
    }
}

impl Live {
    /// Checks whether a worker may take all of this back.
    pub(super) fn check_withdraws(
        &self,
        turn: &TurnId,
        withdraws: &[Withdraw],
    ) -> Result<(), Refusal> {
        let over = self.work.interactions.iter().filter(|request| request.over.is_some()).count();
        // One that may have been forgotten is over.
        let forgets = limits::ANSWERS <= over;
        let is_its = |withdraw: &Withdraw| match self.work.interaction(&withdraw.interaction) {
            Some(at) => self.work.interactions[at].turn == *turn,
            None => forgets,
        };
        if withdraws.iter().all(is_its) { Ok(()) } else { Err(Refusal::NoSuchInteraction) }
    }

    /// Takes questions back, if they are open: each has one end.
    pub(super) fn take_back(&mut self, now: Millis, withdraws: &[Withdraw], out: &mut Vec<Event>) {
        for Withdraw { interaction, reason } in withdraws {
            let Some(at) = self.work.interaction(interaction) else { continue };
            let request = &self.work.interactions[at];
            if request.over.is_some() {
                continue;
            }
            let (interaction, turn) = (interaction.clone(), request.turn.clone());
            let fact = Fact::Withdrawn { interaction, turn, reason: reason.clone() };
            self.note(now, fact, out);
            self.close_interaction(now, at, Over::Withdrawn);
        }
    }

    /// Checks whether a worker may ask all of this, once it has taken the others back.
    pub(super) fn check_asks(
        &self,
        turn: &TurnId,
        asks: &[Ask],
        withdraws: &[Withdraw],
    ) -> Result<(), Refusal> {
        let stays = |request: &&Interaction| {
            let is_it = |withdraw: &Withdraw| withdraw.interaction == request.id;
            request.over.is_none() && !withdraws.iter().any(is_it)
        };
        let mut open = self.work.interactions.iter().filter(stays).count();
        for ask in asks {
            check_size(std::slice::from_ref(&ask.question))?;
            match self.work.interaction(&ask.interaction) {
                Some(at) if self.work.interactions[at].turn != *turn => {
                    return Err(Refusal::InteractionExists);
                }
                Some(_) => {}
                None => open += 1,
            }
        }
        if limits::INTERACTIONS < open {
            return Err(Refusal::TooManyInteractions { limit: limits::INTERACTIONS });
        }
        Ok(())
    }

    /// Puts a question to people; one that was put before is not put again.
    pub(super) fn ask(
        &mut self,
        now: Millis,
        turn: &TurnId,
        epoch: TurnEpoch,
        asks: &[Ask],
        out: &mut Vec<Event>,
    ) {
        for ask in asks {
            if self.work.interaction(&ask.interaction).is_some() {
                continue;
            }
            let deadline = ask.deadline_ms.map(|span_ms| now.after(span_ms));
            let (interaction, kind) = (ask.interaction.clone(), ask.kind.clone());
            let (message, place) = match self.work.find(turn) {
                Some(at) => self.work.message_of_question(at, self.log.tail.next()),
                None => (Serial::ZERO, TreePlace::default()),
            };
            let fact = Fact::Requested {
                interaction,
                turn: turn.clone(),
                epoch,
                kind,
                deadline,
                message,
                place,
                role: ask.role,
            };
            let serial = self.record(now, fact, &ask.question, out);
            let (id, turn, kind) = (ask.interaction.clone(), turn.clone(), ask.kind.clone());
            self.work.interactions.push(Interaction {
                id,
                turn,
                kind,
                serial,
                deadline,
                over: None,
                role: ask.role,
                call_epoch: CallEpoch::default(),
                caller: None,
            });
        }
    }

    /// Takes the first answer to an interaction.
    pub(crate) fn answer(
        &mut self,
        now: Millis,
        request: &Answer,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Participant)?;
        let at = self.work.interaction(&request.interaction).ok_or(Refusal::NoSuchInteraction)?;
        let interaction = &self.work.interactions[at];
        check_role(request.role, interaction.role)?;
        let turn = interaction.turn.clone();
        let by = request.sender.as_ref().map(|sender| sender.participant.clone());
        let given = digest(&request.content);
        match &interaction.over {
            Some(Over::Answered { by: other, digest, serial })
                if *other == by && *digest == given =>
            {
                return Ok(Applied::Answered { turn, serial: *serial, duplicate: true });
            }
            Some(Over::Answered { by, serial, .. }) => {
                let by = by.as_ref().map_or("somebody", ParticipantName::as_str).to_owned();
                return Err(Refusal::InteractionAlreadyAnswered { by, at: *serial });
            }
            Some(Over::Expired | Over::Withdrawn) => return Err(Refusal::InteractionClosed),
            None => {}
        }
        if request.judged.is_some_and(|judged| judged != interaction.serial) {
            return Err(Refusal::QuestionDiffers);
        }
        interaction.check_caller(request.sender.as_ref(), request.epoch)?;
        check_size(std::slice::from_ref(&request.content))?;
        let (interaction, sender) = (request.interaction.clone(), request.sender.clone());
        let fact = Fact::Answered { interaction, turn: turn.clone(), by: sender };
        let serial = self.record(now, fact, &request.content, out);
        self.close_interaction(now, at, Over::Answered { by, digest: given, serial });
        Ok(Applied::Answered { turn, serial, duplicate: false })
    }

    /// Ends the interactions whose time is over.
    pub(super) fn expire_interactions(&mut self, now: Millis, out: &mut Vec<Event>) {
        let due = |request: &Interaction| {
            request.over.is_none() && request.deadline.is_some_and(|deadline| deadline <= now)
        };
        while let Some(at) = self.work.interactions.iter().position(due) {
            self.expire(now, at, out);
        }
    }

    /// Ends the interactions of a turn that is over.
    pub(super) fn withdraw(&mut self, now: Millis, turn: &TurnId, out: &mut Vec<Event>) {
        let of = |request: &Interaction| request.over.is_none() && request.turn == *turn;
        while let Some(at) = self.work.interactions.iter().position(of) {
            self.expire(now, at, out);
        }
    }

    fn expire(&mut self, now: Millis, at: usize, out: &mut Vec<Event>) {
        let request = &self.work.interactions[at];
        let (interaction, turn) = (request.id.clone(), request.turn.clone());
        self.note(now, Fact::Expired { interaction, turn }, out);
        self.close_interaction(now, at, Over::Expired);
    }

    /// Lets the turn go on that waited for it.
    fn close_interaction(&mut self, now: Millis, at: usize, over: Over) {
        let request = &mut self.work.interactions[at];
        (request.over, request.caller) = (Some(over), None);
        let turn = request.turn.clone();
        self.work.forget_answers();
        let Some(at) = self.work.find(&turn) else { return };
        for above in self.work.ancestors(at) {
            // Their clocks stood still as well.
            if let Stage::Active(lease) = &mut self.work.turns[above].stage {
                lease.progress_at = now;
            }
        }
        let turn = &mut self.work.turns[at];
        match &mut turn.stage {
            Stage::Asking | Stage::Joining { .. } => turn.offer(now),
            Stage::Active(lease) => lease.progress_at = now,
            Stage::Waiting { .. } | Stage::Paused { .. } => {}
        }
    }
}

/// Hash of content.
pub(super) fn digest(content: &NewEvent) -> u64 {
    xxh3_64(&[content.format.as_str().as_bytes(), b"\0", &content.payload].concat())
}
