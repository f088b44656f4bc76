//! What goes wrong: power, processes, links, both kinds of disks, descriptors, clocks and actors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::ids::NodeId;
use outlive::runtime::Freshness;
use outlive::store::memory::Fault;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::clients::{Client, Sessions, soon};
use crate::clock::NodeClock;
use crate::judge::Judge;
use crate::readers::whole;
use crate::run::pass;
use crate::world::{Ending, Place, World};

pub(crate) struct Nemesis {
    pub(crate) world: World,
    judge: Judge,
    rng: SmallRng,
    misfortunes: Misfortunes,
    sessions: Sessions,
    /// The true time.
    right: Arc<NodeClock>,
    /// A node's disks as they were, to be put back once.
    image: Option<(u64, Place)>,
    /// Nodes that peers refused, because their disks were rolled back: they never start again.
    gone: BTreeSet<u64>,
}

/// Which misfortunes a seed has, beside crashes and partitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misfortunes {
    /// Journals' disks fill and fail.
    journals: bool,
    /// Stores cannot be read for a while.
    reads: bool,
    /// Stores cannot be written any more.
    writes: bool,
    clocks: bool,
    actors: bool,
    /// One node's disks are rolled back to an older image.
    image: bool,
}

impl Misfortunes {
    pub(crate) fn draw(rng: &mut SmallRng) -> Misfortunes {
        Misfortunes {
            journals: rng.random_bool(0.5),
            reads: rng.random_bool(0.5),
            writes: rng.random_bool(0.4),
            clocks: rng.random_bool(0.4),
            actors: rng.random_bool(0.5),
            image: rng.random_bool(0.25),
        }
    }
}

impl Nemesis {
    pub(crate) fn new(
        world: World,
        judge: Judge,
        rng: SmallRng,
        misfortunes: Misfortunes,
        sessions: Sessions,
    ) -> Nemesis {
        let right = NodeClock::new();
        let (image, gone) = (None, BTreeSet::new());
        Nemesis { world, judge, rng, misfortunes, sessions, right, image, gone }
    }

