//! One page of messages: read from where its first message begins until nothing of it can change any more.

use super::super::content::raw::Json;
use super::super::error::Problem;
use super::borders::{self, Border};
use super::fold::Fold;
use super::log::Log;
use crate::edge::attached::Visibility;
use crate::ids::{Cursor, Serial};
use crate::limits::MESSAGES_EVENTS;
use crate::session::{Status, View};

/// Pages in a row that may come to nothing, because what they have was superseded, before one reports so.
const EMPTY_PAGES: usize = 8;

/// To which side of a place a page lies, and so which of its messages wait for the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Side {
    Older,
    Newer,
}

/// Which messages are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) struct PageRequest {
    pub(in crate::edge) side: Side,
    /// Messages that begin before this; or after it.
    pub(in crate::edge) place: Serial,
    pub(in crate::edge) limit: usize,
    pub(in crate::edge) visibility: Visibility,
    /// Those of this path through the conversation.
    pub(in crate::edge) view: View,
}

/// Messages next to each other, oldest first.
pub(in crate::edge) struct Page {
    pub(in crate::edge) messages: Vec<(Serial, Json)>,
    /// Messages that begin before this are older; none where there are none.
    pub(in crate::edge) older: Option<Serial>,
    /// Messages that begin after this are newer; none where there are none yet.
    pub(in crate::edge) newer: Option<Serial>,
}

impl PageRequest {
    /// The newest messages.
    pub(in crate::edge) fn newest(
        status: &Status,
        limit: usize,
        (visibility, view): (Visibility, View),
    ) -> PageRequest {
        PageRequest { side: Side::Older, place: status.tail.next(), limit, visibility, view }
    }
}

/// The newest messages of a session as it is in `status`.
///
/// # Errors
/// As [`read`].
pub(in crate::edge) async fn newest(
    log: &mut Log<'_>,
    status: &Status,
    limit: usize,
    shown: (Visibility, View),
) -> Result<Page, Problem> {
    read(log, status, PageRequest::newest(status, limit, shown)).await
}

/// Reads a page of a session as it is in `status`.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn read(
    log: &mut Log<'_>,
    status: &Status,
    mut request: PageRequest,
) -> Result<Page, Problem> {
    let (begun, before_it) = (request.place, (log.read, log.bytes));
    for tries in 0.. {
        let mut page = match request.side {
            Side::Older => older(log, status, &request).await?,
            Side::Newer => newer(log, status, &request).await?,
        };
        let rest = match request.side {
            Side::Older => page.older,
            Side::Newer => page.newer,
        };
        let goes_on = page.messages.is_empty() && tries < EMPTY_PAGES && !log.is_spent(before_it);
        match rest {
            Some(place) if goes_on => request.place = place,
            _ => {
                // What was passed over is left out; it lies on neither side.
                match request.side {
                    Side::Older if begun <= status.tail => page.newer = Some(before(begun)),
                    Side::Newer if status.first <= begun => page.older = Some(begun.next()),
                    _ => {}
                }
                return Ok(page);
            }
        }
    }
    unreachable!("the loop ends by itself")
}

/// The messages that begin before a place.
async fn older(log: &mut Log<'_>, status: &Status, request: &PageRequest) -> Result<Page, Problem> {
    let PageRequest { place, limit, visibility, .. } = *request;
    let border = borders::back(log, status, place, limit, (visibility, &request.view)).await?;
    if border.begins.is_empty() && !border.remnants {
        let older = (!border.is_first).then_some(border.lo);
        return Ok(Page { messages: Vec::new(), older, newer: None });
    }
    let mut fold = Fold::new(border.lo, Some(place), usize::MAX, Side::Older);
    fold = fold.with_remnants(border.remnants.then_some(Serial::ZERO));
    fold = fold.of(visibility, &request.view);
    let reached = run(log, status, &mut fold, border.lo).await?;
    if reached < status.tail && !fold.is_past(reached.next()) {
        return newest_of(log, status, request, border).await;
    }
    // What there was no room for comes next.
    let older = fold.rest().or((!border.is_first).then_some(border.lo));
    let messages = fold.finish(status).await;
    Ok(Page { messages, older, newer: None })
}

