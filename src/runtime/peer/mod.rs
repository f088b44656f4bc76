//! Answers the runtimes of other nodes.

pub(super) mod members;
mod outcome;
mod present;
pub(super) mod told;
mod told_people;
pub(super) mod wire;

use std::sync::{OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use cluster::host::Application;
use cluster::ids::NodeId;
use cluster::transport::{BoxFuture, Stream};
use tokio::time::Instant;

use super::Runtime;
use super::desk::Offer;
use crate::ids::{AgentName, SessionId};
use crate::session::Status;
use present::{ToldAttending, ToldNews};
use wire::{Answered, Asked};

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
            let asked = Asked::decode(&message).map_err(|error| error.to_string())?;
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

async fn answer(runtime: &Runtime, from: NodeId, asked: Asked) -> Result<Answered, String> {
    let parse = |id: &str| SessionId::parse(id).map_err(|error| error.to_string());
    let after = |within_ms: u64| Instant::now() + Duration::from_millis(within_ms.min(60_000));
    let unavailable = |error: super::Unavailable| Answered::Unavailable(error.to_string());
    Ok(match asked {
        Asked::Submit { session, command, within_ms } => {
            let deadline = after(within_ms);
            runtime.directory.submit_for_peer(&parse(&session)?, command, deadline).await
        }
        Asked::Status { session, within_ms } => {
            let status = runtime.status_here(&parse(&session)?, after(within_ms)).await;
            let told = |status: Option<Status>| status.map(|status| Box::new(status.into()));
            status.map_or_else(unavailable, |status| Answered::Status(told(status)))
        }
        Asked::List { shard, prefix, after: start, limit, within_ms } => {
            let limit = limit as usize;
            let deadline = after(within_ms);
            let lines = runtime.list_here(shard, &prefix, start.as_deref(), limit, deadline).await;
            lines.map_or_else(unavailable, Answered::Listed)
        }
        Asked::Report => Answered::Report(runtime.condition()),
        Asked::Offer { agent, within_ms } => {
            let agent = AgentName::parse(&agent).map_err(|error| error.to_string())?;
            let offer = runtime.offer_for_peer(&agent, Duration::from_millis(within_ms)).await;
            let named = |offer: Offer| (offer.session.to_string(), offer.turn.to_string());
            Answered::Offered(offer.map(named))
        }
        Asked::Present { boot, round, sessions } => {
            let sessions = sessions.into_iter().filter_map(ToldAttending::thaw).collect();
            let elsewhere = runtime.take_presence(from, (boot, round), sessions);
            let leader =
                |(shard, leader): (u32, Option<NodeId>)| (shard, leader.map(|node| node.0));
            Answered::Noted { elsewhere: elsewhere.into_iter().map(leader).collect() }
        }
        Asked::Attended { sessions } => {
            runtime.hear_presence(sessions.into_iter().filter_map(ToldNews::thaw));
            Answered::Noted { elsewhere: Vec::new() }
        }
        Asked::Company { session } => runtime.company_for_peer(&parse(&session)?),
        Asked::Serves { agent } => {
            let agent = AgentName::parse(&agent).map_err(|error| error.to_string())?;
            Answered::Serves(runtime.served.is_here(&agent))
        }
        Asked::Compare { session, next, within_ms } => {
            let copy = runtime.copy(&parse(&session)?, next, after(within_ms)).await;
            Answered::Compared { copy }
        }
        Asked::ChangeMembers(change) => {
            Answered::MembersChanged(runtime.change_members_here(&change).await)
        }
        Asked::Introduce => Answered::Introduced(runtime.introduction()),
        Asked::LedGroups => Answered::LedGroups(runtime.led_groups()),
    })
}
