//! Disks that were rolled back to an older copy: no member gives up what it holds for committed.

mod support;

use std::time::Duration;

use cluster::group::Fate;
use cluster::ids::NodeId;
use support::{World, eventually};

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
    // The second one brings the news that the first is committed to the disks.
    commit(&world, 1, "new").await;
    commit(&world, 1, "newer").await;
    for node in [rolled_back, witness] {
        eventually("both have it", || world.applied(node, 1) == ["before", "new", "newer"]).await;
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
