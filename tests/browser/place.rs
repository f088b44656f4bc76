//! What stands around a browser: its certificates, the page's own server, and what leads to a node that lives.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for this machine by an authority of the test's, in files.
pub(crate) struct Certified {
    /// The chain and its key.
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) authority: Vec<u8>,
    /// Names the authority's key to a browser that is to trust it.
    pub(crate) print: String,
}

pub(crate) fn certify(dir: &Path) -> Certified {
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "a test's authority");
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let digest = ring::digest::digest(&ring::digest::SHA256, &ca_key.subject_public_key_info());
    let issuer = Issuer::new(params, ca_key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let pair = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&pair, &issuer).expect("a certificate");
    let (chain, key) = (path("chain.pem"), path("key.pem"));
    std::fs::write(&chain, format!("{}{}", cert.pem(), ca.pem())).expect("it is written");
    std::fs::write(&key, pair.serialize_pem()).expect("it is written");
    let authority = ca.pem().into_bytes();
    Certified { cert: chain, key, authority, print: STANDARD.encode(digest) }
}

/// Leads each connection to the first node that takes it, as a balancer does that knows nothing of TLS.
#[derive(Clone)]
pub(crate) struct Balancer {
    pub(crate) port: u16,
    nodes: Arc<Mutex<Vec<u16>>>,
    taken: Arc<AtomicUsize>,
}

impl Balancer {
    pub(crate) async fn start(nodes: Vec<u16>, tasks: &mut JoinSet<()>) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (nodes, taken) = (Arc::new(Mutex::new(nodes)), Arc::default());
        let balancer = Balancer { port, nodes, taken };
        let own = balancer.clone();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                own.taken.fetch_add(1, Ordering::Relaxed);
                open.spawn(own.clone().lead(client));
            }
        });
        balancer
    }

    async fn lead(self, mut client: TcpStream) {
        let nodes = self.nodes.lock().expect("no panic under this lock").clone();
        for port in nodes {
            if let Ok(mut node) = TcpStream::connect(("127.0.0.1", port)).await {
                // Either end may break; then both are closed.
                copy_bidirectional(&mut client, &mut node).await.ok();
                return;
            }
        }
    }

    /// Connections that were made since it was asked last.
    pub(crate) fn taken(&self) -> usize {
        self.taken.swap(0, Ordering::Relaxed)
    }
}

/// What the page's own server does for it: tickets and keys, for which it asks a node with the root key.
#[derive(Clone)]
pub(crate) struct Product {
    pub(crate) http: reqwest::Client,
    pub(crate) node: String,
    pub(crate) root: &'static str,
    pub(crate) pages: [(&'static str, String); 2],
    pub(crate) reports: mpsc::Sender<Value>,
}

impl Product {
    /// Asks a node; what it answers.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}/v1/{path}", self.node));
        let answer = request.bearer_auth(self.root).json(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Appends a text to a session, as a request that may be repeated; whether it was taken.
    pub(crate) async fn append(&self, session: &str, text: &str) -> bool {
        let url = format!("{}/v1/sessions/{session}/events", self.node);
        let request = self.http.post(url).bearer_auth(self.root).header("producer-id", text);
        let request = request.header("producer-epoch", "0").header("producer-seq", "0");
        let sent = request.json(&json!({ "events": [{ "text": text }] })).send().await;
        sent.is_ok_and(|answer| answer.status() == 200)
    }

    /// Serves the page by TLS, one request on each connection.
    pub(crate) async fn serve(self, listener: TcpListener, certified: &Certified) {
        let chain = std::fs::read(&certified.cert).expect("the chain");
        let chain = CertificateDer::pem_slice_iter(&chain).map(|cert| cert.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_file(&certified.key).expect("the key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("it knows them")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, own) = (acceptor.clone(), self.clone());
            // A browser opens some that it never uses.
            open.spawn(async move { own.answer(acceptor, stream).await.ok() });
        }
    }

    async fn answer(self, acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        let mut got = Vec::new();
        let (head, length) = loop {
            if stream.read_buf(&mut got).await? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&got).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.to_lowercase().split("content-length: ").nth(1).map(|rest| {
                    rest.lines().next().and_then(|text| text.parse().ok()).expect("a number")
                });
                break (head.to_owned(), length.unwrap_or(0));
            }
        };
        while got.len() < head.len() + 4 + length {
            stream.read_buf(&mut got).await?;
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match path {
            "/report" => {
                let report = serde_json::from_slice(&got[head.len() + 4..]).expect("a report");
                self.reports.send(report).await.ok();
                String::new()
            }
            "/ticket" => {
                let (session, ttl) = query.split_once('&').expect("both");
                let ttl_s: u64 = ttl.parse().expect("a number");
                let part = json!({ "sessions": [session], "rights": ["read"], "ttl_s": ttl_s });
                let (_, made) = self.ask(Method::POST, "tickets", &part).await;
                made["ticket"].as_str().expect("a ticket").to_owned()
            }
            "/key" => {
                let body = json!({ "name": "page", "rights": ["read", "publish"] });
                let (_, made) = self.ask(Method::POST, "keys", &body).await;
                made["key"].as_str().expect("a key").to_owned()
            }
            path => {
                let page = self.pages.iter().find(|(name, _)| *name == path);
                page.map(|(_, text)| text.clone()).unwrap_or_default()
            }
        };
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}
