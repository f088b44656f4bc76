//! TLS for clients: what is chosen, what goes on through a renewal, and who is not let in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::load::eventually;
use harness::node::{TestNode, start_single_with};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outlive::config::CertificateFiles;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate for localhost that vouches for itself, in two files.
fn certify(files: &CertificateFiles) -> CertificateDer<'static> {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let cert = params.self_signed(&pair).unwrap();
    std::fs::write(&files.key, pair.serialize_pem()).unwrap();
    std::fs::write(&files.cert, cert.pem()).unwrap();
    cert.der().clone()
}

async fn start(files: &CertificateFiles) -> TestNode {
    start_single_with(|config| config.client_tls = Some(files.clone())).await
}

fn files(dir: &tempfile::TempDir) -> CertificateFiles {
    CertificateFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") }
}

async fn plain(node: &TestNode) -> TcpStream {
    TcpStream::connect(node.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Connects as one who trusts this certificate and speaks these protocols.
async fn connect(
    node: &TestNode,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), plain(node).await).await
}

/// Reads until `mark` was there.
async fn read_to(stream: &mut TlsStream<TcpStream>, mark: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(mark) {
        let more = timeout(PATIENCE, stream.read_buf(&mut got)).await;
        assert_ne!(more.expect("it goes on").unwrap(), 0, "{}", String::from_utf8_lossy(&got));
    }
    String::from_utf8_lossy(&got).into_owned()
}

async fn emit(stream: &mut TlsStream<TcpStream>, head: &str, body: &str) {
    let length = body.len();
    let head = format!("{head} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
    let request = format!("{head}content-type: text/plain\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_are_spoken_and_a_stream_goes_on_through_a_renewal() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir);
    let first = certify(&files);
    let node = start(&files).await;
    let mut writer = connect(&node, &first, &[b"http/1.1"]).await.unwrap();
    emit(&mut writer, "PUT /v1/sessions/s", "").await;
    read_to(&mut writer, "\"created\":true").await;
    let mut reader = connect(&node, &first, &[b"http/1.1"]).await.unwrap();
    emit(&mut reader, "GET /v1/sessions/s/events?live=sse", "").await;
    read_to(&mut reader, "event: caught-up").await;

    let stream = connect(&node, &first, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(connection);
    let request = hyper::Request::get("https://localhost/v1/sessions/s/events?after=start");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.is_ok());
    drop(running);

    // Half of a renewal is none.
    let key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, "no key").unwrap();
    assert!(connect(&node, &first, &[b"http/1.1"]).await.is_ok());
    std::fs::write(&files.key, key).unwrap();
    let second = certify(&files);
    eventually("the new certificate is shown", async || {
        connect(&node, &second, &[b"http/1.1"]).await.is_ok()
    })
    .await;
    assert!(connect(&node, &first, &[b"http/1.1"]).await.is_err(), "the old one is gone");
    let port = node.node.address.port();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outlive"));
    command.args(["session", "list", "--url", &format!("https://localhost:{port}")]);
    command.env("SSL_CERT_FILE", &files.cert);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "s\n", "{output:?}");
    emit(&mut writer, "POST /v1/sessions/s/events", "still here").await;
    read_to(&mut reader, "still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_no_tls_is_sent_away_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir);
    let cert = certify(&files);
    let node = start(&files).await;
    for emitted in
        [&b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b""]
    {
        let mut stream = plain(&node).await;
        stream.write_all(emitted).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        // It may be reset, which is as good.
        timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("it is closed").ok();
        assert!(!String::from_utf8_lossy(&got).contains("200 OK"));
    }
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(plain(&node).await);
    }
    let mut client = connect(&node, &cert, &[b"http/1.1"]).await.unwrap();
    emit(&mut client, "GET /healthz", "").await;
    read_to(&mut client, "200 OK").await;
    let mut config = node_config(dir.path().join("data"));
    config.client_tls = Some(CertificateFiles { cert: files.cert, key: dir.path().join("none") });
    let why = outlive::node::Node::start(&config, None).await.err().expect("it does not start");
    assert!(format!("{why:#}").contains("none"), "{why:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_at_once_what_will_never_work() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir);
    certify(&files);
    let (secure, open) = (start(&files).await, start_single_with(|_| ()).await);
    let port = |node: &TestNode| node.node.address.port();
    for (url, advice) in [
        (format!("http://localhost:{}", port(&secure)), "ask it by https://"),
        (format!("https://localhost:{}", port(&open)), "ask it by http://"),
        (format!("https://localhost:{}", port(&secure)), "SSL_CERT_FILE"),
        (format!("ftp://localhost:{}", port(&open)), "is no URL of a node"),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_outlive"));
        command.args(["session", "list", "--url", &url]).env_remove("SSL_CERT_FILE");
        let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(advice), "{url}: {text}");
        assert!(!text.contains("no node answered within"), "{url}: {text}");
    }
}

fn node_config(dir: std::path::PathBuf) -> outlive::config::ServeConfig {
    let given = outlive::config::Given {
        listen: Some(([127, 0, 0, 1], 0).into()),
        data_dir: Some(dir),
        ..Default::default()
    };
    outlive::config::ServeConfig::load(given, None, std::iter::empty()).unwrap()
}
