//! One lane of one link: a queue, a writer that drains it, and a reader that dispatches.
//!
//! The writer takes whatever gathered while its last write was under way, so batches form without
//! timers. The reader never waits: a request takes one of `LANE_CALLS` places, which the sender also
//! counts, so a peer that goes beyond is at fault. A place is free once its answer is being written.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::consume_budget,
};

use super::{
    BoxFuture, CallError, Lane, Service,
    frame::{Decoder, Frame, HEADER_BYTES, Kind, put_header},
    stats::PeerCounters,
};
use crate::{
    ids::NodeId,
    limits::{FRAME_BYTES, LANE_BATCH_FRAMES, LANE_CALLS, LANE_QUEUE_BYTES, LANE_QUEUE_FRAMES},
};

type Answer = Result<Bytes, CallError>;

/// What waits for the writer.
pub(super) enum Outgoing {
    Request { id: u64, body: Bytes },
    Note { body: Bytes },
    Answer { id: u64, kind: Kind, body: Bytes, place: OwnedSemaphorePermit },
}

/// The sending side of a lane, shared by callers, writer and reader.
pub(super) struct LaneShared {
    pub(super) lane: Lane,
    queue: mpsc::Sender<Outgoing>,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    counters: Arc<PeerCounters>,
}

#[derive(Default)]
struct State {
    closed: bool,
    last_id: u64,
    queued_frames: usize,
    queued_bytes: usize,
    /// Calls without an answer; one whose caller has gone keeps its place until it is answered.
    calls: HashMap<u64, Call>,
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.queued_frames < LANE_QUEUE_FRAMES && self.queued_bytes + bytes <= LANE_QUEUE_BYTES
    }
}

struct Call {
    answer: oneshot::Sender<Answer>,
    written: bool,
}

/// The right to the answer of one call. Dropping it takes back a frame that is not yet written.
pub(super) struct Ticket {
    id: u64,
    lane: Arc<LaneShared>,
    answer: oneshot::Receiver<Answer>,
}

impl Ticket {
    pub(super) async fn answer(&mut self) -> Answer {
        (&mut self.answer).await.unwrap_or_else(|_| Err(CallError::Lost("the lane ended".into())))
    }

    /// What a passed deadline means: an unwritten frame is taken back and never leaves.
    pub(super) fn expire(self) -> CallError {
        if self.lane.take_back(self.id) {
            return CallError::Unreachable("the deadline passed before it was written".into());
        }
        CallError::Timeout
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.take_back(self.id);
    }
}

impl LaneShared {
    pub(super) fn new(
        lane: Lane,
        counters: Arc<PeerCounters>,
    ) -> (Arc<LaneShared>, mpsc::Receiver<Outgoing>) {
        // Requests and answers are each counted before they are queued, so there is always room.
        let (queue, outgoing) = mpsc::channel(LANE_QUEUE_FRAMES + LANE_CALLS);
        let places = Arc::new(Semaphore::new(LANE_CALLS));
        let state = Mutex::default();
        (Arc::new(LaneShared { lane, queue, state, places, counters }), outgoing)
    }

    /// Queues a request in call order.
    pub(super) fn submit(self: &Arc<Self>, body: Bytes) -> Result<Ticket, CallError> {
        if FRAME_BYTES < body.len() {
            return Err(CallError::TooLarge);
        }
        let mut state = self.state();
        if state.closed {
            return Err(CallError::Unreachable("the link is closed".into()));
        }
        if !state.has_room(body.len()) || LANE_CALLS <= state.calls.len() {
            return Err(CallError::Unreachable("lane full".into()));
        }
        let id = state.last_id + 1;
        let bytes = body.len();
        if self.queue.try_send(Outgoing::Request { id, body }).is_err() {
            return Err(CallError::Unreachable("lane full".into()));
        }
        state.last_id = id;
        state.queued_frames += 1;
        state.queued_bytes += bytes;
        let (answer, receiver) = oneshot::channel();
        state.calls.insert(id, Call { answer, written: false });
        drop(state);
        Ok(Ticket { id, lane: self.clone(), answer: receiver })
    }

    /// Queues a note in call order, where there is room for it.
    pub(super) fn note(&self, body: Bytes) {
        let mut state = self.state();
        let bytes = body.len();
        if state.closed || FRAME_BYTES < bytes || !state.has_room(bytes) {
            return;
        }
        if self.queue.try_send(Outgoing::Note { body }).is_ok() {
            state.queued_frames += 1;
            state.queued_bytes += bytes;
        }
    }

    /// Ends every call: what was written is lost, what was not never left.
    pub(super) fn close(&self, reason: &str) {
        let mut state = self.state();
        state.closed = true;
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for call in calls.into_values() {
            let error = if call.written { CallError::Lost } else { CallError::Unreachable };
            let _ = call.answer.send(Err(error(reason.into())));
        }
    }

    fn take_back(&self, id: u64) -> bool {
        let mut state = self.state();
        let unwritten = state.calls.get(&id).is_some_and(|call| !call.written);
        if unwritten {
            state.calls.remove(&id);
        }
        unwritten
    }

    fn resolve(&self, frame: Frame) -> Result<(), String> {
        let Some(call) = self.state().calls.remove(&frame.id) else {
            return Err(format!("an answer to the unknown call {}", frame.id));
        };
        let answer = match frame.kind {
            Kind::Refusal => {
                Err(CallError::Refused(String::from_utf8_lossy(&frame.body).into_owned()))
            }
            _ => Ok(frame.body),
        };
        let _ = call.answer.send(answer);
        Ok(())
    }

