//! POST and DELETE: what is appended, closed or ended.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::{Edge, body, headers, verbs};
use super::name::StreamName;
use super::{STREAM_CLOSED, TRUE, messages, next_offset, parse, problem, streaming};
use crate::edge::State;
use crate::limits;
use crate::runtime::Reply;
use crate::session::{Append, Applied, Command, Origin, Refusal};

pub(super) async fn append(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    By(caller): By,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if streaming::is_meant(&headers)? {
        return streaming::response(&edge, caller, id, &headers, body).await;
    }
    let deadline = headers::deadline(&headers)?;
    let producer = headers::producer(&headers)?;
    let close = parse::closes(&headers);
    let held = body::read(&edge, &headers, body, limits::BODY_BYTES).await?;
    let command = match held.bytes.is_empty() {
        // A close alone is of no type.
        true if close => Command::Close { producer: producer.clone() },
        true => return Err(Refusal::NoEvents.into()),
        false => {
            let content_type = parse::content_type(&headers)?;
            let content_type = content_type
                .ok_or_else(|| Problem::new(&error::BAD_HEADER, "a body needs a content-type"))?;
            let events = messages::parse(&content_type, &held.bytes)?;
            if events.is_empty() {
                return Err(Refusal::NoEvents.into());
            }
            let (producer, order) = (producer.clone(), parse::order(&headers)?);
            let content_type = Some(content_type);
            Command::Append(Append { events, producer, close, expect: None, content_type, order })
        }
    };
    let reply = verbs::submit_as(&edge, &caller, &id, command, deadline, problem::submit).await?;
    answer(&reply, producer.as_ref())
}

pub(super) async fn delete(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    By(caller): By,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = headers::deadline(&headers)?;
    let delete = Command::Delete { incarnation: None };
    verbs::submit_as(&edge, &caller, &id, delete, deadline, problem::submit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn answer(reply: &Reply, producer: Option<&Origin>) -> Result<Response, Problem> {
    let (place, fresh, closed, seq) = match reply.applied {
        Applied::Appended { last, duplicate, closed, seq, .. } => {
            (last.unwrap_or(reply.tail), !duplicate, closed, seq)
        }
        // Another client closed it: this producer's request is none that was done.
        Applied::Closed { tail, duplicate: true, again: false } if producer.is_some() => {
            return Err(problem::closed(reply.root, tail));
        }
        Applied::Closed { tail, .. } => (tail, false, true, producer.map(|origin| origin.seq)),
        _ => unreachable!("an append is answered by Appended or Closed"),
    };
    let new = fresh && producer.is_some();
    let status = if new { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut response = (status, [next_offset(reply.root, place)]).into_response();
    let out = response.headers_mut();
    if closed {
        out.insert(STREAM_CLOSED, TRUE);
    }
    if let Some(origin) = producer {
        let seq = seq.unwrap_or(origin.seq);
        out.insert(headers::PRODUCER_EPOCH, HeaderValue::from(origin.epoch.0));
        out.insert(headers::PRODUCER_SEQ, HeaderValue::from(seq));
    }
    Ok(response)
}
