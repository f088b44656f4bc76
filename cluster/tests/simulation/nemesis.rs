//! What goes wrong: power cuts, kills, partitions, full and failing disks, moved leads, checkpoints.

use std::time::Duration;

use cluster::home::Home;
use cluster::ids::{GroupId, NodeId};
use cluster::transport::Gate;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::record::Record;
use crate::run::Hosts;
use crate::support::World;

const CLUSTER: &str = "simulated";

pub(crate) struct Nemesis {
    pub(crate) world: World,
    pub(crate) hosts: Hosts,
    pub(crate) record: Record,
    pub(crate) rng: SmallRng,
    pub(crate) nodes: u64,
    pub(crate) groups: u32,
    /// Which misfortunes this seed has.
    pub(crate) wipes: bool,
    pub(crate) disks: bool,
}

impl Nemesis {
    fn pause(&mut self, low_ms: u64, high_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(low_ms..high_ms))
    }

    pub(crate) async fn start(&mut self, node: u64) {
        if self.world.nodes.contains_key(&node) {
            return;
        }
        self.record.note(format_args!("start n{node}"));
        self.world.start(node).await;
        let running =
            (self.world.nodes[&node].host.clone(), self.world.places[&node].shelf.clone());
        self.hosts.lock().unwrap().insert(node, running);
    }

    pub(crate) async fn crash(&mut self, node: u64, power: bool) {
        self.hosts.lock().unwrap().remove(&node);
        self.record.note(format_args!("crash n{node} power {power}"));
        if power {
            self.world.crash(node).await
        } else {
            self.world.kill(node).await
        }
        self.record.note(format_args!("down n{node}"));
    }

    /// Lets things go wrong until `until`.
    pub(crate) async fn rage(&mut self, until: tokio::time::Instant) {
        while tokio::time::Instant::now() < until {
            let pause = self.pause(50, 1500);
            crate::run::pass(pause).await;
            let node = self.rng.random_range(1..=self.nodes);
            match self.rng.random_range(0..16) {
                0 | 1 => {
                    let power = self.rng.random_bool(0.7);
                    self.crash(node, power).await;
                }
                2 => self.crash_many().await,
                3..=5 => {
                    for node in 1..=self.nodes {
                        self.start(node).await;
                    }
                }
                6 | 7 => self.part(node),
                8 => {
                    self.record.note(format_args!("heal"));
                    self.world.network.heal_all();
                }
                9 | 10 => self.transfer().await,
                11 | 12 => self.checkpoint(node).await,
                13 if self.disks => self.fill(node).await,
                14 if self.disks => self.cut_at_sync(node).await,
                15 if self.wipes => self.wipe(node).await,
                _ => self.start(node).await,
            }
        }
    }

    async fn crash_many(&mut self) {
        let count = self.rng.random_range(2..=self.nodes);
        for node in 1..=count {
            self.crash(node, true).await;
        }
        let pause = self.pause(1, 800);
        crate::run::pass(pause).await;
        for node in 1..=count {
            self.start(node).await;
        }
    }

    fn part(&mut self, node: u64) {
        let whole = self.rng.random_bool(0.5);
        let other = 1 + (node + self.rng.random_range(0..self.nodes - 1)) % self.nodes;
        let network = &self.world.network;
        self.record.note(format_args!("part n{node} n{other} whole {whole}"));
        match self.rng.random_range(0..3) {
            0 => network.partition_one_way(NodeId(node), NodeId(other)),
            1 => network.partition(NodeId(node), NodeId(other)),
            _ => {
                for other in (1..=self.nodes).filter(|other| *other != node) {
                    network.partition_one_way(NodeId(node), NodeId(other));
                    if whole {
                        network.partition_one_way(NodeId(other), NodeId(node));
                    }
                }
            }
        }
    }

    async fn transfer(&mut self) {
        let group = self.rng.random_range(0..=self.groups);
        let to = self.rng.random_range(1..=self.nodes);
        let Some(leader) = self.world.leader(group) else { return };
        let Some(group) = self.world.group(leader, group) else { return };
        if group.report().voters.contains(&NodeId(to)) {
            self.record.note(format_args!("transfer {} n{leader} n{to}", group.id()));
            group.transfer(NodeId(to)).await;
        }
    }

    async fn checkpoint(&mut self, node: u64) {
        let group = self.rng.random_range(0..=self.groups);
        if let Some(group) = self.world.group(node, group) {
            self.record.note(format_args!("checkpoint {} n{node}", group.id()));
            group.checkpoint().await;
        }
    }

    /// No space for a while.
    async fn fill(&mut self, node: u64) {
        let disk = self.world.places[&node].disk.clone();
        self.record.note(format_args!("full n{node}"));
        disk.set_capacity(1);
        let pause = self.pause(100, 2000);
        crate::run::pass(pause).await;
        disk.set_capacity(u64::MAX);
        self.record.note(format_args!("space n{node}"));
    }

    /// The power goes, or the disk fails, in the middle of a sync; the process ends with it.
    async fn cut_at_sync(&mut self, node: u64) {
        if !self.world.nodes.contains_key(&node) {
            return;
        }
        let disk = self.world.places[&node].disk.clone();
        let nth = self.rng.random_range(1..20);
        let power = self.rng.random_bool(0.5);
        self.record.note(format_args!("sync {nth} fails on n{node} power {power}"));
        if power {
            disk.crash_at_sync(nth)
        } else {
            disk.fail_sync(nth)
        }
        let pause = self.pause(1, 100);
        crate::run::pass(pause).await;
        self.crash(node, true).await;
        disk.restart();
    }

    /// Somebody starts the node with an empty disk. Its peers know it with another one, so that it is
    /// refused, and started with its old disk after all.
    async fn wipe(&mut self, node: u64) {
        let peer = self.world.nodes.keys().copied().find(|peer| *peer != node);
        let Some(peer) = peer else { return };
        self.record.note(format_args!("wipe n{node}"));
        self.crash(node, true).await;
        let old = self.world.wipe(node, self.rng.random());
        let refused = [(&old, true), (&self.world.places[&node], false)].map(|(place, known)| {
            let me = Home::open(&place.dir.path().join("home"), CLUSTER, NodeId(node)).unwrap();
            let there = self.world.places[&peer].dir.path().join("home");
            let there = Home::open(&there, CLUSTER, NodeId(peer)).unwrap();
            let admitted = there.admit(NodeId(node), me.store());
            assert!(!known || admitted.is_ok(), "a known disk is let in");
            admitted.is_err()
        });
        if refused[1] {
            self.world.places.insert(node, old);
        }
        self.start(node).await;
    }

    /// How every member stands, for a person to read.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (node, running) in &self.world.nodes {
            for group in running.host.groups() {
                let next = self.world.places[node].shelf.next(group.id());
                let journal = running.host.journal().state(group.id());
                text += &format!("\nn{node} {} machine {next} ", group.id());
                text += &format!(
                    "{:?} purged {:?} last {:?}",
                    group.report(),
                    journal.purged,
                    journal.last
                );
            }
            text += &format!("\nn{node} {:?}", running.host.journal().stats());
        }
        text
    }

    /// The end of it: everything is whole again.
    pub(crate) async fn relent(&mut self) {
        self.record.note(format_args!("relent"));
        self.world.network.heal_all();
        for node in 1..=self.nodes {
            self.world.places[&node].disk.set_capacity(u64::MAX);
            self.start(node).await;
        }
    }

    /// Everything works: each group takes a command, and all its replicas are equal.
    pub(crate) async fn settle(&mut self, seed: u64) {
        for group in 1..=self.groups {
            let text = format!("last-{seed}-{group}");
            loop {
                let leader = self.world.leader(group);
                let member = leader.and_then(|node| Some((node, self.world.group(node, group)?)));
                if let Some((node, member)) = member {
                    let text = format!("{text}-{}", self.rng.random::<u32>());
                    let fate = crate::run::propose(&member, &text).await;
                    self.record.reported(node, GroupId(group), &text, &fate);
                    if matches!(fate, cluster::group::Fate::Committed(_)) {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        for id in (1..=self.groups).map(GroupId) {
            loop {
                let members: Vec<u64> = (1..=self.nodes)
                    .filter(|node| self.world.group(*node, id.0).is_some())
                    .collect();
                let next = |node: &u64| self.world.places[node].shelf.next(id);
                let floor = self.record.acked_next(id);
                let first = next(&members[0]);
                if floor <= first && members.iter().all(|node| next(node) == first) {
                    let of = |node: &u64| self.world.places[node].shelf.commands(id);
                    let wanted = of(&members[0]);
                    for node in &members {
                        assert!(
                            of(node) == wanted,
                            "{id}: node {node} differs from {}",
                            members[0]
                        );
                        self.record.finally(*node, id, &wanted);
                    }
                    self.record.note(format_args!("{id} settled at {first}: {}", wanted.len()));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
