//! Hands what peers send to the group or the application that it is for.

use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::{Application, Host, rejoin};
use crate::ids::{MapVersion, NodeId};
use crate::raft::{Rpc, RpcKind};
use crate::relay::{self, Arrived};
use crate::transport::{BoxFuture, Lane, Service, Stream};

/// The service that the transport is given before the host exists. It answers while the node runs.
#[derive(Default)]
pub(super) struct Switchboard {
    running: RwLock<Option<Running>>,
}

/// Who answers.
#[derive(Clone)]
struct Running {
    host: Arc<Host>,
    application: Arc<dyn Application>,
}

impl Switchboard {
    /// Lets these two answer, until [`Switchboard::disconnect`].
    pub(super) fn connect(&self, host: &Arc<Host>, application: Arc<dyn Application>) {
        self.set(Some(Running { host: host.clone(), application }));
    }

    /// Lets go of the host, whose transport has this service.
    pub(super) fn disconnect(&self) {
        self.set(None);
    }

    fn set(&self, running: Option<Running>) {
        *self.running.write().expect("no panic under this lock") = running;
    }

    fn running(&self) -> Option<Running> {
        self.running.read().expect("no panic under this lock").clone()
    }
}

impl Service for Switchboard {
    fn call(&self, from: NodeId, lane: Lane, request: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let Some(running) = self.running() else { return refuse("the node does not run") };
        let host = &running.host;
        // A link may have been there before its peer was removed.
        if let Err(reason) = host.parts.removed.admit(from) {
            return refuse(reason);
        }
        match Rpc::decode(request.clone()) {
            Ok(rpc) if rpc.kind == RpcKind::Relayed => {
                match relay::arrived(&host.transport, lane, request) {
                    Ok(Arrived::Here(origin, rpc)) => match host.parts.removed.admit(origin) {
                        Ok(()) => serve(&running, origin, rpc),
                        Err(reason) => refuse(reason),
                    },
                    Ok(Arrived::Passed(answer)) => answer,
                    Err(error) => refuse(error),
                }
            }
            Ok(rpc) => serve(&running, from, rpc),
            Err(error) => refuse(error.to_string()),
        }
    }

    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> BoxFuture<()> {
        let (Some(Running { host, application }), Ok(rpc)) = (self.running(), Rpc::decode(hello))
        else {
            return Box::pin(async {});
        };
        if host.parts.removed.contains(from) {
            return Box::pin(async {});
        }
        match rpc.kind {
            RpcKind::Application => application.stream(from, rpc.body, stream),
            RpcKind::Snapshot if !host.rejoin.lets_in(from) => Box::pin(async {}),
            RpcKind::Snapshot => match host.group(rpc.group) {
                Some(group) => {
                    Box::pin(async move { group.receive_snapshot(rpc.body, stream).await })
                }
                None => Box::pin(async {}),
            },
            _ => Box::pin(async {}),
        }
    }
}

fn refuse(why: impl Into<String>) -> BoxFuture<Result<Bytes, String>> {
    Box::pin(std::future::ready(Err(why.into())))
}

/// Lets the one answer that a message is for.
fn serve(running: &Running, from: NodeId, rpc: Rpc) -> BoxFuture<Result<Bytes, String>> {
    let Running { host, application } = running;
    match rpc.kind {
        RpcKind::Application => application.call(from, rpc.body),
        RpcKind::Willing => Box::pin(std::future::ready(host.willing().map(|()| Bytes::new()))),
        RpcKind::Clocks => Box::pin(std::future::ready(Ok(host.time.shown()))),
        RpcKind::Born if host.map.borrow().version == MapVersion::NONE => {
            refuse("no map was agreed on yet")
        }
        RpcKind::Born => Box::pin(std::future::ready(Ok(Bytes::new()))),
        RpcKind::Position => Box::pin(std::future::ready(rejoin::answer(host, from, &rpc.body))),
        _ if !host.rejoin.lets_in(from) => refuse("this node is not let in yet by who asks"),
        _ => match host.group(rpc.group) {
            Some(group) if rpc.kind == RpcKind::Dropped => {
                let dropped = group.has_dropped(from).then(Bytes::new);
                let answer = dropped.ok_or_else(|| format!("{from} may be a member"));
                Box::pin(std::future::ready(answer))
            }
            Some(group) => group.call(rpc),
            None => refuse(format!("{} is not here", rpc.group)),
        },
    }
}
