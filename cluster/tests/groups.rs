//! Groups of the counter machine on three nodes: order, failover, restart, snapshots, reads, membership.

mod support;

use std::time::Duration;

use bytes::Bytes;
use cluster::group::{Class, Fate, Flow};
use cluster::ids::{GroupId, NodeId};
use cluster::membership::Change;
use cluster::raft::{Checkpoints, Timers};
use cluster::transport::{CallError, MemoryConfig};
use support::{World, eventually, member, propose};

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

const OFTEN: Checkpoints = Checkpoints { every_entries: 40, kept_entries: 10, lag_entries: 60 };

/// Adds commands until the log of the leader is purged beyond what `away` has.
async fn outrun(world: &World, away: u64, count: u32) -> Vec<String> {
    let has = world.places[&away].shelf.next(GroupId(1));
    let mut added = Vec::new();
    for number in 0..count {
        added.push(format!("{has}-{number}"));
        assert!(committed(&world.add(1, added.last().unwrap()).await));
    }
    let leader = world.leader(1).unwrap();
    let purged = || world.group(leader, 1).unwrap().report().purged;
    eventually("the log is purged", || purged().is_some_and(|index| has + 20 < index)).await;
    added
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_for_long_catches_up_from_a_snapshot() {
    let mut world = World::new(5, 3, 1).forgetful(OFTEN, 64 << 10).all_up().await;
    let away = (1..=3).find(|node| Some(*node) != world.leader(1)).unwrap();
    let mut wanted = Vec::new();
    for number in 0..100 {
        wanted.push(format!("c{number}"));
        assert!(committed(&world.add(1, &wanted[number]).await));
    }
    let shelf = world.places[&away].shelf.clone();
    eventually("it has everything", || shelf.live(GroupId(1)) == wanted).await;
    world.group(away, 1).unwrap().checkpoint().await;
    eventually("it keeps everything", || shelf.durable_next(GroupId(1)) == 100 + 2).await;
    world.crash(away).await;
    wanted.extend(outrun(&world, away, 150).await);
    world.start(away).await;
    eventually("it has everything", || shelf.live(GroupId(1)) == wanted).await;
    let installs = shelf.installs(GroupId(1));
    assert!(matches!(installs[..], [brought] if 50 < brought && brought <= 150), "{installs:?}");
    // What was installed is there after a restart, and the log goes on after it.
    world.crash(away).await;
    world.start(away).await;
    wanted.push("after".into());
    assert!(committed(&world.add(1, "after").await));
    eventually("it goes on", || shelf.live(GroupId(1)) == wanted).await;
    assert_eq!(shelf.installs(GroupId(1)).len(), 1, "no second snapshot was needed");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_dies_while_it_is_sent_a_snapshot_is_sent_another() {
    for pause_ms in [100, 110, 130] {
        let mut world = World::new(50 + pause_ms, 3, 1).forgetful(OFTEN, 64 << 10).all_up().await;
        let away = (1..=3).find(|node| Some(*node) != world.leader(1)).unwrap();
        world.crash(away).await;
        let mut wanted = outrun(&world, away, 150).await;
        world.start(away).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        world.crash(away).await;
        wanted.push("between".into());
        assert!(committed(&world.add(1, "between").await));
        world.start(away).await;
        let shelf = world.places[&away].shelf.clone();
        eventually("it has everything", || shelf.live(GroupId(1)) == wanted).await;
        assert!(!shelf.installs(GroupId(1)).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_may_be_ahead_of_its_mark() {
    // Checkpoints are rare here, so that the sender has long gone on when it sends its latest.
    let rare = Checkpoints { every_entries: 1000, kept_entries: 5, lag_entries: 60 };
    let mut world = World::new(8, 3, 1).forgetful(rare, 64 << 10).all_up().await;
    let away = (1..=3).find(|node| Some(*node) != world.leader(1)).unwrap();
    world.crash(away).await;
    let mut wanted = Vec::new();
    for number in 0..100 {
        wanted.push(format!("c{number}"));
        assert!(committed(&world.add(1, &wanted[number]).await));
        if number == 50 {
            world.group(world.leader(1).unwrap(), 1).unwrap().checkpoint().await;
        }
    }
    world.start(away).await;
    let shelf = world.places[&away].shelf.clone();
    eventually("it has everything", || shelf.live(GroupId(1)) == wanted).await;
    let installs = shelf.installs(GroupId(1));
    assert!(matches!(installs[..], [brought] if 60 < brought), "more than the mark: {installs:?}");
    let next = world.group(away, 1).unwrap().report().applied.unwrap().index + 1;
    assert_eq!(shelf.next(GroupId(1)), next, "and the log after the mark was replayed");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_machine_fails_comes_back_while_others_go_on() {
    let world = World::up(9, 3, 2).await;
    assert!(committed(&world.add(1, "good").await));
    let leader = world.leader(1).unwrap();
    *world.places[&leader].shelf.poison.lock().unwrap() = Some("bad".into());
    let cut = propose(&world.group(leader, 1).unwrap(), "bad").await;
    assert!(matches!(cut, Fate::Unknown(_)), "{cut:?}");
    assert!(committed(&world.add(2, "other").await));
    // While the failed replica stops, what is asked of it has no known outcome.
    let mut number = 0;
    while !committed(&world.add(1, &format!("after {number}")).await) {
        number += 1;
    }
    for node in 1..=3 {
        eventually("the failed group is back", || {
            let there = world.applied(node, 1);
            there.starts_with(&["good".into(), "bad".into()])
                && there.last() == Some(&format!("after {number}"))
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_does_not_keep_the_journals_old_segments() {
    let rare = Checkpoints { every_entries: 50, kept_entries: 10, lag_entries: 60 };
    let world = World::new(10, 3, 2).forgetful(rare, 64 << 10).all_up().await;
    assert!(committed(&world.add(2, "once, and never again").await));
    let large = "x".repeat(2000);
    for _ in 0..400 {
        assert!(committed(&world.add(1, &large).await));
    }
    for node in 1..=3 {
        let journal = world.nodes[&node].host.journal().clone();
        eventually("old segments go", || journal.stats().segments <= 5).await;
    }
    assert!(committed(&world.add(2, "again").await));
    for node in 1..=3 {
        let wanted = ["once, and never again", "again"];
        eventually("the idle group is whole", || world.applied(node, 2) == wanted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_joining_node_is_given_its_groups() {
    let mut world = World::up(6, 3, 6).await;
    for number in 0..60 {
        assert!(committed(&world.add(1 + number % 6, &format!("c{number}")).await));
    }
    world.join(4).await;
    world.change_members(|at| Change::Add { member: member(4), at }).await;
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

#[tokio::test(start_paused = true)]
async fn a_drained_node_hands_over_its_leads_and_is_given_none_back() {
    let world = World::up(11, 3, 6).await;
    let leads = |node: u64| (1..=6).filter(|group| world.leader(*group) == Some(node)).count();
    eventually("the leads are spread", || (1..=3).all(|node| 1 <= leads(node))).await;
    let began = tokio::time::Instant::now();
    world.nodes[&1].host.drain().await;
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    for round in 0..20 {
        assert_eq!(leads(1), 0, "in round {round}");
        for group in 1..=6 {
            assert!(committed(&world.add(group, &format!("{round}.{group}")).await));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leads_are_spread_again_after_all_nodes_restart() {
    let mut world = World::up(12, 3, 12).await;
    for node in 1..=3 {
        world.crash(node).await;
    }
    for node in 1..=3 {
        world.start(node).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.all_led().await;
    let leads = |node: u64| (1..=12).filter(|group| world.leader(*group) == Some(node)).count();
    eventually("no node leads more than half", || (1..=3).all(|node| leads(node) <= 6)).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_leaves_its_groups() {
    let world = World::up(13, 4, 4).await;
    world.change_members(|at| Change::Remove { node: NodeId(4), at }).await;
    eventually("no group counts on it", || {
        (1..=4).all(|group| {
            let leader = world.leader(group).filter(|node| *node != 4);
            let member = leader.and_then(|node| world.group(node, group));
            member.is_some_and(|member| !member.report().voters.contains(&NodeId(4)))
        })
    })
    .await;
    for group in 1..=4 {
        assert!(committed(&world.add(group, "after").await));
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_stops_tells_everybody_who_waits() {
    let world = World::up(14, 3, 1).await;
    assert!(committed(&world.add(1, "before").await));
    let leader = world.leader(1).unwrap();
    for other in (1..=3).filter(|node| *node != leader) {
        world.network.partition(NodeId(leader), NodeId(other));
    }
    let group = world.group(leader, 1).unwrap();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let class = if number % 2 == 0 { Class::Data } else { Class::Control };
        let (reported, fate) = tokio::sync::oneshot::channel();
        let permit = group.admit(class, Flow::default(), 1).unwrap();
        group.propose(permit, Bytes::from_static(b"x"), Box::new(|fate| drop(reported.send(fate))));
        waiting.push(fate);
        // The first one is in flight, and no majority takes it, when the others come.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.nodes[&leader].host.close().await;
    let (mut unknown, mut refused) = (0, 0);
    for fate in waiting {
        match fate.await.expect("whoever waits is told, not dropped") {
            Fate::Unknown(_) => unknown += 1,
            Fate::Refused { leader: None } => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((unknown, refused), (1, 19), "what never left the queue never happened");
    let late = propose(&group, "late").await;
    assert!(matches!(late, Fate::Refused { leader: None }), "{late:?}");
}

/// What `node` says of group 1: whether it is in touch, and whether it leads.
fn standing(world: &World, node: u64) -> (bool, bool) {
    let group = world.group(node, 1).unwrap();
    (group.in_touch(), group.leads())
}

#[tokio::test(start_paused = true)]
async fn a_node_knows_that_it_is_cut_off() {
    let world = World::up(14, 3, 1).await;
    let leader = world.leader(1).unwrap();
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    for node in 1..=3 {
        eventually("all are in touch", || standing(&world, node).0).await;
    }
    // A follower on its own: it believes in its leader, and hears nothing.
    let alone = others[0];
    for other in (1..=3).filter(|node| *node != alone) {
        world.network.partition(NodeId(alone), NodeId(other));
    }
    eventually("it is out of touch", || !standing(&world, alone).0).await;
    assert_eq!(world.group(alone, 1).unwrap().leader(), Some(NodeId(leader)));
    assert_eq!(standing(&world, leader), (true, true), "a majority goes on");
    assert_eq!(standing(&world, others[1]), (true, false));
    // The leader loses the other one, too.
    world.network.partition(NodeId(leader), NodeId(others[1]));
    eventually("nobody is in touch", || {
        (1..=3).all(|node| standing(&world, node) == (false, false))
    })
    .await;
    world.network.heal_all();
    eventually("all are in touch again", || (1..=3).all(|node| standing(&world, node).0)).await;
    assert!(committed(&world.add(1, "after").await));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hears_nobody_falls_silent_and_another_is_elected() {
    let world = World::up(15, 3, 1).await;
    assert!(committed(&world.add(1, "before").await));
    let deaf = world.leader(1).unwrap();
    let began = tokio::time::Instant::now();
    for other in (1..=3).filter(|node| *node != deaf) {
        world.network.partition_one_way(NodeId(other), NodeId(deaf));
    }
    // Something is under way that it would repeat for ever, which the others would hear.
    let group = world.group(deaf, 1).unwrap();
    let mut lost = tokio::task::JoinSet::new();
    lost.spawn(async move { propose(&group, "lost or not").await });
    eventually("another leads", || world.leader(1).is_some_and(|leader| leader != deaf)).await;
    // Two election times of patience, a lease, and an election or two.
    let took = began.elapsed().as_millis() as u64;
    assert!(took <= 6 * support::TIMERS.election_max_ms, "{took} ms");
    assert!(!world.group(deaf, 1).unwrap().leads());
    assert!(committed(&world.add(1, "after").await));
    world.network.heal_all();
    for node in 1..=3 {
        eventually("all have it", || world.applied(node, 1).contains(&"after".into())).await;
    }
    lost.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_knows_how_far_its_leader_is() {
    // It takes some round trips to catch up, and one to hear how far the others are.
    let latency = Duration::from_millis(15)..=Duration::from_millis(20);
    let network = MemoryConfig { latency, ..MemoryConfig::new(16) };
    let mut world = World::over(network, 16, 3, 1).all_up().await;
    let leader = world.leader(1).unwrap();
    let away = (1..=3).find(|node| *node != leader).unwrap();
    world.crash(away).await;
    for number in 0..40 {
        assert!(committed(&world.add(1, &format!("c{number}")).await));
    }
    world.start(away).await;
    eventually("it heard how far the others are, and has not caught up", || {
        let Some(member) = world.group(away, 1) else { return false };
        let committed = member.report().committed.unwrap_or(0);
        40 <= committed && member.settled_next() < committed
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn leads_do_not_return_to_a_node_that_comes_and_goes() {
    let world = World::up(17, 3, 6).await;
    let leads = |node: u64| (1..=6).filter(|group| world.leader(*group) == Some(node)).count();
    eventually("the leads are spread", || (1..=3).all(|node| leads(node) == 2)).await;
    for node in 1..=3 {
        let groups = || (1..=6).map(|group| world.group(node, group).unwrap());
        eventually("all are in touch", || groups().all(|group| group.in_touch())).await;
    }
    let flapping = 2;
    let others = [1, 3];
    let cut = || others.map(|other| world.network.partition(NodeId(flapping), NodeId(other)));
    let heal = || others.map(|other| world.network.heal(NodeId(flapping), NodeId(other)));
    let (mut gained, mut led) = (0, leads(flapping));
    for tenth in 0..140 {
        match tenth % 20 {
            0 => _ = cut(),
            10 => _ = heal(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = leads(flapping);
        gained += now.saturating_sub(led);
        led = now;
    }
    heal();
    assert_eq!((gained, led), (0, 0), "nothing came back while it was not to be trusted");
    eventually("its leads come back", || leads(flapping) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_its_leader_does_not_reach_reads_by_a_third() {
    let world = World::up(18, 3, 1).await;
    assert!(committed(&world.add(1, "before").await));
    let leader = world.leader(1).unwrap();
    let cut = (1..=3).find(|node| *node != leader).unwrap();
    eventually("it has it", || world.applied(cut, 1).contains(&"before".into())).await;
    world.network.partition(NodeId(leader), NodeId(cut));
    let member = world.group(cut, 1).unwrap();
    eventually("it does not hear its leader", || !member.in_touch()).await;
    let began = tokio::time::Instant::now();
    let read = tokio::time::timeout(Duration::from_secs(3), member.linearize()).await;
    assert!(matches!(read, Ok(Ok(()))), "{read:?}");
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert!(world.applied(cut, 1).contains(&"before".into()));
    // What it cannot have, it does not show.
    assert!(committed(&world.add(1, "behind its back").await));
    let read = tokio::time::timeout(Duration::from_secs(3), member.linearize()).await;
    assert!(!matches!(read, Ok(Ok(()))), "{read:?}");
    // Nobody else is in reach: there is no third.
    for other in (1..=3).filter(|node| *node != cut) {
        world.network.partition(NodeId(other), NodeId(cut));
    }
    assert!(member.linearize().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_by_a_third_where_the_link_is_cut() {
    let world = World::up(19, 3, 1).await;
    world.network.partition(NodeId(1), NodeId(2));
    let host = &world.nodes[&1].host;
    eventually("the link is dead", || host.connected() == [NodeId(3)]).await;
    let call = || host.call(NodeId(2), "echo".into(), Duration::from_secs(2));
    assert_eq!(call().await.unwrap(), "echo");
    world.network.partition(NodeId(3), NodeId(2));
    eventually("nobody has a link to it", || world.nodes[&2].host.connected().is_empty()).await;
    assert!(matches!(call().await, Err(CallError::Unreachable(_))));
}

/// Links with a round trip of 400 ms.
fn far(seed: u64) -> MemoryConfig {
    let latency = Duration::from_millis(190)..=Duration::from_millis(210);
    MemoryConfig { latency, ..MemoryConfig::new(seed) }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_far_apart_work_with_the_times_that_operations_names() {
    let mut world = World::over(far(20), 20, 3, 2);
    world.timers = Timers { heartbeat_ms: 500, election_min_ms: 1600, election_max_ms: 3200 };
    let mut world = world.all_up().await;
    assert!(committed(&world.add(1, "before").await));
    assert!(world.nodes.values().all(|node| node.host.too_far().is_empty()));
    for node in 1..=3 {
        let member = world.group(node, 1).unwrap();
        eventually("all are in touch", || member.in_touch()).await;
        member.linearize().await.unwrap();
        assert!(world.applied(node, 1).contains(&"before".into()), "node {node} reads stale");
    }
    // The leads go to their places, and then nobody is elected any more.
    let terms = |world: &World| [1, 2].map(|group| world.group(1, group).unwrap().report().term);
    let (mut seen, mut calm_s) = (terms(&world), 0);
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = terms(&world);
        calm_s = if now == seen { calm_s + 1 } else { 0 };
        seen = now;
    }
    assert!(60 <= calm_s, "{calm_s}");
    let leader = world.leader(1).unwrap();
    world.crash(leader).await;
    assert!(committed(&world.add(1, "after").await));
}

#[tokio::test(start_paused = true)]
async fn a_node_knows_which_peers_are_too_far_for_its_timers() {
    let mut world = World::over(far(21), 21, 3, 1);
    for node in 1..=3 {
        world.start(node).await;
    }
    for node in 1..=3 {
        let host = &world.nodes[&node].host;
        let others: Vec<NodeId> = (1..=3).filter(|id| *id != node).map(NodeId).collect();
        eventually("both others are too far", || {
            host.too_far().iter().map(|(peer, _)| *peer).eq(others.iter().copied())
        })
        .await;
    }
    let near = World::up(22, 3, 1).await;
    assert!(near.nodes.values().all(|node| node.host.too_far().is_empty()));
}
