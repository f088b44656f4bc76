//! Three nodes in this process over links in memory, of which some are cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::clock::SystemClock;
use cluster::host::{Bootstrap, Host, HostParts};
use cluster::ids::NodeId;
use cluster::journal::disk::RealDisk;
use cluster::journal::{Journal, JournalConfig};
use cluster::membership::Member;
use cluster::raft::{Checkpoints, Timers};
use cluster::transport::{MemoryConfig, MemoryNetwork, Transport};
use tokio::time::{Instant, timeout};

use super::following::Followed;
use super::fork::{ForkError, Wish};
use super::outcome::{SubmitError, Unavailable};
use super::peer::wire::{Request, Response};
use super::{AttachError, Delivery, Freshness, NotReady, Runtime, Start, envelope};
use crate::ids::{Serial, SessionId, TenantName, TurnId};
use crate::session::{Append, Command, Config, Denied, Format, Grant, NewEvent, Pattern, Right};
use crate::store::Store;

struct Place {
    runtime: Arc<Runtime>,
    journal: Journal,
    writer: std::thread::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn start(network: &MemoryNetwork, node: u64) -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let (segment_bytes, tail_bytes) = (1 << 20, 64 << 10);
    let config = JournalConfig { dir: dir.path().join("journal"), segment_bytes, tail_bytes };
    let (journal, writer) = Journal::open(Arc::new(RealDisk), config).expect("a journal");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let clock = Arc::new(SystemClock);
    let member =
        |node| Member { node: NodeId(node), peer: format!("m{node}"), client: String::new() };
    let parts = HostParts {
        local: NodeId(node),
        store: u128::from(node),
        removed: Arc::default(),
        dir: dir.path().to_path_buf(),
        journal: journal.clone(),
        bootstrap: Bootstrap {
            members: (1..=3).map(member).collect(),
            groups: 1,
            replication: 3,
            join: false,
        },
        timers: Timers { heartbeat_ms: 100, election_min_ms: 400, election_max_ms: 800 },
        checkpoints: Checkpoints::default(),
        clock,
        control: None,
        secret: u128::from(node),
    };
    let writer = std::thread::Builder::new().spawn(move || writer.run()).expect("a thread");
    let network = network.clone();
    let host = Host::connect(parts, async |service| {
        Ok(network.join(NodeId(node), service) as Arc<dyn Transport>)
    });
    let host = host.await.expect("the host starts");
    let runtime = Runtime::start("test", store, host).await;
    Place { runtime, journal, writer, _dir: dir }
}

