//! What people read of one session beside its events: who is there, and the messages.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::attached::{self, Visibility, people};
use super::content::raw::Json as Body;
use super::error::{self, Problem};
use super::gate::{By, while_granted};
use super::history::{self, At, Log, PageRequest, Pin, Side};
use super::name::{MessageOf, Name};
use super::query::Query;
use super::wire::with_view;
use super::{Edge, headers};
use crate::edge::State;
use crate::ids::{Cursor, Serial};
use crate::limits::{MESSAGES_PAGE, MESSAGES_PAGE_MAX};
use crate::runtime::Freshness;
use crate::session::{Refusal, Status};

/// `GET /v1/sessions/{id}/presence`
pub(super) async fn presence(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.sessions().status(&id, Freshness::Linearizable, deadline).await?;
    exists(status)?;
    let company = edge.runtime.presence.company(&id, deadline).await?;
    Ok(Json(people::company(&company)).into_response())
}

/// `GET /v1/sessions/{id}/messages`
pub(super) async fn messages(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["before", "after", "limit", "visibility", "branch", "leaf"])?;
    let visibility = visibility(&query)?;
    let pin = Pin::parse(query.text("branch"), query.text("leaf"));
    let pin = pin.map_err(|why| Problem::new(&error::BAD_QUERY, why))?;
    let limit = query.number("limit", 1, MESSAGES_PAGE_MAX as u64)?;
    let limit = limit.map_or(MESSAGES_PAGE, |limit| limit as usize);
    let wanted = match (query.text("before"), query.text("after")) {
        (Some(_), Some(_)) => {
            let detail = "a page lies before a place or after one";
            return Err(Problem::new(&error::BAD_QUERY, detail));
        }
        (None, Some(after)) => (Side::Newer, At::parse(after)?),
        (before, None) => (Side::Older, before.map_or(Ok(At::Now), At::parse)?),
    };
    let deadline = headers::deadline(&headers)?;
    let status = edge.sessions().status(&id, Freshness::Linearizable, deadline).await?;
    let status = exists(status)?;
    let (side, at) = wanted;
    let end = match side {
        Side::Older => status.tail.next(),
        Side::Newer => status.tail,
    };
    let place = at.in_log(&status)?.unwrap_or(end);
    let mut log = Log::new(&edge, &id, status.incarnation, deadline);
    let reading = async {
        let view = pin.view(&mut log, &status).await?;
        let request = PageRequest { side, place, limit, visibility, view: view.clone() };
        Ok((history::read(&mut log, &status, request).await?, view))
    };
    let (page, view) = while_granted(&caller, reading).await?;
    let cursor = Cursor { incarnation: status.incarnation, serial: status.tail };
    let body = Body::object([
        ("incarnation", u64::from(status.incarnation.0).into()),
        ("cursor", cursor.to_string().into()),
    ]);
    let reaches = side == Side::Older && page.older.is_none();
    let mut body = page.add_to(with_view(body, &status, &view), cursor);
    if Serial(1) < status.first && (reaches || place < status.first) {
        body = body.with("gap", Body::object([("first", status.first.0.into())]));
    }
    Ok(ready(&body))
}

/// `GET /v1/sessions/{id}/messages/{message}`
pub(super) async fn message(
    State(edge): State<Edge>,
    MessageOf(id, name): MessageOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["visibility"])?;
    let visibility = visibility(&query)?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.sessions().status(&id, Freshness::Linearizable, deadline).await?;
    let status = exists(status)?;
    let none = || Problem::new(&error::NO_SUCH_MESSAGE, format!("none has the id {name}"));
    let at = match At::parse(&name).map_err(|_| none())? {
        At::Serial(serial) => serial,
        place @ At::Cursor(_) => place.in_log(&status)?.ok_or_else(none)?,
        At::Start | At::Now => return Err(none()),
    };
    let mut log = Log::new(&edge, &id, status.incarnation, deadline);
    let message = history::one(&mut log, &status, at, visibility);
    let message = while_granted(&caller, message).await?.ok_or_else(none)?;
    let cursor = Cursor { incarnation: status.incarnation, serial: status.tail };
    let body = Body::object([
        ("incarnation", u64::from(status.incarnation.0).into()),
        ("cursor", cursor.to_string().into()),
        ("message", message),
    ]);
    Ok(ready(&body))
}

fn visibility(query: &Query) -> Result<Visibility, Problem> {
    let given = query.text("visibility");
    attached::visibility(given).map_err(|why| Problem::new(&error::BAD_QUERY, why))
}

/// JSON that is answered as it is.
pub(super) fn ready(body: &Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub(in crate::edge) fn exists(status: Option<Status>) -> Result<Status, Problem> {
    Ok(status.filter(|status| !status.hidden).ok_or(Refusal::NotFound)?)
}
