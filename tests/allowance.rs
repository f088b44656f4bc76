//! What a tenant holds in the whole cluster: beyond its quota new things are refused, and what was taken is answered.

use harness::cluster::{Cluster, client};
use harness::load::eventually;
use harness::node::{TestNode, start_single_with};
use harness::socket::Client;
use outlive::auth::Secret;
use outlive::config::{QuotaConfig, QuotaLimits, ServeConfig};
use outlive::ids::TenantName;
use reqwest::Method;
use serde_json::{Value, json};

const ROOT: &str = "root-0123456789abcdef0123456789abcdef";
const RIGHTS: [&str; 12] = [
    "read", "send", "steer", "cancel", "answer", "publish", "create", "delete", "claim",
    "presence", "takeover", "admin",
];

async fn start(tenant: QuotaLimits) -> TestNode {
    start_single_with(configured(tenant)).await
}

fn configured(tenant: QuotaLimits) -> impl FnOnce(&mut ServeConfig) {
    move |config| {
        config.root_key = Some(Secret::of(ROOT));
        let tenants = [(TenantName::parse("free").ok(), QuotaLimits::default())].into();
        config.quotas = Some(QuotaConfig { tenant, tenants, ..QuotaConfig::default() });
    }
}

/// One key of one tenant at one node.
struct Tenant {
    url: String,
    key: String,
}

impl Tenant {
    /// A key that may do everything in its tenant.
    async fn new(url: &str, name: &str) -> Tenant {
        let root = Tenant { url: url.to_owned(), key: ROOT.to_owned() };
        let body = json!({ "name": "k", "tenant": name, "rights": RIGHTS, "agents": ["*"] });
        let (status, made) = root.ask(Method::POST, "/v1/keys", body).await;
        assert_eq!(status, 201, "{made}");
        Tenant { key: made["key"].as_str().expect("a key").to_owned(), ..root }
    }

