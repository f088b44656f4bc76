//! WebSockets (RFC 6455): the verbs and events of the native API on one connection.
//!
//! `handshake` takes the connection over, `pieces` takes frames as their bytes come, `socket`
//! carries texts within bounds (S10). `people` serves many sessions on one connection: `parse`
//! parses what a client sends, `subscription` is one attached session. `worker` serves a worker of
//! agents.

mod handshake;
mod parse;
mod people;
mod pieces;
mod socket;
mod subscription;
mod worker;

use std::sync::Arc;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::Response;

pub(in crate::edge) use self::handshake::accept;
use self::people::People;
pub(in crate::edge) use self::socket::{CloseReason, Received, SocketReceiver, SocketSender};
use super::Edge;
use super::error::Problem;
use super::gate::By;
use super::query::Query;
use super::takeover::Takeover;
use crate::edge::State;

/// `GET /v1/ws`
pub(super) async fn people(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let limit = crate::limits::SOCKET_FRAME_BYTES;
    handshake::accept(&edge.clone(), &headers, takeover, limit, |(receiver, sender)| async {
        People::new(edge, caller, sender).run(receiver).await;
    })
}

/// `GET /v1/agents/ws`
pub(super) async fn workers(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let limit = crate::limits::STRANGER_FRAME_BYTES;
    handshake::accept(&edge.clone(), &headers, takeover, limit, |(receiver, sender)| async {
        worker::run(edge, caller, receiver, sender).await;
    })
}
