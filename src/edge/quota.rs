//! Quotas as clients see them: what is refused, and which requests are streams.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers-10.

use axum::extract::{Query as Pairs, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};

use super::Edge;
use super::durable::STREAM_APPEND;
use super::error::{self, Problem};
use crate::auth::quota::Quota;
use crate::auth::{Caller, Exceeded, StreamSlot};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Whether a request stays open for as long as its client likes, or as an agent works.
fn is_stream(route: &str, request: &Request) -> bool {
    // Read as handlers read it, so that no spelling of a name is another to them.
    let asks = |name: &str| {
        let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(request.uri());
        pairs.is_ok_and(|Pairs(pairs)| pairs.iter().any(|(given, _)| given == name))
    };
    // A HEAD waits as its GET does.
    let method = match request.method() {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    match (route, method) {
        ("events" | "stream", &Method::GET) => asks("live"),
        ("turn", &Method::GET) => asks("wait_ms"),
        ("changes", &Method::GET) => asks("wait_ms") || asks("live"),
        ("openai_of", &Method::GET) => asks("stream"),
        ("stream", &Method::POST) => request.headers().contains_key(STREAM_APPEND),
        ("signals" | "ws" | "agents_ws" | "ai_sdk_stream" | "ai_sdk_ws", &Method::GET) => true,
        ("claim" | "output" | "ai_sdk" | "ag_ui" | "openai_new", &Method::POST) => true,
        _ => false,
    }
}

/// The caller of a request, in a place of its own where that is a stream.
///
/// # Errors
/// Its tenant or its key has as many as it may; nothing is to happen.
pub(super) fn seated(
    edge: &Edge,
    caller: Caller,
    route: &str,
    request: &Request,
) -> Result<Caller, Problem> {
    if !is_stream(route, request) {
        return Ok(caller);
    }
    Ok(match edge.auth.quotas().place(&caller)? {
        Some(place) => caller.in_place(place),
        None => caller,
    })
}

/// A place for one more stream on a connection; none where they are not counted.
///
/// # Errors
/// The caller's tenant or key has as many as it may.
pub(super) fn place(edge: &Edge, caller: &Caller) -> Result<Option<StreamSlot>, Problem> {
    Ok(edge.auth.quotas().place(caller)?)
}

impl From<Exceeded> for Problem {
    fn from(why: Exceeded) -> Problem {
        let policy = format!("{}-{}", why.holder.name(), why.quota.name());
        let window = if why.quota.is_rate() { ";w=1" } else { "" };
        let unit = match why.quota {
            Quota::Bytes => ";qu=\"content-bytes\"",
            Quota::Streams => ";qu=\"concurrent-requests\"",
            _ => "",
        };
        let wait_ms = u64::try_from(why.retry_after.as_nanos().div_ceil(1_000_000));
        let wait_ms = wait_ms.unwrap_or(u64::MAX);
        let wait_s = wait_ms.div_ceil(1000).max(1);
        let text = |text: String| HeaderValue::try_from(text).expect("names and numbers are plain");
        Problem::new(&error::QUOTA_EXCEEDED, why.to_string())
            .with("policy", policy.as_str())
            .with("limit", why.limit)
            .with("retry_after_ms", wait_ms)
            .header(header::RETRY_AFTER, wait_s)
            .header(RATELIMIT_POLICY, text(format!("\"{policy}\";q={}{unit}{window}", why.limit)))
            .header(RATELIMIT, text(format!("\"{policy}\";r={};t={wait_s}", why.left)))
    }
}

/// A problem of a tenant that holds as much as it may, which its session refused.
pub(super) fn held(problem: Problem, what: &str, limit: u64) -> Problem {
    let policy = format!("tenant-{what}");
    let unit = if what == "stored-bytes" { ";qu=\"content-bytes\"" } else { "" };
    let text = |text: String| HeaderValue::try_from(text).expect("names and numbers are plain");
    let ratelimit = text(format!("\"{policy}\";r=0"));
    problem
        .header(RATELIMIT_POLICY, text(format!("\"{policy}\";q={limit}{unit}")))
        .header(RATELIMIT, ratelimit)
        .with("policy", policy)
        .with("limit", limit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::response::IntoResponse;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::auth::quota::Holder;

    async fn check(why: Exceeded, expected: Expect) {
        let response = Problem::from(why).into_response();
        let mut text = format!("{}\n", response.status().as_u16());
        for name in ["retry-after", "ratelimit-policy", "ratelimit"] {
            text += &format!("{name}: {}\n", response.headers()[name].to_str().unwrap());
        }
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        text += std::str::from_utf8(&body).unwrap();
        expected.assert_eq(&text);
    }

    #[tokio::test]
    async fn a_refusal_says_which_quota_it_was_and_when_to_come_back() {
        check(
            Exceeded {
                holder: Holder::Key,
                quota: Quota::Bytes,
                limit: 1000,
                left: 7,
                retry_after: Duration::from_micros(1_200_001),
            },
            expect![[r#"
                429
                retry-after: 2
                ratelimit-policy: "key-bytes";q=1000;qu="content-bytes";w=1
                ratelimit: "key-bytes";r=7;t=2
                {"code":"quota_exceeded","detail":"the key may send 1000 bytes per second to a node","limit":1000,"outcome":"refused","policy":"key-bytes","retry_after_ms":1201,"retryable":true,"status":429,"title":"More than the quota of the tenant or of the key allows","type":"/errors/quota_exceeded"}"#]],
        )
        .await;
        check(
            Exceeded {
                holder: Holder::Tenant,
                quota: Quota::Streams,
                limit: 2,
                left: 0,
                retry_after: Duration::from_secs(1),
            },
            expect![[r#"
                429
                retry-after: 1
                ratelimit-policy: "tenant-streams";q=2;qu="concurrent-requests"
                ratelimit: "tenant-streams";r=0;t=1
                {"code":"quota_exceeded","detail":"the tenant may have 2 streams open at once at a node","limit":2,"outcome":"refused","policy":"tenant-streams","retry_after_ms":1000,"retryable":true,"status":429,"title":"More than the quota of the tenant or of the key allows","type":"/errors/quota_exceeded"}"#]],
        )
        .await;
    }

    #[test]
    fn requests_that_stay_open_are_streams_and_others_are_not() {
        for (route, method, target, header, stream) in [
            ("events", Method::GET, "/e?after=0&live=sse", None, true),
            ("events", Method::GET, "/e?live=long-poll", None, true),
            ("events", Method::GET, "/e?%6Cive=sse", None, true),
            ("events", Method::HEAD, "/e?live=long-poll", None, true),
            ("events", Method::GET, "/e?after=0", None, false),
            ("events", Method::POST, "/e", None, false),
            ("stream", Method::GET, "/s?offset=-1&live=sse", None, true),
            ("stream", Method::GET, "/s?offset=-1", None, false),
            ("stream", Method::POST, "/s", Some("streaming"), true),
            ("stream", Method::POST, "/s", None, false),
            ("claim", Method::POST, "/c", None, true),
            ("inputs", Method::POST, "/i", None, false),
            ("cancel", Method::POST, "/c", None, false),
            ("ws", Method::GET, "/ws", None, true),
            ("turn", Method::GET, "/t?wait_ms=1000", None, true),
            ("turn", Method::GET, "/t", None, false),
            ("changes", Method::GET, "/c?live=sse", None, true),
            ("changes", Method::GET, "/c?wait_ms=1000", None, true),
            ("changes", Method::GET, "/c?after=now", None, false),
            ("openai_of", Method::GET, "/r?stream=true", None, true),
            ("openai_of", Method::GET, "/r", None, false),
        ] {
            let mut request = Request::builder().method(method).uri(target);
            if let Some(value) = header {
                request = request.header(STREAM_APPEND, value);
            }
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_stream(route, &request), stream, "{route} {target}");
        }
    }
}
