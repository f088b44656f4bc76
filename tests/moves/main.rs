//! Sessions that move: exported at one node and imported at another, whoever dies meanwhile; the command line; rights.

mod histories;

use std::process::{Command, Stdio};

use harness::api::{PATIENCE, SESSION, TIMERS, claim, create, post};
use harness::checker::{Expectations, check};
use harness::cluster::{Cluster, binary, client};
use harness::history::{Answer, Call, ReadMode, Record};
use harness::load::eventually;
use harness::node::start_single;
use harness::recorder::Recorder;
use serde_json::{Value, json};

/// Asks until somebody can answer.
async fn get(url: &str, path: &str) -> (u16, Value) {
    let mut last = (503, Value::Null);
    eventually("there is an answer", async || {
        let request = client().get(format!("{url}{path}")).timeout(PATIENCE);
        let Ok(answer) = request.send().await else { return false };
        last = (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null));
        last.0 < 500
    })
    .await;
    last
}

async fn export(url: &str, session: &str) -> Vec<u8> {
    let request = client().get(format!("{url}/v1/sessions/{session}/export")).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    answer.bytes().await.expect("all of it").to_vec()
}

async fn import(url: &str, session: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = client().post(format!("{url}/v1/sessions/{session}/import")).timeout(PATIENCE);
    let request = request.header("content-type", "application/x-ndjson").body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Appends as a producer until it is taken, and returns the answer.
async fn append(url: &str, session: &str, seq: u64, body: Value) -> Value {
    let mut appended = Value::Null;
    eventually("an append is taken", async || {
        let request = client().post(format!("{url}/v1/sessions/{session}/events")).json(&body);
        let request = request.header("producer-id", "p").header("producer-epoch", "3");
        let Ok(answer) = request.header("producer-seq", seq).timeout(PATIENCE).send().await else {
            return false;
        };
        let is_taken = answer.status().is_success();
        appended = answer.json().await.unwrap_or(Value::Null);
        is_taken
    })
    .await;
    appended
}

async fn input(url: &str, session: &str, name: &str, text: &str) -> (u16, Value) {
    let body = json!({ "id": name, "agent": "poet", "content": { "text": text } });
    post(url, &format!("/v1/sessions/{session}/inputs"), body).await
}

/// A session with payloads of every sort, a turn that is over, and one that is open.
async fn furnish(url: &str) {
    create(url, "s").await;
    for seq in 0..3 {
        let events = json!([
            { "data": { "a": [1, 2.50, "\u{2028}"] } }, { "text": format!("{seq}\n\u{85}") },
            { "base64": "AP8=" }, { "format": "json", "text": "{\n}" }, { "format": "x/y", "base64": "gA==" },
        ]);
        append(url, "s", seq, json!({ "events": events })).await;
    }
    input(url, "s", "t1", "please").await;
    let turn = claim(url).await;
    let body = json!({
        "epoch": turn["epoch"], "seq": 0, "events": [{ "text": "roses" }], "then": "complete",
    });
    assert_eq!(post(url, &format!("{SESSION}/turns/t1/output"), body).await.0, 200);
    input(url, "s", "t2", "more").await;
}

async fn events(url: &str, session: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), "start".to_owned());
    loop {
        let path = format!("/v1/sessions/{session}/events?limit=10000&after={after}");
        let (status, page) = get(url, &path).await;
        assert_eq!(status, 200, "{page}");
        for event in page["events"].as_array().expect("events") {
            let mut event = event.clone();
            event.as_object_mut().expect("an object").remove("cursor");
            all.push(event);
        }
        if page["up_to_date"] == true {
            return all;
        }
        after = page["next"].as_str().expect("a cursor").to_owned();
    }
}

/// The copy is what was exported: the same events and hashes, and one end for what was open.
async fn check_copy(url: &str, copy: &str, from: &[Value]) {
    let all = events(url, copy).await;
    assert_eq!(all[..from.len()], *from);
    let rest: Vec<_> = all[from.len()..].iter().map(|event| event["type"].clone()).collect();
    assert_eq!(rest, ["turn.cancelled"]);
    let (_, messages) = get(url, &format!("/v1/sessions/{copy}/messages")).await;
    let texts = messages["messages"].as_array().expect("messages").iter();
    let texts: Vec<_> = texts.map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["please", "roses", "more"]);
}

