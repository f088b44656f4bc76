//! Subscriptions of the Durable Streams dialect, end to end on one node: somebody is woken, whoever fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::node;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(30);

/// Takes webhooks: refuses the first `failing`, and keeps the bodies of all.
struct Receiver {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    _task: JoinSet<()>,
}

impl Receiver {
    async fn start(failing: usize, answer: Value) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let body = loop {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        break None;
                    }
                    let text = String::from_utf8_lossy(&request);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    assert!(head.to_lowercase().contains("webhook-signature: t="), "{head}");
                    if let Ok(body) = serde_json::from_str::<Value>(body) {
                        break Some(body);
                    }
                };
                let Some(body) = body else { continue };
                let count = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(body);
                    kept.len()
                };
                let status = if count <= failing { "500 No" } else { "200 OK" };
                let answer = answer.to_string();
                let length = answer.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all((head + &answer).as_bytes()).await.ok();
            }
        });
        Receiver { url, bodies, _task: task }
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + WAIT;
        while self.bodies().len() < count {
            assert!(Instant::now() < until, "{count} calls; these came: {:?}", self.bodies());
            sleep(Duration::from_millis(20)).await;
        }
        self.bodies()
    }
}

struct Api {
    http: reqwest::Client,
    root: String,
}

impl Api {
    fn new(node: &str) -> Api {
        Api { http: reqwest::Client::new(), root: format!("{node}/v1/stream/") }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call(method, path, body, "").await
    }

