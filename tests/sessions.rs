//! Sessions on one node, through the runtime: passivation, retention, time to live, failures, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::clock::{Clock, SystemClock};
use harness::load::eventually;
use harness::node::{TestNode, start_single, start_single_by};
use outlive::ids::{
    AgentName, Incarnation, ProducerEpoch, ProducerId, Serial, SessionId, TurnId, WorkerName,
};
use outlive::limits;
use outlive::runtime::claim::Claimer;
use outlive::runtime::{Delivery, Freshness, Reader, Reply, Start, SubmitError};
use outlive::session::{
    Append, Applied, Command, Config, Format, Input, NewEvent, Origin, Retention,
};
use tokio::time::{Instant, timeout};

fn id(name: &str) -> SessionId {
    SessionId::parse(name).expect("a name")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn submit(node: &TestNode, name: &str, command: Command) -> Result<Reply, SubmitError> {
    node.node.runtime.sessions.submit(&id(name), command, soon()).await
}

fn append(text: &str, seq: Option<u64>) -> Command {
    let (id, epoch) = (ProducerId::parse("p").expect("a name"), ProducerEpoch(1));
    let producer = seq.map(|seq| Origin { producer: id, epoch, seq });
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    Command::Append(Append { events, producer, ..Append::default() })
}

async fn attach(node: &TestNode, name: &str, start: Start) -> Reader {
    let runtime = &node.node.runtime;
    runtime
        .sessions
        .attach(&id(name), start, Freshness::Linearizable, soon())
        .await
        .expect("attached")
}

async fn next(reader: &mut Reader) -> Delivery {
    timeout(Duration::from_secs(30), reader.next()).await.expect("something is delivered")
}

/// Reads until the reader has caught up, and returns the texts.
async fn texts(reader: &mut Reader) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        match next(reader).await {
            Delivery::Events(events) => {
                let text = |payload: &Bytes| String::from_utf8(payload.to_vec()).expect("text");
                texts.extend(events.iter().map(|shown| text(&shown.event.payload)));
            }
            Delivery::CaughtUp { .. } | Delivery::End { .. } => return texts,
            other => panic!("{other:?} is not expected"),
        }
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("event {number}")).collect()
}

