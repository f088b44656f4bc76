//! Whether a session takes more: frozen, put away, and taken back.

use serde::{Deserialize, Serialize};

use crate::command::Shelve;
use crate::event::Event;
use crate::fact::Fact;
use crate::ids::Millis;
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;

/// What may still be added to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Everything.
    #[default]
    Active,
    /// No inputs and no appends; what is under way goes on to its end, and reads go on.
    ReadOnly,
    /// ReadOnly, and in no list that does not request it.
    Archived,
}

impl Standing {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::ReadOnly => "frozen",
            Standing::Archived => "archived",
        }
    }

    /// The name of its event.
    pub fn event(self) -> &'static str {
        match self {
            Standing::Active => "session.restored",
            Standing::ReadOnly => "session.frozen",
            Standing::Archived => "session.archived",
        }
    }
}

impl Live {
    /// Changes what may still be added; the same again is no change.
    pub(crate) fn shelve(
        &mut self,
        now: Millis,
        request: &Shelve,
        out: &mut Vec<Event>,
    ) -> Applied {
        let standing = request.standing;
        let changed = self.standing != standing;
        if changed {
            self.standing = standing;
            self.clock = now;
            // A log that is made of something has no events of the service's own, and one that is closed has an end.
            if self.config.content_type.is_none() && !self.is_closed() {
                self.note(now, Fact::Standing { standing, by: request.by.clone() }, out);
            }
        }
        Applied::Stands { standing, changed }
    }

    /// Refuses what would bring more.
    pub(crate) fn check_standing(&self) -> Result<(), Refusal> {
        match self.standing {
            Standing::Active => Ok(()),
            standing => Err(Refusal::ReadOnly { standing }),
        }
    }
}
