//! The whole table: each verb by each transport, at the node that leads its session and at one that passes it on, with
//! exactly the rights that it needs and with each right missing, on one's own session, one that is not one's own, and
//! one of another tenant.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::tenants::{Nodes, Tenant, three};
use super::*;

/// Rows that are judged at once.
const AT_ONCE: usize = 8;

/// One verb by one transport.
struct Row {
    transport: &'static str,
    needs: Vec<&'static str>,
    how: How,
}

enum How {
    Http { method: Method, path: String, headers: Vec<(&'static str, &'static str)>, body: String },
    Socket { op: &'static str, body: Value },
}

/// What a cell of the table came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    /// And which right is missing, where the answer has a body.
    Forbidden(Option<String>),
    /// As a session that is not there.
    Hidden,
}

impl Row {
    fn name(&self) -> String {
        match &self.how {
            How::Http { method, path, .. } => format!("{}: {method} {path}", self.transport),
            How::Socket { op, body } => format!("{}: {op} {body}", self.transport),
        }
    }

    /// Whether it means no session that has to be there.
    fn makes_its_own(&self) -> bool {
        match &self.how {
            How::Http { method, path, .. } => *method == Method::PUT || path.ends_with("/home"),
            How::Socket { op, .. } => *op == "create",
        }
    }

    fn deletes(&self) -> bool {
        matches!(&self.how, How::Http { method, .. } if *method == Method::DELETE)
    }
}

