//! Reports to leaders of who is attached here, and to nodes of who is present: one round after another.
//!
//! A round sends what has not arrived yet, to each node at most one message at a time, so that what is
//! sent late is old news and never wrong for long. A node that does not answer holds up no other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cluster::ids::{GroupId, NodeId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::Presence;
use super::local::{Attending, Leader};
use super::table::{News, Order};
use crate::ids::SessionId;
use crate::limits::{ATTENDANCE_REPORT, ATTENDANCE_ROUND, PEER_PATIENCE, SWEEP_INTERVAL};
use crate::runtime::chance::Map;
use crate::runtime::peer::wire::{Request, Response};
use crate::runtime::session::Mail;

/// A shard that is led elsewhere, perhaps there.
type Elsewhere = (u32, Option<NodeId>);

/// A notification to a node, and what follows when it has arrived.
enum Message {
    /// To a leader.
    Attending(Leader, Vec<Attending>),
    /// From a leader.
    News(NodeId, Vec<News>),
}

/// Which messages are under way: one of a kind to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    ToLeader(NodeId),
    FromLeader(NodeId),
}

impl Message {
    fn lane(&self) -> Lane {
        match self {
            Message::Attending(leader, _) => Lane::ToLeader(leader.node),
            Message::News(node, _) => Lane::FromLeader(*node),
        }
    }
}

/// What a round remembers for the next.
#[derive(Default)]
struct Gossip {
    busy: HashSet<Lane>,
    /// Who leads a shard that has no replica here, as its nodes answered.
    hints: HashMap<u32, NodeId>,
    /// Counts attempts, so that another replica gets each one.
    attempts: usize,
    round: u64,
    swept: Option<Instant>,
}

/// Sends and receives reports, until it is dropped.
pub(in crate::runtime) async fn run(presence: Arc<Presence>) {
    let (shortest, longest) = ATTENDANCE_ROUND;
    let mut rounds = Gossip::default();
    let mut calls = FuturesUnordered::new();
    let mut last = Instant::now();
    // Whether a report waits to be sent: what gathers meanwhile goes in the same round.
    let mut woken = false;
    loop {
        let pause = if woken { shortest } else { longest };
        tokio::select! {
            () = sleep_until(last + pause) => {
                (last, woken) = (Instant::now(), false);
                for message in rounds.next(&presence, last) {
                    calls.push(send(presence.clone(), message, rounds.order(&presence)));
                }
            }
            () = presence.wake.notified(), if !woken => woken = true,
            Some((message, answer)) = calls.next() => {
                // A node that did not take it gets it again in the next round, and no sooner.
                woken |= answer.as_ref().is_some_and(Vec::is_empty);
                rounds.received(&presence, &message, answer);
            }
        }
    }
}

/// Sends one message to one node; returns none where it may not have arrived.
async fn send(
    presence: Arc<Presence>,
    message: Message,
    order: Order,
) -> (Message, Option<Vec<Elsewhere>>) {
    let local = presence.host.local();
    let answer = match &message {
        Message::Attending(leader, attending) if leader.node == local => {
            Some(presence.take(local, order, attending))
        }
        Message::News(node, news) if *node == local => {
            presence.hear(news.iter().cloned());
            Some(Vec::new())
        }
        Message::Attending(leader, attending) => {
            let (boot, round) = order;
            let sessions = attending.clone();
            tell(&presence, leader.node, &Request::Present { boot, round, sessions }).await
        }
        Message::News(node, news) => {
            let sessions = news.clone();
            tell(&presence, *node, &Request::Attended { sessions }).await
        }
    };
    (message, answer)
}

async fn tell(presence: &Presence, node: NodeId, request: &Request) -> Option<Vec<Elsewhere>> {
    match presence.directory.ask(node, request, PEER_PATIENCE).await {
        Ok(Response::Noted { elsewhere }) => Some(elsewhere),
        _ => None,
    }
}

impl Gossip {
    fn order(&mut self, presence: &Presence) -> Order {
        self.round += 1;
        (presence.boot, self.round)
    }

    /// What is to be sent now, to nodes that have nothing to answer.
    fn next(&mut self, presence: &Presence, now: Instant) -> Vec<Message> {
        self.sweep(presence, now);
        let mut attending: Map<(NodeId, u64), (Leader, Vec<Attending>)> = Map::default();
        for (leader, report) in
            presence.local.due_reports(now, |shard| self.leader(presence, shard))
        {
            let key = (leader.node, leader.term);
            attending.entry(key).or_insert_with(|| (leader, Vec::new())).1.push(report);
        }
        let mut news: BTreeMap<NodeId, Vec<News>> = BTreeMap::new();
        for (node, report) in presence.table.news(now) {
            news.entry(node).or_default().push(report);
        }
        let attending = attending.into_values();
        let attending = attending.map(|(leader, all)| {
            Message::Attending(leader, up_to(all, |report| report.links.len()))
        });
        let news = news.into_iter().map(|(node, all)| {
            Message::News(node, up_to(all, |report| report.company.people.len()))
        });
        let free = |message: &Message| self.busy.insert(message.lane());
        attending.chain(news).filter(free).collect()
    }

