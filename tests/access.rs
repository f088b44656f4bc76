//! Who may do what: keys over real sockets, at every door, one right at a time.

mod support;

use std::time::Duration;

use futures::StreamExt;
use outlive::auth::Secret;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::load::eventually;
use support::node::{TestNode, start_single, start_single_with};
use support::socket::{Client, PATIENCE};
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
    let said = json!({ "text": "hello" });
    let event = json!({ "events": [{ "text": "hello" }] });
    let input =
        |busy: &str| json!({ "input": busy, "agent": "poet", "said": said, "when_busy": busy });
    let take = json!({ "verb": "take", "participant": "ada" });
    let ask = json!({ "verb": "request", "participant": "ada" });
    vec![
        ("read", get.clone(), "/v1/sessions/SESSION", None),
        ("read", get.clone(), "/v1/sessions/SESSION/home", None),
        ("read", get.clone(), "/v1/sessions/SESSION/events", None),
        ("read", get.clone(), "/v1/sessions/SESSION/messages", None),
        ("read", get.clone(), "/v1/stream/SESSION", None),
        ("read", Method::HEAD, "/v1/stream/SESSION", None),
        ("presence", get.clone(), "/v1/sessions/SESSION/presence", None),
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
            Some(json!({ "answer": said })),
        ),
        ("claim", post.clone(), "/v1/sessions/SESSION/turns/t/say", Some(json!({ "epoch": 1 }))),
        ("claim", post.clone(), "/v1/sessions/SESSION/turns/t/output?epoch=1", None),
        (
            "claim",
            get,
            "/v1/sessions/SESSION/turns/t/told?epoch=1&wait_ms=0&after=0000000001_00000000000000000000",
            None,
        ),
        ("delete", delete, "/v1/sessions/SESSION", None),
    ]
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
    let said = json!({ "text": "hello" });
    let input = json!({ "input": "i", "agent": "poet", "said": said });
    let path = "/v1/sessions/mine/inputs";
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&input)).await;
    assert_eq!(status, 200, "{answer}");
    let (_, page) = ask(&node, Some(&ada), Method::GET, "/v1/sessions/mine/events", None).await;
    let events = page["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["participant"] == "ada"), "{page}");
    let forged = json!({ "input": "j", "agent": "poet", "said": said, "participant": "bob" });
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&forged)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("forbidden")));
    // A participant may not cancel, whatever role it claims.
    let cancel = json!({ "all": true, "role": "supervisor" });
    let path = "/v1/sessions/mine/cancel";
    let (status, answer) = ask(&node, Some(&ada), Method::POST, path, Some(&cancel)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("role_forbids")));
    let path = "/v1/sessions/mine/events?live=sse&participant=bob";
    let (status, _) = ask(&node, Some(&ada), Method::GET, path, None).await;
    assert_eq!(status, 403);
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
async fn what_a_key_opened_ends_with_it_and_says_why() {
    let node = start().await;
    create(&node, "mine").await;
    let all = |more: Value| {
        let mut all = json!({ "sessions": ["*"] });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (more, reason) in
        [(all(json!({})), "key_revoked"), (all(json!({ "ttl_s": 3 })), "token_expired")]
    {
        let made = key(&node, &["read", "claim", "publish"], more).await;
        let open = |path: &str| {
            reqwest::Client::new().get(format!("{}{path}", node.url)).bearer_auth(&made).send()
        };
        let native = open("/v1/sessions/mine/events?live=sse").await.unwrap();
        let durable = open("/v1/stream/mine?offset=-1&live=sse").await.unwrap();
        assert_eq!((native.status().as_u16(), durable.status().as_u16()), (200, 200));
        let waits = [
            "/v1/sessions/mine/events?live=long-poll&wait_ms=60000&after=now",
            "/v1/stream/mine?offset=now&live=long-poll",
        ];
        let mut waits: JoinSet<_> = waits.into_iter().map(open).collect();
        let body =
            reqwest::Body::wrap_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>());
        let endless = reqwest::Client::new()
            .post(format!("{}/v1/stream/mine", node.url))
            .bearer_auth(&made)
            .header("content-type", "application/x-ndjson")
            .header("stream-append", "streaming")
            .header("producer-id", "p")
            .header("producer-epoch", "0")
            .header("producer-seq", "0")
            .body(body)
            .send();
        let endless = endless.await.unwrap();
        assert_eq!(endless.status(), 200);
        let mut people = Client::open_as(&node, "/v1/ws", &made).await;
        people.attach("mine", json!({})).await;
        let mut worker = Client::open_as(&node, "/v1/agents/ws", &made).await;
        let register = json!({ "type": "register", "agent": "poet", "worker": "w" });
        worker.send(&register).await;
        worker.find("registered", |frame| frame["type"] == "registered").await;
        if reason == "key_revoked" {
            let path = format!("/v1/keys/{}", made.split('_').nth(1).unwrap());
            let (status, _) = ask(&node, Some(ROOT), Method::DELETE, &path, None).await;
            assert_eq!(status, 204);
        }
        let text = rest(native).await;
        let end = format!("event: detached\ndata: {{\"reason\":\"{reason}\"}}");
        assert!(text.contains(&end), "{text}");
        rest(durable).await;
        let text = rest(endless).await;
        assert!(text.contains(reason), "{text}");
        while let Some(answer) = waits.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            // The other dialect may have answered before, in its own time.
            assert!([401, 200, 204].contains(&answer.status().as_u16()), "{answer:?}");
        }
        people.find("why it ends", |frame| frame["data"]["reason"] == reason).await;
        assert_eq!(people.frame().await.unwrap_err(), format!("4011 {reason}"));
        // It may be pinged before.
        let end = loop {
            if let Err(end) = worker.frame().await {
                break end;
            }
        };
        assert_eq!(end, format!("4011 {reason}"));
        let (status, answer) = ask(&node, Some(&made), Method::GET, "/v1/sessions", None).await;
        let code = answer["code"].as_str().unwrap();
        assert!(status == 401 && [reason, "unauthenticated"].contains(&code), "{answer}");
    }
    let (_, keys) = ask(&node, Some(ROOT), Method::GET, "/v1/keys", None).await;
    assert_eq!(keys["keys"], json!([]), "what ended is listed no more");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_again_is_the_same_and_bad_ones_are_refused() {
    let node = start().await;
    let text = format!("olk_0123456789abcdef_{}", "A".repeat(43));
    let body = json!({ "name": "a", "key": text, "rights": ["read"], "ttl_s": 1000 });
    for _ in 0..2 {
        let (status, made) = ask(&node, Some(ROOT), Method::POST, "/v1/keys", Some(&body)).await;
        assert_eq!((status.as_u16(), &made["key"]), (201, &json!(text)));
    }
    let (_, keys) = ask(&node, Some(ROOT), Method::GET, "/v1/keys", None).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert!(!keys.to_string().contains("AAAA"), "a key is told once");
    let mut other = body.clone();
    other["name"] = "b".into();
    let (status, _) = ask(&node, Some(ROOT), Method::POST, "/v1/keys", Some(&other)).await;
    assert_eq!(status, 409);
    for (field, value) in [
        ("name", json!("")),
        ("rights", json!([])),
        ("rights", json!(["root"])),
        ("sessions", json!(["a*b"])),
        ("key", json!("secret")),
        ("ttl_s", json!(0)),
        ("rights", json!(["claim"])),
        ("device", json!("phone")),
        ("role", json!("king")),
        ("unknown", json!(1)),
    ] {
        let mut body = body.clone();
        body[field] = value;
        let (status, answer) = ask(&node, Some(ROOT), Method::POST, "/v1/keys", Some(&body)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("bad_json")), "{body}");
    }
    let path = "/v1/keys/0123456789abcdef";
    let (status, _) = ask(&node, Some(ROOT), Method::DELETE, path, None).await;
    assert_eq!(status, 204);
    let (status, answer) = ask(&node, Some(ROOT), Method::DELETE, path, None).await;
    assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("no_such_key")));
    // A request that comes late, or again, does not bring it back.
    let (status, _) = ask(&node, Some(ROOT), Method::POST, "/v1/keys", Some(&body)).await;
    assert_eq!(status, 409);
    let (status, _) = ask(&node, Some(&text), Method::GET, "/v1/sessions", None).await;
    assert_eq!(status, 401);
    let open = start_single().await;
    let (status, answer) = ask(&open, None, Method::POST, "/v1/keys", Some(&body)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (409, &json!("keys_off")));
    tokio::time::timeout(Duration::from_secs(60), open.node.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_goes_on_under_a_newer_key() {
    let node = start().await;
    for session in ["mine-a", "mine-b"] {
        create(&node, session).await;
    }
    let short = key(&node, &["read"], json!({ "ttl_s": 3 })).await;
    let mut client = Client::open_as(&node, "/v1/ws", &short).await;
    client.attach("mine-a", json!({})).await;
    client.attach("mine-b", json!({})).await;
    let bad = client.ask(json!({ "op": "auth", "token": "olk_nothing" })).await;
    assert_eq!(bad["problem"]["code"], "unauthenticated");
    let longer = key(&node, &["read", "publish"], json!({ "sessions": ["mine-a"] })).await;
    let known = client.ask(json!({ "op": "auth", "token": longer })).await;
    assert_eq!(known["ok"], json!({}), "{known}");
    let lost = client.find("what it may not read", |frame| frame["type"] == "detached").await;
    assert_eq!(
        (&lost["session"], &lost["data"]["reason"]),
        (&json!("mine-b"), &json!("forbidden"))
    );
    eventually("the first key's time is over", async || {
        ask(&node, Some(&short), Method::GET, "/v1/sessions", None).await.0 == 401
    })
    .await;
    let body = json!({ "events": [{ "text": "on" }] });
    let said = client.ask(json!({ "op": "append", "session": "mine-a", "body": body })).await;
    assert!(said["ok"].is_object(), "{said}");
    assert_eq!(client.texts("mine-a", 1).await, ["on"]);
    // Nobody stays present under a name that is no more its own.
    let rights = ["read", "presence"];
    let ada = key(&node, &rights, json!({ "participant": "ada" })).await;
    let bob = key(&node, &rights, json!({ "participant": "bob" })).await;
    let mut client = Client::open_as(&node, "/v1/ws", &ada).await;
    client.attach("mine-a", json!({ "participant": "ada", "role": "supervisor" })).await;
    assert_eq!(client.ask(json!({ "op": "auth", "token": bob })).await["ok"], json!({}));
    client.find("it is ada's", |frame| frame["data"]["reason"] == "forbidden").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_what_its_owner_said_and_nothing_else() {
    let node = start().await;
    for session in ["mine-a", "mine-b"] {
        create(&node, session).await;
    }
    let owner = key(&node, &["read", "publish"], json!({})).await;
    let body = json!({ "sessions": ["mine-a"], "rights": ["read"], "ttl_s": 600 });
    let (status, made) = ask(&node, Some(&owner), Method::POST, "/v1/tickets", Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    let ticket = made["ticket"].as_str().unwrap();
    let get = async |path: &str| {
        let (status, body) = ask(&node, None, Method::GET, path, None).await;
        (status.as_u16(), body)
    };
    // As often as the page comes back.
    for _ in 0..3 {
        let path = format!("/v1/sessions/mine-a/events?after=start&ticket={ticket}");
        assert_eq!(get(&path).await.0, 200);
    }
    // And to no other address.
    for path in ["mine-a", "mine-b", "mine-b/events"] {
        assert_eq!(get(&format!("/v1/sessions/{path}?ticket={ticket}")).await.0, 401, "{path}");
    }
    let (_, second) = ask(&node, Some(&owner), Method::POST, "/v1/tickets", Some(&body)).await;
    let second = second["ticket"].as_str().unwrap();
    assert_eq!(get(&format!("/v1/cluster?ticket={second}")).await.0, 403, "it is not used up");
    assert_eq!(get(&format!("/v1/sessions/mine-b?ticket={second}")).await.0, 404);
    let forged = ticket.replacen("olt_e", "olt_f", 1);
    for path in [
        format!("/v1/sessions/mine-a?ticket={forged}"),
        format!("/v1/sessions/mine-a?ticket={ticket}x"),
        "/v1/sessions/mine-a?ticket=".to_owned(),
        "/v1/sessions/mine-a?ticket=olt_a.b".to_owned(),
    ] {
        assert_eq!(get(&path).await.0, 401, "{path}");
    }
    let event = json!({ "events": [{ "text": "a" }] });
    let path = format!("/v1/sessions/mine-a/events?ticket={ticket}");
    let (status, _) = ask(&node, None, Method::POST, &path, Some(&event)).await;
    assert_eq!(status, 401, "a ticket is for reading");
    for (part, code) in [
        (json!({ "rights": ["delete"] }), (403, "forbidden")),
        (json!({ "sessions": ["other"] }), (404, "not_found")),
        (json!({ "sessions": ["*"] }), (404, "not_found")),
        (json!({ "ttl_s": 1_000_000 }), (400, "bad_json")),
    ] {
        let (status, answer) =
            ask(&node, Some(&owner), Method::POST, "/v1/tickets", Some(&part)).await;
        assert_eq!((status.as_u16(), answer["code"].as_str().unwrap()), code, "{part}");
    }
    // It ends with the key that it was made under, also where it streams.
    let path = format!("{}/v1/sessions/mine-a/events?live=sse&ticket={ticket}", node.url);
    let stream = reqwest::get(path).await.unwrap();
    assert_eq!(stream.status(), 200);
    let path = format!("/v1/keys/{}", owner.split('_').nth(1).unwrap());
    assert_eq!(ask(&node, Some(ROOT), Method::DELETE, &path, None).await.0, 204);
    assert!(rest(stream).await.contains("key_revoked"));
    assert_eq!(get(&format!("/v1/sessions/mine-a/events?ticket={ticket}")).await.0, 401);
    let node = node.restart_as(|config| config.root_key = Some(Secret::of(ROOT))).await;
    let (status, keys) = ask(&node, Some(ROOT), Method::GET, "/v1/keys", None).await;
    assert_eq!((status.as_u16(), &keys["keys"]), (200, &json!([])), "revoked is revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_have_an_entrance_of_their_own() {
    let node = start_single_with(|config| {
        config.root_key = Some(Secret::of(ROOT));
        config.admin_listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let admin = format!("http://{}", node.node.admin_address.unwrap());
    for (path, clients, operators) in [
        ("/healthz", 200, 200),
        ("/v1/sessions", 200, 404),
        ("/v1/sessions/s", 404, 404),
        ("/metrics", 404, 200),
        ("/v1/keys", 404, 200),
        ("/v1/cluster", 404, 200),
        ("/v1/ws", 426, 404),
    ] {
        for (base, status) in [(&node.url, clients), (&admin, operators)] {
            let request = reqwest::Client::new().get(format!("{base}{path}")).bearer_auth(ROOT);
            assert_eq!(request.send().await.unwrap().status(), status, "{base}{path}");
        }
    }
    let unknown = reqwest::get(format!("{admin}/v1/keys")).await.unwrap();
    assert_eq!(unknown.status(), 401, "who asks is asked there too");
}