#[tokio::test]
async fn a_session_is_exported_and_imported_as_itself_and_as_another() {
    let (node, other) = tokio::join!(start_single(), start_single());
    furnish(&node.url).await;
    let (_, status) = get(&node.url, SESSION).await;
    let from = events(&node.url, "s").await;
    let file = export(&node.url, "s").await;

    // As itself, elsewhere: cursors go on; as another, beside it.
    for (url, name) in [(&other.url, "s"), (&node.url, "copy")] {
        let (code, answer) = import(url, name, file.clone()).await;
        assert_eq!((code, &answer["created"]), (201, &json!(true)), "{answer}");
        assert_eq!(answer["tail"], json!(from.len() + 1));
        check_copy(url, name, &from).await;
        // Again is the same.
        let (code, again) = import(url, name, file.clone()).await;
        assert_eq!((code, &again["created"]), (200, &json!(false)), "{again}");
        // Retries are answered as they were.
        let events = json!([{ "text": "whatever" }]);
        let retried = append(url, name, 1, json!({ "events": events })).await;
        assert_eq!((&retried["first"], &retried["duplicate"]), (&json!(6), &json!(true)));
        let (code, retried) = input(url, name, "t1", "please").await;
        assert_eq!(
            (code, &retried["turn"], &retried["duplicate"]),
            (200, &json!("t1"), &json!(true))
        );
        // And it goes on.
        let (code, next) = input(url, name, "t3", "again").await;
        assert_eq!((code, &next["serial"]), (200, &json!(from.len() + 2)), "{next}");
    }
    let (_, moved) = get(&other.url, SESSION).await;
    assert_eq!(moved["incarnation"], status["incarnation"]);
    let (code, page) = get(
        &other.url,
        &format!("{SESSION}/events?after={}", status["cursor"].as_str().expect("one")),
    )
    .await;
    assert_eq!((code, &page["events"][0]["type"]), (200, &json!("turn.cancelled")), "{page}");
    // What is exported again ends as the first export did.
    let last = |file: &[u8]| file.split(|byte| *byte == b'\n').rev().nth(2).map(<[u8]>::to_vec);
    assert_ne!(last(&export(&node.url, "copy").await), last(&file));
}

#[tokio::test]
async fn what_is_cut_off_damaged_or_in_the_way_leaves_nothing() {
    let node = start_single().await;
    furnish(&node.url).await;
    let file = export(&node.url, "s").await;
    let lines: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let without = |at: usize| {
        let all = lines.iter().enumerate().filter(|(other, _)| *other != at);
        all.flat_map(|(_, line)| line.to_vec()).collect::<Vec<u8>>()
    };
    let mut changed = file.clone();
    let at = changed.windows(5).position(|part| part == b"roses").expect("it is there");
    changed[at] = b'n';
    let mut extra = file.clone();
    extra.extend_from_slice(b"{\"line\":\"end\"}\n");
    let file_line =
        [lines[0], &b"{\"line\":\"file\",\"name\":\"x\"}\n"[..], &lines[1..].concat()].concat();
    for broken in [
        Vec::new(),
        lines[0].to_vec(),
        file[..file.len() - 30].to_vec(),
        without(0),
        without(1),
        without(5),
        without(lines.len() - 1),
        changed,
        extra,
        file_line,
        b"{}\n".to_vec(),
        b"\xff\n".to_vec(),
    ] {
        let (code, answer) = import(&node.url, "copy", broken).await;
        assert_eq!((code, &answer["code"]), (400, &json!("bad_import")), "{answer}");
        assert_eq!(get(&node.url, "/v1/sessions/copy").await.0, 404);
        let (_, list) = get(&node.url, "/v1/sessions?prefix=copy").await;
        assert_eq!(list["sessions"], json!([]));
    }
    // Nothing of it stands in the way of the name, or of the whole.
    create(&node.url, "copy").await;
    let url = format!("{}/v1/sessions/copy", node.url);
    assert_eq!(client().delete(&url).send().await.expect("an answer").status(), 204);
    assert_eq!(import(&node.url, "copy", file.clone()).await.0, 201);
    create(&node.url, "taken").await;
    let (code, answer) = import(&node.url, "taken", file.clone()).await;
    assert_eq!((code, &answer["code"]), (409, &json!("session_exists")));
    let (code, answer) = import(&node.url, "s", file).await;
    assert_eq!((code, &answer["code"]), (409, &json!("session_exists")), "it was not imported");
    assert_eq!(get(&node.url, "/v1/sessions/none/export").await.0, 404);
}

