//! The doors of chat clients: whoever sends is judged by what the body asks for, and is told in the client's own words.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, key, start};

/// A message to a session, at each of these doors.
fn messages(session: &str) -> [(&'static str, Value); 3] {
    let parts = json!([{ "type": "text", "text": "hi" }]);
    [
        (
            "/v1/ai-sdk/poet",
            json!({ "id": session, "messages": [{ "id": "m1", "role": "user", "parts": parts }] }),
        ),
        (
            "/v1/openai/responses",
            json!({ "model": "poet", "input": "hi", "conversation": session, "background": true }),
        ),
        (
            "/v1/ag-ui/poet",
            json!({
                "threadId": session, "runId": "r1",
                "messages": [{ "id": "m1", "role": "user", "content": "hi" }],
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_only_reads_sends_nothing_at_any_door_of_chat_clients() {
    let node = start().await;
    let reads = key(&node, &["read"], json!({})).await;
    let sends = key(&node, &["send", "create"], json!({})).await;
    for (path, body) in messages("mine-1") {
        let (status, _) = ask(&node, None, Method::POST, path, Some(&body)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        for key in [&reads, &sends] {
            // Whoever sends is shown the answer, so it needs both.
            let (status, received) = ask(&node, Some(key), Method::POST, path, Some(&body)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {received}");
        }
        let (path, body) =
            messages("theirs").into_iter().find(|(other, _)| *other == path).unwrap();
        let (status, _) = ask(&node, Some(&reads), Method::POST, path, Some(&body)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, _) = ask(&node, Some(&reads), Method::GET, "/v1/sessions/mine-1", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nothing was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_read_and_ended_under_the_rights_for_it() {
    let node = start().await;
    let all = key(&node, &["read", "send", "create", "cancel"], json!({})).await;
    let reads = key(&node, &["read"], json!({})).await;
    let (path, body) = messages("mine-1").into_iter().nth(1).unwrap();
    let (status, made) = ask(&node, Some(&all), Method::POST, path, Some(&body)).await;
    assert_eq!((status, &made["status"]), (StatusCode::OK, &json!("queued")));
    let response = format!("{path}/{}", made["id"].as_str().unwrap());
    let (status, received) = ask(&node, Some(&reads), Method::GET, &response, None).await;
    assert_eq!((status, received), (StatusCode::OK, made));
    let other = key(&node, &["read"], json!({ "sessions": ["other*"] })).await;
    let (status, received) = ask(&node, Some(&other), Method::GET, &response, None).await;
    // As one that does not exist.
    let found = (status, &received["error"]["code"]);
    assert_eq!(found, (StatusCode::NOT_FOUND, &json!("no_such_turn")));
    let cancel = format!("{response}/cancel");
    let stop = "/v1/ai-sdk/poet/mine-1/stop";
    for path in [&cancel[..], stop] {
        let (status, _) = ask(&node, Some(&reads), Method::POST, path, None).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    let (status, received) = ask(&node, Some(&all), Method::POST, stop, None).await;
    assert_eq!((status, &received["cancelled"]), (StatusCode::OK, &json!(1)));
    let (status, received) = ask(&node, Some(&all), Method::POST, &cancel, None).await;
    assert_eq!((status, &received["status"]), (StatusCode::OK, &json!("cancelled")));
    let none = "/v1/ai-sdk/poet/mine-1/stream";
    let (status, _) = ask(&node, Some(&reads), Method::GET, none, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}
