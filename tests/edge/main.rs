//! The edge over real sockets: one node, real clients, and clients that misbehave.

mod described;

use std::time::Duration;

use harness::node::{ALLOWED_ORIGIN, TestNode, start_single};
use outlive::client::{Body, Client, ClientError, From, Item};
use outlive::ids::Cursor;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks with a JSON body, if it is not null, and returns status, headers and JSON.
async fn ask(node: &TestNode, method: Method, path: &str, body: Value) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", node.url));
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

fn client(node: &TestNode) -> Client {
    Client::new(std::slice::from_ref(&node.url)).unwrap()
}

async fn follow(node: &TestNode, path: &str) -> Response {
    let url = format!("{}{path}", node.url);
    reqwest::Client::new().get(url).send().await.unwrap()
}

/// Sends bytes as they are and returns what comes back until the connection closes or falls silent.
async fn raw(node: &TestNode, request: &[u8]) -> String {
    let address = node.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A node that has heard enough may close before everything is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_asks_for_no_session_that_a_url_cannot_name() {
    // Nobody listens there: what is refused never leaves.
    let client = Client::new(&["http://127.0.0.1:9".to_owned()]).unwrap();
    for name in ["", "..", "a\nb"] {
        assert!(matches!(client.create(name).await, Err(ClientError::BadName(_))));
        let mut appender = client.appender(name);
        assert!(matches!(appender.append(&[], true).await, Err(ClientError::BadName(_))));
        let mut tail = client.tail(name, From::Start);
        assert!(matches!(tail.next().await, Err(ClientError::BadName(_))));
    }
}

#[tokio::test]
async fn a_session_is_created_once_and_looked_at() {
    let node = start_single().await;
    let config = json!({ "labels": { "a": "b" }, "ttl_ms": 60_000 });
    let put = |body: Value| ask(&node, Method::PUT, "/v1/sessions/a%2Fb", body);
    let (status, body) = put(config.clone()).await;
    assert_eq!((status, &body["created"]), (201, &json!(true)));
    assert_eq!(put(config).await.0, 200);
    let (status, body) = put(json!({})).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("config_differs")));
    assert_eq!(put(json!({ "ttl_ms": 0 })).await.1["code"], "bad_config");
    assert_eq!(put(json!({ "ttl": 1 })).await.1["code"], "bad_json");

    let (status, body) = ask(&node, Method::GET, "/v1/sessions/a%2Fb", Value::Null).await;
    assert_eq!((status, &body["session"], &body["tail"]), (200, &json!("a/b"), &json!(0)));
    assert_eq!(body["labels"], json!({ "a": "b" }));
    let (_, body) = ask(&node, Method::GET, "/v1/sessions?prefix=a", Value::Null).await;
    assert_eq!(body["sessions"][0]["session"], "a/b");
    let (status, _) =
        ask(&node, Method::DELETE, "/v1/sessions/a%2Fb?incarnation=2", Value::Null).await;
    assert_eq!(status, 409);
    let (status, _) =
        ask(&node, Method::DELETE, "/v1/sessions/a%2Fb?incarnation=1", Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(ask(&node, Method::GET, "/v1/sessions/a%2Fb", Value::Null).await.0, 404);
}

#[tokio::test]
async fn payloads_come_back_byte_for_byte_by_every_kind_of_read() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let payloads: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\n\nevent: end\nid: 9\ndata: x\n\n".to_vec(),
        "a\r\n\u{2028}\u{85}\0".into(),
        b"\xff\xfe\n".to_vec(),
        vec![b'x'; outlive::limits::EVENT_BYTES],
    ];
    let body = |payload: &Vec<u8>| Body { format: "text".into(), payload: payload.clone().into() };
    let bodies: Vec<_> = payloads.iter().map(body).collect();
    let mut appender = client.appender("s");
    let done = appender.append(&bodies, true).await.unwrap();
    assert_eq!((done.first, done.last, done.closed), (Some(1), Some(5), true));

    let mut tail = client.tail("s", From::Start);
    let mut got = Vec::new();
    while let Some(item) = tail.next().await.unwrap() {
        if let Item::Event(event) = item {
            got.push(event.payload.to_vec());
        }
    }
    assert_eq!(got, payloads);
    let (_, page) = ask(&node, Method::GET, "/v1/sessions/s/events", Value::Null).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 5);
    assert_eq!((&page["up_to_date"], &page["closed"]), (&json!(true), &json!(true)));
    let (_, page) = ask(&node, Method::GET, "/v1/sessions/s/events?limit=2", Value::Null).await;
    assert_eq!((&page["events"][1]["serial"], &page["up_to_date"]), (&json!(2), &json!(false)));
    let next = page["next"].as_str().unwrap();
    let path = format!("/v1/sessions/s/events?limit=1&after={next}");
    assert_eq!(ask(&node, Method::GET, &path, Value::Null).await.1["events"][0]["serial"], 3);
}

