//! How a node that starts is let back in: it reports to each peer how far it durably is, and exchanges no
//! other Raft messages with a peer before that peer has found that nothing is missing.
//!
//! So a node whose disk was rolled back neither votes nor acknowledges where anybody knows better. It ends
//! when it is shown its own announcement under its own seal; what a peer reports without that costs the link to that
//! peer. Later news of its position goes to all peers, also to those that lead nothing it is in: whoever is left when
//! others are down remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Host;
use super::acknowledged::{self, Announcement, Matched, Verdict};
use crate::blocking::off_thread;
use crate::home::Refusals;
use crate::ids::{GroupId, NodeId};
use crate::journal::Journal;
use crate::limits::{
    ACKNOWLEDGED_INTERVAL, ANNOUNCE_DEADLINE, ANNOUNCE_FIRST, ANNOUNCE_INTERVAL, ANNOUNCE_SOON,
};
use crate::raft::{Position, Rpc, RpcKind};
use crate::seal::Sealer;
use crate::transport::{BoxFuture, CallError, Lane, Stream, Transport};

pub(super) type Positions = BTreeMap<GroupId, Position>;

/// Who has let this node in.
pub(super) struct Rejoin {
    /// Recognises this node's own announcements.
    sealer: Sealer,
    /// The last report that each peer accepted; none where it must be sent again.
    reported: Mutex<BTreeMap<NodeId, Option<Positions>>>,
    /// Who reports without a proof that this node has less than it acknowledged.
    words: Mutex<Refusals>,
    /// Why this node must not go on.
    refused: watch::Sender<Option<String>>,
    /// A peer has started.
    again: Notify,
}

impl Rejoin {
    pub(super) fn new(sealer: Sealer) -> Rejoin {
        Rejoin {
            sealer,
            reported: Mutex::default(),
            words: Mutex::default(),
            refused: watch::Sender::default(),
            again: Notify::new(),
        }
    }

    /// Whether Raft's messages may go to and come from `peer`.
    pub(super) fn lets_in(&self, peer: NodeId) -> bool {
        self.refused.borrow().is_none() && self.reported().contains_key(&peer)
    }

    pub(super) fn refused(&self) -> watch::Receiver<Option<String>> {
        self.refused.subscribe()
    }

    pub(super) fn accusers(&self) -> Vec<NodeId> {
        self.words.lock().expect("no panic happens under this lock").of_data().collect()
    }

    fn reported(&self) -> MutexGuard<'_, BTreeMap<NodeId, Option<Positions>>> {
        self.reported.lock().expect("no panic happens under this lock")
    }

    /// Takes a peer's verdict on `positions`; `now` is what this node has; only members count.
    fn hear(
        &self,
        peer: NodeId,
        positions: Positions,
        verdict: Verdict,
        now: &Positions,
        (local, members): (NodeId, &BTreeSet<NodeId>),
    ) {
        let mut words = self.words.lock().expect("no panic happens under this lock");
        let Verdict::Behind { reason, proof } = verdict else {
            words.forget(peer);
            let first = self.reported().insert(peer, Some(positions)).is_none();
            if first {
                tracing::debug!(%peer, "the peer lets this node in");
            }
            return;
        };
        self.reported().remove(&peer);
        if proof.is_some_and(|proof| proof.holds(&self.sealer, now)) {
            tracing::error!(%peer, reason, "a peer shows that this node has less than it acknowledged");
            self.refused.send_replace(Some(format!("{peer} refuses this node: {reason}")));
            return;
        }
        if words.note(peer, &reason) {
            tracing::error!(%peer, reason, "a peer refuses this node, and shows no proof");
        }
        if let Some(reason) = words.outcast(local, members) {
            self.refused.send_replace(Some(reason));
        }
    }
}

/// Answers a peer's announcement.
pub(super) fn answer(host: &Host, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
    let announcement = Announcement::decode(body).map_err(|error| error.to_string())?;
    let matched = |id: GroupId| {
        let report = host.group(id)?.report();
        let index = report.matched.get(&from).copied().flatten()?;
        let leads = report.leader == Some(host.local());
        leads.then_some(Matched { term: report.term, leader: host.local(), index })
    };
    let (verdict, started) = host.acknowledged.judge(from, &announcement, matched);
    if started && verdict == Verdict::Complete {
        // Its memory of us may have been lost with its last moments.
        if let Some(reported) = host.rejoin.reported().get_mut(&from) {
            *reported = None;
        }
        host.rejoin.again.notify_one();
    }
    Ok(verdict.encode())
}

