//! Finding where messages begin, from newer to older: by what the first event of each says of the one before it.

use super::super::error::Problem;
use super::log::Log;
use crate::edge::attached::Visibility;
use crate::edge::attached::fold::is_internal;
use crate::ids::Serial;
use crate::limits::MESSAGES_EVENTS;
use crate::session::{Event, Fact, Status};

/// How far back a page goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Border {
    /// Where its first message begins; all that begin from here on are of it.
    pub(super) lo: Serial,
    /// Where its messages begin, the newest first, whatever of them stands.
    pub(super) begins: Vec<Serial>,
    /// Whether there is no older one.
    pub(super) is_first: bool,
    /// Whether something may be left of messages that began before the log does.
    pub(super) remnants: bool,
}

/// Where the next older message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It begins here.
    At(Serial),
    /// It is the last one that begins at or before this.
    UpTo(Serial),
    None {
        remnants: bool,
    },
}

/// A message as its first event tells of it.
struct Begin {
    previous: Serial,
    internal: bool,
}

fn begin(event: &Event) -> Option<Begin> {
    match event.fact.as_deref()? {
        Fact::Input { previous, .. } | Fact::Person { previous, .. } => {
            Some(Begin { previous: *previous, internal: false })
        }
        Fact::Output(output) if output.message == event.serial => {
            Some(Begin { previous: output.previous, internal: is_internal(event) })
        }
        Fact::Requested { message, previous, .. } if *message == event.serial => {
            Some(Begin { previous: *previous, internal: false })
        }
        _ => None,
    }
}

/// Goes back over `count` messages from `before`, but not over many more events than a page may have.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(super) async fn back(
    log: &mut Log<'_>,
    status: &Status,
    before: Serial,
    count: usize,
    visibility: Visibility,
) -> Result<Border, Problem> {
    let far = |at: Serial, events: usize| events as u64 <= before.0.saturating_sub(at.0);
    let (mut lo, mut begins, begun) = (before, Vec::new(), (log.read, log.bytes));
    let mut next = match status.tail < before {
        true => Next::At(status.message).or_none(status, before),
        false => next_before(log, status, before).await?,
    };
    loop {
        let upto = match next {
            Next::None { remnants } => {
                let lo = if remnants { status.first } else { lo };
                return Ok(Border { lo, begins, is_first: true, remnants });
            }
            Next::At(at) | Next::UpTo(at) => at,
        };
        let enough = far(upto, MESSAGES_EVENTS) || log.is_spent(begun);
        if count <= begins.len() || (!begins.is_empty() && enough) {
            return Ok(Border { lo, begins, is_first: false, remnants: false });
        }
        if upto < status.first {
            next = Next::end_of(status);
            continue;
        }
        if matches!(next, Next::UpTo(_)) && begins.is_empty() && log.is_spent(begun) {
            // The next page goes on here.
            return Ok(Border { lo: upto.next(), begins, is_first: false, remnants: false });
        }
        // What its neighbours say is often in the same piece.
        let piece = log.back(upto, status.first, log.most()).await?;
        let Some(start) = piece.first().map(|shown| shown.event.serial) else {
            next = Next::end_of(status);
            continue;
        };
        let mut events = piece.iter().rev();
        loop {
            let wanted = |event: &Event| match next {
                Next::At(at) => event.serial <= at,
                _ => true,
            };
            let shown = events.by_ref().find(|shown| wanted(&shown.event));
            let Some(event) = shown.map(|shown| &shown.event) else { break };
            let Some(begun) = begin(event) else { continue };
            if visibility == Visibility::All || !begun.internal {
                lo = event.serial;
                begins.push(lo);
            }
            next = Next::At(begun.previous).or_none(status, event.serial);
            if count <= begins.len() || matches!(next, Next::None { .. }) {
                break;
            }
        }
        // What is not where it was said to be is looked for.
        if next == Next::At(upto) || matches!(next, Next::UpTo(at) if start <= at) {
            let is_all = start <= status.first;
            next = if is_all { Next::end_of(status) } else { Next::UpTo(Serial(start.0 - 1)) };
        }
    }
}

/// Where the last message is that begins before a place in the log: one that begins there says it.
async fn next_before(log: &mut Log<'_>, status: &Status, before: Serial) -> Result<Next, Problem> {
    let upto = Next::UpTo(Serial(before.0.saturating_sub(1)));
    if before < status.first.max(Serial(1)) {
        return Ok(upto);
    }
    let there = log.back(before, before, 1).await?;
    let begun = there.first().and_then(|shown| begin(&shown.event));
    Ok(begun.map_or(upto, |begun| Next::At(begun.previous).or_none(status, before)))
}

impl Next {
    /// No message begins in what is left of the log; one may have begun before it.
    fn end_of(status: &Status) -> Next {
        Next::None { remnants: Serial(1) < status.first }
    }

    /// What it is where nothing is said of a place, or something that is not there any more. `from`: who says it.
    fn or_none(self, status: &Status, from: Serial) -> Next {
        let Next::At(at) = self else { return self };
        let inherited = status.fork.as_ref().map(|fork| fork.at);
        match inherited {
            // A fork knows nothing of what was said before it.
            Some(fork) if at == Serial::ZERO => Next::UpTo(fork.min(Serial(from.0 - 1))),
            _ if at == Serial::ZERO => Next::None { remnants: false },
            _ if at < status.first => Next::None { remnants: true },
            _ => Next::At(at),
        }
    }
}
