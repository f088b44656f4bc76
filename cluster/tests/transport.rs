//! What the transport promises, over real sockets and over the memory network.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use cluster::{
    ids::NodeId,
    limits::{FRAME_BYTES, LANE_QUEUE_FRAMES, STREAM_HELLO_BYTES},
    transport::*,
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const LONG: Duration = Duration::from_secs(60);

/// A service that records what it sees and answers by the first byte of the request.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(Lane, Bytes)>>,
    stuck: AtomicU64,
    streams: AtomicU64,
}

impl Recorder {
    fn seen(&self, lane: Lane) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(on, _)| *on == lane).map(|(_, bytes)| bytes.clone()).collect()
    }
}

impl Service for Recorder {
    fn call(&self, _: NodeId, lane: Lane, request: Bytes) -> BoxFuture<Result<Bytes, String>> {
        self.seen.lock().unwrap().push((lane, request.clone()));
        match request.first() {
            Some(b'!') => async { Err("no".to_string()) }.boxed(),
            Some(b'p') => panic!("a service that panics"),
            Some(b'~') => {
                self.stuck.fetch_add(1, SeqCst);
                futures::future::pending().boxed()
            }
            _ => async move { Ok(request) }.boxed(),
        }
    }

    fn stream(&self, _: NodeId, hello: Bytes, mut stream: Stream) -> BoxFuture<()> {
        self.streams.fetch_add(1, SeqCst);
        async move {
            match &hello[..] {
                b"echo" => {
                    while let Some(Ok(message)) = stream.recv().await {
                        if stream.send(message).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.finish().await;
                }
                b"drop" => {
                    let _ = stream.send("half".into()).await;
                }
                _ => futures::future::pending::<()>().await,
            }
        }
        .boxed()
    }
}

/// A gate that refuses with a text, when it has one, and remembers refusals and stores.
#[derive(Default)]
struct Guard {
    refuse: Option<&'static str>,
    pinned: Mutex<BTreeMap<NodeId, u128>>,
    refusals: Mutex<Vec<(NodeId, String)>>,
    /// A disk that takes its time: it answers when it is told to, and says whether it was.
    slow: Option<Mutex<std::sync::mpsc::Receiver<()>>>,
    reported: AtomicU64,
}

impl Gate for Guard {
    fn admit(&self, peer: NodeId, store: u128) -> Result<(), String> {
        if let Some(text) = self.refuse {
            return Err(text.into());
        }
        if let Some(slow) = &self.slow {
            let reported = slow.lock().unwrap().recv_timeout(Duration::from_secs(3));
            self.reported.fetch_add(u64::from(reported.is_ok()), SeqCst);
        }
        match *self.pinned.lock().unwrap().entry(peer).or_insert(store) {
            pinned if pinned == store => Ok(()),
            pinned => Err(format!("{peer} had the disk {pinned}, now it has {store}")),
        }
    }

