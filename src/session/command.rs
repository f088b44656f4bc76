//! What can be asked of a session. Time is not part of it: the journal stamps the command (S6).

use super::config::Config;
use super::event::{NewEvent, Origin};
use crate::ids::{Incarnation, Serial};

/// One thing asked of one session. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the session live; asking again for the same is no change.
    Create {
        config: Config,
    },
    Append(Append),
    /// Lets nobody append any more; asking again is no change.
    Close {
        producer: Option<Origin>,
    },
    /// Ends the session and frees its log; only this `incarnation`, where one is given.
    Delete {
        incarnation: Option<Incarnation>,
    },
    /// Says that somebody still cares: the time to live begins again.
    Touch,
    /// Lets what is due by now happen: retention by age, and the end of the time to live.
    Tick,
    /// Gives up all events before `before`.
    Trim {
        before: Serial,
    },
}

/// Adds events to the log: all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// 1 to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// By whom, for the how-manieth time: a request with the same one has the effect of one (S11).
    pub producer: Option<Origin>,
    /// Closes the session behind these events.
    pub close: bool,
    /// Appends only if this is the last event's serial.
    pub expect: Option<Serial>,
}
