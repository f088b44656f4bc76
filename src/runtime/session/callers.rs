//! Devices that make calls for agents, as the leader sees them: one that was there and is not any more has left.
//!
//! One that was never seen may be attached nowhere: its lease is all there is to judge it by.

use crate::ids::{CallEpoch, InteractionId};
use crate::session::{ReleaseCall, Sender};

/// Those that were seen, by their calls.
#[derive(Default)]
pub(super) struct Callers(Vec<(InteractionId, CallEpoch)>);

impl Callers {
    /// Looks at all calls that are claimed now, and returns which devices have left.
    pub(super) fn see(
        &mut self,
        claimed: Vec<(InteractionId, CallEpoch, Sender)>,
        attends: impl Fn(&Sender) -> Option<bool>,
    ) -> Vec<ReleaseCall> {
        if claimed.is_empty() {
            self.0.clear();
            return Vec::new();
        }
        let known = |id: &InteractionId, epoch: CallEpoch| {
            self.0.iter().any(|(seen, at)| seen == id && *at == epoch)
        };
        let (mut seen, mut left) = (Vec::new(), Vec::new());
        for (interaction, epoch, by) in claimed {
            match attends(&by) {
                Some(true) => seen.push((interaction, epoch)),
                Some(false) if known(&interaction, epoch) => {
                    // It is seen on, until the session has been notified.
                    seen.push((interaction.clone(), epoch));
                    left.push(ReleaseCall { interaction, epoch, by: Some(by), left: true });
                }
                None if known(&interaction, epoch) => seen.push((interaction, epoch)),
                Some(false) | None => {}
            }
        }
        self.0 = seen;
        left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceName, ParticipantName};

    #[test]
    fn only_a_device_that_was_seen_can_leave() {
        let by = Sender {
            participant: ParticipantName::parse("ada").unwrap(),
            device: DeviceName::parse("phone").ok(),
        };
        let call = |epoch| (InteractionId::parse("q").unwrap(), CallEpoch(epoch), by.clone());
        let mut callers = Callers::default();
        let mut left = |epoch, attends| callers.see(vec![call(epoch)], |_| attends).len();
        assert_eq!(left(1, Some(false)), 0, "it never attended");
        assert_eq!(left(1, Some(true)), 0);
        assert_eq!(left(1, None), 0);
        assert_eq!(left(1, Some(false)), 1);
        assert_eq!(left(1, Some(false)), 1, "until the session knows");
        assert_eq!(left(2, Some(false)), 0, "it claimed anew from elsewhere");
        assert!(callers.is_empty());
        callers.see(vec![call(2)], |_| Some(true));
        assert!(!callers.is_empty());
        callers.see(Vec::new(), |_| None);
        assert!(callers.is_empty());
    }
}