fn http(needs: &[&'static str], method: Method, path: &str, body: Option<Value>) -> Row {
    let transport = match path {
        path if path.contains("live=sse") => "SSE",
        path if path.contains("live=long-poll") || path.contains("wait_ms") => "long poll",
        path if path.contains("/stream/") => "Durable Streams",
        _ => "HTTP",
    };
    let headers = body.iter().map(|_| ("content-type", "application/json")).collect();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let how = How::Http { method, path: path.to_owned(), headers, body };
    Row { transport, needs: needs.to_vec(), how }
}

/// Requests whose bodies are lines.
fn lines() -> Vec<Row> {
    let line = "{\"text\":\"hello\"}\n".to_owned();
    let row = |needs: &[&'static str], path: &str, headers: &[(&'static str, &'static str)]| {
        let (method, path, body) = (Method::POST, path.to_owned(), line.clone());
        let how = How::Http { method, path, headers: headers.to_vec(), body };
        Row { transport: "NDJSON", needs: needs.to_vec(), how }
    };
    let kind = ("content-type", "application/x-ndjson");
    let endless = [
        kind,
        ("stream-append", "streaming"),
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
    ];
    vec![
        row(&["publish"], "/v1/stream/SESSION", &endless),
        row(&["claim"], "/v1/sessions/SESSION/turns/t/output?epoch=1", &[kind]),
    ]
}

/// Operations of a WebSocket.
fn operations() -> Vec<Row> {
    let content = json!({ "text": "hello" });
    let input =
        |busy: &str| json!({ "id": busy, "agent": "poet", "content": content, "when_busy": busy });
    let all = json!({ "all": true });
    let row = |needs: &[&'static str], op: &'static str, body: Value| {
        let how = How::Socket { op, body };
        Row { transport: "WebSocket", needs: needs.to_vec(), how }
    };
    vec![
        row(&["read"], "attach", Value::Null),
        row(&["create"], "create", json!({})),
        row(&["publish"], "append", json!({ "events": [{ "text": "hello" }] })),
        row(&["send"], "input", input("queue")),
        row(&["send", "steer"], "input", input("steer")),
        row(&["send", "cancel"], "input", input("interrupt")),
        row(&["cancel"], "cancel", all.clone()),
        row(&["cancel"], "pause", all.clone()),
        row(&["cancel"], "resume", all),
        row(&["takeover"], "control", json!({ "verb": "take", "participant": "ada" })),
        row(&["send"], "control", json!({ "verb": "request", "participant": "ada" })),
        row(&["answer"], "answer", json!({ "interaction": "i", "answer": content })),
        row(&["presence"], "ephemeral", json!({ "kind": "typing", "participant": "ada" })),
    ]
}

fn table() -> Vec<Row> {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let content = json!({ "text": "hello" });
    let now = json!({ "id": "now", "agent": "poet", "content": content, "when_busy": "interrupt" });
    let result = json!({ "epoch": 1, "seq": 0, "call": "c", "tool": "t", "result": content });
    let device = json!({ "participant": "ada", "device": "phone" });
    let release = json!({ "participant": "ada", "device": "phone", "epoch": 1 });
    let session = |verb: &str| format!("/v1/sessions/SESSION/{verb}");
    let mut all: Vec<Row> = Vec::new();
    for (right, method, path, body) in super::requests() {
        // Nobody has the file, and an answer without a body does not say what it is that is not there.
        if method == Method::HEAD && path.contains("/files/") {
            continue;
        }
        let needs = if right == "steer" { vec!["send", "steer"] } else { vec![right] };
        all.push(http(&needs, method, path, body));
    }
    all.extend([
        http(&["send", "cancel"], post.clone(), &session("inputs"), Some(now)),
        http(
            &["read", "create"],
            post.clone(),
            &session("fork"),
            Some(json!({ "session": "mine-fork" })),
        ),
        http(&["delete"], post.clone(), &session("freeze"), None),
        http(&["delete"], post.clone(), &session("archive"), None),
        http(&["delete"], post.clone(), &session("restore"), None),
        http(&["claim"], post.clone(), &session("turns/t/tools"), Some(result)),
        http(&["answer"], post.clone(), &session("interactions/i/claim"), Some(device)),
        http(&["answer"], post.clone(), &session("interactions/i/release"), Some(release)),
        http(&["read"], get.clone(), &session("events?live=sse"), None),
        http(&["read"], get.clone(), &session("events?live=sse&snapshot=5"), None),
        http(&["read", "presence"], get.clone(), &session("events?live=sse&participant=ada"), None),
        http(&["read"], get.clone(), &session("events?live=long-poll&wait_ms=0&after=now"), None),
        http(&["read"], get.clone(), &session("turns/t?wait_ms=0"), None),
        http(&["read"], get.clone(), &session("messages/1"), None),
        http(&["read"], get.clone(), "/v1/stream/SESSION?offset=-1&live=sse", None),
        http(&["read"], get, "/v1/stream/SESSION?offset=now&live=long-poll", None),
        http(&["create"], put, "/v1/stream/SESSION", None),
        http(&["publish"], post, "/v1/stream/SESSION", Some(json!([1]))),
        http(&["delete"], Method::DELETE, "/v1/stream/SESSION", None),
    ]);
    all.extend(lines());
    all.extend(operations());
    all
}

/// A key with these rights, for these sessions.
async fn made(nodes: &Nodes, rights: &[&'static str], sessions: &str) -> String {
    let body = json!({
        "name": "cell", "rights": rights, "sessions": [sessions], "agents": ["poet"],
        "role": "supervisor",
    });
    let (status, made) = nodes.ask(ROOT, Method::POST, "/v1/keys", Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    made["key"].as_str().expect("a key").to_owned()
}

/// Asks in the name of keys, each with connections of its own.
struct Asking<'n> {
    nodes: &'n Nodes,
    keys: &'n HashMap<Vec<&'static str>, String>,
    sockets: HashMap<(String, String), Client>,
    http: reqwest::Client,
}

impl Asking<'_> {
    fn key(&self, rights: &[&'static str]) -> String {
        self.keys[rights].clone()
    }

    /// All cells of one row; how many there are, and those that are not as expected.
    async fn judge(mut self, place: usize, row: &Row) -> (usize, Vec<String>) {
        let (session, theirs) = (format!("mine-{place}"), format!("mine-acmes-{place}"));
        let (mut cells, mut wrong) = (0, Vec::new());
        for (entry, url) in entries(self.nodes, &session).await {
            for (session, key, expected) in self.cells(row, &session, &theirs) {
                if row.deletes() && expected == Some(Outcome::Allowed) {
                    let path = format!("/v1/sessions/{session}");
                    self.nodes.ask(ROOT, Method::PUT, &path, Some(&json!({}))).await;
                }
                let outcome = self.outcome(row, &url, &key, &session).await;
                let expected = match expected {
                    Some(expected) => expected,
                    // Another tenant's name is a free one in one's own.
                    None => self.outcome(row, &url, &key, &format!("mine-absent-{place}")).await,
                };
                cells += 1;
                if outcome != expected {
                    let what = row.name();
                    wrong
                        .push(format!("{what}, {entry}, {session}: {outcome:?}, not {expected:?}"));
                }
            }
        }
        (cells, wrong)
    }

    /// Session, key, and what is to come of it; as of a session that nobody has, where nothing is said.
    fn cells(&self, row: &Row, own: &str, theirs: &str) -> Vec<(String, String, Option<Outcome>)> {
        let named = |right: &str| match &row.how {
            How::Http { method, .. } if *method == Method::HEAD => None,
            _ => Some(right.to_owned()),
        };
        let exact = self.key(&row.needs);
        let mut cells = vec![(own.to_owned(), exact.clone(), Some(Outcome::Allowed))];
        for right in RIGHTS {
            let outcome = match row.needs.contains(&right) {
                true => Outcome::Forbidden(named(right)),
                false => Outcome::Allowed,
            };
            cells.push((own.to_owned(), self.key(&without(right)), Some(outcome)));
        }
        let lacking = self.key(&without(row.needs[0]));
        for key in [&exact, &lacking] {
            if !row.makes_its_own() {
                cells.push((theirs.to_owned(), key.clone(), None));
            }
            cells.push(("other".to_owned(), key.clone(), Some(Outcome::Hidden)));
        }
        cells
    }

    async fn outcome(&mut self, row: &Row, url: &str, key: &str, session: &str) -> Outcome {
        let (status, answer) = match &row.how {
            How::Http { method, path, headers, body } => {
                let url = format!("{url}{}", path.replace("SESSION", session));
                let mut request = self.http.request(method.clone(), url).bearer_auth(key);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let request = request.header("outlive-timeout-ms", "30000").timeout(PATIENCE);
                let answer = request.body(body.clone()).send().await.expect("an answer");
                let status = answer.status().as_u16();
                // What is let in may be a stream.
                let text = match status {
                    400.. => answer.text().await.expect("a body"),
                    _ => String::new(),
                };
                (status, serde_json::from_str(&text).unwrap_or(Value::Null))
            }
            How::Socket { op, body } => {
                let place = (url.to_owned(), key.to_owned());
                if !self.sockets.contains_key(&place) {
                    let opened = Client::open_at(url, "/v1/ws", key).await;
                    self.sockets.insert(place.clone(), opened);
                }
                let client = self.sockets.get_mut(&place).expect("it is there by now");
                let mut frame = json!({ "op": op, "session": session });
                if !body.is_null() {
                    frame["body"] = body.clone();
                }
                let problem = client.ask(frame).await["problem"].clone();
                let status = problem["status"].as_u64().unwrap_or(200);
                (u16::try_from(status).expect("a status"), problem)
            }
        };
        let head = matches!(&row.how, How::Http { method, .. } if *method == Method::HEAD);
        match (status, answer["code"].as_str()) {
            (401 | 500.., _) => panic!("{} as {session}: {status} {answer}", row.name()),
            (403, code) if head || code == Some("forbidden") => {
                Outcome::Forbidden(answer["right"].as_str().map(str::to_owned))
            }
            (404, code) if head || code == Some("not_found") => Outcome::Hidden,
            _ => Outcome::Allowed,
        }
    }
}

/// The address of the node that leads a session, and of one that does not.
async fn entries(nodes: &Nodes, session: &str) -> [(&'static str, String); 2] {
    let mut leader = None;
    eventually("somebody leads it", async || {
        let path = format!("/v1/sessions/{session}/home");
        leader = nodes.ask(ROOT, Method::GET, &path, None).await.1["leader"].as_u64();
        leader.is_some()
    })
    .await;
    let leader = usize::try_from(leader.expect("it was there")).expect("a small number");
    let urls = nodes.all();
    [("direct", urls[leader - 1].clone()), ("forwarded", urls[leader % urls.len()].clone())]
}

fn without(missing: &str) -> Vec<&'static str> {
    RIGHTS.into_iter().filter(|right| *right != missing).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_of_the_table_is_as_expected() {
    let (_cluster, nodes, _dir) = three().await;
    let root = Tenant { name: "the default tenant", key: ROOT.to_owned() };
    let acme = nodes.tenant("acme").await;
    nodes.create(&root, "other").await;
    let rows = table();
    let mut keys = HashMap::new();
    let needed = rows.iter().map(|row| row.needs.clone());
    for rights in needed.chain(RIGHTS.map(without)) {
        if let Entry::Vacant(place) = keys.entry(rights.clone()) {
            place.insert(made(&nodes, &rights, "mine*").await);
        }
    }
    let http = harness::cluster::client();
    let judged = rows.iter().enumerate().map(|(place, row)| {
        let (nodes, root, acme) = (&nodes, &root, &acme);
        let asking = Asking { nodes, keys: &keys, sockets: HashMap::new(), http: http.clone() };
        async move {
            nodes.create(root, &format!("mine-{place}")).await;
            nodes.create(acme, &format!("mine-acmes-{place}")).await;
            asking.judge(place, row).await
        }
    });
    let judged: Vec<_> = futures::stream::iter(judged).buffer_unordered(AT_ONCE).collect().await;
    let cells: usize = judged.iter().map(|(cells, _)| cells).sum();
    let wrong: Vec<_> = judged.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
    println!("{cells} cells, all as expected");
    assert!(1_500 < cells, "{cells}");
    let (status, _) = nodes.ask(ROOT, Method::GET, "/v1/sessions/other", None).await;
    assert_eq!(status, 200, "what others did left it alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_needs_the_right_to_claim_for_all_sessions_and_for_its_agent() {
    let (_cluster, nodes, _dir) = three().await;
    let http = harness::cluster::client();
    let claims = made(&nodes, &["claim"], "*").await;
    let mut all = vec![("poet", claims.clone(), true), ("painter", claims, false)];
    all.push(("poet", made(&nodes, &["claim"], "mine*").await, false));
    for right in RIGHTS {
        all.push(("poet", made(&nodes, &without(right), "*").await, right != "claim"));
    }
    for (agent, key, may) in all {
        for url in nodes.all() {
            let mut worker = Client::open_at(&url, "/v1/agents/ws", &key).await;
            let register = json!({ "type": "register", "agent": agent, "worker": "w" });
            worker.send(&register).await;
            let answer = worker.find("an answer", |frame| frame["type"] != "ping").await;
            let expected = if may { "registered" } else { "refused" };
            assert_eq!(answer["type"], expected, "{answer}");
            assert_eq!(answer["code"] == "forbidden", !may, "{answer}");
            let body = json!({ "worker": "w", "wait_ms": 0 });
            let path = format!("{url}/v1/agents/{agent}/claim");
            let claim = http.post(path).bearer_auth(&key).json(&body).timeout(PATIENCE);
            let status = claim.send().await.expect("an answer").status();
            assert_eq!(status.as_u16(), if may { 204 } else { 403 }, "{agent}");
        }
    }
}
