//! The handshake of a WebSocket (RFC 6455, 4.2), after which the connection leaves hyper.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::super::Edge;
use super::super::error::{self, Problem};
use super::super::headers::one;
use super::super::takeover::Takeover;
use super::socket::{self, SocketReceiver, SocketSender};

/// What a server adds to the client's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The subprotocol here, for browsers, which offer it beside `bearer.TOKEN`.
const PROTOCOL: &str = "outlive";

/// Answers a handshake; then the connection is for `serve`.
pub(in crate::edge) fn accept<F>(
    edge: &Edge,
    headers: &HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
    frame_bytes: usize,
    serve: impl FnOnce((SocketReceiver, SocketSender)) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(Extension(takeover)) = takeover else {
        return Err(required("a WebSocket begins with GET over HTTP/1.1"));
    };
    let upgrades = lists(headers, &header::UPGRADE, "websocket")?
        && lists(headers, &header::CONNECTION, "upgrade")?;
    if !upgrades {
        return Err(required("the request asks for no upgrade to websocket"));
    }
    if one(headers, &header::SEC_WEBSOCKET_VERSION)? != Some("13") {
        return Err(required("the version of WebSocket is 13"));
    }
    let key = one(headers, &header::SEC_WEBSOCKET_KEY)?.unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        let detail = "sec-websocket-key must be 16 bytes in base64";
        return Err(Problem::new(&error::BAD_HEADER, detail));
    }
    let place = edge.sockets.clone().try_acquire_owned().map_err(|_| {
        Problem::new(&error::OVERLOADED, "too many WebSockets at this node; try another")
    })?;
    let room = edge.room.hold();
    takeover.upgrade(Box::new(move |stream, rest| {
        async move {
            let _place = place;
            serve(socket::open(stream, &rest, frame_bytes, room).await).await;
        }
        .boxed()
    }));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = HeaderValue::from_str(&answer(key)).expect("base64 is visible");
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, answer);
    if lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)? {
        // A browser wants one of those that it offers.
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

fn required(detail: &str) -> Problem {
    Problem::new(&error::UPGRADE_REQUIRED, detail)
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

/// Whether a list of names has this one, in any letters.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> Result<bool, Problem> {
    let listed = one(headers, name)?.unwrap_or_default();
    Ok(listed.split(',').any(|given| given.trim().eq_ignore_ascii_case(word)))
}

fn answer(key: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(answer("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