#[tokio::test]
async fn a_repeated_request_has_the_effect_of_one() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    let url = &format!("{}/v1/sessions/s/events", node.url);
    let post = |seq: &'static str| async move {
        let request = reqwest::Client::new().post(url).header("content-type", "text/plain");
        let request = request.header("producer-id", "p").header("producer-epoch", "0");
        request.header("producer-seq", seq).body("x").send().await.unwrap()
    };
    let first: Value = post("0").await.json().await.unwrap();
    let again: Value = post("0").await.json().await.unwrap();
    assert_eq!((&first["first"], &first["duplicate"]), (&json!(1), &json!(false)));
    assert_eq!((&again["first"], &again["duplicate"]), (&json!(1), &json!(true)));
    let gap = post("5").await;
    assert_eq!(gap.status(), StatusCode::CONFLICT);
    assert_eq!(gap.headers()["producer-expected-seq"], "1");
    assert_eq!(gap.headers()["content-type"], "application/problem+json");
    assert_eq!(post("01").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_live_reader_gets_what_is_there_and_what_comes() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let mut appender = client.appender("s");
    let one = [Body { format: "text".into(), payload: "x".into() }];
    appender.append(&one, false).await.unwrap();
    let mut tail = client.tail("s", From::Start);
    assert!(matches!(tail.next().await.unwrap(), Some(Item::Event(event)) if event.serial == 1));
    assert_eq!(tail.next().await.unwrap(), Some(Item::CaughtUp));
    appender.append(&one, true).await.unwrap();
    assert!(matches!(tail.next().await.unwrap(), Some(Item::Event(event)) if event.serial == 2));
    let cursor = tail.cursor().unwrap();
    assert_eq!(tail.next().await.unwrap(), Some(Item::End));
    assert_eq!(tail.next().await.unwrap(), None);

    let mut again = client.tail("s", From::After(cursor));
    while let Some(item) = again.next().await.unwrap() {
        assert!(matches!(item, Item::CaughtUp | Item::End), "{item:?} came after the last event");
    }
    // A browser that has seen the end is sent home; one that has not is told of it again.
    let url = &format!("{}/v1/sessions/s/events?live=sse&after=start", node.url);
    let back = |id: String| async move {
        reqwest::Client::new().get(url).header("last-event-id", id).send().await.unwrap()
    };
    assert_eq!(back(format!("{cursor}_end")).await.status(), StatusCode::NO_CONTENT);
    assert!(back(cursor.to_string()).await.text().await.unwrap().contains("event: end"));
}

#[tokio::test]
async fn a_stream_begins_at_once_and_tells_proxies_to_keep_out() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    let url = format!("{}/v1/sessions/s/events?live=sse", node.url);
    let requested = reqwest::Client::new().get(url).header("origin", ALLOWED_ORIGIN);
    let mut response = requested.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store, no-transform");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers()["access-control-allow-origin"], ALLOWED_ORIGIN);
    let first = timeout(Duration::from_secs(5), response.chunk()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with(b"retry: ") && 2048 < first.len());
}

