//! Bringing a file: a body of any length becomes commands of a piece each, and the node holds no more than one piece.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::name::FileOf;
use super::super::query::Query;
use super::super::room::{self, Hold};
use super::super::{Edge, State, body, headers};
use super::{UPLOAD_OFFSET, ask, find, may_bring, progress};
use crate::auth::Caller;
use crate::ids::SessionId;
use crate::limits::{self, FILE_UNIT, PIECE_BYTES};
use crate::session::{Command, File, FileRequest, Piece, Refusal};

/// `PATCH /v1/sessions/{id}/files/{file}`: bytes from `upload-offset` on. What the session has already is passed over,
/// so that the same request again has the effect of one.
pub(in crate::edge) async fn put(
    State(edge): State<Edge>,
    FileOf(id, file): FileOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    may_bring(&caller, &id, &file, &headers, query)?;
    let offset = headers::one(&headers, &UPLOAD_OFFSET)?.and_then(headers::strict_number);
    let offset = offset.ok_or_else(|| {
        Problem::new(&error::BAD_HEADER, "upload-offset must be digits: where the body begins")
    })?;
    let found = find(&edge, (&id, &file), headers::deadline(&headers)?).await?;
    if !found.is_of(&id) {
        return Err(Refusal::NoSuchFile.into());
    }
    let known = found.file;
    if known.received < offset {
        let missing = Refusal::FileOffset { expected: known.received, given: offset };
        return Err(missing.into());
    }
    let room = edge.room.hold();
    let held = BytesMut::new();
    let mut upload =
        Upload { edge: &edge, caller: &caller, id, headers: &headers, known, held, room };
    let done = upload.take(body, offset).await;
    let Upload { known, .. } = upload;
    match done {
        Ok(()) => Ok((StatusCode::NO_CONTENT, progress(&known)).into_response()),
        Err(why) if *why.kind() == error::HASH_MISMATCH => Err(why),
        Err(why) if *why.kind() == error::FILE_OFFSET => Err(why),
        Err(why) => Err(why.header(UPLOAD_OFFSET, known.received)),
    }
}

/// A body on its way into a file.
struct Upload<'u> {
    edge: &'u Edge,
    caller: &'u Caller,
    id: SessionId,
    headers: &'u HeaderMap,
    /// The file as the session had it last.
    known: File,
    /// What has come and is not in the session: it follows what the session has.
    held: BytesMut,
    room: Hold,
}

impl Upload<'_> {
    /// Takes a body that begins at `at`, piece by piece. What came before it broke off is kept.
    async fn take(&mut self, mut body: Body, mut at: u64) -> Result<(), Problem> {
        // When the piece under way began to come, and how much of the body has come since.
        let (mut begun, mut came) = (Instant::now(), 0);
        loop {
            let idle = Instant::now() + Duration::from_millis(limits::BODY_IDLE_MS);
            let end = idle.min(begun + body::patience(came));
            let slow = || Problem::new(&error::SLOW_BODY, "the body did not arrive in time");
            let frame = timeout_at(end, body.frame()).await.map_err(|_| slow());
            let data = match frame {
                Ok(None) => return self.flush().await,
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) => {
                    self.flush().await?;
                    return Err(Problem::new(&error::BAD_BODY, "the body broke off or is broken"));
                }
                Err(slow) => {
                    self.flush().await?;
                    return Err(slow);
                }
            };
            let next = at + data.len() as u64;
            if self.known.size < next {
                body::discard(&mut body).await;
                let (bytes, limit) = (next, self.known.size);
                return Err(Refusal::FileTooLarge { bytes, limit }.into());
            }
            came += data.len();
            let was = self.known.received;
            if let Err(why) = self.add(data, at).await {
                body::discard(&mut body).await;
                return Err(why);
            }
            // What is passed over is held by nobody: it makes pieces, too.
            if self.known.received != was || self.held.is_empty() && PIECE_BYTES <= came {
                (begun, came) = (Instant::now(), 0);
            }
            at = next;
        }
    }

    /// Adds bytes that begin at `at`.
    async fn add(&mut self, mut data: Bytes, mut at: u64) -> Result<(), Problem> {
        while !data.is_empty() {
            let next = self.known.received + self.held.len() as u64;
            let known = usize::try_from(next.saturating_sub(at)).unwrap_or(usize::MAX);
            let known = known.min(data.len());
            drop(data.split_to(known));
            at += known as u64;
            // Pieces lie at multiples of their size, wherever bodies begin.
            let size = PIECE_BYTES - (self.known.received % PIECE_BYTES as u64) as usize;
            let bytes = data.len().min(size - self.held.len());
            if !self.room.reach(self.held.len() + bytes) {
                return Err(room::crowded());
            }
            self.held.extend_from_slice(&data.split_to(bytes));
            at += bytes as u64;
            if self.held.len() == size {
                self.put(size).await?;
            }
        }
        Ok(())
    }

    /// Brings what has come, as far as it makes a piece.
    async fn flush(&mut self) -> Result<(), Problem> {
        let length = self.held.len();
        let is_end = self.known.received + length as u64 == self.known.size;
        let bytes = if is_end { length } else { length - length % FILE_UNIT };
        if bytes == 0 { Ok(()) } else { self.put(bytes).await }
    }

    /// Brings the first bytes of what has come.
    async fn put(&mut self, bytes: usize) -> Result<(), Problem> {
        let deadline = headers::deadline(self.headers)?;
        let bytes = std::mem::take(&mut self.held).split_to(bytes).freeze();
        let put = put_piece(self.edge, self.caller, &self.id, &self.known, bytes, deadline);
        self.known = put.await?;
        Ok(())
    }
}

/// Brings the bytes that come next; returns how the file is then. One that came to be other bytes is given up.
pub(super) async fn put_piece(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    known: &File,
    bytes: Bytes,
    deadline: Instant,
) -> Result<File, Problem> {
    let (file, sha256, offset) = (known.id.clone(), known.sha256, known.received);
    let piece = FileRequest::Put(Piece { file, sha256, offset, bytes });
    let put = ask(edge, caller, id, piece, deadline).await;
    if put.as_ref().is_err_and(|why| *why.kind() == error::HASH_MISMATCH) {
        give_up(edge, id, known, deadline).await;
    }
    put.map(|(file, _)| file)
}

/// Removes a file that came to be other bytes, unless somebody made it whole meanwhile; where that fails, it expires.
async fn give_up(edge: &Edge, id: &SessionId, file: &File, deadline: Instant) {
    let request = FileRequest::GiveUp { file: file.id.clone(), number: file.number };
    let command = Command::File(Box::new(request));
    let dropped = edge.runtime.sessions.submit(id, command, deadline).await;
    if let Err(why) = dropped {
        tracing::debug!(%why, "a file whose hash is wrong was not removed");
    }
}
