//! What a key, a token or a ticket opened ends with it, and goes on under a newer one.

use super::*;

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
        [(all(json!({})), "key_revoked"), (all(json!({ "ttl_s": 3 })), "key_expired")]
    {
        let made = key(&node, &["read", "claim", "publish"], more).await;
        let open = |path: &str| {
            reqwest::Client::new().get(format!("{}{path}", node.url)).bearer_auth(&made).send()
        };
        let native = open("/v1/sessions/mine/events?live=sse").await.unwrap();
        let durable = open("/v1/stream/mine?offset=-1&live=sse").await.unwrap();
        assert_eq!((native.status().as_u16(), durable.status().as_u16()), (200, 200));
        let changes = open("/v1/changes?live=sse").await.unwrap();
        assert_eq!(changes.status().as_u16(), 200);
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
        let end = format!("event: detached\ndata: {{\"reason\":\"{reason}\"}}");
        for stream in [native, changes] {
            let text = rest(stream).await;
            assert!(text.contains(&end), "{text}");
        }
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
        assert_eq!((status.as_u16(), &answer["code"]), (401, &json!(reason)), "{answer}");
        // Only who has the secret learns that there was such a key.
        let other = key(&node, &["read"], json!({})).await;
        let (id, secret) = (made.split('_').nth(1).unwrap(), other.splitn(3, '_').nth(2).unwrap());
        let forged = format!("olk_{id}_{secret}");
        let (status, answer) = ask(&node, Some(&forged), Method::GET, "/v1/sessions", None).await;
        assert_eq!(
            (status.as_u16(), &answer["code"]),
            (401, &json!("unauthenticated")),
            "{answer}"
        );
        let path = format!("/v1/keys/{}", other.split('_').nth(1).unwrap());
        assert_eq!(ask(&node, Some(ROOT), Method::DELETE, &path, None).await.0, 204);
    }
    let (_, keys) = ask(&node, Some(ROOT), Method::GET, "/v1/keys", None).await;
    assert_eq!(keys["keys"], json!([]), "what ended is listed no more");
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
    let output = client.ask(json!({ "op": "append", "session": "mine-a", "body": body })).await;
    assert!(output["ok"].is_object(), "{output}");
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
