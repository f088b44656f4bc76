//! One request to an endpoint, and its answer as a stream of events. Dropped, it closes the connection.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde::de::IgnoredAny;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::tls;
use super::Endpoint;
use super::reason;
use crate::auth::SigningSecret;
use crate::client::sse::{Frame, Parser, TooLong};
use crate::limits;
use crate::runtime::agent::BrokeOff;

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It would be so again: the turn fails.
    #[error("{0}")]
    Refused(String),
    #[error("the endpoint answered {status}{words}")]
    Status { status: u16, words: String, retry_after: Option<Duration> },
    #[error("the endpoint sent nothing for too long")]
    Late,
    #[error("the answer took longer than it may")]
    TooLong,
    #[error("the answer broke off")]
    BrokeOff,
    /// The endpoint reports so itself, and that it may go otherwise the next time.
    #[error("the endpoint failed: {0}")]
    Reported(String),
    #[error("the conversation is not to be had: {0}")]
    Log(String),
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<TooLong> for Failed {
    fn from(why: TooLong) -> Failed {
        // The endpoint would send the same again.
        Failed::Refused(format!("the endpoint's answer: {why}"))
    }
}

impl From<Failed> for BrokeOff {
    fn from(failed: Failed) -> BrokeOff {
        let (wait, throttled) = match &failed {
            // It answers when there is room again. Where it does not, the turn's budget bounds the requests.
            Failed::Status { status, retry_after: Some(wait), .. } => (*wait, *status == 429),
            _ => (Duration::ZERO, false),
        };
        BrokeOff { detail: failed.to_string(), wait, throttled }
    }
}

/// What an endpoint is sent.
pub(super) struct CallRequest {
    /// One attempt at a turn has one, however often it is sent.
    pub(super) id: String,
    pub(super) body: Bytes,
}

/// An answer that comes.
pub(super) struct Call {
    answer: Response<Incoming>,
    parser: Parser,
    /// It had an event.
    begun: bool,
    /// The connection lives as long as the call.
    _connection: JoinSet<()>,
}

/// How much of a refusal is read, and of its text kept, in bytes.
const EXCUSE_BYTES: usize = 4 << 10;
const EXCUSE_WORDS: usize = 512;

/// How long the text of a refusal is waited for at most: that it is a refusal is known without it.
const EXCUSE_WAIT: Duration = Duration::from_secs(2);

/// The longest wait that an endpoint is given.
const RETRY_AFTER_MAX: Duration = Duration::from_millis(limits::RETRY_AFTER_MS_MAX);

/// Names whose session it is, where it is not the default tenant's: two tenants may use the same name.
const TENANT: &str = "outlive-tenant";
/// The shortest part of a configured header that is taken for a secret, in bytes.
const SECRET_BYTES: usize = 8;

