//! Which path leads where, and what all answers have in common.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::door::Readable;
use super::error::{self, Code, Problem};
use super::verbs::{Verb, http as verbs};
use super::{
    Edge, Entrance, admin, changes, chat, cookies, delivery, durable, ephemeral, events, files,
    fork, gate, keys, moves, people, sessions, tickets, turns, ws,
};
use crate::auth::turned_away;
use crate::session::Standing;
use crate::telemetry::RequestLabels;

/// A path, the name under which it is counted, and its methods.
pub(super) type Route = (&'static str, &'static str, MethodRouter<Edge>);

fn routes() -> Vec<Route> {
    vec![
        ("/v1/sessions", "sessions", get(sessions::list)),
        ("/v1/sessions/{id}", "session", verbs::create().get(sessions::show).delete(verbs::delete)),
        ("/v1/sessions/{id}/events", "events", post(verbs::append_events).get(events::read)),
        ("/v1/sessions/{id}/files", "files", post(files::begin).get(files::list)),
        ("/v1/sessions/{id}/files/{file}", "file", files::file()),
        ("/v1/changes", "changes", get(changes::read)),
        ("/v1/sessions/{id}/touch", "touch", verbs::post(Verb::Touch)),
        ("/v1/sessions/{id}/trim", "trim", verbs::post(Verb::Trim)),
        ("/v1/sessions/{id}/home", "home", get(sessions::home)),
        ("/v1/sessions/{id}/fork", "fork", post(fork::fork)),
        ("/v1/sessions/{id}/export", "export", get(moves::export)),
        ("/v1/sessions/{id}/import", "import", post(moves::import)),
        ("/v1/sessions/{id}/freeze", "shelve", verbs::post(Verb::Shelve(Standing::ReadOnly))),
        ("/v1/sessions/{id}/archive", "shelve", verbs::post(Verb::Shelve(Standing::Archived))),
        ("/v1/sessions/{id}/restore", "shelve", verbs::post(Verb::Shelve(Standing::Active))),
        ("/v1/sessions/{id}/inputs", "inputs", verbs::post(Verb::Input)),
        ("/v1/sessions/{id}/cancel", "cancel", verbs::post(Verb::Cancel)),
        ("/v1/sessions/{id}/turns", "turns", get(turns::list)),
        ("/v1/sessions/{id}/turns/{turn}", "turn", get(turns::show)),
        ("/v1/agents/{agent}/claim", "claim", post(turns::claim)),
        ("/v1/sessions/{id}/turns/{turn}/output", "output", post(turns::output)),
        ("/v1/sessions/{id}/turns/{turn}/tools", "tools", post(verbs::tool_result)),
        ("/v1/sessions/{id}/turns/{turn}/signals", "signals", get(turns::signals)),
        ("/v1/ws", "ws", get(ws::people)),
        ("/v1/agents/ws", "agents_ws", get(ws::workers)),
        ("/v1/sessions/{id}/presence", "presence", get(people::presence)),
        ("/v1/sessions/{id}/ephemeral", "ephemeral", post(ephemeral::send)),
        ("/v1/sessions/{id}/messages", "messages", get(people::messages)),
        ("/v1/sessions/{id}/messages/{message}", "message", get(people::message)),
        (
            "/v1/sessions/{id}/interactions/{interaction}",
            "interactions",
            verbs::interaction(Verb::Answer),
        ),
        (
            "/v1/sessions/{id}/interactions/{interaction}/claim",
            "claim_call",
            verbs::interaction(Verb::ClaimCall),
        ),
        (
            "/v1/sessions/{id}/interactions/{interaction}/release",
            "release_call",
            verbs::interaction(Verb::ReleaseCall),
        ),
        ("/v1/sessions/{id}/control", "control", verbs::post(Verb::Control)),
        ("/v1/sessions/{id}/pause", "pause", verbs::post(Verb::Pause)),
        ("/v1/sessions/{id}/resume", "resume", verbs::post(Verb::Resume)),
        ("/v1/cluster", "cluster", get(admin::cluster)),
        ("/v1/cluster/progress", "cluster_progress", get(admin::progress)),
        ("/v1/cluster/join", "cluster_join", post(admin::join)),
        ("/v1/cluster/replace", "cluster_replace", post(admin::replace)),
        ("/v1/cluster/leave", "cluster_leave", post(admin::leave)),
        ("/v1/keys", "keys", post(keys::create).get(keys::list)),
        ("/v1/keys/{key}", "key", axum::routing::delete(keys::revoke)),
        ("/v1/tickets", "tickets", post(tickets::create)),
        ("/v1/cookies", "cookies", post(cookies::create).delete(cookies::delete)),
        ("/v1/openapi.json", "openapi", get(admin::openapi)),
        ("/healthz", "healthz", get(admin::healthz)),
        ("/readyz", "readyz", get(admin::readyz)),
        ("/metrics", "metrics", get(admin::metrics)),
    ]
}

/// Paths under their names before the protocol was put into the field's words (decision 0083), until 0.1.0.
fn former() -> Vec<Route> {
    vec![
        ("/v1/sessions/{id}/turns/{turn}/say", "output", post(turns::output)),
        ("/v1/sessions/{id}/turns/{turn}/told", "signals", get(turns::signals)),
    ]
}

