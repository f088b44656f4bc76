//! Hands what peers send to the group or the application that it is for.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;

use super::Host;
use crate::ids::NodeId;
use crate::raft::{Rpc, RpcKind};
use crate::transport::{BoxFuture, Lane, Service, Stream};

/// The service that the transport is given before the host exists.
#[derive(Default)]
pub(super) struct Switchboard {
    host: OnceLock<Weak<Host>>,
}

impl Switchboard {
    pub(super) fn connect(&self, host: &Arc<Host>) {
        // It is set once, right after the host is made.
        self.host.set(Arc::downgrade(host)).ok();
    }

    fn host(&self) -> Option<Arc<Host>> {
        self.host.get()?.upgrade()
    }
}

impl Service for Switchboard {
    fn call(&self, from: NodeId, _lane: Lane, request: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let Some(host) = self.host() else {
            return Box::pin(async { Err("the node is starting".into()) });
        };
        let rpc = match Rpc::decode(request) {
            Ok(rpc) => rpc,
            Err(error) => return Box::pin(async move { Err(error.to_string()) }),
        };
        if rpc.kind == RpcKind::Application {
            return host.parts.application.call(from, rpc.body);
        }
        if rpc.kind == RpcKind::Willing {
            return Box::pin(std::future::ready(host.willing().map(|()| Bytes::new())));
        }
        if rpc.kind == RpcKind::Clocks {
            return Box::pin(std::future::ready(Ok(host.time.shown())));
        }
        match host.group(rpc.group) {
            Some(group) => group.call(rpc),
            None => Box::pin(async move { Err(format!("{} is not here", rpc.group)) }),
        }
    }

    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> BoxFuture<()> {
        let (Some(host), Ok(rpc)) = (self.host(), Rpc::decode(hello)) else {
            return Box::pin(async {});
        };
        match rpc.kind {
            RpcKind::Application => host.parts.application.stream(from, rpc.body, stream),
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
