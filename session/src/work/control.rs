//! Changes of control: requested, granted, taken, given back.

use crate::command::{ControlRequest, ControlVerb, Role};
use crate::control::Mode;
use crate::event::Event;
use crate::fact::{Change, ControlChange, Fact, Sender};
use crate::ids::Millis;
use crate::limits;
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::turn::Turn;
use crate::work::check_role;

impl Live {
    /// Changes who answers people.
    pub(crate) fn control(
        &mut self,
        now: Millis,
        request: &ControlRequest,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Participant)?;
        if self.is_closed() {
            return Err(Refusal::Closed { tail: self.log.tail });
        }
        let holds = self.work.control.is_held_by(Some(&request.by));
        match &request.verb {
            ControlVerb::Request => {
                let same = self.work.control.requested.as_ref() == Some(&request.by);
                if !same {
                    self.work.control.requested = Some(request.by.clone());
                    self.tell_control(
                        now,
                        Change::Requested,
                        Some(&request.by),
                        &request.note,
                        out,
                    );
                }
            }
            // To have the agents answer is to give it back.
            ControlVerb::Take { mode: Mode::Auto }
            | ControlVerb::Grant { mode: Mode::Auto, .. }
            | ControlVerb::Release => {
                if self.work.control.holder.is_some() {
                    self.check_holds(holds, request.role)?;
                    let by = Some(&request.by);
                    self.hand_back(now, Change::Released, by, &request.note, out);
                }
            }
            ControlVerb::Take { mode } => {
                if !holds {
                    self.check_free(request.role)?;
                }
                self.hold_control(now, Change::Taken, &request.by, *mode, request, out);
            }
            ControlVerb::Grant { to, mode } => {
                if !holds {
                    self.check_free(request.role)?;
                }
                self.hold_control(now, Change::Granted, to, *mode, request, out);
            }
        }
        let control = &self.work.control;
        let (epoch, mode, serial) = (control.epoch, control.mode, self.log.tail);
        Ok(Applied::Control { epoch, mode, serial })
    }

    /// Whether a participant without control may have it or give it.
    fn check_free(&self, role: Role) -> Result<(), Refusal> {
        match &self.work.control.holder {
            None => check_role(role, Role::Controller),
            Some(_) => self.check_holds(false, role),
        }
    }

    fn check_holds(&self, holds: bool, role: Role) -> Result<(), Refusal> {
        if holds || role == Role::Supervisor {
            return Ok(());
        }
        let holder = self.work.control.holder.as_ref();
        let by = holder.map_or_else(String::new, |holder| holder.participant.as_str().to_owned());
        Err(Refusal::ControlledByOther { by })
    }

    fn hold_control(
        &mut self,
        now: Millis,
        change: Change,
        holder: &Sender,
        mode: Mode,
        request: &ControlRequest,
        out: &mut Vec<Event>,
    ) {
        let control = &mut self.work.control;
        let same = control.is_held_by(Some(holder)) && control.mode == mode;
        if !control.is_held_by(Some(holder)) {
            control.epoch = control.epoch.next();
        }
        control.mode = mode;
        control.holder = Some(holder.clone());
        control.for_ms = request.for_ms.clamp(1, limits::CONTROL_MS_MAX);
        control.until = Some(now.after(control.for_ms));
        control.requested = None;
        self.clock = now;
        if !same {
            self.tell_control(now, change, Some(&request.by), &request.note, out);
        }
        if mode != Mode::Manual {
            self.release_held(now);
        }
    }

    /// Gives control back to the agents, and the inputs that were held for them.
    pub(super) fn hand_back(
        &mut self,
        now: Millis,
        change: Change,
        by: Option<&Sender>,
        note: &str,
        out: &mut Vec<Event>,
    ) {
        let control = &mut self.work.control;
        control.mode = Mode::Auto;
        control.holder = None;
        control.requested = None;
        control.until = None;
        control.epoch = control.epoch.next();
        self.tell_control(now, change, by, note, out);
        self.release_held(now);
    }

    /// Begins a turn with what was held back.
    pub(super) fn release_held(&mut self, now: Millis) {
        let Some(held) = self.work.control.held.take() else { return };
        let mut turn = Turn::new(held.input, held.agent, held.first, now);
        (turn.last_input, turn.branch) = (held.last, held.branch);
        turn.failures_max = self.config.policy.attempts.unwrap_or(limits::ATTEMPTS).max(1);
        self.work.turns.push(turn);
        self.clock = now;
    }

    fn tell_control(
        &mut self,
        now: Millis,
        change: Change,
        by: Option<&Sender>,
        note: &str,
        out: &mut Vec<Event>,
    ) {
        let control = &mut self.work.control;
        note.clone_into(&mut control.note);
        let (mode, epoch, until) = (control.mode, control.epoch, control.until);
        let (by, holder, note) = (by.cloned(), control.holder.clone(), note.to_owned());
        let change = ControlChange { change, mode, by, holder, epoch, until, note };
        self.note(now, Fact::Control(Box::new(change)), out);
    }
}