impl Call {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn start(endpoint: &Endpoint, outgoing: &CallRequest) -> Result<Call, Failed> {
        let refused = |why: &str| Failed::Refused(format!("the endpoint's URL: {why}"));
        let url = Url::parse(&endpoint.url).map_err(|why| refused(&why.to_string()))?;
        let host = url.host_str().ok_or_else(|| refused("it names no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| refused("it names no port"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((bare.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let request = request(endpoint, &url, &host, outgoing)?;
        match url.scheme() {
            "http" => Call::over(stream, request, &url, endpoint).await,
            "https" => {
                let name = ServerName::try_from(bare).map_err(io::Error::other)?;
                let stream = tls::connector().connect(name, stream).await?;
                Call::over(stream, request, &url, endpoint).await
            }
            _ => Err(refused("it begins with http or https")),
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
        url: &Url,
        endpoint: &Endpoint,
    ) -> Result<Call, Failed> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut running = JoinSet::new();
        running.spawn(async {
            // What goes wrong shows in the answer.
            connection.await.ok();
        });
        let mut sender: SendRequest<Full<Bytes>> = sender;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        if status.is_success() {
            if is_document(&answer) {
                return Err(no_stream(&answer));
            }
            if let Some(coding) = coding(&answer) {
                let why = format!("the endpoint answered in {coding}, which was not requested");
                return Err(Failed::Refused(why));
            }
            let parser = Parser::default();
            return Ok(Call { answer, parser, begun: false, _connection: running });
        }
        if status.is_redirection() {
            // Followed, it would take the conversation and its keys to a place that was not configured.
            let place = place(&answer, url).map(|place| format!(" and points to {place}"));
            let place = place.unwrap_or_default();
            return Err(Failed::Refused(format!(
                "the endpoint answered {}{place}",
                status.as_u16()
            )));
        }
        let again = !status.is_client_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let wait = EXCUSE_WAIT.min(Duration::from_millis(endpoint.progress_timeout_ms / 2));
        let retry_after = retry_after(answer.headers(), OffsetDateTime::now_utc());
        let mut excuse =
            without_secrets(reason::of(&excuse(answer, wait).await), &endpoint.headers);
        excuse.truncate(excuse.floor_char_boundary(EXCUSE_WORDS));
        let excuse = if excuse.is_empty() { excuse } else { format!(": {excuse}") };
        if again {
            let status = status.as_u16();
            return Err(Failed::Status { status, words: excuse, retry_after });
        }
        Err(Failed::Refused(format!("the endpoint answered {}{excuse}", status.as_u16())))
    }

    /// The next events, which are none where what came is not a whole one yet, or a sign of life; and nothing where
    /// the answer ended.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Frame>>, Failed> {
        loop {
            match self.answer.body_mut().frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let Ok(bytes) = frame?.into_data() else { continue };
                    let frames = self.parser.feed(&bytes)?;
                    self.begun |= !frames.is_empty();
                    return Ok(Some(frames));
                }
            }
        }
    }

    /// Why an answer that ended before its end came to nothing.
    pub(super) fn broke_off(&self) -> Failed {
        let media = media(&self.answer);
        let other = !media.is_empty() && media != "text/event-stream";
        let empty = self.answer.status() == StatusCode::NO_CONTENT;
        if !self.begun && (other || empty) { no_stream(&self.answer) } else { Failed::BrokeOff }
    }

    /// The last event of an answer that ended without the blank line after it, if it is whole.
    pub(super) fn last(&mut self) -> Option<Frame> {
        let last = self.parser.finish()?;
        let whole = last.data == "[DONE]" || serde_json::from_str::<IgnoredAny>(&last.data).is_ok();
        self.begun |= whole;
        whole.then_some(last)
    }
}

