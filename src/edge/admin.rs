//! Requests of operators and their machines to a node.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::{self, Problem};
use super::gate::By;
use super::query::Query;
use super::{Edge, body, verbs, wire};
use crate::auth::{Caller, audit};
use crate::config::Member;
use crate::edge::State;
use crate::runtime::{MemberChange, NotReady};

/// The description of this API; a test holds it against the routes.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

fn typed(kind: &'static str) -> [(HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, kind)]
}

/// The process makes progress: it answers.
pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Whether the node should get traffic, and if not, why.
pub(super) async fn readyz(State(edge): State<Edge>) -> Response {
    let mut reasons = edge.runtime.overview.not_ready();
    if edge.stop.is_cancelled() {
        reasons.push(NotReady::Stopping);
    }
    let reasons: Vec<_> = reasons.iter().map(wire::not_ready).collect();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "reasons": reasons }))).into_response()
}

pub(super) async fn metrics(State(edge): State<Edge>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (typed(kind), edge.metrics.text()).into_response()
}

pub(super) async fn cluster(State(edge): State<Edge>) -> Response {
    let report = edge.runtime.overview.cluster().await;
    (typed("application/json"), wire::cluster(&report).to_string()).into_response()
}

/// `POST /v1/cluster/join`
pub(super) async fn join(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    change_members(edge, &caller, (query, headers, body), |body: JoinBody| MemberChange::Join {
        node: body.node,
        peer: body.peer,
        http: body.http,
    })
    .await
}

/// `POST /v1/cluster/replace`
pub(super) async fn replace(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    change_members(edge, &caller, (query, headers, body), |body: ReplaceBody| {
        MemberChange::Replace { node: body.node, with: body.with, peer: body.peer, http: body.http }
    })
    .await
}

/// `POST /v1/cluster/leave`
pub(super) async fn leave(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    change_members(edge, &caller, (query, headers, body), |body: LeaveBody| MemberChange::Leave {
        node: body.node,
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    node: u64,
    peer: Option<String>,
    http: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceBody {
    node: u64,
    with: u64,
    peer: Option<String>,
    http: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaveBody {
    node: u64,
}

async fn change_members<B: DeserializeOwned>(
    edge: Edge,
    caller: &Caller,
    (query, headers, body): (Query, HeaderMap, Body),
    change: impl FnOnce(B) -> MemberChange,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let body: B = verbs::turns::json(&held.bytes)?;
    let change = change(body);
    check_addresses(&change)?;
    let changed = edge.runtime.members.change_members(&change, deadline).await?;
    audit(caller, "cluster.change", &format!("{change:?}"));
    let mut answer = wire::progress(&edge.runtime.members.progress().await);
    answer["changed"] = changed.into();
    Ok(Json(answer).into_response())
}

fn check_addresses(change: &MemberChange) -> Result<(), Problem> {
    let (MemberChange::Join { peer, http, .. } | MemberChange::Replace { peer, http, .. }) = change
    else {
        return Ok(());
    };
    let bad = |text: String| Err(Problem::new(&error::BAD_JSON, text));
    if let Some(peer) = peer.as_ref().filter(|peer| !Member::is_peer_address(peer)) {
        return bad(format!("peer must be HOST:PORT, not {peer:?}"));
    }
    if let Some(http) = http.as_ref().filter(|http| !Member::is_client_url(http)) {
        return bad(format!("http must be a URL that begins with http, not {http:?}"));
    }
    Ok(())
}

/// `GET /v1/cluster/progress`
pub(super) async fn progress(State(edge): State<Edge>) -> Response {
    Json(wire::progress(&edge.runtime.members.progress().await)).into_response()
}

pub(super) async fn openapi() -> Response {
    (typed("application/json"), OPENAPI).into_response()
}
