//! What is alive in a tenant stays there: turns and their workers, devices and who is present, wakes of subscriptions,
//! keys, tickets and tokens.

use outlive::auth::issuer::{self, IssuerConfig, KeySource};
use outlive::ids::TenantName;

use super::tenants::{Nodes, SECRET, Tenant, everywhere, three};
use super::*;

fn input(id: &str, agent: &str, text: &str) -> Value {
    json!({ "id": id, "agent": agent, "content": { "text": text } })
}

impl Nodes {
    async fn input(&self, by: &Tenant, session: &str, id: &str, agent: &str) {
        let text = if by.name == "acme" { SECRET } else { by.name };
        let path = format!("/v1/sessions/{session}/inputs");
        let body = input(id, agent, text);
        let (status, answer) = self.ask(&by.key, Method::POST, &path, Some(&body)).await;
        assert_eq!(status, 200, "{}: {answer}", by.name);
    }

    async fn worker(&self, by: &Tenant, agent: &str) -> Client {
        let mut worker = Client::open_at(self.url(), "/v1/agents/ws", &by.key).await;
        let frame = json!({ "type": "register", "agent": agent, "worker": by.name, "capacity": 8 });
        worker.send(&frame).await;
        worker.find("registered", |frame| frame["type"] == "registered").await;
        worker
    }
}

/// Turns of one agent's name, by links and by HTTP.
async fn workers_have_turns_of_their_tenant(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    for by in [&acme, &beta] {
        nodes.create(by, "work").await;
    }
    nodes.create(&acme, "acme-work").await;
    let mut theirs = nodes.worker(&beta, "poet").await;
    // Nobody works for acme's poet yet, so its turn would go to whoever asked, if it could.
    nodes.input(&acme, "work", "t", "poet").await;
    nodes.input(&beta, "work", "t", "poet").await;
    let turn = theirs.find("a turn", |frame| frame["type"] == "turn").await;
    assert_eq!((&turn["session"], &turn["turn"]), (&json!("work"), &json!("t")));
    assert!(turn.to_string().contains("beta") && !turn.to_string().contains(SECRET), "{turn}");
    let mut own = nodes.worker(&acme, "poet").await;
    let turn = own.find("a turn", |frame| frame["type"] == "turn").await;
    assert!(turn.to_string().contains(SECRET) && !turn.to_string().contains("beta"), "{turn}");
    assert!(!turn.to_string().contains("\\u001f"), "{turn}");

    // By HTTP, and a turn that is under way.
    for by in [&acme, &beta] {
        nodes.input(by, "work", "u", "painter").await;
    }
    nodes.input(&acme, "acme-work", "v", "sculptor").await;
    let claim = json!({ "worker": "w", "wait_ms": 60_000, "lease_ms": 600_000 });
    let mut epochs = Vec::new();
    for (by, agent) in [(&beta, "painter"), (&acme, "painter"), (&acme, "sculptor")] {
        let path = format!("/v1/agents/{agent}/claim");
        let (status, turn) = nodes.ask(&by.key, Method::POST, &path, Some(&claim)).await;
        assert_eq!((status, turn.to_string().contains(SECRET)), (200, by.name == "acme"), "{turn}");
        epochs.push(turn["epoch"].clone());
    }
    let before = nodes.all_of(&acme, "acme-work").await;
    let report = json!({ "epoch": epochs[2], "seq": 0, "events": [{ "text": "forged" }] });
    let path = "/v1/sessions/acme-work/turns/v/output";
    let (status, answer) = nodes.ask(&beta.key, Method::POST, path, Some(&report)).await;
    assert_eq!((status, &answer["code"]), (404, &json!("not_found")));
    let mut answers = Vec::new();
    for session in ["none", "acme-work"] {
        let path = format!("/v1/sessions/{session}/turns/v/output?epoch={}", epochs[2]);
        let output =
            nodes.send(&beta.key, Method::POST, &path).body(report.to_string() + "\n").send();
        answers.push(output.await.expect("an answer").text().await.expect("a body"));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("not_found"), "{answers:?}");
    let mut answers = Vec::new();
    for session in ["none", "acme-work"] {
        let path = format!("/v1/sessions/{session}/turns/v/signals?live=sse&epoch={}", epochs[2]);
        let path = format!("{path}&after=0000000001_00000000000000000000");
        let answer = nodes.ask(&beta.key, Method::GET, &path, None).await;
        answers.push((answer.0, answer.1.to_string().replace(session, "NAME")));
    }
    assert_eq!(answers[0], answers[1]);
    for session in ["acme-work", "\u{1f}acme\u{1f}acme-work", "acme:acme-work"] {
        let mut frame = report.clone();
        let more = json!({ "type": "output", "session": session, "turn": "v" });
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        theirs.send(&frame).await;
        theirs.find("a refusal", |frame| frame["type"] == "refused").await;
    }
    assert_eq!(nodes.all_of(&acme, "acme-work").await, before);
    // Whether anybody works for an agent is told of its own tenant's.
    nodes.create(&acme, "unserved").await;
    nodes.create(&beta, "unserved").await;
    let _poet = nodes.worker(&acme, "only-acmes").await;
    nodes.input(&beta, "unserved", "t", "only-acmes").await;
    eventually("nobody works for it", async || {
        let (_, shown) = nodes.ask(&beta.key, Method::GET, "/v1/sessions/unserved", None).await;
        shown["turns"][0]["health"] == "unserved"
    })
    .await;
}

