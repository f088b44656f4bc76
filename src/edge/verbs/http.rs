//! Verbs by HTTP: one opening for all of them.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post as posted, put as putted};

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::name::{InteractionOf, Name, TurnOf};
use super::super::query::Query;
use super::super::{Edge, body, headers};
use super::{Verb, append, append_headers, body_limit, render, submit};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::{Incarnation, InteractionId, SessionId, TurnId};
use crate::session::{Applied, Command};

/// What every request brings beside its name.
pub(in crate::edge) type RequestParts = (Caller, Query, HeaderMap, Body);

/// `PUT /v1/sessions/{id}`
pub(in crate::edge) fn create() -> MethodRouter<Edge> {
    putted(
        async |State(edge): State<Edge>, Name(id): Name, By(caller): By, query, headers, body| {
            request(edge, id, Verb::Create, (caller, query, headers, body)).await
        },
    )
}

/// A verb of the session that the path names.
pub(in crate::edge) fn post(verb: Verb) -> MethodRouter<Edge> {
    posted(
        async move |State(edge): State<Edge>,
                    Name(id): Name,
                    By(caller): By,
                    query,
                    headers,
                    body| {
            request(edge, id, verb.clone(), (caller, query, headers, body)).await
        },
    )
}

/// One report of a turn's worker.
pub(in crate::edge) async fn report(
    edge: Edge,
    (id, turn): (SessionId, TurnId),
    parts: RequestParts,
) -> Result<Response, Problem> {
    request(edge, id, Verb::Report(turn), parts).await
}

/// `POST /v1/sessions/{id}/turns/{turn}/tools`
pub(in crate::edge) async fn tool_result(
    State(edge): State<Edge>,
    TurnOf(id, turn): TurnOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    request(edge, id, Verb::ToolResult(turn), (caller, query, headers, body)).await
}

/// `POST /v1/sessions/{id}/interactions/{interaction}`, and below it: a verb of the interaction that the path names.
pub(in crate::edge) fn interaction(verb: fn(Option<InteractionId>) -> Verb) -> MethodRouter<Edge> {
    posted(
        async move |State(edge): State<Edge>,
                    InteractionOf(id, interaction): InteractionOf,
                    By(caller): By,
                    query,
                    headers,
                    body| {
            request(edge, id, verb(Some(interaction)), (caller, query, headers, body)).await
        },
    )
}

/// `POST /v1/sessions/{id}/events`: what is appended stands in the headers, too.
pub(in crate::edge) async fn append_events(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, body_limit(&headers)?).await?;
    let reply = submit(&edge, &caller, &id, append(&headers, &held.bytes)?, deadline).await?;
    Ok((append_headers(&reply), Json(render(&id, &reply))).into_response())
}

/// `DELETE /v1/sessions/{id}`
pub(in crate::edge) async fn delete(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["incarnation"])?;
    let deadline = headers::deadline(&headers)?;
    let incarnation = query.number("incarnation", 1, u64::from(u32::MAX))?.map(|number| {
        Incarnation(u32::try_from(number).expect("the number was checked against u32"))
    });
    submit(&edge, &caller, &id, Command::Delete { incarnation }, deadline).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn request(
    edge: Edge,
    id: SessionId,
    verb: Verb,
    (caller, query, headers, body): RequestParts,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, verb.body_limit()).await?;
    // The last one is what curl sends with all data that it is given; the body is read as JSON anyway.
    let is_json = matches!(
        headers::media_type(&headers)?.as_str(),
        "" | "application/json" | "application/x-www-form-urlencoded"
    );
    if verb.is_typed() && !held.bytes.is_empty() && !is_json {
        let detail = "send the body as application/json";
        return Err(Problem::new(&error::UNSUPPORTED_TYPE, detail));
    }
    let reply = submit(&edge, &caller, &id, verb.parse(&held.bytes)?, deadline).await?;
    let status = match reply.applied {
        Applied::Created { created: true, .. } => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(render(&id, &reply))).into_response())
}
