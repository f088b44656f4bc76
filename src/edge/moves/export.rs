//! A session as lines: its state as it is at one moment, the events up to that, and which files they refer to.

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tokio::time::{Instant, timeout_at};

use super::line::{self, Sum};
use crate::auth::{Ending, audit};
use crate::edge::error::{self, Problem};
use crate::edge::gate::By;
use crate::edge::name::Name;
use crate::edge::query::Query;
use crate::edge::{Edge, NO_BUFFERING, State, headers};
use crate::ids::{Serial, SessionId};
use crate::runtime::{Delivery, Freshness, Reader, Start};
use crate::session::{Carried, Refusal, Right, chain};

/// What the answer is, and the body of an import.
pub(super) const LINES: &str = "application/x-ndjson";

/// How often it is begun anew, where retention takes events between the look at the state and the first event.
const BEGINNINGS: usize = 5;

/// `GET /v1/sessions/{id}/export`
pub(in crate::edge) async fn export(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    // It has what is for no participant: the epochs of its writers, and the seed of its calls' keys.
    caller.may(Right::Delete, Some(&id))?;
    let deadline = headers::deadline(&headers)?;
    let (carried, reader, begun) = begin(&edge, &id, deadline).await?;
    audit(&caller, "session.export", id.name());
    let (mut sum, mut first) = (Sum::default(), Vec::new());
    let files = edge.sessions().inherited_files(&id, deadline).await?;
    for line in line::head(&id, &carried).into_iter().chain(files.iter().map(line::file)) {
        sum.add(&line);
        first.extend_from_slice(&line);
        first.push(b'\n');
    }
    let exporter = Exporter {
        ending: caller.ending(),
        edge,
        reader,
        first: Some(first.into()),
        begun,
        next: carried.first,
        tail: carried.tail,
        end_chain: carried.chain,
        chain: None,
        events: 0,
        sum,
        has_ended: false,
    };
    let pieces = stream::unfold(exporter, |mut exporter| async {
        let piece = exporter.piece().await?;
        Some((piece, exporter))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    out.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// The state, a reader, and the first that it gives: where the state begins.
async fn begin(
    edge: &Edge,
    id: &SessionId,
    deadline: Instant,
) -> Result<(Box<Carried>, Reader, Option<Delivery>), Problem> {
    let sessions = edge.sessions();
    for _ in 0..BEGINNINGS {
        let mut carried = sessions.carried(id, deadline).await?.ok_or(Refusal::NotFound)?;
        let mut reader =
            sessions.attach(id, Start::Beginning, Freshness::Linearizable, deadline).await?;
        if carried.first < reader.status().first {
            continue;
        }
        if carried.tail < carried.first {
            return Ok((carried, reader, None));
        }
        if let Ok(Some((first, begun))) = timeout_at(deadline, beginning(&mut reader)).await {
            // A fork does not know what its source has lost.
            carried.first = carried.first.max(first.min(carried.tail.next()));
            return Ok((carried, reader, Some(begun)));
        }
    }
    let detail = "its retention takes events faster than they are read; try again";
    Err(Problem::new(&error::OVERLOADED, detail))
}

/// The first events that there are, and the serial of the first; none where the log went away meanwhile.
async fn beginning(reader: &mut Reader) -> Option<(Serial, Delivery)> {
    loop {
        match reader.next().await {
            Delivery::Events(events) => {
                let first = events.first()?.event.serial;
                return Some((first, Delivery::Events(events)));
            }
            // It waits at the end of what its node knows, or says where the log begins.
            Delivery::CaughtUp { .. } | Delivery::Gap { .. } => {}
            Delivery::Reset { .. } | Delivery::End { .. } => return None,
            Delivery::Deleted | Delivery::Detached { .. } => return None,
        }
    }
}

/// What is still to be written.
struct Exporter {
    edge: Edge,
    ending: Ending,
    reader: Reader,
    first: Option<Bytes>,
    /// What the reader gave already.
    begun: Option<Delivery>,
    next: Serial,
    tail: Serial,
    /// The hash at the tail.
    end_chain: u64,
    /// The hash at the last event that was written.
    chain: Option<u64>,
    events: u64,
    sum: Sum,
    has_ended: bool,
}

async fn next(begun: &mut Option<Delivery>, reader: &mut Reader) -> Delivery {
    match begun.take() {
        Some(begun) => begun,
        None => reader.next().await,
    }
}

impl Exporter {
    /// The next lines; none after the last. An error breaks the answer: then there is no end in it.
    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        if self.has_ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.tail < self.next {
            self.has_ended = true;
            let mut end = line::end(self.events, self.end_chain, &self.sum);
            end.push(b'\n');
            return Some(Ok(end.into()));
        }
        let broken = tokio::select! {
            biased;
            _ = self.ending.came() => "the grant has ended",
            () = self.edge.stop.cancelled() => "the node stops",
            delivery = next(&mut self.begun, &mut self.reader) => match self.take(delivery) {
                Some(lines) => return Some(Ok(lines)),
                None => "the log went away meanwhile",
            },
        };
        self.has_ended = true;
        Some(Err(io::Error::other(broken)))
    }

    /// The lines of what a reader gives; none where it does not go on as it should.
    fn take(&mut self, delivery: Delivery) -> Option<Bytes> {
        let Delivery::Events(events) = delivery else {
            // It waits at the end of what its node knows.
            return matches!(delivery, Delivery::CaughtUp { .. }).then(Bytes::new);
        };
        let mut lines = Vec::new();
        for shown in &events {
            let event = &shown.event;
            if event.serial < self.next || self.tail < event.serial {
                continue;
            }
            if event.serial != self.next {
                return None;
            }
            let linked = self.chain.is_some_and(|before| chain::next(before, event) == event.chain);
            let line = line::event(event, linked);
            self.sum.add(&line);
            lines.extend_from_slice(&line);
            lines.push(b'\n');
            self.chain = Some(event.chain);
            self.events += 1;
            self.next = event.serial.next();
        }
        Some(lines.into())
    }
}
