//! Problems in the form of the dialect: some refusals carry headers that clients go by.

use super::super::error::{self, Problem};
use super::{STREAM_CLOSED, TRUE, next_offset};
use crate::ids::{Incarnation, Serial};
use crate::runtime::SubmitError;
use crate::runtime::fork::ForkError;
use crate::session::Refusal;

/// Why nothing was appended, closed or deleted.
pub(super) fn submit(why: SubmitError) -> Problem {
    match why {
        SubmitError::Refused { refusal: Refusal::Closed { tail }, root: Some(root), .. } => {
            closed(root, tail)
        }
        why => why.into(),
    }
}

/// The stream takes nothing any more.
pub(super) fn closed(root: Incarnation, tail: Serial) -> Problem {
    let (name, offset) = next_offset(root, tail);
    let problem: Problem = Refusal::Closed { tail }.into();
    problem.header(STREAM_CLOSED, TRUE).header(name, offset)
}

/// Why nothing was created.
pub(super) fn create(why: SubmitError) -> Problem {
    match why {
        SubmitError::Refused { refusal: Refusal::Gone, .. } => Problem::new(
            &error::NAME_RESERVED,
            "the stream was deleted; its name is free when its forks are no more",
        ),
        why => why.into(),
    }
}

/// Why nothing was forked.
pub(super) fn fork(why: ForkError) -> Problem {
    match why {
        ForkError::Source(Refusal::Gone) => Problem::new(&error::SOURCE_DELETED, why.to_string()),
        ForkError::Source(refusal) => refusal.into(),
        ForkError::OtherRoot => super::parse::beyond(),
        ForkError::Short => Problem::new(&error::FORK_OFFSET_OUT_OF_RANGE, why.to_string()),
        ForkError::Submit(why) => create(why),
    }
}

/// The log that the reader read is no more.
pub(super) fn log_gone() -> Problem {
    Problem::new(&error::CURSOR_GONE, "what follows the offset is no more")
}
