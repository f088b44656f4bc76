//! Files of sessions: announced, brought and read in pieces, each of which may go to another node.

use bytes::Bytes;
use serde_json::Value;

use super::nodes::{self, ClientError};
use super::{Client, Method};

/// Bytes of a file that one request brings or reads.
pub const PIECE_BYTES: usize = 1 << 20;

impl Client {
    /// Announces a file with the members `file` (its name, so that this may be repeated), `size` and `sha256`, and
    /// perhaps `media_type` and `name`. Returns its state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn begin_file(&self, session: &str, body: &Value) -> Result<Value, ClientError> {
        self.change(session, "files", body).await
    }

    /// Brings bytes of a file that begin at `offset`, in bytes; again is no change.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_piece(
        &self,
        (session, file): (&str, &str),
        offset: u64,
        bytes: &Bytes,
    ) -> Result<(), ClientError> {
        let path = ["v1", "sessions", session, "files", file];
        path.iter().try_for_each(|segment| nodes::check_name(segment))?;
        let mut nodes = self.nodes.clone();
        let put = nodes.ask(|http, base| {
            let request = http.patch(nodes::url(base, &path));
            request.header("upload-offset", offset).body(bytes.clone())
        });
        put.await.map(drop)
    }

    /// Up to [`PIECE_BYTES`] of a file from `offset` on, in bytes; fewer only where it ends, and none after its end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read_piece(
        &self,
        (session, file): (&str, &str),
        offset: u64,
    ) -> Result<Bytes, ClientError> {
        let path = ["v1", "sessions", session, "files", file];
        path.iter().try_for_each(|segment| nodes::check_name(segment))?;
        let range = format!("bytes={offset}-{}", offset + PIECE_BYTES as u64 - 1);
        let mut nodes = self.nodes.clone();
        let read = nodes.ask_bytes(|http, base| {
            http.request(Method::GET, nodes::url(base, &path)).header("range", &range)
        });
        match read.await {
            Err(ClientError::Refused(problem)) if problem.code == "range_beyond" => {
                Ok(Bytes::new())
            }
            read => Ok(read?.1),
        }
    }
}
