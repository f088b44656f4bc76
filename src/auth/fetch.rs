//! Reading a small document by HTTP: the keys of an issuer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls;

/// How large the document may be, in bytes.
const BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// The document at a URL; redirects are not followed.
///
/// # Errors
/// The text gives the reason.
pub(super) async fn get(url: &str) -> Result<Bytes, String> {
    let got = timeout(PATIENCE, get_slowly(url)).await;
    got.map_err(|_| "nobody answered in time".to_owned())?.map_err(|why| why.to_string())
}

async fn get_slowly(url: &str) -> io::Result<Bytes> {
    let url = Url::parse(url).map_err(io::Error::other)?;
    let host = url.host_str().ok_or_else(|| io::Error::other("the URL names no host"))?.to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((bare.as_str(), port)).await?;
    match url.scheme() {
        "http" => ask(stream, &url, &host).await,
        "https" => {
            let name = ServerName::try_from(bare).map_err(io::Error::other)?;
            ask(tls::connector().connect(name, stream).await?, &url, &host).await
        }
        _ => Err(io::Error::other("a URL of keys begins with http or https")),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    host: &str,
) -> io::Result<Bytes> {
    let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = Request::get(format!("{}{query}", url.path()))
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with this future.
    let mut running = JoinSet::new();
    running.spawn(async {
        // What goes wrong shows in the answer.
        connection.await.ok();
    });
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    if !answer.status().is_success() {
        return Err(io::Error::other(format!("the answer is {}", answer.status())));
    }
    let body = Limited::new(answer.into_body(), BYTES).collect().await.map_err(io::Error::other)?;
    Ok(body.to_bytes())
}
