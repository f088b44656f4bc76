//! OpenAI's clients, whose base URL is `/v1/openai`: responses in the background and streaming, conversations, and chat
//! completions. `model` is the name of an agent.
//!
//! Responses are sent from the log under numbers that every node gives them, so a client that broke off goes on with
//! `starting_after` anywhere. A chat completion cannot be gone on with; its request may be sent again.

mod completions;
mod conversations;
mod events;
mod items;
mod place;
mod request;
mod responses;
#[cfg(test)]
mod tests;

pub(in crate::edge) use request::parts as content_parts;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::super::content::raw::Json;
use super::super::error::{self, Problem};
use super::super::headers;
use super::super::routes::Route;
use super::super::{Edge, delivery};
use crate::auth::Caller;

/// Under which a request may be sent again.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Keeps these clients from sending a request again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The key under which a request may be sent again.
///
/// # Errors
/// It is blank, and would be another client's as well.
fn key(given: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = headers::one(given, &KEY)?;
    match key.is_some_and(|key| key.trim().is_empty()) {
        true => Err(Problem::new(&error::BAD_HEADER, "idempotency-key is blank")),
        false => Ok(key),
    }
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/v1/openai/responses", "openai_new", post(responses::create)),
        (
            "/v1/openai/responses/{id}",
            "openai_of",
            get(responses::retrieve).delete(responses::delete),
        ),
        ("/v1/openai/responses/{id}/cancel", "openai_of", post(responses::cancel)),
        ("/v1/openai/responses/{id}/input_items", "openai_of", get(responses::input_items)),
        ("/v1/openai/conversations", "openai_new", post(conversations::create)),
        (
            "/v1/openai/conversations/{id}",
            "openai_of",
            get(conversations::show).delete(conversations::delete),
        ),
        ("/v1/openai/chat/completions", "openai_new", post(completions::create)),
    ]
}

/// A name that is not in use, or that a key makes.
fn fresh(kind: &str, caller: &Caller, key: Option<&str>) -> String {
    let number = match key {
        Some(key) => xxh3_128(format!("{}\n{key}", caller.name()).as_bytes()),
        None => rand::random(),
    };
    format!("{kind}_{number:032x}")
}

fn json(value: &Json) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, value.to_string()).into_response()
}

/// The whole of an answer to a request that has taken effect, so that it must not simply be sent again.
///
/// # Errors
/// There is no room for it now.
fn whole(edge: &Edge, rendered: &Json) -> Result<Response, Problem> {
    let detail = "the request is in the log; there is no room for its answer now";
    delivery::roomy(&edge.room, json(rendered))
        .map_err(|_| Problem::new(&error::OUTCOME_UNKNOWN, detail))
}

/// A problem as these clients read it.
pub(super) async fn problem(response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json");
    if !is_problem {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    let rendered: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let (message, code) = (&rendered["detail"], &rendered["code"]);
    let rendered = json!({
        "error": { "message": message, "type": kind, "code": code, "param": null },
    });
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Sent again it may be done twice, or be refused again; unless nothing is wrong but the moment.
    let again = matches!(status.as_u16(), 408 | 429 | 503 | 507);
    let again = HeaderValue::from_static(if again { "true" } else { "false" });
    parts.headers.insert(SHOULD_RETRY, again);
    Response::from_parts(parts, rendered.to_string().into())
}
