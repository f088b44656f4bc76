//! What a session knows of people, as one node tells another. A promise, like all of [`super::wire`].

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, TurnId};
use crate::session::{
    AudienceStatus, ControlStatus, InteractionStatus, Mode, Policy, Sender, Unwatched, WhenBusy,
};

/// [`Policy`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldPolicy {
    when_busy: String,
    unwatched: ToldUnwatched,
    attempts: Option<u32>,
    escalate: bool,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum ToldUnwatched {
    Continue,
    Pause { after_ms: u64 },
    Cancel { after_ms: u64 },
}

/// [`InteractionStatus`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldInteraction {
    interaction: String,
    turn: String,
    kind: String,
    serial: u64,
    deadline: Option<u64>,
}

/// [`ControlStatus`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldControl {
    mode: String,
    holder: Option<ToldSender>,
    epoch: u64,
    until: Option<u64>,
    requested: Option<ToldSender>,
    held: bool,
}

/// [`AudienceStatus`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldAudience {
    watchers: u32,
    controllers: u32,
    since: u64,
}

/// Participant and device.
type ToldSender = (String, Option<String>);

impl From<Policy> for ToldPolicy {
    fn from(policy: Policy) -> ToldPolicy {
        ToldPolicy {
            when_busy: policy.when_busy.name().into(),
            unwatched: match policy.unwatched {
                Unwatched::Continue => ToldUnwatched::Continue,
                Unwatched::Pause { after_ms } => ToldUnwatched::Pause { after_ms },
                Unwatched::Cancel { after_ms } => ToldUnwatched::Cancel { after_ms },
            },
            attempts: policy.attempts,
            escalate: policy.escalate,
            wait_ms: policy.wait_ms,
        }
    }
}

impl ToldPolicy {
    pub(super) fn thaw(self) -> Option<Policy> {
        Some(Policy {
            when_busy: WhenBusy::parse(&self.when_busy)?,
            unwatched: match self.unwatched {
                ToldUnwatched::Continue => Unwatched::Continue,
                ToldUnwatched::Pause { after_ms } => Unwatched::Pause { after_ms },
                ToldUnwatched::Cancel { after_ms } => Unwatched::Cancel { after_ms },
            },
            attempts: self.attempts,
            escalate: self.escalate,
            wait_ms: self.wait_ms,
        })
    }
}

impl From<InteractionStatus> for ToldInteraction {
    fn from(status: InteractionStatus) -> ToldInteraction {
        ToldInteraction {
            interaction: status.interaction.as_str().into(),
            turn: status.turn.as_str().into(),
            kind: status.kind.as_str().into(),
            serial: status.serial.0,
            deadline: status.deadline.map(|at| at.0),
        }
    }
}

impl ToldInteraction {
    pub(super) fn thaw(self) -> Option<InteractionStatus> {
        Some(InteractionStatus {
            interaction: InteractionId::parse(&self.interaction).ok()?,
            turn: TurnId::parse(&self.turn).ok()?,
            kind: KindName::parse(&self.kind).ok()?,
            serial: Serial(self.serial),
            deadline: self.deadline.map(Millis),
        })
    }
}

impl From<ControlStatus> for ToldControl {
    fn from(status: ControlStatus) -> ToldControl {
        ToldControl {
            mode: status.mode.name().into(),
            holder: status.holder.map(told_sender),
            epoch: status.epoch,
            until: status.until.map(|until| until.0),
            requested: status.requested.map(told_sender),
            held: status.held,
        }
    }
}

impl ToldControl {
    pub(super) fn thaw(self) -> Option<ControlStatus> {
        Some(ControlStatus {
            mode: Mode::parse(&self.mode)?,
            holder: thaw_sender(self.holder)?,
            epoch: self.epoch,
            until: self.until.map(Millis),
            requested: thaw_sender(self.requested)?,
            held: self.held,
        })
    }
}

impl From<AudienceStatus> for ToldAudience {
    fn from(status: AudienceStatus) -> ToldAudience {
        let AudienceStatus { watchers, controllers, since } = status;
        ToldAudience { watchers, controllers, since: since.0 }
    }
}

impl ToldAudience {
    pub(super) fn thaw(self) -> AudienceStatus {
        let ToldAudience { watchers, controllers, since } = self;
        AudienceStatus { watchers, controllers, since: Millis(since) }
    }
}

fn told_sender(sender: Sender) -> ToldSender {
    let device = sender.device.map(|device| device.as_str().into());
    (sender.participant.as_str().into(), device)
}

/// The sender, if there is one; none where the peer says what cannot be.
fn thaw_sender(told: Option<ToldSender>) -> Option<Option<Sender>> {
    let Some((participant, device)) = told else { return Some(None) };
    let participant = ParticipantName::parse(&participant).ok()?;
    let device = match device {
        Some(device) => Some(DeviceName::parse(&device).ok()?),
        None => None,
    };
    Some(Some(Sender { participant, device }))
}
