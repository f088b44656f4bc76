//! Reading a file, whole or a range of it: a piece at a time, from whichever replica has it (S10).
//!
//! Only who brought a file knows what it is: browsers are instructed not to guess, and never to show one as a page.

use std::ops::Range;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::name::FileOf;
use super::super::query::Query;
use super::super::{Edge, State, headers};
use super::range::{Requested, requested};
use super::{UPLOAD_OFFSET, find, hex, progress};
use crate::auth::Caller;
use crate::ids::SessionId;
use crate::limits;
use crate::runtime::FoundFile;
use crate::session::{ContentType, File, Right};

/// `GET /v1/sessions/{id}/files/{file}`
pub(in crate::edge) async fn get(
    State(edge): State<Edge>,
    FileOf(id, file): FileOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let found = find(&edge, (&id, &file), headers::deadline(&headers)?).await?;
    let file = &found.file;
    if !file.is_whole() {
        let detail = format!("{} of its {} bytes have come", file.received, file.size);
        let problem = Problem::new(&error::FILE_INCOMPLETE, detail);
        return Err(problem.with("offset", file.received).header(UPLOAD_OFFSET, file.received));
    }
    let tag = tag(file);
    if is_known(&headers, &tag)? {
        return Ok((StatusCode::NOT_MODIFIED, about(file)).into_response());
    }
    let range = headers::one(&headers, &header::RANGE)?;
    // Half of another file would be a torn one.
    let same = headers::one(&headers, &header::IF_RANGE)?.is_none_or(|given| given == tag);
    let size = file.size;
    let (status, part) = match requested(range.filter(|_| same), size) {
        Requested::All => (StatusCode::OK, 0..size),
        Requested::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Requested::Beyond => {
            let problem = Problem::new(&error::RANGE_BEYOND, format!("the file has {size} bytes"));
            return Err(problem.header(header::CONTENT_RANGE, text(&format!("bytes */{size}"))));
        }
    };
    let mut response = (status, about(file)).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        answer.insert(header::CONTENT_RANGE, text(&range));
    }
    *response.body_mut() = bytes_of(edge, caller, id, found, part);
    Ok(response)
}

/// `HEAD /v1/sessions/{id}/files/{file}`: also of a file that is not whole, and how far it has come.
pub(in crate::edge) async fn head(
    State(edge): State<Edge>,
    FileOf(id, file): FileOf,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let found = find(&edge, (&id, &file), headers::deadline(&headers)?).await?;
    let file = &found.file;
    if !file.is_whole() {
        return Ok((StatusCode::NO_CONTENT, progress(file)).into_response());
    }
    if is_known(&headers, &tag(file))? {
        return Ok((StatusCode::NOT_MODIFIED, progress(file), about(file)).into_response());
    }
    let mut response = (StatusCode::OK, progress(file), about(file)).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, file.size.into());
    Ok(response)
}

/// The bytes of a part, read as the client takes them. Where they cannot be read any more, the answer breaks off before
/// the length that was announced; the client goes on with a range.
fn bytes_of(edge: Edge, caller: Caller, id: SessionId, found: FoundFile, part: Range<u64>) -> Body {
    let from = (edge, caller, id, found, part);
    Body::from_stream(stream::try_unfold(from, |(edge, caller, id, found, part)| async move {
        if part.is_empty() {
            return Ok(None);
        }
        let bytes = next(&edge, &caller, &id, &found, &part).await;
        let bytes = bytes.map_err(|why| std::io::Error::other(why.code()))?;
        let rest = part.start + bytes.len() as u64..part.end;
        Ok::<_, std::io::Error>(Some((bytes, (edge, caller, id, found, rest))))
    }))
}

async fn next(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    found: &FoundFile,
    part: &Range<u64>,
) -> Result<Bytes, Problem> {
    // A grant may end while a slow client reads.
    caller.may(Right::Read, Some(id))?;
    let deadline = Instant::now() + Duration::from_millis(limits::FILE_READ_MS);
    let mut bytes = edge.sessions().file_bytes(id, found, part.start, deadline).await?;
    bytes.truncate(usize::try_from(part.end - part.start).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// The headers of every answer about a whole file.
fn about(file: &File) -> [(HeaderName, HeaderValue); 6] {
    let media_type = file.media_type.as_ref().map(ContentType::as_str);
    [
        (header::CONTENT_TYPE, text(media_type.unwrap_or("application/octet-stream"))),
        (header::ETAG, text(&tag(file))),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CONTENT_DISPOSITION, text(&disposition(file.name.as_deref()))),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        // The bytes never change; whether they are there, and for whom, does.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ]
}

fn tag(file: &File) -> String {
    format!("\"{}\"", hex(&file.sha256))
}

/// Whether the client has what has this tag.
fn is_known(headers: &HeaderMap, tag: &str) -> Result<bool, Problem> {
    let given = headers::one(headers, &header::IF_NONE_MATCH)?.unwrap_or_default();
    Ok(given
        .split(',')
        .map(str::trim)
        .any(|given| given == "*" || given.trim_start_matches("W/") == tag))
}

/// To be kept under its name, and not shown as a page (RFC 6266, RFC 8187).
fn disposition(name: Option<&str>) -> String {
    let Some(name) = name else { return "attachment".to_owned() };
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_header_of_its_own() {
        assert_eq!(disposition(None), "attachment");
        let given = disposition(Some("a\" b;\u{e9}/../x.html"));
        assert_eq!(given, "attachment; filename*=UTF-8''a%22%20b%3B%C3%A9%2F..%2Fx.html");
    }

    #[test]
    fn who_has_it_is_not_sent_it_again() {
        for (given, known) in [
            (None, false),
            (Some("\"x\""), true),
            (Some("\"y\", W/\"x\""), true),
            (Some("*"), true),
            (Some("\"y\""), false),
            (Some("x"), false),
        ] {
            let mut map = HeaderMap::new();
            if let Some(given) = given {
                map.insert(header::IF_NONE_MATCH, HeaderValue::from_static(given));
            }
            assert_eq!(is_known(&map, "\"x\"").unwrap(), known, "{given:?}");
        }
    }
}
