//! What a fact has beside its kind and its turn: named members, for clients and for the chain.

use super::{End, Fact, Output, Receipt, Sender};
use crate::branch::TreePlace;
use crate::command::{Phase, Role};
use crate::ids::{AgentName, Serial, TurnId};
use crate::tool_key;

/// A member of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// A name, or text.
    Text(&'a str),
    /// A count, a serial, an epoch, or a time in milliseconds since 1970.
    Number(u64),
    /// Left out where it is false.
    Flag(bool),
}

impl Fact {
    /// Visits everything but the kind and the turn, under names for programs; always in the same order.
    pub fn members(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        if !self.of_input(tell) && !self.of_people(tell) && !self.of_tools(tell) {
            self.of_turn(tell);
        }
    }

    /// Returns whether it is a fact of inputs.
    fn of_input(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) -> bool {
        use Member::{Flag, Number, Text};
        match self {
            Fact::Input { input, turn: _, sender, held, place, parent } => {
                tell("input", Text(input.as_str()));
                tell_sender(tell, sender.as_ref());
                if *held {
                    tell("held", Flag(true));
                }
                if let Some(parent) = parent {
                    tell("parent_turn", Text(parent.as_str()));
                }
                tell_place(tell, place, true);
            }
            Fact::Person { input, sender, place } => {
                tell("input", Text(input.as_str()));
                tell_sender(tell, sender.as_ref());
                tell_place(tell, place, true);
            }
            Fact::Receipt { input, turn: _, receipt } => {
                tell("input", Text(input.as_str()));
                match receipt {
                    Receipt::Delivered { epoch } | Receipt::Consumed { epoch } => {
                        tell("epoch", Number(epoch.0));
                    }
                    Receipt::Deferred => {}
                    Receipt::Dropped { why } => tell("why", Text(why)),
                }
            }
            _ => return false,
        }
        true
    }

    /// All others.
    fn of_turn(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        use Member::{Number, Text};
        match self {
            Fact::Started { turn: _, epoch, attempt } => {
                tell("epoch", Number(epoch.0));
                tell("attempt", Number(u64::from(*attempt)));
            }
            Fact::Output(output) => output.members(tell),
            Fact::Phase { turn: _, epoch, phase } => {
                tell("epoch", Number(epoch.0));
                tell("phase", Text(phase.name()));
                if let Phase::Tool(tool) = phase {
                    tell("tool", Text(tool.as_str()));
                }
            }
            Fact::Stalled { turn: _, epoch } | Fact::Recovered { turn: _, epoch } => {
                tell("epoch", Number(epoch.0));
            }
            Fact::Lost { turn: _, epoch, cause, again_at, detail } => {
                tell("epoch", Number(epoch.0));
                tell("cause", Text(cause.name()));
                tell("again_at", Number(*again_at));
                tell_unless_empty(tell, "detail", detail);
            }
            Fact::Step { turn: _, epoch, step, attempt } => {
                tell("epoch", Number(epoch.0));
                tell("step", Text(step.as_str()));
                tell("attempt", Number(u64::from(*attempt)));
            }
            Fact::Rewound { turn: _, epoch, step, from, to } => {
                tell("epoch", Number(epoch.0));
                if let Some(step) = step {
                    tell("step", Text(step.as_str()));
                }
                tell("from", Number(from.0));
                tell("to", Number(to.0));
            }
            Fact::StepCancelled { turn: _, step, by, reason } => {
                tell("step", Text(step.as_str()));
                tell("reason", Text(reason));
                tell_sender(tell, by.as_ref());
            }
            Fact::Pausing { turn: _, reason } | Fact::Paused { turn: _, reason } => {
                tell("reason", Text(reason.name()));
            }
            Fact::Resumed { .. } | Fact::Waiting { .. } => {}
            Fact::Ended { turn: _, end: End::Completed { reason } } => {
                tell_unless_empty(tell, "reason", reason);
            }
            Fact::Ended { turn: _, end: End::Failed { reason } } => tell("reason", Text(reason)),
            Fact::Ended { turn: _, end: End::Cancelled { by, reason } } => {
                tell("reason", Text(reason));
                tell_sender(tell, by.as_ref());
            }
            // Those whose members are visited above; the compiler requires those of a new fact here.
            Fact::Input { .. } | Fact::Person { .. } | Fact::Receipt { .. } => {}
            Fact::Requested { .. } | Fact::Answered { .. } => {}
            Fact::Expired { .. } | Fact::Withdrawn { .. } => {}
            Fact::CallClaimed { .. } | Fact::CallReleased { .. } => {}
            Fact::ToolStarted { .. } | Fact::ToolFinished { .. } | Fact::ToolLate { .. } => {}
            Fact::Control(_) | Fact::Audience { .. } | Fact::Standing { .. } => {}
        }
    }

