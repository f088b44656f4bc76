//! Which path through a conversation a client reads: the newest one, a branch, or up to a message.

use super::super::error::{self, Problem};
use super::super::headers::strict_number;
use super::at::message_at;
use super::log::Log;
use crate::ids::Serial;
use crate::session::{Status, View};

/// What a reader requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::edge) enum Pin {
    /// The path of the last input.
    #[default]
    Current,
    /// All messages, in the order of the log.
    Whole,
    /// This branch, as it goes on.
    Branch(Serial),
    /// Up to this message.
    Leaf(Serial),
}

impl Pin {
    /// Takes what is given as `branch` and as `leaf`.
    ///
    /// # Errors
    /// Names what cannot be understood.
    pub(in crate::edge) fn parse(branch: Option<&str>, leaf: Option<&str>) -> Result<Pin, String> {
        match (branch, leaf) {
            (None, None) => Ok(Pin::Current),
            (Some("all"), None) => Ok(Pin::Whole),
            (Some(branch), None) => match strict_number(branch) {
                Some(number) => Ok(Pin::Branch(Serial(number))),
                None => Err("branch is all, or a branch's number".into()),
            },
            (None, Some(leaf)) => match strict_number(leaf) {
                Some(number) => Ok(Pin::Leaf(Serial(number))),
                None => Err("leaf is a message's id".into()),
            },
            (Some(_), Some(_)) => Err("name a branch or a leaf, not both".into()),
        }
    }

    /// The path that is meant, in a session as it is in `status`.
    ///
    /// # Errors
    /// There is no such branch or message, or the log is not to be had before the deadline.
    pub(in crate::edge) async fn view(
        self,
        log: &mut Log<'_>,
        status: &Status,
    ) -> Result<View, Problem> {
        let path = |branch: Serial| {
            let none = || format!("the conversation has no branch {branch}");
            status.branches.path(branch).ok_or_else(|| Problem::new(&error::NO_SUCH_BRANCH, none()))
        };
        match self {
            Pin::Current => Ok(status.branches.current_view()),
            Pin::Whole => Ok(View::default()),
            Pin::Branch(branch) => path(branch),
            Pin::Leaf(leaf) => {
                let found = message_at(log, status, leaf).await?;
                let none = || format!("none has the id {leaf}");
                let (_, place) =
                    found.ok_or_else(|| Problem::new(&error::NO_SUCH_MESSAGE, none()))?;
                Ok(path(place.branch)?.upto(leaf))
            }
        }
    }

    /// Whether a live reader is sent a part of the log only.
    pub(in crate::edge) fn is_path(self) -> bool {
        matches!(self, Pin::Branch(_) | Pin::Leaf(_))
    }
}