#[tokio::test]
async fn a_passivated_session_costs_no_actor_and_forgets_nothing() {
    let node = start_single().await;
    submit(&node, "s", Command::from(Config::default())).await.unwrap();
    for number in 0..100 {
        submit(&node, "s", append(&format!("event {number}"), Some(number))).await.unwrap();
    }
    eventually("its actor leaves", async || {
        node.node.runtime.sessions.passivate(Duration::ZERO);
        node.node.runtime.sessions.live() == 0
    })
    .await;
    let again = submit(&node, "s", append("event 41", Some(41))).await.unwrap();
    let places = Some(Serial(42));
    let wanted = Applied::Appended {
        first: places,
        last: places,
        duplicate: true,
        closed: false,
        seq: Some(99),
    };
    assert_eq!(again.applied, wanted);
    let mut reader = attach(&node, "s", Start::Beginning).await;
    assert_eq!(texts(&mut reader).await, numbered(0..100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_waits_keeps_no_session_in_memory_and_is_still_had_at_once() {
    let node = start_single().await;
    submit(&node, "s", Command::from(Config::default())).await.unwrap();
    let (turn, agent) = (TurnId::parse("t").unwrap(), AgentName::parse("poet").unwrap());
    let output = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"a poem") };
    let input = Input::new(turn.clone(), agent.clone(), output);
    submit(&node, "s", Command::Input(Box::new(input))).await.unwrap();
    let live = || node.node.runtime.sessions.live();
    eventually("its actor leaves", async || {
        node.node.runtime.sessions.passivate(Duration::ZERO);
        live() == 0
    })
    .await;
    // It is looked at again from time to time, and that is no use of it.
    eventually("it is looked at", async || live() == 1).await;
    let begun = Instant::now();
    eventually("its actor leaves by itself", async || live() == 0).await;
    assert!(begun.elapsed() < limits::IDLE, "it stayed as if somebody had used it");
    let worker = WorkerName::parse("w").unwrap();
    let claimer = Claimer {
        agent: agent.into(),
        worker,
        lease_ms: 60_000,
        progress_timeout_ms: 60_000,
        is_bound: false,
        grant: None,
    };
    let taken = node.node.runtime.workers.claim(&claimer, soon()).await.unwrap();
    assert_eq!(taken.map(|taken| taken.turn.turn), Some(turn));
}

#[tokio::test]
async fn a_session_with_a_reader_is_not_passivated() {
    let node = start_single().await;
    submit(&node, "s", Command::from(Config::default())).await.unwrap();
    let mut reader = attach(&node, "s", Start::Tail).await;
    assert!(matches!(next(&mut reader).await, Delivery::CaughtUp { .. }));
    node.node.runtime.sessions.passivate(Duration::ZERO);
    submit(&node, "s", append("still here", None)).await.unwrap();
    assert!(matches!(next(&mut reader).await, Delivery::Events(events) if events.len() == 1));
}

#[tokio::test]
async fn retention_gives_a_gap_and_frees_blocks() {
    let node = start_single().await;
    let retention = Retention { max_age_ms: None, max_bytes: Some(64 << 10) };
    let config = Config { retention, ..Config::default() };
    submit(&node, "s", Command::from(config)).await.unwrap();
    let text = "x".repeat(4 << 10);
    let mut slow = attach(&node, "s", Start::Beginning).await;
    for _ in 0..200 {
        submit(&node, "s", append(&text, None)).await.unwrap();
    }
    let status = node.node.runtime.sessions.status(&id("s"), Freshness::Linearizable, soon()).await;
    let status = status.unwrap().expect("it lives");
    assert!(64 << 10 <= status.bytes && status.bytes < 80 << 10, "{} bytes", status.bytes);
    assert!(Serial(150) < status.first, "the log begins at {}", status.first);
    assert!(matches!(next(&mut slow).await, Delivery::Gap { first } if first == status.first));
    assert!(matches!(next(&mut slow).await, Delivery::Events(_)));
}

#[tokio::test]
async fn a_session_that_nobody_touches_ends_and_its_readers_hear_it() {
    let node = start_single().await;
    let config = Config { ttl_ms: Some(300), ..Config::default() };
    submit(&node, "s", Command::from(config.clone())).await.unwrap();
    submit(&node, "s", append("a", None)).await.unwrap();
    let mut reader = attach(&node, "s", Start::Beginning).await;
    assert_eq!(texts(&mut reader).await, ["a"]);
    assert!(matches!(next(&mut reader).await, Delivery::Deleted));
    let gone = submit(&node, "s", append("b", None)).await;
    assert!(matches!(gone, Err(SubmitError::Refused { .. })), "{gone:?}");
    let again = submit(&node, "s", Command::from(config)).await.unwrap();
    assert_eq!(again.incarnation, Incarnation(2));
}

/// The machine's clock, wrong by as much as a test says.
#[derive(Default)]
struct WrongClock(AtomicI64);

impl Clock for WrongClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms().saturating_add_signed(self.0.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        SystemClock.elapsed_ms()
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_a_moment_ends_no_session_and_keeps_none_from_ending() {
    let clock = Arc::new(WrongClock::default());
    let node = start_single_by(clock.clone()).await;
    let with = |ttl_ms| Command::from(Config { ttl_ms: Some(ttl_ms), ..Config::default() });
    let is_there = async |name: &str| {
        let looked =
            node.node.runtime.sessions.status(&id(name), Freshness::Linearizable, soon()).await;
        looked.unwrap().is_some()
    };
    submit(&node, "lives", with(3_600_000)).await.unwrap();
    for (name, wrong_ms) in [("ahead", 86_400_000), ("behind", -86_400_000)] {
        clock.0.store(wrong_ms, Ordering::Relaxed);
        submit(&node, name, with(1)).await.unwrap();
        eventually("what is due has been looked for", async || !is_there(name).await).await;
        submit(&node, name, with(500)).await.unwrap();
        clock.0.store(0, Ordering::Relaxed);
        eventually("a session that was touched meanwhile ends", async || !is_there(name).await)
            .await;
        assert!(is_there("lives").await, "it was ended by a clock that is {name}");
    }
}

#[tokio::test]
async fn a_reader_of_an_ended_life_is_reset_to_the_next_one() {
    let node = start_single().await;
    let create = Command::from(Config::default());
    submit(&node, "s", create.clone()).await.unwrap();
    submit(&node, "s", append("old", None)).await.unwrap();
    let mut reader = attach(&node, "s", Start::Beginning).await;
    assert_eq!(texts(&mut reader).await, ["old"]);
    let at = reader.cursor();
    drop(reader);
    submit(&node, "s", Command::Delete { incarnation: None }).await.unwrap();
    submit(&node, "s", create).await.unwrap();
    submit(&node, "s", append("new", None)).await.unwrap();
    let mut reader = attach(&node, "s", Start::After(at)).await;
    let reset = next(&mut reader).await;
    assert!(matches!(reset, Delivery::Reset { incarnation: Incarnation(2) }), "{reset:?}");
    assert_eq!(texts(&mut reader).await, ["new"]);
}

#[tokio::test]
async fn many_sessions_are_listed_in_order_page_by_page() {
    let node = start_single().await;
    for number in 0..25 {
        let name = format!("list/{number:02}");
        submit(&node, &name, Command::from(Config::default())).await.unwrap();
    }
    submit(&node, "other", Command::from(Config::default())).await.unwrap();
    submit(&node, "list/07", Command::Delete { incarnation: None }).await.unwrap();
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = node
            .node
            .runtime
            .sessions
            .list(None, ("list/", after.as_deref()), 10, soon())
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.name().to_owned());
        names.extend(page.into_iter().map(|summary| summary.id.name().to_owned()));
    }
    let wanted: Vec<String> =
        (0..25).filter(|n| *n != 7).map(|number| format!("list/{number:02}")).collect();
    assert_eq!(names, wanted);
}