    fn refused(&self, by: NodeId, reason: String) {
        self.refusals.lock().unwrap().push((by, reason));
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn config(dir: &Path, id: NodeId) -> QuicConfig {
    let files = make_node_cert(dir, "blue", id).unwrap();
    let tls = TlsMaterial::load(&files).unwrap();
    let mut config = QuicConfig::new(id, "blue", u128::from(id.0) + 100, any_port(), tls);
    config.keep_alive = Duration::from_millis(100);
    config
}

struct Node {
    transport: Arc<QuicTransport>,
    service: Arc<Recorder>,
    gate: Arc<Guard>,
}

fn start_with(config: QuicConfig, gate: Guard) -> Node {
    let (service, gate) = (Arc::new(Recorder::default()), Arc::new(gate));
    let transport = QuicTransport::start(config, service.clone(), gate.clone()).unwrap();
    Node { transport, service, gate }
}

fn start(config: QuicConfig) -> Node {
    start_with(config, Guard::default())
}

fn meet(a: &Node, b: &Node) {
    a.transport.set_peer(b.transport.local(), b.transport.local_addr().to_string());
    b.transport.set_peer(a.transport.local(), a.transport.local_addr().to_string());
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(LONG, async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came true: {what}");
}

async fn linked(a: &Node, b: &Node) {
    let (one, two) = (a.transport.local(), b.transport.local());
    until("both are linked", || {
        a.transport.connected() == [two] && b.transport.connected() == [one]
    })
    .await;
}

async fn pair(dir: &Path) -> (Node, Node) {
    let (a, b) = (start(config(dir, ONE)), start(config(dir, TWO)));
    meet(&a, &b);
    linked(&a, &b).await;
    (a, b)
}

async fn stop(nodes: [Node; 2]) {
    for node in &nodes {
        timeout(LONG, node.transport.shutdown()).await.expect("a shutdown ends");
    }
}

fn numbered(number: u64) -> Bytes {
    Bytes::from(format!("#{number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_lane_arrive_in_order_in_both_directions() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let lane = Lane::Replication(1);
    for (from, to) in [(&a, &b), (&b, &a)] {
        let calls: Vec<_> = (0..500)
            .map(|n| from.transport.call(to.transport.local(), lane, numbered(n), LONG))
            .collect();
        // The place in the lane is taken at the call, whatever order the futures are polled in.
        for (n, call) in calls.into_iter().enumerate().rev() {
            assert_eq!(call.await.unwrap(), numbered(n as u64));
        }
        let expected: Vec<_> = (0..500).map(numbered).collect();
        assert_eq!(to.service.seen(lane), expected);
    }
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_keep_their_place_between_calls_and_are_never_answered() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let lane = Lane::Replication(0);
    for n in 0..300 {
        let bytes = match n % 3 {
            0 => "panic".into(),
            1 => "~ stuck".into(),
            _ => numbered(n),
        };
        a.transport.tell(TWO, lane, bytes);
    }
    assert_eq!(a.transport.call(TWO, lane, "last".into(), LONG).await.unwrap(), "last");
    let seen = b.service.seen(lane);
    let numbers: Vec<_> = seen.iter().filter(|bytes| bytes.starts_with(b"#")).collect();
    let expected: Vec<_> = (0..300).filter(|n| n % 3 == 2).map(numbered).collect();
    assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
    assert_eq!((seen.len(), seen.last().unwrap().as_ref()), (301, b"last".as_slice()));
    // Nobody is there: the note is lost, and that is all.
    a.transport.tell(NodeId(9), lane, "lost".into());
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pipelined_calls_are_all_answered() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let mut flying = FuturesUnordered::new();
    let mut answered = 0;
    for n in 0..10_000u64 {
        if LANE_QUEUE_FRAMES <= flying.len() {
            let answer: Result<Bytes, CallError> = flying.next().await.unwrap();
            answer.unwrap();
            answered += 1;
        }
        flying.push(a.transport.call(TWO, Lane::Forward, numbered(n), LONG));
    }
    while let Some(answer) = flying.next().await {
        answer.unwrap();
        answered += 1;
    }
    assert_eq!(answered, 10_000);
    assert_eq!(b.service.seen(Lane::Forward).len(), 10_000);
    let stats = a.transport.stats();
    let forward = stats[0].lanes.iter().find(|lane| lane.lane == Lane::Forward).unwrap();
    assert_eq!((forward.frames_sent, forward.frames_received), (10_000, 10_000));
    assert!(stats[0].connected && stats[0].rtt.is_some());
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_a_panic_and_an_oversized_request_cost_only_their_call() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let call = |body: Bytes| a.transport.call(TWO, Lane::Control, body, LONG);
    assert_eq!(call("!".into()).await, Err(CallError::Refused("no".into())));
    let panicked = Err(CallError::Refused("the service panicked".into()));
    assert_eq!(call("p".into()).await, panicked);
    assert_eq!(call(vec![0; FRAME_BYTES + 1].into()).await, Err(CallError::TooLarge));
    let full: Bytes = vec![0; FRAME_BYTES].into();
    assert_eq!(call(full.clone()).await, Ok(full));
    assert_eq!(a.transport.stats()[0].reconnects, 0);
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_call_times_out_and_a_full_lane_says_so_at_once() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let deadline = Duration::from_millis(300);
    let late = a.transport.call(TWO, Lane::Forward, "~".into(), deadline);
    assert_eq!(late.await, Err(CallError::Timeout));
    let mut refused = None;
    let mut calls = Vec::new();
    while refused.is_none() {
        let mut call = a.transport.call(TWO, Lane::Forward, "~".into(), LONG);
        match (&mut call).now_or_never() {
            Some(answer) => refused = Some(answer),
            None => calls.push(call),
        }
    }
    assert_eq!(refused.unwrap(), Err(CallError::Unreachable("lane full".into())));
    let other = a.transport.call(TWO, Lane::Control, "ok".into(), LONG).await;
    assert_eq!(other.unwrap(), "ok");
    drop(calls);
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_back_no_lane() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let mut stream = a.transport.open(TWO, -10, "stuck".into()).await.unwrap();
        // Far beyond what the stream's window takes, so the send can never end.
        let bulk: Bytes = vec![7; 4 << 20].into();
        let mut send = Box::pin(async move { stream.send(bulk).await });
        assert!(timeout(Duration::from_millis(1), &mut send).await.is_err());
        stuck.push(send);
    }
    until("all streams are open", || b.service.streams.load(SeqCst) == 100).await;
    let mut stuck = futures::future::select_all(stuck);
    for n in 0..200 {
        let bulk = a.transport.call(TWO, Lane::Replication(0), vec![1; 1 << 20].into(), LONG);
        let call = a.transport.call(TWO, Lane::Control, numbered(n), LONG);
        tokio::select! {
            biased;
            answer = call => assert_eq!(answer.unwrap(), numbered(n)),
            ended = &mut stuck => panic!("a stuck stream moved on: {:?}", ended.0),
        }
        if n % 20 == 0 {
            assert_eq!(bulk.await.unwrap().len(), 1 << 20);
        }
    }
    let heard: Vec<_> = (0..200).map(numbered).collect();
    assert_eq!(b.service.seen(Lane::Control), heard);
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_overtakes_bulk_that_was_queued_before_it() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let body: Bytes = vec![1; 1 << 20].into();
    let mut bulk: FuturesUnordered<_> =
        (0..60).map(|_| a.transport.call(TWO, Lane::Replication(0), body.clone(), LONG)).collect();
    for n in 0..10 {
        let answer = a.transport.call(TWO, Lane::Control, numbered(n), LONG).await;
        assert_eq!(answer.unwrap(), numbered(n));
    }
    let behind = 60 - b.service.seen(Lane::Replication(0)).len();
    assert!(0 < behind, "ten round trips of control outlasted 60 MiB of bulk");
    while let Some(answer) = bulk.next().await {
        assert_eq!(answer.unwrap().len(), body.len());
    }
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_lane_answers_while_the_main_runtime_is_blocked() {
    let home = tempfile::tempdir().unwrap();
    let control =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let start_apart = |id| {
        let mut config = config(home.path(), id);
        config.control = Some(control.handle().clone());
        start(config)
    };
    let (a, b) = (start_apart(ONE), start_apart(TWO));
    meet(&a, &b);
    linked(&a, &b).await;
    // Both workers of the main runtime block until released; this test's own thread is none of them.
    let (started, starts) = std::sync::mpsc::sync_channel::<()>(2);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = Arc::new(Mutex::new(released));
    let mut blockers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (started, released) = (started.clone(), released.clone());
        blockers.spawn(async move {
            started.send(()).unwrap();
            assert!(released.lock().unwrap().recv().is_err(), "released by hanging up");
        });
    }
    starts.recv().unwrap();
    starts.recv().unwrap();
    let (there, back) = (
        a.transport.call(TWO, Lane::Control, "beat".into(), LONG),
        b.transport.call(ONE, Lane::Control, "beat".into(), LONG),
    );
    assert_eq!(futures::join!(there, back), (Ok("beat".into()), Ok("beat".into())));
    assert!(blockers.try_join_next().is_none(), "the main runtime was blocked all the while");
    drop(release);
    blockers.join_all().await;
    stop([a, b]).await;
    control.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_come_back_over_one_stream() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let stream = a.transport.open(TWO, -10, "echo".into()).await.unwrap();
    let (mut send, mut recv) = stream.split();
    let piece: Bytes = (0..1 << 20).map(|n: u32| n as u8).collect();
    let expected = piece.clone();
    let sending = async move {
        for _ in 0..100 {
            send.send(piece.clone()).await.unwrap();
        }
        send.finish().await.unwrap();
    };
    let receiving = async move {
        let mut pieces = 0;
        while let Some(message) = recv.recv().await {
            assert_eq!(message.unwrap(), expected);
            pieces += 1;
        }
        assert!(recv.recv().await.is_none(), "a clean end stays the end");
        pieces
    };
    let ((), pieces) = tokio::join!(sending, receiving);
    assert_eq!(pieces, 100);
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_is_never_a_clean_end() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    let long = a.transport.open(TWO, 0, vec![0; STREAM_HELLO_BYTES + 1].into()).await;
    assert!(matches!(long, Err(CallError::TooLarge)));
    let mut stream = a.transport.open(TWO, 0, vec![0; STREAM_HELLO_BYTES].into()).await.unwrap();
    stream.send("to nobody".into()).await.unwrap();
    until("the stream is open", || b.service.streams.load(SeqCst) == 1).await;
    let mut stream = a.transport.open(TWO, 0, "drop".into()).await.unwrap();
    let mut last = stream.recv().await.expect("no clean end");
    if last.is_ok() {
        last = stream.recv().await.expect("no clean end");
    }
    assert_eq!(last, Err(StreamError::Reset));
    assert_eq!(stream.recv().await, Some(Err(StreamError::Reset)), "an error is final");
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_refusal_reaches_the_refused_side_with_its_reason() {
    let home = tempfile::tempdir().unwrap();
    // The acceptor refuses, then the dialler does.
    for (refusing, refused) in [(TWO, ONE), (ONE, TWO)] {
        let gate = Guard { refuse: Some("not on this disk"), ..Guard::default() };
        let guard = start_with(config(home.path(), refusing), gate);
        let guest = start(config(home.path(), refused));
        meet(&guard, &guest);
        until("the refusal is heard", || !guest.gate.refusals.lock().unwrap().is_empty()).await;
        let heard = guest.gate.refusals.lock().unwrap()[0].clone();
        assert_eq!(heard, (refusing, "not on this disk".to_string()));
        assert!(guard.transport.connected().is_empty() && guest.transport.connected().is_empty());
        stop([guard, guest]).await;
    }
}

#[tokio::test]
async fn a_gate_with_a_slow_disk_holds_up_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    // Both sides ask their gate. Whoever lets it go on shares its only thread.
    for slow in [ONE, TWO] {
        let (go_on, wait) = std::sync::mpsc::sync_channel(1);
        let gate = Guard { slow: Some(Mutex::new(wait)), ..Guard::default() };
        let guard = start_with(config(home.path(), slow), gate);
        let guest = start(config(home.path(), if slow == ONE { TWO } else { ONE }));
        meet(&guard, &guest);
        sleep(Duration::from_millis(500)).await;
        go_on.send(()).unwrap();
        linked(&guard, &guest).await;
        assert_eq!(guard.gate.reported.load(SeqCst), 1, "the thread stood still meanwhile");
        stop([guard, guest]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_no_link() {
    let home = tempfile::tempdir().unwrap();
    let ours = home.path().join("ours");
    let material = |dir: &str, cluster: &str, id| {
        let files = make_node_cert(&home.path().join(dir), cluster, id).unwrap();
        TlsMaterial::load(&files).unwrap()
    };
    let cases = [
        ("another authority", "theirs", "blue", TWO),
        ("another cluster", "ours", "green", TWO),
        ("another node", "ours", "blue", NodeId(3)),
    ];
    for (case, dir, cluster, id) in cases {
        let tls = material(dir, cluster, id);
        let member = start(config(&ours, ONE));
        let stranger = start(QuicConfig::new(id, cluster, 1, any_port(), tls));
        // The member dials what it takes for node 2, and the stranger dials the member.
        member.transport.set_peer(TWO, stranger.transport.local_addr().to_string());
        stranger.transport.set_peer(ONE, member.transport.local_addr().to_string());
        let failed = |node: &Node| node.transport.stats()[0].failed_attempts;
        // Node 3 is a member under its own name, so it may dial; only nobody takes it for node 2.
        let tried = || 0 < failed(&member) && (id != TWO || 0 < failed(&stranger));
        until("all have tried", tried).await;
        assert!(!member.transport.connected().contains(&TWO), "{case}");
        if id == TWO {
            assert!(stranger.transport.connected().is_empty(), "{case}");
        }
        let call = member.transport.call(TWO, Lane::Control, "hi".into(), LONG).await;
        assert!(matches!(call, Err(CallError::Unreachable(_))), "{case}: {call:?}");
        stop([member, stranger]).await;
    }
    let tls = material("ours", "blue", NodeId(3));
    let liar = QuicConfig::new(TWO, "blue", 1, any_port(), tls);
    let service = Arc::new(Recorder::default());
    let started = QuicTransport::start(liar, service, Arc::new(Guard::default()));
    assert!(matches!(started, Err(StartError::Identity { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_higher_node_dials_when_the_lower_does_not_know_it() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (start(config(home.path(), ONE)), start(config(home.path(), TWO)));
    b.transport.set_peer(ONE, a.transport.local_addr().to_string());
    linked(&a, &b).await;
    let answer = a.transport.call(TWO, Lane::Control, "welcome".into(), LONG).await;
    assert_eq!(answer.unwrap(), "welcome");
    stop([a, b]).await;
}

/// A node in its own runtime, so that it can die without a word.
fn start_apart(config: QuicConfig) -> (tokio::runtime::Runtime, Node) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = {
        let _here = runtime.enter();
        start(config)
    };
    (runtime, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_peer_loses_its_calls_and_is_linked_again_once_it_is_back() {
    let home = tempfile::tempdir().unwrap();
    // The killed node accepts, then it dials.
    for (kept, killed) in [(ONE, TWO), (TWO, ONE)] {
        let mut config_kept = config(home.path(), kept);
        config_kept.idle_timeout = Duration::from_millis(800);
        let a = start(config_kept);
        let (runtime, b) = start_apart(config(home.path(), killed));
        meet(&a, &b);
        linked(&a, &b).await;
        let addr = b.transport.local_addr();
        let calls: Vec<_> =
            (0..10).map(|_| a.transport.call(killed, Lane::Forward, "~".into(), LONG)).collect();
        until("the calls have arrived", || b.service.stuck.load(SeqCst) == 10).await;
        let mut stream = a.transport.open(killed, 0, "stuck".into()).await.unwrap();

        runtime.shutdown_background();
        drop(b);
        for call in calls {
            let answer = call.await;
            assert!(matches!(answer, Err(CallError::Lost(_))), "{answer:?}");
        }
        assert!(matches!(stream.recv().await, Some(Err(StreamError::Lost(_)))));
        until("the link is forgotten", || a.transport.connected().is_empty()).await;
        let answer = a.transport.call(killed, Lane::Forward, "hi".into(), LONG).await;
        assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");

        let mut again = config(home.path(), killed);
        again.listen = addr;
        again.peers = vec![(kept, a.transport.local_addr().to_string())];
        let b = start(again);
        linked(&a, &b).await;
        let answer = a.transport.call(killed, Lane::Forward, "back".into(), LONG).await;
        assert_eq!(answer.unwrap(), "back");
        assert_eq!(a.transport.stats()[0].reconnects, 1);
        stop([a, b]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_refused_by_those_that_knew_its_disk() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    b.transport.shutdown().await;
    let mut wiped = config(home.path(), TWO);
    wiped.listen = b.transport.local_addr();
    wiped.store = 7;
    wiped.peers = vec![(ONE, a.transport.local_addr().to_string())];
    let b = start(wiped);
    until("the refusal is heard", || !b.gate.refusals.lock().unwrap().is_empty()).await;
    let heard = b.gate.refusals.lock().unwrap()[0].clone();
    assert_eq!(heard, (ONE, "n2 had the disk 102, now it has 7".to_string()));
    assert!(a.transport.connected().is_empty());
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_peer_is_closed_and_can_be_set_again() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = pair(home.path()).await;
    b.transport.remove_peer(ONE);
    a.transport.remove_peer(TWO);
    until("nobody is linked", || {
        a.transport.connected().is_empty() && b.transport.connected().is_empty()
    })
    .await;
    meet(&a, &b);
    linked(&a, &b).await;
    stop([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_says_what_buffers_it_has() {
    let home = tempfile::tempdir().unwrap();
    let node = start(config(home.path(), ONE));
    let buffers = node.transport.socket_buffers();
    assert!(0 < buffers.receive && 0 < buffers.send);
    node.transport.shutdown().await;
}

/// Runs three nodes that call each other through loss and a partition; the trace is what each heard
/// and each outcome, with its time.
fn memory_trace(seed: u64) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async move {
        let mut config = MemoryConfig::new(seed);
        config.loss = 0.05;
        let network = MemoryNetwork::new(config);
        let services: Vec<Arc<Recorder>> = (0..3).map(|_| Arc::default()).collect();
        let nodes: Vec<_> =
            (0..3).map(|n| network.join(NodeId(n), services[n as usize].clone())).collect();
        let began = tokio::time::Instant::now();
        let mut flying = FuturesUnordered::new();
        let mut trace = Vec::new();
        for round in 0..300u64 {
            if round == 100 {
                network.partition(NodeId(0), NodeId(1));
            }
            if round == 200 {
                network.heal(NodeId(0), NodeId(1));
            }
            let from = round % 3;
            let to = NodeId((from + 1 + round % 2) % 3);
            let lane = if round % 5 == 0 { Lane::Control } else { Lane::Forward };
            let deadline = Duration::from_millis(20);
            let call = nodes[from as usize].call(to, lane, numbered(round), deadline);
            flying.push(async move { (round, call.await) });
            sleep(Duration::from_micros(300)).await;
            while let Some(Some((round, answer))) = flying.next().now_or_never() {
                trace.push(format!("{:?} {round} {answer:?}", began.elapsed()));
            }
        }
        while let Some((round, answer)) = flying.next().await {
            trace.push(format!("{:?} {round} {answer:?}", began.elapsed()));
        }
        for service in services {
            trace.extend(service.seen.lock().unwrap().iter().map(|heard| format!("{heard:?}")));
        }
        trace
    })
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let first = memory_trace(1);
    assert_eq!(first, memory_trace(1));
    assert_ne!(first, memory_trace(2));
    for outcome in ["Ok(", "Lost", "Timeout"] {
        assert!(first.iter().any(|line| line.contains(outcome)), "no {outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_lane_stays_in_order_whatever_the_latency() {
    let network = MemoryNetwork::new(MemoryConfig::new(3));
    let service = Arc::new(Recorder::default());
    let a = network.join(ONE, Arc::new(Recorder::default()));
    let _b = network.join(TWO, service.clone());
    let calls: Vec<_> = (0..500).map(|n| a.call(TWO, Lane::Control, numbered(n), LONG)).collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(service.seen(Lane::Control), (0..500).map(numbered).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_partition_swallows_calls_until_it_heals() {
    let network = MemoryNetwork::new(MemoryConfig::new(4));
    let a = network.join(ONE, Arc::new(Recorder::default()));
    let service = Arc::new(Recorder::default());
    let b = network.join(TWO, service.clone());
    let call = |to| a.call(to, Lane::Control, "hi".into(), Duration::from_secs(1));
    let mut stream = a.open(TWO, 0, "echo".into()).await.unwrap();
    stream.send("one".into()).await.unwrap();
    assert_eq!(stream.recv().await, Some(Ok("one".into())));

    network.partition_one_way(TWO, ONE);
    assert_eq!(call(TWO).await, Err(CallError::Timeout), "the answer is swallowed");
    assert_eq!(service.seen(Lane::Control).len(), 1, "the request is not");
    assert!(matches!(stream.recv().await, Some(Err(StreamError::Lost(_)))));
    let long = a.call(TWO, Lane::Control, "hi".into(), LONG).await;
    assert!(matches!(long, Err(CallError::Lost(_))), "the link dies: {long:?}");
    assert_eq!((a.connected(), b.connected()), (vec![], vec![]));
    assert!(matches!(call(TWO).await, Err(CallError::Unreachable(_))));

    network.heal(ONE, TWO);
    assert_eq!((a.connected(), b.connected()), (vec![TWO], vec![ONE]));
    assert_eq!(call(TWO).await.unwrap(), "hi");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_crash_loses_calls_and_a_restart_serves_again() {
    let network = MemoryNetwork::new(MemoryConfig::new(5));
    let a = network.join(ONE, Arc::new(Recorder::default()));
    let service = Arc::new(Recorder::default());
    let b = network.join(TWO, service.clone());
    let call = a.call(TWO, Lane::Forward, "~".into(), LONG);
    let mut stream = a.open(TWO, 0, "echo".into()).await.unwrap();
    let (answer, heard, ()) = tokio::join!(call, stream.recv(), async {
        while service.stuck.load(SeqCst) < 1 {
            sleep(Duration::from_millis(1)).await;
        }
        network.crash(TWO);
    });
    assert!(matches!(answer, Err(CallError::Lost(_))), "{answer:?}");
    assert!(matches!(heard, Some(Err(StreamError::Lost(_)))));
    let after = a.call(TWO, Lane::Forward, "hi".into(), LONG).await;
    assert!(matches!(after, Err(CallError::Unreachable(_))));

    let _again = network.join(TWO, Arc::new(Recorder::default()));
    assert_eq!(a.call(TWO, Lane::Forward, "hi".into(), LONG).await.unwrap(), "hi");
    let dead = b.call(ONE, Lane::Forward, "hi".into(), LONG).await;
    assert!(matches!(dead, Err(CallError::Unreachable(_))), "a crashed node's handle stays dead");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_stream_waits_for_its_reader_and_ends_cleanly_only_when_finished() {
    let network = MemoryNetwork::new(MemoryConfig::new(6));
    let a = network.join(ONE, Arc::new(Recorder::default()));
    let _b = network.join(TWO, Arc::new(Recorder::default()));
    let mut stuck = a.open(TWO, 0, "stuck".into()).await.unwrap();
    let mut sent = 0;
    while timeout(LONG, stuck.send("more".into())).await.is_ok() {
        sent += 1;
        assert!(sent < 1000, "nothing holds the sender back");
    }
    let mut dropped = a.open(TWO, 0, "drop".into()).await.unwrap();
    assert_eq!(dropped.recv().await, Some(Ok("half".into())));
    assert_eq!(dropped.recv().await, Some(Err(StreamError::Reset)));
    let mut echo = a.open(TWO, 0, "echo".into()).await.unwrap();
    echo.send("one".into()).await.unwrap();
    echo.finish().await.unwrap();
    assert_eq!(echo.recv().await, Some(Ok("one".into())));
    assert_eq!(echo.recv().await, None);
}