/// The type of an answer, without parameters; empty where it has none.
fn media(answer: &Response<Incoming>) -> String {
    let media = answer.headers().get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
    let media = media.and_then(|media| media.split(';').next()).unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// How an answer is coded, where it is.
fn coding(answer: &Response<Incoming>) -> Option<String> {
    let coding = answer.headers().get(header::CONTENT_ENCODING)?.to_str().ok()?.trim();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity")).then(|| coding.to_owned())
}

/// Whether an answer is a page or a document, so that no event can come. Others are waited for.
fn is_document(answer: &Response<Incoming>) -> bool {
    let media = media(answer);
    media == "text/html" || media == "application/json" || media.ends_with("+json")
}

/// The reason where an answer is no stream: another one would be none either.
fn no_stream(answer: &Response<Incoming>) -> Failed {
    let (status, media) = (answer.status().as_u16(), media(answer));
    let with = if media.is_empty() { String::new() } else { format!(" with {media}") };
    Failed::Refused(format!("the endpoint answered {status}{with}, not with text/event-stream"))
}

/// Where a redirect points, without what is secret in it: a query or a user may be our own.
fn place(answer: &Response<Incoming>, url: &Url) -> Option<String> {
    let place = answer.headers().get(header::LOCATION)?.to_str().ok()?;
    let place = url.join(place).ok()?;
    Some(format!("{}{}", place.origin().ascii_serialization(), place.path()))
}

/// The wait that an endpoint requests: in seconds, in milliseconds (which some servers have besides), or
/// until a date, which is compared with the answer's own where it has one, so that no clock here matters.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| header(name)?.parse::<f64>().ok().filter(|number| 0.0 <= *number);
    let seconds = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after"));
    if let Some(seconds) = seconds {
        return Some(Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())));
    }
    let date = |name: &str| OffsetDateTime::parse(header(name)?, &Rfc2822).ok();
    let wait = date("retry-after")? - date("date").unwrap_or(now);
    // A date that is over requests no wait.
    Some(Duration::try_from(wait).unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// A text without what is configured to be sent with each request: some servers repeat the key that they refuse.
fn without_secrets(words: String, headers: &BTreeMap<String, String>) -> String {
    let secrets = headers.values().flat_map(|value| value.split_whitespace());
    let secrets = secrets.filter(|secret| SECRET_BYTES <= secret.len());
    secrets.fold(words, |words, secret| words.replace(secret, "***"))
}

/// The text of a refusal, as far as it is kept.
async fn excuse(mut answer: Response<Incoming>, wait: Duration) -> String {
    let (mut received, until) = (Vec::new(), Instant::now() + wait);
    while received.len() < EXCUSE_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(until, answer.body_mut().frame()).await
    {
        received.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
    }
    received.truncate(EXCUSE_BYTES);
    String::from_utf8_lossy(&received).into_owned()
}

fn request(
    endpoint: &Endpoint,
    url: &Url,
    host: &str,
    outgoing: &CallRequest,
) -> Result<Request<Full<Bytes>>, Failed> {
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{query}", url.path()))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "text/event-stream")
        .header(header::USER_AGENT, concat!("outlive/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &endpoint.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(outgoing.body.clone()));
    let mut request =
        request.map_err(|why| Failed::Refused(format!("the endpoint's headers: {why}")))?;
    if !endpoint.signing.is_empty() {
        sign(request.headers_mut(), &endpoint.signing, outgoing)?;
    }
    // In place of one that the configuration may have: the agent is the same for all of its tenants.
    request.headers_mut().remove(TENANT);
    if let Some(tenant) = &endpoint.agent.tenant {
        let name = HeaderValue::from_str(tenant.as_str()).expect("it is plain ASCII");
        request.headers_mut().insert(TENANT, name);
    }
    Ok(request)
}

/// In place of what the configuration may have under these names.
fn sign(
    headers: &mut HeaderMap,
    secrets: &[SigningSecret],
    outgoing: &CallRequest,
) -> Result<(), Failed> {
    let now_s = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
    let signatures = SigningSecret::signatures(secrets, &outgoing.id, now_s, &outgoing.body);
    for (name, value) in [
        ("webhook-id", outgoing.id.clone()),
        ("webhook-timestamp", now_s.to_string()),
        ("webhook-signature", signatures),
    ] {
        let value = HeaderValue::try_from(value).map_err(|why| Failed::Refused(why.to_string()))?;
        headers.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AgentId, AgentName, TenantName};

    #[test]
    fn an_endpoint_that_asks_to_be_left_alone_is() {
        let now = OffsetDateTime::parse("Sun, 06 Nov 1994 08:49:37 GMT", &Rfc2822).unwrap();
        let wait = |given: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers, now).map(|wait| wait.as_millis())
        };
        let (date, later) = ("Sun, 06 Nov 1994 08:49:30 GMT", "Sun, 06 Nov 1994 08:49:40 GMT");
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "2")]), Some(2_000));
        assert_eq!(wait(&[("retry-after-ms", "70"), ("retry-after", "2")]), Some(70));
        assert_eq!(wait(&[("retry-after", "1e30")]), Some(RETRY_AFTER_MAX.as_millis()));
        assert_eq!(wait(&[("retry-after", later), ("date", date)]), Some(10_000));
        assert_eq!(wait(&[("retry-after", later)]), Some(3_000));
        assert_eq!(wait(&[("retry-after", date)]), Some(0));
    }

    #[test]
    fn an_endpoint_is_told_whose_session_it_is() {
        let headers = [("outlive-tenant".to_owned(), "configured".to_owned())].into();
        let endpoint = |tenant: Option<&str>| Endpoint {
            agent: AgentId {
                tenant: tenant.map(|name| TenantName::parse(name).unwrap()),
                name: AgentName::parse("a").unwrap(),
            },
            url: String::new(),
            protocol: crate::config::Protocol::AgUi,
            signing: Vec::new(),
            headers: BTreeMap::clone(&headers),
            capacity: 1,
            progress_timeout_ms: 1,
            restart: crate::runtime::agent::body::Restart { intensity: 1, within: Duration::ZERO },
            call_limit: None,
            model: None,
            max_tokens: None,
            context_tokens: None,
        };
        let url = Url::parse("http://h/a").unwrap();
        let tenants = |tenant: Option<&str>| {
            let request = request(
                &endpoint(tenant),
                &url,
                "h",
                &CallRequest { id: "1".into(), body: Bytes::new() },
            )
            .ok()?;
            let all: Vec<_> = request.headers().get_all(TENANT).iter().cloned().collect();
            Some(all)
        };
        assert_eq!(tenants(Some("acme")), Some(vec![HeaderValue::from_static("acme")]));
        assert_eq!(tenants(None), Some(Vec::new()));
    }

    #[test]
    fn a_key_that_an_error_says_again_is_left_out() {
        let headers = [("authorization", "Bearer sk-123456789"), ("x-tier", "2")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let words = without_secrets("no such key: sk-123456789 (2)".into(), &headers);
        assert_eq!(words, "no such key: *** (2)");
    }
}