#[tokio::test]
async fn a_reader_may_wait_for_a_session_and_misses_nothing_of_it() {
    let node = start_single().await;
    let url = |query: &str| format!("{}/v1/sessions/s/events?live=sse{query}", node.url);
    assert_eq!(reqwest::get(url("")).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(reqwest::get(url("&wait=2")).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(reqwest::get(url("&wait=1")));
    waiting.spawn(reqwest::get(url("&wait=1&after=now")));
    let client = client(&node);
    client.create("s").await.unwrap();
    let hello = [Body { format: "text".into(), payload: "hello".into() }];
    client.appender("s").append(&hello, true).await.unwrap();
    while let Some(answer) = waiting.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.unwrap().contains("hello"));
    }
}

#[tokio::test]
async fn a_deleted_session_is_gone_for_its_readers() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let mut tail = client.tail("s", From::Now);
    assert_eq!(tail.next().await.unwrap(), Some(Item::CaughtUp));
    client.delete("s").await.unwrap();
    assert_eq!(tail.next().await.unwrap(), Some(Item::Deleted));
    let mut none = client.tail("s", From::Start);
    assert!(matches!(none.next().await, Err(ClientError::Refused(why)) if why.status == 404));
}

#[tokio::test]
async fn a_long_poll_waits_for_the_next_event_and_no_longer() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let poll = "/v1/sessions/s/events?after=now&live=long-poll";
    let (status, page) = ask(&node, Method::GET, &format!("{poll}&wait_ms=50"), Value::Null).await;
    assert_eq!((status, page["events"].as_array().unwrap().len()), (200, 0));
    assert_eq!(page["up_to_date"], true);
    let after = page["next"].as_str().unwrap();
    let path = format!("/v1/sessions/s/events?after={after}&live=long-poll");
    let one = [Body { format: "text".into(), payload: "x".into() }];
    let mut appender = client.appender("s");
    let (page, appended) =
        tokio::join!(ask(&node, Method::GET, &path, Value::Null), appender.append(&one, false));
    appended.unwrap();
    assert_eq!(page.1["events"][0]["serial"], 1);
}

#[tokio::test]
async fn bad_requests_get_the_problem_they_have() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let ahead = "0000000001_00000000000000000009";
    assert!(Cursor::parse(ahead).is_ok());
    for (method, path, body, status, code) in [
        (Method::GET, "/nope", Value::Null, 404, "unknown_path"),
        (Method::PATCH, "/v1/sessions/s", Value::Null, 405, "method_not_allowed"),
        (Method::GET, "/v1/sessions/%61", Value::Null, 400, "bad_session_id"),
        (Method::GET, "/v1/sessions/a%00", Value::Null, 400, "bad_session_id"),
        (Method::GET, "/v1/sessions/none", Value::Null, 404, "not_found"),
        (Method::GET, "/v1/sessions?limit=0", Value::Null, 400, "bad_query"),
        (Method::GET, "/v1/sessions/s/events?afer=x", Value::Null, 400, "bad_query"),
        (Method::GET, "/v1/sessions/s/events?after=-1", Value::Null, 400, "bad_cursor"),
        (Method::POST, "/v1/sessions/s/events", json!({}), 400, "no_events"),
        (
            Method::POST,
            "/v1/sessions/none/events",
            json!({"events":[{"text":""}]}),
            404,
            "not_found",
        ),
        (
            Method::POST,
            "/v1/sessions/s/events",
            json!({"events":[{"text":""}],"expect_serial":7}),
            409,
            "serial_mismatch",
        ),
        (Method::POST, "/v1/sessions/s/trim", json!({}), 400, "bad_json"),
    ] {
        let (got, problem) = ask(&node, method.clone(), path, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{method} {path}");
        assert_eq!(problem["outcome"], "refused");
    }
    let path = format!("/v1/sessions/s/events?after={ahead}");
    assert_eq!(ask(&node, Method::GET, &path, Value::Null).await.1["code"], "cursor_out_of_range");
    let url = format!("{}/v1/sessions/s/events", node.url);
    let post = || reqwest::Client::new().post(&url);
    let large = vec![b'x'; outlive::limits::EVENT_BYTES + 1];
    let status = |response: reqwest::Result<Response>| response.unwrap().status().as_u16();
    assert_eq!(status(post().body(large).send().await), 413);
    let zipped = post().header("content-encoding", "gzip").body("x");
    assert_eq!(status(zipped.send().await), 415);
}

