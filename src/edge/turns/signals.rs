//! The signals of a turn that a worker gets by HTTP: the log of its session, filtered (`live=sse` or
//! `live=long-poll`).
//!
//! It ends cleanly where the worker has nothing more to do; in every other case the connection breaks.

use std::pin::pin;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use serde_json::json as value;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::error::{self, Problem};
use super::super::gate::{By, while_granted};
use super::super::live::BrokenOff;
use super::super::name::TurnOf;
use super::super::query::Query;
use super::super::worker::Frames;
use super::super::{Edge, NO_BUFFERING, frame, headers, json};
use crate::auth::Ending;
use crate::edge::State;
use crate::ids::{Cursor, TurnEpoch};
use crate::limits;
use crate::runtime::Freshness;
use crate::runtime::agent::{Codec, Fed, Feed, Signal, ToWorker, TurnKey, What};
use crate::session::TurnStatus;

/// How long what is in the log is looked for, where the worker does not have the turn.
const LAST_SIGNALS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Mode {
    LongPoll,
    Sse,
}

/// `GET /v1/sessions/{id}/turns/{turn}/signals`
pub(in crate::edge) async fn signals(
    State(edge): State<Edge>,
    TurnOf(session, turn): TurnOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["epoch", "after", "live", "wait_ms"])?;
    let bad = |detail: &str| Problem::new(&error::BAD_QUERY, detail);
    let modes = [("sse", Mode::Sse), ("long-poll", Mode::LongPoll)];
    let mode = query.word("live", &modes)?.unwrap_or(Mode::LongPoll);
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?;
    if wait_ms.is_some() && matches!(mode, Mode::Sse) {
        return Err(bad("wait_ms goes with live=long-poll"));
    }
    let epoch = query.number("epoch", 0, headers::NUMBER_MAX)?.map(TurnEpoch);
    let epoch = epoch.ok_or_else(|| bad("epoch says whose turn it is"))?;
    let seen = headers::one(&headers, &headers::LAST_EVENT_ID)?.filter(|text| !text.is_empty());
    let seen = seen.filter(|_| matches!(mode, Mode::Sse)).or(query.text("after"));
    let after = seen.ok_or_else(|| bad("after is the cursor that came with the turn"))?;
    let after =
        Cursor::parse(after).map_err(|why| Problem::new(&error::BAD_CURSOR, why.to_string()))?;
    let key = TurnKey { session, turn, epoch };
    let has_turn = has_turn(&edge, &key, after, headers::deadline(&headers)?).await?;
    let feed = signals_of(Feed::after(edge.runtime.sessions.clone(), key.clone(), after));
    let feed = if has_turn { feed } else { ended(feed, key) };
    match mode {
        Mode::Sse => Ok(streamed(&edge, feed, caller.ending())),
        Mode::LongPoll => {
            let wait = wait_ms.map_or(edge.settings.long_poll, Duration::from_millis);
            let wait = if has_turn { wait } else { wait.max(2 * LAST_SIGNALS) };
            let polled = polled(&edge, feed, after, Instant::now() + wait);
            while_granted(&caller, async { Ok(polled.await) }).await
        }
    }
}

/// Whether the worker has the turn, as far as can be known now.
///
/// # Errors
/// The place is beyond the log.
async fn has_turn(
    edge: &Edge,
    key: &TurnKey,
    after: Cursor,
    deadline: Instant,
) -> Result<bool, Problem> {
    let status = edge.sessions().status(&key.session, Freshness::Linearizable, deadline);
    // Without an answer, and without a session, the feed finds out.
    let Ok(Some(status)) = status.await else { return Ok(true) };
    if after.incarnation == status.incarnation && status.tail < after.serial {
        let detail =
            format!("the cursor is at {}, beyond the tail at {}", after.serial, status.tail);
        return Err(Problem::new(&error::CURSOR_OUT_OF_RANGE, detail));
    }
    let has = |turn: &TurnStatus| {
        turn.turn == key.turn && turn.lease.as_ref().is_some_and(|lease| lease.epoch == key.epoch)
    };
    Ok(status.turns.iter().any(has))
}

