//! Cookies: what they open, from which pages they are taken, and what ends them.

use super::tenants::Nodes;
use super::*;
use outlive::config::AllowedOrigin;

const LISTED: &str = "https://app.example";

/// Makes a cookie under a key: what the answer says, and the whole of `Set-Cookie`.
async fn made(url: &str, by: &str, body: &Value) -> (u16, Value, String) {
    let request = reqwest::Client::new().post(format!("{url}/v1/cookies")).bearer_auth(by);
    let answer = request.json(body).send().await.expect("an answer");
    let set = answer.headers().get("set-cookie").map(|text| text.to_str().expect("visible"));
    let (status, set) = (answer.status().as_u16(), set.unwrap_or_default().to_owned());
    (status, answer.json().await.expect("JSON"), set)
}

/// Name and value of a cookie that is made under a key.
async fn cookie(url: &str, by: &str, body: &Value) -> String {
    let (status, answer, set) = made(url, by, body).await;
    assert_eq!(status, 201, "{answer}");
    set.split(';').next().expect("a pair").to_owned()
}

/// A request as a browser sends it.
fn page(
    url: &str,
    cookie: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().request(method, format!("{url}{path}"));
    let mut request = request.header("cookie", cookie).timeout(PATIENCE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

async fn answered(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_opens_what_its_owner_said_and_nothing_else() {
    let node = start().await;
    let url = &node.url[..];
    for session in ["mine-a", "mine-b"] {
        create(&node, session).await;
    }
    let owner = key(&node, &["read", "publish", "send", "admin"], json!({})).await;
    let body = json!({ "sessions": ["mine-a"], "rights": ["read", "publish"], "ttl_s": 600 });
    let (status, answer, set) = made(url, &owner, &body).await;
    assert_eq!((status, &answer["name"]), (201, &json!("outlive")), "{answer}");
    assert!(!answer.to_string().contains("olc_"), "scripts do not learn it");
    assert!(set.starts_with("outlive=olc_"), "{set}");
    let (cookie, how) = set.split_once("; ").unwrap();
    let lasts = how.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    assert!((590..=600).contains(&lasts.parse::<u64>().unwrap()), "{how}");
    assert!(how.contains("HttpOnly; SameSite=Strict") && how.starts_with("Path=/;"), "{how}");

    let own = [("origin", url)];
    let event = json!({ "events": [{ "text": "hi" }] });
    let asks = |method: Method, path: &str| page(url, cookie, method, path, &own);
    let append = asks(Method::POST, "/v1/sessions/mine-a/events").json(&event);
    assert_eq!(answered(append).await.0, 200);
    for (method, path, status) in [
        (Method::GET, "/v1/sessions/mine-a/events?after=start", 200),
        (Method::GET, "/v1/stream/mine-a?offset=-1", 200),
        (Method::GET, "/v1/sessions/mine-b", 404),
        (Method::GET, "/v1/sessions/other", 404),
        (Method::DELETE, "/v1/sessions/mine-a", 403),
        (Method::POST, "/v1/sessions/mine-a/cancel", 403),
        (Method::GET, "/v1/keys", 403),
        (Method::GET, "/metrics", 403),
    ] {
        let request = asks(method, path).json(&json!({ "all": true }));
        let (got, answer) = answered(request).await;
        assert_eq!(got, status, "{path}: {answer}");
    }
    // Nothing comes of it that would last when it is given back.
    for path in ["/v1/tickets", "/v1/cookies"] {
        let (status, answer) = answered(asks(Method::POST, path)).await;
        assert_eq!((status, &answer["code"]), (403, &json!("forbidden")), "{path} {answer}");
    }
    let lists = asks(Method::GET, "/v1/sessions");
    assert_eq!(answered(lists).await.1["sessions"].as_array().unwrap().len(), 1);
    // Whoever shows a key is that one.
    let both = asks(Method::GET, "/v1/sessions/mine-b").bearer_auth(&owner);
    assert_eq!(answered(both).await.0, 200);
    let wrong = asks(Method::GET, "/v1/sessions/mine-a").bearer_auth("olk_nothing");
    assert_eq!(answered(wrong).await.0, 401);

    let (_, ticket) = ask(&node, Some(&owner), Method::POST, "/v1/tickets", Some(&body)).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    let (head, tail) = cookie.split_at(cookie.len() - 50);
    for (forged, status) in [
        (cookie.replacen("olc_e", "olc_f", 1), 401),
        (format!("{head}{}", tail.to_uppercase()), 401),
        (format!("outlive={ticket}"), 401),
        (format!("outlive=olc_{}", &ticket[4..]), 401),
        (format!("outlive={owner}"), 401),
        ("outlive=".to_owned(), 401),
        (format!("outlive=olc_{}.a", "A".repeat(6_000)), 401),
        (format!("{cookie}; {cookie}"), 400),
        (format!("__Host-{cookie}"), 401),
        (format!("a=b; {cookie}; c=d"), 200),
    ] {
        let request = page(url, &forged, Method::GET, "/v1/sessions/mine-a", &own);
        assert_eq!(answered(request).await.0, status, "{forged}");
    }
    let path = format!("/v1/sessions/mine-a?ticket={}", &cookie["outlive=".len()..]);
    assert_eq!(ask(&node, None, Method::GET, &path, None).await.0, 401, "it is no ticket");
    assert_eq!(ask(&node, Some(&cookie[8..]), Method::GET, "/v1/sessions", None).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_made_for_no_more_than_its_owner_may_do() {
    let node = start().await;
    create(&node, "mine").await;
    let owner = key(&node, &["read", "send"], json!({ "role": "controller" })).await;
    let ada = key(&node, &["read", "send"], json!({ "participant": "ada" })).await;
    let long: Vec<_> = (0..32).map(|one| format!("mine-{one}-{}", "x".repeat(120))).collect();
    for (by, part, status, code) in [
        (&owner[..], json!({ "rights": ["delete"] }), 403, "forbidden"),
        (ROOT, json!({ "rights": ["admin"] }), 403, "forbidden"),
        (&owner, json!({ "sessions": ["other"] }), 404, "not_found"),
        (&owner, json!({ "sessions": ["*"] }), 404, "not_found"),
        (&owner, json!({ "ttl_s": 86_401 }), 400, "bad_json"),
        (&owner, json!({ "same_site": "none" }), 400, "bad_json"),
        (&owner, json!({ "same_site": "lax" }), 400, "bad_json"),
        (&owner, json!({ "role": "king" }), 400, "bad_json"),
        (&owner, json!({ "participant": "" }), 400, "bad_json"),
        (&owner, json!({ "sessions": long }), 400, "bad_json"),
        (&owner, json!({ "x": 1 }), 400, "bad_json"),
        (&ada, json!({ "participant": "bob" }), 403, "forbidden"),
        ("olk_nothing", json!({}), 401, "unauthenticated"),
    ] {
        let (got, answer, set) = made(&node.url, by, &part).await;
        assert_eq!((got, answer["code"].as_str().unwrap()), (status, code), "{part}");
        assert_eq!(set, "", "{part}");
    }
    // One whom nobody named is named, and has no greater role than was said.
    let part = json!({ "participant": "bob", "role": "participant" });
    let bob = cookie(&node.url, &owner, &part).await;
    let own = [("origin", &node.url[..])];
    let content = json!({ "text": "hi" });
    for (name, status) in [(None, 200), (Some("bob"), 200), (Some("ada"), 403)] {
        let input = name.unwrap_or("nobody");
        let mut body = json!({ "id": input, "agent": "poet", "content": content });
        if let Some(name) = name {
            body["participant"] = name.into();
        }
        let request = page(&node.url, &bob, Method::POST, "/v1/sessions/mine/inputs", &own);
        let (got, answer) = answered(request.json(&body)).await;
        assert_eq!(got, status, "{name:?} {answer}");
    }
    let (_, page) = ask(&node, Some(ROOT), Method::GET, "/v1/sessions/mine/events", None).await;
    let events = page["events"].as_array().unwrap();
    let named = events.iter().filter(|event| !event["participant"].is_null());
    assert!(named.clone().count() == 2 && named.clone().all(|one| one["participant"] == "bob"));
    let open = start_single().await;
    assert_eq!(made(&open.url, ROOT, &json!({})).await.0, 409, "nobody is asked there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_taken_from_pages_of_the_node_and_of_listed_origins_alone() {
    for all in [false, true] {
        let node = start_single_with(|config| {
            config.root_key = Some(Secret::of(ROOT));
            config.allow_origins = vec![LISTED.parse().unwrap(), AllowedOrigin::Null];
            config.allow_origins.extend(all.then_some(AllowedOrigin::All));
        })
        .await;
        create(&node, "mine").await;
        let url = &node.url[..];
        let cookie = cookie(url, ROOT, &json!({ "sessions": ["mine"] })).await;
        let site = |site: &'static str| ("sec-fetch-site", site);
        let origin = |origin| ("origin", origin);
        let evil = "https://evil.example";
        let (read, touch) = ("/v1/sessions/mine/events", "/v1/sessions/mine/touch");
        let ok = "ok";
        for (method, path, headers, code) in [
            (Method::GET, read, &[origin(url)][..], ok),
            (Method::GET, read, &[origin(LISTED), site("cross-site")], ok),
            (Method::GET, read, &[site("same-origin")], ok),
            (Method::GET, read, &[], "origin_not_allowed"),
            (
                Method::GET,
                read,
                &[site("same-site"), ("sec-fetch-mode", "navigate")],
                "origin_not_allowed",
            ),
            (Method::GET, read, &[origin(evil)], "origin_not_allowed"),
            (Method::GET, read, &[origin("null")], "origin_not_allowed"),
            (Method::POST, touch, &[origin(url)], ok),
            (Method::POST, touch, &[origin(LISTED)], ok),
            (Method::POST, touch, &[], "origin_not_allowed"),
            (Method::POST, touch, &[site("same-origin")], "origin_not_allowed"),
            (Method::POST, touch, &[origin(evil), site("same-origin")], "origin_not_allowed"),
            (Method::POST, touch, &[origin("null")], "origin_not_allowed"),
            (Method::DELETE, "/v1/sessions/mine", &[], "origin_not_allowed"),
            (Method::DELETE, "/v1/cookies", &[], "origin_not_allowed"),
            (Method::GET, "/v1/ws", &[site("same-origin")], "origin_not_allowed"),
            (Method::GET, "/v1/ws", &[origin(evil)], "origin_not_allowed"),
            (Method::GET, "/v1/ws", &[origin(url)], "upgrade_required"),
        ] {
            let (_, answer) = answered(page(url, &cookie, method.clone(), path, headers)).await;
            let got = answer["code"].as_str().unwrap_or(ok);
            assert_eq!(got, code, "{method} {path} {headers:?} all={all}: {answer}");
        }
        // Who may read what comes of it: whoever is listed by name, and never everybody.
        for (from, readable, credentials) in [
            (LISTED, Some(LISTED), true),
            (url, Some(url), true),
            ("null", Some("null"), false),
            (evil, all.then_some("*"), false),
        ] {
            let request = page(url, &cookie, Method::OPTIONS, touch, &[origin(from)]);
            let answer = request.header("access-control-request-method", "POST").send().await;
            let answer = answer.expect("an answer");
            let header = |name| answer.headers().get(name).map(|text| text.to_str().unwrap());
            assert_eq!(header("access-control-allow-origin"), readable, "{from} all={all}");
            let allowed = header("access-control-allow-credentials");
            assert_eq!(allowed, credentials.then_some("true"), "{from} all={all}");
        }
        let (status, _) = ask(&node, Some(ROOT), Method::GET, "/v1/sessions/mine", None).await;
        assert_eq!(status, 200, "what was refused did nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_a_cookie_is_bound_to_the_host() {
    let node = start_single_with(|config| {
        config.root_key = Some(Secret::of(ROOT));
        config.public.url = Some("https://chat.example".into());
        config.allow_hosts = vec!["chat.example".parse().unwrap()];
        config.allow_origins = vec!["https://chat.example".parse().unwrap()];
    })
    .await;
    let url = &node.url[..];
    let own = [("origin", "https://chat.example")];
    let (status, answer, set) = made(url, ROOT, &json!({ "same_site": "none" })).await;
    assert_eq!(status, 201, "{answer}");
    assert!(set.starts_with("__Host-outlive=olc_"), "{set}");
    assert!(set.ends_with("; HttpOnly; SameSite=None; Partitioned; Secure"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let open = page(url, cookie, Method::GET, "/v1/sessions", &own);
    assert_eq!(answered(open).await.0, 200);
    // What a neighbouring name could have set is none.
    let tossed = &cookie["__Host-".len()..];
    let open = page(url, tossed, Method::GET, "/v1/sessions", &own);
    assert_eq!(answered(open).await.0, 401);
    let out = page(url, cookie, Method::DELETE, "/v1/cookies", &own).send().await.unwrap();
    assert_eq!(out.status(), 204);
    let all = out.headers().get_all("set-cookie").iter().map(|one| one.to_str().unwrap());
    for set in all {
        assert!(set.starts_with("__Host-outlive=; Path=/; Max-Age=0;"), "{set}");
        assert!(set.ends_with("; Secure"), "{set}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cookie_opened_ends_with_it_and_says_why() {
    let node = start().await;
    let url = &node.url[..];
    create(&node, "mine").await;
    let own = [("origin", url)];
    for reason in ["logged_out", "key_revoked", "token_expired"] {
        let owner = key(&node, &["read", "presence"], json!({})).await;
        let ttl_s = if reason == "token_expired" { 3 } else { 600 };
        let first = cookie(url, &owner, &json!({ "ttl_s": ttl_s })).await;
        let other = cookie(url, ROOT, &json!({})).await;
        let path = "/v1/sessions/mine/events?live=sse";
        let stream = page(url, &first, Method::GET, path, &own).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let mut beside = page(url, &other, Method::GET, path, &own).send().await.unwrap();
        match reason {
            "logged_out" => {
                let out = page(url, &first, Method::DELETE, "/v1/cookies", &own);
                let out = out.send().await.unwrap();
                assert_eq!(out.status(), 204);
                let set = out.headers()["set-cookie"].to_str().unwrap();
                assert!(set.starts_with("outlive=; Path=/; Max-Age=0;"), "{set}");
            }
            "key_revoked" => {
                let path = format!("/v1/keys/{}", owner.split('_').nth(1).unwrap());
                assert_eq!(ask(&node, Some(ROOT), Method::DELETE, &path, None).await.0, 204);
            }
            _ => {}
        }
        let text = rest(stream).await;
        let end = format!("event: detached\ndata: {{\"reason\":\"{reason}\"}}");
        assert!(text.contains(&end), "{text}");
        let (status, answer) = answered(page(url, &first, Method::GET, path, &own)).await;
        assert_eq!((status, &answer["code"]), (401, &json!(reason)), "{answer}");
        assert!(beside.chunk().await.unwrap().is_some(), "another one goes on");
        let read = page(url, &other, Method::GET, "/v1/sessions/mine", &own);
        assert_eq!(answered(read).await.0, 200);
    }
    // Whoever has none has nothing to give back.
    let (status, _) = ask(&node, Some(ROOT), Method::DELETE, "/v1/cookies", None).await;
    assert_eq!(status, 204);
}

/// How long a cookie may be taken at other nodes that was given back at one.
const SOON: Duration = Duration::from_secs(5);

async fn cookies_end_at_every_node(nodes: &Nodes) {
    let acme = nodes.tenant("acme").await;
    nodes.create(&acme, "page").await;
    for revokes in [false, true] {
        let (url, at) = (nodes.url().to_owned(), nodes.all());
        let acme = nodes.tenant("acme").await;
        let cookie = cookie(&url, &acme.key, &json!({ "sessions": ["page"] })).await;
        let mut streams = Vec::new();
        for url in &at {
            let path = "/v1/sessions/page/events?live=sse";
            let open = page(url, &cookie, Method::GET, path, &[("origin", url)]);
            let stream = open.send().await.expect("an answer");
            assert_eq!(stream.status(), 200, "it is taken at every node");
            streams.push(stream);
        }
        let begun = tokio::time::Instant::now();
        if revokes {
            let path = format!("/v1/keys/{}", acme.key.split('_').nth(1).unwrap());
            assert_eq!(nodes.ask(ROOT, Method::DELETE, &path, None).await.0, 204);
        } else {
            let out = page(&url, &cookie, Method::DELETE, "/v1/cookies", &[("origin", &url)]);
            assert_eq!(answered(out).await.0, 204);
        }
        let reason = if revokes { "key_revoked" } else { "logged_out" };
        for stream in streams {
            let text = rest(stream).await;
            assert!(text.contains(reason), "{text}");
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        for url in &at {
            let again = page(url, &cookie, Method::GET, "/v1/sessions/page", &[("origin", url)]);
            assert_eq!(answered(again).await.0, 401, "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_known_at_every_node_and_ends_at_every_one() {
    let (_cluster, nodes, _dir) = super::tenants::three().await;
    cookies_end_at_every_node(&nodes).await;
}
