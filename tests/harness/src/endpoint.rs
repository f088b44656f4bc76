//! An HTTP endpoint that is an agent: what it answers is a script.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cluster::{Cluster, client};
use super::load::eventually;

/// What an endpoint does with one request.
#[derive(Clone, Copy)]
pub enum Does {
    /// Streams these events and ends.
    Sends(&'static [&'static str]),
    /// Streams these events and keeps the connection.
    Hangs(&'static [&'static str]),
    /// Streams these events and breaks the connection off.
    Breaks(&'static [&'static str]),
    /// Refuses, with this status.
    Refuses(u16),
    /// Sends these bytes and closes the connection.
    Answers(&'static str),
    /// Sends these bytes and keeps the connection.
    Holds(&'static str),
    /// Sends a comment so many times, four in a second, and then these events.
    Breathes(usize, &'static [&'static str]),
}

/// Requests: the lines of the head of each, and its body.
pub type Raw = Mutex<Vec<(String, Vec<u8>)>>;

/// An endpoint that follows a script, one step for each request; the last one again and again.
pub struct Endpoint {
    pub url: String,
    /// The bodies that it was sent.
    pub calls: Arc<Mutex<Vec<Value>>>,
    /// The same as bytes, each behind the lines of its head.
    pub raw: Arc<Raw>,
    /// Connections that the other side closed.
    pub closed: Arc<Mutex<usize>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Endpoint {
    pub async fn serve(script: &'static [Does]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/agent", listener.local_addr().expect("an address"));
        let (calls, closed) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<usize>>::default());
        let (asks, ends) = (calls.clone(), closed.clone());
        let raw = Arc::<Raw>::default();
        let raws = raw.clone();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (asks, ends, raws) = (asks.clone(), ends.clone(), raws.clone());
                calls.spawn(async move { answer(stream, script, (&asks, &raws), &ends).await });
            }
        });
        Endpoint { url, calls, raw, closed, _serving: serving }
    }

    pub fn request(&self, at: usize) -> Value {
        self.calls.lock().expect("no panic")[at].clone()
    }
}

async fn answer(
    stream: TcpStream,
    script: &[Does],
    (asks, raws): (&Mutex<Vec<Value>>, &Raw),
    ends: &Mutex<usize>,
) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
    while stream.read_line(&mut line).await.is_ok_and(|read| 2 < read) {
        if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = given.trim().parse().expect("a length");
        }
        head += &line;
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    let at = {
        let mut asks = asks.lock().expect("no panic");
        raws.lock().expect("no panic").push((head, body.clone()));
        asks.push(serde_json::from_slice(&body).expect("JSON"));
        asks.len() - 1
    };
    let does = script[at.min(script.len() - 1)];
    if let Does::Refuses(status) = does {
        let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 2\r\n\r\nno");
        stream.write_all(head.as_bytes()).await.expect("written");
        return;
    }
    if let Does::Answers(whole) | Does::Holds(whole) = does {
        stream.write_all(whole.as_bytes()).await.expect("written");
        if matches!(does, Does::Holds(_)) {
            while stream.read(&mut [0; 64]).await.is_ok_and(|read| 0 < read) {}
        }
        return;
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let events = match does {
        Does::Sends(events) | Does::Hangs(events) | Does::Breaks(events) => events,
        Does::Breathes(times, events) => {
            for _ in 0..times {
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                stream.write_all(b"8\r\n: here\n\n\r\n").await.expect("written");
            }
            events
        }
        Does::Refuses(_) | Does::Answers(_) | Does::Holds(_) => return,
    };
    for event in events {
        let data = format!("data: {event}\n\n");
        let chunk = format!("{:x}\r\n{data}\r\n", data.len());
        stream.write_all(chunk.as_bytes()).await.expect("written");
    }
    match does {
        Does::Sends(_) | Does::Breathes(..) => drop(stream.write_all(b"0\r\n\r\n").await),
        Does::Hangs(_) => {
            while stream.read(&mut [0; 64]).await.is_ok_and(|read| 0 < read) {}
            *ends.lock().expect("no panic") += 1;
        }
        _ => {}
    }
}

