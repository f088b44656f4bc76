//! Output of a turn without an end: each line of the body is one report, acknowledged when it is committed.
//!
//! One report is under way at a time, so they keep their order however far the leader is; what comes
//! meanwhile waits, within bounds (S10). A worker whose connection broke sends again what was not
//! acknowledged, and nothing is there twice (S11).

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::lines::Lines;
use super::super::name::TurnOf;
use super::super::query::Query;
use super::super::verbs::{self, http as requests};
use super::super::{Edge, NO_BUFFERING, body, headers};
use crate::auth::{Caller, Ending, Refused};
use crate::edge::State;
use crate::ids::{SessionId, TurnEpoch, TurnId};
use crate::limits;
use crate::runtime::Reply;
use crate::session::Command;

/// What the body is, and the answer.
const LINES: &str = "application/x-ndjson";

/// `POST /v1/sessions/{id}/turns/{turn}/output`: one report as JSON, or lines without an end, which name their epoch in
/// the address.
pub(in crate::edge) async fn output(
    State(edge): State<Edge>,
    TurnOf(session, turn): TurnOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if query.text("epoch").is_none() && headers::media_type(&headers)? != LINES {
        return requests::report(edge, (session, turn), (caller, query, headers, body)).await;
    }
    stream(edge, (session, turn), (caller, query, headers, body)).await
}

async fn stream(
    edge: Edge,
    (session, turn): (SessionId, TurnId),
    (caller, query, headers, mut body): requests::RequestParts,
) -> Result<Response, Problem> {
    let query = query.only(&["epoch"])?;
    let epoch = query.number("epoch", 0, headers::NUMBER_MAX)?.map(TurnEpoch);
    let epoch =
        epoch.ok_or_else(|| Problem::new(&error::BAD_QUERY, "epoch says whose turn it is"))?;
    headers::plain_body(&headers)?;
    if !matches!(headers::media_type(&headers)?.as_str(), "" | LINES) {
        body::discard(&mut body).await;
        let detail =
            format!("with epoch in the query the body is lines, {LINES}; one report is without");
        return Err(Problem::new(&error::UNSUPPORTED_TYPE, detail));
    }
    let room = edge.windows.clone().try_acquire_owned().map_err(|_| {
        Problem::new(&error::OVERLOADED, "too many bodies without an end at this node; try another")
    })?;
    let too_long = |bytes: usize, limit: usize| {
        Problem::new(
            &error::BODY_TOO_LARGE,
            format!("a line has {bytes} bytes and more; the limit is {limit}"),
        )
    };
    let mut lines = Lines::new(body, limits::BODY_BYTES, too_long, edge.room.hold());
    lines.invite(&headers).await;
    let speaker = Speaker {
        edge,
        ending: caller.ending(),
        caller,
        session,
        turn,
        epoch,
        lines,
        under_way: None,
        has_ended: false,
        _room: room,
    };
    let answers = futures::stream::unfold(speaker, |mut speaker| async {
        let line = speaker.answer().await?;
        Some((Ok::<_, std::convert::Infallible>(line), speaker))
    });
    let mut response = Body::from_stream(answers).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    out.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A worker that sends output without an end.
struct Speaker {
    edge: Edge,
    caller: Caller,
    ending: Ending,
    session: SessionId,
    turn: TurnId,
    epoch: TurnEpoch,
    lines: Lines,
    under_way: Option<UnderWay>,
    has_ended: bool,
    _room: OwnedSemaphorePermit,
}

/// A report on its way.
struct UnderWay {
    seq: Option<u64>,
    outcome: BoxFuture<'static, Result<Reply, Problem>>,
}

impl Speaker {
    /// Waits for the next line of the answer; none after the last.
    async fn answer(&mut self) -> Option<Bytes> {
        loop {
            if self.has_ended {
                if self.lines.failure().is_some() {
                    // Whoever still sends reads the reason only afterwards.
                    self.lines.discard().await;
                }
                return None;
            }
            if self.under_way.is_none() {
                self.lines.settle(0);
            }
            if self.under_way.is_none()
                && let Some(line) = self.lines.take()
                && let Err((seq, why)) = self.send(&line)
            {
                return Some(self.fail(seq, &why));
            }
            if self.under_way.is_none() && self.lines.is_empty() {
                return Some(match self.lines.failure() {
                    Some(why) => self.fail(None, &why),
                    None => self.end(),
                });
            }
            // One that is not whole yet is read on, however long it is: it ends, or is too long.
            let has_place = self.lines.buffered() < limits::WINDOW_BYTES
                && self.lines.len() < limits::WINDOW_LINES;
            let reads = !self.lines.has_ended() && (has_place || self.lines.has_none());
            let stop = self.edge.stop.clone();
            tokio::select! {
                biased;
                done = outcome(&mut self.under_way) => return Some(self.settle(done)),
                // What is under way is answered first.
                ended = self.ending.came(), if self.under_way.is_none() => {
                    return Some(self.fail(None, &Refused::Ended(ended).into()));
                }
                () = stop.cancelled() => {
                    let why = error::of_stop(self.under_way.is_some());
                    let seq = self.under_way.as_ref().and_then(|under_way| under_way.seq);
                    return Some(self.fail(seq, &why));
                }
                () = self.lines.read(), if reads => {}
                // Keeps a silent connection alive.
                () = sleep(Duration::from_millis(limits::HEARTBEAT_MS)) => {
                    return Some(Bytes::from_static(b"\n"));
                }
            }
        }
    }

    fn send(&mut self, line: &[u8]) -> Result<(), (Option<u64>, Problem)> {
        let report = verbs::turns::line(self.turn.clone(), self.epoch, line)?;
        let seq = report.output.as_ref().map(|emitted| emitted.seq);
        let (edge, caller) = (self.edge.clone(), self.caller.clone());
        let session = self.session.clone();
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        let command = Command::Report(Box::new(report));
        let outcome =
            async move { verbs::submit(&edge, &caller, &session, command, deadline).await }.boxed();
        self.under_way = Some(UnderWay { seq, outcome });
        Ok(())
    }

    fn settle(&mut self, done: Result<Reply, Problem>) -> Bytes {
        let seq = self.under_way.take().and_then(|under_way| under_way.seq);
        match done {
            Ok(reply) => {
                let mut line = verbs::render(&self.session, &reply);
                line["seq"] = seq.into();
                format!("{line}\n").into()
            }
            Err(why) => self.fail(seq, &why),
        }
    }

    fn end(&mut self) -> Bytes {
        self.has_ended = true;
        Bytes::from_static(b"{\"end\":true}\n")
    }

    /// Nothing of this line was committed, unless its outcome is unknown, and nothing of those after it.
    fn fail(&mut self, seq: Option<u64>, why: &Problem) -> Bytes {
        self.has_ended = true;
        self.under_way = None;
        format!("{}\n", json!({ "error": why.body(), "seq": seq })).into()
    }
}

/// Waits for what is under way; for ever where nothing is. Cancel safe.
async fn outcome(under_way: &mut Option<UnderWay>) -> Result<Reply, Problem> {
    match under_way {
        Some(under_way) => under_way.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}
