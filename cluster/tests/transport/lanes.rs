//! Calls, notes and streams between two linked nodes.

use super::*;
use futures::{StreamExt, stream::FuturesUnordered};

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
