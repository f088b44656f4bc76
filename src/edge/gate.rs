//! Who sends a request, and which right it needs: judged here for every path, before anything of it is done.
//!
//! A path that is not listed needs the right of an operator, so that a new one is closed until its right is
//! listed. Verbs are judged once more by what their bodies request, see [`super::verbs::submit`].

use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use tokio::time::Instant;

use super::cookies::{self, Brought};
use super::durable::subscriptions;
use super::error::{self, Problem};
use super::{Edge, Entrance, headers, quota};
use crate::auth::{Caller, Denial, Ended, Refused};
use crate::ids::{AgentName, SessionId};
use crate::limits;
use crate::session::{Denied, Refusal, Right};

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// No credentials are required.
    Nothing,
    /// A known caller; the request decides which rights.
    Somebody,
    /// A caller with this right, for the session where the path names one.
    Right(Right),
    /// A caller who may operate the cluster, which serves all tenants.
    Operator,
}

/// What was found at the gate, for the rest of the request.
#[derive(Clone)]
struct Gate {
    caller: Caller,
    right: Option<Right>,
}

fn need(route: &str, method: &Method, path: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (route, method.as_str()) {
        ("healthz" | "readyz" | "openapi", _) => Need::Nothing,
        // These bring a token of their own, which their subscription gave them.
        ("subscriptions", _) if subscriptions::brings_token(method, path) => Need::Nothing,
        // The body has what it is to become, which needs a right there.
        (
            "changes" | "sessions" | "home" | "messages" | "message" | "turns" | "turn" | "fork"
            | "export",
            _,
        ) => Need::Right(Right::Read),
        ("session" | "events" | "stream" | "files" | "file", _) if reads => {
            Need::Right(Right::Read)
        }
        // What is brought in needs more, which the body does not show.
        ("import", _) => Need::Right(Right::Create),
        ("session" | "stream", "PUT") => Need::Right(Right::Create),
        ("session" | "stream", "DELETE") | ("trim" | "shelve", _) => Need::Right(Right::Delete),
        ("events" | "stream", "POST") | ("touch", _) => Need::Right(Right::Publish),
        ("ai_sdk_stream", _) => Need::Right(Right::Read),
        // Bodies and ids show what is requested, and whoever begins a turn is shown it.
        ("ai_sdk" | "ai_sdk_stop" | "openai_new" | "openai_of" | "ag_ui", _) => Need::Somebody,
        ("presence" | "ephemeral", _) => Need::Right(Right::Presence),
        ("claim" | "output" | "signals" | "tools", _) => Need::Right(Right::Claim),
        ("inputs" | "cancel" | "interactions" | "claim_call" | "release_call", _) => Need::Somebody,
        // One of several rights, see [`Right::BRINGING`].
        ("control" | "pause" | "resume" | "files" | "file", _) => Need::Somebody,
        ("ws" | "agents_ws" | "ai_sdk_ws" | "tickets" | "cookies", _) => Need::Somebody,
        // Of the caller's own tenant.
        ("keys" | "key" | "subscriptions", _) => Need::Right(Right::Admin),
        _ => Need::Operator,
    }
}

/// Whether a path requires credentials.
#[cfg(test)]
pub(super) fn asks(route: &str, method: &Method, path: &str) -> bool {
    need(route, method, path) != Need::Nothing
}

/// Lets a request in, or returns why not.
///
/// # Errors
/// What the request brought does not allow it; nothing is to happen.
pub(super) async fn open(
    edge: &Edge,
    entrance: Entrance,
    route: &'static str,
    request: &mut Request,
) -> Result<(), Problem> {
    let need = need(route, request.method(), request.uri().path());
    let needs_admin = matches!(need, Need::Right(Right::Admin) | Need::Operator);
    let here = match entrance {
        Entrance::All => true,
        Entrance::Clients => !needs_admin,
        Entrance::Operators => need == Need::Nothing || needs_admin,
    };
    if !here {
        let detail = match entrance {
            Entrance::Clients => "this is for operators, who are served at another address",
            Entrance::All | Entrance::Operators => "see /v1/openapi.json",
        };
        return Err(Problem::new(&error::UNKNOWN_PATH, detail));
    }
    let ticket = take_ticket(request)?;
    let cookie = cookies::take(edge, route, request)?;
    let right = match need {
        Need::Right(right) => Some(right),
        Need::Operator => Some(Right::Admin),
        Need::Nothing | Need::Somebody => None,
    };
    let caller = match need {
        Need::Right(_) | Need::Operator | Need::Somebody if edge.auth.is_on() => {
            let shown = Shown {
                ticket,
                cookie,
                credential: credential(request.headers())?.map(str::to_owned),
                gets: request.method() == Method::GET,
                path: request.uri().path().to_owned(),
            };
            caller(edge, &shown, right).await?
        }
        Need::Nothing => Caller::anybody(),
        _ => edge.auth.anybody(),
    };
    if let Some(right) = right {
        // Of sessions that are not the caller's nothing is revealed, not even which right would be needed: a path that
        // names one is judged when its name is known.
        if !names_session(route) {
            caller.may(right, None)?;
        }
    }
    if need == Need::Operator {
        caller.may_operate()?;
    }
    let caller = quota::seated(edge, caller, route, request)?;
    request.extensions_mut().insert(Gate { caller, right });
    Ok(())
}

