//! Connections: taken within a limit, served with limits, and let go in peace.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::connection::{Carrier, Connection, Speaks};
use super::delivery::{self, Untaken};
use super::error::{self, Problem};
use super::public::Peer;
use super::slots::{Slot, Slots};
use super::takeover::{Onward, Takeover};
use super::{Edge, Entrance, HangUp, routes, stream};
use crate::limits;

/// Pause after a failed accept: the process is short of something, most likely file descriptors.
const ACCEPT_PAUSE_MS: u64 = 50;
/// Pause before that is logged again.
const ACCEPT_WARN_MS: u64 = 10_000;
/// What operators request, and get when no other request is served.
const OPERATORS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// What one HTTP/2 stream may hold back from a client that is slow to take it, in bytes.
const STREAM_SEND_BYTES: usize = 64 << 10;
/// How often an HTTP/2 client is pinged, in milliseconds.
const PING_MS: u64 = 20_000;

/// A handler requested that the connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken off on purpose")]
struct BrokenOff;

/// Takes connections until the node stops, then waits for those that run.
pub(super) async fn run(listener: TcpListener, edge: Edge, entrance: Entrance) {
    let slots = Slots::new(&edge.metrics);
    let mut warned: Option<Instant> = None;
    let connections = TaskTracker::new();
    let server = Arc::new(Server {
        router: routes::router(edge.clone(), entrance),
        http1: http1(),
        http2: http2(),
        connections: connections.clone(),
        http2_places: Semaphore::new(limits::HTTP2_CONNECTIONS),
        edge: edge.clone(),
    });
    loop {
        let accepted = tokio::select! {
            () = edge.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                pause_after(&why, &mut warned).await;
                continue;
            }
        };
        let Some(slot) = slots.take() else {
            edge.metrics.connections_refused.inc();
            continue;
        };
        connections.spawn(server.clone().connection(stream, slot));
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_millis(limits::DRAIN_MS);
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "some connections did not end in time");
    }
}

async fn pause_after(why: &io::Error, warned: &mut Option<Instant>) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(why.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    let now = Instant::now();
    if warned.is_none_or(|at| at + Duration::from_millis(ACCEPT_WARN_MS) <= now) {
        *warned = Some(now);
        tracing::warn!(%why, "no connection can be taken now");
    }
    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEAD_MS))
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(limits::HEAD_BYTES as u32)
        .max_concurrent_streams(limits::CONNECTION_STREAMS)
        .initial_stream_window_size(limits::HTTP2_STREAM_BYTES)
        .initial_connection_window_size(limits::HTTP2_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .keep_alive_interval(Duration::from_millis(PING_MS))
        .keep_alive_timeout(Duration::from_millis(PING_MS));
    builder
}

