//! Who gets a link, who does not, and what becomes of one whose peer dies.

use super::*;

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