    fn pause(&mut self, low_ms: u64, high_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(low_ms..high_ms))
    }

    fn count(&self) -> u64 {
        self.world.places.len() as u64
    }

    pub(crate) async fn start(&mut self, node: u64) {
        if !self.world.running.contains_key(&node) && !self.gone.contains(&node) {
            self.judge.note(format_args!("start n{node}"));
            self.world.start(node).await;
        }
    }

    async fn end(&mut self, node: u64, ending: Ending) {
        if self.world.running.contains_key(&node) {
            self.judge.note(format_args!("end n{node} {ending:?}"));
            self.world.end(node, ending).await;
            self.judge.note(format_args!("down n{node}"));
        }
    }

    /// Lets things go wrong until `until`.
    pub(crate) async fn rage(&mut self, until: Instant) {
        while Instant::now() < until {
            let pause = self.pause(50, 1000);
            pass(pause).await;
            self.begin_again().await;
            let node = self.rng.random_range(1..=self.count());
            let Misfortunes { journals, reads, writes, clocks, actors, image } = self.misfortunes;
            match self.rng.random_range(0..26) {
                0 | 1 => {
                    let endings = [Ending::PowerCut, Ending::Killed, Ending::Stopped];
                    let ending = endings[self.rng.random_range(0..endings.len())];
                    self.end(node, ending).await;
                }
                2 => self.end_many().await,
                3..=5 => {
                    for node in 1..=self.count() {
                        self.start(node).await;
                    }
                }
                6 | 7 => self.part(node),
                8 | 9 => {
                    self.judge.note(format_args!("heal"));
                    self.world.network.heal_all();
                }
                10 => self.transfer().await,
                11 | 12 => self.checkpoint(node).await,
                13 => self.passivate(node),
                14 if journals => self.fill(node).await,
                15 if journals => self.cut_at_sync(node).await,
                16 | 17 if reads => self.starve(node).await,
                18 | 19 if writes => self.break_store(node).await,
                20 if clocks => self.jump(node),
                21..=23 if actors => self.fail_actor(node),
                24 | 25 if image => self.roll_back(node).await,
                _ => self.start(node).await,
            }
        }
    }

    async fn end_many(&mut self) {
        let count = self.rng.random_range(2..=self.count());
        for node in 1..=count {
            self.end(node, Ending::PowerCut).await;
        }
        let pause = self.pause(1, 800);
        pass(pause).await;
        for node in 1..=count {
            self.start(node).await;
        }
    }

    fn part(&mut self, node: u64) {
        let whole = self.rng.random_bool(0.5);
        let other = 1 + (node + self.rng.random_range(0..self.count() - 1)) % self.count();
        self.judge.note(format_args!("part n{node} n{other} whole {whole}"));
        let kind = self.rng.random_range(0..3);
        let network = &self.world.network;
        match kind {
            0 => network.partition_one_way(NodeId(node), NodeId(other)),
            1 => network.partition(NodeId(node), NodeId(other)),
            _ => {
                for other in (1..=self.count()).filter(|other| *other != node) {
                    network.partition_one_way(NodeId(node), NodeId(other));
                    if whole {
                        network.partition_one_way(NodeId(other), NodeId(node));
                    }
                }
            }
        }
    }

    async fn transfer(&mut self) {
        let group = self.rng.random_range(0..=self.world.groups);
        let to = self.rng.random_range(1..=self.count());
        let Some(leader) = self.world.leader(group) else { return };
        let Some(group) = self.world.group(leader, group) else { return };
        if group.report().voters.contains(&NodeId(to)) {
            self.judge.note(format_args!("transfer {} n{leader} n{to}", group.id()));
            group.transfer(NodeId(to)).await;
        }
    }

    async fn checkpoint(&mut self, node: u64) {
        for group in 0..=self.world.groups {
            if let Some(group) = self.world.group(node, group) {
                self.judge.note(format_args!("checkpoint {} n{node}", group.id()));
                group.checkpoint().await;
            }
        }
    }

    fn passivate(&mut self, node: u64) {
        if let Some(node) = self.world.running.get(&node) {
            node.runtime.sessions.passivate(Duration::ZERO);
        }
    }

    /// No space for the journal for a while.
    async fn fill(&mut self, node: u64) {
        let disk = self.world.places[&node].journal.clone();
        self.judge.note(format_args!("full n{node}"));
        disk.set_capacity(1);
        let pause = self.pause(100, 2000);
        pass(pause).await;
        disk.set_capacity(u64::MAX);
        self.judge.note(format_args!("space n{node}"));
    }

    /// The power goes, or the journal's disk fails, in the middle of a sync; the process ends with it.
    async fn cut_at_sync(&mut self, node: u64) {
        if !self.world.running.contains_key(&node) {
            return;
        }
        let disk = self.world.places[&node].journal.clone();
        let nth = self.rng.random_range(1..20);
        let power = self.rng.random_bool(0.5);
        self.judge.note(format_args!("sync {nth} fails on n{node} power {power}"));
        if power {
            disk.crash_at_sync(nth);
        } else {
            disk.fail_sync(nth);
        }
        let pause = self.pause(1, 100);
        pass(pause).await;
        self.end(node, Ending::PowerCut).await;
        disk.restart();
    }

    /// The store cannot be read for a while: there are no descriptors, or the disk has a bad spot.
    async fn starve(&mut self, node: u64) {
        let disk = self.world.places[&node].store.clone();
        let fault = if self.rng.random_bool(0.7) { Fault::Descriptors } else { Fault::Broken };
        let chance = if self.rng.random_bool(0.5) { 1.0 } else { self.rng.random_range(0.05..0.5) };
        self.judge.note(format_args!("n{node} reads {fault:?} {chance:.2}"));
        disk.fail_reads(fault, chance);
        // What sleeps has to be read to wake.
        if self.rng.random_bool(0.5) {
            self.passivate(node);
        }
        let pause = self.pause(50, 1500);
        pass(pause).await;
        if self.rng.random_bool(0.5) {
            self.checkpoint(node).await;
        }
        disk.heal();
        self.judge.note(format_args!("n{node} reads again"));
        if self.rng.random_bool(0.5) {
            self.checkpoint(node).await;
        }
    }

    /// The store takes no more writes, until its process begins anew.
    async fn break_store(&mut self, node: u64) {
        let disk = self.world.places[&node].store.clone();
        let fault = if self.rng.random_bool(0.5) { Fault::Full } else { Fault::Broken };
        let kind = self.rng.random_range(0..3);
        self.judge.note(format_args!("n{node} writes {fault:?} {kind}"));
        match kind {
            0 => disk.fail_write(self.rng.random_range(1..40), fault),
            1 => disk.fail_flush(fault),
            _ => disk.poison(),
        }
        let pause = self.pause(50, 1500);
        pass(pause).await;
        self.begin_again().await;
    }

    /// Keeps a copy of a node's disks; later, once in a run, the node starts from that. Only while all others run and
    /// hear it: what a node had is known to those that it was in contact with, and its disk that is rolled back while
    /// they are gone is one failure more than a majority bears.
    async fn roll_back(&mut self, node: u64) {
        match self.image.take() {
            Some((node, older)) if !self.others_run(node) => self.image = Some((node, older)),
            Some((node, older)) => {
                self.judge.note(format_args!("heal"));
                self.world.network.heal_all();
                pass(Duration::from_secs(3)).await;
                if !self.others_run(node) {
                    self.image = Some((node, older));
                    return;
                }
                self.judge.note(format_args!("roll back n{node}"));
                self.judge.count("rollbacks");
                self.misfortunes.image = false;
                self.end(node, Ending::PowerCut).await;
                self.world.swap(node, older);
                self.start(node).await;
            }
            None => {
                self.judge.note(format_args!("image of n{node}"));
                let seed = self.rng.random();
                self.image = Some((node, self.world.image(node, seed)));
            }
        }
    }

    fn others_run(&self, node: u64) -> bool {
        (1..=self.count()).all(|other| other == node || self.world.running.contains_key(&other))
    }

    /// Nodes that a peer refused end, and do not come back.
    async fn refuse(&mut self) {
        let refused = |node: &crate::world::Node| node.host.refused().borrow().is_some();
        let refused = self.world.running.iter().filter(|(_, node)| refused(node));
        for node in refused.map(|(node, _)| *node).collect::<Vec<_>>() {
            self.judge.note(format_args!("n{node} is refused"));
            self.judge.count("refused");
            self.end(node, Ending::Killed).await;
            self.gone.insert(node);
        }
    }

    /// Processes whose store has failed begin again: each has told so itself.
    pub(crate) async fn begin_again(&mut self) {
        self.refuse().await;
        let failed = self.world.running.iter().filter(|(_, node)| node.fault.reason().is_some());
        for node in failed.map(|(node, _)| *node).collect::<Vec<_>>() {
            self.judge.count("stores");
            self.end(node, Ending::Killed).await;
            self.start(node).await;
        }
    }

    /// One node's clock is wrong: by much or little, forward or back; now and then it is set right.
    fn jump(&mut self, node: u64) {
        // A majority tells the right time.
        for other in (1..=self.count()).filter(|other| *other != node) {
            self.world.places[&other].clock.follow(&self.right);
        }
        let by_ms = match self.rng.random_range(0..4) {
            0 => 24.0 * 60.0 * 60.0 * 1000.0,
            1 => -60.0 * 60.0 * 1000.0,
            2 => self.rng.random_range(-2000.0..2000.0),
            _ => 0.0,
        };
        let rate = self.rng.random_range(0.9..1.1);
        self.judge.note(format_args!("clock n{node} {by_ms:.0} ms rate {rate:.3}"));
        self.world.places[&node].clock.set(by_ms, rate);
    }

    fn fail_actor(&mut self, node: u64) {
        let all = self.sessions.all();
        let id = &all[self.rng.random_range(0..all.len())];
        if let Some(running) = self.world.running.get(&node) {
            self.judge.note(format_args!("the actor of {id:?} fails on n{node}"));
            running.runtime.sessions.fail_actor(id);
        }
    }

    /// The end of it: everything is whole again.
    pub(crate) async fn relent(&mut self) {
        self.judge.note(format_args!("relent"));
        self.world.network.heal_all();
        for node in 1..=self.count() {
            let place = &self.world.places[&node];
            place.journal.set_capacity(u64::MAX);
            place.store.heal();
            self.start(node).await;
        }
    }

    /// Everything works: each session takes an event, and all its replicas have the same.
    pub(crate) async fn settle(&mut self, mut client: Client) {
        for id in self.sessions.kept.clone() {
            while !client.append_for_sure(&id).await {
                self.begin_again().await;
            }
        }
        for id in self.sessions.all() {
            self.agree(&id).await;
        }
    }

    /// Waits until all nodes show the same of a session, and judges what they show.
    async fn agree(&mut self, id: &outlive::ids::SessionId) {
        'again: loop {
            pass(Duration::from_millis(50)).await;
            self.begin_again().await;
            let mut shown = Vec::new();
            for (node, runtime) in self.world.nodes.all() {
                let Ok(status) = runtime.sessions.status(id, Freshness::Local, soon()).await else {
                    continue 'again;
                };
                shown.push((node, status.filter(|status| !status.hidden)));
            }
            let stand = |status: &Option<outlive::session::Status>| {
                status.as_ref().map(|s| (s.incarnation, s.tail, s.first))
            };
            if shown.iter().any(|(_, other)| stand(other) != stand(&shown[0].1)) {
                continue;
            }
            let floor = self.judge.floor(id);
            let Some(status) = &shown[0].1 else {
                self.judge.saw(id, shown[0].0, floor, None);
                return;
            };
            if (status.incarnation.0, false, status.tail.0) < floor {
                continue;
            }
            if let Some(fork) = &status.fork {
                self.judge.fork(id, status.incarnation, fork);
            }
            let mut logs = Vec::new();
            for (node, runtime) in self.world.nodes.all() {
                let Some((now, events)) = whole(&runtime, id).await else { continue 'again };
                if stand(&Some(now.clone())) != stand(&shown[0].1) {
                    continue 'again;
                }
                logs.push((node, now, events));
            }
            for (node, status, events) in &logs {
                self.judge.finally(id, *node, status, events);
                let same = *status == logs[0].1;
                assert!(
                    same,
                    "{id:?}: node {node} has {status:?}, and {} {:?}",
                    logs[0].0, logs[0].1
                );
            }
            return;
        }
    }

    /// How every member stands, for a person to read.
    pub(crate) async fn describe(&self) -> String {
        let mut text = String::new();
        for (node, running) in &self.world.running {
            for group in running.host.groups() {
                let journal = running.host.journal().state(group.id());
                text += &format!("\nn{node} {} settled {} ", group.id(), group.settled_next());
                text += &format!("{:?} purged {:?}", group.report(), journal.purged);
                text += &format!(" last {:?}", journal.last);
            }
            let poisoned = self.world.places[node].store.is_poisoned();
            text += &format!(
                "\nn{node} {:?} store poisoned {poisoned}",
                running.host.journal().stats()
            );
            for id in self.sessions.all() {
                let status = running.runtime.sessions.status(&id, Freshness::Local, soon()).await;
                let stand = status.map(|s| s.map(|s| (s.incarnation, s.first, s.tail)));
                text += &format!("\nn{node} {id:?} {stand:?} floor {:?}", self.judge.floor(&id));
            }
        }
        text
    }
}