#[tokio::test]
async fn a_fork_is_exported_with_what_it_inherits_and_stands_alone() {
    let (node, other) = tokio::join!(start_single(), start_single());
    furnish(&node.url).await;
    assert_eq!(post(&node.url, &format!("{SESSION}/fork"), json!({ "session": "f" })).await.0, 201);
    append(&node.url, "f", 0, json!({ "events": [{ "text": "own" }] })).await;
    let from = events(&node.url, "f").await;
    let file = export(&node.url, "f").await;
    let (code, answer) = import(&other.url, "f", file).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(events(&other.url, "f").await, from);
    // A log that has lost its beginning moves, too.
    let trimmed = post(&other.url, "/v1/sessions/f/trim", json!({ "before": 7 })).await;
    assert_eq!(trimmed.1["first"], json!(7));
    let file = export(&other.url, "f").await;
    assert_eq!(import(&node.url, "g", file).await.0, 201);
    assert_eq!(events(&node.url, "g").await, from[6..]);
}

/// Forks whose events are all inherited, and those whose source has lost some.
#[tokio::test]
async fn a_fork_is_exported_whatever_it_has_of_its_own_and_its_source_has_lost() {
    let (node, other) = tokio::join!(start_single(), start_single());
    furnish(&node.url).await;
    let fork = async |from: &str, name: &str| {
        let body = json!({ "session": name });
        let made = post(&node.url, &format!("/v1/sessions/{from}/fork"), body).await;
        assert_eq!(made.0, 201, "{}", made.1);
    };
    // The turn that was open ends in the first fork; the second one has nothing of its own.
    fork("s", "f").await;
    fork("f", "g").await;
    let from = events(&node.url, "g").await;
    for (url, name) in [(&other.url, "g"), (&node.url, "copy")] {
        let (code, answer) = import(url, name, export(&node.url, "g").await).await;
        assert_eq!(code, 201, "{answer}");
        assert_eq!(events(url, name).await, from);
    }
    // What comes next has the same hash in the fork and in its copy, which can be exported as well.
    let again = export(&node.url, "copy").await;
    let (code, answer) = import(&other.url, "copy", again).await;
    assert_eq!(code, 201, "{answer}");
    for (url, name) in [(&node.url, "g"), (&other.url, "g"), (&other.url, "copy")] {
        append(url, name, 0, json!({ "events": [{ "text": "next" }] })).await;
    }
    let chain =
        async |url: &str, name: &str| events(url, name).await.pop().expect("it")["chain"].clone();
    let own = chain(&node.url, "g").await;
    assert_eq!((chain(&other.url, "g").await, chain(&other.url, "copy").await), (own.clone(), own));

    append(&node.url, "f", 0, json!({ "events": [{ "text": "own" }] })).await;
    let trimmed = post(&node.url, &format!("{SESSION}/trim"), json!({ "before": 7 })).await;
    assert_eq!(trimmed.0, 200, "{}", trimmed.1);
    for name in ["f", "g"] {
        let from = events(&node.url, name).await;
        assert_eq!(from[0]["serial"], 7);
        let (code, answer) =
            import(&other.url, &format!("{name}-late"), export(&node.url, name).await).await;
        assert_eq!(code, 201, "{answer}");
        assert_eq!(events(&other.url, &format!("{name}-late")).await, from);
    }
}

