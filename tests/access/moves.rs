//! Who may take a session out, bring one in, and follow the changes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const MOVERS: [&str; 3] = ["create", "publish", "delete"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_move_with_all_rights_for_it_and_in_nobody_s_name() {
    let node = start().await;
    create(&node, "mine").await;
    create(&node, "other").await;
    let history = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    for missing in MOVERS {
        let rights: Vec<_> = RIGHTS.into_iter().filter(|right| *right != missing).collect();
        let without = key(&node, &rights, json!({})).await;
        let path = "/v1/sessions/mine-in/import";
        let (status, why) = ask(&node, Some(&without), Method::POST, path, Some(&history)).await;
        assert_eq!((status.as_u16(), &why["right"]), (403, &json!(missing)), "{why}");
    }
    for missing in ["read", "delete"] {
        let rights: Vec<_> = RIGHTS.into_iter().filter(|right| *right != missing).collect();
        let without = key(&node, &rights, json!({})).await;
        let path = "/v1/sessions/mine/export";
        let (status, why) = ask(&node, Some(&without), Method::GET, path, None).await;
        assert_eq!((status.as_u16(), &why["right"]), (403, &json!(missing)), "{why}");
    }
    let named = key(&node, &RIGHTS, json!({ "participant": "ada", "role": "supervisor" })).await;
    let path = "/v1/sessions/mine-in/import";
    let (status, why) = ask(&node, Some(&named), Method::POST, path, Some(&history)).await;
    assert_eq!(status, 403, "{why}");
    let mover = key(&node, &MOVERS, json!({})).await;
    let (status, why) = ask(&node, Some(&mover), Method::POST, path, Some(&history)).await;
    assert_eq!(status, 201, "{why}");
    let taker = key(&node, &["read", "delete"], json!({})).await;
    let (status, _) =
        ask(&node, Some(&taker), Method::GET, "/v1/sessions/mine-in/export", None).await;
    assert_eq!(status, 200);
    // What is not for the key does not exist.
    for session in ["other", "nowhere"] {
        let path = format!("/v1/sessions/{session}/export");
        assert_eq!(ask(&node, Some(&taker), Method::GET, &path, None).await.0, 404);
        let path = format!("/v1/sessions/{session}/import");
        assert_eq!(ask(&node, Some(&mover), Method::POST, &path, Some(&history)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_of_what_the_key_is_for_and_of_no_other_tenant() {
    let node = start().await;
    create(&node, "mine").await;
    create(&node, "other").await;
    let all = json!({ "tenant": "acme", "sessions": ["*"] });
    let acme = key(&node, &["read", "create"], all).await;
    let path = "/v1/sessions/theirs";
    assert_eq!(ask(&node, Some(&acme), Method::PUT, path, Some(&json!({}))).await.0, 201);
    let mine = key(&node, &["read"], json!({})).await;
    let without = key(&node, &["send"], json!({})).await;
    let changes = "/v1/changes?limit=1000";
    assert_eq!(ask(&node, Some(&without), Method::GET, changes, None).await.0, 403);
    assert_eq!(ask(&node, None, Method::GET, changes, None).await.0, 401);
    // Keys lie in sessions of the service's own, which nobody is told of.
    for (who, wanted) in
        [(mine.as_str(), vec!["mine"]), (&acme, vec!["theirs"]), (ROOT, vec!["mine", "other"])]
    {
        let (mut place, mut names) = ("start".to_owned(), Vec::new());
        loop {
            let path = format!("/v1/changes?after={place}");
            let (status, page) = ask(&node, Some(who), Method::GET, &path, None).await;
            assert_eq!(status, 200, "{page}");
            for change in page["changes"].as_array().expect("changes") {
                names.push(change["session"].as_str().expect("a name").to_owned());
            }
            place = page["next"].as_str().expect("a place").to_owned();
            if page["more"] == false {
                break;
            }
        }
        names.sort();
        assert_eq!(names, wanted);
    }
}

/// A place in the changes is given to whoever asks: it has no name that the key is not for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_in_the_changes_tells_no_name_of_others() {
    let node = start().await;
    for number in 0..40 {
        create(&node, &format!("hidden-{number}")).await;
        create(&node, &format!("mine-{number}")).await;
    }
    create(&node, "alone").await;
    let rights = json!({ "sessions": ["mine*", "alone"] });
    let mine = key(&node, &["read"], rights).await;
    // After a restart the heads are read, name by name.
    let node = node.restart().await;
    let (mut place, mut names, mut scanned) = ("start".to_owned(), Vec::new(), false);
    loop {
        let path = format!("/v1/changes?limit=1&after={place}");
        let (status, page) = ask(&node, Some(&mine), Method::GET, &path, None).await;
        assert_eq!(status, 200, "{page}");
        for change in page["changes"].as_array().expect("changes") {
            names.push(change["session"].as_str().expect("a name").to_owned());
        }
        place = page["next"].as_str().expect("a place").to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&place).expect("base64");
        let names = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
        assert!(!names(b"hidden"), "{:?}", String::from_utf8_lossy(&bytes));
        scanned |= names(b"mine-");
        if page["more"] == false {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!((names.len(), names[0].as_str(), scanned), (41, "alone", true));
}
