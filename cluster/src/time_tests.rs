//! Time that a majority shows: clocks that are far, that jump, and nodes that begin.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::*;

const DAY: u64 = 86_400_000;
/// What time it really is when nothing has elapsed.
const TRUTH: u64 = 1_700_000_000_000;

/// Clocks that a test sets: what elapsed, and by how much the wall clock is wrong.
#[derive(Default)]
struct Hand {
    elapsed: AtomicU64,
    wrong: AtomicI64,
}

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        (TRUTH + self.elapsed_ms()).saturating_add_signed(self.wrong.load(Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        self.elapsed.load(Relaxed)
    }
}

/// Nodes whose clocks are read in rounds, one a second, as the host does.
struct Nodes {
    clocks: Vec<Arc<Hand>>,
    times: Vec<Arc<NodeTime>>,
    /// Nodes that are cut off from all others, in both directions.
    cut: BTreeSet<usize>,
}

impl Nodes {
    fn new(wrong: &[i64]) -> Nodes {
        let clocks: Vec<_> = wrong.iter().map(|_| Arc::new(Hand::default())).collect();
        for (clock, wrong) in clocks.iter().zip(wrong) {
            clock.wrong.store(*wrong, Relaxed);
        }
        let times = clocks.iter().map(|clock| NodeTime::new(clock.clone())).collect();
        Nodes { clocks, times, cut: BTreeSet::new() }
    }

    fn id(at: usize) -> NodeId {
        NodeId(at as u64 + 1)
    }

    fn round(&self) {
        let members: BTreeSet<NodeId> = (0..self.times.len()).map(Nodes::id).collect();
        for (at, time) in self.times.iter().enumerate() {
            for (other, request) in self.times.iter().enumerate() {
                if at != other && !self.cut.contains(&at) && !self.cut.contains(&other) {
                    time.hear(Nodes::id(other), time.elapsed_ms(), &request.shown()).unwrap();
                }
            }
            time.settle(&members, Nodes::id(at));
        }
    }

    fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            for clock in &self.clocks {
                clock.elapsed.fetch_add(1000, Relaxed);
            }
            self.round();
        }
    }

    fn wrong(&self, at: usize, wrong: i64) {
        self.clocks[at].wrong.store(wrong, Relaxed);
    }

    /// How far the time of a node is from the truth.
    fn error(&self, at: usize) -> i64 {
        signed(self.times[at].now_ms().unwrap(), TRUTH + self.clocks[at].elapsed_ms())
    }
}

#[test]
fn a_clock_that_jumps_is_told_and_moves_nobodys_time() {
    for jump in [DAY as i64, -(DAY as i64), 20_000] {
        let nodes = Nodes::new(&[0, 0, 0]);
        nodes.round();
        nodes.wrong(0, jump);
        nodes.pass(600);
        for at in 0..3 {
            assert_eq!(nodes.error(at), 0, "node {at} after a jump of {jump}");
            assert_eq!(nodes.times[at].report().is_far, at == 0, "node {at}");
        }
        assert_eq!(nodes.times[0].report().skew_ms, jump);
        nodes.wrong(0, 0);
        nodes.pass(1);
        assert!(!nodes.times[0].report().is_far);
    }
}

#[test]
fn a_node_that_starts_with_a_wrong_clock_goes_by_the_others() {
    let nodes = Nodes::new(&[DAY as i64, 0, 0]);
    assert_eq!(nodes.times[0].now_ms(), None, "it knows nothing by itself");
    nodes.round();
    nodes.pass(5);
    assert_eq!((nodes.error(0), nodes.error(1)), (0, 0));
    assert!(nodes.times[0].report().is_far);
}

#[test]
fn two_of_three_go_on_where_they_disagree() {
    let mut nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    nodes.cut.insert(2);
    for wrong in [DAY as i64, -(DAY as i64)] {
        nodes.wrong(0, wrong);
        nodes.pass(300);
        assert_eq!((nodes.error(0), nodes.error(1)), (0, 0));
        assert!(!nodes.times[1].report().is_far, "nobody says so but the one that is wrong");
    }
}

#[test]
fn a_majority_is_believed_when_it_has_said_so_for_a_while() {
    let nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    // All were asleep for three days, which no clock of elapsed time noticed.
    for at in 0..3 {
        nodes.wrong(at, 3 * DAY as i64);
    }
    nodes.pass(30);
    assert!(nodes.error(0) < 5_000, "{}", nodes.error(0));
    nodes.pass(40);
    for at in 0..3 {
        assert_eq!(nodes.error(at), 3 * DAY as i64);
    }
}

#[test]
fn a_majority_that_is_wrong_for_a_moment_moves_time_by_moments() {
    let nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    for _ in 0..20 {
        nodes.wrong(0, DAY as i64);
        nodes.wrong(1, DAY as i64);
        nodes.pass(50);
        nodes.wrong(0, 0);
        nodes.wrong(1, 0);
        nodes.pass(60);
    }
    assert!(nodes.error(2) <= 10_000, "{}", nodes.error(2));
}