async fn stop(places: Vec<Place>) {
    for place in places {
        place.runtime.close().await;
        place.journal.close();
        place.writer.join().expect("the writer ends");
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn append(text: &str) -> Command {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    Command::Append(Append { events, ..Append::default() })
}

/// Whatever request a node passes on, it names for whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_passes_on_is_judged_again_where_the_session_lives() {
    let network = MemoryNetwork::new(MemoryConfig::new(2));
    let mut places = Vec::new();
    for node in 1..=3 {
        places.push(start(&network, node).await);
    }
    let runtimes: Vec<&Runtime> = places.iter().map(|place| &*place.runtime).collect();
    until("all are ready", || {
        runtimes.iter().all(|runtime| runtime.overview.not_ready().is_empty())
    })
    .await;
    let id = SessionId::parse("s").expect("a name");
    let create = Config::default().into();
    runtimes[0].sessions.submit(&id, create, soon()).await.expect("it is created");
    let home = || runtimes[0].sessions.home(&id);
    until("the lead is in its place", || home().leader == home().replicas.first().copied()).await;
    let leader = NodeId(home().leader.expect("it was there"));
    let other = runtimes.iter().zip(1..).find(|(_, node)| NodeId(*node) != leader);
    let other = other.expect("three nodes have another").0;
    let send = async |grant: Grant| {
        let (command, grant) = (envelope::plain(&append("x")), Some(Box::new(grant)));
        let request = Request::Submit { session: id.clone(), command, within_ms: 30_000, grant };
        let answer = other.host.call(leader, request.encode(), Duration::from_secs(30)).await;
        match Response::decode(answer.expect("an answer")).expect("it is one") {
            Response::Submitted(done) => done.map(|reply| reply.tail),
            answer => panic!("{answer:?}"),
        }
    };
    let grant = |rights: &[Right]| Grant { rights: rights.to_vec(), ..Grant::all() };
    let theirs = Grant { tenant: TenantName::parse("acme").ok(), ..Grant::all() };
    let elsewhere = Grant { sessions: vec![Pattern::parse("t*").unwrap()], ..Grant::all() };
    for (given, why) in [
        (grant(&[Right::Read, Right::Send]), Denied::Right(Right::Publish)),
        (theirs, Denied::Session),
        (elsewhere, Denied::Session),
    ] {
        assert_eq!(send(given).await, Err(SubmitError::Denied(why)));
    }
    assert_eq!(send(grant(&[Right::Publish])).await, Ok(Serial(1)), "nothing happened before");
    // As an entry node does it, with the request that it got.
    let reader = grant(&[Right::Read]);
    let done = other.sessions.submit_for(Some(&reader), &id, append("y"), soon()).await;
    assert_eq!(done, Err(SubmitError::Denied(Denied::Right(Right::Publish))));
    let writer = grant(&[Right::Publish]);
    let done = other.sessions.submit_for(Some(&writer), &id, append("y"), soon()).await;
    assert_eq!(done.expect("it is taken").tail, Serial(2));
    stop(places).await;
}

/// A node that let a caller in who may not read learns nothing for them, also while it reads for others.
async fn what_is_looked_at_elsewhere_is_judged_there(cut: &Runtime, id: &SessionId) {
    let freshness = Freshness::Linearizable;
    let grant = |rights: &[Right]| Grant { rights: rights.to_vec(), ..Grant::all() };
    let theirs = Grant { tenant: TenantName::parse("acme").ok(), ..Grant::all() };
    let elsewhere = Grant { sessions: vec![Pattern::parse("t*").unwrap()], ..Grant::all() };
    let reader = grant(&[Right::Read]);
    let reads = cut.sessions.by(Some(&reader));
    let mut reading = reads.attach(id, Start::Tail, freshness, soon()).await.expect("it may");
    let caught_up = timeout(Duration::from_secs(30), reading.next()).await.expect("it goes on");
    assert!(matches!(caught_up, Delivery::CaughtUp { .. }), "it shares the tail: {caught_up:?}");
    assert!(reads.status(id, freshness, soon()).await.expect("it may").is_some());
    assert_eq!(reads.list(None, ("", None), 10, soon()).await.expect("it may").len(), 1);
    for (given, why) in [
        (grant(&[Right::Send, Right::Publish]), Denied::Right(Right::Read)),
        (theirs.clone(), Denied::Session),
        (elsewhere.clone(), Denied::Session),
    ] {
        let by = cut.sessions.by(Some(&given));
        let attached = by.attach(id, Start::Beginning, freshness, soon()).await;
        assert_eq!(attached.map(|_| ()), Err(AttachError::Denied(why)));
    }
    let works = grant(&[Right::Claim]);
    let attached = cut.sessions.by(Some(&works)).attach(id, Start::Tail, freshness, soon()).await;
    assert!(attached.is_ok(), "whoever works in a session is shown it");
    let input = TurnId::parse("i").expect("a name");
    for given in [&theirs, &elsewhere] {
        let by = cut.sessions.by(Some(given));
        let denied = Unavailable::Denied(Denied::Session);
        assert_eq!(by.status(id, freshness, soon()).await.map(drop), Err(denied.clone()));
        assert_eq!(by.place_of(id, &input, soon()).await.map(drop), Err(denied.clone()));
        assert_eq!(by.files(id, soon()).await.map(drop), Err(denied.clone()));
        assert_eq!(by.carried(id, soon()).await.map(drop), Err(denied));
    }
    assert!(reads.files(id, soon()).await.expect("it may").is_some());
    let denied = Unavailable::Denied(Denied::Right(Right::Delete));
    assert_eq!(reads.carried(id, soon()).await.map(drop), Err(denied));
    let from = Followed::default();
    assert_eq!(reads.changed(None, &from, 9, soon()).await.expect("it may").changes.len(), 1);
    let changed = cut.sessions.by(Some(&theirs)).changed(None, &from, 9, soon()).await;
    assert_eq!(changed.map(drop), Err(Unavailable::Denied(Denied::Tenant)));
    let listed = cut.sessions.by(Some(&theirs)).list(None, ("", None), 10, soon()).await;
    assert_eq!(listed.map(drop), Err(Unavailable::Denied(Denied::Tenant)));
    let fork = SessionId::parse("f").expect("a name");
    let wish = Wish {
        source: id.clone(),
        anchor: None,
        root: None,
        sub: 0,
        config: Config::default(),
        events: Vec::new(),
        close: false,
        branch: None,
    };
    let why = Denied::Right(Right::Create);
    let forked = reads.fork(&fork, wish.clone(), soon()).await;
    assert_eq!(forked.map(drop), Err(ForkError::Submit(SubmitError::Denied(why))));
    let forked = cut.sessions.by(Some(&elsewhere)).fork(&fork, wish, soon()).await;
    let denied = Unavailable::Denied(Denied::Session);
    assert_eq!(forked.map(drop), Err(ForkError::Submit(denied.into())));
    let none = cut.sessions.status(&fork, freshness, soon()).await.expect("an answer");
    assert!(none.is_none(), "nothing came of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_its_leader_does_not_reach_serves_by_the_third() {
    let network = MemoryNetwork::new(MemoryConfig::new(1));
    let mut places = Vec::new();
    for node in 1..=3 {
        places.push(start(&network, node).await);
    }
    let runtimes: Vec<&Runtime> = places.iter().map(|place| &*place.runtime).collect();
    until("all are ready", || {
        runtimes.iter().all(|runtime| runtime.overview.not_ready().is_empty())
    })
    .await;
    let id = SessionId::parse("s").expect("a name");
    runtimes[0]
        .sessions
        .submit(&id, Config::default().into(), soon())
        .await
        .expect("it is created");
    // The lead stays where it is once its preferred node has it.
    let home = || runtimes[0].sessions.home(&id);
    until("the lead is in its place", || home().leader == home().replicas.first().copied()).await;
    let leader = home().leader.expect("it was there");
    let [cut, third] = [1, 2, 3].into_iter().filter(|node| *node != leader).collect::<Vec<_>>()[..]
    else {
        panic!("three nodes have a leader and two others")
    };
    let at = |node: u64| runtimes[node as usize - 1];
    // A majority has it; the one that is about to be cut off must have it, too.
    let there = async || {
        let status = at(cut).sessions.status(&id, Freshness::Local, soon()).await;
        status.expect("its own replica answers").is_some()
    };
    while !there().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    network.partition(NodeId(leader), NodeId(cut));
    let no_leader = [NotReady::NoLeader { shard: 1 }];
    until("it knows that it is cut off", || at(cut).overview.not_ready() == no_leader).await;
    assert_eq!(at(cut).sessions.home(&id).leader, None);
    assert!(at(third).overview.not_ready().is_empty());

    let tail = |status: Option<crate::session::Status>| status.map(|status| status.tail);
    for (count, node) in [(1, leader), (2, cut)] {
        // A write that the cut one takes goes to the leader by the third.
        let reply = at(node).sessions.submit(&id, append("x"), soon()).await.expect("it is taken");
        assert_eq!(reply.tail, Serial(count));
        // What its own replica cannot have, the third one's has.
        let status = at(cut).sessions.status(&id, Freshness::Linearizable, soon()).await;
        assert_eq!(tail(status.expect("somebody answers")), Some(Serial(count)));
        let listed =
            at(cut).sessions.list(None, ("", None), 10, soon()).await.expect("somebody answers");
        assert_eq!(listed[0].tail, Serial(count));
        let attached =
            at(cut).sessions.attach(&id, Start::Beginning, Freshness::Linearizable, soon()).await;
        let mut reader = attached.expect("somebody serves it");
        while reader.cursor().serial < Serial(count) {
            let notified =
                timeout(Duration::from_secs(30), reader.next()).await.expect("it goes on");
            assert!(matches!(notified, Delivery::Events(_)), "{notified:?}");
        }
        let stale = at(cut).sessions.status(&id, Freshness::Local, soon()).await;
        assert_eq!(tail(stale.expect("it may be stale")), Some(Serial(0)));
    }
    what_is_looked_at_elsewhere_is_judged_there(at(cut), &id).await;
    // With no node in reach it answers nothing.
    network.partition(NodeId(third), NodeId(cut));
    let until = Instant::now() + Duration::from_secs(5);
    let status = at(cut).sessions.status(&id, Freshness::Linearizable, until).await;
    assert!(status.is_err(), "{status:?}");
    network.heal_all();
    stop(places).await;
}
