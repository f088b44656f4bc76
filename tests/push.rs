//! Agents that are HTTP endpoints: asked for turns, stopped by a closed connection, asked again when they break off.

use harness::cluster::client;
use harness::endpoint::{Does, Endpoint, ask, ask_with, end_of, events, node, story, until};
use harness::load::eventually;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_asked_with_the_conversation_and_its_answer_comes_into_the_log() {
    const SAYS: Does = Does::Sends(&[
        r#"{"choices":[{"delta":{"content":"Hel"}}]}"#,
        r#"{"choices":[{"delta":{"content":"lo"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ]);
    let endpoint = Endpoint::serve(&[SAYS]).await;
    let agent = format!("kind = \"push\"\nprotocol = \"openai\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    let received = until(&url, "turn.completed").await;
    let output: String =
        received.iter().filter_map(|received| received.strip_prefix("text:")).collect();
    assert_eq!(output, "Hello", "{received:?}");
    ask(&url, "t2", "again").await;
    eventually("the second turn is over", async || {
        story(&url).await.iter().filter(|received| *received == "turn.completed").count() == 2
    })
    .await;
    assert_eq!(
        endpoint.request(1)["messages"],
        json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "Hello" },
            { "role": "user", "content": "again" },
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_an_endpoint_as_a_closed_connection() {
    const HANGS: Does = Does::Hangs(&[r#"{"type":"TEXT_MESSAGE_CONTENT","delta":"half"}"#]);
    let endpoint = Endpoint::serve(&[HANGS]).await;
    let agent = format!("kind = \"push\"\nprotocol = \"ag-ui\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    until(&url, "text:half").await;
    let cancel = client().post(format!("{url}/v1/sessions/s/cancel")).json(&json!({ "all": true }));
    assert_eq!(cancel.send().await.expect("an answer").status(), 200);
    eventually("the endpoint sees it", async || *endpoint.closed.lock().expect("no panic") == 1)
        .await;
    assert_eq!(story(&url).await.last().map(String::as_str), Some("turn.cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_asked_for_again_and_superseded() {
    const SCRIPT: &[Does] = &[
        Does::Breaks(&[r#"{"type":"text-delta","id":"0","delta":"half an"}"#]),
        Does::Refuses(503),
        Does::Sends(&[r#"{"type":"text-delta","id":"0","delta":"whole"}"#, r#"{"type":"finish"}"#]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let agent = format!("kind = \"push\"\nprotocol = \"ai-sdk\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    let received = until(&url, "turn.completed").await;
    let at = |name: &str| received.iter().position(|received| received == name);
    assert!(
        at("text:half an").is_some_and(|emitted| Some(emitted) < at("agent.lost")),
        "{received:?}"
    );
    assert_eq!(at("step.rewound").map(|at| at + 1), at("text:whole"), "{received:?}");
    let rewound = events(&url).await.into_iter().find(|event| event["type"] == "step.rewound");
    assert_eq!(rewound.expect("it is there")["from"], at("text:half an").expect("there") + 1);
}

/// Many words are on their way into the log when the connection ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_endpoint_said_before_it_broke_off_is_in_the_log() {
    const WORDS: [&str; 200] =
        [r#"{"choices":[{"index":0,"delta":{"content":"w"},"finish_reason":null}]}"#; 200];
    const END: &[&str] = &[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, "[DONE]"];
    let endpoint = Endpoint::serve(&[Does::Breaks(&WORDS), Does::Sends(END)]).await;
    let agent = format!("kind = \"push\"\nprotocol = \"openai\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    let received = until(&url, "turn.completed").await;
    let before = received.iter().take_while(|received| *received != "agent.lost");
    let emitted: String = before.filter_map(|received| received.strip_prefix("text:")).collect();
    assert_eq!(emitted, "w".repeat(200), "{received:?}");
}

/// Its first words are superseded each time, so they forgive nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_again_and_again_is_asked_for_as_often_as_the_budget_says() {
    const WORD: &[Does] = &[Does::Breaks(&[
        r#"{"choices":[{"index":0,"delta":{"content":"one "},"finish_reason":null}]}"#,
    ])];
    const START: &[Does] = &[Does::Breaks(&[r#"{"type":"start","messageId":"m"}"#])];
    for (protocol, script) in [("openai", WORD), ("ai-sdk", START)] {
        let endpoint = Endpoint::serve(script).await;
        let agent =
            format!("kind = \"push\"\nprotocol = \"{protocol}\"\nurl = \"{}\"", endpoint.url);
        let (cluster, _file) = node(&agent).await;
        let url = cluster.url(1);
        ask_with(&url, "t1", "hi", json!({ "attempts": 3 })).await;
        let received = until(&url, "turn.failed").await;
        assert_eq!(endpoint.calls.lock().expect("no panic").len(), 3, "{received:?}");
        let lost = events(&url).await.into_iter().filter(|event| event["type"] == "agent.lost");
        let pauses = lost.map(|event| {
            let (at, again) = (event["time"].as_u64(), event["again_at"].as_u64());
            again.expect("a time").checked_sub(at.expect("a time"))
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [Some(0), Some(1_000), None], "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_fails_the_turn_at_once_with_the_reason() {
    let endpoint = Endpoint::serve(&[Does::Refuses(401)]).await;
    let agent = format!("kind = \"push\"\nprotocol = \"openai\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    until(&url, "turn.failed").await;
    let all = events(&url).await;
    assert_eq!(all.last().expect("one")["reason"], "the endpoint answered 401: no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_stream_fails_the_turn_at_once_and_says_what_it_was() {
    const PAGE: &[Does] = &[Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 2\r\n\r\nno",
    )];
    const ELSEWHERE: &[Does] = &[Does::Answers(
        "HTTP/1.1 307 No\r\nlocation: /elsewhere/?key=secret\r\ncontent-length: 0\r\n\r\n",
    )];
    const WORDS: &[Does] = &[Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nlog in",
    )];
    const NOTHING: &[Does] = &[Does::Answers("HTTP/1.1 204 No Content\r\n\r\n")];
    for (script, reason) in [
        (WORDS, "the endpoint answered 200 with text/plain, not with text/event-stream"),
        (NOTHING, "the endpoint answered 204, not with text/event-stream"),
        (PAGE, "the endpoint answered 200 with text/html, not with text/event-stream"),
        (ELSEWHERE, "the endpoint answered 307 and points to http://HOST/elsewhere/"),
    ] {
        let (received, all, requests) = end_of("openai", script, "").await;
        let emitted = all.last().expect("one")["reason"].as_str().expect("text");
        let port = emitted.rsplit_once("//127.0.0.1:").and_then(|(_, rest)| rest.split('/').next());
        let host = port.map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
        assert_eq!(emitted, reason.replace("HOST", &host), "{received:?}");
        assert_eq!(requests, 1, "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_ready_says_why_in_the_log() {
    const LOADING: &[Does] = &[Does::Answers(
        "HTTP/1.1 503 No\r\ncontent-length: 44\r\n\r\n{\"error\":{\"message\":\"the model is loading\"}}",
    )];
    let (received, all, requests) = end_of("openai", LOADING, "").await;
    assert_eq!(requests, 2, "{received:?}");
    let lost: Vec<_> = all.iter().filter(|event| event["type"] == "agent.lost").collect();
    assert_eq!(lost.len(), 2, "{received:?}");
    for lost in lost {
        assert_eq!(lost["detail"], "the endpoint answered 503: the model is loading");
    }
    let reason = all.last().expect("one")["reason"].as_str().expect("text").to_owned();
    assert!(
        reason.ends_with("the last one: the endpoint answered 503: the model is loading"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_is_a_sign_of_life() {
    const END: &[&str] = &[
        r#"{"choices":[{"delta":{"content":"five"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
    ];
    let (received, _, requests) =
        end_of("openai", &[Does::Breathes(26, END)], "progress_timeout_ms = 5000").await;
    assert_eq!(requests, 1, "{received:?}");
    assert_eq!(received.last().map(String::as_str), Some("turn.completed"), "{received:?}");
    assert!(!received.iter().any(|received| received == "agent.stalled"), "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_is_too_large_leaves_its_type_and_size_in_the_log() {
    static LARGE: std::sync::LazyLock<[&str; 3]> = std::sync::LazyLock::new(|| {
        let url = "A".repeat(300_000);
        let file = format!(r#"{{"type":"file","url":"{url}"}}"#).leak();
        [file, format!(r#"{{"type":"{url}"}}"#).leak(), r#"{"type":"finish"}"#]
    });
    static SCRIPT: std::sync::LazyLock<[Does; 1]> =
        std::sync::LazyLock::new(|| [Does::Sends(&*LARGE)]);
    let (received, ..) = end_of("ai-sdk", &*SCRIPT, "").await;
    for omitted in [r#"{"bytes":300024,"type":"file"}"#, r#"{"bytes":300011}"#] {
        let omitted = format!(r#"ai-sdk/1:{{"data":{omitted},"type":"data-omitted"}}"#);
        assert!(received.contains(&omitted), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_many_words_is_cut_and_fails_the_turn() {
    static SCRIPT: std::sync::LazyLock<[Does; 1]> = std::sync::LazyLock::new(|| {
        let words = "ä".repeat(5_000);
        let head = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n", words.len());
        [Does::Answers((head + &words).leak())]
    });
    let (received, all, requests) = end_of("openai", &*SCRIPT, "").await;
    let reason = all.last().expect("one")["reason"].as_str().expect("text");
    assert!(
        reason.starts_with("the endpoint answered 400: ä") && reason.len() <= 1_024,
        "{received:?}"
    );
    assert_eq!(requests, 1, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_never_ends_fails_the_turn_at_once() {
    static LARGE: std::sync::LazyLock<[&str; 2]> = std::sync::LazyLock::new(|| {
        let text = "A".repeat(9 << 20);
        [format!(r#"{{"type":"text-delta","delta":"{text}"}}"#).leak(), r#"{"type":"finish"}"#]
    });
    static SCRIPT: std::sync::LazyLock<[Does; 1]> =
        std::sync::LazyLock::new(|| [Does::Sends(&*LARGE)]);
    let (received, all, requests) = end_of("ai-sdk", &*SCRIPT, "").await;
    let reason = all.last().expect("one")["reason"].as_str().expect("text");
    assert!(reason.contains("is larger than"), "{received:?}");
    assert_eq!(requests, 1, "{received:?}");
}

/// A request of a session takes less than one answer may bring at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_larger_than_a_request_is_in_the_log_whole() {
    static LARGE: std::sync::LazyLock<[&str; 2]> = std::sync::LazyLock::new(|| {
        let text = "A".repeat(1_500_000);
        [format!(r#"{{"type":"text-delta","delta":"{text}"}}"#).leak(), r#"{"type":"finish"}"#]
    });
    static SCRIPT: std::sync::LazyLock<[Does; 1]> =
        std::sync::LazyLock::new(|| [Does::Sends(&*LARGE)]);
    let (received, ..) = end_of("ai-sdk", &*SCRIPT, "").await;
    let emitted: usize =
        received.iter().filter_map(|received| received.strip_prefix("text:")).map(str::len).sum();
    assert_eq!(emitted, 1_500_000);
}

/// What says no is known with the head of the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_whose_words_never_end_fails_the_turn_at_once() {
    const HALF: &[Does] = &[Does::Holds("HTTP/1.1 400 No\r\ncontent-length: 99\r\n\r\nno such")];
    let (received, all, requests) = end_of("openai", HALF, "").await;
    assert_eq!(all.last().expect("one")["reason"], "the endpoint answered 400: no such");
    assert_eq!(requests, 1, "{received:?}");
}

/// A detail keeps its end where it is too long, and the status stands at its beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_ready_says_so_however_many_words_it_has() {
    static SCRIPT: std::sync::LazyLock<[Does; 1]> = std::sync::LazyLock::new(|| {
        let words = "ä".repeat(5_000);
        let head = format!("HTTP/1.1 503 No\r\ncontent-length: {}\r\n\r\n", words.len());
        [Does::Answers((head + &words).leak())]
    });
    let (received, all, _) = end_of("openai", &*SCRIPT, "").await;
    let lost = all.iter().find(|event| event["type"] == "agent.lost").expect("one");
    let detail = lost["detail"].as_str().expect("text");
    assert!(detail.starts_with("the endpoint answered 503: ä"), "{received:?}");
}

/// The blank line after it never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_event_of_an_answer_counts_if_it_is_whole() {
    const CUT: &[Does] = &[Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"five\"},\"finish_reason\":\"stop\"}]}\n",
    )];
    let (received, _, requests) = end_of("openai", CUT, "").await;
    assert_eq!(requests, 1, "{received:?}");
    assert_eq!(received.last().map(String::as_str), Some("turn.completed"));
}