#[tokio::test]
async fn broken_http_harms_nobody() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    let post = "POST /v1/sessions/s/events HTTP/1.1\r\nhost: h\r\n";
    let both = format!(
        "{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: h\r\n\r\n"
    );
    let answer = raw(&node, both.as_bytes()).await;
    assert!(!answer.contains("HTTP/1.1 200"), "smuggled: {answer}");
    let twice = format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\nxy");
    assert!(raw(&node, twice.as_bytes()).await.starts_with("HTTP/1.1 400"));
    let chunk = format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx");
    assert!(!raw(&node, chunk.as_bytes()).await.contains("200 OK"));
    let many: String = (0..65).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: h\r\n{many}\r\n");
    assert!(raw(&node, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let large = format!("GET /healthz HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    assert!(raw(&node, large.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(raw(&node, b"\0\xff nonsense\r\n\r\n").await.len() < 500);
    assert_eq!(ask(&node, Method::GET, "/healthz", Value::Null).await.0, 200);
    let (_, page) = ask(&node, Method::GET, "/v1/sessions/s/events", Value::Null).await;
    assert_eq!(page["events"], json!([]), "nothing was appended");
}

#[tokio::test]
async fn operators_see_what_the_node_sees() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let mut tail = client.tail("s", From::Now);
    assert_eq!(tail.next().await.unwrap(), Some(Item::CaughtUp));
    assert_eq!(ask(&node, Method::GET, "/readyz", Value::Null).await.1["ready"], true);
    let (_, description) = ask(&node, Method::GET, "/v1/openapi.json", Value::Null).await;
    assert_eq!(description["openapi"], "3.1.0");
    let (_, home) = ask(&node, Method::GET, "/v1/sessions/s/home", Value::Null).await;
    assert!(home["leader"].is_u64());
    assert!(ask(&node, Method::GET, "/v1/cluster", Value::Null).await.1["shards"].is_array());
    let text = follow(&node, "/metrics").await.text().await.unwrap();
    assert!(text.contains("outlive_live_streams 1"), "{text}");
    assert!(text.contains("outlive_requests_total{route=\"session\",code=\"ok\"} 1"), "{text}");
}

/// Reads until `mark` was there or the connection ended.
async fn read_to(stream: &mut TcpStream, mark: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(mark) {
        let more = timeout(Duration::from_secs(5), stream.read_buf(&mut got)).await;
        if more.expect("the node says something").unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn a_live_stream_takes_over_its_connection_behind_other_answers() {
    let node = start_single().await;
    let client = client(&node);
    client.create("s").await.unwrap();
    let address = node.url.strip_prefix("http://").unwrap();
    let follow = "GET /v1/sessions/s/events?live=sse HTTP/1.1\r\nhost: h\r\n\r\n";
    let health = "GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n";
    // All in one write: the stream must not overtake the answers in front of it.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{health}{health}{follow}{health}").as_bytes()).await.unwrap();
    let begun = read_to(&mut stream, "event: caught-up").await;
    assert_eq!(begun.matches("HTTP/1.1 200 OK").count(), 3, "{begun}");
    assert_eq!(begun.matches("transfer-encoding: chunked").count(), 1, "{begun}");
    let mut appender = client.appender("s");
    let one = [Body { format: "text".into(), payload: "x".into() }];
    appender.append(&one, true).await.unwrap();
    let rest = read_to(&mut stream, "\r\n0\r\n\r\n").await;
    assert!(rest.contains("event: end") && rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert_eq!(read_to(&mut stream, "never").await, "", "the connection is over");

    // Without chunks, and without a body, the connection stays as it is.
    let head = "HEAD /v1/sessions/s/events?live=sse HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{health}").as_bytes()).await.unwrap();
    let both = read_to(&mut stream, r#"{"status":"ok"}"#).await;
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    let old = "GET /v1/sessions/s/events?live=sse HTTP/1.0\r\n\r\n";
    let whole = raw(&node, old.as_bytes()).await;
    assert!(whole.contains("event: end") && !whole.contains("chunked"), "{whole}");
}

#[tokio::test]
async fn a_node_that_stops_breaks_its_streams_off() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    let address = node.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let follow = b"GET /v1/sessions/s/events?live=sse HTTP/1.1\r\nhost: h\r\n\r\n";
    stream.write_all(follow).await.unwrap();
    read_to(&mut stream, "event: caught-up").await;
    let TestNode { node, .. } = node;
    timeout(Duration::from_secs(5), node.stop()).await.expect("no reader holds the node back");
    let rest = read_to(&mut stream, "never").await;
    assert!(!rest.contains("0\r\n\r\n"), "a clean end: {rest}");
}

/// Nothing in an example of the protocol's page is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_protocol_are_taken() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: there is no curl; the examples of PROTOCOL.md were not run");
    }
    let node = start_single().await;
    let address = node.url.strip_prefix("http://").unwrap();
    let page = include_str!("../../docs/PROTOCOL.md");
    let examples = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut taken = 0;
    for (number, example) in examples.enumerate() {
        let session = format!("chat-example-{number}");
        client(&node).create(&session).await.unwrap();
        let some = vec![Body { format: "text".into(), payload: "x".into() }; 12];
        client(&node).appender(&session).append(&some, false).await.unwrap();
        let input = json!({ "id": "q-17", "agent": "poet", "content": { "text": "x" } });
        let inputs = format!("/v1/sessions/{session}/inputs");
        assert_eq!(ask(&node, Method::POST, &inputs, input).await.0, 200);
        // What keeps an answer in a file goes on with it, and has no answer to show.
        let keeps = example.contains(" > ");
        // A stream goes on until curl gives up; its status was there before.
        let curl = match keeps {
            true => "curl -fsS ",
            false => "curl -sS -m 2 -o /dev/null -w '%{http_code}\\n' ",
        };
        let example = example
            .replace("localhost:4437", address)
            .replace("chat-1", &session)
            // Nobody works on the turn here, and the answer says so behind the wait.
            .replace("wait_ms=20000", "wait_ms=100")
            .replace("curl ", curl);
        let dir = tempfile::tempdir().unwrap();
        let mut bash = tokio::process::Command::new("bash");
        let how = if keeps { "-ec" } else { "-c" };
        let ran = bash.args([how, &example]).current_dir(dir.path()).output().await.unwrap();
        if keeps {
            assert!(ran.status.success(), "{example}\n{}", String::from_utf8_lossy(&ran.stderr));
            taken += 1;
            continue;
        }
        let codes = String::from_utf8(ran.stdout).unwrap();
        assert!(!codes.is_empty(), "{example}");
        assert!(codes.lines().all(|code| code.starts_with('2')), "{example}\n{codes}");
        taken += codes.lines().count();
    }
    assert!(10 <= taken, "the page has examples: {taken}");
}

