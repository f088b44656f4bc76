//! The Durable Streams dialect where its published suite does not look: lives of one name, caching,
//! other origins, sessions of the native API, and appends without an end.

use std::time::Duration;

use bytes::Bytes;
use harness::node::{ALLOWED_ORIGIN, TestNode, start_single, start_single_with};
use reqwest::{Body, Client, Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

type Headers<'h> = &'h [(&'static str, &'h str)];

const TEXT: (&str, &str) = ("content-type", "text/plain");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Asks for a path below `/v1/stream/`.
async fn ask(
    node: &TestNode,
    method: Method,
    path: &str,
    headers: Headers<'_>,
    body: &str,
) -> Response {
    let url = format!("{}/v1/stream/{path}", node.url);
    let mut request = Client::new().request(method, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn put(node: &TestNode, path: &str, headers: Headers<'_>, body: &str) -> Response {
    ask(node, Method::PUT, path, headers, body).await
}

async fn get(node: &TestNode, path: &str, headers: Headers<'_>) -> Response {
    ask(node, Method::GET, path, headers, "").await
}

fn of<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn code(response: Response) -> String {
    let body: Value = response.json().await.unwrap();
    body["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_offset_of_an_earlier_life_is_gone_and_never_reads_the_next() {
    let node = start_single().await;
    let old = put(&node, "a/b", &[TEXT], "one").await;
    let old = of(&old, "stream-next-offset").to_owned();
    assert_eq!(ask(&node, Method::DELETE, "a/b", &[], "").await.status(), 204);
    assert_eq!(get(&node, "a/b", &[]).await.status(), 404);
    assert_eq!(put(&node, "a/b", &[TEXT], "two").await.status(), 201);
    for live in ["", "&live=long-poll", "&live=sse"] {
        let path = format!("a/b?offset={old}{live}");
        let answer = get(&node, &path, &[]).await;
        assert_eq!(answer.status(), 410, "{live}");
        assert_eq!(code(answer).await, "cursor_gone");
    }
    let again = get(&node, "a%2Fb?offset=-1", &[]).await;
    assert!(old.as_str() < of(&again, "stream-next-offset"));
    assert_eq!(again.text().await.unwrap(), "two");
    let fork = [("stream-forked-from", "/v1/stream/a/b"), ("stream-fork-offset", old.as_str())];
    assert_eq!(code(put(&node, "c", &fork, "").await).await, "fork_offset_out_of_range");
    let beyond = format!("a/b?offset={}", "0000000000000002_0000000000000009");
    assert_eq!(code(get(&node, &beyond, &[]).await).await, "cursor_out_of_range");
}

#[tokio::test]
async fn a_chunk_keeps_its_tag_until_it_grows_or_closes() {
    let node = start_single().await;
    put(&node, "s", &[TEXT], "one").await;
    let first = get(&node, "s", &[]).await;
    let tag = of(&first, "etag").to_owned();
    assert!(of(&first, "cache-control").contains("max-age=60"));
    let weak = format!("\"x\", W/{tag}");
    for given in [tag.as_str(), weak.as_str(), "*"] {
        let known = get(&node, "s?offset=-1", &[("if-none-match", given)]).await;
        assert_eq!((known.status().as_u16(), of(&known, "etag")), (304, tag.as_str()), "{given}");
    }
    let closed = ask(&node, Method::POST, "s", &[("stream-closed", "True")], "").await;
    assert_eq!((closed.status().as_u16(), of(&closed, "stream-closed")), (204, "true"));
    let changed = get(&node, "s", &[("if-none-match", &tag)]).await;
    assert_eq!((changed.status().as_u16(), of(&changed, "stream-closed")), (200, "true"));
    assert_ne!(of(&changed, "etag"), tag);
    let tail = get(&node, "s?offset=now", &[("if-none-match", "*")]).await;
    assert_eq!((tail.status().as_u16(), of(&tail, "etag")), (200, ""));
    assert_eq!(of(&tail, "cache-control"), "no-store");
}

#[tokio::test]
async fn other_origins_read_the_headers_of_errors_too() {
    let node = start_single().await;
    put(&node, "s", &[TEXT, ("stream-closed", "true")], "x").await;
    let page = ("origin", ALLOWED_ORIGIN);
    let answer = ask(&node, Method::POST, "s", &[TEXT, page], "y").await;
    assert_eq!(answer.status(), 409);
    assert_eq!(of(&answer, "stream-closed"), "true");
    assert_eq!(of(&answer, "stream-next-offset"), "0000000000000001_0000000000000001");
    let missing = get(&node, "none", &[page]).await;
    for answer in [&answer, &missing] {
        assert_eq!(of(answer, "access-control-allow-origin"), ALLOWED_ORIGIN);
        assert_eq!(of(answer, "x-content-type-options"), "nosniff");
        assert_eq!(of(answer, "cross-origin-resource-policy"), "cross-origin");
        let exposed = of(answer, "access-control-expose-headers");
        for name in [
            "stream-next-offset",
            "stream-cursor",
            "stream-up-to-date",
            "stream-closed",
            "stream-ttl",
            "stream-expires-at",
            "stream-sse-data-encoding",
            "producer-epoch",
            "producer-seq",
            "producer-expected-seq",
            "producer-received-seq",
            "etag",
            "location",
        ] {
            assert!(exposed.contains(name), "{name} is not exposed");
        }
    }
    let preflight = ask(&node, Method::OPTIONS, "s", &[page], "").await;
    let allowed = of(&preflight, "access-control-allow-headers");
    for name in ["if-none-match", "stream-seq", "stream-closed", "producer-id", "stream-append"] {
        assert!(allowed.contains(name), "{name} is not allowed");
    }
}

#[tokio::test]
async fn a_native_session_is_shown_as_a_list_of_messages() {
    let node = start_single().await;
    let url = format!("{}/v1/sessions/n", node.url);
    Client::new().put(&url).send().await.unwrap();
    let events =
        json!({ "events": [{ "data": { "a": 1 } }, { "text": "x" }, { "base64": "/w==" }] });
    Client::new().post(format!("{url}/events")).json(&events).send().await.unwrap();
    let shown = get(&node, "n", &[]).await;
    assert_eq!(of(&shown, "content-type"), "application/json");
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown, json!([{ "a": 1 }, "x", { "base64": "/w==" }]));
}

#[tokio::test]
async fn a_long_log_is_read_in_chunks_that_say_so() {
    let node = start_single().await;
    put(&node, "s", &[TEXT], "").await;
    let piece = "x".repeat(700 << 10);
    for _ in 0..3 {
        assert_eq!(ask(&node, Method::POST, "s", &[TEXT], &piece).await.status(), 204);
    }
    let (mut offset, mut chunks) = ("-1".to_owned(), Vec::new());
    loop {
        let chunk = get(&node, &format!("s?offset={offset}"), &[]).await;
        offset = of(&chunk, "stream-next-offset").to_owned();
        let is_last = of(&chunk, "stream-up-to-date") == "true";
        chunks.push(chunk.text().await.unwrap().len());
        if is_last {
            break;
        }
    }
    assert!(1 < chunks.len(), "{chunks:?}");
    assert_eq!(chunks.iter().sum::<usize>(), 3 * piece.len());
    let huge = "x".repeat(outlive::limits::APPEND_BYTES + 1);
    assert_eq!(code(ask(&node, Method::POST, "s", &[TEXT], &huge).await).await, "append_too_large");
}

/// A streaming append under way.
struct Stream {
    lines: Option<mpsc::Sender<Bytes>>,
    answer: Response,
    received: Vec<u8>,
}

async fn stream(node: &TestNode, path: &str, seq: &str, more: Headers<'_>) -> Stream {
    let (lines, mut given) = mpsc::channel::<Bytes>(16);
    let body = futures::stream::poll_fn(move |context| {
        given.poll_recv(context).map(|line| line.map(Ok::<_, std::io::Error>))
    });
    let mut request = Client::new()
        .post(format!("{}/v1/stream/{path}", node.url))
        .header("content-type", "application/x-ndjson")
        .header("stream-append", "streaming")
        .header("producer-id", "p")
        .header("producer-epoch", "0")
        .header("producer-seq", seq)
        .body(Body::wrap_stream(body));
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    Stream { lines: Some(lines), answer, received: Vec::new() }
}

impl Stream {
    async fn emit(&self, text: &'static str) {
        self.lines.as_ref().unwrap().send(Bytes::from(text)).await.unwrap();
    }

    /// The next line of the answer.
    async fn hear(&mut self) -> Value {
        loop {
            if let Some(at) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.received.drain(..=at).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let chunk = timeout(Duration::from_secs(10), self.answer.chunk()).await;
            self.received.extend(chunk.unwrap().unwrap().expect("the answer ended too early"));
        }
    }

    /// Hears until this seq is acknowledged.
    async fn until(&mut self, seq: u64) -> Value {
        loop {
            let line = self.hear().await;
            if line["seq"] == seq {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn a_streaming_append_is_acknowledged_as_it_goes_and_resumed_without_doubles() {
    let node = start_single().await;
    put(&node, "s", &[JSON], "").await;
    let mut first = stream(&node, "s", "0", &[]).await;
    assert_eq!(first.answer.status(), 200);
    assert_eq!(of(&first.answer, "content-type"), "application/x-ndjson");
    first.emit("{\"a\":1}\n[2").await;
    let line = first.until(0).await;
    assert_eq!(line["offset"], "0000000000000001_0000000000000001");
    first.emit(",3]\n\n\"x\"\n").await;
    first.until(2).await;
    // The connection breaks, and the writer heard nothing of the last line.
    drop(first);

    let mut second = stream(&node, "s", "2", &[("stream-closed", "true")]).await;
    second.emit("\"x\"\n4").await;
    second.lines = None;
    let line = second.until(4).await;
    assert_eq!((&line["end"], &line["closed"]), (&json!(true), &json!(true)));
    assert_eq!(line["offset"], "0000000000000001_0000000000000004");
    assert_eq!(second.answer.chunk().await.unwrap(), None);
    let all: Value = get(&node, "s", &[]).await.json().await.unwrap();
    assert_eq!(all, json!([{ "a": 1 }, [2, 3], "x", 4]));

    // What is known is acknowledged after the end too; what is not is refused by its own seq.
    let mut third = stream(&node, "s", "1", &[]).await;
    third.emit("[2,3]\n\"x\"\n4\n5\n6\n").await;
    assert_eq!(third.until(4).await["offset"], "0000000000000001_0000000000000004");
    assert_eq!(third.until(5).await["error"]["code"], "closed");
}

#[tokio::test]
async fn a_streaming_append_ends_at_the_first_line_that_is_refused() {
    let node = start_single().await;
    put(&node, "s", &[JSON], "").await;
    put(&node, "t", &[TEXT], "").await;
    assert_eq!(code(stream(&node, "t", "0", &[]).await.answer).await, "other_content_type");
    assert_eq!(code(stream(&node, "none", "0", &[]).await.answer).await, "not_found");
    let mut gap = stream(&node, "s", "5", &[]).await;
    gap.emit("1\n2\n").await;
    let line = gap.until(5).await;
    assert_eq!(
        (&line["error"]["code"], &line["error"]["expected"]),
        (&json!("sequence_gap"), &json!(0))
    );
    let mut broken = stream(&node, "s", "0", &[]).await;
    broken.emit("1\n{\n2\n").await;
    let line = broken.until(1).await;
    assert_eq!(line["error"]["code"], "bad_json");
    let all: Value = get(&node, "s", &[]).await.json().await.unwrap();
    assert_eq!(all, json!([1]));
    let bare = ask(&node, Method::POST, "s", &[JSON, ("stream-append", "streaming")], "1").await;
    assert_eq!(bare.status(), 415);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_is_where_its_client_reaches_it() {
    let node = start_single_with(|config| {
        let given = outlive::config::Given {
            public_url: Some("https://chat.example:8443".into()),
            ..Default::default()
        };
        let given = outlive::config::ServeConfig::load(given, None, std::iter::empty());
        config.public = given.expect("it is possible").public;
    })
    .await;
    let open = start_single().await;
    for (node, name, expected) in [
        (&node, "a", "https://chat.example:8443/v1/stream/a".to_owned()),
        // A proxy on this machine is believed.
        (&open, "b", "https://front.example/v1/stream/b".to_owned()),
    ] {
        let request = reqwest::Client::new()
            .put(format!("{}/v1/stream/{name}", node.url))
            .header("forwarded", "host=evil.example, host=front.example;proto=https")
            .header("content-type", "text/plain");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["location"], expected);
    }
}