/// Whether the paths of a route name a session.
fn names_session(route: &str) -> bool {
    !matches!(
        route,
        "changes"
            | "sessions"
            | "claim"
            | "tickets"
            | "cookies"
            | "metrics"
            | "keys"
            | "key"
            | "subscriptions"
    ) && !route.starts_with("cluster")
}

/// What a request shows of who sends it.
struct Shown {
    ticket: Option<String>,
    cookie: Option<Brought>,
    credential: Option<String>,
    gets: bool,
    path: String,
}

const NOT_VOUCHED: &str = "a cookie is taken from pages of this node, and of origins that --allow-origin names; \
     whatever changes something has to say its Origin";

async fn caller(edge: &Edge, shown: &Shown, right: Option<Right>) -> Result<Caller, Problem> {
    let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
    let now = edge.runtime.sessions.now();
    match (shown.credential.as_deref(), &shown.ticket) {
        (None, Some(ticket)) if shown.gets => {
            Ok(edge.auth.bearer_of(ticket, (&shown.path, right), now, deadline).await?)
        }
        (None, Some(_)) => {
            Err(Refused::Unknown("a ticket is for reading and for WebSockets").into())
        }
        (None, None) => match &shown.cookie {
            None => Ok(edge.auth.caller(None, now, deadline).await?),
            Some(Brought { text, vouched: true }) => {
                Ok(edge.auth.of_cookie(text, now, deadline).await?)
            }
            Some(_) => Err(Problem::new(&error::ORIGIN_NOT_ALLOWED, NOT_VOUCHED)),
        },
        (credential, _) => Ok(edge.auth.caller(credential, now, deadline).await?),
    }
}

/// Takes the ticket out of the address, so that nothing behind this sees it or writes it down.
///
/// # Errors
/// There is more than one.
pub(super) fn take_ticket(request: &mut Request) -> Result<Option<String>, Problem> {
    let bad = |detail: &str| Problem::new(&error::BAD_QUERY, detail);
    let Some(query) = request.uri().query() else { return Ok(None) };
    let (tickets, rest): (Vec<_>, Vec<_>) =
        query.split('&').partition(|pair| pair.starts_with("ticket="));
    let ticket = match &*tickets {
        [] => return Ok(None),
        [pair] => pair["ticket=".len()..].to_owned(),
        _ => return Err(bad("ticket is given twice")),
    };
    let path = request.uri().path();
    let rest = match rest.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", rest.join("&")),
    };
    let mut parts = request.uri().clone().into_parts();
    let unusual = |_| bad("the query is not form-encoded");
    parts.path_and_query = Some(rest.parse().map_err(unusual)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| bad("the address is none"))?;
    Ok(Some(ticket))
}

/// The key or token that a request brings: as a bearer's (RFC 6750), or, since pages cannot set headers for a
/// WebSocket, as the protocol `bearer.TOKEN`.
pub(super) fn credential(given: &HeaderMap) -> Result<Option<&str>, Problem> {
    if let Some(text) = headers::one(given, &header::AUTHORIZATION)? {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        return Ok(scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim()));
    }
    let protocols = headers::one(given, &header::SEC_WEBSOCKET_PROTOCOL)?.unwrap_or_default();
    Ok(protocols.split(',').find_map(|protocol| protocol.trim().strip_prefix("bearer.")))
}

/// Who sends the request.
///
/// # Errors
/// It did not come through the gate.
pub(super) fn sender(parts: &Parts) -> Result<Caller, Problem> {
    Ok(of(parts)?.caller.clone())
}

