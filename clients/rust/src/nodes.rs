//! The nodes that requests can go to, one after the other until one answers.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::rustls;

use crate::tls;

/// Time for which a client tries before it gives up, unless its caller sets another.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that one node has to answer one request; a little more than it takes by itself.
const ANSWER: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(2);
/// Time after which a notice names what the client waits for, and how often then.
const NOTICE: Duration = Duration::from_millis(700);
const NOTICE_AGAIN: Duration = Duration::from_secs(10);
/// Bounds of the pause before the next try, in milliseconds.
const PAUSE_MS: (u64, u64) = (20, 2000);

/// Why a client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A URL that the client was given leads to no node.
    #[error("{0:?} is no URL of a node")]
    BadUrl(String),
    /// Nothing was sent.
    #[error("a URL cannot name the session {0:?}")]
    BadName(String),
    /// Final: the request changed nothing and would not if it were repeated.
    #[error("{0}")]
    Refused(Problem),
    /// Whether the request took effect is not known unless `last` states it.
    #[error("no node answered within {} s: {last}", patience.as_secs())]
    Unreachable {
        /// How long was tried.
        patience: Duration,
        /// What came of the last try.
        last: String,
    },
    /// No node can be reached by these URLs, now or later.
    #[error("{0}")]
    Unusable(String),
    /// The service sent what it must never send.
    #[error("the service broke its promise: {0}")]
    Broken(String),
}

/// A refusal as the service sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status of HTTP.
    pub status: u16,
    /// Its stable name.
    pub code: String,
    /// What was wrong, for people.
    pub detail: String,
    /// The whole answer.
    pub body: Value,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.detail, self.status, self.code)
    }
}

/// The nodes of a cluster, and the one that gets the next request.
#[derive(Clone, Debug)]
pub struct Nodes {
    http: reqwest::Client,
    bases: Vec<Url>,
    at: usize,
    /// Time for which one request is tried, everywhere.
    pub patience: Duration,
    /// Called with what is waited for where an answer takes long.
    pub notice: Option<Notice>,
}

/// Shows people what is waited for.
pub type Notice = fn(&str);

impl Nodes {
    /// Takes the base URLs of the nodes; the first gets the first request.
    ///
    /// # Errors
    /// None is given, or one of them is no URL.
    pub fn new(urls: &[String]) -> Result<Nodes, ClientError> {
        let base = |text: &String| {
            let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
            let url = Url::parse(text).ok().filter(is_web);
            url.ok_or_else(|| ClientError::BadUrl(text.clone()))
        };
        let bases = urls.iter().map(base).collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() {
            return Err(ClientError::BadUrl(String::new()));
        }
        Ok(Nodes { http: http(None)?, bases, at: 0, patience: PATIENCE, notice: None })
    }

    /// The same nodes, to which this key is shown with each request.
    pub(super) fn with_key(self, key: &str) -> Result<Nodes, ClientError> {
        let bad = |_| ClientError::Broken("the key cannot stand in a header".into());
        let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(bad)?;
        value.set_sensitive(true);
        Ok(Nodes { http: http(Some(value))?, ..self })
    }

    /// The client for requests, and the node to send them to.
    pub(super) fn current(&self) -> (&reqwest::Client, &Url) {
        (&self.http, &self.bases[self.at])
    }

    /// Turns to the next node.
    pub(super) fn turn(&mut self) {
        self.at = (self.at + 1) % self.bases.len();
    }

    /// Sends a request to one node after the other until there is an answer that is final.
    ///
    /// The request must have the effect of one however often it is sent.
    ///
    /// # Errors
    /// A refusal, or no node answered in time.
    pub(super) async fn ask(
        &mut self,
        request: impl Fn(&reqwest::Client, &Url) -> RequestBuilder,
    ) -> Result<(StatusCode, Value), ClientError> {
        let (status, body) = self.ask_bytes(request).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// The same where the answer may be no JSON.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn ask_bytes(
        &mut self,
        request: impl Fn(&reqwest::Client, &Url) -> RequestBuilder,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let mut tries = Tries::new(self);
        loop {
            let (http, base) = self.current();
            match tries.watch(base, send(request(http, base))).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(problem)) => return Err(ClientError::Refused(problem)),
                Err(Failed::Here(why)) => {
                    self.turn();
                    tries.wait(why, self.bases.len()).await?;
                }
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.bases.len()
    }
}

