//! Disks that were rolled back to an older copy: no member gives up what it holds for committed.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::group::Fate;
use cluster::ids::{GroupId, NodeId};
use cluster::transport::{BoxFuture, Lane, Service, Stream};
use support::{Place, World, eventually};

async fn commit(world: &World, group: u32, text: &str) {
    loop {
        // While a group fails over, an outcome may be unknown; each text is tried until it is in.
        if matches!(world.add(group, text).await, Fate::Committed(_)) {
            return;
        }
    }
}

/// Three nodes, the third of which was down when the first two committed "new"; then the first got its
/// older disk back, and wrote "OTHER" at the same place together with the third. Nobody could know.
async fn diverged(seed: u64) -> (World, [u64; 3]) {
    let mut world = World::up(seed, 3, 1).await;
    commit(&world, 1, "before").await;
    let [rolled_back, witness, away] = [1, 2, 3];
    for node in 1..=3 {
        eventually("all have it", || world.applied(node, 1) == ["before"]).await;
    }
    world.crash(away).await;
    let older = world.image(rolled_back);
    world.all_led().await;
    // The later ones bring the news that the first is committed to the disks: the record of a commit is not
    // synced by itself, and the last one may go with the power.
    let texts = ["new", "newer", "newest"];
    for text in texts {
        commit(&world, 1, text).await;
    }
    for node in [rolled_back, witness] {
        eventually("both have it", || world.applied(node, 1)[1..] == texts).await;
        world.crash(node).await;
    }
    world.swap(rolled_back, older);
    world.start(rolled_back).await;
    world.start(away).await;
    commit(&world, 1, "OTHER").await;
    for node in [rolled_back, away] {
        eventually("they diverge", || world.applied(node, 1) == ["before", "OTHER"]).await;
    }
    // Their terms go beyond what the second node knows, so that it will be the one to follow.
    for to in [rolled_back, away, rolled_back, away] {
        while world.leader(1) != Some(to) {
            let leader = world.leader(1).and_then(|node| world.group(node, 1));
            if let Some(leader) = leader {
                leader.transfer(NodeId(to)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    (world, [rolled_back, witness, away])
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_told_to_overwrite_what_it_applied_stops_its_group_for_good() {
    let (mut world, [_, witness, away]) = diverged(20).await;
    world.start(witness).await;
    eventually("the group is open", || world.group(witness, 1).is_some()).await;
    let group = world.group(witness, 1).unwrap();
    eventually("the group stops", || group.broken().is_some()).await;
    let reason = group.broken().unwrap();
    assert!(reason.contains("is committed here"), "{reason}");
    assert!(
        !group.report().running && group.leader().is_none() && group.linearize().await.is_err()
    );
    // It stays so, and keeps what it had; the next start finds out again.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(world.group(witness, 1).unwrap().broken().is_some());
        assert_eq!(world.applied(witness, 1)[..2], ["before", "new"]);
        assert!(!world.applied(witness, 1).contains(&"OTHER".into()));
        world.crash(witness).await;
        world.start(witness).await;
        eventually("the group stops again", || {
            world.group(witness, 1).is_some_and(|group| group.broken().is_some())
        })
        .await;
    }
    assert_eq!(world.applied(away, 1), ["before", "OTHER"]);
}

/// Waits until a node is refused, and looks at what it is told.
async fn refused(world: &World, node: u64) {
    let refused = world.nodes[&node].host.refused();
    eventually("the node is refused", || refused.borrow().is_some()).await;
    let reason = refused.borrow().clone().unwrap();
    assert!(reason.contains("came back with less than it had acknowledged"), "{reason}");
    assert!(reason.contains("wipe the directory and replace the node"), "{reason}");
}

async fn applied_at(world: &World, nodes: &[u64], texts: &[&str]) {
    for node in nodes {
        eventually("the replica has everything", || world.applied(*node, 1) == texts).await;
    }
}

/// Waits until the other nodes that are up know of everything that a node has applied.
async fn reported(world: &World, node: u64) {
    let applied = world.group(node, 1).unwrap().report().applied;
    for (_, other) in world.nodes.iter().filter(|(other, _)| **other != node) {
        let knows = || other.host.acknowledged(NodeId(node), GroupId(1));
        eventually("the others are told", || applied <= knows()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_an_older_disk_is_refused_while_the_others_go_on() {
    let mut world = World::up(21, 3, 2).await;
    commit(&world, 1, "a").await;
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    let older = world.image(1);
    commit(&world, 1, "b").await;
    applied_at(&world, &[1, 2, 3], &["a", "b"]).await;
    reported(&world, 1).await;
    world.crash(1).await;
    let newer = world.swap(1, older);
    world.start(1).await;
    refused(&world, 1).await;
    commit(&world, 1, "c").await;
    commit(&world, 2, "d").await;
    applied_at(&world, &[2, 3], &["a", "b", "c"]).await;
    assert!(!world.applied(1, 1).contains(&"b".into()), "it is given nothing any more");
    // With the disk that it should have had, it is let in.
    world.crash(1).await;
    world.swap(1, newer);
    world.start(1).await;
    applied_at(&world, &[1, 2, 3], &["a", "b", "c"]).await;
    assert_eq!(*world.nodes[&1].host.refused().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_left_after_all_restarted_remembers_what_a_node_acknowledged() {
    let mut world = World::up(22, 3, 1).await;
    commit(&world, 1, "a").await;
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    let older = world.image(1);
    commit(&world, 1, "b").await;
    commit(&world, 1, "c").await;
    applied_at(&world, &[1, 2], &["a", "b", "c"]).await;
    reported(&world, 1).await;
    for node in 1..=3 {
        world.crash(node).await;
    }
    world.swap(1, older);
    // Two of three could commit something else now; the third cannot speak.
    world.start(1).await;
    world.start(3).await;
    refused(&world, 1).await;
    world.start(2).await;
    commit(&world, 1, "d").await;
    applied_at(&world, &[2, 3], &["a", "b", "c", "d"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_takes_no_node_back_that_acknowledged_more_to_it_alone() {
    let mut world = World::up(23, 3, 1).await;
    commit(&world, 1, "a").await;
    let leader = world.leader(1).unwrap();
    let node = (1..=3).find(|node| *node != leader).unwrap();
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    reported(&world, node).await;
    let older = world.image(node);
    commit(&world, 1, "b").await;
    applied_at(&world, &[node], &["a", "b"]).await;
    world.crash(node).await;
    world.swap(node, older);
    world.start(node).await;
    let accusers = || world.nodes[&node].host.accusers();
    eventually("the leader refuses it", || accusers() == [NodeId(leader)]).await;
    commit(&world, 1, "c").await;
    assert_eq!(world.applied(node, 1), ["a"], "it is given nothing");
    // What the leader alone knows it can only say: that ends nobody.
    assert_eq!(*world.nodes[&node].host.refused().borrow(), None);
}

/// A member that answers whatever it is asked with: you have less than you acknowledged.
struct Liar;

impl Service for Liar {
    fn call(
        &self,
        _from: NodeId,
        _lane: Lane,
        _request: Bytes,
    ) -> BoxFuture<Result<Bytes, String>> {
        let (version, behind, no_proof) = (1, 1, 0);
        Box::pin(async move { Ok(vec![version, behind, 1, b'x', no_proof].into()) })
    }

    fn stream(&self, _from: NodeId, _hello: Bytes, _stream: Stream) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

#[tokio::test(start_paused = true)]
async fn one_member_that_lies_ends_nobody() {
    let mut world = World::up(26, 3, 1).await;
    commit(&world, 1, "a").await;
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    world.crash(3).await;
    let _liar = world.network.join(NodeId(3), Arc::new(Liar));
    for node in [1, 2] {
        // Also one that has just started and knows nobody.
        world.crash(node).await;
        world.start(node).await;
        let accusers = || world.nodes[&node].host.accusers();
        eventually("it hears the lie", || accusers() == [NodeId(3)]).await;
    }
    commit(&world, 1, "b").await;
    applied_at(&world, &[1, 2], &["a", "b"]).await;
    for node in [1, 2] {
        assert_eq!(*world.nodes[&node].host.refused().borrow(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_lost_its_journal_alone_is_refused() {
    let mut world = World::up(24, 3, 1).await;
    commit(&world, 1, "a").await;
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    reported(&world, 2).await;
    world.crash(2).await;
    let empty = World::new(99, 3, 1).places.remove(&2).unwrap();
    let Place { store, secret, .. } = world.places[&2];
    world.swap(2, Place { store, secret, ..empty });
    world.start(2).await;
    refused(&world, 2).await;
    commit(&world, 1, "b").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_given_another_disk_is_no_business_of_the_memory() {
    let mut world = World::up(25, 3, 1).await;
    commit(&world, 1, "a").await;
    applied_at(&world, &[1, 2, 3], &["a"]).await;
    reported(&world, 2).await;
    world.crash(2).await;
    let empty = World::new(98, 3, 1).places.remove(&2).unwrap();
    world.swap(2, empty);
    world.start(2).await;
    applied_at(&world, &[2], &["a"]).await;
    assert_eq!(*world.nodes[&2].host.refused().borrow(), None);
}
