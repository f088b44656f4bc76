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
use super::upload::put_piece;
use super::{ask, find, may_bring, media_type, progress, render};
use crate::auth::Caller;
use crate::ids::SessionId;
use crate::limits::{FILE_AT_ONCE_BYTES, PIECE_BYTES};
use crate::session::{BeginFile, File, FileRequest};

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
    let given = headers::one(&headers, &DIGEST)?.map_or(Ok(None), sha256_of);
    let given = given.map_err(|why| Problem::new(&error::BAD_HEADER, why))?;
    if given.is_some_and(|given| given != hash.as_ref()) {
        return Err(Problem::new(&error::HASH_MISMATCH, "the body has another SHA-256"));
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
        known = match put_piece(edge, caller, id, &known, whole.slice(at..end), deadline).await {
            Ok(known) => known,
            // Somebody else brings the same.
            Err(why) if *why.kind() == error::FILE_OFFSET => {
                let found = find(edge, (id, &known.id), deadline).await?;
                if !found.is_of(id) || found.file.sha256 != known.sha256 {
                    // Another one has the name now.
                    return Err(why);
                }
                found.file
            }
            Err(why) => return Err(why),
        };
    }
    Ok(known)
}

/// The SHA-256 in a header of digests, a dictionary of RFC 8941: other algorithms and parameters are passed over, and
/// of two digests by one algorithm the last counts.
fn sha256_of(text: &str) -> Result<Option<Vec<u8>>, &'static str> {
    let each = text.split(',').map(str::trim);
    let Some(given) = each.filter_map(|part| part.strip_prefix("sha-256")).next_back() else {
        return Ok(None);
    };
    let value = given.split(';').next().unwrap_or_default().trim_end();
    let quoted = value.strip_prefix("=:").and_then(|value| value.strip_suffix(':'));
    let bytes = quoted.and_then(|quoted| STANDARD.decode(quoted).ok());
    bytes.map(Some).ok_or("content-digest must be sha-256=:BASE64:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_the_standard_says() {
        for (text, bytes) in [
            ("sha-256=:AAE=:", Some(vec![0, 1])),
            ("sha-512=:AA==:, sha-256=:AAE=:", Some(vec![0, 1])),
            ("sha-256=:AAE=:;a=1", Some(vec![0, 1])),
            ("sha-256=:AAE=:,sha-256=:AAI=:", Some(vec![0, 2])),
            ("md5=:AAE=:", None),
            ("", None),
        ] {
            assert_eq!(sha256_of(text), Ok(bytes), "{text}");
        }
        for text in ["sha-256", "sha-256=AAE=", "sha-256=:AAE", "sha-256=:!:", "sha-256=:"] {
            assert!(sha256_of(text).is_err(), "{text}");
        }
    }
}
