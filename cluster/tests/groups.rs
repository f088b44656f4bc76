//! Groups of the counter machine on three nodes: order, failover, restart, snapshots, reads, membership.

mod support;

use std::time::Duration;

use cluster::group::Fate;
use cluster::ids::{GroupId, NodeId};
use cluster::membership::Member;
use support::{World, eventually, propose};

fn committed(fate: &Fate) -> bool {
    matches!(fate, Fate::Committed(_))
}

#[tokio::test(start_paused = true)]
async fn a_single_node_is_a_cluster_of_one() {
    let mut world = World::up(1, 1, 4).await;
    for number in 0..20 {
        assert!(committed(&world.add(1 + number % 4, &format!("c{number}")).await));
    }
    world.crash(1).await;
    world.start(1).await;
    world.all_led().await;
    world.group(1, 1).unwrap().linearize().await.unwrap();
    assert_eq!(world.applied(1, 1), ["c0", "c4", "c8", "c12", "c16"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_survives_the_leader() {
    let mut world = World::up(2, 3, 2).await;
    for number in 0..50 {
        assert!(committed(&world.add(1, &format!("c{number}")).await));
    }
    let leader = world.leader(1).unwrap();
    world.crash(leader).await;
    for number in 50..60 {
        assert!(committed(&world.add(1, &format!("c{number}")).await));
    }
    world.start(leader).await;
    let wanted: Vec<String> = (0..60).map(|number| format!("c{number}")).collect();
    for node in 1..=3 {
        eventually("every replica has everything", || world.applied(node, 1) == wanted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn any_member_reads_what_was_acknowledged_before() {
    let world = World::up(3, 3, 1).await;
    for number in 0..20 {
        let text = format!("c{number}");
        let fate = world.add(1, &text).await;
        assert!(committed(&fate), "{fate:?}");
        for node in 1..=3 {
            world.group(node, 1).unwrap().linearize().await.unwrap();
            assert!(world.applied(node, 1).contains(&text), "node {node} reads stale");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_minority_acknowledges_and_reads_nothing() {
    let world = World::up(4, 3, 1).await;
    assert!(committed(&world.add(1, "before").await));
    let leader = world.leader(1).unwrap();
    for other in (1..=3).filter(|node| *node != leader) {
        world.network.partition(NodeId(leader), NodeId(other));
    }
    let cut_off = world.group(leader, 1).unwrap();
    let fate = tokio::time::timeout(Duration::from_secs(5), propose(&cut_off, "alone")).await;
    assert!(!matches!(fate, Ok(Fate::Committed(_))), "{fate:?}");
    assert!(cut_off.linearize().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_for_long_catches_up_from_a_snapshot() {
    let mut world = World::up(5, 3, 1).await;
    let away = (1..=3).find(|node| Some(*node) != world.leader(1)).unwrap();
    world.crash(away).await;
    let entries = cluster::limits::KEPT_ENTRIES + cluster::limits::CHECKPOINT_ENTRIES + 2000;
    for number in 0..entries {
        assert!(committed(&world.add(1, &format!("c{number}")).await));
    }
    let leader = world.leader(1).unwrap();
    let purged = || world.group(leader, 1).unwrap().report().purged;
    eventually("the log is purged", || purged().is_some_and(|index| 1000 < index)).await;
    world.start(away).await;
    eventually("it has everything", || world.applied(away, 1).len() as u64 == entries).await;
    assert!(world.places[&away].shelf.checkpointed(GroupId(1)), "it came by a snapshot");
    assert_eq!(world.applied(away, 1), world.applied(leader, 1));
}

#[tokio::test(start_paused = true)]
async fn a_joining_node_is_given_its_groups() {
    let mut world = World::up(6, 3, 6).await;
    for number in 0..60 {
        assert!(committed(&world.add(1 + number % 6, &format!("c{number}")).await));
    }
    world.join(4).await;
    let member = Member { node: NodeId(4), peer: "m4".into(), client: String::new() };
    let mut added = false;
    for _ in 0..50 {
        if let Some(leader) = world.leader(0) {
            added = world.nodes[&leader].host.add(member.clone()).await.is_ok();
        }
        if added {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(added);
    eventually("the new node carries groups", || {
        let host = &world.nodes[&4].host;
        let groups = host.groups();
        let mine = groups.iter().filter(|group| group.id() != GroupId(0));
        let voters = mine.filter(|group| group.report().voters.contains(&NodeId(4)));
        3 <= voters.count()
    })
    .await;
    for group in 1..=6 {
        assert!(committed(&world.add(group, "after").await));
    }
    let carried: Vec<u32> = world.nodes[&4].host.groups().iter().map(|g| g.id().0).collect();
    for group in carried.into_iter().filter(|group| *group != 0) {
        let leader = world.leader(group).unwrap();
        let wanted = world.applied(leader, group);
        eventually("the new node has the history", || world.applied(4, group) == wanted).await;
    }
}
