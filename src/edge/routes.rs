//! Which path leads where, and what all answers have in common.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};

use super::error::{self, Code, Problem};
use super::{Edge, admin, durable, events, people, sessions, turns, ws};
use crate::telemetry::RequestLabels;

/// A path, the name under which it is counted, and its methods.
pub(super) type Route = (&'static str, &'static str, MethodRouter<Edge>);

fn routes() -> Vec<Route> {
    vec![
        ("/v1/sessions", "sessions", get(sessions::list)),
        (
            "/v1/sessions/{id}",
            "session",
            put(sessions::create).get(sessions::show).delete(sessions::delete),
        ),
        ("/v1/sessions/{id}/events", "events", post(events::append).get(events::read)),
        ("/v1/sessions/{id}/touch", "touch", post(sessions::touch)),
        ("/v1/sessions/{id}/trim", "trim", post(sessions::trim)),
        ("/v1/sessions/{id}/home", "home", get(sessions::home)),
        ("/v1/sessions/{id}/inputs", "inputs", post(turns::input)),
        ("/v1/sessions/{id}/cancel", "cancel", post(turns::cancel)),
        ("/v1/sessions/{id}/turns/{turn}/say", "say", post(turns::say)),
        ("/v1/agents/{agent}/claim", "claim", post(turns::claim)),
        ("/v1/sessions/{id}/turns/{turn}/output", "output", post(turns::output)),
        ("/v1/sessions/{id}/turns/{turn}/told", "told", get(turns::told)),
        ("/v1/ws", "ws", get(ws::people)),
        ("/v1/agents/ws", "agents_ws", get(ws::workers)),
        ("/v1/sessions/{id}/presence", "presence", get(people::presence)),
        ("/v1/sessions/{id}/messages", "messages", get(people::messages)),
        ("/v1/sessions/{id}/interactions/{interaction}", "interactions", post(people::answer)),
        ("/v1/sessions/{id}/control", "control", post(people::control)),
        ("/v1/sessions/{id}/pause", "pause", post(people::pause)),
        ("/v1/sessions/{id}/resume", "resume", post(people::resume)),
        ("/v1/cluster", "cluster", get(admin::cluster)),
        ("/v1/cluster/progress", "cluster_progress", get(admin::progress)),
        ("/v1/cluster/join", "cluster_join", post(admin::join)),
        ("/v1/cluster/replace", "cluster_replace", post(admin::replace)),
        ("/v1/cluster/leave", "cluster_leave", post(admin::leave)),
        ("/v1/openapi.json", "openapi", get(admin::openapi)),
        ("/healthz", "healthz", get(admin::healthz)),
        ("/readyz", "readyz", get(admin::readyz)),
        ("/metrics", "metrics", get(admin::metrics)),
    ]
}

/// The name of the route that answered, left in its response for the metrics.
#[derive(Clone, Copy)]
struct Answered(&'static str);

/// All routes: those of the native API, which `openapi.json` describes, and those of each dialect, which
/// its own protocol does.
pub(super) fn router(edge: Edge) -> Router {
    let mut router = Router::new();
    for (path, name, methods) in routes().into_iter().chain(durable::routes()) {
        let mark = move |mut response: Response| async move {
            response.extensions_mut().insert(Answered(name));
            response
        };
        router = router.route(path, methods.layer(middleware::map_response(mark)));
    }
    router
        .fallback(|| async { Problem::new(&error::UNKNOWN_PATH, "see /v1/openapi.json") })
        .method_not_allowed_fallback(|| async {
            Problem::new(&error::METHOD_NOT_ALLOWED, "see the header allow")
        })
        .layer(middleware::from_fn_with_state(edge.clone(), finish))
        .with_state(edge)
}

/// Answers preflights, counts, and adds the headers that every answer has.
async fn finish(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let mut response =
        if request.method() == Method::OPTIONS { preflight() } else { next.run(request).await };
    let extensions = response.extensions();
    let route = extensions.get::<Answered>().map_or("other", |answered| answered.0);
    let code = extensions.get::<Code>().map_or("ok", |code| code.0);
    edge.metrics.requests.get_or_create(&RequestLabels { route, code }).inc();
    const COMMON: [(HeaderName, HeaderValue); 4] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    response.headers_mut().extend(COMMON);
    // What a session is may be another thing the moment after.
    let caching = response.headers_mut().entry(header::CACHE_CONTROL);
    caching.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Headers that pages of other origins may read.
const EXPOSED: &str = "outlive-serial, outlive-cursor, producer-epoch, producer-seq, \
                       producer-expected-seq, producer-received-seq, retry-after, allow, etag, \
                       location, stream-next-offset, stream-cursor, stream-up-to-date, \
                       stream-closed, stream-ttl, stream-expires-at, stream-sse-data-encoding";
/// Headers that pages of other origins may send.
const ALLOWED: &str = "content-type, authorization, last-event-id, cache-control, if-none-match, \
                       producer-id, producer-epoch, producer-seq, outlive-format, outlive-close, \
                       outlive-expect-serial, outlive-timeout-ms, stream-seq, stream-ttl, \
                       stream-expires-at, stream-closed, stream-forked-from, \
                       stream-fork-offset, stream-fork-sub-offset, stream-append";

fn preflight() -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE"),
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, HEADERS).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

    /// The methods that a route serves. What axum knows of them shows in its `Debug` only.
    fn served(methods: &MethodRouter<Edge>) -> Vec<&'static str> {
        let shown = format!("{methods:?}");
        let serves = |method: &&str| !shown.contains(&format!(" {method}: None"));
        METHODS.into_iter().filter(serves).collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let description: Value = serde_json::from_str(admin::OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert(format!("{method} {path}"));
            }
        }
        let mut routed = BTreeSet::new();
        for (path, _, methods) in routes() {
            for method in served(&methods) {
                routed.insert(format!("{method} {path}"));
            }
        }
        assert_eq!(routed, described);
        assert_eq!(routed.len(), 32);
    }

    #[test]
    fn the_description_names_every_code() {
        let description: Value = serde_json::from_str(admin::OPENAPI).unwrap();
        let codes = &description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let described: Vec<_> =
            codes.as_array().unwrap().iter().map(|code| code.as_str()).collect();
        let known: Vec<_> = error::KINDS.iter().map(|kind| Some(kind.code)).collect();
        assert_eq!(described, known);
    }
}