#[test]
fn time_that_is_ahead_slows_down_and_never_stops_or_goes_back() {
    let nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    for at in 0..3 {
        nodes.wrong(at, -60_000);
    }
    let mut before = nodes.times[0].now_ms().unwrap();
    for _ in 0..400 {
        nodes.pass(1);
        let now = nodes.times[0].now_ms().unwrap();
        assert!((870..=1000).contains(&(now - before)), "it went {} ms", now - before);
        before = now;
    }
    nodes.pass(200);
    assert_eq!(nodes.error(0), -60_000);
}

#[test]
fn small_differences_are_worked_off() {
    let nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    for at in 0..3 {
        nodes.wrong(at, 4000);
    }
    nodes.pass(16);
    assert!((1800..=2000).contains(&nodes.error(0)), "{}", nodes.error(0));
    nodes.pass(30);
    assert_eq!(nodes.error(0), 4000);
}

#[test]
fn a_node_alone_believes_its_clock_at_the_start_and_later_when_it_stays() {
    let nodes = Nodes::new(&[0]);
    nodes.round();
    assert_eq!(nodes.error(0), 0);
    nodes.wrong(0, DAY as i64);
    nodes.pass(3);
    nodes.wrong(0, 0);
    nodes.pass(10);
    assert_eq!(nodes.error(0), 0);
    nodes.wrong(0, DAY as i64);
    nodes.pass(500);
    assert!(nodes.error(0) < 70_000);
    nodes.pass(150);
    assert_eq!(nodes.error(0), DAY as i64);
}

#[test]
fn two_that_disagree_go_on_as_they_were() {
    let nodes = Nodes::new(&[0, 60_000]);
    nodes.round();
    nodes.pass(100);
    assert_eq!((nodes.error(0), nodes.error(1)), (0, 0));
    assert!(!nodes.times[0].report().is_far && !nodes.times[1].report().is_far);
}

#[test]
fn a_process_that_was_stopped_takes_no_answer_from_before() {
    let nodes = Nodes::new(&[0, 0, 0]);
    nodes.round();
    let request = nodes.times[0].elapsed_ms();
    let answer = nodes.times[1].shown();
    nodes.clocks[0].elapsed.fetch_add(50_000, Relaxed);
    nodes.times[0].hear(NodeId(2), request, &answer).unwrap();
    nodes.times[0].settle(&(1..=3).map(NodeId).collect(), NodeId(1));
    assert!(!nodes.times[0].report().is_agreed, "all it knows is old");
    assert_eq!(nodes.error(0), 0, "it goes on by what elapsed");
}

#[test]
fn a_group_is_never_below_its_entries_and_goes_on_where_they_are_in_the_future() {
    let nodes = Nodes::new(&[0, 0, 0]);
    let group = GroupTime::new(nodes.times[0].clone());
    group.observe(TRUTH + DAY);
    nodes.pass(1);
    let mut before = group.now_ms();
    assert!(TRUTH + DAY < before);
    for _ in 0..100 {
        nodes.pass(1);
        let went = group.now_ms() - before;
        assert!((870..=880).contains(&went), "it went {went} ms");
        before = group.now_ms();
    }
    // Eight days later, the others have come.
    for clock in &nodes.clocks {
        clock.elapsed.fetch_add(9 * DAY, Relaxed);
    }
    nodes.pass(2);
    assert_eq!(Some(group.now_ms()), nodes.times[0].now_ms());
}

#[test]
fn a_group_goes_on_from_its_last_entry_while_no_majority_is_heard() {
    let clock = Arc::new(Hand::default());
    clock.wrong.store(DAY as i64, Relaxed);
    let group = GroupTime::new(NodeTime::new(clock.clone()));
    group.observe(TRUTH);
    clock.elapsed.fetch_add(5000, Relaxed);
    assert_eq!(group.now_ms(), TRUTH + 5000);
}

#[tokio::test(start_paused = true)]
async fn the_first_entry_of_all_waits_for_a_majority_but_not_for_ever() {
    let nodes = Nodes::new(&[DAY as i64, 0, 0]);
    let group = GroupTime::new(nodes.times[0].clone());
    let (stamp, ()) = tokio::join!(group.stamp_ms(), async {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        nodes.round();
    });
    assert_eq!(stamp, TRUTH);
    let alone = GroupTime::new(Nodes::new(&[7, 0, 0]).times[0].clone());
    assert_eq!(alone.stamp_ms().await, TRUTH + 7);
}

#[test]
fn what_nodes_say_of_their_clocks_stays_as_it_is() {
    let shown = Shown { wall_ms: 3, time_ms: Some(4) };
    let bytes = codec::encode(VERSION, &shown);
    assert_eq!(bytes, [1, 3, 1, 4]);
    assert_eq!(codec::decode::<Shown>(VERSION, &bytes).unwrap(), shown);
}
