//! Epochs: numbers that fence (S4, S11). Whoever acts under an older one than the session knows is
//! refused.
//!
//! Each kind is a type of its own, so that none is compared with another or given in its stead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Numbers that only grow, stored and sent as the plain number.
macro_rules! epochs {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $(
            $(#[$doc])*
            #[derive(
                Clone,
                Copy,
                Debug,
                Default,
                PartialEq,
                Eq,
                PartialOrd,
                Ord,
                Hash,
                Serialize,
                Deserialize,
            )]
            pub struct $name(pub u64);

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{}", self.0)
                }
            }
        )*
    };
}

epochs! {
    /// What a producer raises when it starts anew; it counts its requests from 0 within each.
    ///
    /// The producer chooses it, so it may leave numbers out; the session takes none below the
    /// newest.
    ProducerEpoch
    /// Fencing token of a turn lease: no other lease of the session's name has the same, and later
    /// ones have greater ones (S4).
    ///
    /// The session gives it out, from 1, over all lives of its name.
    ///
    /// ```compile_fail
    /// use session::ids::{ControlEpoch, TurnEpoch};
    /// assert!(TurnEpoch(1) < ControlEpoch(2));
    /// ```
    TurnEpoch
    /// Counts the changes of who has control, over all lives of the session's name.
    ControlEpoch
    /// Fencing token of a call that a client is to make: counts the devices that claimed it, from 1, within its
    /// interaction.
    CallEpoch
}

impl TurnEpoch {
    /// Of no lease: what there is before the first one.
    pub const NONE: TurnEpoch = TurnEpoch(0);

    /// That of the next lease.
    #[must_use]
    pub fn next(self) -> TurnEpoch {
        TurnEpoch(self.0.checked_add(1).expect("no session gives out 2^64 leases"))
    }
}

impl ControlEpoch {
    /// That after the next change of who has control.
    #[must_use]
    pub fn next(self) -> ControlEpoch {
        ControlEpoch(self.0.checked_add(1).expect("control does not change 2^64 times"))
    }
}

impl CallEpoch {
    /// That of the next device.
    #[must_use]
    pub fn next(self) -> CallEpoch {
        CallEpoch(self.0.checked_add(1).expect("a call is not claimed 2^64 times"))
    }
}
