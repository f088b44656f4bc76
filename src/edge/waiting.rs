//! What a node answers at its address while it cannot start: that it lives, that it is not ready, and why.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::error::{NO_QUORUM, Problem};
use crate::limits::{HEAD_BYTES, HEAD_MS, HEADERS};

/// Connections that are served at once meanwhile.
const CONNECTIONS: usize = 64;
/// When a client should send its request again, in seconds.
const RETRY_AFTER: &str = "1";

/// Answers every request with the reason for which the node waits, until it is dropped.
pub(crate) async fn serve(listener: &TcpListener, reason: watch::Receiver<String>) {
    let slots = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    // They end with this future.
    let mut connections = JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned().await.expect("it is never closed");
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let reason = reason.clone();
        connections.spawn(async move {
            let _slot = slot;
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let response = answer(request.uri().path(), &reason.borrow());
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_millis(HEAD_MS))
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEADERS)
                // A repeated request should go to the node that has started by then.
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever broke the connection knows.
            serving.await.ok();
        });
    }
}

fn answer(path: &str, reason: &str) -> Response<Body> {
    let mut response = match path {
        "/healthz" => axum::Json(json!({ "status": "ok" })).into_response(),
        "/readyz" => {
            let reasons = json!([{ "reason": "disk_unusable", "detail": reason }]);
            let body = axum::Json(json!({ "ready": false, "reasons": reasons }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
        _ => Problem::new(&NO_QUORUM, "this node waits for its disk; ask another one")
            .into_response(),
    };
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_node_lives_is_not_ready_and_serves_nothing() {
        for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/v1/sessions/s", 503)] {
            assert_eq!(answer(path, "full").status().as_u16(), status, "{path}");
        }
    }
}