/// Verbs, devices and who is present, on WebSockets.
async fn devices_see_their_tenant(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    for by in [&acme, &beta] {
        nodes.create(by, "talk").await;
    }
    nodes.create(&acme, "acme-talk").await;
    nodes.append(&acme, "acme-talk", SECRET).await;
    let before = nodes.all_of(&acme, "acme-talk").await;
    let mut own = Client::open_at(nodes.url(), "/v1/ws", &acme.key).await;
    own.attach("talk", json!({ "participant": "acme-ada", "snapshot": true })).await;
    let mut theirs = Client::open_at(nodes.url(), "/v1/ws", &beta.key).await;
    theirs.attach("talk", json!({ "participant": "bob", "snapshot": true })).await;
    let events = json!({ "events": [{ "text": "forged" }] });
    for (op, body) in [
        ("attach", None),
        ("append", Some(events)),
        ("input", Some(input("i", "poet", "forged"))),
        ("cancel", Some(json!({ "all": true }))),
        ("control", Some(json!({ "verb": "take", "participant": "bob" }))),
        ("pause", Some(json!({ "all": true }))),
        ("resume", Some(json!({ "all": true }))),
        ("answer", Some(json!({ "interaction": "i", "answer": { "text": "forged" } }))),
    ] {
        let mut answers = Vec::new();
        for session in ["none", "acme-talk"] {
            let mut frame = json!({ "op": op, "session": session });
            if let Some(body) = &body {
                frame["body"] = body.clone();
            }
            answers.push(theirs.ask(frame).await["problem"].clone());
        }
        assert_eq!(answers[0], answers[1], "{op}");
        assert_eq!(answers[0]["code"], "not_found", "{op}");
    }
    for session in ["\u{1f}acme\u{1f}acme-talk", "acme\u{1f}acme-talk"] {
        let answer = theirs.ask(json!({ "op": "attach", "session": session })).await;
        assert_eq!(answer["problem"]["code"], "bad_session_id");
    }
    // A connection stays in its tenant, and what it is told is its tenant's.
    let moved = theirs.ask(json!({ "op": "auth", "token": acme.key })).await;
    assert_eq!(moved["problem"]["code"], "forbidden");
    nodes.append(&acme, "talk", SECRET).await;
    nodes.append(&beta, "talk", "beta's").await;
    assert_eq!(theirs.texts("talk", 1).await, ["beta's"]);
    assert_eq!(own.texts("talk", 1).await, [SECRET]);
    let received = serde_json::to_string(&theirs.received).unwrap();
    assert!(!received.contains("acme") && !received.contains("\\u001f"), "{received}");
    eventually("one's own devices are counted", async || {
        let path = "/v1/sessions/talk/presence";
        let (_, present) = nodes.ask(&beta.key, Method::GET, path, None).await;
        assert!(!present.to_string().contains("acme"), "{present}");
        present["people"][0]["participant"] == "bob"
    })
    .await;
    assert_eq!(nodes.all_of(&acme, "acme-talk").await, before);
}

