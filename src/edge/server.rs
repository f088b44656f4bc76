//! Connections: taken within a limit, served with limits, and let go in peace.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::stall::Impatient;
use super::{Edge, HangUp, routes};
use crate::limits;

/// Pause after a failed accept: the process is short of something, most likely file descriptors.
const ACCEPT_PAUSE_MS: u64 = 50;
/// What one HTTP/2 stream may hold back from a client that is slow to take it, in bytes.
const STREAM_SEND_BYTES: usize = 64 << 10;
/// How often an HTTP/2 client is asked whether it is still there, in milliseconds.
const PING_MS: u64 = 20_000;

/// A handler asked for the connection to break.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken off on purpose")]
struct BrokenOff;

/// Takes connections until the node stops, then waits for those that run.
pub(super) async fn run(listener: TcpListener, edge: Edge) {
    let router = routes::router(edge.clone());
    let http = Arc::new(builder());
    let seats = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = edge.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                pause_after(&why).await;
                continue;
            }
        };
        let Ok(seat) = seats.clone().try_acquire_owned() else {
            edge.metrics.connections_refused.inc();
            continue;
        };
        let (edge, router, http) = (edge.clone(), router.clone(), http.clone());
        connections.spawn(connection(stream, seat, edge, router, http));
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_millis(limits::DRAIN_MS);
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "some connections did not end in time");
    }
}

async fn pause_after(why: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(why.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::warn!(%why, "no connection can be taken now");
    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEAD_MS))
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits::HEAD_BYTES as u32)
        .max_concurrent_streams(limits::CONNECTION_STREAMS)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .keep_alive_interval(Duration::from_millis(PING_MS))
        .keep_alive_timeout(Duration::from_millis(PING_MS));
    builder
}

async fn connection(
    stream: TcpStream,
    seat: OwnedSemaphorePermit,
    edge: Edge,
    router: Router,
    http: Arc<Builder<TokioExecutor>>,
) {
    // Tokens are small and must not wait for each other; where this fails the connection is dead.
    let _ = stream.set_nodelay(true);
    edge.metrics.connections.inc();
    let service =
        service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), request));
    let stall = Duration::from_millis(limits::STALL_MS);
    let io = TokioIo::new(Impatient::new(stream, stall, edge.metrics.clone()));
    {
        let mut serving = pin!(http.serve_connection(io, service));
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = edge.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                // Whoever is still here after the drain is cut.
                let drain = Duration::from_millis(limits::DRAIN_MS);
                timeout(drain, serving).await.unwrap_or(Ok(()))
            }
        };
        if let Err(why) = ended {
            tracing::debug!(why, "a connection broke");
        }
    }
    edge.metrics.connections.dec();
    drop(seat);
}

async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, BrokenOff> {
    let request: Request = request.map(Body::new);
    let Ok(response) = router.oneshot(request).await;
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(BrokenOff),
        None => Ok(response),
    }
}