/// Reports to peers how far this node durably is, until it is dropped; at first that is `durable`.
pub(super) async fn run(host: Arc<Host>, mut durable: Positions) {
    let (journal, boot) = (host.journal().clone(), host.boot());
    let (mut requested, mut asking) = (BTreeSet::new(), FuturesUnordered::new());
    let (began, mut saved, mut round) = (Instant::now(), Instant::now(), 0);
    while host.rejoin.refused.borrow().is_none() {
        if let Some(reached) = reached(&journal, &durable).await {
            durable = reached;
        }
        for peer in host.transport.connected() {
            let knows = host
                .rejoin
                .reported()
                .get(&peer)
                .is_some_and(|reported| reported.as_ref() == Some(&durable));
            if knows || !requested.insert(peer) {
                continue;
            }
            round += 1;
            let (store, begins) = (host.parts.store, !host.rejoin.lets_in(peer));
            let positions = durable.clone();
            let seals = acknowledged::seal(&host.rejoin.sealer, &positions);
            let announcement = Announcement { store, boot, round, begins, positions, seals };
            asking.push(ask(host.transport.clone(), peer, announcement));
        }
        let pause =
            if began.elapsed() < ANNOUNCE_FIRST { ANNOUNCE_SOON } else { ANNOUNCE_INTERVAL };
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                Some((peer, positions, verdict)) = asking.next() => {
                    requested.remove(&peer);
                    if let Some(verdict) = verdict {
                        let members = host.members();
                        let counted = (host.local(), &members);
                        host.rejoin.hear(peer, positions, verdict, &durable, counted);
                    }
                }
                () = host.rejoin.again.notified() => break,
                () = sleep_until(until) => break,
            }
        }
        if ACKNOWLEDGED_INTERVAL <= saved.elapsed() {
            saved = Instant::now();
            save(&host).await;
        }
    }
}

/// Writes what peers acknowledged.
pub(super) async fn save(host: &Arc<Host>) {
    let saving = host.clone();
    let saved = off_thread(move || saving.acknowledged.save()).await;
    if let Err(error) = saved.and_then(|saved| saved) {
        tracing::warn!(%error, "what peers acknowledged was not written");
    }
}

fn ask(
    transport: Arc<dyn Transport>,
    peer: NodeId,
    announcement: Announcement,
) -> impl Future<Output = (NodeId, Positions, Option<Verdict>)> {
    let rpc = Rpc::new(RpcKind::Position, GroupId::SYSTEM, announcement.encode()).encode();
    let call = transport.call(peer, Lane::Control, rpc, ANNOUNCE_DEADLINE);
    async move {
        // One that does not answer is sent the report again.
        let verdict = call.await.ok().and_then(|answer| Verdict::decode(&answer).ok());
        (peer, announcement.positions, verdict)
    }
}

/// Where every group stands as the journal has accepted it.
pub(super) fn positions(journal: &Journal) -> Option<Positions> {
    let position = |group| Some((group, Position::of(journal, group).ok()?));
    journal.groups().into_iter().map(position).collect()
}

/// Where the groups stand now, once that is durable; none while nothing is new, or the disk is full.
async fn reached(journal: &Journal, before: &Positions) -> Option<Positions> {
    let now = positions(journal).filter(|now| now != before)?;
    let (sender, synced) = oneshot::channel();
    let (group, _) = now.first_key_value()?;
    // Nothing to write: this only waits for what is before it.
    journal.append(*group, Vec::new(), Box::new(move |result| drop(sender.send(result)))).ok()?;
    let synced = timeout(ANNOUNCE_INTERVAL, synced).await.ok()?.ok()?;
    synced.is_ok().then_some(now)
}

/// The transport as groups see it: only peers that have let this node in are there.
pub(super) struct Introduced {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) rejoin: Arc<Rejoin>,
}

impl Introduced {
    fn check(&self, to: NodeId) -> Result<(), CallError> {
        match self.rejoin.lets_in(to) {
            true => Ok(()),
            false => Err(CallError::Unreachable(format!("{to} has not let this node in yet"))),
        }
    }
}

impl Transport for Introduced {
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<Result<Bytes, CallError>> {
        match self.check(to) {
            Ok(()) => self.transport.call(to, lane, request, deadline),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn tell(&self, to: NodeId, lane: Lane, note: Bytes) {
        if self.check(to).is_ok() {
            self.transport.tell(to, lane, note);
        }
    }

    fn open(
        &self,
        to: NodeId,
        priority: i32,
        hello: Bytes,
    ) -> BoxFuture<Result<Stream, CallError>> {
        match self.check(to) {
            Ok(()) => self.transport.open(to, priority, hello),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn set_peer(&self, id: NodeId, addr: String) {
        self.transport.set_peer(id, addr);
    }

    fn remove_peer(&self, id: NodeId) {
        self.transport.remove_peer(id);
    }

    fn connected(&self) -> Vec<NodeId> {
        self.transport.connected()
    }

    fn local(&self) -> NodeId {
        self.transport.local()
    }

    fn shutdown(&self) -> BoxFuture<()> {
        self.transport.shutdown()
    }
}