fn http(authorization: Option<HeaderValue>) -> Result<reqwest::Client, ClientError> {
    tls::install();
    let headers = authorization.map(|value| (AUTHORIZATION, value));
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .no_proxy()
        .default_headers(headers.into_iter().collect())
        .build()
        .map_err(|why| ClientError::Broken(why.to_string()))
}

/// What one try came to.
enum Failed {
    Final(Problem),
    /// Another node, or the same one later, may do it.
    Here(Trouble),
}

/// Why a node did not do something that another one, or the same one later, may do.
#[derive(Debug)]
pub(super) struct Trouble {
    text: String,
    /// It will be so with this node until its operator changes it.
    lasts: bool,
}

impl From<String> for Trouble {
    fn from(text: String) -> Trouble {
        Trouble { text, lasts: false }
    }
}

impl From<&str> for Trouble {
    fn from(text: &str) -> Trouble {
        text.to_owned().into()
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(why: reqwest::Error) -> Trouble {
        let url = why.url().map(|url| format!("{}: ", url.origin().ascii_serialization()));
        let (url, text) = (url.unwrap_or_default(), story(&why));
        match advice(&why) {
            Some(advice) => Trouble { text: format!("{url}{advice} ({text})"), lasts: true },
            None => text.into(),
        }
    }
}

/// What to do about a node with which no connection will ever be made with this URL.
fn advice(why: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(why);
    while let Some(cause) = next {
        match cause.downcast_ref() {
            Some(rustls::Error::InvalidMessage(_)) => {
                return Some("it does not speak TLS: ask it by http://");
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                return Some(
                    "its certificate is not trusted here: SSL_CERT_FILE names a file with its CA",
                );
            }
            _ => {}
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Some("it does not speak HTTP there: if it speaks TLS, ask it by https://");
        }
        // An error of input and output names the cause behind the one that is inside.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

async fn send(request: RequestBuilder) -> Result<(StatusCode, Bytes), Failed> {
    let passing = |why: reqwest::Error| Failed::Here(why.into());
    let response = request.timeout(ANSWER).send().await.map_err(passing)?;
    let status = response.status();
    let body = response.bytes().await.map_err(passing)?;
    if status.is_success() {
        return Ok((status, body));
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let problem = problem(status, body);
    if is_passing(status) {
        Err(Failed::Here(problem.to_string().into()))
    } else {
        Err(Failed::Final(problem))
    }
}

/// Whether the same request may succeed later or elsewhere.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

pub(super) fn problem(status: StatusCode, body: Value) -> Problem {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Problem { status: status.as_u16(), code: text("code"), detail: text("detail"), body }
}

/// The whole chain of causes: reqwest's own text stops at "error sending request".
pub(super) fn story(why: &dyn Error) -> String {
    let mut text = why.to_string();
    let mut next = why.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Refuses a name that a URL would change, so that another session would be meant: URLs lose line breaks,
/// tabs, and dots that stand alone.
pub(super) fn check_name(session: &str) -> Result<(), ClientError> {
    if matches!(session, "" | "." | "..") || session.contains(['\t', '\n', '\r']) {
        return Err(ClientError::BadName(session.to_owned()));
    }
    Ok(())
}

/// The URL of a path below a node's base; each segment is encoded whole.
pub(super) fn url(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// How often something was tried, for how long, and when to try again.
#[derive(Debug)]
pub(super) struct Tries {
    begun: Instant,
    patience: Duration,
    failures: u32,
    /// How many of the last ones will last.
    lasting: usize,
    notice: Option<Notice>,
    /// When people are shown next what is waited for.
    next_notice: Instant,
}

impl Tries {
    pub(super) fn new(nodes: &Nodes) -> Tries {
        let (patience, notice) = (nodes.patience, nodes.notice);
        let begun = Instant::now();
        Tries { begun, patience, failures: 0, lasting: 0, notice, next_notice: begun + NOTICE }
    }

    /// Begins to count anew: something went well.
    pub(super) fn reset(&mut self) {
        self.begun = Instant::now();
        self.failures = 0;
        self.lasting = 0;
        self.next_notice = self.begun + NOTICE;
    }

    /// Waits for an answer of `node`, and shows people so if it takes long.
    pub(super) async fn watch<T>(&mut self, node: &Url, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        loop {
            match timeout_at(self.next_notice, answer.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => self.tell(&format!("{node} does not answer yet")),
            }
        }
    }

    fn tell(&mut self, why: &str) {
        self.next_notice = Instant::now() + NOTICE_AGAIN;
        if let Some(notice) = self.notice {
            let left = self.patience.saturating_sub(self.begun.elapsed()).as_secs();
            notice(&format!("waiting, for {left} s more at most: {why}"));
        }
    }

    /// Waits before the next try; the first round over all nodes is quick.
    ///
    /// # Errors
    /// The patience is spent, or each of the nodes has a trouble that lasts.
    pub(super) async fn wait(
        &mut self,
        why: impl Into<Trouble>,
        nodes: usize,
    ) -> Result<(), ClientError> {
        let Trouble { text: why, lasts } = why.into();
        self.lasting = if lasts { self.lasting + 1 } else { 0 };
        if nodes <= self.lasting {
            return Err(ClientError::Unusable(why));
        }
        if self.patience <= self.begun.elapsed() {
            return Err(ClientError::Unreachable { patience: self.patience, last: why });
        }
        let rounds = self.failures / u32::try_from(nodes).unwrap_or(1).max(1);
        self.failures += 1;
        let (least, most) = PAUSE_MS;
        let pause_ms = (least << rounds.min(10)).min(most);
        let jitter_ms = rand::rng().random_range(0..=pause_ms);
        let next = Instant::now() + Duration::from_millis(pause_ms / 2 + jitter_ms / 2);
        if self.next_notice <= next {
            self.tell(&why);
        }
        sleep_until(next).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_segment_of_the_url() {
        for base in ["http://h:1", "http://h:1/", "http://h:1/below/"] {
            let base = Url::parse(base).unwrap();
            let url = url(&base, &["v1", "sessions", "a/b ?#%ä", "events"]);
            let expected = "v1/sessions/a%2Fb%20%3F%23%25%C3%A4/events";
            assert_eq!(url.as_str(), format!("{}{expected}", base.as_str()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_within_a_second_what_for() {
        use std::sync::Mutex;
        static HEARD: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());
        let begun = Instant::now();
        let mut nodes = Nodes::new(&["http://127.0.0.1:1".into()]).unwrap();
        nodes.notice = Some(|text| HEARD.lock().unwrap().push((Instant::now(), text.into())));
        let mut tries = Tries::new(&nodes);
        // A node that refuses, and one that takes the request and answers nothing.
        while tries.wait("connection refused", 1).await.is_ok() {}
        let heard = std::mem::take(&mut *HEARD.lock().unwrap());
        assert!(heard[0].0 - begun <= Duration::from_secs(1), "{heard:?}");
        assert!(heard[0].1.contains("connection refused"), "{heard:?}");
        assert!((5..=7).contains(&heard.len()), "now and then, not each time: {heard:?}");
        let begun = Instant::now();
        let (mut tries, node) = (Tries::new(&nodes), Url::parse("http://silent:1").unwrap());
        tries.watch(&node, sleep_until(begun + Duration::from_secs(8))).await;
        let heard = std::mem::take(&mut *HEARD.lock().unwrap());
        assert!(heard[0].0 - begun <= Duration::from_secs(1), "{heard:?}");
        assert!(heard[0].1.contains("http://silent:1"), "{heard:?}");
    }

    #[test]
    fn only_urls_are_nodes() {
        assert!(Nodes::new(&[]).is_err());
        for text in ["127.0.0.1:4437", "ftp://127.0.0.1", "unix:///run/outlive", "http://"] {
            assert!(Nodes::new(&[text.into()]).is_err(), "{text}");
        }
        assert!(Nodes::new(&["http://127.0.0.1:4437".into()]).is_ok());
    }
}
