//! The Durable Streams dialect: a session shown as one stream of bytes, text or JSON messages.
//!
//! A projection of the sessions that are there (protocol of github.com/durable-streams, version 1.0): it keeps nothing
//! of its own. Of the edge only `routes`, `gate` and `quota` name it.
//! A stream is named by the rest of the path after `/v1/stream/`, or by one segment after `/streams/`.

mod append;
mod body;
mod create;
mod cursor;
mod expiry;
mod follow;
mod frame;
mod messages;
mod name;
mod offset;
mod page;
mod parse;
mod problem;
mod read;
mod sse;
mod streaming;
pub(super) mod subscriptions;

use axum::http::{HeaderName, HeaderValue};
use axum::routing::put;

use super::routes::Route;
use crate::ids::{Incarnation, Serial};
use crate::offset::Offset;
use crate::session::ContentType;
pub(super) use streaming::STREAM_APPEND;

const STREAM_NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
const STREAM_UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
const STREAM_CLOSED: HeaderName = HeaderName::from_static("stream-closed");
const STREAM_CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
const STREAM_SEQ: HeaderName = HeaderName::from_static("stream-seq");
const STREAM_TTL: HeaderName = HeaderName::from_static("stream-ttl");
const STREAM_EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
const STREAM_FORKED_FROM: HeaderName = HeaderName::from_static("stream-forked-from");
const STREAM_FORK_OFFSET: HeaderName = HeaderName::from_static("stream-fork-offset");
const STREAM_FORK_SUB_OFFSET: HeaderName = HeaderName::from_static("stream-fork-sub-offset");
const STREAM_SSE_DATA_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What a stream is made of where its creator named no type.
const USUAL_TYPE: &str = "application/octet-stream";
/// What a session of the native API is shown as.
const NATIVE_TYPE: &str = "application/json";

/// The paths of the dialect. They are described by its protocol, not by `openapi.json`.
pub(super) fn routes() -> Vec<Route> {
    let methods = || {
        put(create::create)
            .post(append::append)
            .get(read::read)
            .head(read::head)
            .delete(append::delete)
    };
    let mut routes = subscriptions::routes();
    routes.push(("/v1/stream/{*path}", "stream", methods()));
    routes.push(("/streams/{id}", "stream", methods()));
    routes
}

/// The header with the offset at which the next read goes on.
fn next_offset(root: Incarnation, serial: Serial) -> (HeaderName, HeaderValue) {
    let text = Offset { root, serial }.to_string();
    (STREAM_NEXT_OFFSET, HeaderValue::from_str(&text).expect("an offset is digits"))
}

/// The content type of a stream as clients see it.
fn type_of(content_type: Option<&ContentType>) -> HeaderValue {
    let text = content_type.map_or(NATIVE_TYPE, ContentType::as_str);
    HeaderValue::from_str(text).expect("a content type is visible ASCII")
}