    /// Returns whether it is a fact of tools.
    fn of_tools(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) -> bool {
        use Member::{Flag, Number, Text};
        let (epoch, call, key, failed) = match self {
            Fact::ToolStarted { turn: _, epoch, call, tool, key } => {
                tell("tool", Text(tool.as_str()));
                (epoch, call, key, false)
            }
            Fact::ToolFinished { turn: _, epoch, call, key, failed } => (epoch, call, key, *failed),
            Fact::ToolLate { of, epoch, call, key, failed } => {
                tell("turn", Text(of.as_str()));
                tell("late", Flag(true));
                (epoch, call, key, *failed)
            }
            _ => return false,
        };
        tell("epoch", Number(epoch.0));
        tell("call", Text(call.as_str()));
        tell("key", Text(&tool_key::text(*key)));
        if failed {
            tell("failed", Flag(true));
        }
        true
    }

    /// Returns whether it is a fact of people.
    fn of_people(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) -> bool {
        use Member::{Number, Text};
        match self {
            Fact::Requested {
                interaction, epoch, kind, deadline, message, role, place, ..
            } => {
                tell("interaction", Text(interaction.as_str()));
                tell("epoch", Number(epoch.0));
                tell("kind", Text(kind.as_str()));
                if let Some(deadline) = deadline {
                    tell("deadline", Number(deadline.0));
                }
                tell("message", Number(message.0));
                if Role::Participant < *role {
                    tell("role", Text(role.name()));
                }
                tell_place(tell, place, false);
            }
            Fact::Answered { interaction, turn: _, by } => {
                tell("interaction", Text(interaction.as_str()));
                tell_sender(tell, by.as_ref());
            }
            Fact::Expired { interaction, turn: _ } => {
                tell("interaction", Text(interaction.as_str()));
            }
            Fact::Withdrawn { interaction, turn: _, reason } => {
                tell("interaction", Text(interaction.as_str()));
                tell_unless_empty(tell, "reason", reason);
            }
            Fact::CallClaimed { interaction, turn: _, by, epoch, until } => {
                tell("interaction", Text(interaction.as_str()));
                tell_sender(tell, Some(by));
                tell("epoch", Number(epoch.0));
                tell("until", Number(until.0));
            }
            Fact::CallReleased { interaction, turn: _, epoch, cause } => {
                tell("interaction", Text(interaction.as_str()));
                tell("epoch", Number(epoch.0));
                tell("cause", Text(cause.name()));
            }
            Fact::Control(control) => {
                tell("mode", Text(control.mode.name()));
                tell_sender(tell, control.by.as_ref());
                if let Some(holder) = &control.holder {
                    tell("holder", Text(holder.participant.as_str()));
                }
                tell("epoch", Number(control.epoch.0));
                if let Some(until) = control.until {
                    tell("until", Number(until.0));
                }
                tell_unless_empty(tell, "note", &control.note);
            }
            Fact::Audience { watchers, controllers } => {
                tell("watchers", Number(u64::from(*watchers)));
                tell("controllers", Number(u64::from(*controllers)));
            }
            Fact::Standing { standing: _, by } => tell_sender(tell, by.as_ref()),
            _ => return false,
        }
        true
    }

    /// Gives the fact's bytes to a hash; see [`crate::chain`].
    pub(crate) fn feed(&self, agent: Option<&AgentName>, out: &mut impl FnMut(&[u8])) {
        text(out, self.name());
        text(out, self.turn().map_or("", TurnId::as_str));
        text(out, agent.map_or("", AgentName::as_str));
        self.members(&mut |name, member| {
            text(out, name);
            match member {
                Member::Text(given) => text(out, given),
                Member::Number(number) => out(&number.to_le_bytes()),
                Member::Flag(flag) => out(&[u8::from(flag)]),
            }
        });
    }
}

impl Output {
    fn members(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        use Member::{Number, Text};
        tell("epoch", Number(self.epoch.0));
        tell("attempt", Number(u64::from(self.attempt)));
        tell("offset", Number(self.offset));
        tell("message", Number(self.message.0));
        if let Some(step) = &self.step {
            tell("step", Text(step.as_str()));
        }
        if self.internal {
            tell("visibility", Text("internal"));
        }
        tell_place(tell, &self.place, false);
    }
}

fn tell_sender(tell: &mut dyn FnMut(&'static str, Member<'_>), sender: Option<&Sender>) {
    let Some(sender) = sender else { return };
    tell("participant", Member::Text(sender.participant.as_str()));
    if let Some(device) = &sender.device {
        tell("device", Member::Text(device.as_str()));
    }
}

/// Nothing where there is but the order of the log. `speaks`: a message begins here in any case.
fn tell_place(tell: &mut dyn FnMut(&'static str, Member<'_>), place: &TreePlace, speaks: bool) {
    if !place.is_branched() {
        return;
    }
    tell("branch", Member::Number(place.branch.0));
    if speaks || place.parent != Serial::ZERO {
        tell("parent", Member::Number(place.parent.0));
    }
    if place.again {
        tell("again", Member::Flag(true));
    }
}

fn tell_unless_empty(
    tell: &mut dyn FnMut(&'static str, Member<'_>),
    name: &'static str,
    text: &str,
) {
    if !text.is_empty() {
        tell(name, Member::Text(text));
    }
}

fn text(out: &mut impl FnMut(&[u8]), text: &str) {
    let length = u32::try_from(text.len()).expect("names and reasons are short");
    out(&length.to_le_bytes());
    out(text.as_bytes());
}
