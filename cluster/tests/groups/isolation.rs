//! What nodes know and do that are cut off, far away, or come and go.

use super::*;

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
