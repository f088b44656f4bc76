//! The changes as server-sent events: a frame for each page, whose id is the place after it.
//!
//! It never ends cleanly: who follows comes back to where it was, at any node.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::super::frame;
use super::super::live::{self, BrokenOff};
use super::{Following, render, text};
use crate::auth::Ending;
use crate::limits;
use crate::runtime::following::Followed;

/// A stream and what it sends next.
struct Feed {
    following: Following,
    place: Followed,
    /// The place that the client has is none here: it is to forget everything.
    resets: bool,
    stage: Stage,
    ending: Ending,
    _room: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Following,
    /// The client was sent why the stream ends.
    Parting,
    Over,
}

/// The stream from a place on; all comes anew where that is none.
pub(super) fn response(
    following: Following,
    place: Option<Followed>,
    room: OwnedSemaphorePermit,
) -> Response {
    let (resets, ending) = (place.is_none(), following.caller.ending());
    let place = place.unwrap_or_default();
    let feed = Feed { following, place, resets, stage: Stage::Opening, ending, _room: room };
    let frames = stream::unfold(feed, |mut feed| async { Some((feed.next().await?, feed)) });
    live::streamed(Body::from_stream(frames))
}

impl Feed {
    /// Waits for the next bytes; an error, which breaks the connection, is the last item.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Following;
                return Some(Ok(live::beginning()));
            }
            Stage::Following => {}
            Stage::Parting => {
                self.stage = Stage::Over;
                sleep(Duration::from_millis(live::PARTING_MS)).await;
                return Some(Err(BrokenOff));
            }
            Stage::Over => return None,
        }
        let until = Instant::now() + Duration::from_millis(limits::HEARTBEAT_MS);
        // One that is to forget everything learns so at once.
        let until = if self.resets { Instant::now() } else { until };
        let found = tokio::select! {
            biased;
            ended = self.ending.came() => {
                self.stage = Stage::Parting;
                let data = json!({ "reason": ended.code() });
                return Some(Ok(frame::control("detached", None, &data)));
            }
            found = self.following.page(self.place.clone(), until) => found,
        };
        let Ok(mut page) = found else {
            self.stage = Stage::Over;
            return Some(Err(BrokenOff));
        };
        page.reset |= std::mem::take(&mut self.resets);
        self.place = page.place.clone();
        if page.changes.is_empty() && !page.reset {
            return Some(Ok(frame::HEARTBEAT));
        }
        let place = text(&self.place);
        Some(Ok(frame::control("changes", Some(&place), &render(&page))))
    }
}
