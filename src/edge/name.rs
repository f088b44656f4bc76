//! The session that a client names, always one of the client's own tenant: in a path, one percent-encoded segment, in
//! one spelling. A test of the tree sees that nothing else of the edge makes the id of a session from a text.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::{self, Problem};
use super::gate;
use crate::auth::Caller;
use crate::ids::{AgentId, AgentName, BadId, FileId, InteractionId, SessionId, TenantName, TurnId};

/// The session named by the third segment of the path.
pub(super) struct Name(pub(super) SessionId);

impl<S: Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Name, Problem> {
        let segment = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let name = parse(segment).map_err(|detail| Problem::new(&error::BAD_SESSION_ID, detail))?;
        let id = named(&gate::sender(parts)?, &name)?;
        gate::judge(parts, &id)?;
        Ok(Name(id))
    }
}

/// The session of the caller's tenant with this name, which stands as it is and not in a path.
pub(super) fn session(caller: &Caller, name: &str) -> Result<SessionId, Problem> {
    if name == "." || name == ".." {
        let detail = "a path cannot carry the names . and ..";
        return Err(Problem::new(&error::BAD_SESSION_ID, detail));
    }
    named(caller, name)
}

/// The same for what a worker of a tenant names in a frame, which may be any session.
pub(super) fn in_frame(tenant: Option<&TenantName>, name: &str) -> Result<SessionId, BadId> {
    SessionId::of(tenant, name)
}

/// The session of the caller's tenant with this name, unless the service keeps it for itself.
pub(super) fn named(caller: &Caller, name: &str) -> Result<SessionId, Problem> {
    let id = SessionId::of(caller.tenant(), name);
    let id = id.map_err(|why| Problem::new(&error::BAD_SESSION_ID, why.to_string()))?;
    if id.is_reserved() {
        return Err(Problem::new(
            &error::UNKNOWN_PATH,
            "names below __ds and __outlive are reserved",
        ));
    }
    Ok(id)
}

/// The agent of the caller's tenant that is named by the third segment of the path.
pub(super) struct Agent(pub(super) AgentId);

impl<S: Sync> FromRequestParts<S> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Agent, Problem> {
        let name = other(parts, 3, AgentName::parse)?;
        gate::judge_agent(parts, &name)?;
        Ok(Agent(AgentId { tenant: gate::sender(parts)?.tenant().cloned(), name }))
    }
}

/// The session named by the third segment of the path, and the turn named by the fifth.
pub(super) struct TurnOf(pub(super) SessionId, pub(super) TurnId);

impl<S: Sync> FromRequestParts<S> for TurnOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TurnOf, Problem> {
        let Name(session) = Name::from_request_parts(parts, state).await?;
        Ok(TurnOf(session, other(parts, 5, TurnId::parse)?))
    }
}

/// The session named by the third segment of the path, and the interaction named by the fifth.
pub(super) struct InteractionOf(pub(super) SessionId, pub(super) InteractionId);

impl<S: Sync> FromRequestParts<S> for InteractionOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<InteractionOf, Problem> {
        let Name(session) = Name::from_request_parts(parts, state).await?;
        Ok(InteractionOf(session, other(parts, 5, InteractionId::parse)?))
    }
}

/// The session named by the third segment of the path, and the file named by the fifth.
pub(super) struct FileOf(pub(super) SessionId, pub(super) FileId);

impl<S: Sync> FromRequestParts<S> for FileOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<FileOf, Problem> {
        let Name(session) = Name::from_request_parts(parts, state).await?;
        Ok(FileOf(session, other(parts, 5, FileId::parse)?))
    }
}

/// The session named by the third segment of the path, and the message named by the fifth.
pub(super) struct MessageOf(pub(super) SessionId, pub(super) String);

impl<S: Sync> FromRequestParts<S> for MessageOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<MessageOf, Problem> {
        let Name(session) = Name::from_request_parts(parts, state).await?;
        Ok(MessageOf(session, other(parts, 5, |name| Ok(name.to_owned()))?))
    }
}

/// What a segment names, in the spelling of a session's name.
fn other<T>(
    parts: &Parts,
    place: usize,
    take: impl FnOnce(&str) -> Result<T, BadId>,
) -> Result<T, Problem> {
    let segment = parts.uri.path().split('/').nth(place).unwrap_or_default();
    let name = parse(segment).and_then(|name| take(&name).map_err(|why| why.to_string()));
    name.map_err(|detail| Problem::new(&error::BAD_NAME, detail))
}

/// Takes back the name from a path segment.
///
/// A name has few spellings, so that whoever guards paths in front of us sees what we see: letters,
/// digits, `-`, `_` and `.` stand for themselves and are never encoded, and what the dot segments of
/// a URL would swallow is no name.
pub(super) fn parse(segment: &str) -> Result<String, String> {
    let bytes = decode(segment)?;
    let text = String::from_utf8(bytes).map_err(|_| "the name is not UTF-8".to_owned())?;
    if text == "." || text == ".." {
        return Err("a path cannot carry the names . and ..".to_owned());
    }
    SessionId::parse(&text).map_err(|why| why.to_string())?;
    Ok(text)
}

fn decode(segment: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("% is followed by two hexadecimal digits".to_owned());
        };
        let byte = u8::try_from(high * 16 + low).expect("two digits make one byte");
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            return Err(format!("{:?} is written as it is", char::from(byte)));
        }
        out.push(byte);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(segment: &str, expected: Expect) {
        let shown = match parse(segment) {
            Ok(name) => format!("ok {name:?}"),
            Err(why) => why,
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_segment_names_one_session_or_none() {
        check("chat-1", expect![[r#"ok "chat-1""#]]);
        check("team%2Fchat%20%C3%A4", expect![[r#"ok "team/chat ä""#]]);
        check("a*b~'", expect![[r#"ok "a*b~'""#]]);
        check("a%2ab%7e%27", expect![[r#"ok "a*b~'""#]]);
        check("100%25", expect![[r#"ok "100%""#]]);
        check("%252e", expect![[r#"ok "%2e""#]]);
        check("", expect!["the name is empty"]);
        check("%61", expect!["'a' is written as it is"]);
        check("%2e%2e", expect!["'.' is written as it is"]);
        check("..", expect!["a path cannot carry the names . and .."]);
        check("a%00", expect!["the name has a control character at byte 1"]);
        check("a%0d%0aid: 9", expect!["the name has a control character at byte 1"]);
        check("%ff", expect!["the name is not UTF-8"]);
        check("%2", expect!["% is followed by two hexadecimal digits"]);
        check("%zz", expect!["% is followed by two hexadecimal digits"]);
        check("%20a", expect!["the name begins or ends with white space"]);
    }

    proptest! {
        #[test]
        fn every_name_survives_the_path_of_a_url(text in "[!-~äß漢🙂]([ -~äß漢🙂]{0,40}[!-~äß])?") {
            prop_assume!(text != "." && text != "..");
            let mut url = reqwest::Url::parse("http://host/v1/sessions").unwrap();
            url.path_segments_mut().unwrap().push(&text);
            let segment = url.path().split('/').nth(3).unwrap();
            prop_assert_eq!(parse(segment).unwrap(), text);
        }

        #[test]
        fn no_segment_makes_the_parser_panic(segment in "[%0-9a-f/.]{0,20}") {
            let _ = parse(&segment);
        }
    }
}
