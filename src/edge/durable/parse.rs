//! The parameters of a request, in its headers and its query. The dialect is lenient where its protocol is:
//! what it does not know is ignored, and `Stream-Closed` counts only where it is `true`.

use axum::http::{HeaderMap, HeaderName, header};

use super::super::error::{self, Problem};
use super::super::headers;
use super::name;
use super::offset::Position;
use super::{
    STREAM_CLOSED, STREAM_EXPIRES_AT, STREAM_FORK_OFFSET, STREAM_FORK_SUB_OFFSET,
    STREAM_FORKED_FROM, STREAM_SEQ, STREAM_TTL,
};
use crate::auth::Caller;
use crate::ids::{Incarnation, Serial, SessionId};
use crate::offset::Offset;
use crate::rfc3339;
use crate::session::ContentType;

/// The end of life that a creator chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) ttl_ms: Option<u64>,
    pub(super) expires_at: Option<crate::ids::Millis>,
}

/// The fork that a creator requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fork {
    pub(super) source: SessionId,
    pub(super) anchor: Option<Serial>,
    /// The root that the anchor is of, where it names one.
    pub(super) root: Option<Incarnation>,
    pub(super) sub: u64,
}

/// The query of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read<'q> {
    /// None where nothing was given: the start, and no live read.
    pub(super) place: Option<Position>,
    pub(super) live: Option<LiveMode>,
    pub(super) cursor: Option<&'q str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LiveMode {
    LongPoll,
    Sse,
}

fn bad(name: &HeaderName, rule: &str) -> Problem {
    Problem::new(&error::BAD_HEADER, format!("{name} must be {rule}"))
}

pub(super) fn closes(headers: &HeaderMap) -> bool {
    headers
        .get(STREAM_CLOSED)
        .is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"true"))
}

/// The content type, if there is one that looks like one.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<ContentType>, Problem> {
    let Some(text) = headers::one(headers, &header::CONTENT_TYPE)? else { return Ok(None) };
    let word = |part: &str| {
        part.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let plausible = text.split_once('/').is_some_and(|(kind, rest)| {
        kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && word(kind)
            && word(rest)
    });
    if !plausible {
        return Ok(None);
    }
    let kept = ContentType::parse(text.trim());
    kept.map(Some).map_err(|why| Problem::new(&error::BAD_HEADER, why.to_string()))
}

/// The writers' stream seq.
pub(super) fn order(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    Ok(headers::one(headers, &STREAM_SEQ)?.map(str::to_owned))
}

/// When the stream ends.
pub(super) fn end(headers: &HeaderMap) -> Result<End, Problem> {
    let ttl = headers::one(headers, &STREAM_TTL)?;
    let expires_at = headers::one(headers, &STREAM_EXPIRES_AT)?;
    if ttl.is_some() && expires_at.is_some() {
        let detail = "stream-ttl and stream-expires-at exclude each other";
        return Err(Problem::new(&error::BAD_HEADER, detail));
    }
    let ttl_ms = ttl.map(|text| {
        let seconds = headers::strict_number(text);
        let seconds = seconds.ok_or_else(|| bad(&STREAM_TTL, "seconds in plain digits"))?;
        // A session that ends at once is kept for the shortest time there is.
        Ok::<_, Problem>(seconds.saturating_mul(1000).max(1))
    });
    let expires_at = expires_at.map(|text| {
        rfc3339::parse(text).ok_or_else(|| bad(&STREAM_EXPIRES_AT, "a time as RFC 3339 writes it"))
    });
    Ok(End { ttl_ms: ttl_ms.transpose()?, expires_at: expires_at.transpose()? })
}

