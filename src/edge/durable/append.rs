//! POST and DELETE: what is appended, closed or ended.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::{Edge, body, headers};
use super::name::StreamName;
use super::{STREAM_CLOSED, TRUE, asked, messages, next_offset, problem, streaming};
use crate::limits;
use crate::runtime::Reply;
use crate::session::{Append, Applied, Command, NewEvent, Origin, Refusal};

pub(super) async fn append(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if streaming::is_meant(&headers)? {
        return streaming::response(&edge, id, &headers, body).await;
    }
    let deadline = headers::deadline(&headers)?;
    let producer = headers::producer(&headers)?;
    let close = asked::closes(&headers);
    let held = body::read(&edge, &headers, body, limits::BODY_BYTES).await?;
    let command = match held.bytes.is_empty() {
        // A close alone is of no type.
        true if close => Command::Close { producer: producer.clone() },
        true => return Err(Refusal::NoEvents.into()),
        false => {
            let content_type = asked::content_type(&headers)?;
            let content_type = content_type
                .ok_or_else(|| Problem::new(&error::BAD_HEADER, "a body needs a content-type"))?;
            let events = messages::parse(&content_type, &held.bytes)?;
            if events.is_empty() {
                return Err(Refusal::NoEvents.into());
            }
            let (producer, order) = (producer.clone(), asked::order(&headers)?);
            let content_type = Some(content_type);
            Command::Append(Append { events, producer, close, expect: None, content_type, order })
        }
    };
    let (count, bytes) = match &command {
        Command::Append(append) => weigh(&append.events),
        _ => (0, 0),
    };
    let begun = Instant::now();
    let keyless = matches!(&command, Command::Append(append) if append.producer.is_none());
    let done = edge.runtime.submit(&id, command, deadline).await.map_err(problem::submit);
    let reply = done.map_err(|why| if keyless { why.of_keyless() } else { why })?;
    edge.metrics.append_seconds.observe(begun.elapsed().as_secs_f64());
    if let Applied::Appended { duplicate: false, .. } = reply.applied {
        edge.metrics.appended_events.inc_by(count);
        edge.metrics.appended_bytes.inc_by(bytes);
    }
    answer(&reply, producer.as_ref())
}

pub(super) async fn delete(
    State(edge): State<Edge>,
    StreamName(id): StreamName,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = headers::deadline(&headers)?;
    let delete = Command::Delete { incarnation: None };
    let done = edge.runtime.submit(&id, delete, deadline).await;
    done.map_err(|why| problem::submit(why).of_keyless())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How many events, and their payload bytes.
pub(super) fn weigh(events: &[NewEvent]) -> (u64, u64) {
    (events.len() as u64, events.iter().map(|event| event.payload.len() as u64).sum())
}

fn answer(reply: &Reply, producer: Option<&Origin>) -> Result<Response, Problem> {
    let (place, fresh, closed, seq) = match reply.applied {
        Applied::Appended { last, duplicate, closed, seq, .. } => {
            (last.unwrap_or(reply.tail), !duplicate, closed, seq)
        }
        // Somebody else closed it: this producer's request is none that was done.
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
        out.insert(headers::PRODUCER_EPOCH, HeaderValue::from(origin.epoch));
        out.insert(headers::PRODUCER_SEQ, HeaderValue::from(seq));
    }
    Ok(response)
}