    fn at(&self, url: &str) -> Tenant {
        Tenant { url: url.to_owned(), key: self.key.clone() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client().request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        let (status, again) =
            (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let text = answer.text().await.expect("a body");
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        assert_eq!(again, matches!(status, 408 | 429 | 503 | 504 | 507), "{path}: {body}");
        (status, body)
    }

    /// Status and, of a problem, its code and policy.
    async fn received(&self, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.ask(method, path, body).await;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        match status {
            200..300 => (status, String::new()),
            _ => (status, format!("{} {}", text("code"), text("policy"))),
        }
    }

    async fn create(&self, name: &str) -> (u16, String) {
        self.received(Method::PUT, &format!("/v1/sessions/{name}"), json!({})).await
    }

    async fn input(&self, id: &str) -> (u16, String) {
        // Each of another agent, so that it begins a turn.
        let agent = format!("agent-{id}");
        let input = json!({ "id": id, "agent": agent, "content": { "text": "hello" } });
        self.received(Method::POST, "/v1/sessions/s/inputs", input).await
    }

    async fn append(&self, bytes: usize, seq: u64) -> (u16, String) {
        let body = json!({ "events": [{ "text": "x".repeat(bytes) }] });
        let request = self.request(Method::POST, "/v1/sessions/s/events");
        let request = request.header("producer-id", "p").header("producer-epoch", "0");
        let answer = request.header("producer-seq", seq).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn full(policy: &str) -> (u16, String) {
    (403, format!("quota_reached {policy}"))
}

fn ok(status: u16) -> (u16, String) {
    (status, String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_as_many_sessions_as_it_may_at_every_door() {
    let node = start(QuotaLimits { sessions: Some(2), ..QuotaLimits::default() }).await;
    let acme = Tenant::new(&node.url, "acme").await;
    let (zeta, free) = (Tenant::new(&node.url, "zeta").await, Tenant::new(&node.url, "free").await);
    eventually("the sessions on disk were counted", async || {
        for name in ["a", "b", "c"] {
            acme.ask(Method::DELETE, &format!("/v1/sessions/{name}"), Value::Null).await;
        }
        let made = [acme.create("a").await, acme.create("b").await, acme.create("c").await];
        made == [ok(201), ok(201), full("tenant-sessions")]
    })
    .await;
    assert_eq!(acme.create("a").await, ok(200), "what is there is there");
    let path = "/v1/openai/responses";
    let body = json!({ "model": "poet", "input": "hi", "background": true });
    let (status, answer) = acme.ask(Method::POST, path, body).await;
    assert_eq!(status, 403, "{answer}");
    let fork =
        acme.request(Method::PUT, "/v1/stream/f").header("stream-forked-from", "/v1/stream/a");
    let answer = fork.send().await.unwrap();
    assert_eq!(answer.status(), 403, "{}", answer.text().await.unwrap());
    let stream = acme.request(Method::PUT, "/v1/stream/d").header("content-type", "text/plain");
    assert_eq!(stream.send().await.unwrap().status(), 403);
    let mut socket = Client::open_as(&node, "/v1/ws", &acme.key).await;
    let answer = socket.ask(json!({ "op": "create", "session": "w", "body": {} })).await;
    assert_eq!(answer["problem"]["code"], "quota_reached", "{answer}");
    for name in ["a", "b", "c", "d"] {
        assert_eq!(free.create(name).await, ok(201), "it has no bounds");
    }
    assert_eq!(zeta.create("a").await, ok(201), "others have their own");

    let (_, metrics) = zeta.at(&node.url).metrics().await;
    for line in [
        "outlive_tenant_sessions{tenant=\"free\"} 4",
        "outlive_tenant_sessions{tenant=\"(other)\"} 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("policy=\"tenant-sessions\""), "{metrics}");

    let (status, _) = acme.ask(Method::DELETE, "/v1/sessions/a", Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(acme.create("c").await, ok(201));
    assert_eq!(acme.create("d").await, full("tenant-sessions"));
}

impl Tenant {
    async fn metrics(&self) -> (u16, String) {
        let root = Tenant { url: self.url.clone(), key: ROOT.to_owned() };
        let (status, text) = root.ask(Method::GET, "/metrics", Value::Null).await;
        (status, text.as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_as_many_open_turns_as_it_may_and_they_end() {
    let node = start(QuotaLimits { open_turns: Some(1), ..QuotaLimits::default() }).await;
    let acme = Tenant::new(&node.url, "acme").await;
    assert_eq!(acme.create("s").await, ok(201));
    let busy = (429, "quota_exceeded tenant-open-turns".to_owned());
    eventually("the sessions on disk were counted", async || {
        acme.ask(Method::POST, "/v1/sessions/s/cancel", json!({ "all": true })).await;
        let (first, second) = (chance(), chance());
        [acme.input(&first).await, acme.input(&second).await] == [ok(200), busy.clone()]
    })
    .await;
    acme.ask(Method::POST, "/v1/sessions/s/cancel", json!({ "all": true })).await;
    assert_eq!(acme.input("t").await, ok(200));
    assert_eq!(acme.input("t").await, ok(200), "what was taken is answered again");
    assert_eq!(acme.input("u").await, busy);
    let (status, _) = acme.ask(Method::POST, "/v1/sessions/s/cancel", json!({ "turn": "t" })).await;
    assert_eq!(status, 200, "an interrupt passes");
    assert_eq!(acme.input("u").await, ok(200));
    assert_eq!(acme.input("t").await, ok(200), "also when its turn is over");
}

fn chance() -> String {
    format!("t-{:016x}", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_bytes_used_nothing_grows_and_what_ends_something_passes() {
    let node = start(QuotaLimits { stored_bytes: Some(1000), ..QuotaLimits::default() }).await;
    let acme = Tenant::new(&node.url, "acme").await;
    assert_eq!(acme.create("s").await, ok(201));
    assert_eq!(acme.input("t").await, ok(200));
    let claim = json!({ "worker": "w" });
    let (status, turn) = acme.ask(Method::POST, "/v1/agents/agent-t/claim", claim).await;
    assert_eq!(status, 200, "{turn}");
    let mut taken = 0;
    eventually("the bytes are used up", async || {
        let (status, _) = acme.append(1000, taken).await;
        taken += u64::from(status == 200);
        status == 403
    })
    .await;
    assert_eq!(acme.append(1000, taken).await, (403, "quota_reached".to_owned()));
    assert_eq!(acme.append(1000, taken - 1).await.0, 200, "what was taken is answered again");
    let report = json!({ "epoch": turn["epoch"], "seq": 0, "events": [{ "text": "hello" }] });
    let output_path = "/v1/sessions/s/turns/t/output";
    let received = acme.received(Method::POST, output_path, report.clone()).await;
    assert_eq!(received, full("tenant-stored-bytes"));
    let path = "/v1/sessions/s/trim";
    let (status, answer) = acme.ask(Method::POST, path, json!({ "before": 1_000_000 })).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        acme.received(Method::POST, output_path, report).await,
        ok(200),
        "there is room again"
    );
    let end = json!({ "epoch": turn["epoch"], "seq": 1, "then": "complete" });
    assert_eq!(acme.received(Method::POST, output_path, end).await, ok(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_holds_is_known_after_a_restart() {
    let most = QuotaLimits { sessions: Some(2), ..QuotaLimits::default() };
    let node = start(most).await;
    let acme = Tenant::new(&node.url, "acme").await;
    for name in ["a", "b"] {
        assert_eq!(acme.create(name).await, ok(201));
    }
    let node = node.restart_as(configured(most)).await;
    let acme = acme.at(&node.url);
    eventually("the sessions on disk were counted", async || {
        let received = acme.create("c").await;
        if received == ok(201) {
            acme.ask(Method::DELETE, "/v1/sessions/c", Value::Null).await;
        }
        received == full("tenant-sessions")
    })
    .await;
    acme.ask(Method::DELETE, "/v1/sessions/a", Value::Null).await;
    assert_eq!(acme.create("c").await, ok(201));
}

/// Of four nodes each lacks some shards, and has to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_is_the_clusters_at_every_node_and_outlives_one_that_dies() {
    const MOST: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let (file, root) = (dir.path().join("outlive.toml"), dir.path().join("root.key"));
    std::fs::write(&file, format!("[quotas]\nsessions = {MOST}\n")).unwrap();
    std::fs::write(&root, ROOT).unwrap();
    let flags =
        ["--config", file.to_str().unwrap(), "--root-key", root.to_str().unwrap(), "--groups", "4"];
    let mut cluster = Cluster::up(4, &flags).await;
    let urls = cluster.urls();
    let acme = Tenant::new(&urls[0], "acme").await;
    let mut made = 0;
    // Each node lets in what it has not heard of yet, and stops.
    for url in &urls {
        let here = acme.at(url);
        eventually("the node hears that the tenant has enough", async || {
            let (status, received) = here.create(&format!("s{made}")).await;
            assert!([200, 201, 403, 503, 504].contains(&status), "{received}");
            made += usize::from(status < 300);
            status == 403
        })
        .await;
    }
    assert!(MOST <= made, "{made}");
    cluster.kill(1);
    let here = acme.at(&urls[2]);
    eventually("another leads, and knows it too", async || here.create("new").await.0 == 403).await;
    eventually("what is there is still answered", async || {
        let mut answers = Vec::new();
        for number in 0..MOST {
            answers.push(here.create(&format!("s{number}")).await.0);
        }
        answers == [200; MOST]
    })
    .await;
    for number in 0..made {
        let path = format!("/v1/sessions/s{number}");
        eventually("it is deleted", async || {
            let (status, _) = here.ask(Method::DELETE, &path, Value::Null).await;
            [204, 404].contains(&status)
        })
        .await;
    }
    let here = acme.at(&urls[3]);
    eventually("there is room again", async || here.create("again").await.0 == 201).await;
}
