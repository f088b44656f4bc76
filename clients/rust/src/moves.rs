//! Whole sessions as lines: written out, and brought in.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{Body, Method, StatusCode};
use serde_json::Value;

use crate::Client;
use crate::nodes::{self, ClientError};

impl Client {
    /// Writes the lines of a session to `out`, and succeeds only if its end was among them.
    ///
    /// # Errors
    /// See [`ClientError`]; what was written then is no whole session, and an import of it is refused for that.
    pub async fn export(
        &self,
        session: &str,
        mut out: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        self.home(session).await?;
        let broken = |why: String| ClientError::Broken(format!("the export was cut off: {why}"));
        let (http, base) = self.nodes.current();
        let url = nodes::url(base, &["v1", "sessions", session, "export"]);
        let answer = http.get(url).send().await.map_err(|why| broken(why.to_string()))?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        let (mut pieces, mut last) = (answer.bytes_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|why| broken(why.to_string()))?;
            out(&piece).map_err(|why| broken(why.to_string()))?;
            // The last line begins in what is kept of the last pieces.
            last.extend_from_slice(&piece);
            let spare = last.len().saturating_sub(LAST_LINE);
            last.drain(..spare);
        }
        let ends = last.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let end: Value =
            ends.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
        if end["line"] == "end" { Ok(()) } else { Err(broken("it has no end".into())) }
    }

    /// Brings in a session from its lines, under this name; returns its result.
    ///
    /// # Errors
    /// See [`ClientError`]; nothing of it is there then, unless the outcome is unknown. The same again is harmless.
    pub async fn import(
        &self,
        session: &str,
        lines: impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static,
    ) -> Result<Value, ClientError> {
        // The lines are read once: a node that does not answer is found before.
        let mut nodes = self.nodes.clone();
        let home = ["v1", "sessions", session, "home"];
        nodes::check_name(session)?;
        nodes.ask(|http, base| http.request(Method::GET, nodes::url(base, &home))).await?;
        let (http, base) = nodes.current();
        let request = http.post(nodes::url(base, &["v1", "sessions", session, "import"]));
        let request = request.header("content-type", "application/x-ndjson");
        let answer = request.body(Body::wrap_stream(lines)).send().await;
        let answer = answer.map_err(|why| ClientError::Broken(why.to_string()))?;
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => {
                answer.json().await.map_err(|why| ClientError::Broken(why.to_string()))
            }
            _ => Err(refused(answer).await),
        }
    }
}

/// How many bytes the last line may have.
const LAST_LINE: usize = 4096;

async fn refused(answer: reqwest::Response) -> ClientError {
    let status = answer.status();
    let body = answer.json().await.unwrap_or(Value::Null);
    ClientError::Refused(nodes::problem(status, body))
}
