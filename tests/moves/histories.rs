//! Histories of chats that other programs kept.

use harness::api::{claim, post};
use harness::node::start_single;
use serde_json::{Value, json};

use super::{events, export, get, import, input};

async fn history(url: &str, session: &str, body: &Value) -> (u16, Value) {
    post(url, &format!("/v1/sessions/{session}/import"), body.clone()).await
}

#[tokio::test]
async fn a_history_of_a_chat_comes_in_as_messages_and_the_agent_is_told_it() {
    let node = start_single().await;
    let ui = json!({ "agent": "poet", "config": { "labels": { "from": "elsewhere" } }, "messages": [
        { "id": "m1", "role": "user", "parts": [{ "type": "text", "text": "Weather?" }] },
        { "id": "m2", "role": "assistant", "parts": [
            { "type": "reasoning", "text": "I look." },
            { "type": "tool-weather", "toolCallId": "c1", "state": "output-available",
              "input": { "city": "Rome" }, "output": { "c": 21.50 } },
            { "type": "text", "text": "Warm." },
            { "type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==" },
        ] },
        { "id": "m1", "role": "user", "parts": [{ "type": "text", "text": "Thanks" }] },
    ] });
    assert_eq!(history(&node.url, "ui", &ui).await.0, 201);
    assert_eq!(history(&node.url, "ui", &ui).await.0, 200, "the same again is the same");
    let (_, page) = get(&node.url, "/v1/sessions/ui/messages").await;
    let messages = page["messages"].as_array().expect("messages");
    let texts: Vec<_> = messages.iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["Weather?", "Warm.", "Thanks"], "{page}");
    let content = messages[1]["content"].as_array().expect("parts");
    let kinds: Vec<_> = content.iter().map(|part| part["type"].clone()).collect();
    assert_eq!(kinds, ["reasoning", "tool_call", "text", "file"], "{content:?}");
    assert_eq!(
        (&content[1]["state"], &content[1]["output"]["c"]),
        (&json!("output"), &json!(21.50))
    );
    let (_, status) = get(&node.url, "/v1/sessions/ui").await;
    assert_eq!((&status["turns"], &status["labels"]["from"]), (&json!([]), &json!("elsewhere")));

    let openai = json!({ "messages": [
        { "role": "user", "content": [{ "type": "text", "text": "2+2?" }] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "add", "arguments": "{\"a\":2}" } }] },
        { "role": "tool", "tool_call_id": "c1", "content": "4" },
        { "role": "assistant", "content": "x".repeat(300_000) },
    ] });
    let (code, answer) = history(&node.url, "openai", &openai).await;
    assert_eq!(code, 201, "{answer}");
    let (_, page) = get(&node.url, "/v1/sessions/openai/messages?after=start&limit=1").await;
    assert_eq!(page["messages"][0]["text"], "2+2?");
    let all = events(&node.url, "openai").await;
    let texts =
        all.iter().filter(|event| event["type"] == "turn.output" && event["format"] == "text");
    let length: usize = texts.filter_map(|event| Some(event["text"].as_str()?.len())).sum();
    assert_eq!(length, 300_000, "a text that no event holds is several");

    // Retention takes what is too old, as it would have.
    let message =
        |at: usize| json!({ "role": "user", "content": format!("{at}{}", "x".repeat(2_000)) });
    let messages: Vec<_> = (0..20).map(message).collect();
    let kept = json!({ "messages": messages, "config": { "retention": { "max_bytes": 10_000 } } });
    let (code, answer) = history(&node.url, "kept", &kept).await;
    assert_eq!(code, 201, "{answer}");
    let all = events(&node.url, "kept").await;
    assert!(
        all.len() < 40
            && all
                .iter()
                .any(|event| event["text"].as_str().is_some_and(|text| text.starts_with("19")))
    );

    // Who has no name of its own gets one that nobody has.
    let message = |id: &str| json!({ "id": id, "role": "user", "content": "a" });
    let taken = json!({ "messages": [message("message-2"), message(""), message("message-2"), message("message-4")] });
    let (code, answer) = history(&node.url, "taken", &taken).await;
    assert_eq!(code, 201, "{answer}");
    let (_, page) = get(&node.url, "/v1/sessions/taken/messages").await;
    assert_eq!(page["messages"].as_array().expect("messages").len(), 4, "{page}");

    // The next input goes on with it, and moves with the rest.
    assert_eq!(input(&node.url, "ui", "next", "More?").await.0, 200);
    let turn = claim(&node.url).await;
    assert_eq!((&turn["session"], &turn["turn"]), (&json!("ui"), &json!("next")));
    let file = export(&node.url, "ui").await;
    assert_eq!(import(&node.url, "ui-2", file).await.0, 201);

    for (body, word) in [
        (json!({}), "messages"),
        (json!({ "messages": [{ "role": "assistant", "content": "Hi" }] }), "message 1"),
        (
            json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "system", "content": "b" }] }),
            "message 2",
        ),
        (json!({ "messages": [{ "role": "user", "content": "" }] }), "message 1"),
        (json!({ "messages": [{ "role": "user", "content": "x".repeat(300_000) }] }), "message 1"),
        (
            json!({ "messages": vec![json!({ "role": "user", "content": "a" }); 10_001] }),
            "10001 messages",
        ),
        (json!({ "messages": [], "model": "x" }), "model"),
        (json!({ "messages": [], "agent": "no such\nname" }), "agent"),
    ] {
        let (code, answer) = history(&node.url, "bad", &body).await;
        assert_eq!((code, &answer["code"]), (400, &json!("bad_import")), "{answer}");
        assert!(answer["detail"].as_str().expect("a detail").contains(word), "{answer}");
        assert_eq!(get(&node.url, "/v1/sessions/bad").await.0, 404);
    }
}
