//! What changed in the sessions of a tenant: for databases that follow.

use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::error::{self, Problem};
use super::gate::{By, while_granted};
use super::query::Query;
use super::{Edge, State, headers};
use crate::auth::Caller;
use crate::ids::Cursor;
use crate::limits;
use crate::runtime::following::{Changed, Changes, Followed};
use crate::session::Standing;

/// Pause between two looks for what is new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// `GET /v1/changes`
pub(super) async fn read(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "limit", "wait_ms"])?;
    let limit = query.number("limit", 1, limits::CHANGES_MAX as u64)?;
    let limit = limit.map_or(limits::CHANGES_PAGE, |limit| limit as usize);
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?.unwrap_or(0);
    let place = match query.text("after") {
        None | Some("start") => Followed::default(),
        Some("now") => Followed::now(),
        Some(text) => {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let place = bytes.and_then(|bytes| Followed::read(&bytes));
            place
                .ok_or_else(|| Problem::new(&error::BAD_CURSOR, "it is no place in the changes"))?
        }
    };
    let budget = headers::deadline(&headers)?.saturating_duration_since(Instant::now());
    let _room =
        edge.windows.clone().try_acquire_owned().map_err(|_| {
            Problem::new(&error::OVERLOADED, "too many wait at this node; try another")
        })?;
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let found = follow(&edge, &caller, place, limit, until, budget);
    let page = while_granted(&caller, found).await?;
    Ok(Json(render(&page)).into_response())
}

/// Waits until there is something to return, or it is time.
async fn follow(
    edge: &Edge,
    caller: &Caller,
    mut place: Followed,
    limit: usize,
    until: Instant,
    budget: Duration,
) -> Result<Changes, Problem> {
    let sessions = edge.sessions();
    loop {
        let deadline = Instant::now() + budget;
        let mut page = sessions.changed(caller.tenant(), &place, limit, deadline).await?;
        page.changes.retain(|changed| caller.is_for(&changed.id));
        // A page may be empty and have more behind it, where nothing of it is for the caller.
        let is_due = until <= Instant::now();
        if !page.changes.is_empty() || page.reset || is_due {
            return Ok(page);
        }
        let more = page.more;
        place = page.place;
        if more {
            continue;
        }
        tokio::select! {
            () = edge.stop.cancelled() => return Err(error::of_stop(false)),
            () = sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()))) => {}
        }
    }
}

fn render(page: &Changes) -> Value {
    let next = URL_SAFE_NO_PAD.encode(page.place.bytes());
    let changes: Vec<_> = page.changes.iter().map(changed).collect();
    let mut body = json!({ "changes": changes, "next": next, "more": page.more });
    if page.reset {
        body["reset"] = true.into();
    }
    body
}

fn changed(Changed { id, incarnation, now }: &Changed) -> Value {
    let mut line = json!({ "session": id.name(), "incarnation": incarnation.0 });
    let Some(now) = now else {
        line["deleted"] = true.into();
        return line;
    };
    let cursor = Cursor { incarnation: *incarnation, serial: now.tail };
    line["first"] = now.first.0.into();
    line["tail"] = now.tail.0.into();
    line["cursor"] = cursor.to_string().into();
    line["closed"] = now.closed.into();
    if now.standing != Standing::Active {
        line["state"] = now.standing.name().into();
    }
    line
}
