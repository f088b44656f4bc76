//! A session that comes in as lines: nothing of it is seen until its last line was read and found to be right.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::timeout;

use super::export::LINES;
use super::history;
use super::line::{self, Head, Line, Sum};
use super::steps::{Steps, bad};
use crate::auth::{Caller, audit};
use crate::edge::error::{self, Problem};
use crate::edge::gate::{By, while_granted};
use crate::edge::lines::Lines;
use crate::edge::name::Name;
use crate::edge::query::Query;
use crate::edge::room;
use crate::edge::{Edge, State, body, headers, verbs};
use crate::ids::SessionId;
use crate::limits;
use crate::runtime::{Reply, moved};
use crate::session::{Applied, Carried, Right};

/// `POST /v1/sessions/{id}/import`
pub(in crate::edge) async fn import(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    for right in [Right::Create, Right::Publish, Right::Delete] {
        caller.may(right, Some(&id))?;
    }
    headers::plain_body(&headers)?;
    if headers::media_type(&headers)? == "application/json" {
        return while_granted(&caller, history_of(&edge, &caller, &id, &headers, body)).await;
    }
    let known = ["", LINES, "application/x-www-form-urlencoded"];
    if !known.contains(&headers::media_type(&headers)?.as_str()) {
        body::discard(&mut body).await;
        let detail =
            format!("an exported session is {LINES}, and a history of a chat application/json");
        return Err(Problem::new(&error::UNSUPPORTED_TYPE, detail));
    }
    let room = edge.windows.clone().try_acquire_owned().map_err(|_| {
        Problem::new(&error::OVERLOADED, "too many bodies without an end at this node; try another")
    })?;
    let lines = Lines::new(body, limits::IMPORT_LINE_BYTES, too_long, edge.room.hold());
    let mut came = Came { edge: edge.clone(), lines, sum: Sum::default() };
    let imported = while_granted(&caller, came.import(&caller, &id)).await;
    if imported.is_err() {
        came.lines.discard().await;
    }
    drop(room);
    imported
}

/// What users and assistants wrote elsewhere.
async fn history_of(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let held = body::read(edge, headers, body, limits::IMPORT_HISTORY_BYTES).await?;
    let _room = edge.room.hold_for(history::room_for(held.bytes.len()))?;
    let (now, name, bytes) = (edge.runtime.sessions.time_of(id), id.clone(), held.bytes.clone());
    let played = tokio::task::spawn_blocking(move || history::play(&name, now, &bytes)).await;
    let unplayed = |_| bad("it could not be read to its end");
    let (digest, carried, log) = played.map_err(unplayed)??;
    let mut steps = Steps::begin(edge, caller, id, (digest, carried)).await?;
    let bring = async {
        for (at, event) in log.into_iter().enumerate() {
            steps.event(event, 0 < at).await?;
        }
        steps.finish().await
    };
    match bring.await {
        Ok(reply) => answer(caller, id, &reply),
        Err(why) => Err(steps.given_up(why).await),
    }
}

fn answer(caller: &Caller, id: &SessionId, reply: &Reply) -> Result<Response, Problem> {
    let created = matches!(reply.applied, Applied::Imported { again: false, .. });
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    if created {
        audit(caller, "session.import", id.name());
    }
    Ok((status, Json(verbs::render(id, reply))).into_response())
}

fn too_long(bytes: usize, limit: usize) -> Problem {
    let detail = format!("a line has {bytes} bytes; the limit is {limit}");
    Problem::new(&error::BODY_TOO_LARGE, detail)
}

/// What came of the body.
struct Came {
    edge: Edge,
    lines: Lines,
    sum: Sum,
}

impl Came {
    async fn import(&mut self, caller: &Caller, id: &SessionId) -> Result<Response, Problem> {
        let (digest, carried, line) = self.head(id).await?;
        let edge = self.edge.clone();
        let mut steps = Steps::begin(&edge, caller, id, (digest, carried)).await?;
        match self.rest(&mut steps, line).await {
            Ok(reply) => answer(caller, id, &reply),
            Err(why) => Err(steps.given_up(why).await),
        }
    }

    /// What comes after the state, from this line on.
    async fn rest(&mut self, steps: &mut Steps, mut line: Bytes) -> Result<Reply, Problem> {
        let (mut files, mut events) = (0, 0);
        let end = loop {
            match line::read(&line).map_err(bad)? {
                Line::File if 0 < events => return Err(bad("a file follows an event")),
                Line::File => {
                    files += 1;
                    if limits::FILES < files {
                        return Err(bad("it has more files than a session may have"));
                    }
                    self.sum.add(&line);
                }
                Line::Event { event, linked } => {
                    steps.event(*event, linked).await?;
                    self.sum.add(&line);
                    events += 1;
                }
                Line::End(end) => break end,
                Line::Session(_) | Line::State(_) => return Err(bad("a line is out of place")),
            }
            line = self.line().await?.ok_or_else(truncated)?;
        };
        end.check(events, &self.sum).map_err(bad)?;
        if self.line().await?.is_some() {
            return Err(bad("something follows the end"));
        }
        steps.finish().await
    }

    /// The head and the state, the hash of both, and the line after them.
    async fn head(&mut self, id: &SessionId) -> Result<(u128, Carried, Bytes), Problem> {
        let line = self.line().await?.ok_or_else(truncated)?;
        let Line::Session(Head { session, .. }) = line::read(&line).map_err(bad)? else {
            return Err(bad("the first line is no session's"));
        };
        self.sum.add(&line);
        let (mut state, mut room) = (Vec::new(), self.edge.room.hold());
        loop {
            let line = self.line().await?.ok_or_else(truncated)?;
            // Events are read again by whoever takes them.
            match line::read(&line).map_err(bad)? {
                Line::State(piece) => {
                    self.sum.add(&line);
                    if limits::IMPORT_STATE_BYTES < state.len() + piece.len() {
                        return Err(bad("the state is too large"));
                    }
                    if !room.reach(state.len() + piece.len()) {
                        return Err(room::crowded());
                    }
                    state.extend(piece);
                }
                _ => {
                    let carried =
                        moved::read_carried(&state).map_err(|why| bad(why.to_string()))?;
                    let same = session == id.name();
                    let carried = if same { carried } else { carried.as_another() };
                    return Ok((self.sum.number(), carried, line));
                }
            }
        }
    }

    /// The next line; none after the last.
    async fn line(&mut self) -> Result<Option<Bytes>, Problem> {
        self.lines.settle(0);
        let silence = Duration::from_millis(limits::BODY_MS);
        loop {
            if let Some(line) = self.lines.take() {
                return Ok(Some(line));
            }
            if self.lines.has_ended() {
                return self.lines.failure().map_or(Ok(None), Err);
            }
            let slow = |_| Problem::new(&error::SLOW_BODY, "the next line did not come in time");
            tokio::select! {
                () = self.edge.stop.cancelled() => return Err(error::of_stop(false)),
                read = timeout(silence, self.lines.read()) => read.map_err(slow)?,
            }
        }
    }
}

/// The export was cut off, or this request was.
fn truncated() -> Problem {
    bad("it ends before its last line: the export, or this request, was cut off")
}
