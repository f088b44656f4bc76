//! Finding where messages begin, from newer to older: by what the first event of each records of the one before it.

use super::super::error::Problem;
use super::log::Log;
use crate::edge::attached::Visibility;
use crate::edge::attached::fold::is_internal;
use crate::ids::Serial;
use crate::limits::MESSAGES_EVENTS;
use crate::session::{Event, Status, View};

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

/// A message as its first event records it.
struct Begin {
    /// The one before it, in what is read.
    before: Serial,
    /// Nothing is before it.
    is_first: bool,
    internal: bool,
}

/// The message of a view that begins with an event.
fn begin(event: &Event, view: &View) -> Option<Begin> {
    let (place, internal) = (event.begins()?, is_internal(event));
    if view.is_whole() {
        return Some(Begin { before: place.previous, is_first: false, internal });
    }
    let is_first = event.serial == place.branch && view.is_root(place.branch);
    let is_on_it = !place.again && view.has(place.branch, event.serial);
    is_on_it.then_some(Begin { before: place.parent, is_first, internal })
}

/// Goes back over `count` messages of a view from `before`, but not over many more events than a page may have.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(super) async fn back(
    log: &mut Log<'_>,
    status: &Status,
    before: Serial,
    count: usize,
    (visibility, view): (Visibility, &View),
) -> Result<Border, Problem> {
    let far = |at: Serial, events: usize| events as u64 <= before.0.saturating_sub(at.0);
    let (mut lo, mut begins, begun) = (before, Vec::new(), (log.read, log.bytes));
    let mut next = match status.tail < before {
        true if view.is_whole() => Next::At(status.message).or_none(status, before),
        true => Next::end_of_view(view, status, before),
        false => next_before(log, status, before, view).await?,
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
        // What its neighbours record is often in the same piece.
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
            let Some(begun) = begin(event, view) else { continue };
            if visibility == Visibility::All || !begun.internal {
                lo = event.serial;
                begins.push(lo);
            }
            next = begun.next(status, event.serial);
            if count <= begins.len() || matches!(next, Next::None { .. }) {
                break;
            }
        }
        // What is not at the place that was named is looked for.
        if next == Next::At(upto) || matches!(next, Next::UpTo(at) if start <= at) {
            let is_all = start <= status.first;
            next = if is_all { Next::end_of(status) } else { Next::before(start, view) };
        }
    }
}

/// Where the last message is that begins before a place in the log: one that begins there records it.
async fn next_before(
    log: &mut Log<'_>,
    status: &Status,
    before: Serial,
    view: &View,
) -> Result<Next, Problem> {
    let upto = Next::before(before, view);
    if before < status.first.max(Serial(1)) {
        return Ok(upto);
    }
    let there = log.back(before, before, 1).await?;
    let begun = there.first().and_then(|shown| begin(&shown.event, view));
    Ok(begun.map_or(upto, |begun| begun.next(status, before)))
}

impl Begin {
    /// Where the one before it is; `at`: where it is itself.
    fn next(&self, status: &Status, at: Serial) -> Next {
        if self.is_first {
            return Next::None { remnants: false };
        }
        Next::At(self.before).or_none(status, at)
    }
}

impl Next {
    /// Where the last message of a view is that begins before a place.
    fn before(before: Serial, view: &View) -> Next {
        match view.last_before(before) {
            (Serial::ZERO, true) => Next::None { remnants: false },
            (at, true) => Next::At(at),
            (at, false) => Next::UpTo(at),
        }
    }

    /// Where the newest message of a view is.
    fn end_of_view(view: &View, status: &Status, before: Serial) -> Next {
        match view.leaf() {
            Serial::ZERO => Next::before(before, view),
            leaf => Next::At(leaf).or_none(status, before),
        }
    }

    /// No message begins in what is left of the log; one may have begun before it.
    fn end_of(status: &Status) -> Next {
        Next::None { remnants: Serial(1) < status.first }
    }

    /// What it is where no place is recorded, or one that is not there any more. `from`: the event that records it.
    fn or_none(self, status: &Status, from: Serial) -> Next {
        let Next::At(at) = self else { return self };
        let inherited = status.fork.as_ref().map(|fork| fork.at);
        match inherited {
            // A fork knows nothing of what came before it.
            Some(fork) if at == Serial::ZERO => Next::UpTo(fork.min(Serial(from.0 - 1))),
            _ if at == Serial::ZERO => Next::None { remnants: false },
            _ if at < status.first => Next::None { remnants: true },
            _ => Next::At(at),
        }
    }
}
