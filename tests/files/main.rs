//! Files over HTTP: uploads that are resumed, ranges, references, restarts; and three real processes of which one is
//! killed in the middle.

mod killed;

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use harness::cluster::{binary, client};
use harness::load::eventually;
use harness::node::{TestNode, start_single, start_single_with};
use reqwest::{Method, Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// Bytes that differ everywhere.
fn content(size: usize) -> Vec<u8> {
    (0..size as u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(size)
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn announced(bytes: &[u8]) -> Value {
    json!({ "size": bytes.len(), "sha256": sha256(bytes), "media_type": "image/png", "name": "a b.png" })
}

fn offset(answer: &Response) -> Option<u64> {
    answer.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

async fn code(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("a problem");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// A session of one node.
struct Door {
    url: String,
}

impl Door {
    async fn new(node: &TestNode) -> Door {
        let url = format!("{}/v1/sessions/a", node.url);
        let created = client().put(&url).send().await.expect("an answer");
        assert!(created.status().is_success());
        Door { url }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response {
        let mut request = client().request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    async fn begin(&self, body: &Value) -> Response {
        client().post(format!("{}/files", self.url)).json(body).send().await.expect("an answer")
    }

    async fn begun(&self, bytes: &[u8]) -> String {
        let answer = self.begin(&announced(bytes)).await;
        assert_eq!((answer.status(), offset(&answer)), (StatusCode::CREATED, Some(0)));
        let place = answer.headers()["location"].to_str().expect("text").to_owned();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(place, format!("files/{}", body["file"].as_str().expect("a name")));
        format!("/{place}")
    }

    async fn patch(&self, file: &str, at: usize, bytes: &[u8]) -> Response {
        let at = at.to_string();
        self.ask(Method::PATCH, file, &[("upload-offset", &at)], Bytes::copy_from_slice(bytes))
            .await
    }

    async fn head(&self, file: &str) -> Response {
        self.ask(Method::HEAD, file, &[], Bytes::new()).await
    }

    async fn get(&self, file: &str, headers: &[(&str, &str)]) -> Response {
        self.ask(Method::GET, file, headers, Bytes::new()).await
    }

    async fn emit(&self, text: &str) {
        let body = json!({ "events": [{ "format": "json", "data": { "url": text } }] });
        let answer = client().post(format!("{}/events", self.url)).json(&body).send().await;
        let answer = answer.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        client().post(format!("{}{path}", self.url)).json(&body).send().await.expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_in_pieces_is_read_in_ranges_and_goes_with_the_last_event() {
    let node = start_single().await;
    let (door, bytes) = (Door::new(&node).await, content(3_000_123));
    let file = door.begun(&bytes).await;
    // Not whole: nobody reads it, and who goes on learns where.
    assert_eq!(offset(&door.patch(&file, 0, &bytes[..1_000_000]).await), Some(1_000_000));
    let head = door.head(&file).await;
    assert_eq!((head.status(), offset(&head)), (StatusCode::NO_CONTENT, Some(1_000_000)));
    assert_eq!(head.headers()["upload-complete"], "?0");
    assert_eq!(code(door.get(&file, &[]).await).await, (409, "file_incomplete".into()));
    assert_eq!(code(door.patch(&file, 1_000_001, b"x").await).await, (409, "file_offset".into()));
    // From wherever it was sent before.
    let last = door.patch(&file, 500_000, &bytes[500_000..]).await;
    assert_eq!((last.status(), offset(&last)), (StatusCode::NO_CONTENT, Some(3_000_123)));
    assert_eq!(last.headers()["upload-complete"], "?1");
    let again = door.patch(&file, 0, &bytes).await;
    assert_eq!((again.status(), offset(&again)), (StatusCode::NO_CONTENT, Some(3_000_123)));
    assert_eq!(
        code(door.patch(&file, 3_000_123, b"x").await).await,
        (413, "file_too_large".into())
    );

    let whole = door.get(&file, &[]).await;
    let headers = whole.headers().clone();
    assert_eq!(headers["content-length"], "3000123");
    assert_eq!(headers["content-type"], "image/png");
    assert_eq!(headers["content-disposition"], "attachment; filename*=UTF-8''a%20b.png");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-security-policy"], "sandbox; default-src 'none'");
    let tag = headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(tag, format!("\"{}\"", sha256(&bytes)));
    assert_eq!(whole.bytes().await.expect("all of it"), bytes);
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=262143-262144", 262_143..262_145),
        ("bytes=999990-2000010", 999_990..2_000_011),
        ("bytes=3000122-", 3_000_122..3_000_123),
        ("bytes=-100", 3_000_023..3_000_123),
    ] {
        let answer = door.get(&file, &[("range", range), ("if-range", &tag)]).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let shown = format!("bytes {}-{}/3000123", part.start, part.end - 1);
        assert_eq!(answer.headers()["content-range"].to_str().ok(), Some(&*shown));
        assert_eq!(answer.bytes().await.expect("the part"), bytes[part], "{range}");
    }
    let beyond = door.get(&file, &[("range", "bytes=3000123-")]).await;
    assert_eq!(beyond.headers()["content-range"], "bytes */3000123");
    assert_eq!(code(beyond).await, (416, "range_beyond".into()));
    let other = door.get(&file, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status(), other.content_length()), (StatusCode::OK, Some(3_000_123)));
    for method in [Method::GET, Method::HEAD] {
        let known = door.ask(method, &file, &[("if-none-match", &tag)], Bytes::new()).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    }

    // A restart, an event that refers to it, and its end.
    let node = node.restart().await;
    let door = Door { url: format!("{}/v1/sessions/a", node.url) };
    assert_eq!(
        sha256(&door.get(&file, &[]).await.bytes().await.expect("all of it")),
        sha256(&bytes)
    );
    door.emit(&format!("/v1/sessions/a{file}")).await;
    door.emit("something else").await;
    let drop = door.ask(Method::DELETE, &file, &[], Bytes::new()).await;
    assert_eq!(code(drop).await, (409, "file_in_use".into()));
    let list: Value = door.get("/files", &[]).await.json().await.expect("JSON");
    assert_eq!(
        (list["files"][0]["first"].as_u64(), list["files"][0]["last"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(list["files"][0]["expires_at"], Value::Null);
    assert!(door.post("/trim", json!({ "before": 2 })).await.status().is_success());
    assert_eq!(code(door.get(&file, &[]).await).await, (404, "no_such_file".into()));
    let list: Value = door.get("/files", &[]).await.json().await.expect("JSON");
    assert_eq!(list, json!({ "files": [] }));
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_comes_in_one_request() {
    let node = start_single().await;
    let (door, bytes) = (Door::new(&node).await, content(600_123));
    let file = "/files/file_0123456789abcdef";
    let digest = STANDARD.encode(digest(&SHA256, &bytes));
    let digest = format!("sha-256=:{digest}:");
    let put = async |headers: &[(&str, &str)], bytes: &[u8]| {
        door.ask(Method::PUT, file, headers, Bytes::copy_from_slice(bytes)).await
    };
    let wrong = [("content-digest", digest.as_str())];
    assert_eq!(code(put(&wrong, b"other").await).await, (422, "hash_mismatch".into()));
    assert_eq!(door.head(file).await.status(), StatusCode::NOT_FOUND);
    let right = [("content-digest", digest.as_str()), ("content-type", "image/png")];
    let made = put(&right, &bytes).await;
    assert_eq!((made.status(), offset(&made)), (StatusCode::CREATED, Some(600_123)));
    assert_eq!(made.headers()["upload-complete"], "?1");
    let shown: Value = made.json().await.expect("JSON");
    assert_eq!((&shown["sha256"], &shown["complete"]), (&json!(sha256(&bytes)), &json!(true)));
    let again = put(&[("content-type", "image/png")], &bytes).await;
    assert_eq!((again.status(), offset(&again)), (StatusCode::OK, Some(600_123)));
    let got = door.get(file, &[]).await;
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(got.bytes().await.expect("all of it"), bytes);
    assert_eq!(code(put(&right, b"other").await).await.0, 422);
    assert_eq!(code(put(&[], b"other").await).await, (409, "file_differs".into()));
    for (headers, bytes, expected) in [
        (&[("content-digest", "sha-256=x")][..], &b"x"[..], (400, "bad_header")),
        (&[("content-type", "image")], b"x", (400, "bad_header")),
        (&[("content-encoding", "gzip")], b"x", (415, "unsupported_encoding")),
        (&[], b"", (400, "bad_file")),
        (&[], &vec![0; (1 << 20) + 1], (413, "body_too_large")),
    ] {
        let other = "/files/file_fedcba9876543210";
        let body = Bytes::copy_from_slice(bytes);
        let answer = door.ask(Method::PUT, other, headers, body).await;
        assert_eq!(code(answer).await, (expected.0, expected.1.into()));
    }
    // What began in pieces is made whole.
    let file = door.begun(&content(300_000)).await;
    door.patch(&file, 0, &content(300_000)[..64_000]).await;
    let body = Bytes::from(content(300_000));
    let whole = door.ask(Method::PUT, &file, &[("content-type", "image/png")], body).await;
    // It was announced under another name for people.
    assert_eq!(code(whole).await, (409, "file_differs".into()));
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_upload_is_said_and_nothing_is_kept() {
    let node = start_single().await;
    let (door, bytes) = (Door::new(&node).await, content(300_000));
    // Other bytes than were announced: void, under the same name too.
    let file = door.begun(&bytes).await;
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    assert_eq!(code(door.patch(&file, 0, &wrong).await).await, (422, "hash_mismatch".into()));
    assert_eq!(code(door.get(&file, &[]).await).await, (404, "no_such_file".into()));
    assert_eq!(door.head(&file).await.status(), StatusCode::NOT_FOUND);
    // The same name again is the same file, or another one.
    let mut named = announced(&bytes);
    named["file"] = json!("file_0123456789abcdef");
    assert_eq!(door.begin(&named).await.status(), StatusCode::CREATED);
    let file = "/files/file_0123456789abcdef";
    assert_eq!(offset(&door.patch(file, 0, &bytes[..262_144]).await), Some(262_144));
    let again = door.begin(&named).await;
    assert_eq!((again.status(), offset(&again)), (StatusCode::OK, Some(262_144)));
    named["size"] = json!(1);
    assert_eq!(code(door.begin(&named).await).await, (409, "file_differs".into()));
    for (at, bytes, expected) in [
        ("-1", &b"x"[..], (400, "bad_header")),
        ("18446744073709551615", b"x", (400, "bad_header")),
        ("9007199254740991", b"x", (409, "file_offset")),
        ("262145", b"x", (409, "file_offset")),
        ("262144", &[0; 40_000], (413, "file_too_large")),
    ] {
        let body = Bytes::copy_from_slice(bytes);
        let answer = door.ask(Method::PATCH, file, &[("upload-offset", at)], body).await;
        assert_eq!(code(answer).await, (expected.0, expected.1.into()), "{at}");
    }
    let none = door.ask(Method::PATCH, file, &[], Bytes::from_static(b"x")).await;
    assert_eq!(code(none).await, (400, "bad_header".into()));
    for (size, expected) in [(0, (400, "bad_file")), (64 << 20 | 1, (413, "file_too_large"))] {
        let body = json!({ "size": size, "sha256": sha256(b"") });
        assert_eq!(code(door.begin(&body).await).await, (expected.0, expected.1.into()));
    }
    assert_eq!(code(door.get("/files/..%2F..%2Fetc", &[]).await).await, (400, "bad_name".into()));
    let other = Door { url: format!("{}/v1/sessions/b", node.url) };
    assert_eq!(code(other.begin(&announced(&bytes)).await).await, (404, "not_found".into()));
    assert_eq!(code(other.get(file, &[]).await).await, (404, "no_such_file".into()));
    // What was there stays, and goes on.
    assert_eq!(offset(&door.patch(file, 262_144, &bytes[262_144..]).await), Some(300_000));
    assert_eq!(door.get(file, &[]).await.bytes().await.expect("all of it"), bytes);
    node.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_refers_to_expires_and_a_fork_reads_what_it_inherits() {
    let node = start_single_with(|config| config.file_keep_ms = 3_000).await;
    let (door, bytes) = (Door::new(&node).await, content(100_000));
    let (kept, later, lost) =
        (door.begun(&bytes).await, door.begun(&bytes).await, door.begun(&bytes).await);
    for file in [&kept, &later] {
        assert_eq!(offset(&door.patch(file, 0, &bytes).await), Some(100_000));
    }
    door.emit(&kept).await;
    let forked = door.post("/fork", json!({ "session": "f" })).await;
    assert_eq!(forked.status(), StatusCode::CREATED);
    door.emit(&later).await;
    let fork = Door { url: format!("{}/v1/sessions/f", node.url) };
    assert_eq!(fork.get(&kept, &[]).await.bytes().await.expect("all of it"), bytes);
    assert_eq!(code(fork.get(&later, &[]).await).await, (404, "no_such_file".into()));
    assert_eq!(code(fork.patch(&kept, 0, b"x").await).await, (404, "no_such_file".into()));
    eventually("it expires", async || door.head(&lost).await.status() == StatusCode::NOT_FOUND)
        .await;
    // The source is deleted; its files live as long as the fork that needs them.
    let gone = door.ask(Method::DELETE, "", &[], Bytes::new()).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(door.head(&kept).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(fork.get(&kept, &[]).await.bytes().await.expect("all of it"), bytes);
    node.node.stop().await;
}

/// Runs `outlive session` with a directory for files.
fn session(url: &str, arguments: &[&str], dir: &Path, stdin: Stdio) -> Vec<u8> {
    let mut command = Command::new(binary());
    command.arg("session").args(arguments).arg("--files").arg(dir).args(["--url", url]);
    let done = command.stdin(stdin).output().expect("the binary starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_along_with_a_session_that_moves_and_a_fork_takes_those_of_its_source() {
    let (here, there) = (start_single().await, start_single().await);
    let (door, dir) = (Door::new(&here).await, tempfile::tempdir().expect("a directory"));
    let all: Vec<_> = (1..20).map(|number| content(100_000 * number)).collect();
    let mut files = Vec::new();
    for bytes in &all {
        let file = door.begun(bytes).await;
        assert_eq!(door.patch(&file, 0, bytes).await.status(), StatusCode::NO_CONTENT);
        door.emit(&file).await;
        files.push(file);
    }
    let coming = door.begun(b"is not whole").await;
    let forked = door.post("/fork", json!({ "session": "f" })).await;
    assert_eq!(forked.status(), StatusCode::CREATED, "{}", forked.text().await.expect("text"));
    for name in ["a", "f"] {
        let dir = dir.path().join(name);
        let lines = dir.with_extension("ndjson");
        let exported = session(&here.url, &["export", name], &dir, Stdio::null());
        std::fs::write(&lines, exported).expect("written");
        // The same again brings what is missing alone.
        for _ in 0..2 {
            let lines = std::fs::File::open(&lines).expect("lines");
            session(&there.url, &["import", name], &dir, lines.into());
        }
        let door = Door { url: format!("{}/v1/sessions/{name}", there.url) };
        for (file, bytes) in files.iter().zip(&all) {
            assert_eq!(door.get(file, &[]).await.bytes().await.expect("all of it"), bytes);
            let drop = door.ask(Method::DELETE, file, &[], Bytes::new()).await;
            assert_eq!(code(drop).await, (409, "file_in_use".into()));
        }
        assert_eq!(door.head(&coming).await.status(), StatusCode::NOT_FOUND);
    }
}
