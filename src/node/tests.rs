//! What a node does when an actor, a command or its store fails: a whole node in the test's process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use std::net::SocketAddr;

use cluster::clock::{Clock, SystemClock};
use cluster::ids::NodeId;

use super::{End, Node};
use crate::config::{Given, ServeConfig};
use crate::ids::{
    AgentName, Millis, ProducerEpoch, ProducerId, Serial, SessionId, TurnEpoch, TurnId, WorkerName,
};
use crate::runtime::space::Room;
use crate::runtime::{Delivery, Freshness, NotReady, Reply, Start, SubmitError, Unavailable};
use crate::session::{
    Append, Applied, Cancel, Claim, Command, Config, Format, Input, NewEvent, Origin, Retention,
    Scope, TurnOutput, TurnReport,
};
use crate::store::Store;

const LONG: Duration = Duration::from_secs(30);

async fn start(dir: &Path) -> Node {
    start_by(dir, Arc::new(SystemClock)).await
}

async fn start_by(dir: &Path, clock: Arc<dyn Clock>) -> Node {
    start_with(dir, Some(16), clock).await
}

async fn start_with(dir: &Path, checkpoint_entries: Option<u64>, clock: Arc<dyn Clock>) -> Node {
    let given = Given {
        listen: Some(([127, 0, 0, 1], 0).into()),
        data_dir: Some(dir.join("data")),
        groups: Some(1),
        checkpoint_entries,
        ..Default::default()
    };
    let config = ServeConfig::load(given, None, std::iter::empty()).unwrap();
    let node = Node::start_by(&config, None, clock).await.unwrap();
    // A command waits for a leader; a look does not.
    create(&node, "first").await;
    node
}

fn id(name: &str) -> SessionId {
    SessionId::parse(name).unwrap()
}

async fn create(node: &Node, name: &str) {
    let create = Command::from(crate::session::Config::default());
    node.runtime.sessions.submit(&id(name), create, Instant::now() + LONG).await.unwrap();
}

async fn append(node: &Node, name: &str) -> Serial {
    let events = vec![NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"word") }];
    let append = Command::Append(Append { events, ..Append::default() });
    node.runtime.sessions.submit(&id(name), append, Instant::now() + LONG).await.unwrap().tail
}

async fn tail(node: &Node, name: &str) -> Serial {
    let soon = Instant::now() + LONG;
    let status = node.runtime.sessions.status(&id(name), Freshness::Linearizable, soon).await;
    status.unwrap().expect("it exists").tail
}

/// A large disk that has so many MiB left.
fn room(free_mib: u64) -> Room {
    Room { free: free_mib << 20, total: 1 << 40, reserve: 256 << 20 }
}

fn words(text: &'static str) -> NewEvent {
    NewEvent { format: Format::TEXT, payload: Bytes::from_static(text.as_bytes()) }
}

fn content(bytes: usize) -> Command {
    let events = vec![NewEvent { format: Format::TEXT, payload: vec![b'x'; bytes].into() }];
    Command::Append(Append { events, ..Append::default() })
}

#[tokio::test]
async fn the_less_space_there_is_the_less_is_taken_and_what_ends_or_makes_room_always_is() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let (sessions, s) = (&node.runtime.sessions, id("s"));
    create(&node, "s").await;
    append(&node, "s").await;
    let input = |name: &str| {
        let (turn, content) = (TurnId::parse(name).unwrap(), words("go"));
        let agent = AgentName::parse("a").unwrap();
        Command::Input(Box::new(Input::new(turn, agent, content)))
    };
    let by = || Instant::now() + LONG;
    sessions.submit(&s, input("t"), by()).await.unwrap();
    let claim = Claim {
        turn: TurnId::parse("t").unwrap(),
        worker: WorkerName::parse("w").unwrap(),
        key: 1,
        lease_ms: 600_000,
        progress_timeout_ms: 600_000,
        node: None,
    };
    sessions.submit(&s, Command::Claim(Box::new(claim)), by()).await.unwrap();
    let mut seq = 0;
    let mut emit = || {
        let output = TurnOutput { seq, events: vec![words("word")], ..TurnOutput::default() };
        seq += 1;
        let turn = TurnId::parse("t").unwrap();
        Command::Report(Box::new(TurnReport {
            output: Some(output),
            ..TurnReport::new(turn, TurnEpoch(1))
        }))
    };
    let is_full = |done: Result<Reply, SubmitError>| match done {
        Err(SubmitError::Unavailable(Unavailable::DiskFull)) => true,
        Ok(_) => false,
        Err(other) => panic!("{other}"),
    };
    node.runtime.space.pretend(Some(room(200)));
    assert!(is_full(sessions.submit(&s, content(10), by()).await));
    assert!(!is_full(sessions.submit(&s, emit(), by()).await), "a word is small");
    assert_eq!(node.runtime.overview.not_ready(), [NotReady::DiskFull]);
    node.runtime.space.pretend(Some(room(100)));
    assert!(is_full(sessions.submit(&s, emit(), by()).await), "there will soon be no space at all");
    let new = Command::from(crate::session::Config::default());
    assert!(is_full(sessions.submit(&id("other"), new, by()).await));
    let cancel = Cancel::new(Scope::Turn(TurnId::parse("t").unwrap()), "");
    for ends in [
        Command::Cancel(Box::new(cancel)),
        Command::Trim { before: Serial(2) },
        Command::Delete { incarnation: None },
    ] {
        assert!(!is_full(sessions.submit(&s, ends, by()).await));
    }
    node.runtime.space.pretend(None);
    create(&node, "other").await;
    node.stop().await;
}