    async fn call(&self, method: &str, path: &str, body: Value, token: &str) -> (u16, Value) {
        let url = if path.starts_with("http") { path.into() } else { self.root.clone() + path };
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(token);
        let request = match body {
            Value::Null => request,
            body => request.header("content-type", "application/json").body(body.to_string()),
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The subscription once `wanted` holds.
    async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + WAIT;
        loop {
            let (_, shown) = self.send("GET", &subscription(id), Value::Null).await;
            if wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < until, "the subscription stays {shown}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn subscription(id: &str) -> String {
    format!("__ds/subscriptions/{id}")
}

fn webhook(url: &str) -> Value {
    json!({ "type": "webhook", "pattern": "e/*", "webhook": { "url": url }, "lease_ttl_ms": 1000 })
}

#[tokio::test]
async fn a_wake_is_told_again_until_it_is_taken_even_by_a_node_that_starts_anew() {
    let node = node::start_single().await;
    let api = Api::new(&node.url);
    let failing = Receiver::start(usize::MAX, json!({})).await;
    assert_eq!(api.send("PUT", &subscription("s"), webhook(&failing.url)).await.0, 201);
    assert_eq!(api.send("PUT", "e/a", json!([1, 2])).await.0, 201);
    let first = failing.wait_for(1).await.remove(0);
    api.until("s", |shown| shown["status"] == "failed").await;
    // The wake is in the log, and nobody has taken it.
    let node = node.restart().await;
    let api = Api::new(&node.url);
    let calls = failing.bodies().len();
    let again = failing.wait_for(calls + 1).await.pop().unwrap();
    assert_eq!(again, first, "the same wake is the same call");
    let (status, _) =
        api.call("POST", &callback(&node.url), report(&again, true), token(&again)).await;
    assert_eq!(status, 200, "who was told may answer, whatever its own status said");
    let shown = api.until("s", |shown| shown["status"] == "active").await;
    assert_eq!(shown["streams"][0]["acked_offset"], again["streams"][0]["tail_offset"]);
    node.node.stop().await;
}

fn callback(node: &str) -> String {
    format!("{node}/v1/stream/{}/callback", subscription("s"))
}

fn token(call: &Value) -> &str {
    call["callback_token"].as_str().unwrap()
}

fn report(call: &Value, done: bool) -> Value {
    let acks: Vec<_> = call["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| json!({ "stream": stream["path"], "offset": stream["tail_offset"] }))
        .collect();
    json!({ "wake_id": call["wake_id"], "generation": call["generation"], "acks": acks, "done": done })
}

#[tokio::test]
async fn who_lets_the_lease_pass_is_fenced_and_the_next_wake_has_all_that_is_left() {
    let node = node::start_single().await;
    let api = Api::new(&node.url);
    let receiver = Receiver::start(1, json!({})).await;
    assert_eq!(api.send("PUT", &subscription("s"), webhook(&receiver.url)).await.0, 201);
    assert_eq!(api.send("PUT", "e/a", json!([1])).await.0, 201);
    // One refusal, then taken; nobody answers, so it comes again as another generation.
    let calls = receiver.wait_for(3).await;
    let generations: Vec<_> = calls.iter().map(|call| call["generation"].clone()).collect();
    assert_eq!(generations[..3], [1, 1, 2]);
    let stale =
        api.call("POST", &callback(&node.url), report(&calls[1], true), token(&calls[1])).await;
    assert_eq!((stale.0, &stale.1["error"]["code"]), (409, &json!("FENCED")));
    let strange = api.call("POST", &callback(&node.url), report(&calls[2], true), "x").await;
    assert_eq!((strange.0, &strange.1["error"]["code"]), (401, &json!("TOKEN_INVALID")));
    node.node.stop().await;
}

#[tokio::test]
async fn what_a_webhook_says_is_done_is_done_and_what_came_meanwhile_wakes_again() {
    let node = node::start_single().await;
    let api = Api::new(&node.url);
    let receiver = Receiver::start(0, json!({ "done": true })).await;
    // What is there before is no news.
    assert_eq!(api.send("PUT", "e/old", json!([1])).await.0, 201);
    assert_eq!(api.send("PUT", &subscription("s"), webhook(&receiver.url)).await.0, 201);
    assert_eq!(api.send("PUT", &subscription("s"), webhook(&receiver.url)).await.0, 200);
    let other = json!({ "type": "pull-wake", "pattern": "e/*", "wake_stream": "w" });
    assert_eq!(api.send("PUT", &subscription("s"), other).await.0, 409);
    for round in 1..=300 {
        // More rounds than a log keeps changes: it begins anew in between.
        let offset = {
            let method = if round == 1 { "PUT" } else { "POST" };
            assert!(api.send(method, "e/a", json!([round])).await.0 < 300);
            format!("{:016}", round)
        };
        if round % 50 == 0 {
            api.until("s", |shown| {
                let mut streams = shown["streams"].as_array().unwrap().iter();
                let a = streams.find(|stream| stream["path"] == "e/a");
                a.is_some_and(|a| a["acked_offset"].as_str().unwrap().ends_with(&offset))
            })
            .await;
        }
    }
    let old = receiver.bodies().iter().any(|call| {
        let mut streams = call["streams"].as_array().unwrap().iter();
        streams.any(|stream| stream["path"] == "e/old" && stream["has_pending"] == true)
    });
    assert!(!old, "nobody is woken by what was there");
    node.node.stop().await;
}

#[tokio::test]
async fn nothing_reserved_is_served_as_a_stream_or_a_session() {
    let node = node::start_single().await;
    let api = Api::new(&node.url);
    assert_eq!(api.send("GET", "__ds/jwks.json", Value::Null).await.0, 200);
    for path in ["__ds/keys", "__ds%2Fkeys", "__ds", "__ds/subscriptions/", "__ds/subscriptions"] {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
            let status = api.send(method, path, Value::Null).await.0;
            assert!(matches!(status, 400 | 404 | 405), "{method} {path} {status}");
        }
    }
    for path in ["", "/events", "/home", "/events?live=sse"] {
        let url = format!("{}/v1/sessions/__ds%2Fkeys{path}", node.url);
        assert_eq!(api.send("GET", &url, Value::Null).await.0, 404, "{path}");
    }
    let fork = reqwest::Client::new()
        .put(format!("{}/v1/stream/x", node.url))
        .header("stream-forked-from", "/v1/stream/__ds/keys")
        .send()
        .await
        .unwrap();
    assert_eq!(fork.status().as_u16(), 404);
    for url in ["http://10.0.0.1/x", "http://169.254.169.254/", "file:///etc/passwd", "x"] {
        let (status, answer) = api.send("PUT", &subscription("s"), webhook(url)).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("WEBHOOK_URL_REJECTED")));
    }
    node.node.stop().await;
}

#[tokio::test]
async fn a_wake_is_one_event_and_one_worker_holds_it() {
    let node = node::start_single().await;
    let api = Api::new(&node.url);
    assert_eq!(api.send("PUT", "pool", json!([])).await.0, 201);
    let pull = json!({
        "type": "pull-wake", "pattern": "e/*", "wake_stream": "pool", "lease_ttl_ms": 1000
    });
    assert_eq!(api.send("PUT", &subscription("s"), pull).await.0, 201);
    let claim = subscription("s") + "/claim";
    let none = api.send("POST", &claim, json!({ "worker": "a" })).await;
    assert_eq!((none.0, &none.1["error"]["code"]), (409, &json!("NO_PENDING_WORK")));
    assert_eq!(api.send("PUT", "e/a", json!([1])).await.0, 201);
    let until = Instant::now() + WAIT;
    while api.send("GET", "pool", Value::Null).await.1 == json!([]) {
        assert!(Instant::now() < until, "no wake came");
        sleep(Duration::from_millis(20)).await;
    }
    let node = node.restart().await;
    let api = Api::new(&node.url);
    let (status, claimed) = api.send("POST", &claim, json!({ "worker": "a" })).await;
    assert_eq!(status, 200, "{claimed}");
    let events = api.send("GET", "pool", Value::Null).await.1;
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    let busy = api.send("POST", &claim, json!({ "worker": "b" })).await;
    assert_eq!((busy.0, &busy.1["error"]["current_holder"]), (409, &json!("a")));
    let ack = subscription("s") + "/ack";
    let bearer = claimed["token"].as_str().unwrap();
    let beyond = json!({
        "wake_id": claimed["wake_id"], "generation": claimed["generation"],
        "acks": [{ "stream": "e/a", "offset": "0000000000000001_0000000000000009" }],
    });
    let refused = api.call("POST", &ack, beyond, bearer).await;
    assert_eq!((refused.0, &refused.1["error"]["code"]), (409, &json!("INVALID_OFFSET")));
    let done = api.call("POST", &ack, report(&claimed, true), bearer).await;
    assert_eq!(done, (200, json!({ "ok": true, "next_wake": false })));
    node.node.stop().await;
}
