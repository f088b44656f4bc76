//! Tenants: each has its own sessions, agents, subscriptions and keys, and learns nothing of those of others, at any
//! door of any node, though all of them use the same names.

use super::*;
use harness::cluster::Cluster;
use harness::socket::PATIENCE as WAIT;

/// What only acme writes: it must be nowhere in what others are answered.
pub(crate) const SECRET: &str = "acme-secret";
/// Somebody who may do everything in a tenant.
pub(crate) struct Tenant {
    pub(crate) name: &'static str,
    pub(crate) key: String,
}

/// Nodes of one cluster; each request goes to the next, so that most are forwarded where there are several.
pub(crate) struct Nodes {
    urls: Vec<String>,
    next: std::sync::atomic::AtomicUsize,
    client: reqwest::Client,
}

impl Nodes {
    pub(crate) fn new(urls: Vec<String>) -> Nodes {
        Nodes { urls, next: Default::default(), client: harness::cluster::client() }
    }

    pub(crate) fn url(&self) -> &str {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.urls[next % self.urls.len()]
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.urls.clone()
    }

    pub(crate) fn send(&self, key: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url()));
        // A machine that is busy may hold an election meanwhile.
        request.bearer_auth(key).header("outlive-timeout-ms", "30000").timeout(WAIT)
    }

    pub(crate) async fn ask(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut answered = (0, Value::Null);
        eventually("a node does what it is asked, or refuses it for good", async || {
            let request = self.send(key, method.clone(), path);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = request.send().await.expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text());
            let text = text.await.expect("a body");
            answered = (status, serde_json::from_str(&text).unwrap_or(Value::String(text)));
            status != 503
        })
        .await;
        answered
    }

    pub(crate) async fn tenant(&self, name: &'static str) -> Tenant {
        let body = json!({
            "name": name, "tenant": name, "rights": RIGHTS, "agents": ["*"], "role": "supervisor",
        });
        let (status, made) = self.ask(ROOT, Method::POST, "/v1/keys", Some(&body)).await;
        assert_eq!((status, &made["tenant"]), (201, &json!(name)), "{made}");
        Tenant { name, key: made["key"].as_str().expect("a key").to_owned() }
    }

    pub(crate) async fn create(&self, by: &Tenant, session: &str) {
        let path = format!("/v1/sessions/{session}");
        let (status, body) = self.ask(&by.key, Method::PUT, &path, Some(&json!({}))).await;
        assert_eq!((status, &body["session"]), (201, &json!(session)), "{}: {body}", by.name);
    }

    /// Appends a text with what tells it from others.
    pub(crate) async fn append(&self, by: &Tenant, session: &str, text: &str) {
        let path = format!("/v1/sessions/{session}/events");
        let body = json!({ "events": [{ "text": text }] });
        let (status, body) = self.ask(&by.key, Method::POST, &path, Some(&body)).await;
        assert_eq!(status, 200, "{}: {body}", by.name);
    }

    /// Creates a stream of JSON with one message.
    pub(crate) async fn put(&self, by: &Tenant, stream: &str) {
        let path = format!("/v1/stream/{stream}");
        let (status, body) = self.ask(&by.key, Method::PUT, &path, Some(&json!([1]))).await;
        assert_eq!(status, 201, "{}: {body}", by.name);
    }

    /// All that a tenant has in a session: its log, and what it is.
    pub(crate) async fn all_of(&self, by: &Tenant, session: &str) -> (Value, Value) {
        let path = format!("/v1/sessions/{session}");
        let (_, mut status) = self.ask(&by.key, Method::GET, &path, None).await;
        // Whether somebody works for an agent is no part of the session.
        for turn in status["turns"].as_array_mut().into_iter().flatten() {
            turn["unserved"] = Value::Null;
            turn["health"] = Value::Null;
        }
        let path = format!("{path}/events?limit=1000");
        (status, self.ask(&by.key, Method::GET, &path, None).await.1)
    }
}

