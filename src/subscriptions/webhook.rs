//! One call of a webhook: to a checked address, once, without following anybody elsewhere.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Fault;
use super::target::{BadTarget, Target};
use crate::config::WebhookReach;
use crate::limits;
use crate::tls;

/// Calls webhooks.
pub(super) struct Caller {
    reach: WebhookReach,
}

/// Why a wake was not taken; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error("it answered {0}")]
    Status(u16),
    #[error("it did not answer in time")]
    Late,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a webhook may answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    done: bool,
}

impl Caller {
    pub(super) fn new(reach: WebhookReach) -> Caller {
        Caller { reach }
    }

    /// Refuses URLs that will never be called. A name without an address may get one later.
    pub(super) async fn check(&self, url: &str) -> Result<(), Fault> {
        let looked = async { Target::parse(url, self.reach)?.addresses().await };
        match timeout(Duration::from_millis(limits::REQUEST_MS / 2), looked).await {
            Ok(Err(why @ (BadTarget::Url(_) | BadTarget::Forbidden))) => {
                Err(Fault::Url(why.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Posts `body`; returns whether the webhook dealt with all of it.
    pub(super) async fn post(
        &self,
        url: &str,
        signature: String,
        body: Bytes,
    ) -> Result<bool, Failed> {
        let limit = Duration::from_millis(limits::WEBHOOK_MS);
        timeout(limit, self.call(url, signature, body)).await.map_err(|_| Failed::Late)?
    }

    async fn call(&self, url: &str, signature: String, body: Bytes) -> Result<bool, Failed> {
        let target = Target::parse(url, self.reach)?;
        let addresses = target.addresses().await?;
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        let request = request(&target, signature, body)?;
        if target.url.scheme() == "http" {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(target.host).map_err(io::Error::other)?;
        exchange(tls::connector().connect(name, stream).await?, request).await
    }
}

fn request(
    target: &Target,
    signature: String,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Failed> {
    let url = &target.url;
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    Request::builder()
        .method(Method::POST)
        .uri(format!("{}{query}", url.path()))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("outlive/", env!("CARGO_PKG_VERSION")))
        .header("webhook-signature", signature)
        .body(Full::new(body))
        .map_err(|why| Failed::Io(io::Error::other(why)))
}

/// One request and its answer on a connection of its own.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<bool, Failed> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(Failed::Status(response.status().as_u16()));
        }
        // An answer that is long, cut or no JSON counts for nothing; the wake was taken all the same.
        let body = Limited::new(response.into_body(), limits::WEBHOOK_ANSWER_BYTES).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(serde_json::from_slice::<Answer>(&body).unwrap_or_default().done)
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => {
            ended?;
            answer.await
        }
    }
}
