//! Forks through the runtime: sharing, chains over several shards, soft deletion and its end.

use std::time::Duration;

use bytes::Bytes;
use harness::load::eventually;
use harness::node::{TestNode, start_single};
use outlive::ids::{Serial, SessionId};
use outlive::runtime::fork::{ForkError, Wish};
use outlive::runtime::reader::AttachError;
use outlive::runtime::{Delivery, Freshness, Reader, Reply, Start};
use outlive::session::{
    Append, Applied, Command, Config, ContentType, Format, NewEvent, Refusal, Status,
};
use tokio::time::{Instant, timeout};

fn id(name: &str) -> SessionId {
    SessionId::parse(name).expect("a name")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn plain() -> Config {
    let content_type = Some(ContentType::parse("text/plain").expect("a media type"));
    Config { content_type, ..Config::default() }
}

async fn submit(node: &TestNode, name: &str, command: Command) -> Reply {
    node.node.runtime.sessions.submit(&id(name), command, soon()).await.expect("it is applied")
}

async fn append(node: &TestNode, name: &str, text: &str) -> Serial {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    submit(node, name, Command::Append(Append { events, ..Append::default() })).await.tail
}

fn wish(source: &str, anchor: Option<u64>, sub: u64) -> Wish {
    let (source, anchor) = (id(source), anchor.map(Serial));
    Wish {
        source,
        anchor,
        root: None,
        sub,
        config: Config::default(),
        events: Vec::new(),
        close: false,
        branch: None,
    }
}

async fn fork(node: &TestNode, name: &str, wish: Wish) -> Result<Reply, ForkError> {
    node.node.runtime.sessions.fork(&id(name), wish, soon()).await
}

async fn status(node: &TestNode, name: &str) -> Option<Status> {
    let runtime = &node.node.runtime;
    runtime.sessions.status(&id(name), Freshness::Linearizable, soon()).await.expect("an answer")
}

async fn attach(node: &TestNode, name: &str, start: Start) -> Result<Reader, AttachError> {
    node.node.runtime.sessions.attach(&id(name), start, Freshness::Linearizable, soon()).await
}

/// Reads until the reader has caught up; serials are dense.
async fn text(reader: &mut Reader) -> String {
    let mut text = String::new();
    let mut last = reader.cursor().serial;
    loop {
        match timeout(Duration::from_secs(30), reader.next()).await.expect("a delivery") {
            Delivery::Events(events) => {
                for shown in events {
                    assert_eq!(shown.event.serial, last.next());
                    last = shown.event.serial;
                    text += std::str::from_utf8(&shown.event.payload).expect("text");
                }
                assert_eq!(reader.cursor().serial, last);
            }
            Delivery::CaughtUp { .. } | Delivery::End { .. } => return text,
            other => panic!("{other:?} is not expected"),
        }
    }
}

/// Ids and names of the frames of a live read, until it has caught up.
async fn frames(node: &TestNode, name: &str, after: &str) -> Vec<String> {
    let url = format!("{}/v1/sessions/{name}/events?live=sse&after={after}", node.url);
    let mut answer = reqwest::get(url).await.expect("an answer");
    let mut text = String::new();
    while !text.contains("event: caught-up") {
        let more = timeout(Duration::from_secs(30), answer.chunk()).await.expect("in time");
        text += std::str::from_utf8(&more.expect("a stream").expect("more")).expect("text");
    }
    let shown =
        |line: &str| line.strip_prefix("id: ").or(line.strip_prefix("event: ")).map(str::to_owned);
    text.lines().filter_map(shown).collect()
}

#[tokio::test]
async fn a_fork_of_another_life_shows_ids_of_its_own_whoever_read_first() {
    let node = start_single().await;
    submit(&node, "source", Command::from(plain())).await;
    append(&node, "source", "a").await;
    append(&node, "source", "b").await;
    // The name of the fork has lived before.
    submit(&node, "fork", Command::from(plain())).await;
    submit(&node, "fork", Command::Delete { incarnation: None }).await;
    fork(&node, "fork", wish("source", None, 0)).await.expect("it is begun");
    let of = |life: u32, serial: u64| format!("{life:010}_{serial:020}");
    for _ in 0..2 {
        let source = frames(&node, "source", "start").await;
        assert_eq!(source, ["attached", &of(1, 0), &of(1, 1), &of(1, 2), "caught-up", &of(1, 2)]);
        let forked = frames(&node, "fork", "start").await;
        assert_eq!(forked, ["attached", &of(2, 0), &of(2, 1), &of(2, 2), "caught-up", &of(2, 2)]);
    }
    // A reader of the fork's earlier life gets all of it, what is inherited too.
    let stale = frames(&node, "fork", &of(1, 0)).await;
    let (first, second) = (of(2, 1), of(2, 2));
    assert_eq!(
        stale[..2],
        ["attached", &of(1, 0)],
        "it is told where it was, and then of the other life"
    );
    assert_eq!(stale[2..], ["reset", &of(2, 0), &first, &second, "caught-up", &second]);
}

async fn read(node: &TestNode, name: &str, start: Start) -> String {
    text(&mut attach(node, name, start).await.expect("attached")).await
}

/// A source with some sealed blocks and a hot tail, with one letter an event.
async fn source(node: &TestNode, name: &str, letters: usize) -> String {
    submit(node, name, plain().into()).await;
    let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).expect("a letter"));
    let text: String = (0..letters).map(letter).collect();
    for letter in text.chars() {
        append(node, name, &letter.to_string()).await;
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_share_what_was_and_go_their_own_ways() {
    let node = start_single().await;
    let text = source(&node, "s", 70).await;
    // Names enough for both shards; each is a fork of the one before.
    let mut wanted = vec![("s".to_string(), text)];
    for level in 1..=6_usize {
        let (from, inherited) = wanted.last().cloned().expect("the one before");
        let at = inherited.chars().count() - level;
        let name = format!("fork {level}");
        let reply = fork(&node, &name, wish(&from, Some(at as u64), 0)).await.expect("a fork");
        assert_eq!((reply.tail, reply.root.0), (Serial(at as u64), 1));
        append(&node, &name, &level.to_string()).await;
        append(&node, &from, "!").await;
        wanted.last_mut().expect("the one before").1 += "!";
        let own: String = inherited.chars().take(at).collect();
        wanted.push((name, format!("{own}{level}")));
    }
    for (name, wanted) in &wanted {
        assert_eq!(read(&node, name, Start::Beginning).await, *wanted, "{name}");
        let places = [0, 10, 50, 60, 63, 64, 65, 66, 67, 68, 69];
        for after in places.into_iter().filter(|after| *after <= wanted.chars().count() as u64) {
            let root = status(&node, name).await.expect("it lives").root;
            let start = Start::Offset { root, serial: Serial(after) };
            let rest: String = wanted.chars().skip(after as usize).collect();
            assert_eq!(read(&node, name, start).await, rest, "{name} after {after}");
        }
        assert_eq!(status(&node, name).await.expect("it lives").content_type(), "text/plain");
    }
    // Live: what the source gets, its fork does not; what the fork gets, it does.
    let mut reader = attach(&node, "fork 1", Start::Tail).await.expect("attached");
    assert_eq!(self::text(&mut reader).await, "");
    append(&node, "s", "?").await;
    append(&node, "fork 1", "x").await;
    let delivery = timeout(Duration::from_secs(30), reader.next()).await.expect("a delivery");
    assert!(matches!(delivery, Delivery::Events(events) if events[0].event.payload == "x"));
    node.node.stop().await;
}

trait Typed {
    fn content_type(&self) -> &str;
}

impl Typed for Status {
    fn content_type(&self) -> &str {
        self.config.content_type.as_ref().map_or("", ContentType::as_str)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_may_begin_within_an_event() {
    let node = start_single().await;
    submit(&node, "s", plain().into()).await;
    for word in ["one ", "two ", "three"] {
        append(&node, "s", word).await;
    }
    for (sub, wanted) in [(0, ""), (2, "on"), (4, "one "), (6, "one tw"), (13, "one two three")] {
        let name = format!("f{sub}");
        let reply = fork(&node, &name, wish("s", Some(0), sub)).await.expect("a fork");
        assert!(matches!(reply.applied, Applied::Created { created: true, .. }));
        assert_eq!(read(&node, &name, Start::Beginning).await, wanted);
        let reply = fork(&node, &name, wish("s", Some(0), sub)).await.expect("the same fork");
        assert!(matches!(reply.applied, Applied::Created { created: false, .. }));
        append(&node, &name, "!").await;
        assert_eq!(read(&node, &name, Start::Beginning).await, format!("{wanted}!"));
    }
    assert_eq!(fork(&node, "x", wish("s", Some(0), 14)).await, Err(ForkError::Short));
    assert_eq!(fork(&node, "x", wish("s", Some(3), 1)).await, Err(ForkError::Short));
    let beyond = Refusal::ForkOffsetOutOfRange { at: Serial(4), tail: Serial(3) };
    assert_eq!(fork(&node, "x", wish("s", Some(4), 0)).await, Err(ForkError::Source(beyond)));
    let none = Err(ForkError::Source(Refusal::NotFound));
    assert_eq!(fork(&node, "x", wish("nobody", None, 0)).await, none);
    assert_eq!(status(&node, "x").await, None);
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_source_stays_for_its_forks_and_goes_with_the_last() {
    let node = start_single().await;
    let text = source(&node, "s", 40).await;
    fork(&node, "f", wish("s", None, 0)).await.expect("a fork");
    fork(&node, "g", wish("f", None, 0)).await.expect("a fork of it");
    let delete = || Command::Delete { incarnation: None };
    submit(&node, "s", delete()).await;
    submit(&node, "f", delete()).await;
    for name in ["s", "f"] {
        assert!(status(&node, name).await.expect("it is kept").hidden);
        assert_eq!(attach(&node, name, Start::Beginning).await.err(), Some(AttachError::Gone));
        let gone = Err(ForkError::Source(Refusal::Gone));
        assert_eq!(fork(&node, "x", wish(name, None, 0)).await, gone);
    }
    append(&node, "g", "!").await;
    assert_eq!(read(&node, "g", Start::Beginning).await, format!("{text}!"));
    submit(&node, "g", delete()).await;
    for name in ["g", "f", "s"] {
        eventually(&format!("{name} is gone"), async || status(&node, name).await.is_none()).await;
    }
    // Nothing is owed any more: the names are free.
    submit(&node, "s", plain().into()).await;
    assert_eq!(read(&node, "s", Start::Beginning).await, "");
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_fork_leaves_no_hold() {
    let node = start_single().await;
    source(&node, "s", 2).await;
    submit(&node, "taken", plain().into()).await;
    let refused = fork(&node, "taken", wish("s", None, 0)).await;
    assert!(matches!(refused, Err(ForkError::Submit(_))), "{refused:?}");
    assert_eq!(fork(&node, "x", wish("s", Some(1), 9)).await, Err(ForkError::Short));
    submit(&node, "s", Command::Delete { incarnation: None }).await;
    assert_eq!(status(&node, "s").await, None, "a hold was left");
    node.node.stop().await;
}
