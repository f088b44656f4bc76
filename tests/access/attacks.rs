//! Attacks that no other test has, and the table of all of them: `attacks.md` beside this file.

use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use harness::cluster::Cluster;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

/// Each row of the table names tests that are there.
#[test]
fn every_attack_names_tests_that_exist() {
    let table = include_str!("attacks.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        rows.push(cells[1].to_owned());
        let named: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{line}");
        for name in named {
            let Some((file, test)) = name.split_once("::") else {
                // Where there is no test, it says what there is.
                assert!(cells[3].starts_with("no test") && root.join(name).exists(), "{line}");
                continue;
            };
            let text = std::fs::read_to_string(root.join(file)).expect(file);
            assert!(text.contains(&format!("fn {test}(")), "{name} of {} is not there", cells[1]);
        }
    }
    let all: Vec<_> = (1..=40).map(|row| format!("S{row}")).collect();
    assert_eq!(rows, all);
}

/// S9: a name is its bytes, however it is spelt in an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_only_looks_like_ones_own_is_none() {
    let node = start().await;
    for session in ["mine", "Mine", "mine.", "m\u{131}ne", "min\u{435}"] {
        let path = format!("/v1/sessions/{session}");
        assert_eq!(ask(&node, Some(ROOT), Method::PUT, &path, Some(&json!({}))).await.0, 201);
    }
    let own = key(&node, &["read"], json!({ "sessions": ["mine"] })).await;
    for (path, statuses) in [
        ("mine", &[200][..]),
        ("%6dine", &[400]),
        ("%6Dine", &[400]),
        ("Mine", &[404]),
        ("mine.", &[404]),
        ("m%C4%B1ne", &[404]),
        ("min%D0%B5", &[404]),
        ("%256dine", &[404, 400]),
        ("mine%00", &[400, 404]),
        ("mine%2F", &[400, 404]),
        ("mine/", &[404]),
        ("mine%20", &[400, 404]),
        ("%2e%2e", &[400, 404]),
        ("%C3%28", &[400, 404]),
        ("mine*", &[404]),
        ("..%2Fmine", &[400, 404]),
    ] {
        let path = format!("/v1/sessions/{path}");
        let (status, answer) = ask(&node, Some(&own), Method::GET, &path, None).await;
        assert!(statuses.contains(&status.as_u16()), "{path}: {status} {answer}");
    }
}

/// S20: JSON that would cost its reader much costs a refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_is_a_bomb_is_refused_and_the_node_goes_on() {
    let node = start().await;
    create(&node, "mine").await;
    let keys: String = (0..60_000).map(|one| format!("\"k{one}\":1,")).collect();
    let bombs = [
        format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{\"events\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        "{\"events\":".repeat(50_000),
        format!("{{{keys}\"events\":[]}}"),
        "{\"events\":[{\"text\":\"a\"}],\"events\":[{\"text\":\"b\"}]}".to_owned(),
        "{\"events\":1e400}".to_owned(),
        "{\"events\":[{\"text\":\"\\ud800\"}]}".to_owned(),
        format!("{{\"events\":[{{\"text\":\"{}\"}}]}}", "x".repeat(2 << 20)),
    ];
    for bomb in bombs.map(String::into_bytes).into_iter().chain([b"{\"events\":\"\xff\"}".to_vec()])
    {
        for path in ["sessions/mine/events", "sessions/mine/inputs", "keys", "tickets", "cookies"] {
            let begins = String::from_utf8_lossy(&bomb[..bomb.len().min(40)]).into_owned();
            let request = reqwest::Client::new().post(format!("{}/v1/{path}", node.url));
            let request = request.bearer_auth(ROOT).header("content-type", "application/json");
            let answer = request.body(bomb.clone()).timeout(PATIENCE).send().await;
            let status = answer.expect("an answer").status().as_u16();
            assert!([400, 413].contains(&status), "{path} {begins}: {status}");
        }
    }
    let (_, page) = ask(&node, Some(ROOT), Method::GET, "/v1/sessions/mine/events", None).await;
    assert_eq!(page["events"], json!([]), "nothing was taken");
}

/// S23: whoever resets streams as fast as they can be opened is cut off, or served, and keeps nobody else waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_cost_nobody_else() {
    let node = start().await;
    create(&node, "mine").await;
    let mut running = JoinSet::new();
    for _ in 0..4 {
        let address = node.url.strip_prefix("http://").expect("a url");
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (executor, stream) = (TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) =
            http2::handshake(executor, stream).await.expect("it speaks HTTP/2");
        running.spawn(async move { drop(connection.await) });
        let url = format!("{}/v1/sessions/mine/events?live=sse", node.url);
        running.spawn(async move {
            for _ in 0..5_000 {
                let request = hyper::Request::get(&url).header("authorization", "Bearer x");
                let request = request.body(Empty::<Bytes>::new()).expect("a request");
                if sender.ready().await.is_err() {
                    return;
                }
                drop(sender.send_request(request));
            }
        });
    }
    let mut sent = 0;
    while sent < 20 {
        let answered = ask(&node, Some(ROOT), Method::GET, "/v1/sessions/mine", None);
        let (status, answer) = timeout(SOON, answered).await.expect("others are not kept waiting");
        assert_eq!(status, 200, "{answer}");
        sent += 1;
    }
    running.shutdown().await;
    eventually("nothing of it stays open", async || {
        let (_, text) = ask(&node, Some(ROOT), Method::GET, "/metrics", None).await;
        let text = text.as_str().expect("text").to_owned();
        text.lines().any(|line| line == "outlive_live_streams 0")
    })
    .await;
}