/// The newest messages of a page that is too long to be read, or the end of the newest one where that is.
async fn newest_of(
    log: &mut Log<'_>,
    status: &Status,
    request: &PageRequest,
    border: Border,
) -> Result<Page, Problem> {
    let (place, upto) = (request.place, before(request.place));
    let last = log.last(border.lo, upto).await?;
    let from = last.first().map_or(place, |shown| shown.event.serial);
    let near = border.begins.iter().copied().take_while(|begin| from <= *begin).last();
    let newest = near.or(border.begins.first().copied());
    let lo = newest.unwrap_or(from);
    let mut fold = Fold::new(lo, Some(place), usize::MAX, Side::Older);
    // Where none begins, what is left of those that began before the log does is all there is.
    fold = fold.with_remnants(newest.is_none().then_some(Serial::ZERO));
    fold = fold.of(request.visibility, &request.view);
    if near.is_none() && newest.is_some() {
        fold.only = newest;
        let head = log.back(lo, lo, 1).await?;
        head.iter().for_each(|shown| fold.take(&shown.event));
    }
    last.iter().for_each(|shown| fold.take(&shown.event));
    run(log, status, &mut fold, place).await?;
    let is_first = newest.is_none() || (border.is_first && lo == border.lo && !border.remnants);
    let older = fold.rest().or((!is_first).then_some(lo));
    Ok(Page { messages: fold.finish(status).await, older, newer: None })
}

/// The messages that begin after a place.
async fn newer(log: &mut Log<'_>, status: &Status, request: &PageRequest) -> Result<Page, Problem> {
    let PageRequest { place, limit, visibility, .. } = *request;
    let lo = place.next().max(status.first).max(Serial(1));
    let is_trimmed = Serial(1) < status.first;
    let remnants = (is_trimmed && place < status.first).then_some(place);
    let mut fold = Fold::new(lo, None, limit, Side::Newer).with_remnants(remnants);
    fold = fold.of(visibility, &request.view);
    let reached = run(log, status, &mut fold, lo).await?;
    let newer = match fold.next {
        Some(next) => Some(before(next)),
        None => (reached < status.tail).then_some(reached),
    };
    Ok(Page { messages: fold.finish(status).await, older: None, newer })
}

/// Folds from `from` on until nothing can change the page any more; returns how far it read.
///
/// More than a page is worth is not read: a page that lies after a place ends there, and of what can still change in
/// any, the end of the log decides. Where a page that lies before a place would end there, its fold is not past.
async fn run(
    log: &mut Log<'_>,
    status: &Status,
    fold: &mut Fold,
    from: Serial,
) -> Result<Serial, Problem> {
    let (mut at, begun) = (before(from), (log.read, log.bytes));
    while at < status.tail {
        if fold.is_settled(at.next()) {
            // What lies before the view goes on is of other branches.
            let next = fold.view.next_from(at.next()).unwrap_or(status.tail.next());
            at = before(next).min(status.tail).max(at);
            if fold.is_past(at.next()) || status.tail <= at {
                break;
            }
        }
        if log.is_spent(begun) {
            fold.end(at.next());
            if fold.is_past(at.next()) && !fold.is_settled(at.next()) {
                let last = log.last(at.next(), status.tail).await?;
                last.iter().for_each(|shown| fold.take(&shown.event));
            }
            break;
        }
        let piece = log.piece(at.next(), status.tail).await?;
        let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
        piece.iter().for_each(|shown| fold.take(&shown.event));
        at = last;
    }
    Ok(at)
}

/// The message that begins at a place, if one does and anything of it stands.
///
/// # Errors
/// As [`read`].
pub(in crate::edge) async fn one(
    log: &mut Log<'_>,
    status: &Status,
    id: Serial,
    visibility: Visibility,
) -> Result<Option<Json>, Problem> {
    if id < Serial(1) || status.tail < id {
        return Ok(None);
    }
    let is_left = id < status.first;
    let lo = if is_left { status.first.max(Serial(1)) } else { id };
    // What is left of one is looked for where most likely it is.
    let hi = if is_left { Serial(lo.0 + MESSAGES_EVENTS as u64) } else { id.next() };
    let mut fold = Fold::new(lo, Some(hi), usize::MAX, Side::Older);
    fold = fold.with_remnants(is_left.then(|| before(id)));
    (fold.visibility, fold.only) = (visibility, Some(id));
    run(log, status, &mut fold, lo).await?;
    let found = fold.finish(status).await.into_iter().find(|(at, _)| *at == id);
    Ok(found.map(|(_, message)| message))
}

/// The place in front of a serial.
pub(super) fn before(serial: Serial) -> Serial {
    Serial(serial.0.saturating_sub(1))
}

impl Page {
    /// Adds what a page has to a body: the messages, and how to get more.
    pub(in crate::edge) fn add_to(self, body: Json, life: Cursor) -> Json {
        let cursor = |at: Option<Serial>| {
            at.map_or(Json::Null, |serial| Cursor { serial, ..life }.to_string().into())
        };
        let messages: Vec<Json> = self.messages.into_iter().map(|(_, message)| message).collect();
        body.with("more", self.older.is_some())
            .with("older", cursor(self.older))
            .with("newer", cursor(self.newer))
            .with("messages", messages)
    }
}
