//! What changed in the sessions of a tenant: for databases that follow, page by page or as a stream.

mod feed;

use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::error::{self, Problem};
use super::events::SEEN;
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
    let query = query.only(&["after", SEEN, "limit", "live", "wait_ms"])?;
    let is_live = query.word("live", &[("sse", true)])?.is_some();
    let limit = query.number("limit", 1, limits::CHANGES_MAX as u64)?;
    let limit = limit.map_or(limits::CHANGES_PAGE, |limit| limit as usize);
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?;
    if wait_ms.is_some() && is_live {
        return Err(Problem::new(&error::BAD_QUERY, "a stream waits by itself: leave out wait_ms"));
    }
    // What a browser has seen is newer than the address it was given.
    let seen = headers::one(&headers, &headers::LAST_EVENT_ID)?.or(query.text(SEEN));
    let seen = seen.filter(|text| is_live && !text.is_empty());
    let place = place(seen.or(query.text("after")));
    let budget = headers::deadline(&headers)?.saturating_duration_since(Instant::now());
    let room =
        edge.windows.clone().try_acquire_owned().map_err(|_| {
            Problem::new(&error::OVERLOADED, "too many wait at this node; try another")
        })?;
    if is_live {
        return Ok(feed::response(Following { edge, caller, limit, budget }, place, room));
    }
    let place =
        place.ok_or_else(|| Problem::new(&error::BAD_CURSOR, "it is no place in the changes"))?;
    let until = Instant::now() + Duration::from_millis(wait_ms.unwrap_or(0));
    let following = Following { edge, caller, limit, budget };
    let page = while_granted(&following.caller, following.page(place, until)).await?;
    Ok(Json(render(&page)).into_response())
}

/// Where to go on; none where the text is no place.
fn place(text: Option<&str>) -> Option<Followed> {
    match text {
        None | Some("start") => Some(Followed::default()),
        Some("now") => Some(Followed::now()),
        Some(text) => Followed::read(&URL_SAFE_NO_PAD.decode(text).ok()?),
    }
}

/// Who follows, and how.
struct Following {
    edge: Edge,
    caller: Caller,
    /// How many changes a page has, about.
    limit: usize,
    /// How long each look may take.
    budget: Duration,
}

impl Following {
    /// Waits until there is something to return, or it is time.
    async fn page(&self, mut place: Followed, until: Instant) -> Result<Changes, Problem> {
        let (sessions, tenant) = (self.edge.sessions(), self.caller.tenant());
        loop {
            let deadline = Instant::now() + self.budget;
            let mut page = sessions.changed(tenant, &place, self.limit, deadline).await?;
            page.changes.retain(|changed| self.caller.is_for(&changed.id));
            // A page may be empty and have more after it, where nothing of it is for the caller.
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
                () = self.edge.stop.cancelled() => return Err(error::of_stop(false)),
                () = sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()))) => {}
            }
        }
    }
}

fn render(page: &Changes) -> Value {
    let changes: Vec<_> = page.changes.iter().map(changed).collect();
    let mut body = json!({ "changes": changes, "next": text(&page.place), "more": page.more });
    if page.reset {
        body["reset"] = true.into();
    }
    body
}

fn text(place: &Followed) -> String {
    URL_SAFE_NO_PAD.encode(place.bytes())
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
