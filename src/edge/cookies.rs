//! Cookies: made for the browser of a person by who holds a key or a token, and given back by that browser.
//!
//! A browser sends a cookie with whatever any page has it send. So one is taken from pages of this node and of origins
//! that are allowed by name alone (`Door::vouches`), and never from a request that names no page.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::error::{self, Problem};
use super::gate::By;
use super::public::{self, ByTls};
use super::query::Query;
use super::tickets::PartBody;
use super::verbs::turns::{bad, json};
use super::{Edge, body, headers};
use crate::edge::State;

/// What it is called where it goes by TLS alone: a browser takes one of this name from the host itself alone, and no
/// page of a neighbouring name can put another one in its place (RFC 6265bis, 4.1.3.2).
const OVER_TLS: &str = "__Host-outlive";
/// What it is called elsewhere.
const PLAIN: &str = "outlive";

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CookieBody {
    rights: Option<Vec<String>>,
    sessions: Option<Vec<String>>,
    participant: Option<String>,
    role: Option<String>,
    ttl_s: Option<u64>,
    same_site: Option<String>,
}

/// `POST /v1/cookies`
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    ByTls(by_tls): ByTls,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let request: CookieBody = match held.bytes.is_empty() {
        true => CookieBody::default(),
        false => json(&held.bytes)?,
    };
    let CookieBody { rights, sessions, participant, role, ttl_s, same_site } = request;
    let same_site = match (same_site.as_deref().unwrap_or("strict"), by_tls) {
        ("strict", _) => "Strict",
        // Pages of another site are distinguished by their partition, where a browser has those.
        ("none", true) => "None; Partitioned",
        ("none", false) => return Err(bad("same_site none needs TLS, or a public_url with https")),
        _ => return Err(bad("same_site is strict or none")),
    };
    let part = PartBody { rights, sessions, participant, role, ttl_s }.part()?;
    let made = edge.auth.cookie(&caller, &part, deadline).await?;
    let made = made.ok_or_else(|| {
        Problem::new(&error::KEYS_OFF, "this node asks nobody who they are: no cookie is needed")
    })?;
    let cookie = set(by_tls, &made.text, made.lasts_ms / 1000, same_site);
    let body = serde_json::json!({ "name": name(by_tls), "expires_at": made.until.0 });
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// `DELETE /v1/cookies`
pub(super) async fn delete(
    State(edge): State<Edge>,
    By(caller): By,
    ByTls(by_tls): ByTls,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    edge.auth.log_out(&caller, headers::deadline(&headers)?).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    // One in a partition is another one than one that is not.
    let kinds: &[_] = if by_tls { &["Strict", "None; Partitioned"] } else { &["Strict"] };
    for same_site in kinds {
        response.headers_mut().append(header::SET_COOKIE, set(by_tls, "", 0, same_site));
    }
    Ok(response)
}

fn name(by_tls: bool) -> &'static str {
    if by_tls { OVER_TLS } else { PLAIN }
}

fn set(by_tls: bool, text: &str, max_age_s: u64, same_site: &str) -> HeaderValue {
    let (name, secure) = (name(by_tls), if by_tls { "; Secure" } else { "" });
    let text = format!(
        "{name}={text}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite={same_site}{secure}"
    );
    let mut value = HeaderValue::try_from(text).expect("base64 and names are visible");
    value.set_sensitive(true);
    value
}

/// What a request brought, and whether it comes from a page whose cookies are taken.
pub(super) struct Brought {
    pub(super) text: String,
    pub(super) vouched: bool,
}

/// Takes all cookies out of a request, so that nothing behind this sees them or writes them down; what is returned is
/// this node's own.
///
/// # Errors
/// There is more than one.
pub(super) fn take(
    edge: &Edge,
    route: &str,
    request: &mut Request,
) -> Result<Option<Brought>, Problem> {
    if !request.headers().contains_key(header::COOKIE) {
        return Ok(None);
    }
    let by_tls = public::by_tls(edge, request.extensions(), request.uri(), request.headers());
    let Some(text) = find(request.headers_mut(), name(by_tls))? else { return Ok(None) };
    // What a WebSocket will request is not known yet.
    let is_socket = matches!(route, "ws" | "agents_ws");
    let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !is_socket;
    let door = &edge.settings.door;
    let vouched = door.vouches(request.uri(), request.headers(), (by_tls, reads));
    Ok(Some(Brought { text, vouched }))
}

pub(super) fn find(headers: &mut HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let mut found = None;
    // HTTP/2 brings one in each line.
    for line in headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let Some(text) = pair.strip_prefix(name.as_bytes()) else { continue };
            let Some(text) = text.strip_prefix(b"=") else { continue };
            if found.is_some() {
                let detail = format!("there are two cookies {name}");
                return Err(Problem::new(&error::BAD_HEADER, detail));
            }
            found = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    headers.remove(header::COOKIE);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&str], by_tls: bool) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(header::COOKIE, value);
        }
        let found = find(&mut headers, name(by_tls)).map_err(|why| why.kind().code)?;
        assert!(headers.is_empty());
        Ok(found)
    }

    #[test]
    fn a_cookie_has_one_name_where_it_goes_by_tls_and_another_elsewhere() {
        let own = |text: &str| Ok(Some(text.to_owned()));
        for (lines, plain, tls) in [
            (&["outlive=a"][..], own("a"), Ok(None)),
            (&["__Host-outlive=a"], Ok(None), own("a")),
            (&["x=1; outlive=a;__Host-outlive=b", "y"], own("a"), own("b")),
            (&["x=1", "outlive=a=b ", "z=3"], own("a=b"), Ok(None)),
            (&["outlive=a; outlive=b"], Err("bad_header"), Ok(None)),
            (&["__Host-outlive=a", "__Host-outlive=a"], Ok(None), Err("bad_header")),
            (&["outlivee=a; xoutlive=b; outlive; Outlive=c; é=ö"], Ok(None), Ok(None)),
            (&["outlive="], own(""), Ok(None)),
            (&[], Ok(None), Ok(None)),
        ] {
            assert_eq!(taken(lines, false), plain, "{lines:?}");
            assert_eq!(taken(lines, true), tls, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_scripts_and_of_other_sites() {
        let set = |by_tls| set(by_tls, "olc_a.b", 60, "Strict");
        let expected = "outlive=olc_a.b; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        assert_eq!(set(false), expected);
        assert_eq!(set(true), format!("__Host-{expected}; Secure"));
        assert!(set(true).is_sensitive());
        assert!(!format!("{:?}", set(true)).contains("olc_"), "nobody logs it by mistake");
    }
}
