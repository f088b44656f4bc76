//! Answers the runtimes of other nodes. `wire` and `members` are the messages.

pub(super) mod members;
pub(super) mod wire;

use std::sync::{OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use cluster::host::Application;
use cluster::ids::NodeId;
use cluster::transport::{BoxFuture, Stream};
use tokio::time::Instant;

use super::Runtime;
use super::envelope;
use super::turn_queue::Offer;
use wire::{Request, Response};

/// The door for peers; the runtime moves in behind it.
#[derive(Default)]
pub(super) struct Door {
    runtime: OnceLock<Weak<Runtime>>,
}

impl Door {
    pub(super) fn open(&self, runtime: Weak<Runtime>) {
        // It is opened once, at the start.
        self.runtime.set(runtime).ok();
    }
}

impl Application for Door {
    fn call(&self, from: NodeId, message: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let runtime = self.runtime.get().and_then(Weak::upgrade);
        Box::pin(async move {
            let runtime = runtime.ok_or("the node is starting")?;
            let asked = Request::decode(&message).map_err(|error| error.to_string())?;
            Ok(answer(&runtime, from, asked).await?.encode())
        })
    }

    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> BoxFuture<()> {
        let runtime = self.runtime.get().and_then(Weak::upgrade);
        Box::pin(async move {
            if let Some(runtime) = runtime {
                super::relay::serve(&runtime, from, &hello, stream).await;
            }
        })
    }
}

async fn answer(runtime: &Runtime, from: NodeId, request: Request) -> Result<Response, String> {
    let after = |within_ms: u64| Instant::now() + Duration::from_millis(within_ms.min(60_000));
    let unavailable = |error: super::Unavailable| Response::Unavailable(error.to_string());
    Ok(match request {
        Request::Submit { session, command, within_ms } => {
            let deadline = after(within_ms);
            let class = envelope::class(&command).map_err(|error| error.to_string())?;
            runtime.directory.submit_for_peer(&session, class, command, deadline).await
        }
        Request::Status { session, within_ms } => {
            let status = runtime.status_here(&session, after(within_ms)).await;
            status.map_or_else(unavailable, |status| Response::Status(status.map(Box::new)))
        }
        Request::List { shard, prefix, after: start, limit, within_ms } => {
            let limit = limit as usize;
            let deadline = after(within_ms);
            let lines = runtime.list_here(shard, &prefix, start.as_deref(), limit, deadline).await;
            lines.map_or_else(unavailable, Response::Listed)
        }
        Request::Report => Response::Report(runtime.condition()),
        Request::Offer { agent, within_ms } => {
            let offer = runtime.offer_for_peer(&agent, Duration::from_millis(within_ms)).await;
            Response::Offered(offer.map(|offer: Offer| (offer.session, offer.turn)))
        }
        Request::Present { boot, round, sessions } => {
            Response::Noted { elsewhere: runtime.take_presence(from, (boot, round), &sessions) }
        }
        Request::Attended { sessions } => {
            runtime.hear_presence(sessions.into_iter());
            Response::Noted { elsewhere: Vec::new() }
        }
        Request::PresenceSnapshot { session } => runtime.company_for_peer(&session),
        Request::Serves { agent } => Response::Serves(runtime.served.is_here(&agent)),
        Request::Compare { session, next, within_ms } => {
            let copy = runtime.copy(&session, next, after(within_ms)).await;
            Response::Compared { copy }
        }
        Request::ChangeMembers(change) => {
            Response::MembersChanged(runtime.change_members_here(&change).await)
        }
        Request::Introduce => Response::Introduced(runtime.introduction()),
        Request::LedGroups => Response::LedGroups(runtime.led_groups()),
    })
}