/// What all connections share.
struct Server {
    router: Router,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    connections: TaskTracker,
    http2_places: Semaphore,
    edge: Edge,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, slot: Slot) {
        let peer = stream.peer_addr().ok().map(|peer| Peer(peer.ip()));
        // Tokens are small and must not wait for each other; where this fails the connection is dead.
        let _ = stream.set_nodelay(true);
        let head_ms = if slot.is_spare() { limits::CONNECTION_SPARE_MS } else { limits::HEAD_MS };
        let head = Duration::from_millis(head_ms);
        let begin = async {
            let carrier = match &self.edge.settings.certificate {
                None => Carrier::Left(stream),
                Some(certificate) => {
                    Carrier::Right(Box::new(certificate.acceptor().accept(stream).await?))
                }
            };
            let stall = Duration::from_millis(limits::STALL_MS);
            let mut client = Connection::new(carrier, stall, self.edge.metrics.clone());
            let speaks = client.speaks().await?;
            Ok::<_, io::Error>((client, speaks))
        };
        let looked = tokio::select! {
            looked = timeout(head, begin) => looked,
            () = self.edge.stop.cancelled() => return,
        };
        // A client that sends nothing in time is not missed.
        let Ok(Ok((client, speaks))) = looked else { return };
        match speaks {
            Speaks::Http1 if slot.is_spare() => self.turn_away(client).await,
            Speaks::Http2 if slot.is_spare() => _ = self.edge.metrics.connections_refused.inc(),
            Speaks::Http1 => self.serve_http1(client, slot, peer).await,
            Speaks::Http2 => self.serve_http2(client, peer).await,
        }
    }

    async fn serve_http1(&self, client: Connection, slot: Slot, peer: Option<Peer>) {
        let takeover = Arc::new(Takeover::default());
        let io = TokioIo::new(client.watched_by(takeover.clone()));
        let service = service_fn(|request| self.answer(request, &takeover, peer));
        let mut serving = self.http1.serve_connection(io, service);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = self.edge.stop.cancelled() => {
                Pin::new(&mut serving).graceful_shutdown();
                drained(&mut serving).await
            }
        };
        let Some(onward) = takeover.take(ended.is_ok()) else {
            if let Err(why) = ended {
                tracing::debug!(%why, "a connection broke");
            }
            return;
        };
        let parts = serving.into_parts();
        let socket = parts.io.into_inner().unwatched();
        // A task of its own is as small as what it does.
        match onward {
            Onward::Live(live) => self.connections.spawn(async move {
                let _slot = slot;
                stream::run(socket, live).await;
            }),
            Onward::Upgraded(upgraded) => self.connections.spawn(async move {
                let _slot = slot;
                upgraded(socket, parts.read_buf).await;
            }),
        };
    }

    /// Answers one request, if it is an operator's; else answers that there is no place.
    async fn turn_away(&self, client: Connection) {
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            if OPERATORS.contains(&request.uri().path()) {
                return answer(self.router.clone(), request, None).await;
            }
            self.edge.metrics.connections_refused.inc();
            let detail = "this node serves as many connections as it may; try another";
            Ok(Problem::new(&error::TOO_MANY_CONNECTIONS, detail).into_response())
        });
        let serving = http1().keep_alive(false).serve_connection(TokioIo::new(client), service);
        let _ = timeout(Duration::from_millis(limits::CONNECTION_SPARE_MS), serving).await;
    }

    async fn serve_http2(&self, client: Connection, peer: Option<Peer>) {
        let Ok(_place) = self.http2_places.try_acquire() else {
            self.edge.metrics.connections_refused.inc();
            return;
        };
        // hyper runs the requests of one connection as tasks of their own.
        let router = self.router.clone();
        let untaken = Arc::new(Untaken::default());
        let watch = untaken.clone();
        let service = service_fn(move |request| {
            let (answer, untaken) = (answer(router.clone(), request, peer), untaken.clone());
            async move {
                Ok::<_, BrokenOff>(answer.await?.map(|body| delivery::watched(&untaken, body)))
            }
        });
        let mut serving = pin!(self.http2.serve_connection(TokioIo::new(client), service));
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = watch.stalled() => {
                self.edge.metrics.slow_consumers.inc();
                return;
            }
            () = self.edge.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                drained(serving).await
            }
        };
        if let Err(why) = ended {
            tracing::debug!(%why, "a connection broke");
        }
    }

    /// Answers on HTTP/1; a live stream may take the connection over.
    async fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        takeover: &Arc<Takeover>,
        peer: Option<Peer>,
    ) -> Result<hyper::Response<Body>, BrokenOff> {
        // Before HTTP/1.1 there are no chunks, and a HEAD has no body.
        if request.version() == Version::HTTP_11 && request.method() == Method::GET {
            request.extensions_mut().insert(takeover.clone());
        }
        answer(self.router.clone(), request, peer).await
    }
}

/// Waits for a connection to end; whoever is still here after the drain is cut.
async fn drained(serving: impl Future<Output = hyper::Result<()>>) -> hyper::Result<()> {
    timeout(Duration::from_millis(limits::DRAIN_MS), serving).await.unwrap_or(Ok(()))
}

async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
    peer: Option<Peer>,
) -> Result<hyper::Response<Body>, BrokenOff> {
    let mut request: Request = request.map(Body::new);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let Ok(response) = router.oneshot(request).await;
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(BrokenOff),
        None => Ok(response),
    }
}
