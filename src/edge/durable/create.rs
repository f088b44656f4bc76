//! PUT: a stream with what it begins with, in one step, or as another one was.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::public::Reached;
use super::super::{Edge, body, headers, verbs};
use super::name::StreamName;
use super::{STREAM_CLOSED, TRUE, USUAL_TYPE, messages, next_offset, parse, problem, type_of};
use crate::edge::State;
use crate::ids::SessionId;
use crate::limits;
use crate::runtime::fork::Wish;
use crate::runtime::{Freshness, Reply};
use crate::session::{Applied, Config, ContentType, Create, NewEvent, Refusal, Right};

pub(super) async fn create(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    By(caller): By,
    Reached(base): Reached,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = headers::deadline(&headers)?;
    let parse::End { ttl_ms, expires_at } = parse::end(&headers)?;
    let close = parse::closes(&headers);
    let content_type = parse::content_type(&headers)?;
    let fork = parse::fork(&caller, &headers)?;
    let held = body::read(&edge, &headers, body, limits::BODY_BYTES).await?;
    let mut config = Config { ttl_ms, expires_at, content_type, ..Config::default() };

    let (reply, content_type) = if let Some(parse::Fork { source, anchor, root, sub }) = fork {
        // A fork shows what its source has.
        caller.may(Right::Read, Some(&source))?;
        if close || !held.bytes.is_empty() {
            caller.may(Right::Publish, Some(&id))?;
        }
        let events = match held.bytes.is_empty() {
            true => Vec::new(),
            false => {
                let kind = inherited_type(&edge, &source, &config, deadline).await?;
                messages::parse(&kind, &held.bytes)?
            }
        };
        let named = config.content_type.clone();
        let wish = Wish { source, anchor, root, sub, config, events, close, branch: None };
        let reply = edge.sessions().fork(&id, wish, deadline).await.map_err(problem::fork)?;
        let kind = match named {
            Some(named) => Some(named),
            None => shown_type(&edge, &id, deadline).await?,
        };
        (reply, kind)
    } else {
        let kind = config.content_type.take().unwrap_or_else(usual_type);
        config.content_type = Some(kind.clone());
        let events = initial(&kind, &held.bytes)?;
        let create = Create { config, fork: None, events, close };
        let create = create.into();
        let submitted =
            verbs::submit_as(&edge, &caller, &id, create, deadline, problem::create).await;
        (submitted?, Some(kind))
    };
    let address = format!("{}{}", base.unwrap_or_default(), uri.path());
    answer(&address, &reply, close, content_type.as_ref())
}

fn usual_type() -> ContentType {
    ContentType::parse(USUAL_TYPE).expect("it is visible ASCII")
}

fn initial(kind: &ContentType, bytes: &bytes::Bytes) -> Result<Vec<NewEvent>, Problem> {
    if bytes.is_empty() { Ok(Vec::new()) } else { messages::parse(kind, bytes) }
}

/// What a fork will be made of; none of a session that never had a type.
async fn inherited_type(
    edge: &Edge,
    source: &SessionId,
    config: &Config,
    deadline: Instant,
) -> Result<ContentType, Problem> {
    if let Some(kind) = &config.content_type {
        return Ok(kind.clone());
    }
    let status = edge.sessions().status(source, Freshness::Linearizable, deadline).await?;
    let status = status.ok_or(Refusal::NotFound)?;
    let native = || ContentType::parse(super::NATIVE_TYPE).expect("it is visible ASCII");
    Ok(status.config.content_type.unwrap_or_else(native))
}

async fn shown_type(
    edge: &Edge,
    id: &SessionId,
    deadline: Instant,
) -> Result<Option<ContentType>, Problem> {
    let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
    Ok(status.and_then(|status| status.config.content_type))
}

fn answer(
    address: &str,
    reply: &Reply,
    close: bool,
    content_type: Option<&ContentType>,
) -> Result<Response, Problem> {
    let Applied::Created { created, closed, .. } = reply.applied else {
        unreachable!("a create is answered by Created")
    };
    if closed != close {
        let state = if closed { "closed" } else { "open" };
        return Err(Problem::new(&error::CONFIG_DIFFERS, format!("the stream is {state}")));
    }
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, [next_offset(reply.root, reply.tail)]).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, type_of(content_type));
    if closed {
        out.insert(STREAM_CLOSED, TRUE);
    }
    if created && let Ok(location) = HeaderValue::from_str(address) {
        out.insert(header::LOCATION, location);
    }
    Ok(response)
}