/// Four events that cannot be compressed, of a megabyte less what is around them.
fn big() -> Command {
    let event = |_| {
        let mut payload = vec![0; 240_000];
        rand::fill(&mut payload[..]);
        NewEvent { format: Format::TEXT, payload: payload.into() }
    };
    Command::Append(Append { events: (0..4).map(event).collect(), ..Append::default() })
}

/// Bytes of all files below a directory.
fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>());
    let of = |entry: &std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_of(&entry.path()),
        Ok(meta) => meta.len(),
        // Removed meanwhile.
        Err(_) => 0,
    };
    entries.unwrap_or_default().iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_the_disk_is_short_is_given_back_soon() {
    let dir = tempfile::tempdir().unwrap();
    // As checkpoints are by default: rare.
    let node = start_with(dir.path(), None, Arc::new(SystemClock)).await;
    let by = || Instant::now() + LONG;
    // More than the engine keeps in memory, and than a segment of the journal.
    let names: Vec<String> = (0..200).map(|session| format!("s{session}")).collect();
    for name in &names {
        create(&node, name).await;
        node.runtime.sessions.submit(&id(name), big(), by()).await.unwrap();
    }
    let parts = ["journal", "store"].map(|part| dir.path().join("data").join(part));
    let mib = || parts.each_ref().map(|part| bytes_of(part) >> 20);
    node.runtime.space.pretend(Some(room(200)));
    let full = mib();
    assert!(150 <= full[1], "{full:?}");
    for name in &names {
        let delete = Command::Delete { incarnation: None };
        node.runtime.sessions.submit(&id(name), delete, by()).await.unwrap();
    }
    // An active segment and its spare are always there, and some of the engine's own journal.
    let until = Instant::now() + 3 * LONG;
    while 128 < mib()[0] || 100 < mib()[1] {
        assert!(Instant::now() < until, "of {full:?} MiB there are still {:?}", mib());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_list_is_held_while_the_node_is_bootstrapped() {
    let dir = tempfile::tempdir().unwrap();
    let given = Given {
        listen: Some(([127, 0, 0, 1], 0).into()),
        data_dir: Some(dir.path().join("data")),
        groups: Some(3),
        ..Default::default()
    };
    let config = ServeConfig::load(given, None, std::iter::empty()).unwrap();
    let node = Node::start(&config, None).await.unwrap();
    let by = Instant::now() + LONG;
    let listed = node.runtime.sessions.list(None, ("", None), 10, by).await.unwrap();
    assert!(listed.is_empty());
    // A subscription requests such lists.
    let url = format!("http://{}/v1/stream/__ds/subscriptions/x", node.address);
    let body = r#"{"type":"pull-wake","pattern":"a/*","wake_stream":"w"}"#;
    let sent = reqwest::Client::new().put(url).header("content-type", "application/json");
    let answer = sent.body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap());
    node.stop().await;
}

#[tokio::test]
async fn no_checkpoint_leaves_out_a_session_whose_actor_failed() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    create(&node, "s").await;
    create(&node, "other").await;
    for _ in 0..5 {
        append(&node, "s").await;
    }
    node.runtime.sessions.fail_actor(&id("s"));
    // No request for it comes again; checkpoints go on with what others append, and at the end.
    for _ in 0..64 {
        append(&node, "other").await;
    }
    node.stop().await;
    let node = start(dir.path()).await;
    assert_eq!(tail(&node, "s").await, Serial(5));
    assert_eq!(append(&node, "s").await, Serial(6));
    node.stop().await;
}