fn session(url: &str, arguments: &[&str], stdin: Stdio) -> std::process::Output {
    let mut command = Command::new(binary());
    command.arg("session").args(arguments).args(["--url", url]);
    command.stdin(stdin).output().expect("the binary starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_from_node_to_node_while_one_is_killed() {
    let mut cluster = Cluster::up(3, TIMERS).await;
    furnish(&cluster.url(1)).await;
    for seq in 3..25 {
        let events: Vec<_> =
            (0..100).map(|number| json!({ "text": "x".repeat(500 + number) })).collect();
        append(&cluster.url(2), "s", seq, json!({ "events": events })).await;
    }
    let from = events(&cluster.url(3), "s").await;
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("s.ndjson");
    let exported = session(&cluster.url(2), &["export", "s"], Stdio::null());
    assert!(exported.status.success(), "{exported:?}");
    std::fs::write(&path, &exported.stdout).expect("it is written");
    let file = exported.stdout;

    // The import comes slowly; the leader of the copy dies in the middle of it.
    let (home_code, home) = get(&cluster.url(1), "/v1/sessions/copy/home").await;
    assert_eq!(home_code, 200, "{home}");
    let leader = home["leader"].as_u64().expect("one leads") as usize;
    let door = leader % 3 + 1;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let url = cluster.url(door);
    let request = import(&url, "copy", reqwest::Body::wrap_stream(body));
    let half = file.len() / 2;
    let send = async {
        sender.send(Ok(file[..half].to_vec())).await.expect("it is read");
        cluster.kill(leader);
        // Where it was refused meanwhile, nobody reads the rest.
        sender.send(Ok(file[half..].to_vec())).await.ok();
        drop(sender);
    };
    let ((code, answer), ()) = tokio::join!(request, send);
    if code != 201 {
        // It may not have been taken; then the same again is.
        assert!(500 <= code, "{answer}");
        eventually("the same import again is taken", async || {
            let (code, _) = import(&cluster.url(door), "copy", file.clone()).await;
            code == 200 || code == 201
        })
        .await;
    }
    check_copy(&cluster.url(door), "copy", &from).await;
    cluster.start(leader);
    cluster.ready(leader).await;
    check_copy(&cluster.url(leader), "copy", &from).await;
    // By the command line, under another name.
    let input = std::fs::File::open(&path).expect("it is there");
    let imported = session(&cluster.url(leader), &["import", "third"], input.into());
    assert!(imported.status.success(), "{imported:?}");
    check_copy(&cluster.url(door), "third", &from).await;
    let cut = session(&cluster.url(leader), &["import", "fourth"], Stdio::null());
    assert!(
        !cut.status.success() && String::from_utf8_lossy(&cut.stderr).contains("bad_import"),
        "{cut:?}"
    );
}

/// What is read back of a session, up to an event.
async fn records(url: &str, session: &str, upto: u64) -> Vec<Record> {
    let record = |event: &Value| Record {
        serial: event["serial"].as_u64().expect("a serial"),
        value: event["text"].as_str().expect("a text").to_owned(),
        chain: u64::from_str_radix(event["chain"].as_str().expect("a chain"), 16).ok(),
        fact: None,
    };
    let all = events(url, session).await;
    all.iter().map(record).filter(|record| record.serial <= upto).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_the_same_chain() {
    let mut cluster = Cluster::up(3, TIMERS).await;
    let recorder = Recorder::new();
    create(&cluster.url(1), "h").await;
    for number in 0..60 {
        let values = vec![format!("v{number}")];
        let op = recorder.invoke(
            0,
            "n1",
            "h",
            None,
            Call::Append { values: values.clone(), producer: None },
        );
        let answer =
            append(&cluster.url(1), "h", number, json!({ "events": [{ "text": values[0] }] }))
                .await;
        let place = |name: &str| answer[name].as_u64().expect("a serial");
        recorder.ok(
            op,
            Answer::Appended { incarnation: 1, first: place("first"), last: place("last") },
        );
    }
    let (_, status) = get(&cluster.url(2), "/v1/sessions/h").await;
    let chain =
        u64::from_str_radix(status["chain"].as_str().expect("a chain"), 16).expect("a hash");
    let op = recorder.invoke(0, "n2", "h", None, Call::Import { to: "copy".into() });
    let file = export(&cluster.url(2), "h").await;
    let (_, home) = get(&cluster.url(1), "/v1/sessions/copy/home").await;
    let leader = usize::try_from(home["leader"].as_u64().expect("one leads")).expect("a node");
    cluster.kill(leader);
    recorder.nemesis("kill", &format!("n{leader}"));
    let door = leader % 3 + 1;
    eventually("it is imported by those that are left", async || {
        let (code, _) = import(&cluster.url(door), "copy", file.clone()).await;
        code == 200 || code == 201
    })
    .await;
    let read = records(&cluster.url(door), "copy", 60).await;
    recorder.ok(op, Answer::Imported { incarnation: 1, first: 1, tail: 60, chain, records: read });
    cluster.start(leader);
    cluster.ready(leader).await;
    for node in 1..=3 {
        let call = Call::Read { after: 0, mode: ReadMode::Final };
        let op = recorder.invoke(0, &format!("n{node}"), "h", None, call);
        let records = records(&cluster.url(node), "h", 60).await;
        recorder.ok(op, Answer::Page { incarnation: 1, first: 1, tail: Some(60), records });
    }
    let expectations =
        Expectations { ok_appends: 60, nemesis: 1, final_nodes: 3, ..Expectations::default() };
    check(&recorder.into_history(), &expectations).assert_valid();
}
