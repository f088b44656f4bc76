//! Serves the page, reports the processes to it, and does to them what it requests.
//!
//! The conversation does not pass here: the page talks to the nodes, by the public API.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::door::Door;
use super::nodes::{AGENT, NODES, Nodes};
use super::process::Blow;

/// Connections to the demo's own server; a window has a handful.
const CONNECTIONS: usize = 256;
/// Body of a request of the demo's page to its server, in bytes.
const BODY_BYTES: usize = 1024;
const PAGE: &str = include_str!("page/index.html");
/// What the page is made of; a browser may keep none of it.
const PARTS: &[(&str, &str, &str)] = &[
    ("/style.css", "text/css", include_str!("page/style.css")),
    ("/main.js", "text/javascript", include_str!("page/main.js")),
    ("/feed.js", "text/javascript", include_str!("page/feed.js")),
    ("/nodes.js", "text/javascript", include_str!("page/nodes.js")),
    ("/score.js", "text/javascript", include_str!("page/score.js")),
    ("/talk.js", "text/javascript", include_str!("page/talk.js")),
    ("/machines.js", "text/javascript", include_str!("page/machines.js")),
    ("/story.js", "text/javascript", include_str!("page/story.js")),
];

/// What the page may request.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Act {
    KillNode { node: usize },
    StartNode { node: usize },
    KillAgent { pid: u32 },
    StopAgent { pid: u32 },
    ContinueAgent { pid: u32 },
}

/// The server of one run.
pub(super) struct Server {
    door: Door,
    nodes: Arc<Mutex<Nodes>>,
    session: String,
    policy: HeaderValue,
}

type Answer = Response<Full<Bytes>>;

impl Server {
    pub(super) fn new(
        port: u16,
        nodes: Arc<Mutex<Nodes>>,
        session: &str,
    ) -> anyhow::Result<Server> {
        let urls = nodes.lock().expect("no holder panics").urls().join(" ");
        // Everything comes from here, and only the nodes get requests.
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self' {urls}; frame-src 'self'; frame-ancestors 'self'; \
             base-uri 'none'; form-action 'none'"
        );
        let (door, session) = (Door::new(port), session.to_owned());
        Ok(Server { door, nodes, session, policy: policy.parse()? })
    }

    /// Serves until it is dropped.
    pub(super) async fn run(self, listener: TcpListener) {
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // One that breaks while it is taken is not missed; the page comes again.
                    let Ok((stream, _)) = accepted else { continue };
                    if connections.len() < CONNECTIONS {
                        connections.spawn(server.clone().connection(TokioIo::new(stream)));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self: Arc<Self>, io: TokioIo<tokio::net::TcpStream>) {
        let service = service_fn(|request| async {
            let mut answer = self.answer(request).await;
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            Ok::<_, Infallible>(answer)
        });
        // A page that goes away in the middle is no fault.
        let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.door.knows_host(request.headers()) {
            return plain(StatusCode::MISDIRECTED_REQUEST, "this server has another name");
        }
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/") => body("text/html; charset=utf-8", self.page()),
            (&Method::GET, "/state") => tell(&self.state()),
            (&Method::POST, "/act") => self.act(request).await,
            (&Method::GET, path) => match PARTS.iter().find(|(name, ..)| *name == path) {
                Some((_, kind, text)) => body(kind, (*text).to_owned()),
                None => plain(StatusCode::NOT_FOUND, "there is nothing here"),
            },
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only the page acts here"),
        }
    }

    fn page(&self) -> String {
        let urls = self.nodes.lock().expect("no holder panics").urls().join(" ");
        let values =
            [("{{key}}", &self.door.key), ("{{session}}", &self.session), ("{{nodes}}", &urls)];
        values.into_iter().fold(PAGE.to_owned(), |page, (name, value)| page.replace(name, value))
    }

    fn state(&self) -> Value {
        let mut nodes = self.nodes.lock().expect("no holder panics");
        let agents = nodes.agents();
        let node_states = (1..=NODES).map(|node| {
            let own = agents.iter().filter(|agent| agent.node == node);
            let agents = own.map(|agent| {
                json!({ "pid": agent.process.pid, "stopped": agent.process.is_stopped })
            });
            let agents: Vec<Value> = agents.collect();
            json!({ "node": node, "url": nodes.url(node), "pid": nodes.pid(node), "agents": agents })
        });
        let node_states: Vec<Value> = node_states.collect();
        json!({ "agent": AGENT, "nodes": node_states })
    }

    async fn act(&self, request: Request<Incoming>) -> Answer {
        if !self.door.lets_in(request.headers()) {
            return plain(StatusCode::FORBIDDEN, "only the demo's own page may do this");
        }
        let body = Limited::new(request.into_body(), BODY_BYTES).collect().await;
        let Ok(body) = body else { return plain(StatusCode::BAD_REQUEST, "this is too much") };
        let act: Act = match serde_json::from_slice(&body.to_bytes()) {
            Ok(act) => act,
            Err(why) => return plain(StatusCode::BAD_REQUEST, &why.to_string()),
        };
        let done = self.perform(act);
        done.map_or_else(|why| plain(StatusCode::CONFLICT, &format!("{why:#}")), |done| tell(&done))
    }

    fn perform(&self, act: Act) -> anyhow::Result<Value> {
        let mut nodes = self.nodes.lock().expect("no holder panics");
        let known = |node: usize| {
            anyhow::ensure!((1..=NODES).contains(&node), "there is no node {node}");
            Ok(node)
        };
        let done = |pid: u32, node: usize, command: String| json!({ "pid": pid, "node": node, "command": command });
        let mut strike = |pid: u32, blow: Blow| {
            let agent = nodes.strike(pid, blow)?;
            Ok(done(pid, agent.node, blow.command(pid)))
        };
        match act {
            Act::KillAgent { pid } => strike(pid, Blow::Kill),
            Act::StopAgent { pid } => strike(pid, Blow::Stop),
            Act::ContinueAgent { pid } => strike(pid, Blow::Continue),
            Act::KillNode { node } => {
                let pid = nodes.kill(known(node)?)?;
                Ok(done(pid, node, Blow::Kill.command(pid)))
            }
            Act::StartNode { node } => {
                let pid = nodes.start(known(node)?)?;
                Ok(done(pid, node, format!("outlive serve --node-id {node} …")))
            }
        }
    }
}

fn body(kind: &str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    let kind = HeaderValue::from_str(kind).expect("our own media types");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn tell(value: &Value) -> Answer {
    body("application/json", value.to_string())
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = body("text/plain; charset=utf-8", text.to_owned());
    *answer.status_mut() = status;
    answer
}