#[tokio::test]
async fn a_session_whose_actor_failed_is_found_though_its_head_was_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    create(&node, "s").await;
    append(&node, "s").await;
    node.runtime.sessions.fail_actor(&id("s"));
    assert_eq!(tail(&node, "s").await, Serial(1));
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_stopped_wakes_no_session_when_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    for name in ["a", "b", "c"] {
        create(&node, name).await;
        append(&node, name).await;
    }
    node.stop().await;
    let node = start(dir.path()).await;
    // All that the journal has was applied before the command that the start waits for.
    assert_eq!(node.runtime.sessions.live(), 1, "the store was up to date");
    assert_eq!(tail(&node, "c").await, Serial(1));
    node.stop().await;
}

/// Time that a test lets pass.
#[derive(Default)]
struct Hand(AtomicU64);

impl Hand {
    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.elapsed_ms()
    }

    fn elapsed_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The store of a node that stopped, and the deadline of its one session that has one.
fn filed(dir: &Path) -> (Store, Millis) {
    let store = Store::open(&dir.join("data/store")).unwrap();
    let rows = store.due(1, Millis(u64::MAX), 10).unwrap();
    let [(filed, _)] = &rows[..] else { panic!("one deadline is filed: {rows:?}") };
    (store, *filed)
}

#[tokio::test]
async fn what_a_power_cut_left_of_a_deadline_is_put_right() {
    const AGE: u64 = 600_000;
    const APART: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Hand::default());
    let node = start_by(dir.path(), clock.clone()).await;
    let retention = Retention { max_age_ms: Some(AGE), max_bytes: None };
    let create = Command::from(Config { retention, ..Config::default() });
    let soon = || Instant::now() + LONG;
    node.runtime.sessions.submit(&id("s"), create, soon()).await.unwrap();
    for _ in 0..3 {
        append(&node, "s").await;
        clock.pass(APART);
    }
    let trim = Command::Trim { before: Serial(2) };
    node.runtime.sessions.submit(&id("s"), trim, soon()).await.unwrap();
    node.stop().await;
    // The deadline of what was trimmed comes, and the session is filed anew. The power goes before a head
    // records that, and comes back when the second event is due, and the third is not.
    let first = {
        let (store, filed) = filed(dir.path());
        store.put_deadline(1, &id("s"), Some(filed.after(APART)), Some(filed)).unwrap();
        store.persist().unwrap();
        filed
    };
    clock.pass(AGE - 2 * APART);
    let node = start_by(dir.path(), clock.clone()).await;
    until(async || {
        let status = node.runtime.sessions.status(&id("s"), Freshness::Linearizable, soon()).await;
        status.unwrap().expect("it exists").first == Serial(3)
    })
    .await;
    node.stop().await;
    assert!(filed(dir.path()).1 <= first.after(2 * APART), "nobody would look at the third event");
}

#[tokio::test]
async fn a_committed_command_that_cannot_be_read_stops_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    create(&node, "s").await;
    // As a newer version might write it.
    node.runtime.sessions.propose_unreadable(&id("s"));
    let stopped = async {
        // The actor finds it; the entry after it is not applied any more.
        let create = Command::from(crate::session::Config::default());
        let soon = Instant::now() + Duration::from_millis(500);
        node.runtime.sessions.submit(&id("t"), create, soon).await.ok();
        let no_leader = NotReady::NoLeader { shard: 1 };
        while !node.runtime.overview.not_ready().contains(&no_leader) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, stopped).await.expect("the shard stops");
}

#[tokio::test]
async fn a_store_that_fails_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    create(&node, "s").await;
    append(&node, "s").await;
    node.runtime.sessions.fail_store("the disk is full");
    let ended = timeout(LONG, node.until_stopped()).await.expect("it ends by itself");
    assert_eq!(ended.unwrap(), End::StoreFailed);
    assert!(node.runtime.overview.not_ready().contains(&NotReady::StoreFailed));
    node.stop().await;
    // Nothing is lost: the journal has it.
    let node = start(dir.path()).await;
    assert_eq!(tail(&node, "s").await, Serial(1));
    node.stop().await;
}

fn numbered(seq: u64) -> Command {
    let payload = Bytes::from(format!("event {seq}"));
    let producer =
        Origin { producer: ProducerId::parse("p").unwrap(), epoch: ProducerEpoch(1), seq };
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    Command::Append(Append { events, producer: Some(producer), ..Append::default() })
}