/// A client that waits until it is told to go on, as curl does with a body that comes by and by, need not wait long.
#[tokio::test]
async fn who_asks_whether_a_body_may_come_is_answered_at_once() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    let address = node.url.strip_prefix("http://").expect("a url");
    for head in ["POST /v1/sessions/s/turns/t/output?epoch=1", "POST /v1/sessions/s/events"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "{head} HTTP/1.1\r\nhost: {address}\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let begun = timeout(Duration::from_secs(60), read_to(&mut stream, "\r\n")).await;
        assert!(begun.expect("an answer").starts_with("HTTP/1.1 100"), "{head}");
    }
}

/// A line that is not whole when as much has come as may wait is read on: it ends, or is too long.
#[tokio::test]
async fn a_line_as_long_as_what_may_wait_is_answered() {
    let node = start_single().await;
    client(&node).create("s").await.unwrap();
    for more in ["\n", "x", "xx\n"] {
        let pieces = [vec![b'x'; 1 << 20], more.as_bytes().to_vec()];
        let body = reqwest::Body::wrap_stream(futures::stream::iter(
            pieces.map(Ok::<_, std::convert::Infallible>),
        ));
        let url = format!("{}/v1/sessions/s/turns/t/output?epoch=1", node.url);
        let request =
            reqwest::Client::new().post(url).header("content-type", "application/x-ndjson");
        let answer = request.body(body).timeout(Duration::from_secs(60)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.contains("bad_json") || text.contains("body_too_large"), "{more:?}: {text}");
    }
}