/// Judges the session that a path names.
///
/// # Errors
/// The caller may not send it this request.
pub(super) fn judge(parts: &Parts, session: &SessionId) -> Result<(), Problem> {
    let gate = of(parts)?;
    match gate.right {
        Some(right) => Ok(gate.caller.may(right, Some(session))?),
        None if gate.caller.is_for(session) => Ok(()),
        None => Err(Refusal::NotFound.into()),
    }
}

/// Judges the agent that a path names.
///
/// # Errors
/// The caller may not take its turns.
pub(super) fn judge_agent(parts: &Parts, agent: &AgentName) -> Result<(), Problem> {
    Ok(of(parts)?.caller.may_claim(agent)?)
}

fn of(parts: &Parts) -> Result<&Gate, Problem> {
    // Whatever did not come through the gate has no caller.
    parts.extensions.get::<Gate>().ok_or_else(|| Refused::Missing.into())
}

/// Who sends the request.
pub(super) struct By(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<By, Problem> {
        Ok(By(sender(parts)?))
    }
}

/// What a request waits for, unless whoever sent it may do nothing any more before that.
///
/// # Errors
/// The grant has ended; or as what is waited for has it.
pub(super) async fn while_granted<T>(
    caller: &Caller,
    waited: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let mut ending = caller.ending();
    tokio::select! {
        biased;
        ended = ending.came() => Err(Refused::Ended(ended).into()),
        done = waited => done,
    }
}

impl From<Refused> for Problem {
    fn from(why: Refused) -> Problem {
        let kind = match &why {
            Refused::Unavailable(text) => {
                tracing::debug!(text, "it cannot be known who asks");
                return Problem::new(&error::NO_QUORUM, "nothing happened; try again");
            }
            Refused::Ended(ended) => kind_of(*ended),
            Refused::Missing | Refused::Unknown(_) => &error::UNAUTHENTICATED,
        };
        let challenge = match why {
            Refused::Missing => "Bearer realm=\"outlive\"",
            _ => "Bearer realm=\"outlive\", error=\"invalid_token\"",
        };
        Problem::new(kind, why.to_string())
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

fn kind_of(ended: Ended) -> &'static error::Kind {
    match ended {
        Ended::Expired => &error::TOKEN_EXPIRED,
        Ended::KeyExpired => &error::KEY_EXPIRED,
        Ended::Revoked => &error::KEY_REVOKED,
        Ended::LoggedOut => &error::LOGGED_OUT,
        Ended::Closed => &error::UNAUTHENTICATED,
    }
}

impl From<Denial> for Problem {
    fn from(why: Denial) -> Problem {
        let forbidden = |detail: String| Problem::new(&error::FORBIDDEN, detail);
        match why {
            Denial::Ended(ended) => Refused::Ended(ended).into(),
            // As one that does not exist.
            Denial::Denied(Denied::Session) => Refusal::NotFound.into(),
            Denial::Denied(why @ Denied::Right(right)) => {
                forbidden(why.to_string()).with("right", right.name())
            }
            Denial::Denied(why) => forbidden(why.to_string()),
            Denial::Cookie => {
                forbidden("a cookie makes no tickets and cookies: ask with the key or token".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_credential_comes_in_a_header_or_as_the_protocol_of_a_websocket() {
        for (pairs, found) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bearer  abc ")], Some("abc")),
            (&[("authorization", "Basic abc")], None),
            (&[("authorization", "abc")], None),
            (&[("sec-websocket-protocol", "outlive, bearer.abc")], Some("abc")),
            (&[("sec-websocket-protocol", "outlive")], None),
            (&[("authorization", "Basic x"), ("sec-websocket-protocol", "bearer.abc")], None),
            (&[], None),
        ] {
            assert_eq!(credential(&given(pairs)).unwrap(), found, "{pairs:?}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert!(credential(&given(&twice)).is_err());
    }

    #[test]
    fn what_is_asked_of_a_session_needs_no_operator() {
        let posts = ["tools", "claim_call", "release_call", "interactions", "shelve", "fork"];
        for route in posts {
            assert_ne!(need(route, &Method::POST, "/"), Need::Operator, "{route}");
        }
    }

    #[test]
    fn a_path_that_nobody_thought_about_is_an_operators() {
        for (route, method, path) in [
            ("new", Method::GET, "/v1/new"),
            ("metrics", Method::GET, "/metrics"),
            ("cluster_leave", Method::POST, "/v1/cluster/leave"),
            ("session", Method::PATCH, "/v1/sessions/a"),
        ] {
            assert_eq!(need(route, &method, path), Need::Operator, "{route}");
        }
    }
}