/// What the stream begins as, if not as nothing; the source is of the caller's tenant.
pub(super) fn fork(caller: &Caller, headers: &HeaderMap) -> Result<Option<Fork>, Problem> {
    let source = headers::one(headers, &STREAM_FORKED_FROM)?;
    let offset = headers::one(headers, &STREAM_FORK_OFFSET)?;
    let sub = headers::one(headers, &STREAM_FORK_SUB_OFFSET)?;
    let Some(source) = source else {
        if sub.is_some() || offset.is_some() {
            return Err(bad(&STREAM_FORKED_FROM, "there with the place of a fork"));
        }
        return Ok(None);
    };
    let (anchor, root) = match offset {
        None => (None, None),
        Some(text) => match Position::parse(text) {
            Some(Position::After(Offset { root, serial })) => (Some(serial), Some(root)),
            Some(Position::Start) if text != "-1" => (Some(Serial::ZERO), None),
            _ if is_foreign(text) => return Err(beyond()),
            _ => return Err(bad(&STREAM_FORK_OFFSET, "an offset of the source")),
        },
    };
    let sub = sub.map(|text| {
        headers::strict_number(text)
            .ok_or_else(|| bad(&STREAM_FORK_SUB_OFFSET, "plain digits up to 2^53-1"))
    });
    let sub = sub.transpose()?.unwrap_or(0);
    if 0 < sub && anchor.is_none() {
        return Err(bad(&STREAM_FORK_OFFSET, "there with a sub-offset"));
    }
    Ok(Some(Fork { source: source_id(caller, source)?, anchor, root, sub }))
}