    /// The batch as chunks of one vectored write; requests that were taken back are left out.
    fn encode(&self, batch: &mut Vec<Outgoing>, chunks: &mut Vec<Bytes>) -> (u64, u64) {
        let mut headers = BytesMut::with_capacity(batch.len() * HEADER_BYTES);
        let (mut frames, mut bytes) = (0, 0);
        let mut state = self.state();
        for outgoing in batch.drain(..) {
            let (kind, id, body) = match outgoing {
                Outgoing::Request { id, body } => {
                    state.queued_frames -= 1;
                    state.queued_bytes -= body.len();
                    match state.calls.get_mut(&id) {
                        Some(call) => call.written = true,
                        None => continue,
                    }
                    (Kind::Request, id, body)
                }
                Outgoing::Note { body } => {
                    state.queued_frames -= 1;
                    state.queued_bytes -= body.len();
                    (Kind::Note, 0, body)
                }
                Outgoing::Answer { id, kind, body, place } => {
                    drop(place);
                    (kind, id, body)
                }
            };
            put_header(&mut headers, kind, id, body.len());
            frames += 1;
            bytes += (HEADER_BYTES + body.len()) as u64;
            chunks.push(headers.split().freeze());
            if !body.is_empty() {
                chunks.push(body);
            }
        }
        (frames, bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lane")
    }
}

/// Writes what is queued until the stream ends; the text gives the reason.
pub(super) async fn write(
    lane: Arc<LaneShared>,
    mut stream: quinn::SendStream,
    mut queue: mpsc::Receiver<Outgoing>,
) -> String {
    let mut batch = Vec::with_capacity(LANE_BATCH_FRAMES);
    let mut chunks = Vec::with_capacity(2 * LANE_BATCH_FRAMES);
    while 0 < queue.recv_many(&mut batch, LANE_BATCH_FRAMES).await {
        let (frames, bytes) = lane.encode(&mut batch, &mut chunks);
        if let Err(error) = stream.write_all_chunks(&mut chunks).await {
            return error.to_string();
        }
        chunks.clear();
        lane.counters.lanes[lane.lane.index()].sent(frames, bytes);
    }
    "the lane ended".into()
}

/// Runs the futures of served requests elsewhere.
pub(super) type Spawn = Box<dyn Fn(BoxFuture<()>) + Send + Sync>;

/// Reads and dispatches in order until the stream ends or breaks; the text gives the reason. Requests run in
/// this very task, or where `spawn` lets them run.
pub(super) async fn read(
    lane: Arc<LaneShared>,
    mut stream: quinn::RecvStream,
    mut decoder: Decoder,
    from: NodeId,
    service: Arc<dyn Service>,
    spawn: Option<Spawn>,
) -> String {
    let mut serving = FuturesUnordered::new();
    loop {
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return error.to_string(),
            };
            let bytes = (HEADER_BYTES + frame.body.len()) as u64;
            lane.counters.lanes[lane.lane.index()].received(bytes);
            let done = match frame.kind {
                Kind::Request => serve(&lane, frame, from, &service).map(|served| match &spawn {
                    Some(spawn) => spawn(served),
                    None => serving.push(served),
                }),
                Kind::Note => {
                    // A panic of the service is its own loss.
                    let call = || drop(service.call(from, lane.lane, frame.body));
                    catch_unwind(AssertUnwindSafe(call)).ok();
                    Ok(())
                }
                Kind::Answer | Kind::Refusal => lane.resolve(frame),
                other => Err(format!("{other:?} does not belong on a lane")),
            };
            if let Err(reason) = done {
                return reason;
            }
            consume_budget().await;
        }
        let chunk = tokio::select! {
            biased;
            Some(()) = serving.next() => continue,
            chunk = stream.read_chunk(FRAME_BYTES + HEADER_BYTES, true) => chunk,
        };
        match chunk {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            Ok(None) => return "the peer ended a lane".into(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Hands one request to the service, in order; the future answers it.
fn serve(
    lane: &Arc<LaneShared>,
    frame: Frame,
    from: NodeId,
    service: &Arc<dyn Service>,
) -> Result<BoxFuture<()>, String> {
    let Ok(place) = lane.places.clone().try_acquire_owned() else {
        return Err(format!("more than {LANE_CALLS} calls are unanswered"));
    };
    let id = frame.id;
    let call = || service.call(from, lane.lane, frame.body);
    // A panic of the service costs its caller an error, never the link.
    let started = catch_unwind(AssertUnwindSafe(call));
    let lane = lane.clone();
    Ok(Box::pin(async move {
        let answer = match started {
            Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        let (kind, body) = match answer {
            Ok(Ok(body)) if body.len() <= FRAME_BYTES => (Kind::Answer, body),
            Ok(Ok(_)) => (Kind::Refusal, "the answer is larger than a frame".into()),
            Ok(Err(text)) => (Kind::Refusal, Bytes::from(text)),
            Err(_) => (Kind::Refusal, "the service panicked".into()),
        };
        let body = if body.len() <= FRAME_BYTES { body } else { body.slice(..FRAME_BYTES) };
        // Fails only when the writer is gone, and with it the link.
        let _ = lane.queue.try_send(Outgoing::Answer { id, kind, body, place });
    }))
}
