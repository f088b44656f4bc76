//! GET and HEAD: what is there, what comes, and how the stream is.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::error::{self, Problem};
use super::super::gate::{By, while_granted};
use super::super::{Edge, headers};
use super::body::{Body, Shape};
use super::cursor::Cursors;
use super::follow::Follow;
use super::name::StreamName;
use super::offset::Position;
use super::parse::{self, LiveMode};
use super::{
    STREAM_CLOSED, STREAM_EXPIRES_AT, STREAM_TTL, STREAM_UP_TO_DATE, TRUE, expiry, next_offset,
    page, problem, sse, type_of,
};
use crate::edge::State;
use crate::rfc3339;
use crate::runtime::Reader;

pub(super) async fn read(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    By(caller): By,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(pairs) =
        query.map_err(|_| Problem::new(&error::BAD_QUERY, "the query is not form-encoded"))?;
    let plan = parse::read(&pairs)?;
    let deadline = headers::deadline(&headers)?;
    let start = plan.place.unwrap_or(Position::Start).start();
    let reader = expiry::attach(&edge, &id, start, deadline).await?;
    if plan.live.is_none() && plan.place == Some(Position::Now) {
        return Ok(tail(&reader));
    }
    let cursors = Cursors::new(plan.cursor, edge.runtime.sessions.now());
    let follow = Follow::new(&edge, &id, start, reader);
    match plan.live {
        None => page::catch_up(follow, &headers, deadline).await,
        Some(LiveMode::LongPoll) => {
            while_granted(&caller, page::long_poll(follow, cursors, &edge)).await
        }
        // Once the answer has begun, nothing can be reported but that it broke off.
        Some(LiveMode::Sse) if follow.lacks_beginning() => Err(problem::log_gone()),
        Some(LiveMode::Sse) => Ok(sse::response(follow, cursors, &edge, caller.ending())),
    }
}

/// Where the stream ends now, and nothing of it. It may be another place the moment after.
fn tail(reader: &Reader) -> Response {
    let status = reader.status();
    let kind = status.config.content_type.as_ref();
    let body = Body::new(Shape::of(kind)).finish();
    let mut response = ([next_offset(status.root, reader.cursor().serial)], body).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, type_of(kind));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(STREAM_UP_TO_DATE, TRUE);
    if status.closed {
        out.insert(STREAM_CLOSED, TRUE);
    }
    response
}

pub(super) async fn head(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = headers::deadline(&headers)?;
    let status = expiry::look(&edge, &id, deadline).await?;
    let mut response = (StatusCode::OK, [next_offset(status.root, status.tail)]).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, type_of(status.config.content_type.as_ref()));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status.closed {
        out.insert(STREAM_CLOSED, TRUE);
    }
    if let Some(ttl_ms) = status.config.ttl_ms {
        out.insert(STREAM_TTL, HeaderValue::from(ttl_s(ttl_ms)));
    }
    if let Some(at) = status.config.expires_at {
        let text = rfc3339::format(at);
        let text = HeaderValue::from_str(&text).expect("a moment is visible ASCII");
        out.insert(STREAM_EXPIRES_AT, text);
    }
    Ok(response)
}

/// The seconds that were requested: 0 is kept as the shortest time there is.
fn ttl_s(ttl_ms: u64) -> u64 {
    if ttl_ms == 1 { 0 } else { ttl_ms.div_ceil(1000) }
}