pub(crate) async fn three() -> (Cluster, Nodes, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.key");
    std::fs::write(&root, ROOT).expect("it is written");
    let flags = ["--root-key", root.to_str().expect("a path"), "--long-poll-ms", "500"];
    let cluster = Cluster::up(3, &flags).await;
    let nodes = Nodes::new(cluster.urls());
    (cluster, nodes, dir)
}

/// Each request of a session, which waits until there is something to be told where it can wait.
fn requests() -> Vec<(&'static str, Method, String, Option<Value>)> {
    let patient = |path: &str| path.replace("wait_ms=0", "wait_ms=60000");
    let all = super::requests().into_iter();
    all.map(|(right, method, path, body)| (right, method, patient(path), body)).collect()
}

/// What requests are answered, with one name in place of all.
fn without(name: &str, answer: (u16, Value)) -> (u16, String) {
    (answer.0, answer.1.to_string().replace(name, "NAME"))
}

/// Each request, for a session that the tenant has not: as one that nobody has, whoever else has it.
async fn each_request_finds_nothing_of_others(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    let root = Tenant { name: "the default tenant", key: ROOT.to_owned() };
    for (place, (_, method, path, body)) in requests().into_iter().enumerate() {
        let theirs = format!("mine-{place}");
        nodes.create(&acme, &theirs).await;
        nodes.append(&acme, &theirs, SECRET).await;
        let before = nodes.all_of(&acme, &theirs).await;
        for other in [&beta, &root] {
            let mut answers = Vec::new();
            for name in [format!("none-{place}"), theirs.clone()] {
                let path = path.replace("SESSION", &name);
                let answer = nodes.ask(&other.key, method.clone(), &path, body.as_ref()).await;
                answers.push(without(&name, answer));
            }
            let home = path.ends_with("/home");
            let (absent, held) = (&answers[0], &answers[1]);
            // Where a name would live follows from the name alone.
            assert!(home || absent == held, "{} {method} {path}: {answers:?}", other.name);
            assert!(!held.1.contains(SECRET), "{method} {path}: {answers:?}");
        }
        assert_eq!(nodes.all_of(&acme, &theirs).await, before, "{method} {path}");
    }
}

/// Each request, for a session that both tenants have: it is the tenant's own.
async fn each_request_is_about_ones_own(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    for (place, (_, method, path, body)) in super::requests().into_iter().enumerate() {
        let name = format!("both-{place}");
        for (by, text) in [(&acme, SECRET), (&beta, "beta's")] {
            nodes.create(by, &name).await;
            nodes.append(by, &name, text).await;
        }
        let before = nodes.all_of(&acme, &name).await;
        let path = path.replace("SESSION", &name);
        let (status, answer) = nodes.ask(&beta.key, method.clone(), &path, body.as_ref()).await;
        assert!(![401, 403].contains(&status), "{method} {path}: {status} {answer}");
        assert!(!answer.to_string().contains(SECRET), "{method} {path}: {answer}");
        assert!(!answer.to_string().contains("\\u001f"), "{method} {path}: {answer}");
        assert_eq!(nodes.all_of(&acme, &name).await, before, "{method} {path}");
    }
}

/// Streams: native and of the dialect, live by SSE and by waiting.
async fn streams_have_ones_own_events(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    for by in [&acme, &beta] {
        nodes.create(by, "live").await;
    }
    nodes.create(&acme, "acme-only").await;
    let paths = [
        "/v1/sessions/SESSION/events?live=sse",
        "/v1/sessions/SESSION/events?live=sse&snapshot=1",
        "/v1/sessions/SESSION/events?live=long-poll&wait_ms=60000&after=now",
        "/v1/stream/SESSION?offset=-1&live=sse",
        "/v1/stream/SESSION?offset=-1&live=long-poll",
        "/streams/SESSION?offset=-1",
    ];
    let mut streams = Vec::new();
    for path in paths {
        let lacks = path.replace("SESSION", "acme-only");
        assert_eq!(nodes.ask(&beta.key, Method::GET, &lacks, None).await.0, 404, "{lacks}");
        if path.contains("live=sse") {
            let path = path.replace("SESSION", "live");
            streams.push(nodes.send(&beta.key, Method::GET, &path).send().await.expect("it"));
        }
    }
    nodes.append(&acme, "live", SECRET).await;
    nodes.append(&beta, "live", "beta's").await;
    for stream in streams {
        let (mut text, mut stream) = (String::new(), stream.bytes_stream());
        while !text.contains("beta's") {
            let bytes = timeout(WAIT, stream.next()).await.expect("in time").expect("it goes on");
            text.push_str(&String::from_utf8_lossy(&bytes.expect("it is whole")));
        }
        assert!(!text.contains(SECRET) && !text.contains('\u{1f}'), "{text}");
    }
}

