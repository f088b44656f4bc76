//! What time entries get where the clocks of nodes are wrong.

mod support;

use std::time::Duration;

use cluster::group::Fate;
use cluster::ids::GroupId;
use cluster::limits::STEADY_MIN;
use support::{World, eventually};
use tokio::time::{Instant, sleep};

const DAY: i64 = 86_400_000;
const GROUP: GroupId = GroupId(1);

/// Adds a command to the group and returns the time of its entry less the true one, in ms.
async fn error(world: &World, text: &str) -> i64 {
    assert!(matches!(world.add(1, text).await, Fate::Committed(_)));
    let leader = world.leader(1).expect("it was just led");
    let shelf = &world.places[&leader].shelf;
    eventually("the entry is applied", || shelf.live(GROUP).last().is_some_and(|t| t == text))
        .await;
    for place in world.places.values() {
        assert!(place.shelf.times_grow(GROUP), "time ran backwards");
    }
    let time = shelf.last_time(GROUP).expect("it has one");
    i64::try_from(time).unwrap() - i64::try_from(world.true_ms()).unwrap()
}

fn is_far(world: &World, node: u64) -> bool {
    world.nodes[&node].host.time().report().is_far
}

async fn restart(world: &mut World, nodes: impl Iterator<Item = u64> + Clone) {
    for node in nodes.clone() {
        world.crash(node).await;
    }
    for node in nodes {
        world.start(node).await;
    }
    world.all_led().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_jumps_stamps_the_right_time_and_leads_no_more() {
    for jump in [DAY, -DAY] {
        let world = World::up(21, 3, 1).await;
        assert!(error(&world, "before").await.abs() < 1000);
        let map = world.nodes[&1].host.map().borrow().clone();
        let leader = map.placement.replicas(GROUP)[0].0;
        eventually("the lead is where it goes back to", || world.leader(1) == Some(leader)).await;
        world.set_clock(leader, jump);
        for number in 0..20 {
            let error = error(&world, &format!("during {number}")).await;
            assert!(error.abs() < 1000, "{error} ms off after a jump of {jump}");
        }
        eventually("it says so", || is_far(&world, leader)).await;
        eventually("another leads", || world.leader(1).is_some_and(|now| now != leader)).await;
        // A node that is steady for so long would be given the lead.
        let until = Instant::now() + 2 * STEADY_MIN;
        while Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
            assert_ne!(world.leader(1), Some(leader), "the lead went back to it");
        }
        assert!((1..=3).all(|node| is_far(&world, node) == (node == leader)));
        world.set_clock(leader, 0);
        eventually("it is like the others again", || !is_far(&world, leader)).await;
        assert!(error(&world, "after").await.abs() < 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_three_go_on_with_the_right_time_where_one_clock_is_wrong() {
    let mut world = World::up(22, 3, 1).await;
    let away: Vec<u64> = (1..=3).filter(|node| Some(*node) != world.leader(1)).collect();
    let leader = world.leader(1).unwrap();
    world.crash(away[0]).await;
    world.set_clock(leader, DAY);
    for number in 0..50 {
        sleep(Duration::from_millis(500)).await;
        let error = error(&world, &format!("c{number}")).await;
        assert!(error.abs() < 1000, "{error} ms off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_with_a_wrong_clock_stamps_the_right_time() {
    let mut world = World::up(23, 3, 1).await;
    assert!(error(&world, "before").await.abs() < 1000);
    let leader = world.leader(1).unwrap();
    world.crash(leader).await;
    world.set_clock(leader, DAY);
    world.start(leader).await;
    for number in 0..20 {
        sleep(Duration::from_millis(300)).await;
        let error = error(&world, &format!("c{number}")).await;
        assert!(error.abs() < 1000, "{error} ms off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_off_for_days_goes_on_with_the_time_of_its_clocks() {
    for nodes in [1, 3] {
        let mut world = World::up(24 + nodes, nodes, 1).await;
        assert!(error(&world, "before").await.abs() < 1000);
        for node in 1..=nodes {
            world.crash(node).await;
        }
        for node in 1..=nodes {
            world.set_clock(node, 3 * DAY);
        }
        restart(&mut world, 1..=nodes).await;
        sleep(Duration::from_secs(2)).await;
        let error = error(&world, "after").await - 3 * DAY;
        assert!(error.abs() < 1000, "{error} ms off with {nodes} nodes");
    }
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_slowly_where_the_last_entry_is_from_the_future() {
    for nodes in [1, 3] {
        let world = World::new(30 + nodes, nodes, 1);
        for node in 1..=nodes {
            world.set_clock(node, DAY);
        }
        let mut world = world.all_up().await;
        assert!((error(&world, "from the future").await - DAY).abs() < 1000);
        for node in 1..=nodes {
            world.set_clock(node, 0);
        }
        restart(&mut world, 1..=nodes).await;
        let mut before = error(&world, "0").await;
        assert!((before - DAY).abs() < 60_000, "{before}");
        for number in 1..=2 {
            sleep(Duration::from_secs(16)).await;
            let after = error(&world, &number.to_string()).await;
            assert!((1_000..3_000).contains(&(before - after)), "{} in 16 s", before - after);
            before = after;
        }
    }
}
