//! The same promises of the memory network, on paused time.

use super::*;
use futures::{StreamExt, stream::FuturesUnordered};

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