#[tokio::test]
async fn a_session_goes_on_after_its_actor_failed() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let (runtime, id) = (&node.runtime, SessionId::parse("s").unwrap());
    let soon = || Instant::now() + Duration::from_secs(30);
    let create = Command::from(crate::session::Config::default());
    runtime.sessions.submit(&id, create, soon()).await.unwrap();
    for seq in 0..50 {
        runtime.sessions.submit(&id, numbered(seq), soon()).await.unwrap();
    }
    let mut reader =
        runtime.sessions.attach(&id, Start::Tail, Freshness::Linearizable, soon()).await.unwrap();
    assert!(matches!(reader.next().await, Delivery::CaughtUp { .. }));
    runtime.sessions.fail_actor(&id);
    let reported = timeout(Duration::from_secs(30), reader.next()).await.unwrap();
    assert!(matches!(reported, Delivery::Detached { .. }), "{reported:?}");
    // What was in no block and in no head is in the journal.
    let again = runtime.sessions.submit(&id, numbered(49), soon()).await.unwrap();
    let place = Some(Serial(50));
    let is_same = matches!(again.applied, Applied::Appended { first, last, .. } if first == place && last == place);
    assert!(is_same, "{again:?}");
    assert_eq!(runtime.sessions.submit(&id, numbered(50), soon()).await.unwrap().tail, Serial(51));
    node.stop().await;
}

/// Three nodes in this process, on free ports, and whether all of them are ready.
async fn three(dir: &Path) -> Vec<Node> {
    use cluster::transport::{make_dev_ca, make_node_cert};
    let tls = dir.join("tls");
    make_dev_ca(&tls).unwrap();
    let held: Vec<_> = (0..3).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let peers: Vec<_> = held.iter().map(|socket| socket.local_addr().unwrap()).collect();
    drop(held);
    let member = |(id, peer): (u64, &SocketAddr)| crate::config::Member {
        id,
        peer: peer.to_string(),
        http: "http://127.0.0.1:1".into(),
    };
    let members: Vec<_> = (1..).zip(&peers).map(member).collect();
    let mut nodes = Vec::new();
    for (id, peer) in (1..).zip(&peers) {
        make_node_cert(&tls, "outlive", NodeId(id)).unwrap();
        let given = crate::config::Given {
            node_id: Some(id),
            listen: Some(([127, 0, 0, 1], 0).into()),
            data_dir: Some(dir.join(id.to_string())),
            groups: Some(1),
            ..Default::default()
        };
        let mut config = ServeConfig::load(given, None, std::iter::empty()).unwrap();
        config.peer_listen = Some(*peer);
        config.tls_dir = Some(tls.clone());
        config.members.clone_from(&members);
        // Three nodes share the test's threads.
        (config.election_min_ms, config.election_max_ms) = (1000, 2000);
        nodes.push(Node::start(&config, None).await.unwrap());
    }
    for node in &nodes {
        until(async || node.runtime.overview.not_ready().is_empty()).await;
    }
    nodes
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_copy_differs_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    let soon = || Instant::now() + Duration::from_secs(30);
    let ids = ["same", "other", "third"].map(|id| SessionId::parse(id).unwrap());
    for id in &ids {
        let create = Command::from(crate::session::Config::default());
        nodes[0].runtime.sessions.submit(id, create, soon()).await.unwrap();
        nodes[0].runtime.sessions.submit(id, numbered(0), soon()).await.unwrap();
    }
    let compared = |node: &Node| {
        // What was looked at goes to the disk, from where the next ones to compare are taken.
        node.runtime.sessions.passivate(Duration::ZERO);
        node.runtime.comparison.compared()
    };
    for node in &nodes {
        until(async || 6 <= compared(node).0).await;
        assert_eq!(compared(node).1, 0, "all copies are the same");
    }
    nodes[2].runtime.sessions.corrupt(&ids[1], &numbered(1)).await;
    for node in &nodes {
        until(async || compared(node).1 == 1).await;
    }
    let differ = [crate::runtime::NotReady::ReplicasDiffer { sessions: 1 }];
    until(async || nodes[2].runtime.overview.not_ready() == differ).await;
    for node in &nodes[..2] {
        // The copy of the third one stands alone.
        until(async || node.runtime.overview.not_ready().is_empty()).await;
    }
    // A deleted session is nothing to differ in.
    nodes[0]
        .runtime
        .sessions
        .submit(&ids[1], Command::Delete { incarnation: None }, soon())
        .await
        .unwrap();
    for node in &nodes {
        until(async || compared(node).1 == 0 && node.runtime.overview.not_ready().is_empty()).await;
    }
    for node in nodes {
        node.stop().await;
    }
}