    /// Forgets what expired, and lets sessions look at whether they know who watches.
    fn sweep(&mut self, presence: &Presence, now: Instant) {
        let led = presence.host.groups().into_iter().filter(|group| group.leads());
        let led = led.map(|group| (group.id().0, group.report().term)).collect();
        for shard in presence.table.lead(&led, now) {
            presence.look_at_audiences(shard);
        }
        if self.swept.is_none_or(|swept| SWEEP_INTERVAL <= now.duration_since(swept)) {
            self.swept = Some(now);
            let changed = presence.table.expire(now);
            changed.iter().for_each(|id| presence.look_at_audience(id));
        }
    }

    /// Who leads a shard, as far as is known.
    fn leader(&self, presence: &Presence, shard: u32) -> Option<Leader> {
        let group = GroupId(shard);
        if let Some(group) = presence.host.group(group) {
            let term = group.report().term;
            return group.leader().map(|node| Leader { node, term });
        }
        let known = self.hints.get(&shard).copied();
        let replicas = presence.directory.replicas(group);
        let request = replicas.get(self.attempts % replicas.len().max(1)).copied();
        known.or(request).map(|node| Leader { node, term: 0 })
    }

    fn received(&mut self, presence: &Presence, message: &Message, answer: Option<Vec<Elsewhere>>) {
        self.busy.remove(&message.lane());
        match (message, answer) {
            (Message::Attending(leader, report), Some(elsewhere)) => {
                for (shard, leader) in &elsewhere {
                    match leader {
                        Some(leader) => _ = self.hints.insert(*shard, *leader),
                        None => _ = self.hints.remove(shard),
                    }
                    self.attempts += 1;
                }
                let taken =
                    |report: &&Attending| !elsewhere.iter().any(|(s, _)| *s == report.shard);
                let taken = report.iter().filter(taken);
                presence.local.mark_reported(*leader, taken, Instant::now());
            }
            (Message::Attending(leader, _), None) => {
                self.hints.retain(|_, node| *node != leader.node);
                self.attempts += 1;
            }
            (Message::News(node, news), Some(_)) => presence.table.received(*node, news),
            (Message::News(..), None) => {}
        }
    }
}

/// As many as one message carries, by what each holds; the rest comes with the next.
fn up_to<T>(mut all: Vec<T>, weight: impl Fn(&T) -> usize) -> Vec<T> {
    let mut sum = 0;
    let fits = all.iter().take_while(|report| {
        sum += 1 + weight(report);
        sum <= ATTENDANCE_REPORT
    });
    // One alone is always sent.
    let count = fits.count().max(1);
    all.truncate(count);
    all
}

impl Presence {
    /// Takes a node's report of its attachments, and returns which shards are led elsewhere.
    pub(in crate::runtime) fn take(
        &self,
        from: NodeId,
        order: Order,
        sessions: &[Attending],
    ) -> Vec<Elsewhere> {
        let mut elsewhere: BTreeMap<u32, Option<NodeId>> = BTreeMap::new();
        let mut changed = Vec::new();
        for Attending { id, links, has, .. } in sessions {
            let Some(shard) = self.directory.group_of(id) else { continue };
            match self.host.group(shard) {
                Some(group) if group.leads() => {
                    let now = Instant::now();
                    if self.table.take((id, shard.0), from, order, links.clone(), *has, now) {
                        changed.push(id);
                    }
                }
                group => {
                    let local = self.host.local();
                    let leader = group.and_then(|group| group.leader());
                    elsewhere.insert(shard.0, leader.filter(|leader| *leader != local));
                }
            }
        }
        if !changed.is_empty() {
            self.wake.notify_one();
        }
        changed.iter().for_each(|id| self.look_at_audience(id));
        elsewhere.into_iter().collect()
    }

    /// Takes the reports of leaders of who is present.
    pub(in crate::runtime) fn hear(&self, news: impl Iterator<Item = News>) {
        for News { id, stamp, company } in news {
            self.local.hear(&id, stamp, company);
        }
    }

    /// Lets a session look at whether it knows who watches.
    fn look_at_audience(&self, id: &SessionId) {
        if let Some((group, shard)) = self.directory.local(id) {
            shard.actors().send(id, Mail::Due { group, filed: None });
        }
    }

    /// The same for all that are live in a shard.
    fn look_at_audiences(&self, shard: u32) {
        let group = GroupId(shard);
        if let Some((group, shard)) = self.host.group(group).zip(self.shards.get(group)) {
            shard.actors().send_all(|| Mail::Due { group: group.clone(), filed: None });
        }
    }
}
