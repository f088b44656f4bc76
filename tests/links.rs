//! Links of workers on one node: turns are handed out, fed from the log, spoken in, and left.

use std::time::Duration;

use bytes::Bytes;
use harness::node::{TestNode, start_single};
use outlive::ids::{AgentName, InteractionId, KindName, SessionId, TurnId, WorkerName};
use outlive::limits;
use outlive::runtime::SubmitError;
use outlive::runtime::agent::{
    Ack, FromWorker, Leave, LinkEnd, Listener, Offered, Refused, Register, Signal, Speaker,
    ToWorker, TurnKey, What,
};
use outlive::session::{
    Ask, Cancel, Command, Config, Format, Input, NewEvent, Refusal, Role, Scope, Then, TurnOutput,
    TurnReport,
};
use tokio::time::{Instant, timeout};

fn session() -> SessionId {
    SessionId::parse("s").expect("a name")
}

fn turn_id(text: &str) -> TurnId {
    TurnId::parse(text).expect("a name")
}

fn text(text: &str) -> NewEvent {
    NewEvent { format: Format::TEXT, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

async fn submit(node: &TestNode, command: impl Into<Command>) {
    let until = Instant::now() + Duration::from_secs(30);
    node.node.runtime.sessions.submit(&session(), command.into(), until).await.expect("taken");
}

async fn ask(node: &TestNode, input: &str) {
    let agent = AgentName::parse("poet").expect("a name");
    let (input, output) = (turn_id(input), text(input));
    submit(node, Command::Input(Box::new(Input::new(input, agent, output)))).await;
}

async fn cancel(node: &TestNode, turn: &str) {
    let cancel = Cancel::new(Scope::Turn(turn_id(turn)), "stop");
    submit(node, Command::Cancel(Box::new(cancel))).await;
}

/// The log as texts: what happened, and what was said.
async fn story(node: &TestNode) -> Vec<String> {
    let page = reqwest::get(format!("{}/v1/sessions/s/events", node.url)).await.expect("an answer");
    let page: serde_json::Value = page.json().await.expect("JSON");
    let tell = |event: &serde_json::Value| {
        let kind = event["type"].as_str().unwrap_or("-");
        format!("{kind} {}", event["text"].as_str().unwrap_or_default()).trim().to_owned()
    };
    page["events"].as_array().expect("a page").iter().map(tell).collect()
}

struct Worker {
    speaker: Speaker,
    listener: Listener,
    pongs: bool,
}

impl Worker {
    fn new(node: &TestNode, capacity: usize, lease_ms: u64) -> Worker {
        let agent = AgentName::parse("poet").expect("a name").into();
        let worker = WorkerName::parse("w").expect("a name");
        let (progress_timeout_ms, cancel_grace) = (90_000, limits::CANCEL_GRACE);
        let grant = None;
        let register = Register {
            agent,
            worker,
            capacity,
            lease_ms,
            progress_timeout_ms,
            cancel_grace,
            grant,
        };
        let (speaker, listener) = node.node.runtime.workers.link(register).expect("it runs");
        Worker { speaker, listener, pongs: true }
    }

    /// The next thing but pings.
    async fn next(&mut self) -> Result<ToWorker, LinkEnd> {
        loop {
            let received = timeout(Duration::from_secs(60), self.listener.next()).await;
            match received.expect("something is told")? {
                ToWorker::Ping if self.pongs => drop(self.speaker.hear(FromWorker::Pong).await),
                ToWorker::Ping => {}
                received => return Ok(received),
            }
        }
    }

    async fn turn(&mut self) -> (TurnKey, Offered) {
        let ToWorker::Turn(offered) = self.next().await.expect("open") else { panic!("a turn") };
        let turn = &offered.assignment.turn;
        let epoch = turn.lease.as_ref().expect("it is taken").epoch;
        let session = offered.assignment.session.clone();
        (TurnKey { session, turn: turn.turn.clone(), epoch }, *offered)
    }

    async fn received(&mut self) -> Signal {
        let ToWorker::Signal(received) = self.next().await.expect("open") else { panic!("told") };
        *received
    }

    async fn ack(&mut self) -> Ack {
        let ToWorker::Ack(ack) = self.next().await.expect("open") else { panic!("an ack") };
        *ack
    }

    async fn refused(&mut self) -> Refused {
        let ToWorker::Refused(refused) = self.next().await.expect("open") else {
            panic!("refused")
        };
        *refused
    }

    async fn emit(&self, key: &TurnKey, seq: u64, words: &[&str], then: Then) {
        let events = words.iter().map(|word| text(word)).collect();
        let output = Some(TurnOutput { seq, events, then, ..TurnOutput::default() });
        let report = TurnReport { output, ..TurnReport::new(key.turn.clone(), key.epoch) };
        let frame = FromWorker::Report { session: key.session.clone(), report: Box::new(report) };
        self.speaker.hear(frame).await.expect("open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_hands_out_turns_while_there_is_room_and_acknowledges_each_say_at_its_place() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 1, 15_000);
    ask(&node, "t").await;
    let (key, offered) = worker.turn().await;
    assert_eq!((offered.events.len(), offered.more), (2, false));
    assert_eq!(offered.events[0].payload, "t");
    ask(&node, "steer").await;
    let received = worker.received().await;
    assert_eq!((received.what, &received.key), (What::Steer, &key));
    let steer = received.event.expect("an event");
    assert_eq!(steer.event.payload, "steer");
    let incoming = Some(steer.event.serial);
    let beat = TurnReport { consumed: incoming, ..TurnReport::new(key.turn.clone(), key.epoch) };
    let beat = FromWorker::Report { session: session(), report: Box::new(beat) };
    worker.speaker.hear(beat).await.expect("open");
    // Says do not wait for each other; their answers come in order, each with its own place.
    for seq in 0..50 {
        worker.emit(&key, seq, &["a", "b"], Then::GoOn).await;
    }
    worker.emit(&key, 52, &["gap"], Then::GoOn).await;
    worker.emit(&key, 50, &["c"], Then::Complete).await;
    let (mut places, mut refused) = (Vec::new(), Vec::new());
    for seq in 0..=50 {
        let ack = loop {
            match worker.next().await.expect("open") {
                ToWorker::Ack(ack) => break ack,
                ToWorker::Refused(answer) => refused.push((answer.seq, answer.code)),
                other => panic!("{other:?}"),
            }
        };
        assert!(ack.seq == seq && (ack.over || seq < 50));
        places.push(ack.places.expect("it said something"));
    }
    assert_eq!(refused, [(Some(52), "sequence_gap")]);
    let received = story(&node).await;
    let at = |serial: outlive::ids::Serial| {
        received[usize::try_from(serial.0).expect("a small number") - 1].as_str()
    };
    for (first, last) in &places[..50] {
        assert_eq!((at(*first), at(*last)), ("turn.output a", "turn.output b"));
    }
    // The last one led to the end of the turn, too.
    assert_eq!((at(places[50].0), at(places[50].1)), ("turn.output c", "turn.completed"));
    assert!(places.is_sorted_by(|before, next| before.1 < next.0), "{places:?}");
    assert!(received.contains(&"input.consumed".to_owned()), "{received:?}");
    // The room is free again.
    ask(&node, "t2").await;
    assert_eq!(worker.turn().await.0.turn, turn_id("t2"));
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_turn_holds_its_room_until_the_worker_is_done() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 1, 15_000);
    ask(&node, "t").await;
    let (key, _) = worker.turn().await;
    worker.emit(&key, 0, &["one"], Then::GoOn).await;
    worker.ack().await;
    cancel(&node, "t").await;
    assert_eq!(worker.received().await.what, What::Cancel);
    ask(&node, "t2").await;
    worker.emit(&key, 1, &["two"], Then::GoOn).await;
    let refused = worker.refused().await;
    assert_eq!((refused.seq, refused.code), (Some(1), "turn_ended"));
    worker.speaker.hear(FromWorker::Done(key)).await.expect("open");
    assert_eq!(worker.turn().await.0.turn, turn_id("t2"));
    let received = story(&node).await;
    assert!(!received.iter().any(|received| received.contains("two")), "{received:?}");
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_said_before_it_left_is_kept_and_its_turn_goes_to_another_at_once() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 4, 60_000);
    ask(&node, "t").await;
    let (key, _) = worker.turn().await;
    for (seq, word) in ["Once", "upon", "a", "time"].iter().enumerate() {
        worker.emit(&key, seq as u64, &[word], Then::GoOn).await;
    }
    worker.speaker.close(Leave::Exited("signal 9".into()));
    // Far sooner than the lease would end.
    let mut heir = Worker::new(&node, 1, 15_000);
    let (next, offered) = heir.turn().await;
    assert!(key.epoch < next.epoch);
    let output = offered
        .events
        .iter()
        .filter(|event| matches!(event.fact.as_deref(), Some(outlive::session::Fact::Output(_))));
    let output: Vec<_> = output.map(|event| event.payload.clone()).collect();
    assert_eq!(output, ["Once", "upon", "a", "time"]);
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_answers_no_ping_loses_its_link_and_its_turns() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 1, *limits::LEASE_MS_RANGE.start());
    ask(&node, "t").await;
    // It keeps its turn well beyond the lease while it answers, and says nothing else.
    worker.turn().await;
    let until = Instant::now() + Duration::from_secs(3);
    if let Ok(received) = tokio::time::timeout_at(until, worker.next()).await {
        panic!("{received:?} is told of a turn that nobody took away");
    }
    worker.pongs = false;
    let end = loop {
        match worker.next().await {
            Ok(ToWorker::Signal(received)) => assert_eq!(received.what, What::Fenced),
            Ok(received) => panic!("{received:?}"),
            Err(end) => break end,
        }
    };
    assert_eq!(end, LinkEnd::Silent);
    let mut heir = Worker::new(&node, 1, 15_000);
    assert_eq!(heir.turn().await.0.turn, turn_id("t"));
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_drains_closes_behind_its_last_turn() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 2, 15_000);
    ask(&node, "t").await;
    let (key, _) = worker.turn().await;
    worker.speaker.hear(FromWorker::Drain).await.expect("open");
    worker.emit(&key, 0, &["end"], Then::Complete).await;
    assert!(worker.ack().await.over);
    assert_eq!(worker.next().await.expect_err("closed"), LinkEnd::Drained);
    assert!(worker.speaker.hear(FromWorker::Pong).await.is_err());
    node.node.stop().await;
}

