//! How keys are made, listed and revoked, and where.

use super::*;

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
        ("name", json!("a\u{1b}[2Jb")),
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
    for array in [json!([]), json!(["a", text, ["read"], null, null, null, null, null, 5])] {
        for path in ["/v1/keys", "/v1/tickets", "/v1/sessions/s/inputs", "/v1/sessions/s/trim"] {
            let (status, answer) = ask(&node, Some(ROOT), Method::POST, path, Some(&array)).await;
            let found = (status.as_u16(), answer["code"].as_str());
            assert_eq!(found, (400, Some("bad_json")), "{path}: {answer}");
        }
    }
    let twice = format!("{}/v1/sessions?ticket=a&ticket=b", node.url);
    let answer = reqwest::get(twice).await.unwrap();
    assert_eq!(answer.status(), 400, "of two tickets none is taken");
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
