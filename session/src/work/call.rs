//! Calls that a client is to make for an agent: one device has such a call at a time, under a lease that fences (S4).
//!
//! A claim is not necessary: where no device has the call, the first answer holds, as for every question.

use serde::{Deserialize, Serialize};

use crate::command::{ClaimCall, ReleaseCall, Role};
use crate::event::Event;
use crate::fact::{CallCause, Fact, Sender};
use crate::ids::{CallEpoch, InteractionId, KindName, Millis};
use crate::limits;
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::work::ask::Interaction;
use crate::work::{Work, check_role};

/// The device that makes a call now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallLease {
    pub(crate) by: Sender,
    /// Until when it has the call, unless it renews it.
    pub(crate) until: Millis,
    /// It left, and may come back until then.
    pub(crate) left: bool,
}

impl Interaction {
    /// When the device that makes the call has been silent for too long.
    pub(crate) fn silent_at(&self) -> Option<Millis> {
        self.caller.as_ref().map(|caller| caller.until)
    }

    /// Whether this sender may answer: where a device makes the call, no other, and never one that was fenced.
    pub(super) fn check_caller(
        &self,
        sender: Option<&Sender>,
        epoch: Option<CallEpoch>,
    ) -> Result<(), Refusal> {
        match (&self.caller, epoch) {
            (_, Some(given)) if given != self.call_epoch => {
                Err(Refusal::CallFenced { given, held: self.call_epoch })
            }
            (Some(caller), None) if sender != Some(&caller.by) => Err(caller.refuses()),
            // All clients see the epoch: knowing it makes none of them the device that has the call.
            (Some(caller), Some(_)) if !sender.is_some_and(|by| caller.is_of(by)) => {
                Err(caller.refuses())
            }
            _ => Ok(()),
        }
    }
}

impl CallLease {
    /// Whether a sender may be the device that makes the call: one that names no device may be on it.
    fn is_of(&self, by: &Sender) -> bool {
        by.participant == self.by.participant
            && (by.device.is_none() || by.device == self.by.device)
    }

    fn refuses(&self) -> Refusal {
        let Sender { participant, device } = &self.by;
        let on = device.as_ref().map(|device| format!(" on {device}")).unwrap_or_default();
        Refusal::CallClaimed { by: format!("{participant}{on}"), until: self.until }
    }
}

impl Work {
    /// Calls that devices have and have not left, each with its epoch and its device.
    pub(crate) fn claimed_calls(
        &self,
    ) -> impl Iterator<Item = (&InteractionId, CallEpoch, &Sender)> {
        self.interactions.iter().filter_map(|request| {
            let caller = request.caller.as_ref().filter(|caller| !caller.left)?;
            Some((&request.id, request.call_epoch, &caller.by))
        })
    }
}

impl Live {
    /// Gives a call to a device, or lets one go on.
    pub(crate) fn claim_call(
        &mut self,
        now: Millis,
        request: &ClaimCall,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Participant)?;
        let at = self.work.interaction(&request.interaction).ok_or(Refusal::NoSuchInteraction)?;
        let interaction = &self.work.interactions[at];
        check_role(request.role, interaction.role)?;
        if interaction.kind.as_str() != KindName::CLIENT_TOOL {
            return Err(Refusal::NoClientTool);
        }
        if interaction.over.is_some() {
            return Err(Refusal::InteractionClosed);
        }
        // No device goes on under an epoch that is over.
        let is_over =
            |given: &CallEpoch| *given != interaction.call_epoch || interaction.caller.is_none();
        if let Some(given) = request.epoch.filter(is_over) {
            return Err(Refusal::CallFenced { given, held: interaction.call_epoch });
        }
        // A device that claims again goes on with what it has.
        let has = match &interaction.caller {
            Some(caller) if caller.by != request.by => return Err(caller.refuses()),
            Some(_) => true,
            None => false,
        };
        let lease_ms =
            request.lease_ms.clamp(*limits::CALL_MS_RANGE.start(), *limits::CALL_MS_RANGE.end());
        let (by, until) = (request.by.clone(), now.after(lease_ms));
        let interaction = &mut self.work.interactions[at];
        if !has {
            interaction.call_epoch = interaction.call_epoch.next();
        }
        interaction.caller = Some(CallLease { by: by.clone(), until, left: false });
        let (turn, epoch) = (interaction.turn.clone(), interaction.call_epoch);
        let serial = interaction.serial;
        (self.touched_at, self.clock) = (now, now);
        if !has {
            let (interaction, turn) = (request.interaction.clone(), turn.clone());
            self.note(now, Fact::CallClaimed { interaction, turn, by, epoch, until }, out);
        }
        Ok(Applied::CallClaimed { turn, epoch, until, serial })
    }

    /// Takes a call from a device that gives it back, or has left.
    pub(crate) fn release_call(
        &mut self,
        now: Millis,
        request: &ReleaseCall,
        out: &mut Vec<Event>,
    ) -> Applied {
        let at = self.work.interaction(&request.interaction);
        let held = at.filter(|at| self.work.interactions[*at].call_epoch == request.epoch);
        let Some(at) = held else { return Applied::CallReleased { was: false } };
        let Some(caller) = &mut self.work.interactions[at].caller else {
            return Applied::CallReleased { was: false };
        };
        if request.by.as_ref().is_some_and(|by| *by != caller.by) {
            return Applied::CallReleased { was: false };
        }
        if request.left {
            caller.until = caller.until.min(now.after(limits::CALL_GRACE_MS));
            caller.left = true;
            self.clock = now;
        } else {
            self.free_call(now, at, CallCause::Released, out);
        }
        Applied::CallReleased { was: true }
    }

    /// Takes the calls from the devices that were silent for too long.
    pub(super) fn free_calls(&mut self, now: Millis, out: &mut Vec<Event>) {
        let due = |request: &Interaction| request.silent_at().is_some_and(|at| at <= now);
        while let Some(at) = self.work.interactions.iter().position(due) {
            let left = self.work.interactions[at].caller.as_ref().is_some_and(|it| it.left);
            let cause = if left { CallCause::Gone } else { CallCause::Silent };
            self.free_call(now, at, cause, out);
        }
    }

    fn free_call(&mut self, now: Millis, at: usize, cause: CallCause, out: &mut Vec<Event>) {
        let request = &mut self.work.interactions[at];
        request.caller = None;
        let (interaction, turn, epoch) =
            (request.id.clone(), request.turn.clone(), request.call_epoch);
        self.note(now, Fact::CallReleased { interaction, turn, epoch, cause }, out);
    }
}
