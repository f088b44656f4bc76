//! A client on a WebSocket, for sessions or as a worker, and what it does besides by HTTP.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::node::TestNode;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client that checks nothing and keeps what it received until it is looked for.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    /// Received, and not looked for yet.
    pub received: Vec<Value>,
    next: u64,
}

impl Client {
    pub async fn open(node: &TestNode, path: &str) -> Client {
        let address = node.url.strip_prefix("http://").expect("a url");
        let stream = TcpStream::connect(address).await.expect("the node listens");
        let (socket, _) =
            client_async(format!("ws://{address}{path}"), stream).await.expect("a WebSocket");
        Client { socket, received: Vec::new(), next: 0 }
    }

    /// The same with a key, as a page would show it.
    pub async fn open_as(node: &TestNode, path: &str, key: &str) -> Client {
        Client::open_at(&node.url, path, key).await
    }

    /// The same at the node with this address.
    pub async fn open_at(node: &str, path: &str, key: &str) -> Client {
        let address = node.strip_prefix("http://").expect("a url");
        let stream = TcpStream::connect(address).await.expect("the node listens");
        let url = format!("ws://{address}{path}");
        let mut request = url.into_client_request().expect("a request");
        let protocols = format!("outlive, bearer.{key}").parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocols);
        let (socket, answer) = client_async(request, stream).await.expect("a WebSocket");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "outlive");
        Client { socket, received: Vec::new(), next: 0 }
    }

    pub async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("it is taken");
    }

    /// The next frame; what closes the connection is an error.
    pub async fn frame(&mut self) -> Result<Value, String> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err(format!("{} {}", u16::from(close.code), close.reason));
                }
                Some(Ok(Message::Close(None))) | None => return Err("no reason".into()),
                Some(Ok(_)) => {}
                Some(Err(why)) => return Err(why.to_string()),
            }
        }
    }

    /// The next frame that is meant; others wait.
    pub async fn find(&mut self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.received.iter().position(&is_meant) {
            return self.received.remove(place);
        }
        loop {
            let frame = self.frame().await.unwrap_or_else(|why| panic!("{what}: {why}"));
            if is_meant(&frame) {
                return frame;
            }
            self.received.push(frame);
        }
    }

    /// Sends a request, and returns the whole answer.
    pub async fn ask(&mut self, mut request: Value) -> Value {
        self.next += 1;
        request["id"] = self.next.into();
        let re = request["id"].clone();
        self.send(&request).await;
        self.find(&format!("an answer to {request}"), |frame| frame["re"] == re).await
    }

    pub async fn attach(&mut self, session: &str, rest: Value) {
        let mut request = json!({ "op": "attach", "session": session });
        request.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
        let answer = self.ask(request).await;
        assert!(answer["ok"].is_object(), "{answer}");
        self.of(session, "attached").await;
    }

    pub async fn of(&mut self, session: &str, kind: &str) -> Value {
        let is_meant = |frame: &Value| frame["session"] == session && frame["type"] == kind;
        self.find(&format!("{kind} of {session}"), is_meant).await
    }

    /// Texts of the next events of a session.
    pub async fn texts(&mut self, session: &str, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            let event = self.of(session, "event").await;
            texts.push(event["data"]["text"].as_str().expect("a text").to_owned());
        }
        texts
    }

    /// How the connection ends.
    pub async fn end(&mut self) -> String {
        loop {
            match self.frame().await {
                Ok(frame) => self.received.push(frame),
                Err(why) => return why,
            }
        }
    }
}

/// What a worker does.
impl Client {
    /// A worker that waits for turns.
    pub async fn work(node: &TestNode, worker: &str) -> Client {
        let mut client = Client::open(node, "/v1/agents/ws").await;
        let register = json!({ "type": "register", "agent": "poet", "worker": worker });
        client.send(&register).await;
        assert_eq!(client.typed("registered").await["node"], 1);
        client
    }

    /// The next frame of this kind; others wait.
    pub async fn typed(&mut self, kind: &str) -> Value {
        self.find(kind, |frame| frame["type"] == kind).await
    }

    /// Gives signs of life until a frame that is meant comes; what closes the connection is an error.
    pub async fn live(&mut self, is_meant: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            let frame = self.frame().await?;
            if is_meant(&frame) {
                return Ok(frame);
            }
            if frame["type"] == "ping" {
                self.send(&json!({ "type": "pong" })).await;
            } else {
                self.received.push(frame);
            }
        }
    }

    /// Sends a frame about a turn.
    pub async fn about(&mut self, turn: &Value, mut frame: Value) {
        for name in ["session", "turn", "epoch"] {
            frame[name] = turn[name].clone();
        }
        self.send(&frame).await;
    }

    /// Sends a text as output of a turn.
    pub async fn emit(&mut self, turn: &Value, seq: u64, text: &str) {
        let events = json!([{ "text": text }]);
        self.about(turn, json!({ "type": "output", "seq": seq, "events": events })).await;
    }
}

pub async fn post(node: &TestNode, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}{path}", node.url)).json(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

pub async fn create(node: &TestNode, session: &str) {
    let request = reqwest::Client::new().put(format!("{}/v1/sessions/{session}", node.url));
    assert!(request.send().await.expect("an answer").status().is_success());
}

pub async fn append(node: &TestNode, session: &str, texts: &[String]) {
    let events: Vec<_> = texts.iter().map(|text| json!({ "text": text })).collect();
    let body = json!({ "events": events });
    let (status, answer) = post(node, &format!("/v1/sessions/{session}/events"), &body).await;
    assert_eq!(status, 200, "{answer}");
}
