//! Quotas: what a tenant or a key sends beyond them is refused at every door, and never took effect; others, and
//! interrupts, go on.

use futures::{StreamExt, stream};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use harness::node::{TestNode, start_single_with};
use harness::socket::Client;
use outlive::auth::Secret;
use outlive::config::{QuotaConfig, QuotaLimits};
use outlive::ids::TenantName;
use reqwest::{Method, Response};
use serde_json::{Value, json};

const ROOT: &str = "root-0123456789abcdef0123456789abcdef";
const RIGHTS: [&str; 12] = [
    "read", "send", "steer", "cancel", "answer", "publish", "create", "delete", "claim",
    "presence", "takeover", "admin",
];
/// More than any machine sends in a second, one after the other.
const MANY: usize = 100_000;

async fn start(quotas: QuotaConfig) -> TestNode {
    start_single_with(|config| {
        config.root_key = Some(Secret::of(ROOT));
        config.quotas = Some(quotas);
    })
    .await
}

/// Sends with what a key opens.
async fn send(url: &str, key: &str, method: Method, path: &str, body: Option<&Value>) -> Response {
    let request = client().request(method, format!("{url}{path}")).bearer_auth(key);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    request.send().await.expect("an answer")
}

async fn ask(node: &TestNode, key: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let body = Some(&body).filter(|body| !body.is_null());
    let answer = send(&node.url, key, method, path, body).await;
    let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A key that may do everything in its tenant.
async fn key(url: &str, tenant: &str) -> String {
    let body = json!({ "name": "k", "tenant": tenant, "rights": RIGHTS, "agents": ["*"] });
    let answer = send(url, ROOT, Method::POST, "/v1/keys", Some(&body)).await;
    let made: Value = answer.json().await.expect("JSON");
    made["key"].as_str().unwrap_or_else(|| panic!("a key: {made}")).to_owned()
}

fn append() -> Value {
    json!({ "events": [{ "text": "x" }] })
}

/// Appends until it is refused; how many were taken, and the refusal.
async fn flood(node: &TestNode, key: &str, session: &str) -> (u64, Response) {
    let path = format!("/v1/sessions/{session}/events");
    let mut taken = 0;
    for _ in 0..MANY {
        let answer = send(&node.url, key, Method::POST, &path, Some(&append())).await;
        match answer.status().as_u16() {
            200 => taken += 1,
            _ => return (taken, answer),
        }
    }
    panic!("nothing was refused");
}

fn of_tenants(tenant: QuotaLimits) -> QuotaConfig {
    QuotaConfig { tenant, ..QuotaConfig::default() }
}

/// Something of the tenant's is created at a time when its quota has room.
async fn create(node: &TestNode, key: &str, session: &str) {
    eventually("a session is created", async || {
        let path = format!("/v1/sessions/{session}");
        ask(node, key, Method::PUT, &path, json!({})).await.0 == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_over_its_quota_is_refused_with_nothing_done_and_others_are_not() {
    let most = QuotaLimits { appends_per_s: Some(1), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let (acme, zeta) = (key(&node.url, "acme").await, key(&node.url, "zeta").await);
    create(&node, &acme, "s").await;
    let (taken, refused) = flood(&node, &acme, "s").await;
    assert_eq!(refused.status(), 429);
    let header = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("retry-after"), "1");
    assert_eq!(header("ratelimit-policy"), "\"tenant-appends\";q=1;w=1");
    assert_eq!(header("ratelimit"), "\"tenant-appends\";r=0;t=1");
    let exposed = header("access-control-expose-headers");
    assert!(exposed.contains("ratelimit-policy"), "pages of other origins see it: {exposed}");
    let body: Value = refused.json().await.unwrap();
    let found = [&body["code"], &body["policy"], &body["outcome"], &body["retryable"]];
    assert_eq!(
        found,
        [&json!("quota_exceeded"), &json!("tenant-appends"), &json!("refused"), &json!(true)]
    );
    assert!((1..=1000).contains(&body["retry_after_ms"].as_u64().unwrap()), "{body}");
    // Whoever is over its quota still ends what it began, and reads; another tenant notices nothing.
    let cancel = json!({ "all": true });
    let (status, _) = ask(&node, &acme, Method::POST, "/v1/sessions/s/cancel", cancel).await;
    assert_eq!(status, 200);
    let (status, answer) = ask(&node, &zeta, Method::PUT, "/v1/sessions/s", json!({})).await;
    assert_eq!(status, 201, "{answer}");
    let (_, session) = ask(&node, &acme, Method::GET, "/v1/sessions/s", Value::Null).await;
    assert_eq!(session["tail"], taken, "what was refused is nowhere: {session}");
    eventually("it is let in again", async || {
        ask(&node, &acme, Method::POST, "/v1/sessions/s/events", append()).await.0 == 200
    })
    .await;
}

/// What makes its session is one input, as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_message_of_a_chat_is_one_input() {
    let most = QuotaLimits { inputs_per_s: Some(1), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let acme = key(&node.url, "acme").await;
    let body = json!({ "model": "poet", "input": "x", "background": true });
    let (status, answer) = ask(&node, &acme, Method::POST, "/v1/openai/responses", body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_over_its_quota_leaves_the_other_keys_of_its_tenant_alone() {
    let key_limits = QuotaLimits { appends_per_s: Some(1), ..QuotaLimits::default() };
    let node = start(QuotaConfig { key: key_limits, ..QuotaConfig::default() }).await;
    let (one, two) = (key(&node.url, "acme").await, key(&node.url, "acme").await);
    create(&node, &one, "s").await;
    let (_, refused) = flood(&node, &one, "s").await;
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["policy"], "key-appends");
    let (status, _) = ask(&node, &two, Method::POST, "/v1/sessions/s/events", append()).await;
    assert_eq!(status, 200);
    // The root key has no quota of its own, and its tenant none here.
    for number in 0..5 {
        let path = format!("/v1/sessions/root-{number}");
        assert_eq!(ask(&node, ROOT, Method::PUT, &path, json!({})).await.0, 201);
    }
}

/// Where the node has quotas for none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_quotas_of_its_own_which_are_no_way_around_those_of_every_key() {
    let made = async |node: &TestNode, quotas: Value| {
        let body = json!({
            "name": "k", "tenant": "acme", "rights": RIGHTS, "agents": ["*"], "quotas": quotas,
        });
        let (status, made) = ask(node, ROOT, Method::POST, "/v1/keys", body).await;
        (status, made)
    };
    let node = start_single_with(|config| config.root_key = Some(Secret::of(ROOT))).await;
    let own = json!({ "appends_per_s": 1, "live_streams": 1 });
    let (status, slow) = made(&node, own.clone()).await;
    assert_eq!((status, &slow["quotas"]), (201, &own), "{slow}");
    let slow = slow["key"].as_str().unwrap().to_owned();
    let quick = key(&node.url, "acme").await;
    create(&node, &slow, "s").await;
    let (_, refused) = flood(&node, &slow, "s").await;
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["policy"], &body["limit"]), (&json!("key-appends"), &json!(1)), "{body}");
    let socket = Client::open_as(&node, "/v1/ws", &slow).await;
    let refused = send(&node.url, &slow, Method::GET, "/v1/ws", None).await;
    let policy = refused.headers()["ratelimit-policy"].to_str().unwrap();
    assert_eq!(policy, "\"key-streams\";q=1;qu=\"concurrent-requests\"");
    drop(socket);
    // The other key of the tenant has none.
    for _ in 0..20 {
        let path = "/v1/sessions/s/events";
        assert_eq!(ask(&node, &quick, Method::POST, path, append()).await.0, 200);
    }
    let (_, keys) = ask(&node, ROOT, Method::GET, "/v1/keys", Value::Null).await;
    let shown: Vec<&Value> = keys["keys"].as_array().unwrap().iter().collect();
    assert!(shown.iter().any(|key| key["quotas"] == own), "{keys}");
    for bad in [json!({ "appends_per_s": 0 }), json!({ "sessions": 1 }), json!(7)] {
        assert_eq!(made(&node, bad.clone()).await.0, 400, "{bad}");
    }

    let key_limits = QuotaLimits { appends_per_s: Some(1), ..QuotaLimits::default() };
    let node = start(QuotaConfig { key: key_limits, ..QuotaConfig::default() }).await;
    let (_, wide) = made(&node, json!({ "appends_per_s": 1_000_000, "inputs_per_s": 3 })).await;
    let wide = wide["key"].as_str().unwrap().to_owned();
    create(&node, &wide, "s").await;
    let (_, refused) = flood(&node, &wide, "s").await;
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["policy"], &body["limit"]), (&json!("key-appends"), &json!(1)), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_has_the_same_quota() {
    // One command brings more than a second's worth, so all that follows is refused for a long time.
    let most = QuotaLimits { bytes_per_s: Some(10), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let acme = key(&node.url, "acme").await;
    create(&node, &acme, "s").await;
    let create_stream = client().put(format!("{}/v1/stream/d", node.url)).bearer_auth(&acme);
    let made = create_stream.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(made.status(), 201);
    let input = |id: &str| json!({ "id": id, "agent": "poet", "content": { "text": "hello" } });
    let (status, _) = ask(&node, &acme, Method::POST, "/v1/sessions/s/inputs", input("t")).await;
    assert_eq!(status, 200);
    let (status, turn) =
        ask(&node, &acme, Method::POST, "/v1/agents/poet/claim", json!({ "worker": "w" })).await;
    assert_eq!(status, 200, "{turn}");
    let spent = json!({ "events": [{ "text": "x".repeat(100_000) }] });
    eventually("what the input cost is paid for", async || {
        let path = "/v1/sessions/s/events";
        ask(&node, &acme, Method::POST, path, spent.clone()).await.0 == 200
    })
    .await;
    let report = json!({ "epoch": turn["epoch"], "seq": 0, "events": [{ "text": "hello" }] });
    let message = json!({ "role": "user", "id": "m", "parts": [{ "type": "text", "text": "hi" }] });
    for (path, body) in [
        ("/v1/sessions/s/events", append()),
        ("/v1/sessions/s/inputs", input("u")),
        ("/v1/sessions/s/turns/t/output", report.clone()),
        ("/v1/stream/d", json!([1, 2])),
        ("/v1/openai/responses", json!({ "model": "poet", "input": "hi" })),
        ("/v1/ai-sdk/poet", json!({ "id": "s", "messages": [message] })),
        (
            "/v1/ag-ui/poet",
            json!({
                "threadId": "s", "runId": "r1",
                "messages": [{ "id": "m1", "role": "user", "content": "hi" }],
            }),
        ),
    ] {
        let (status, answer) = ask(&node, &acme, Method::POST, path, body).await;
        assert_eq!(status, 429, "{path}: {answer}");
    }
    let streamed = |path: String, kind: &'static str, line: Value| {
        let request = client().post(format!("{}{path}", node.url)).bearer_auth(&acme);
        let request = request.header("content-type", kind).header("stream-append", "streaming");
        let producer = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
        let request = match path.starts_with("/v1/stream") {
            true => {
                producer.into_iter().fold(request, |request, (name, is)| request.header(name, is))
            }
            false => request,
        };
        request.body(format!("{line}\n")).send()
    };
    let output = format!("/v1/sessions/s/turns/t/output?epoch={}", turn["epoch"]);
    let line = json!({ "seq": 0, "events": [{ "text": "hello" }] });
    for (path, line) in [(output, line), ("/v1/stream/d".to_owned(), json!({ "n": 1 }))] {
        let answer = streamed(path.clone(), "application/x-ndjson", line).await.unwrap();
        let text = answer.text().await.unwrap();
        let last: Value = serde_json::from_str(text.trim().lines().last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "quota_exceeded", "{path}: {text}");
        assert!(last["error"]["retry_after_ms"].is_u64(), "{text}");
    }
    let mut socket = Client::open_as(&node, "/v1/ws", &acme).await;
    let request = json!({ "op": "append", "session": "s", "body": append() });
    let answer = socket.ask(request).await;
    assert_eq!(answer["problem"]["code"], "quota_exceeded", "{answer}");
    assert!(answer["problem"]["retry_after_ms"].is_u64(), "{answer}");
    let answer =
        socket.ask(json!({ "op": "cancel", "session": "s", "body": { "turn": "t" } })).await;
    assert!(answer["ok"].is_object(), "an interrupt passes: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_says_over_its_quota_is_refused_and_may_be_said_again() {
    let most = QuotaLimits { appends_per_s: Some(1), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let acme = key(&node.url, "acme").await;
    create(&node, &acme, "s").await;
    eventually("an input is taken", async || {
        let input = json!({ "id": "t", "agent": "poet", "content": { "text": "hello" } });
        ask(&node, &acme, Method::POST, "/v1/sessions/s/inputs", input).await.0 == 200
    })
    .await;
    let mut worker = Client::open_as(&node, "/v1/agents/ws", &acme).await;
    worker.send(&json!({ "type": "register", "agent": "poet", "worker": "w" })).await;
    let turn = worker.find("a turn", |frame| frame["type"] == "turn").await;
    let emit = |seq: u64| {
        json!({
            "type": "output", "session": "s", "turn": "t", "epoch": turn["epoch"], "seq": seq,
            "events": [{ "text": seq.to_string() }],
        })
    };
    let (mut seq, mut refused) = (0, 0);
    while seq < 3 || refused == 0 {
        assert!(seq < MANY as u64, "nothing was refused");
        worker.send(&emit(seq)).await;
        let kinds = ["ack", "refused"];
        let answer = worker
            .find("an answer", |frame| kinds.contains(&frame["type"].as_str().unwrap_or_default()))
            .await;
        if answer["type"] == "ack" {
            seq += 1;
            continue;
        }
        refused += 1;
        let found = [&answer["code"], &answer["seq"], &answer["session"], &answer["turn"]];
        assert_eq!(found, [&json!("quota_exceeded"), &json!(seq), &json!("s"), &json!("t")]);
        let wait = answer["retry_after_ms"].as_u64().expect("when to come back");
        assert!((1..=1000).contains(&wait), "{answer}");
    }
    let path = "/v1/sessions/s/events?limit=1000";
    let (_, page) = ask(&node, &acme, Method::GET, path, Value::Null).await;
    let events = page["events"].as_array().unwrap().iter();
    let emitted: Vec<_> = events.filter(|event| event["type"] == "turn.output").collect();
    let emitted: Vec<_> = emitted.iter().map(|event| event["text"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..seq).map(|seq| seq.to_string()).collect();
    assert_eq!(emitted, expected, "each once, in its order: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_all_kinds_are_counted_for_as_long_as_they_are_open() {
    let most = QuotaLimits { live_streams: Some(2), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let (acme, zeta) = (key(&node.url, "acme").await, key(&node.url, "zeta").await);
    create(&node, &acme, "s").await;
    let open = |path: &'static str| {
        let request = client().get(format!("{}{path}", node.url)).bearer_auth(&acme);
        async move { request.send().await.expect("an answer") }
    };
    let sse = "/v1/sessions/s/events?after=0&live=sse";
    let first = open(sse).await;
    assert_eq!(first.status(), 200);
    let socket = Client::open_as(&node, "/v1/ws", &acme).await;
    for path in [
        sse,
        "/v1/sessions/s/events?live=long-poll",
        "/v1/stream/s?offset=-1&live=sse",
        "/v1/changes?live=sse",
        "/v1/ws",
    ] {
        let refused = open(path).await;
        assert_eq!(refused.status(), 429, "{path}");
        let policy = refused.headers()["ratelimit-policy"].to_str().unwrap();
        assert_eq!(policy, "\"tenant-streams\";q=2;qu=\"concurrent-requests\"");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(
            (&body["code"], &body["policy"]),
            (&json!("quota_exceeded"), &json!("tenant-streams"))
        );
    }
    let claim = json!({ "worker": "w", "wait_ms": 0 });
    let (status, _) = ask(&node, &acme, Method::POST, "/v1/agents/poet/claim", claim).await;
    assert_eq!(status, 429);
    // What ends at once is no stream.
    let (status, _) = ask(&node, &acme, Method::GET, "/v1/sessions/s/events", Value::Null).await;
    assert_eq!(status, 200);
    let theirs = send(&node.url, &zeta, Method::GET, "/v1/sessions?limit=1", None).await;
    assert_eq!(theirs.status(), 200);
    drop((first, socket));
    let mut socket = None;
    eventually("the places are free again", async || {
        if open("/v1/ws").await.status() != 429 {
            socket = Some(Client::open_as(&node, "/v1/ws", &acme).await);
        }
        socket.is_some()
    })
    .await;
    // A session that is attached on a WebSocket takes a place of its own.
    let mut socket = socket.expect("a WebSocket");
    eventually("there is one more place", async || {
        let answer = socket.ask(json!({ "op": "attach", "session": "s" })).await;
        answer["ok"].is_object()
    })
    .await;
    create(&node, &acme, "t").await;
    let answer = socket.ask(json!({ "op": "attach", "session": "t" })).await;
    assert_eq!(answer["problem"]["policy"], "tenant-streams", "{answer}");
    let answer = socket.ask(json!({ "op": "detach", "session": "s" })).await;
    assert!(answer["ok"].is_object(), "{answer}");
    let answer = socket.ask(json!({ "op": "attach", "session": "t" })).await;
    assert!(answer["ok"].is_object(), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_as_many_subscriptions_as_it_may() {
    let most = QuotaLimits { subscriptions: Some(2), ..QuotaLimits::default() };
    let node = start(of_tenants(most)).await;
    let (acme, zeta) = (key(&node.url, "acme").await, key(&node.url, "zeta").await);
    let body = json!({ "type": "pull-wake", "pattern": "chat*", "wake_stream": "wake" });
    let subscribe = async |key: &str, id: &str| {
        let path = format!("/v1/stream/__ds/subscriptions/{id}");
        ask(&node, key, Method::PUT, &path, body.clone()).await
    };
    for id in ["a", "b"] {
        let (status, answer) = subscribe(&acme, id).await;
        assert_eq!(status, 201, "{answer}");
    }
    let (status, answer) = subscribe(&acme, "c").await;
    assert_eq!((status, &answer["policy"]), (429, &json!("tenant-subscriptions")), "{answer}");
    assert_eq!(subscribe(&acme, "a").await.0, 200, "one that is there is there");
    assert_eq!(subscribe(&zeta, "a").await.0, 201, "others have their own");
    let path = "/v1/stream/__ds/subscriptions/a";
    assert_eq!(ask(&node, &acme, Method::DELETE, path, Value::Null).await.0, 204);
    assert_eq!(subscribe(&acme, "c").await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_the_tenants_of_the_configuration_and_put_all_others_together() {
    let acme = Some(TenantName::parse("acme").expect("a name"));
    let most = QuotaLimits { appends_per_s: Some(1), ..QuotaLimits::default() };
    let tenants = [(acme, most)].into_iter().collect();
    let node = start(QuotaConfig { tenants, ..QuotaConfig::default() }).await;
    let named = key(&node.url, "acme").await;
    create(&node, &named, "s").await;
    flood(&node, &named, "s").await;
    for number in 0..20 {
        let other = key(&node.url, &format!("tenant-{number}")).await;
        create(&node, &other, "s").await;
    }
    let (_, text) = ask(&node, ROOT, Method::GET, "/metrics", Value::Null).await;
    let text = text.as_str().unwrap();
    let of_tenants: Vec<&str> =
        text.lines().filter(|line| line.starts_with("outlive_tenant_appends_total")).collect();
    assert_eq!(of_tenants.len(), 2, "{of_tenants:?}");
    assert!(of_tenants.contains(&"outlive_tenant_appends_total{tenant=\"(other)\"} 20"), "{text}");
    let refused = "outlive_tenant_refused_total{tenant=\"acme\",policy=\"tenant-appends\"} 1";
    assert!(text.lines().any(|line| line == refused), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_of_a_cluster_judges_what_enters_there_also_after_another_died() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("outlive.toml");
    std::fs::write(&file, "[quotas]\nappends_per_s = 1\n").unwrap();
    let root = dir.path().join("root.key");
    std::fs::write(&root, ROOT).unwrap();
    let flags =
        ["--config", file.to_str().unwrap(), "--root-key", root.to_str().unwrap(), "--groups", "1"];
    let mut cluster = Cluster::up(3, &flags).await;
    let urls = cluster.urls();
    let acme = key(&urls[0], "acme").await;
    eventually("a session is created", async || {
        let answer = send(&urls[0], &acme, Method::PUT, "/v1/sessions/s", Some(&json!({}))).await;
        [200, 201].contains(&answer.status().as_u16())
    })
    .await;
    let taken = async |url: &str| {
        let append = append();
        let appends = stream::iter(0..50).map(|_| async {
            let path = "/v1/sessions/s/events";
            send(url, &acme, Method::POST, path, Some(&append)).await.status().as_u16()
        });
        let answers: Vec<u16> = appends.buffer_unordered(50).collect().await;
        assert!(answers.iter().all(|status| [200, 429, 503, 504].contains(status)), "{answers:?}");
        assert!(answers.contains(&429), "{answers:?}");
        let count = |is: u16| answers.iter().filter(|status| **status == is).count() as u64;
        (count(200), count(504))
    };
    let (mut acknowledged, mut unknown) = (0, 0);
    for url in &urls {
        let counts = taken(url).await;
        (acknowledged, unknown) = (acknowledged + counts.0, unknown + counts.1);
    }
    let home = send(&urls[0], &acme, Method::GET, "/v1/sessions/s/home", None).await;
    let home: Value = home.json().await.expect("JSON");
    let dead = home["leader"].as_u64().unwrap_or_else(|| panic!("a leader: {home}")) as usize;
    cluster.kill(dead);
    let left = (1..=3).find(|node| *node != dead).unwrap();
    let counts = taken(&urls[left - 1]).await;
    (acknowledged, unknown) = (acknowledged + counts.0, unknown + counts.1);
    let mut tail = 0;
    eventually("the session is read", async || {
        let answer = send(&urls[left - 1], &acme, Method::GET, "/v1/sessions/s", None).await;
        let found = answer.status().is_success();
        let session: Value = answer.json().await.expect("JSON");
        tail = session["tail"].as_u64().unwrap_or_default();
        found
    })
    .await;
    let possible = acknowledged..=acknowledged + unknown;
    assert!(possible.contains(&tail), "what was refused is nowhere: {tail}, not {possible:?}");
}