/// Subscriptions, whose names, patterns, streams and wakes are a tenant's.
async fn subscriptions_wake_for_their_tenant(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    let base = "/v1/stream/__ds/subscriptions";
    for by in [&acme, &beta] {
        nodes.put(by, "wakes").await;
        let plan = json!({ "type": "pull-wake", "pattern": "**", "wake_stream": "wakes" });
        let path = format!("{base}/sub");
        let (status, shown) = nodes.ask(&by.key, Method::PUT, &path, Some(&plan)).await;
        assert_eq!((status, &shown["id"]), (201, &json!("sub")), "{shown}");
    }
    nodes.put(&acme, "acme/a").await;
    nodes.put(&beta, "beta/b").await;
    let mut tokens = Vec::new();
    for (by, own, other) in [(&beta, "beta/b", "acme"), (&acme, "acme/a", "beta")] {
        let path = format!("{base}/sub/claim");
        let mut claimed = Value::Null;
        eventually("a wake is claimed", async || {
            let body = json!({ "worker": "w" });
            let answer = nodes.ask(&by.key, Method::POST, &path, Some(&body)).await;
            claimed = answer.1;
            answer.0 == 200 && claimed["streams"].to_string().contains(own)
        })
        .await;
        assert!(!claimed["streams"].to_string().contains(other), "{claimed}");
        let (_, shown) = nodes.ask(&by.key, Method::GET, &format!("{base}/sub"), None).await;
        assert!(!shown.to_string().contains(other), "{shown}");
        let (_, woken) = nodes.ask(&by.key, Method::GET, "/v1/stream/wakes?offset=-1", None).await;
        assert!(!woken.to_string().contains(other), "{woken}");
        tokens.push((claimed["token"].as_str().unwrap().to_owned(), claimed));
    }
    // What a token opens is its own tenant's, and a forged one opens nothing, whatever there is.
    let (token, wake) = &tokens[0];
    let report = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"] });
    let (_, secret) = token.rsplit_once('.').expect("a tenant stands in front");
    let forged = [format!("acme.{secret}"), secret.to_owned(), "acme.x".into(), "none.x".into()];
    for verb in ["ack", "callback", "release"] {
        let mut answers = Vec::new();
        for token in &forged {
            for id in ["sub", "none"] {
                let path = format!("{base}/{id}/{verb}");
                answers.push(nodes.ask(token, Method::POST, &path, Some(&report)).await);
            }
        }
        assert_eq!(answers[0].0, 401, "{verb}: {:?}", answers[0]);
        assert!(answers.iter().all(|answer| answer == &answers[0]), "{verb}: {answers:?}");
    }
    for (token, wake) in &tokens {
        let done = json!({
            "wake_id": wake["wake_id"], "generation": wake["generation"], "done": true,
        });
        let path = format!("{base}/sub/ack");
        let (status, answer) = nodes.ask(token, Method::POST, &path, Some(&done)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let path = format!("{base}/only-acmes");
    let plan = json!({ "type": "pull-wake", "streams": ["acme/a"], "wake_stream": "wakes" });
    assert_eq!(nodes.ask(&acme.key, Method::PUT, &path, Some(&plan)).await.0, 201);
    for (method, more) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/claim")] {
        let body = json!({ "worker": "w", "streams": ["x"] });
        let of = async |id: &str| {
            let path = format!("{base}/{id}{more}");
            nodes.ask(&beta.key, method.clone(), &path, Some(&body)).await
        };
        assert_eq!(of("only-acmes").await, of("none").await, "{method} {more}");
    }
    assert_eq!(nodes.ask(&acme.key, Method::GET, &path, None).await.0, 200, "it is there");
}

/// Keys and tickets: who may make which, and what they open.
async fn keys_and_tickets_are_a_tenants(nodes: &Nodes) {
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    let make = async |by: &str, more: Value| {
        let mut body = json!({ "name": "made", "rights": ["read"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        nodes.ask(by, Method::POST, "/v1/keys", Some(&body)).await
    };
    for (by, more, answer) in [
        (&acme.key[..], json!({}), (201, json!("acme"))),
        (&acme.key, json!({ "tenant": "acme" }), (201, json!("acme"))),
        (&acme.key, json!({ "tenant": "beta" }), (403, Value::Null)),
        (ROOT, json!({}), (201, Value::Null)),
        (ROOT, json!({ "tenant": "a\u{1f}b" }), (400, Value::Null)),
        (ROOT, json!({ "tenant": "" }), (400, Value::Null)),
    ] {
        let (status, made) = make(by, more.clone()).await;
        assert_eq!((status, made["tenant"].clone()), answer, "{more}: {made}");
    }
    let (_, keys) = nodes.ask(&acme.key, Method::GET, "/v1/keys", None).await;
    let tenants: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| &key["tenant"]).collect();
    assert!(2 < tenants.len() && tenants.iter().all(|tenant| *tenant == "acme"), "{keys}");
    let id = beta.key.split('_').nth(1).unwrap();
    let mut answers = Vec::new();
    for id in [id, "0000000000000000"] {
        answers.push(nodes.ask(&acme.key, Method::DELETE, &format!("/v1/keys/{id}"), None).await);
    }
    assert_eq!((answers[0].0, &answers[0]), (404, &answers[1]));
    for path in ["/v1/cluster", "/v1/cluster/progress", "/metrics"] {
        let (status, answer) = nodes.ask(&acme.key, Method::GET, path, None).await;
        assert_eq!((status, &answer["code"]), (403, &json!("forbidden")), "{path}: {answer}");
        assert_eq!(nodes.ask(ROOT, Method::GET, path, None).await.0, 200, "{path}");
    }
    for path in ["join", "replace", "leave"] {
        let path = format!("/v1/cluster/{path}");
        assert_eq!(nodes.ask(&acme.key, Method::POST, &path, Some(&json!({}))).await.0, 403);
    }
    for by in [&acme, &beta] {
        nodes.create(by, "page").await;
        nodes.append(by, "page", if by.name == "acme" { SECRET } else { "beta's" }).await;
    }
    nodes.create(&acme, "acme-page").await;
    let ticket = json!({ "sessions": ["*"], "rights": ["read"] });
    let (status, made) = nodes.ask(&beta.key, Method::POST, "/v1/tickets", Some(&ticket)).await;
    assert_eq!(status, 201, "{made}");
    let ticket = made["ticket"].as_str().unwrap();
    let get = async |path: &str| {
        let url = format!("{}{path}?after=start&ticket={ticket}", nodes.url());
        let answer = reqwest::get(url).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    assert_eq!(get("/v1/sessions/acme-page/events").await.0, 404);
    let (_, second) = nodes.ask(&beta.key, Method::POST, "/v1/tickets", Some(&json!({}))).await;
    let url = format!("{}/v1/sessions/page/events?after=start", nodes.url());
    let url = format!("{url}&ticket={}", second["ticket"].as_str().unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(text.contains("beta's") && !text.contains(SECRET), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_of_the_tenant_that_it_names_or_that_its_issuer_is_for() {
    const SIGNED: &[u8] = b"a-secret-that-the-issuer-and-the-node-share";
    let node = start_single_with(|config| {
        config.root_key = Some(Secret::of(ROOT));
        let issuer = |issuer: &str, tenant: Option<&str>| IssuerConfig {
            issuer: issuer.into(),
            audience: "outlive".into(),
            tenant: tenant.map(|name| TenantName::parse(name).unwrap()),
            keys: KeySource::Secret(SIGNED.into()),
        };
        config.issuers = vec![issuer("any", None), issuer("acme's", Some("acme"))];
    })
    .await;
    let nodes = Nodes::new(vec![node.url.clone()]);
    let (acme, beta) = (nodes.tenant("acme").await, nodes.tenant("beta").await);
    nodes.create(&acme, "of-acme").await;
    nodes.create(&beta, "of-beta").await;
    let exp = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600;
    for (issuer, tenant, found) in [
        ("any", json!("acme"), Some("of-acme")),
        ("any", json!("beta"), Some("of-beta")),
        ("any", Value::Null, None),
        ("acme's", Value::Null, Some("of-acme")),
        ("acme's", json!("acme"), Some("of-acme")),
    ] {
        let own = json!({ "rights": ["read"], "sessions": ["*"], "tenant": tenant });
        let claims =
            json!({ "iss": issuer, "aud": "outlive", "sub": "a", "exp": exp, "outlive": own });
        let token = issuer::sign(SIGNED, &claims).unwrap();
        let (status, list) = nodes.ask(&token, Method::GET, "/v1/sessions", None).await;
        let names: Vec<_> = list["sessions"].as_array().expect("a list").iter().collect();
        let names: Vec<_> = names.iter().map(|one| one["session"].as_str().unwrap()).collect();
        assert_eq!((status, names), (200, Vec::from_iter(found)), "{issuer} {tenant}");
    }
    for (issuer, tenant) in [("acme's", "beta"), ("any", "a b"), ("any", "")] {
        let own = json!({ "rights": ["read"], "sessions": ["*"], "tenant": tenant });
        let claims =
            json!({ "iss": issuer, "aud": "outlive", "sub": "a", "exp": exp, "outlive": own });
        let token = issuer::sign(SIGNED, &claims).unwrap();
        assert_eq!(nodes.ask(&token, Method::GET, "/v1/sessions", None).await.0, 401, "{tenant}");
    }
}

everywhere! {
    turns_and_devices: workers_have_turns_of_their_tenant devices_see_their_tenant;
    subscriptions_and_keys: subscriptions_wake_for_their_tenant keys_and_tickets_are_a_tenants;
}
