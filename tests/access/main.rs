//! Who may do what: keys over real sockets, at every door, one right at a time.

mod attacks;
mod chats;
mod cookies;
mod endings;
mod made;
mod matrix;
mod moves;
mod tenants;
mod tenants_at_work;
mod unconfigured;

use std::time::Duration;

use futures::StreamExt;
use harness::load::eventually;
use harness::node::{TestNode, start_single, start_single_with};
use harness::socket::{Client, PATIENCE};
use outlive::auth::Secret;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

const ROOT: &str = "root-0123456789abcdef0123456789abcdef";
const RIGHTS: [&str; 12] = [
    "read", "send", "steer", "cancel", "answer", "publish", "create", "delete", "claim",
    "presence", "takeover", "admin",
];

async fn start() -> TestNode {
    start_single_with(|config| config.root_key = Some(Secret::of(ROOT))).await
}

/// Status and body of a request under a key.
async fn ask(
    node: &TestNode,
    key: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", node.url));
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Makes a key with these rights for sessions that begin with `mine`, and the agent poet.
async fn key(node: &TestNode, rights: &[&str], more: Value) -> String {
    let mut body = json!({
        "name": "test", "rights": rights, "sessions": ["mine*"], "agents": ["poet"],
    });
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    let (status, made) = ask(node, Some(ROOT), Method::POST, "/v1/keys", Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    made["key"].as_str().expect("a key").to_owned()
}

async fn create(node: &TestNode, session: &str) {
    let path = format!("/v1/sessions/{session}");
    let (status, body) = ask(node, Some(ROOT), Method::PUT, &path, Some(&json!({}))).await;
    assert_eq!(status, 201, "{body}");
}

/// Each request by HTTP with the right that it needs; the session is put in for `SESSION`.
fn requests() -> Vec<(&'static str, Method, &'static str, Option<Value>)> {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let output = json!({ "text": "hello" });
    let event = json!({ "events": [{ "text": "hello" }] });
    let input =
        |busy: &str| json!({ "id": busy, "agent": "poet", "content": output, "when_busy": busy });
    let take = json!({ "verb": "take", "participant": "ada" });
    let ask = json!({ "verb": "request", "participant": "ada" });
    let typing = json!({ "kind": "typing", "participant": "ada" });
    vec![
        ("read", get.clone(), "/v1/sessions/SESSION", None),
        ("read", get.clone(), "/v1/sessions/SESSION/home", None),
        ("read", get.clone(), "/v1/sessions/SESSION/events", None),
        ("read", get.clone(), "/v1/sessions/SESSION/messages", None),
        ("read", get.clone(), "/v1/sessions/SESSION/turns", None),
        ("read", get.clone(), "/v1/sessions/SESSION/turns/t", None),
        ("read", get.clone(), "/v1/sessions/SESSION/files", None),
        ("read", get.clone(), "/v1/sessions/SESSION/files/file_0123456789abcdef", None),
        ("read", Method::HEAD, "/v1/sessions/SESSION/files/file_0123456789abcdef", None),
        ("read", get.clone(), "/v1/stream/SESSION", None),
        ("read", Method::HEAD, "/v1/stream/SESSION", None),
        ("presence", get.clone(), "/v1/sessions/SESSION/presence", None),
        ("presence", post.clone(), "/v1/sessions/SESSION/ephemeral", Some(typing)),
        ("create", put.clone(), "/v1/sessions/SESSION", Some(json!({}))),
        ("publish", post.clone(), "/v1/sessions/SESSION/events", Some(event)),
        ("publish", post.clone(), "/v1/sessions/SESSION/touch", None),
        ("delete", post.clone(), "/v1/sessions/SESSION/trim", Some(json!({ "before": 1 }))),
        ("send", post.clone(), "/v1/sessions/SESSION/inputs", Some(input("queue"))),
        ("steer", post.clone(), "/v1/sessions/SESSION/inputs", Some(input("steer"))),
        ("cancel", post.clone(), "/v1/sessions/SESSION/cancel", Some(json!({ "all": true }))),
        ("cancel", post.clone(), "/v1/sessions/SESSION/pause", Some(json!({ "all": true }))),
        ("cancel", post.clone(), "/v1/sessions/SESSION/resume", Some(json!({ "all": true }))),
        ("takeover", post.clone(), "/v1/sessions/SESSION/control", Some(take)),
        ("send", post.clone(), "/v1/sessions/SESSION/control", Some(ask)),
        (
            "answer",
            post.clone(),
            "/v1/sessions/SESSION/interactions/i",
            Some(json!({ "answer": output })),
        ),
        ("claim", post.clone(), "/v1/sessions/SESSION/turns/t/output", Some(json!({ "epoch": 1 }))),
        ("claim", post.clone(), "/v1/sessions/SESSION/turns/t/output?epoch=1", None),
        (
            "claim",
            get,
            "/v1/sessions/SESSION/turns/t/signals?epoch=1&wait_ms=0&after=0000000001_00000000000000000000",
            None,
        ),
        ("delete", delete, "/v1/sessions/SESSION", None),
    ]
}

/// The rest of a stream, up to its end.
async fn rest(answer: reqwest::Response) -> String {
    let mut text = String::new();
    let mut stream = answer.bytes_stream();
    while let Some(Ok(bytes)) = timeout(PATIENCE, stream.next()).await.expect("it ends in time") {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_nobody_learns_or_does_anything() {
    let node = start().await;
    create(&node, "mine").await;
    let cluster = [
        (Method::GET, "/v1/sessions"),
        (Method::GET, "/v1/cluster"),
        (Method::GET, "/v1/cluster/progress"),
        (Method::POST, "/v1/cluster/leave"),
        (Method::GET, "/v1/keys"),
        (Method::POST, "/v1/keys"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/ws"),
        (Method::GET, "/v1/agents/ws"),
        (Method::POST, "/v1/agents/poet/claim"),
        (Method::PUT, "/v1/stream/__ds/subscriptions/a"),
    ];
    let paths = requests().into_iter().map(|(_, method, path, _)| (method, path));
    for (method, path) in paths.chain(cluster) {
        let path = path.replace("SESSION", "mine");
        for key in [None, Some("olk_0123456789abcdef_wrong"), Some("a.b.c"), Some("")] {
            let (status, _) = ask(&node, key, method.clone(), &path, Some(&json!({}))).await;
            assert_eq!(status, 401, "{method} {path} with {key:?}");
        }
    }
    let guessed = format!("olk_0123456789abcdef_{}", "A".repeat(43));
    let (status, body) = ask(&node, Some(&guessed), Method::GET, "/v1/sessions", None).await;
    assert_eq!((status.as_u16(), &body["code"]), (401, &json!("unauthenticated")));
    for path in ["/healthz", "/readyz", "/v1/openapi.json", "/v1/stream/__ds/jwks.json"] {
        let (status, _) = ask(&node, None, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_bring_something_into_a_session_may_bring_files_and_nobody_else() {
    let node = start().await;
    for session in ["mine-1", "other"] {
        create(&node, session).await;
    }
    let body = json!({ "size": 1, "sha256": "ab".repeat(32) });
    let file = "file_0123456789abcdef";
    for right in RIGHTS {
        let with = key(&node, &[right], json!({})).await;
        let may = ["send", "publish", "claim"].contains(&right);
        for (method, path, body, done) in [
            (Method::POST, "files".to_owned(), Some(&body), 201),
            (Method::DELETE, format!("files/{file}"), None, 404),
            // It has no byte.
            (Method::PUT, format!("files/{file}"), None, 400),
        ] {
            let ask = async |session: &str| {
                let path = format!("/v1/sessions/{session}/{path}");
                ask(&node, Some(&with), method.clone(), &path, body).await
            };
            let (status, answer) = ask("mine-1").await;
            let wanted = if may { done } else { 403 };
            assert_eq!(status, wanted, "{method} {path} with {right}: {answer}");
            assert_eq!(ask("other").await, ask("nowhere").await, "{method} {path} with {right}");
            assert_eq!(ask("other").await.0, 404, "{method} {path} with {right}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_needs_its_right_and_no_other_and_sessions_of_others_do_not_exist() {
    let node = start().await;
    create(&node, "other").await;
    for (place, (right, method, path, body)) in requests().into_iter().enumerate() {
        let (session, what) = (format!("mine-{place}"), format!("{method} {path}"));
        let mine = path.replace("SESSION", &session);
        create(&node, &session).await;
        let others: Vec<_> = RIGHTS.into_iter().filter(|other| *other != right).collect();
        let without = key(&node, &others, json!({})).await;
        let (status, answer) =
            ask(&node, Some(&without), method.clone(), &mine, body.as_ref()).await;
        assert_eq!(status, 403, "{what} without {right}: {answer}");
        if method != Method::HEAD {
            assert_eq!(answer["right"], right, "{what}");
        }
        // Speaking into a turn begins one, where none is open.
        let rights = if right == "steer" { vec!["send", "steer"] } else { vec![right] };
        let with = key(&node, &rights, json!({})).await;
        let (status, answer) = ask(&node, Some(&with), method.clone(), &mine, body.as_ref()).await;
        assert!(![401, 403].contains(&status.as_u16()), "{what} with {right}: {status} {answer}");
        // As if it did not exist, whatever its right.
        for key in [&with, &without] {
            let mut answers = Vec::new();
            for session in ["other", "nowhere"] {
                let path = path.replace("SESSION", session);
                answers.push(ask(&node, Some(key), method.clone(), &path, body.as_ref()).await);
            }
            assert_eq!(answers[0].0, 404, "{what}: {}", answers[0].1);
            assert_eq!(answers[0], answers[1], "{what}");
        }
    }
    let (status, _) = ask(&node, Some(ROOT), Method::GET, "/v1/sessions/other", None).await;
    assert_eq!(status, 200, "what others did left it alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_the_sessions_of_the_key_alone() {
    let node = start().await;
    for session in ["a", "mine-1", "mine-2", "z"] {
        create(&node, session).await;
    }
    let reader = key(&node, &["read"], json!({})).await;
    let (_, list) = ask(&node, Some(&reader), Method::GET, "/v1/sessions", None).await;
    let names: Vec<_> = list["sessions"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|one| one["session"].as_str().unwrap()).collect();
    assert_eq!(names, ["mine-1", "mine-2"]);
    // Page by page it learns no more.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/sessions?limit=1&after={after}");
        let (_, page) = ask(&node, Some(&reader), Method::GET, &path, None).await;
        seen.extend(page["sessions"].as_array().unwrap().iter().map(|one| one["session"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    assert_eq!(seen, ["mine-1", "mine-2"]);
    for prefix in ["z", "a", "__outlive"] {
        let path = format!("/v1/sessions?limit=1&prefix={prefix}");
        let (_, page) = ask(&node, Some(&reader), Method::GET, &path, None).await;
        assert_eq!(page, json!({ "sessions": [], "next": null }), "{prefix}");
    }
    let (_, all) = ask(&node, Some(ROOT), Method::GET, "/v1/sessions?limit=2", None).await;
    assert_eq!(all["next"], "mine-1", "what is reserved takes no place");
    let (status, _) = ask(&node, Some(&reader), Method::GET, "/v1/keys", None).await;
    assert_eq!(status, 403);
    let (status, answer) =
        ask(&node, Some(ROOT), Method::GET, "/v1/sessions/__outlive%2Fkeys", None).await;
    assert_eq!(status, 404, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_speaks_in_its_own_name_and_in_no_greater_role() {
    let node = start().await;
    create(&node, "mine").await;
    let more = json!({ "participant": "ada", "role": "participant" });
    let ada = key(&node, &["send", "cancel", "takeover", "read", "presence"], more).await;
    let output = json!({ "text": "hello" });
    let input = json!({ "id": "i", "agent": "poet", "content": output });
    let path = "/v1/sessions/mine/inputs";
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&input)).await;
    assert_eq!(status, 200, "{answer}");
    let (_, page) = ask(&node, Some(&ada), Method::GET, "/v1/sessions/mine/events", None).await;
    let events = page["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["participant"] == "ada"), "{page}");
    let forged = json!({ "id": "j", "agent": "poet", "content": output, "participant": "bob" });
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&forged)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("forbidden")));
    // A participant may not cancel, whatever role it claims.
    let cancel = json!({ "all": true, "role": "supervisor" });
    let path = "/v1/sessions/mine/cancel";
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&cancel)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("insufficient_role")));
    let path = "/v1/sessions/mine/events?live=sse&participant=bob";
    let (status, _) = ask(&node, Some(&ada), Method::GET, path, None).await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_judged_frame_by_frame() {
    let node = start().await;
    create(&node, "mine").await;
    create(&node, "other").await;
    let made = key(&node, &["read"], json!({})).await;
    let mut client = Client::open_as(&node, "/v1/ws", &made).await;
    client.attach("mine", json!({})).await;
    for (frame, code) in [
        (json!({ "op": "attach", "session": "other" }), "not_found"),
        (json!({ "op": "attach", "session": "nowhere" }), "not_found"),
        (json!({ "op": "create", "session": "mine", "body": {} }), "forbidden"),
        (json!({ "op": "create", "session": "other", "body": {} }), "not_found"),
        (
            json!({ "op": "append", "session": "mine", "body": { "events": [{ "text": "a" }] } }),
            "forbidden",
        ),
        (json!({ "op": "cancel", "session": "mine", "body": { "all": true } }), "forbidden"),
    ] {
        assert_eq!(client.ask(frame.clone()).await["problem"]["code"], code, "{frame}");
    }
    let mut worker = Client::open_as(&node, "/v1/agents/ws", &made).await;
    worker.send(&json!({ "type": "register", "agent": "poet", "worker": "w" })).await;
    worker.find("refused", |frame| frame["code"] == "forbidden").await;
    let claims = key(&node, &["claim"], json!({ "sessions": ["*"] })).await;
    let some = key(&node, &["claim"], json!({})).await;
    let mut worker = Client::open_as(&node, "/v1/agents/ws", &claims).await;
    worker.send(&json!({ "type": "register", "agent": "painter", "worker": "w" })).await;
    worker.find("refused", |frame| frame["code"] == "forbidden").await;
    let body = json!({ "worker": "w", "wait_ms": 0 });
    for (agent, status) in [("poet", 204), ("painter", 403)] {
        let path = format!("/v1/agents/{agent}/claim");
        let (got, answer) = ask(&node, Some(&claims), Method::POST, &path, Some(&body)).await;
        assert_eq!(got, status, "{agent}: {answer}");
    }
    // Turns are of any session, so a key for some takes none.
    let (status, _) =
        ask(&node, Some(&some), Method::POST, "/v1/agents/poet/claim", Some(&body)).await;
    assert_eq!(status, 403);
}
