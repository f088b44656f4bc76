//! The messages of a session, page by page in both directions, and what of them waits for people or workers.
//!
//! A message is where its first event is: each event records which message it is of, and each message which one was
//! before it (`session/src/work/message.rs`). So a page costs what its messages do, however long the log is, and a
//! message has the same id at every node, on every page, and after anything was trimmed before it.

mod at;
mod borders;
#[cfg(test)]
mod bounds;
mod events;
mod fold;
mod log;
mod message;
mod open;
mod page;
mod pin;
mod place;
#[cfg(test)]
mod properties;
mod results;
mod turn;
#[cfg(test)]
mod world_tests;

pub(super) use self::at::message_at;
pub(super) use self::events::before;
pub(super) use self::log::Log;
pub(super) use self::open::{Waiting, question, waiting};
pub(super) use self::page::{PageRequest, Side, newest, one, read};
pub(super) use self::pin::Pin;
pub(super) use self::place::{At, event_place};
pub(super) use self::turn::{
    Ended, Found, end_of, end_of_message, ended, input_of, last_of, text_of_turn,
};
