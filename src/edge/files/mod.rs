//! Files of sessions by HTTP: announced here, brought by `upload` or `whole`, read in ranges by `download`.
//!
//! Uploads follow the conventions of resumable uploads (`upload-offset`, `upload-complete`); reads are plain HTTP.

mod download;
mod range;
mod upload;
mod whole;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::{self, Problem};
use super::gate::By;
use super::name::{FileOf, Name};
use super::query::Query;
use super::verbs::{submit_as, turns};
use super::{Edge, State, body, headers, wire};
use crate::auth::Caller;
use crate::ids::{FileId, SessionId};
use crate::limits;
use crate::runtime::{FoundFile, SubmitError, chance};
use crate::session::{Applied, BeginFile, Command, ContentType, File, FileRequest, Refusal};

/// The byte that comes next, from 0.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Whether all bytes are there: `?1` or `?0`.
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
/// How many bytes there are to be.
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// A file that is to come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    file: Option<String>,
    size: u64,
    sha256: String,
    media_type: Option<String>,
    name: Option<String>,
}

/// What is done with one file.
pub(super) fn file() -> MethodRouter<Edge> {
    let reading = get(download::get).head(download::head);
    reading.put(whole::put_whole).patch(upload::put).delete(delete)
}

/// `POST /v1/sessions/{id}/files`
pub(super) async fn begin(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let request = parse(&held.bytes, edge.settings.file_keep_ms)?;
    let (file, is_new) = ask(&edge, &caller, &id, FileRequest::Begin(request), deadline).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    // From the list of the session's files, whatever its own path is to the requester.
    let path = format!("files/{}", file.id);
    let location = HeaderValue::from_str(&path).expect("a path is visible");
    Ok((status, [(header::LOCATION, location)], progress(&file), Json(render(&file)))
        .into_response())
}

/// `GET /v1/sessions/{id}/files`
pub(super) async fn list(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let files = edge.sessions().files(&id, headers::deadline(&headers)?).await?;
    let files: Vec<_> = files.ok_or(Refusal::NotFound)?.iter().map(render).collect();
    Ok(Json(json!({ "files": files })).into_response())
}

/// `DELETE /v1/sessions/{id}/files/{file}`
async fn delete(
    State(edge): State<Edge>,
    FileOf(id, file): FileOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    may_change(&caller, &id, &file)?;
    let found = find(&edge, (&id, &file), deadline).await?;
    if !found.is_of(&id) {
        return Err(Refusal::NoSuchFile.into());
    }
    let File { number, sha256, .. } = found.file;
    ask(&edge, &caller, &id, FileRequest::Drop { file, number, sha256 }, deadline).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether these bytes may come at all. Who may not bring a file learns nothing of it.
fn may_bring(
    caller: &Caller,
    id: &SessionId,
    file: &FileId,
    headers: &HeaderMap,
    query: Query,
) -> Result<(), Problem> {
    query.only(&[])?;
    headers::plain_body(headers)?;
    may_change(caller, id, file)
}

fn may_change(caller: &Caller, id: &SessionId, file: &FileId) -> Result<(), Problem> {
    let request = FileRequest::Drop { file: file.clone(), number: 0, sha256: [0; 32] };
    Ok(caller.narrow(id, &mut Command::File(Box::new(request)))?)
}

/// Commits a request about a file; returns how the file is now, and whether this changed it.
async fn ask(
    edge: &Edge,
    caller: &Caller,
    id: &SessionId,
    request: FileRequest,
    deadline: Instant,
) -> Result<(File, bool), Problem> {
    let command = Command::File(Box::new(request));
    let reply = submit_as(edge, caller, id, command, deadline, |why| match why {
        SubmitError::Unknown(_) => Problem::new(
            &error::OUTCOME_UNKNOWN,
            "send it again; HEAD says how far the file has come",
        ),
        why => why.into(),
    });
    match reply.await?.applied {
        Applied::File { file, changed } => Ok((*file, changed)),
        _ => Err(Problem::new(&error::OUTCOME_UNKNOWN, "something else was answered")),
    }
}

/// The file of the path, whole or not.
async fn find(
    edge: &Edge,
    (id, file): (&SessionId, &FileId),
    deadline: Instant,
) -> Result<FoundFile, Problem> {
    let found = edge.sessions().file(id, file, deadline).await?;
    Ok(found.ok_or(Refusal::NoSuchFile)?)
}

/// What announces the same file to another session.
pub(super) fn announcement(file: &File) -> Value {
    json!({
        "file": file.id.as_str(),
        "size": file.size,
        "sha256": hex(&file.sha256),
        "media_type": file.media_type.as_ref().map(ContentType::as_str),
        "name": file.name,
    })
}

/// Whether a line announces a file.
///
/// # Errors
/// It could not be brought as it says.
pub(super) fn check_announcement(line: &[u8]) -> Result<(), String> {
    let mut line: Value = serde_json::from_slice(line).map_err(|why| why.to_string())?;
    if let Some(members) = line.as_object_mut() {
        members.remove("line");
    }
    let begin = parse(line.to_string().as_bytes(), *limits::FILE_KEEP_MS_RANGE.start());
    let begin = begin.map_err(|why| why.detail().to_owned())?;
    begin.check().map_err(|why| why.to_string())
}

fn parse(body: &[u8], keep_ms: u64) -> Result<BeginFile, Problem> {
    let BeginBody { file, size, sha256, media_type, name } = turns::json(body)?;
    let random = || format!("file_{:032x}", chance::draw::<u128>());
    let id = turns::name("file", &file.unwrap_or_else(random), FileId::parse)?;
    let hash = digest(&sha256).ok_or_else(|| turns::bad("sha256: 64 hexadecimal digits"))?;
    let kind = media_type.as_deref().map(self::media_type).transpose();
    let media_type = kind.map_err(|why| turns::bad(&format!("media_type: {why}")))?;
    Ok(BeginFile { id, size, sha256: hash, media_type, name, keep_ms })
}

/// What a file's bytes are, as somebody says.
fn media_type(text: &str) -> Result<ContentType, &'static str> {
    let parsed = ContentType::parse(text).ok().filter(is_media_type);
    parsed.ok_or("it must be a type and a subtype, such as image/png")
}

