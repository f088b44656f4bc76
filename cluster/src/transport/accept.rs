//! Takes links that peers dial.

use std::{sync::Arc, time::Duration};

use quinn::{Endpoint, Incoming};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    handshake::{self, GreetError, Greeted},
    link,
    quic::Core,
};
use crate::limits::HANDSHAKES;

/// One handshake, from the first packet to the welcome.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The same complaint about strangers is repeated after this.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Takes links until the endpoint closes.
pub(super) async fn run(core: Arc<Core>, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(place) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let core = core.clone();
        let (tasks, handle, stop) =
            (core.tasks.clone(), core.drivers.handle.clone(), core.stop.clone());
        let greet = async move {
            stop.run_until_cancelled(greet(core, incoming)).await;
            drop(place);
        };
        tasks.spawn_on(greet, &handle);
    }
}

async fn greet(core: Arc<Core>, incoming: Incoming) {
    let addr = incoming.remote_address();
    let greeting = async {
        let connection = incoming.await.map_err(|error| GreetError::Failed(error.to_string()))?;
        handshake::accepted(connection, &core.own, &core.gate).await
    };
    let reason = match timeout(HANDSHAKE, greeting).await {
        Ok(Ok(greeted)) => return take(&core, greeted),
        Ok(Err(GreetError::Refused(by, reason))) => {
            core.gate.refused(by, reason.clone());
            format!("{by} refused us: {reason}")
        }
        Ok(Err(GreetError::Failed(reason))) => reason,
        Err(_) => format!("no welcome within {HANDSHAKE:?}"),
    };
    let node = core.own.node;
    if core.first_complaint(&reason, Instant::now(), COMPLAINT) {
        tracing::warn!(%node, %addr, reason, "a link was not taken");
    } else {
        tracing::debug!(%node, %addr, reason, "a link was not taken");
    }
}

fn take(core: &Arc<Core>, greeted: Greeted) {
    let peer = core.peer(greeted.peer.node);
    link::start(core, &peer, greeted);
}