/// A node whose agent `helper` is this.
pub async fn node(agent: &str) -> (Cluster, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(format!("[agents.helper]\n{agent}\n").as_bytes()).expect("written");
    let path = file.path().to_str().expect("text").to_owned();
    let cluster = Cluster::up(1, &["--config", &path]).await;
    (cluster, file)
}

pub async fn ask(url: &str, input: &str, text: &str) {
    ask_with(url, input, text, json!({})).await;
}

pub async fn ask_with(url: &str, input: &str, text: &str, rest: Value) {
    client().put(format!("{url}/v1/sessions/s")).send().await.expect("an answer");
    let mut body = json!({ "id": input, "agent": "helper", "content": { "text": text } });
    body.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    let calls = client().post(format!("{url}/v1/sessions/s/inputs")).json(&body).send().await;
    assert_eq!(calls.expect("an answer").status(), 200);
}

pub async fn events(url: &str) -> Vec<Value> {
    let (mut all, mut place) = (Vec::new(), format!("{url}/v1/sessions/s/events"));
    loop {
        let page = client().get(&place).send().await;
        let mut page: Value = page.expect("an answer").json().await.expect("JSON");
        all.extend(serde_json::from_value::<Vec<Value>>(page["events"].take()).expect("a list"));
        if page["up_to_date"] == true {
            return all;
        }
        place =
            format!("{url}/v1/sessions/s/events?after={}", page["next"].as_str().expect("text"));
    }
}

/// The types of events, and of output its text.
pub async fn story(url: &str) -> Vec<String> {
    let tell = |event: &Value| match event["type"].as_str() {
        Some("turn.output") => {
            let (text, format) = (event["text"].as_str(), event["format"].as_str());
            format!("{}:{}", format.unwrap_or_default(), text.unwrap_or_default())
        }
        Some(name) => name.to_owned(),
        None => "?".into(),
    };
    events(url).await.iter().map(tell).collect()
}

pub async fn until(url: &str, last: &str) -> Vec<String> {
    let mut received = Vec::new();
    eventually(last, async || {
        received = story(url).await;
        received.last().is_some_and(|end| end == last)
    })
    .await;
    received
}

/// The story and the events of the one turn of an endpoint that answers so, and how many requests it took.
pub async fn end_of(
    protocol: &str,
    script: &'static [Does],
    rest: &str,
) -> (Vec<String>, Vec<Value>, usize) {
    let endpoint = Endpoint::serve(script).await;
    let agent =
        format!("kind = \"push\"\nprotocol = \"{protocol}\"\nurl = \"{}\"\n{rest}", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask_with(&url, "t1", "hi", json!({ "attempts": 2 })).await;
    let mut received = Vec::new();
    eventually("the turn is over", async || {
        received = story(&url).await;
        received.last().is_some_and(|end| end == "turn.completed" || end == "turn.failed")
    })
    .await;
    let requests = endpoint.calls.lock().expect("no panic").len();
    (received, events(&url).await, requests)
}

/// The messages of the agent, as text.
pub async fn output_of(url: &str) -> Vec<String> {
    let calls = client().get(format!("{url}/v1/sessions/s/messages")).send().await;
    let body: Value = calls.expect("an answer").json().await.expect("JSON");
    let messages = body["messages"].as_array().expect("a list").iter();
    let agents = messages.filter(|message| message["role"] == "agent");
    agents.map(|message| message["text"].as_str().expect("text").to_owned()).collect()
}

/// A node with an agent that is this endpoint.
pub async fn serving(
    protocol: &str,
    endpoint: &Endpoint,
    rest: &str,
) -> (Cluster, tempfile::NamedTempFile) {
    let url = &endpoint.url;
    node(&format!("kind = \"push\"\nprotocol = \"{protocol}\"\nurl = \"{url}\"\n{rest}")).await
}

/// Waits until so many events of a type are in the log.
pub async fn count(url: &str, name: &str, times: usize) -> Vec<String> {
    let mut received = Vec::new();
    eventually(name, async || {
        received = story(url).await;
        received.iter().filter(|received| *received == name).count() == times
    })
    .await;
    received
}
