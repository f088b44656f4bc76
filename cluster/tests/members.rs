//! Nodes come, go and are replaced while the groups work: a dead one, a live one, and one that never arrives.

mod support;

use std::time::Duration;

use bytes::Bytes;
use cluster::group::Fate;
use cluster::ids::{GroupId, MapVersion, NodeId};
use cluster::membership::Change;
use cluster::raft::Checkpoints;
use cluster::transport::CallError;
use support::{World, eventually, member};

const OFTEN: Checkpoints = Checkpoints { every_entries: 40, kept_entries: 10, lag_entries: 60 };

fn replace(node: u64, with: u64) -> impl Fn(MapVersion) -> Change {
    move |at| Change::Replace { node: NodeId(node), with: member(with), at }
}

/// Commits a command in each group; what is refused while a lead moves is asked for again.
async fn add_to_all(world: &World, groups: u32, text: &str) {
    for group in 1..=groups {
        let fate = world.add(group, text).await;
        assert!(matches!(fate, Fate::Committed(_)), "{text} in group {group}: {fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_replaced_while_writes_go_on() {
    let mut world = World::new(20, 3, 6).forgetful(OFTEN, 64 << 10).all_up().await;
    let mut wanted = Vec::new();
    for number in 0..120 {
        wanted.push(format!("before {number}"));
        add_to_all(&world, 6, wanted.last().unwrap()).await;
    }
    world.crash(2).await;
    world.join(4).await;
    world.change_members(replace(2, 4)).await;
    // Asking again tells that it is done.
    world.change_members(replace(2, 4)).await;
    let mut number = 0;
    while !(0..=6).all(|group| world.has_members(group, &[1, 3, 4])) {
        wanted.push(format!("meanwhile {number}"));
        add_to_all(&world, 6, wanted.last().unwrap()).await;
        number += 1;
        assert!(number < 10_000, "the replacement never votes");
    }
    assert!(!world.places[&4].shelf.installs(GroupId(1)).is_empty(), "the log alone was too short");
    // The new voter counts: without it and another one nothing would be committed.
    world.crash(1).await;
    wanted.push("after".into());
    add_to_all(&world, 6, "after").await;
    for group in 1..=6 {
        eventually("the new voter has the history", || world.applied(4, group) == wanted).await;
        world.group(4, group).unwrap().linearize().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_change_is_stuck_holds_up_no_other() {
    let mut world = World::new(21, 3, 6).forgetful(OFTEN, 64 << 10).all_up().await;
    // The newcomer never catches up in one group, and that it lacks is much.
    let stuck = 1;
    for number in 0..100 {
        world.add(stuck, &format!("{number}")).await;
    }
    add_to_all(&world, 6, "before").await;
    world.crash(2).await;
    world.all_led().await;
    world.join(4).await;
    *world.places[&4].shelf.shut.lock().unwrap() = Some(GroupId(stuck));
    world.change_members(replace(2, 4)).await;
    let others = || (0..=6).filter(|group| *group != stuck);
    eventually("all other groups change", || {
        others().all(|group| world.has_members(group, &[1, 3, 4]))
    })
    .await;
    assert!(!world.has_members(stuck, &[1, 3, 4]));
    add_to_all(&world, 6, "meanwhile").await;
    *world.places[&4].shelf.shut.lock().unwrap() = None;
    eventually("the stuck one follows", || world.has_members(stuck, &[1, 3, 4])).await;
    eventually("and has it all", || world.applied(4, stuck).len() == 102).await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_never_arrives_can_be_replaced() {
    let mut world = World::up(22, 3, 4).await;
    add_to_all(&world, 4, "before").await;
    world.crash(2).await;
    world.all_led().await;
    world.change_members(replace(2, 4)).await;
    eventually("the groups wait for it", || {
        (1..=4).all(|group| {
            let leader = world.leader(group).and_then(|node| world.group(node, group));
            leader.is_some_and(|leader| leader.report().learners.contains(&NodeId(4)))
        })
    })
    .await;
    world.join(5).await;
    world.change_members(replace(4, 5)).await;
    eventually("the second one takes the place", || {
        (0..=4).all(|group| world.has_members(group, &[1, 3, 5]))
    })
    .await;
    add_to_all(&world, 4, "after").await;
    for group in 1..=4 {
        let wanted = ["before", "after"];
        eventually("it has the history", || world.applied(5, group) == wanted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_has_no_access() {
    let mut world = World::up(23, 3, 4).await;
    add_to_all(&world, 4, "before").await;
    let ask = async |from: &World, to: u64| {
        let call = from.nodes[&2].host.call(NodeId(to), Bytes::new(), Duration::from_secs(1));
        call.await
    };
    assert!(ask(&world, 1).await.is_ok());
    world.join(4).await;
    world.change_members(replace(2, 4)).await;
    eventually("the groups are without it", || {
        (0..=4).all(|group| world.has_members(group, &[1, 3, 4]))
    })
    .await;
    for node in [1, 3, 4] {
        let mut refusal = None;
        for _ in 0..600 {
            refusal = ask(&world, node).await.err();
            if refusal.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let reported = matches!(&refusal, Some(CallError::Refused(why)) if why.contains("removed"));
        assert!(reported, "{refusal:?}");
    }
    // It runs on, and disturbs nobody.
    let terms = |world: &World| {
        (0..=4).map(|group| world.group(1, group).unwrap().report().term).collect::<Vec<_>>()
    };
    let before = terms(&world);
    for round in 0..50 {
        add_to_all(&world, 4, &format!("after {round}")).await;
        assert_eq!(terms(&world), before, "nobody stood for election");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // A member that starts anew knows it too.
    world.crash(3).await;
    world.start(3).await;
    eventually("it keeps the removed node out", || {
        world.group(3, 0).is_some_and(|group| group.leader().is_some())
    })
    .await;
    let mut refused = false;
    for _ in 0..600 {
        refused = matches!(ask(&world, 3).await, Err(CallError::Refused(_)));
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_moved_is_closed_where_it_lived() {
    let mut world = World::up(24, 3, 6).await;
    add_to_all(&world, 6, "before").await;
    world.join(4).await;
    world.change_members(|at| Change::Add { member: member(4), at }).await;
    eventually("every node has the groups that the map gives it, and no other", || {
        (1..=4).all(|node| {
            let host = &world.nodes[&node].host;
            let map = host.map().borrow().clone();
            let open: Vec<GroupId> = host.groups().iter().map(|group| group.id()).collect();
            map.version == MapVersion(2) && open == map.groups_of(NodeId(node))
        })
    })
    .await;
    add_to_all(&world, 6, "after").await;
    // Whoever came back would be given them again, and go on from what it has.
    world.change_members(|at| Change::Remove { node: NodeId(4), at }).await;
    eventually("all groups are back", || (1..=6).all(|group| world.has_members(group, &[1, 2, 3])))
        .await;
    for node in 1..=3 {
        for group in 1..=6 {
            let wanted = ["before", "after"];
            eventually("all of it is there", || world.applied(node, group) == wanted).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_node_founds_nothing_where_a_cluster_lives() {
    let mut world = World::up(25, 3, 2).await;
    add_to_all(&world, 2, "before").await;
    // Its operator forgot to say that it joins.
    world.start_as_founder(4).await;
    for _ in 0..60 {
        let system = world.group(4, 0);
        assert!(system.is_none_or(|system| system.report().voters.is_empty()), "it waits");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.change_members(|at| Change::Add { member: member(4), at }).await;
    eventually("it is a member", || {
        world.nodes[&4].host.map().borrow().members.contains_key(&NodeId(4))
    })
    .await;
}