/// The name of the route that answered, left in its response for the metrics.
#[derive(Clone, Copy)]
struct Answered(&'static str);

/// All routes: those of the native API, which `openapi.json` describes, and those of each dialect, which
/// its own protocol does.
pub(super) fn router(edge: Edge, entrance: Entrance) -> Router {
    let mut router = Router::new();
    let native = routes().into_iter().chain(former());
    for (path, name, methods) in native.chain(durable::routes()).chain(chat::routes()) {
        let enter = move |State(edge): State<Edge>, mut request: Request, next: Next| async move {
            let mut response = match gate::open(&edge, entrance, name, &mut request).await {
                Ok(()) => next.run(request).await,
                Err(why) => {
                    turned_away(name, why.kind().code);
                    why.into_response()
                }
            };
            response.extensions_mut().insert(Answered(name));
            chat::in_dialect(name, response).await
        };
        let enter = middleware::from_fn_with_state(edge.clone(), enter);
        router = router.route(path, methods.layer(enter));
    }
    router
        .fallback(async |uri: Uri| {
            answered_at(&uri, Problem::new(&error::UNKNOWN_PATH, "see /v1/openapi.json")).await
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            answered_at(&uri, Problem::new(&error::METHOD_NOT_ALLOWED, "see the header allow"))
                .await
        })
        .layer(middleware::from_fn_with_state(edge.clone(), finish))
        .with_state(edge)
}

/// A problem with a path that leads nowhere, as clients of the dialect below it read it.
async fn answered_at(uri: &Uri, problem: Problem) -> Response {
    let dialect = if uri.path().starts_with("/v1/openai/") { "openai_other" } else { "other" };
    chat::in_dialect(dialect, problem.into_response()).await
}

/// Checks the origin and the host of each request, answers preflights, counts, and adds the headers that every answer
/// has.
async fn finish(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let reads = request.method() == Method::GET;
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let looked = edge.settings.door.look(request.uri(), request.headers());
    let (mut response, readable) = match looked {
        // A page that may not send requests learns what could be requested, and its browser that it may not.
        Err(why) if is_preflight && *why.kind() == error::ORIGIN_NOT_ALLOWED => {
            (StatusCode::NO_CONTENT.into_response(), Readable::Unasked)
        }
        Err(why) => (why.into_response(), Readable::Unasked),
        Ok(readable) if is_preflight => (StatusCode::NO_CONTENT.into_response(), readable),
        Ok(readable) => (next.run(request).await, readable),
    };
    if is_preflight {
        response.headers_mut().extend(preflight(wanted));
    }
    if reads {
        response =
            delivery::roomy(&edge.room, response).unwrap_or_else(IntoResponse::into_response);
    }
    let extensions = response.extensions();
    let route = extensions.get::<Answered>().map_or("other", |answered| answered.0);
    let code = extensions.get::<Code>().map_or("ok", |code| code.0);
    edge.metrics.requests.get_or_create(&RequestLabels { route, code }).inc();
    const COMMON: [(HeaderName, HeaderValue); 4] = [
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
        // What is kept for one page, or for one person, is not for another.
        (header::VARY, HeaderValue::from_static("origin, authorization, cookie")),
    ];
    let headers = response.headers_mut();
    for (name, value) in COMMON {
        headers.append(name, value);
    }
    match readable {
        Readable::Unasked => {}
        Readable::ByAll => {
            let all = HeaderValue::from_static("*");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, all);
        }
        Readable::By(origin) => {
            if origin != "null" {
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
    // What a session is may be another thing the moment after.
    let caching = headers.entry(header::CACHE_CONTROL);
    caching.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Headers that pages of other origins may read.
const EXPOSED: &str = "outlive-serial, outlive-cursor, producer-epoch, producer-seq, \
                       producer-expected-seq, producer-received-seq, retry-after, ratelimit, \
                       ratelimit-policy, allow, etag, \
                       location, upload-offset, upload-length, upload-complete, accept-ranges, \
                       content-range, content-disposition, stream-next-offset, stream-cursor, stream-up-to-date, \
                       stream-closed, stream-ttl, stream-expires-at, stream-sse-data-encoding, \
                       x-vercel-ai-ui-message-stream";
/// Headers that pages of other origins may send, where they do not name them: else whatever they request, since
/// tracing and the like add headers of their own, and none of them gives a right here.
const ALLOWED: &str = "content-type, authorization, last-event-id, cache-control, if-none-match, \
                       producer-id, producer-epoch, producer-seq, outlive-format, outlive-close, \
                       outlive-expect-serial, outlive-timeout-ms, upload-offset, \
                       upload-complete, range, if-range, stream-seq, stream-ttl, \
                       stream-expires-at, stream-closed, stream-forked-from, \
                       stream-fork-offset, stream-fork-sub-offset, stream-append";

/// The answer to a preflight that requests headers.
fn preflight(wanted: Option<HeaderValue>) -> HeaderMap {
    let allowed = wanted.unwrap_or(HeaderValue::from_static(ALLOWED));
    let methods = HeaderValue::from_static("GET, HEAD, PUT, POST, PATCH, DELETE");
    let wanted = HeaderValue::from_static("access-control-request-headers");
    HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
        (header::VARY, wanted),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

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
        assert_eq!(routed.len(), 57);
    }

    /// A caller that needs credentials may have none, may lack a right, and may have used up a quota.
    #[test]
    fn every_path_that_asks_who_sends_it_says_how_it_refuses() {
        let description: Value = serde_json::from_str(admin::OPENAPI).unwrap();
        let refusals = [("401", "Unauthenticated"), ("403", "Forbidden"), ("429", "TooMuch")];
        for (path, route, methods) in routes() {
            for method in served(&methods) {
                let asks = gate::asks(route, &method.to_uppercase().parse().unwrap(), path);
                for (status, name) in refusals {
                    let described = &description["paths"][path][method]["responses"][status];
                    let wanted = match asks {
                        true => json!({ "$ref": format!("#/components/responses/{name}") }),
                        false => Value::Null,
                    };
                    assert_eq!(*described, wanted, "{method} {path} {status}");
                }
            }
        }
        for (_, name) in refusals {
            assert!(description["components"]["responses"][name].is_object(), "{name}");
        }
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
