//! A small file in one request: announced and brought at once, by whoever need not go on in the middle.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::name::FileOf;
use super::super::query::Query;
use super::super::{Edge, State, body, headers};
use super::upload::give_up;
use super::{ask, find, may_bring, media_type, progress, render};
use crate::auth::Caller;
use crate::ids::SessionId;
use crate::limits::{FILE_AT_ONCE_BYTES, PIECE_BYTES};
use crate::session::{BeginFile, File, FileRequest, Piece};

/// The hash of a body as its sender has it (RFC 9530).
const DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// `PUT /v1/sessions/{id}/files/{file}`: the same again has the effect of one, at any node.
pub(in crate::edge) async fn put_whole(
    State(edge): State<Edge>,
    FileOf(id, file): FileOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    may_bring(&caller, &id, &file, &headers, query)?;
    let media_type = headers::one(&headers, &header::CONTENT_TYPE)?.map(media_type).transpose();
    let media_type = media_type.map_err(|why| Problem::new(&error::BAD_HEADER, why))?;
    let held = body::read(&edge, &headers, body, FILE_AT_ONCE_BYTES).await?;
    let hash = digest(&SHA256, &held.bytes);
    if let Some(given) = headers::one(&headers, &DIGEST)? {
        let given = sha256_of(given).ok_or_else(|| {
            Problem::new(&error::BAD_HEADER, "content-digest must be sha-256=:BASE64:")
        })?;
        if given != hash.as_ref() {
            return Err(Problem::new(&error::HASH_MISMATCH, "the body has another SHA-256"));
        }
    }
    let begin = BeginFile {
        id: file,
        size: held.bytes.len() as u64,
        sha256: hash.as_ref().try_into().expect("SHA-256 has 32 bytes"),
        media_type,
        name: None,
        keep_ms: edge.settings.file_keep_ms,
    };
    let deadline = headers::deadline(&headers)?;
    let announce = async || {
        let begin = FileRequest::Begin(begin.clone());
        ask(&edge, &caller, &id, begin, deadline).await
    };
    let (known, mut is_new) = announce().await?;
    let file = match bring(&edge, &caller, &id, known, &held.bytes, deadline).await {
        // Somebody had brought other bytes before: that one was given up.
        Err(why) if *why.kind() == error::HASH_MISMATCH => {
            let (known, again) = announce().await?;
            is_new = again;
            bring(&edge, &caller, &id, known, &held.bytes, deadline).await?
        }
        brought => brought?,
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, progress(&file), axum::Json(render(&file))).into_response())
}

/// Brings all of it that is not there yet.
async fn bring(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    mut known: File,
    whole: &Bytes,
    deadline: Instant,
) -> Result<File, Problem> {
    while !known.is_whole() {
        let at = usize::try_from(known.received).unwrap_or(usize::MAX).min(whole.len());
        let end = (at - at % PIECE_BYTES + PIECE_BYTES).min(whole.len());
        let file = known.id.clone();
        let (offset, bytes) = (known.received, whole.slice(at..end));
        let sha256 = known.sha256;
        let piece = FileRequest::Put(Piece { file: file.clone(), sha256, offset, bytes });
        known = match ask(edge, caller, id, piece, deadline).await {
            Ok((known, _)) => known,
            // Somebody else brings the same.
            Err(why) if *why.kind() == error::FILE_OFFSET => {
                let found = find(edge, (id, &file), deadline).await?;
                if !found.is_of(id) || found.file.sha256 != known.sha256 {
                    // Another one has the name now.
                    return Err(why);
                }
                found.file
            }
            Err(why) => {
                if *why.kind() == error::HASH_MISMATCH {
                    give_up(edge, id, (file, known.number), deadline).await;
                }
                return Err(why);
            }
        };
    }
    Ok(known)
}

/// The SHA-256 in a header of digests; other algorithms are passed over.
fn sha256_of(text: &str) -> Option<Vec<u8>> {
    let each = text.split(',').map(str::trim);
    let given = each.filter_map(|part| part.strip_prefix("sha-256=")).next()?;
    STANDARD.decode(given.strip_prefix(':')?.strip_suffix(':')?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_strictly() {
        assert_eq!(sha256_of("sha-256=:AAE=:"), Some(vec![0, 1]));
        assert_eq!(sha256_of("sha-512=:AA==:, sha-256=:AAE=:"), Some(vec![0, 1]));
        for text in ["", "sha-256", "sha-256=AAE=", "sha-256=:AAE", "sha-256=:!:", "md5=:AAE=:"] {
            assert_eq!(sha256_of(text), None, "{text}");
        }
    }
}