#[tokio::test]
async fn what_was_refused_is_never_acknowledged_when_it_is_said_again() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 1, 60_000);
    ask(&node, "t1").await;
    let (key, _) = worker.turn().await;
    let many = vec!["x"; limits::APPEND_EVENTS + 1];
    // Twice at once, and once more when it is known what became of it.
    for seq in [0, 0] {
        worker.emit(&key, seq, &many, Then::GoOn).await;
    }
    for _ in 0..2 {
        let refused = worker.refused().await;
        assert_eq!((refused.seq, refused.code), (Some(0), "too_many_events"));
    }
    worker.emit(&key, 0, &many, Then::GoOn).await;
    assert_eq!(worker.refused().await.code, "too_many_events");
    // What comes after it goes on, also where it is sent again at the same time, and it may be put right.
    worker.emit(&key, 1, &["one"], Then::GoOn).await;
    worker.emit(&key, 0, &many, Then::GoOn).await;
    assert_eq!(worker.ack().await.seq, 1);
    assert_eq!(worker.refused().await.seq, Some(0));
    worker.emit(&key, 0, &["two"], Then::GoOn).await;
    let ack = worker.ack().await;
    assert!(ack.seq == 0 && ack.places.is_some(), "{ack:?}");
    worker.emit(&key, 0, &["two"], Then::GoOn).await;
    assert_eq!(worker.ack().await.seq, 0);
    worker.emit(&key, 2, &["three"], Then::Complete).await;
    assert!(worker.ack().await.over);
    let received = story(&node).await;
    let output: Vec<_> =
        received.iter().filter(|received| received.starts_with("turn.output")).collect();
    assert_eq!(output.len(), 3, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_say_that_no_entry_has_room_for_is_refused_for_good() {
    let node = start_single().await;
    submit(&node, Config::default()).await;
    let mut worker = Worker::new(&node, 1, 60_000);
    ask(&node, "t1").await;
    let (key, _) = worker.turn().await;
    // Each part is within its limit; together they are too much.
    let large = "x".repeat(limits::EVENT_BYTES);
    let ask = |at: usize| Ask {
        interaction: InteractionId::parse(&format!("i{at}")).expect("a name"),
        kind: KindName::parse("approval").expect("a name"),
        question: text(&large),
        deadline_ms: None,
        role: Role::Participant,
    };
    let output = TurnOutput { ask: (0..5).map(ask).collect(), ..TurnOutput::default() };
    let report =
        TurnReport { output: Some(output), ..TurnReport::new(key.turn.clone(), key.epoch) };
    let until = Instant::now() + Duration::from_secs(30);
    let command = Command::Report(Box::new(report.clone()));
    let answer = node.node.runtime.sessions.submit(&session(), command, until).await;
    let too_large = |refusal: &Refusal| matches!(refusal, Refusal::AppendTooLarge { .. });
    assert!(matches!(&answer, Err(SubmitError::Refused { refusal, .. }) if too_large(refusal)));
    let frame = FromWorker::Report { session: key.session.clone(), report: Box::new(report) };
    worker.speaker.hear(frame).await.expect("open");
    assert_eq!(worker.refused().await.code, "append_too_large");
    worker.emit(&key, 1, &["done"], Then::Complete).await;
    assert!(worker.ack().await.over);
}