/// The signals that are there for a worker that does not have the turn any more; the last one ends it.
fn ended(feed: BoxStream<'static, Signal>, key: TurnKey) -> BoxStream<'static, Signal> {
    let until = Instant::now() + LAST_SIGNALS;
    stream::unfold(Some((feed, key)), move |going| async move {
        let (mut feed, key) = going?;
        match timeout_at(until, feed.next()).await {
            Ok(signal) => {
                let signal = signal?;
                let going = (!signal.what.is_end()).then_some((feed, key));
                Some((signal, going))
            }
            Err(_) => Some((Signal { key, what: What::Fenced, cursor: None, event: None }, None)),
        }
    })
    .boxed()
}

/// The signals of a feed, and then nothing: the turn is no more of the worker's.
fn signals_of(feed: Feed) -> BoxStream<'static, Signal> {
    // The stream holds the feed's wait, which must not be dropped half way.
    stream::unfold(Some(feed), |feed| async {
        let mut feed = feed?;
        match feed.next().await {
            Fed::Signal(signal) if signal.what.is_end() => Some((signal, None)),
            Fed::Signal(signal) => Some((signal, Some(feed))),
            Fed::Over => None,
        }
    })
    .boxed()
}

/// What is there, or comes by `until`.
async fn polled(
    edge: &Edge,
    mut feed: BoxStream<'static, Signal>,
    after: Cursor,
    until: Instant,
) -> Response {
    let (mut all, mut next, mut over) = (Vec::new(), after, false);
    let mut stopped = pin!(edge.stop.cancelled());
    while all.len() < limits::LINK_SIGNALS {
        // What is there does not wait for more.
        let until = if all.is_empty() { until } else { Instant::now() };
        let signal = tokio::select! {
            biased;
            signal = timeout_at(until, feed.next()) => signal,
            () = &mut stopped => break,
        };
        let Ok(signal) = signal else { break };
        let Some(signal) = signal else {
            over = true;
            break;
        };
        next = signal.cursor.unwrap_or(next);
        over = signal.what.is_end();
        let text = String::from_utf8(rendered(signal)).expect("frames are rendered as text");
        all.push(RawValue::from_string(text).expect("frames are rendered as JSON"));
        if over {
            break;
        }
    }
    let mut body = value!({ "next": next.to_string(), "over": over }).to_string();
    body.pop();
    let all: Vec<_> = all.iter().map(|signal| signal.get()).collect();
    let body = format!("{body},\"signals\":[{}]}}", all.join(","));
    Json(RawValue::from_string(body).expect("it is made of JSON")).into_response()
}

fn rendered(signal: Signal) -> Vec<u8> {
    Frames::default().write(&ToWorker::Signal(Box::new(signal)))
}

fn streamed(edge: &Edge, feed: BoxStream<'static, Signal>, ending: Ending) -> Response {
    let stop = edge.stop.clone();
    let going = stream::unfold(Some((feed, ending)), move |going| {
        let stop = stop.clone();
        async move {
            let (mut feed, mut ending) = going?;
            let signal = tokio::select! {
                biased;
                () = stop.cancelled() => return Some((Err(BrokenOff), None)),
                _ = ending.came() => return Some((Err(BrokenOff), None)),
                signal = feed.next() => signal,
                () = sleep(Duration::from_millis(limits::HEARTBEAT_MS)) => {
                    return Some((Ok(frame::HEARTBEAT), Some((feed, ending))));
                }
            };
            match signal {
                Some(signal) => Some((Ok(framed(signal)), Some((feed, ending)))),
                None => Some((Ok(frame::control("over", None, &value!({}))), None)),
            }
        }
    });
    let opening = frame::opening(limits::AGAIN_MS);
    let body = Body::from_stream(stream::once(async { Ok(opening) }).chain(going));
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (NO_BUFFERING, "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn framed(signal: Signal) -> Bytes {
    let id = signal.cursor.map(|cursor| format!("id: {cursor}\n")).unwrap_or_default();
    let mut out = format!("{id}data: ").into_bytes();
    out.extend_from_slice(&json::without_line_ends(rendered(signal)));
    out.extend_from_slice(b"\n\n");
    out.into()
}