/// Lists, with every odd text in place of a name.
async fn lists_have_ones_own(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    nodes.create(&acme, "list-acme").await;
    nodes.create(&beta, "list-beta").await;
    let names = async |by: &str, query: &str| -> Vec<String> {
        let (status, list) =
            nodes.ask(by, Method::GET, &format!("/v1/sessions?limit=1000{query}"), None).await;
        assert!([200, 400].contains(&status), "{query}: {list}");
        let all = list["sessions"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["session"].as_str().expect("a name").to_owned()).collect()
    };
    for query in [
        "",
        "&prefix=list",
        "&prefix=%1f",
        "&prefix=%1facme%1f",
        "&after=%1f",
        "&after=%1facme%1fa",
        "&prefix=acme",
        "&after=!",
        "&after=%00",
        "&prefix=%20",
        "&after=%F4%8F%BF%BF",
        "&prefix=__ds",
    ] {
        for by in [&beta.key[..], ROOT] {
            let names = names(by, query).await;
            let odd = |name: &String| name.contains("acme") || name.contains('\u{1f}');
            assert!(!names.iter().any(odd), "{query}: {names:?}");
        }
    }
    assert!(names(&beta.key, "&prefix=list").await.contains(&"list-beta".to_owned()));
    assert!(names(ROOT, "").await.iter().all(|name| !name.starts_with("list-")));
}

/// Forks, whose sources are named in a header.
async fn forks_stay_in_a_tenant(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    nodes.create(&acme, "source").await;
    nodes.append(&acme, "source", SECRET).await;
    for from in ["/v1/stream/source", "/v1/stream/%1Facme%1Fsource", "/v1/stream/acme:source"] {
        let fork = nodes.send(&beta.key, Method::PUT, "/v1/stream/stolen");
        let answer = fork.header("stream-forked-from", from).send().await.expect("an answer");
        assert!([400, 404].contains(&answer.status().as_u16()), "{from}: {answer:?}");
    }
    let fork = nodes.send(&acme.key, Method::PUT, "/v1/stream/fork");
    let answer = fork.header("stream-forked-from", "/v1/stream/source").send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let place = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(place.ends_with("/v1/stream/fork"), "{place}");
    let (_, own) = nodes.ask(&acme.key, Method::GET, "/v1/stream/fork?offset=-1", None).await;
    assert!(own.to_string().contains(SECRET), "{own}");
    assert_eq!(nodes.ask(&beta.key, Method::GET, "/v1/stream/fork", None).await.0, 404);
}

/// One node has all of it, and three forward it to each other.
macro_rules! everywhere {
    ($($name:ident: $($check:ident)*;)*) => {
        $(
            mod $name {
                use super::*;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_one_node() {
                    let node = start().await;
                    let nodes = Nodes::new(vec![node.url.clone()]);
                    $($check(&nodes).await;)*
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn over_three_nodes() {
                    let (_cluster, nodes, _dir) = three().await;
                    $($check(&nodes).await;)*
                }
            }
        )*
    };
}

pub(crate) use everywhere;

everywhere! {
    a_tenant_finds_nothing_of_others_by_any_request: each_request_finds_nothing_of_others;
    two_tenants_use_the_same_names: each_request_is_about_ones_own streams_have_ones_own_events;
    nothing_leads_out_of_a_tenant: lists_have_ones_own forks_stay_in_a_tenant;
}
