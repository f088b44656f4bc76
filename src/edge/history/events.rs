//! A page of events that lie before a place, oldest first.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::error::Problem;
use super::super::wire;
use super::log::Log;
use crate::ids::{Cursor, Serial};
use crate::limits;
use crate::runtime::Shown;
use crate::session::Status;

/// Events that lie before a place.
pub(in crate::edge) struct Back {
    events: Vec<Arc<Shown>>,
    /// The place that it was read before.
    before: Serial,
    /// Whether there is something older that can be read.
    more: bool,
}

/// Reads up to `limit` events before `before`, the newest of them.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn before(
    log: &mut Log<'_>,
    status: &Status,
    before: Serial,
    limit: usize,
) -> Result<Back, Problem> {
    let (mut pieces, mut count, mut bytes) = (Vec::new(), 0, 0);
    let mut upto = Serial(before.0.saturating_sub(1));
    while status.first <= upto && count < limit && bytes < limits::PAGE_BYTES {
        let most = (limit - count).min(limits::DELIVERY_EVENTS);
        let piece = log.back(upto, status.first, most).await?;
        let Some(first) = piece.first().map(|shown| shown.event.serial) else { break };
        count += piece.len();
        bytes += piece.iter().map(|shown| shown.event.payload.len()).sum::<usize>();
        pieces.push(piece);
        upto = Serial(first.0 - 1);
    }
    let mut events: Vec<_> = pieces.into_iter().rev().flatten().collect();
    // The newest stay; one of them always does.
    let mut spare = 0;
    while limits::PAGE_BYTES < bytes && spare + 1 < events.len() {
        bytes -= events[spare].event.payload.len();
        spare += 1;
    }
    events.drain(..spare);
    let oldest = events.first().map_or(before, |shown| shown.event.serial);
    Ok(Back { events, before, more: status.first < oldest })
}

impl Back {
    /// The page as it is answered.
    pub(in crate::edge) fn response(self, status: &Status) -> Response {
        let incarnation = status.incarnation;
        let cursor = |serial| Cursor { incarnation, serial };
        let mut body = format!("{{\"incarnation\":{incarnation},\"events\":[").into_bytes();
        for (place, shown) in self.events.iter().enumerate() {
            if 0 < place {
                body.push(b',');
            }
            wire::event(&mut body, &shown.event, Some(cursor(shown.event.serial)));
        }
        let last = self.events.last().map(|shown| shown.event.serial);
        let last = last.unwrap_or(Serial(self.before.0.saturating_sub(1)));
        let oldest = self.events.first().map(|shown| shown.event.serial);
        let older = oldest.filter(|_| self.more);
        let older = older.map_or("null".to_owned(), |serial| format!("\"{}\"", cursor(serial)));
        let up_to_date = status.tail <= last;
        let closed = up_to_date && status.closed;
        let rest = format!(
            "],\"next\":\"{}\",\"older\":{older},\"up_to_date\":{up_to_date},\"closed\":{closed}",
            cursor(last)
        );
        body.extend_from_slice(rest.as_bytes());
        if !self.more && Serial(1) < status.first {
            let gap = format!(",\"gap\":{{\"first\":{}}}", status.first.0);
            body.extend_from_slice(gap.as_bytes());
        }
        body.push(b'}');
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
