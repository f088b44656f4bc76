//! What operators and their machines ask a node.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Edge, wire};
use crate::runtime::NotReady;

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
    let mut reasons = edge.runtime.not_ready();
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
    let report = edge.runtime.cluster().await;
    (typed("application/json"), wire::cluster(&report).to_string()).into_response()
}

pub(super) async fn openapi() -> Response {
    (typed("application/json"), OPENAPI).into_response()
}
