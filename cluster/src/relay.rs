//! Calls that go by a third node where the link to their target is cut: one hop, never two.
//!
//! The carried request is answered by the target itself, and its answer comes back unchanged; a read index that
//! came by a third is as good as any. Raft's own messages go by direct links alone: their order matters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::codec;
use crate::ids::NodeId;
use crate::raft::{Rpc, RpcKind, WIRE_VERSION};
use crate::transport::{BoxFuture, CallError, Lane, Transport};

/// A call on its way by a third.
#[derive(Serialize, Deserialize)]
struct Carried {
    /// Who sent the request.
    from: u64,
    to: u64,
    within_ms: u64,
    /// The call as it would have gone there directly.
    call: Bytes,
}

/// The result that the third node reports.
#[derive(Serialize, Deserialize)]
enum Came {
    Answered(Bytes),
    Refused(String),
    /// It never left the third.
    Unreachable(String),
    Unknown(String),
}

/// What a node is to do with a call that came by another.
pub(crate) enum Arrived {
    /// It is for this node, and this node requests it.
    Here(NodeId, Rpc),
    /// It is for another node; this resolves with its answer.
    Passed(BoxFuture<Result<Bytes, String>>),
}

/// Calls `to`, by a third if no link to it lives. The frame takes its place in the lane when this is invoked.
pub(crate) fn call(
    transport: Arc<dyn Transport>,
    to: NodeId,
    lane: Lane,
    rpc: Rpc,
    deadline: Duration,
) -> BoxFuture<Result<Bytes, CallError>> {
    let until = Instant::now() + deadline;
    let direct = transport.call(to, lane, rpc.encode(), deadline);
    async move {
        match direct.await {
            Err(CallError::Unreachable(_)) if !transport.connected().contains(&to) => {
                by_third(&*transport, to, lane, &rpc, until).await
            }
            answer => answer,
        }
    }
    .boxed()
}

/// Calls `to` by the first other node that has a link to it.
pub(crate) async fn by_third(
    transport: &dyn Transport,
    to: NodeId,
    lane: Lane,
    rpc: &Rpc,
    until: Instant,
) -> Result<Bytes, CallError> {
    let mut last = CallError::Unreachable(format!("no link to {to}, and nobody to go by"));
    for third in transport.connected().into_iter().filter(|third| *third != to) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let (from, call) = (transport.local().0, rpc.encode());
        let carried = Carried { from, to: to.0, within_ms, call };
        let carried = codec::encode(WIRE_VERSION, &carried);
        let carried = Rpc::new(RpcKind::Relayed, rpc.group, carried).encode();
        let came = match transport.call(third, lane, carried, left).await {
            Ok(came) => codec::decode::<Came>(WIRE_VERSION, &came)
                .unwrap_or_else(|error| Came::Unknown(error.to_string())),
            // It did not take the call.
            Err(CallError::Refused(text) | CallError::Unreachable(text)) => Came::Unreachable(text),
            Err(error) => return Err(error),
        };
        match came {
            Came::Answered(answer) => return Ok(answer),
            Came::Refused(text) => return Err(CallError::Refused(text)),
            Came::Unknown(text) => return Err(CallError::Lost(text)),
            Came::Unreachable(text) => last = CallError::Unreachable(text),
        }
    }
    Err(last)
}

/// Takes a call that came by a third, or is to go on from here. It has its place in the lane when this
/// returns.
///
/// # Errors
/// It is none that may go by a third; nothing was done.
pub(crate) fn arrived(
    transport: &Arc<dyn Transport>,
    lane: Lane,
    message: Bytes,
) -> Result<Arrived, String> {
    let rpc = Rpc::decode(message.clone()).map_err(|error| error.to_string())?;
    let carried: Carried =
        codec::decode(WIRE_VERSION, &rpc.body).map_err(|error| error.to_string())?;
    let inner = Rpc::decode(carried.call).map_err(|error| error.to_string())?;
    if !matches!(inner.kind, RpcKind::ReadIndex | RpcKind::Application) {
        return Err("no message that goes by a third".into());
    }
    if carried.to == transport.local().0 {
        return Ok(Arrived::Here(NodeId(carried.from), inner));
    }
    let within = Duration::from_millis(carried.within_ms);
    let request = transport.call(NodeId(carried.to), lane, message, within);
    Ok(Arrived::Passed(
        async move {
            let came = match request.await {
                Ok(answer) => Came::Answered(answer),
                Err(CallError::Refused(text)) => Came::Refused(text),
                Err(error @ (CallError::Unreachable(_) | CallError::TooLarge)) => {
                    Came::Unreachable(error.to_string())
                }
                Err(error) => Came::Unknown(error.to_string()),
            };
            Ok(codec::encode(WIRE_VERSION, &came).into())
        }
        .boxed(),
    ))
}