fn is_media_type(given: &ContentType) -> bool {
    let is_token = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    let parts = given.essence().split_once('/');
    parts.is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes().as_chunks::<2>();
    let (pairs, []) = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let each = |[high, low]: &[u8; 2]| Some(digit(*high)? * 16 + digit(*low)?);
    let all: Option<Vec<u8>> = pairs.iter().map(each).collect();
    all?.try_into().ok()
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What clients see of a file.
fn render(file: &File) -> Value {
    let mut line = announcement(file);
    line["offset"] = file.received.into();
    line["complete"] = file.is_whole().into();
    line["created_at"] = file.begun_at.0.into();
    line["expires_at"] = json!(wire::millis(file.expires_at()));
    line["first"] = json!(file.cited.map(|(first, _)| first.0));
    line["last"] = json!(file.cited.map(|(_, last)| last.0));
    line
}

/// How far a file has come, in headers.
fn progress(file: &File) -> [(HeaderName, HeaderValue); 3] {
    let complete = if file.is_whole() { "?1" } else { "?0" };
    [
        (UPLOAD_OFFSET, file.received.into()),
        (UPLOAD_LENGTH, file.size.into()),
        (UPLOAD_COMPLETE, HeaderValue::from_static(complete)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_announced_strictly() {
        let hash = "ab".repeat(32);
        let check = |members: &str| {
            let body = format!("{{\"sha256\":\"{hash}\",{members}}}");
            parse(body.as_bytes(), 5_000).map_err(|why| why.kind().code)
        };
        let begin = check("\"size\":3,\"media_type\":\"image/png\",\"name\":\"a b.png\"").unwrap();
        assert_eq!((begin.size, begin.sha256, begin.keep_ms), (3, [0xab; 32], 5_000));
        assert_ne!(begin.id, check("\"size\":3").unwrap().id, "names are drawn at random");
        let named = check("\"size\":3,\"file\":\"file_0123456789abcdef\"").unwrap();
        assert_eq!(named.id.as_str(), "file_0123456789abcdef");
        for members in [
            "\"size\":-1",
            "\"size\":1.5",
            "\"size\":1,\"media_type\":\"image\"",
            "\"size\":1,\"media_type\":\"text/html\\r\\nx: y\"",
            "\"size\":1,\"media_type\":\"a/b c\"",
            "\"size\":1,\"file\":\"../../etc\"",
            "\"size\":1,\"color\":\"red\"",
            "\"name\":\"x\"",
        ] {
            assert_eq!(check(members), Err("bad_json"), "{members}");
        }
        for sha256 in ["", "ab", &"zz".repeat(32), &"ab".repeat(33), &"é".repeat(32)] {
            assert_eq!(digest(sha256), None, "{sha256}");
        }
    }

    mod fuzz {
        use proptest::prelude::*;

        use super::*;
        use crate::fuzz::nearly;

        fn bodies() -> Vec<Vec<u8>> {
            let body = json!({
                "file": "file_0123456789abcdef",
                "size": 300,
                "sha256": "ab".repeat(32),
                "media_type": "image/png",
                "name": "a.png",
            });
            vec![body.to_string().into_bytes()]
        }

        proptest! {
            #[test]
            fn an_announcement_is_taken_or_refused(body in nearly(bodies())) {
                if let Err(why) = parse(&body, 5_000) {
                    prop_assert_eq!(why.kind().code, "bad_json");
                }
            }
        }
    }
}