/// Whether the text has the shape of an offset that no log of ours can have.
fn is_foreign(text: &str) -> bool {
    text.split_once('_').is_some_and(|(root, serial)| {
        [root, serial]
            .iter()
            .all(|part| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

pub(super) fn beyond() -> Problem {
    Problem::new(&error::FORK_OFFSET_OUT_OF_RANGE, "the offset is not from the source's log")
}

/// The source: the path of a stream, or its whole address.
fn source_id(caller: &Caller, text: &str) -> Result<SessionId, Problem> {
    let path = match text.split_once("://") {
        Some(("http" | "https", rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        _ => text,
    };
    name::parse(caller, path)
}

/// The parameters of a read. Parameters that are not known are ignored.
pub(super) fn read(pairs: &[(String, String)]) -> Result<Read<'_>, Problem> {
    let bad = |detail: &str| Problem::new(&error::BAD_QUERY, detail);
    let all = |name: &'static str| {
        pairs.iter().filter(move |(given, _)| given == name).map(|(_, text)| text.as_str())
    };
    let mut offsets = all("offset");
    let place = offsets.next().map(|text| {
        Position::parse(text).ok_or_else(|| bad("offset must be -1, now or an offset given before"))
    });
    if offsets.next().is_some() {
        return Err(bad("offset is given twice"));
    }
    let live = match all("live").next() {
        None => None,
        Some("long-poll") => Some(LiveMode::LongPoll),
        Some("sse") => Some(LiveMode::Sse),
        Some(_) => return Err(bad("live must be long-poll or sse")),
    };
    let place = place.transpose()?;
    if live.is_some() && place.is_none() {
        return Err(bad("a live read needs an offset"));
    }
    Ok(Read { place, live, cursor: all("cursor").next() })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    mod fuzz {
        use proptest::prelude::*;

        use super::*;
        use crate::fuzz::nearly;

        const TEXTS: [&str; 8] = [
            "-1",
            "now",
            "0000000001_00000000000000000041",
            "3600",
            "2026-01-02T03:04:05.678Z",
            "application/json; charset=utf-8",
            "https://chat.example/v1/stream/a%2Fb?c",
            "sse",
        ];

        proptest! {
            #[test]
            fn what_a_stream_is_asked_for_is_understood_or_refused(
                bytes in nearly(TEXTS.map(|text| text.as_bytes().to_vec()).to_vec()),
                names in prop::collection::vec(0_usize..5, 1..4),
            ) {
                let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
                let known = [STREAM_TTL, STREAM_EXPIRES_AT, STREAM_FORKED_FROM, STREAM_FORK_OFFSET, header::CONTENT_TYPE];
                let mut given = HeaderMap::new();
                for name in names {
                    given.append(&known[name], value.clone());
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let pairs = ["offset", "live", "cursor"].map(|name| (name.to_owned(), text.clone()));
                let all = [
                    end(&given).map(drop),
                    content_type(&given).map(drop),
                    order(&given).map(drop),
                    fork(&Caller::anybody(), &given).map(drop),
                    read(&pairs).map(drop),
                    read(&pairs[..1]).map(drop),
                ];
                for problem in all.into_iter().filter_map(Result::err) {
                    prop_assert!((400..500).contains(&problem.kind().status), "{problem:?}");
                }
            }
        }
    }

    #[test]
    fn a_time_to_live_has_one_spelling() {
        let ttl = |text| end(&map(&[("stream-ttl", text)])).map(|end| end.ttl_ms.unwrap()).ok();
        assert_eq!(ttl("60"), Some(60_000));
        assert_eq!(ttl("0"), Some(1));
        for text in ["+1", "01", "1.0", "1e3", "-1", "", "abc"] {
            assert_eq!(ttl(text), None, "{text:?}");
        }
        let both = map(&[("stream-ttl", "1"), ("stream-expires-at", "2030-01-01T00:00:00Z")]);
        assert!(end(&both).is_err());
    }

    #[test]
    fn only_true_closes_and_only_types_are_types() {
        for (text, closing) in [("true", true), ("TRUE", true), ("false", false), ("1", false)] {
            assert_eq!(closes(&map(&[("stream-closed", text)])), closing, "{text}");
        }
        let kind = |text| content_type(&map(&[("content-type", text)])).unwrap();
        assert_eq!(kind("text/plain; charset=utf-8").unwrap().essence(), "text/plain");
        for text in ["", "nonsense", "/", "a/", " /b"] {
            assert_eq!(kind(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fork_names_a_place_of_its_source() {
        let plan = |pairs: &[(&'static str, &str)]| {
            fork(&Caller::anybody(), &map(pairs)).map_err(|why| why.kind().code)
        };
        let from = ("stream-forked-from", "/v1/stream/a/b");
        let fork = plan(&[from]).unwrap().unwrap();
        assert_eq!((fork.source.name(), fork.anchor, fork.sub), ("a/b", None, 0));
        let zero = ("stream-fork-offset", "0000000000000000_0000000000000000");
        let fork = plan(&[from, zero, ("stream-fork-sub-offset", "3")]).unwrap().unwrap();
        assert_eq!((fork.anchor, fork.root, fork.sub), (Some(Serial(0)), None, 3));
        let whole = ("stream-forked-from", "https://host:1/streams/a%2Fb");
        assert_eq!(plan(&[whole]).unwrap().unwrap().source.name(), "a/b");
        for (pairs, code) in [
            (&[("stream-fork-sub-offset", "0")][..], "bad_header"),
            (&[from, ("stream-fork-offset", "x")], "bad_header"),
            (&[from, ("stream-fork-offset", "-1")], "bad_header"),
            (
                &[from, ("stream-fork-offset", "9999999999999999_9999999999999999")],
                "fork_offset_out_of_range",
            ),
            (&[from, ("stream-fork-sub-offset", "1")], "bad_header"),
            (&[from, zero, ("stream-fork-sub-offset", "01")], "bad_header"),
            (&[("stream-forked-from", "elsewhere")], "bad_session_id"),
        ] {
            assert_eq!(plan(pairs), Err(code), "{pairs:?}");
        }
    }

    #[test]
    fn a_read_ignores_what_it_does_not_know_and_nothing_else() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
        };
        let plain = own(&[("x", "1"), ("offset", "now")]);
        assert_eq!(read(&plain).unwrap().place, Some(Position::Now));
        assert_eq!(read(&[]).unwrap().place, None);
        for pairs in [
            &[("offset", "")][..],
            &[("offset", "-1"), ("offset", "-1")],
            &[("offset", "a,b")],
            &[("live", "sse")],
            &[("offset", "now"), ("live", "x")],
        ] {
            assert!(read(&own(pairs)).is_err(), "{pairs:?}");
        }
    }
}
