//! Clients that nobody knows: slow ones, silent ones, and web pages that should not be here.

use std::time::Duration;

use harness::load::eventually;
use harness::node::{ALLOWED_ORIGIN, TestNode, start_single};
use harness::socket::{append, create, post};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const EVIL: &str = "https://evil.example";

fn ask(node: &TestNode, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, format!("{}{path}", node.url))
}

async fn connect(node: &TestNode) -> TcpStream {
    let address = node.url.strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Reads until `mark` was there or the connection ended.
async fn read_to(stream: &mut TcpStream, mark: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(mark) {
        let more = timeout(Duration::from_secs(60), stream.read_buf(&mut got)).await;
        if more.expect("the node says something").unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// What is gotten as it stands, up to a mark.
async fn get(node: &TestNode, path: &str, headers: &str, mark: &str) -> String {
    let mut stream = connect(node).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to(&mut stream, mark).await
}

async fn metric(node: &TestNode, name: &str) -> u64 {
    let text = ask(node, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("there is such a metric").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_and_lines_never_keep_an_interrupt_out() {
    const SLOW: usize = 160;
    let node = start_single().await;
    create(&node, "s").await;
    let stream = ask(&node, Method::PUT, "/v1/stream/t").header("content-type", "application/json");
    assert_eq!(stream.send().await.unwrap().status(), StatusCode::CREATED);
    let slow = |head: String| {
        let node = &node;
        async move {
            let mut stream = connect(node).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        }
    };
    let json = "content-type: application/json\r\n";
    let producer = "producer-id: p\r\nproducer-epoch: 0\r\nproducer-seq: 0\r\n";
    let mut held = Vec::new();
    for _ in 0..SLOW {
        held.push(slow("POST /v1/sessions/s/events HTT".to_owned()).await);
        held.push(
            slow(format!(
                "POST /v1/sessions/s/events HTTP/1.1\r\nhost: h\r\n{json}content-length: {}\r\n\r\nx",
                2 << 20
            ))
            .await,
        );
        held.push(
            slow(format!(
                "POST /v1/sessions/s/inputs HTTP/1.1\r\nhost: h\r\n{json}\
                 transfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
            ))
            .await,
        );
        held.push(
            slow(format!(
                "POST /v1/stream/t HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-ndjson\r\n\
                 stream-append: streaming\r\n{producer}transfer-encoding: chunked\r\n\r\n1\r\n[\r\n"
            ))
            .await,
        );
    }
    eventually("all bodies have begun", async || {
        2 * SLOW as u64 <= metric(&node, "outlive_transit_bytes").await / 1024
    })
    .await;
    let cancel = post(&node, "/v1/sessions/s/cancel", &json!({ "all": true })).await;
    assert_eq!(cancel.0, 200, "{}", cancel.1);
    let claim = post(&node, "/v1/agents/a/claim", &json!({ "worker": "w", "wait_ms": 0 })).await;
    assert!(claim.0 < 300, "{}", claim.1);
    let input = json!({ "id": "i", "agent": "a", "content": { "text": "x" } });
    let input = post(&node, "/v1/sessions/s/inputs", &input).await;
    assert!(input.0 < 300, "{}", input.1);
    append(&node, "s", &["x".repeat(100_000)]).await;
    let bytes = metric(&node, "outlive_transit_bytes").await;
    assert!(bytes <= 4 * 1024 * SLOW as u64, "{bytes} bytes are held for as many as came");
    drop(held);
}

/// Opens a WebSocket, and sends a frame's head that announces so many bytes.
async fn announce(node: &TestNode, path: &str, bytes: u64) -> TcpStream {
    let mut stream = connect(node).await;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let mut frame = vec![0x81, 0xff];
    frame.extend(bytes.to_be_bytes());
    frame.extend([0; 4]);
    stream.write_all(&frame).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_on_a_websocket_may_say_little_and_holds_nothing_by_announcing_much() {
    let node = start_single().await;
    let mut large = announce(&node, "/v1/agents/ws", 16 * 1024 + 1).await;
    assert!(read_to(&mut large, "the frame is too large").await.contains("frame_too_large"));
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(announce(&node, "/v1/agents/ws", 16 * 1024).await);
        held.push(announce(&node, "/v1/ws", 256 * 1024).await);
    }
    assert_eq!(metric(&node, "outlive_transit_bytes").await, 0);
    for stream in &mut held {
        stream.write_all(&[b'x'; 10_000]).await.unwrap();
    }
    eventually("what came holds room", async || {
        50 * 8 * 1024 <= metric(&node, "outlive_transit_bytes").await
    })
    .await;
    assert!(metric(&node, "outlive_transit_bytes").await <= 100 * 16 * 1024);
    drop(held);
    eventually("who left holds none", async || metric(&node, "outlive_transit_bytes").await == 0)
        .await;
}

#[tokio::test]
async fn a_web_page_changes_nothing_here_unless_it_is_allowed() {
    let node = start_single().await;
    create(&node, "s").await;
    let events = "/v1/sessions/s/events";
    // A page needs no leave to send any of these; the first three are sent without asking first.
    for (method, path, kind) in [
        (Method::POST, events, "text/plain"),
        (Method::POST, "/v1/sessions/s/cancel", "text/plain"),
        (Method::GET, "/v1/sessions/s", ""),
        (Method::PUT, "/v1/sessions/t", "application/json"),
        (Method::DELETE, "/v1/sessions/s", ""),
        (Method::POST, "/v1/stream/s", "text/plain"),
    ] {
        for (name, value, code) in [
            ("origin", EVIL, "origin_not_allowed"),
            ("origin", "null", "origin_not_allowed"),
            ("origin", "http://localhost:1", "origin_not_allowed"),
            ("host", "evil.example:4437", "host_not_allowed"),
        ] {
            let requested = ask(&node, method.clone(), path).header("content-type", kind);
            let answer = requested.header(name, value).body("{}").send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path} {value}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"));
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
        }
    }
    // The browser of a page that asks first hears of no leave, and sends nothing more.
    let requested = ask(&node, Method::OPTIONS, events).header("origin", EVIL);
    let answer = requested.header("access-control-request-method", "PUT").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    let session = ask(&node, Method::GET, "/v1/sessions/s").send().await.unwrap();
    assert_eq!(session.json::<Value>().await.unwrap()["tail"], 0);
    let other = ask(&node, Method::GET, "/v1/sessions/t").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for path in ["/v1/ws", "/v1/agents/ws"] {
        let headers = format!("{upgrade}origin: {EVIL}\r\n");
        let answer = get(&node, path, &headers, "\"}").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }

    let port = node.node.address.port();
    for origin in [ALLOWED_ORIGIN.to_owned(), node.url.clone(), format!("http://localhost:{port}")]
    {
        let requested = ask(&node, Method::POST, events).header("origin", &origin);
        let answer = requested.header("content-type", "text/plain").body("x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{origin}");
        assert_eq!(answer.headers()["access-control-allow-origin"], origin);
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["origin, authorization, cookie"]);
        let headers = format!("{upgrade}origin: {origin}\r\n");
        let answer = get(&node, "/v1/ws", &headers, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    // Programs name no origin.
    let answer = ask(&node, Method::DELETE, "/v1/sessions/s").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_preflight_allows_the_headers_that_it_asks_for() {
    let node = start_single().await;
    let wanted = "content-type,traceparent,baggage,x-request-id";
    let requested = ask(&node, Method::OPTIONS, "/v1/sessions/s/inputs")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", wanted);
    let answer = requested.header("origin", ALLOWED_ORIGIN).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-headers"], wanted);
    assert_eq!(headers["access-control-allow-origin"], ALLOWED_ORIGIN);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    let vary: Vec<_> = headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["access-control-request-headers", "origin, authorization, cookie"]);
}

/// Serials and names of frames that a live read gives until `mark`.
async fn followed(node: &TestNode, query: &str, headers: &str, mark: &str) -> (u16, Vec<String>) {
    let path = format!("/v1/sessions/s/events?live=sse{query}");
    let text = get(node, &path, headers, mark).await;
    let status = text.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("event: ") {
            frames.push(name.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ")
            && let Ok(event) = serde_json::from_str::<Value>(data)
            && let Some(serial) = event["serial"].as_u64()
        {
            frames.push(serial.to_string());
        }
    }
    (status, frames)
}

#[tokio::test]
async fn a_polyfill_says_in_the_query_where_it_was() {
    let node = start_single().await;
    create(&node, "s").await;
    append(&node, "s", &["a".into(), "b".into(), "c".into()]).await;
    let at = "&lastEventId=0000000001_00000000000000000002";
    for query in [at.to_owned(), format!("{at}&after=start"), format!("&snapshot=1{at}")] {
        let (status, frames) = followed(&node, &query, "", "event: caught-up").await;
        assert_eq!(
            (status, frames),
            (200, ["attached", "3", "caught-up"].map(String::from).to_vec())
        );
    }
    // A browser's own header is newer than the address.
    let seen = "last-event-id: 0000000001_00000000000000000003\r\n";
    let (_, frames) = followed(&node, at, seen, "event: caught-up").await;
    assert_eq!(frames, ["attached", "caught-up"]);
}

#[tokio::test]
async fn a_reader_that_comes_back_from_nowhere_is_told_and_gets_the_whole_log() {
    let node = start_single().await;
    create(&node, "s").await;
    append(&node, "s", &["a".into(), "b".into()]).await;
    let whole = ["attached", "reset", "1", "2", "caught-up"];
    for place in [
        "-1",
        "0",
        "garbage",
        "0000000001_00000000000000000003",
        "0000000002_00000000000000000001",
        "0000000002_00000000000000000001_end",
        "18446744073709551616",
    ] {
        for (query, headers) in [
            (String::new(), format!("last-event-id: {place}\r\n")),
            (format!("&lastEventId={place}"), String::new()),
            (format!("&after={place}"), String::new()),
        ] {
            let (status, frames) = followed(&node, &query, &headers, "event: caught-up").await;
            assert_eq!(
                (status, frames.iter().map(String::as_str).collect::<Vec<_>>()),
                (200, whole.to_vec()),
                "{place}"
            );
        }
    }
    // Who asks once hears what is wrong.
    let page = ask(&node, Method::GET, "/v1/sessions/s/events?after=garbage").send().await;
    assert_eq!(page.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn line_ends_that_only_some_readers_know_are_escaped_and_no_block_lacks_data() {
    let node = start_single().await;
    create(&node, "s").await;
    let body = "{\"events\":[{\"data\":{\"t\":\"a\u{2028}b\"}},{\"data\":{\"t\":\"c\u{85}d\"}}]}";
    let requested = ask(&node, Method::POST, "/v1/sessions/s/events");
    let requested = requested.header("content-type", "application/json").body(body);
    assert_eq!(requested.send().await.unwrap().status(), StatusCode::OK);
    let text =
        get(&node, "/v1/sessions/s/events?live=sse", "connection: close\r\n", "caught-up").await;
    assert!(!text.contains(['\u{85}', '\u{2028}', '\u{2029}']), "{text}");
    assert!(text.contains("{\"t\":\"a\\u2028b\"}") && text.contains("{\"t\":\"c\\u0085d\"}"));
    let blocks = text[text.find("retry:").unwrap()..].split("\n\n");
    for block in blocks.filter(|block| block.contains("retry:") || block.contains("id:")) {
        assert!(block.contains("\ndata: "), "{block:?}");
    }
}

#[tokio::test]
async fn a_session_is_created_before_it_is_followed() {
    let node = start_single().await;
    let (status, _) = followed(&node, "", "", "not_found").await;
    assert_eq!(status, 404);
}