/// How long anybody else may wait meanwhile.
const SOON: Duration = Duration::from_secs(10);

const CANARY: &str = "canary-7f3a91";

/// S30, S31, S32, S35: what is secret is in no log, metric or error; what is hostile stays one line; and nobody else
/// reads what is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_errors_and_files_tell_nothing_to_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.key");
    let secret = format!("{CANARY}-0123456789abcdef0123456789abcdef");
    std::fs::write(&root, &secret).expect("it is written");
    let root = root.to_str().expect("a path");
    let flags = ["--root-key", root, "--log", "json"];
    let mut cluster = Cluster::up(1, &flags).await;
    let url = cluster.url(1);
    let http = harness::cluster::client();
    let ask = async |method: Method, path: &str, body: String, more: &[(&str, String)]| {
        let mut request = http.request(method, format!("{url}{path}")).timeout(PATIENCE);
        for (name, value) in more {
            request = request.header(*name, value);
        }
        let answer = request.body(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let by = [("authorization", format!("Bearer {secret}"))];
    let mut secrets = vec![CANARY.to_owned()];
    assert_eq!(ask(Method::PUT, "/v1/sessions/s", String::new(), &by).await.0, 201);
    let payload = format!("{{\"events\":[{{\"text\":\"{CANARY}\"}}]}}");
    assert_eq!(ask(Method::POST, "/v1/sessions/s/events", payload, &by).await.0, 200);
    let body = r#"{"name":"a","rights":["read"]}"#.to_owned();
    let (_, made) = ask(Method::POST, "/v1/keys", body, &by).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let key = made["key"].as_str().expect("a key").to_owned();
    secrets.push(key.splitn(3, '_').nth(2).expect("a secret").to_owned());
    let (_, made) = ask(Method::POST, "/v1/tickets", String::new(), &by).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    let path = format!("/v1/sessions/s/events?ticket={ticket}");
    assert_eq!(ask(Method::GET, &path, String::new(), &[]).await.0, 200);
    secrets.push(ticket[4..40].to_owned());
    let made = http.post(format!("{url}/v1/cookies")).bearer_auth(&secret).send().await;
    let set = made.expect("an answer").headers()["set-cookie"].to_str().expect("text").to_owned();
    let cookie = set.split(';').next().expect("a pair").to_owned();
    let shown = [("cookie", cookie.clone()), ("origin", url.clone())];
    assert_eq!(ask(Method::GET, "/v1/sessions/s", String::new(), &shown).await.0, 200);
    secrets.push(cookie["outlive=olc_".len()..][..36].to_owned());

    let mut texts = Vec::new();
    let hostile = "%0d%0a%1b%5b31m%22%7dforged";
    for (path, more) in [
        (format!("/v1/sessions/{hostile}"), &by[..]),
        (format!("/v1/sessions/s/events?after={hostile}"), &by),
        (format!("/v1/{hostile}?{hostile}"), &[]),
        ("/v1/sessions/s?ticket=olt_a.b".to_owned(), &[]),
        (format!("/v1/sessions/s?ticket={ticket}x"), &[]),
        ("/v1/sessions/s".to_owned(), &[("authorization", format!("Bearer {key}x"))]),
        ("/v1/sessions/s".to_owned(), &[("authorization", format!("Bearer {CANARY}"))]),
        ("/v1/sessions/s".to_owned(), &[("cookie", format!("{cookie}x")), ("origin", url.clone())]),
        ("/v1/cluster".to_owned(), &[("authorization", format!("Bearer {key}"))]),
    ] {
        let (status, text) = ask(Method::GET, &path, String::new(), more).await;
        assert!((400..500).contains(&status), "{path}: {status} {text}");
        texts.push(text);
    }
    let (_, metrics) = ask(Method::GET, "/metrics", String::new(), &by).await;
    for text in texts.iter().chain([&metrics]) {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
        let inside = ["src/", ".rs", "panicked", "127.0.0.1", dir.path().to_str().expect("a path")];
        assert!(!inside.iter().any(|part| text.contains(part)), "{text}");
    }
    for secret in &secrets {
        assert_eq!(cluster.logged(1, secret), 0, "{secret}");
    }
    cluster.stop(1).await;
    assert_eq!(cluster.logged(1, "\u{1b}"), 0);
    for line in cluster.log_end(1).lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    for part in ["journal", "store", "."] {
        let file = std::fs::metadata(cluster.data_dir(1).join(part)).expect("it is there");
        assert_eq!(file.permissions().mode() & 0o77, 0, "{part} is closed to others");
    }
}

/// S34: whatever a session, a file or a turn is called, nothing is written but where the node's things are, and nothing
/// there has a name that a client gave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_becomes_a_path() {
    let mut cluster = Cluster::up(1, &[]).await;
    let url = cluster.url(1);
    let http = harness::cluster::client();
    let named = ["..%2F..%2Fescaped", "%2Ftmp%2Fescaped", "..", "escaped%5C..%5C..", "escaped.%2E"];
    for name in named {
        let path = format!("{url}/v1/sessions/{name}");
        // The client would resolve two dots by itself; each spelling is one that reaches the node.
        let made = http.put(&path).timeout(PATIENCE).send().await.expect("an answer").status();
        assert!(made.is_success() || made.is_client_error(), "{name}: {made}");
        let session = "escaped-session";
        let path = format!("{url}/v1/sessions/{session}");
        http.put(&path).timeout(PATIENCE).send().await.expect("an answer");
        let body = json!({ "size": 4, "name": "../../escaped", "media_type": "text/plain",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" });
        let path = format!("{path}/files/{name}");
        let made = http.put(&path).json(&body).timeout(PATIENCE).send().await.expect("an answer");
        assert!(made.status().is_success() || made.status().is_client_error(), "{name}");
    }
    cluster.stop(1).await;
    let data = cluster.data_dir(1);
    let beside = data.parent().expect("a directory");
    for entry in walkdir::WalkDir::new(beside) {
        let path = entry.expect("an entry").into_path();
        assert!(!path.to_string_lossy().contains("escaped"), "{path:?}");
    }
    assert!(!std::path::Path::new("/tmp/escaped").exists());
}

/// S38: what is secret is compared in a time that tells nothing of it, and can be compared in no other way.
#[test]
fn secrets_are_compared_in_constant_time() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let keys = std::fs::read_to_string(root.join("src/auth/key.rs")).expect("the keys");
    let (before, own) = keys.split_once("pub struct Secret(").expect("a secret");
    let derived = before.lines().rev().take_while(|line| !line.is_empty());
    let derived = derived.collect::<Vec<_>>().join(" ");
    assert!(derived.contains("derive") && !derived.contains("PartialEq"), "{derived}");
    let own = own.split_once("impl PartialEq for Secret").expect("how it is compared").1;
    let own = own.split_once("\n}").expect("its end").0;
    assert!(own.contains("ct_eq"), "by a crate that is made for it: {own}");
}

/// S40: what others wrote is what was looked at: each crate by its checksum, the compiler by its number, and none of
/// our own code is free of the compiler's checks.
#[test]
fn what_others_wrote_is_pinned() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let lock: toml::Table = read("Cargo.lock").parse().expect("TOML");
    let text = |package: &toml::Value, member: &str| {
        package.get(member).and_then(toml::Value::as_str).map(str::to_owned)
    };
    for package in lock["package"].as_array().expect("packages") {
        let name = text(package, "name").expect("a name");
        match text(package, "source") {
            None => assert!(name.starts_with("outlive"), "{name} is of nowhere"),
            Some(source) => {
                assert_eq!(
                    source, "registry+https://github.com/rust-lang/crates.io-index",
                    "{name}"
                );
                assert!(text(package, "checksum").is_some_and(|sum| sum.len() == 64), "{name}");
            }
        }
    }
    let toolchain: toml::Table = read("rust-toolchain.toml").parse().expect("TOML");
    let channel = toolchain["toolchain"]["channel"].as_str().expect("a channel");
    assert_eq!(channel.split('.').count(), 3, "{channel} is one compiler");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    assert_eq!(manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    for member in manifest["workspace"]["members"].as_array().expect("members") {
        let member = member.as_str().expect("a path");
        let member: toml::Table = read(&format!("{member}/Cargo.toml")).parse().expect("TOML");
        assert_eq!(member["lints"]["workspace"].as_bool(), Some(true));
    }
}
