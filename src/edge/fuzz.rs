//! Heads of requests that are nearly right: each is understood, or answered as the client's fault.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use futures::FutureExt;
use proptest::prelude::*;

use super::door::Door;
use super::error::Problem;
use super::query::Query;
use super::{cookies, cursor, events, gate, headers, history, public};
use crate::config::PublicConfig;
use crate::fuzz::nearly;

/// A target, and what stands below it.
const HEADS: [&str; 9] = [
    "/v1/sessions/s/events?live=sse&after=0000000001_00000000000000000041&snapshot=20\nhost: a:1\nlast-event-id: 0000000001_00000000000000000007",
    "/v1/sessions/s/events?before=7&limit=100&read=local\noutlive-timeout-ms: 5000",
    "/v1/sessions/s/events?live=long-poll&wait_ms=1000&after=start\nif-none-match: \"a\"",
    "/v1/sessions/s/events?live=sse&wait=1&participant=ada&device=phone&role=controller&pings=1&ephemeral=1",
    "/v1/sessions/s/events?branch=7&leaf=9&live=sse&on_gap=snapshot&visibility=public&lastEventId=x",
    "/a?ticket=olt_a.b&x=1\nhost: chat.example\norigin: https://chat.example\nsec-fetch-site: same-origin",
    "/a\ncookie: a=b; __Host-outlive=olc_a.b; outlive=olc_c.d\nauthorization: Bearer olk_a_b\norigin: null",
    "/a\nproducer-id: p\nproducer-epoch: 0\nproducer-seq: 7\noutlive-format: text\noutlive-close: true\noutlive-expect-serial: 9",
    "http://[::1]:4437/a\nhost: [::1]:4437\nforwarded: for=1;host=\"x:1\";proto=https\nx-forwarded-host: a, b\ncontent-type: a/b; c=d\ncontent-encoding: identity\nsec-websocket-protocol: outlive, bearer.x",
];

/// What of the bytes a server of HTTP would pass on; hyper judges the rest.
fn head(bytes: &[u8]) -> Option<(Uri, HeaderMap)> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let uri = Uri::try_from(lines.next()?).ok()?;
    let mut map = HeaderMap::new();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        map.append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
    Some((uri, map))
}

fn query(uri: &Uri) -> Result<Query, Problem> {
    let (mut parts, ()) = Request::builder().uri(uri).body(()).expect("it is one").into_parts();
    Query::from_request_parts(&mut parts, &()).now_or_never().expect("it waits for nothing")
}

/// What each part of the edge makes of a head; problems alone are of interest.
fn understood(uri: &Uri, map: &HeaderMap) -> Vec<Problem> {
    let door = Door::new(([127, 0, 0, 1], 4437).into(), &[], &[], &[]);
    let mut given = map.clone();
    let mut request =
        Request::builder().uri(uri).body(axum::body::Body::empty()).expect("it is one");
    let ways = [
        query(uri).and_then(|query| events::parse(query, map).map(drop)),
        door.look(uri, map).map(drop),
        headers::producer(map).map(drop),
        headers::format(map).map(drop),
        headers::close(map).map(drop),
        headers::expect_serial(map).map(drop),
        headers::deadline(map).map(drop),
        headers::media_type(map).map(drop),
        headers::plain_body(map),
        cookies::find(&mut given, "outlive").map(drop),
        gate::credential(map).map(drop),
        gate::take_ticket(&mut request).map(drop),
    ];
    for how in [(true, true), (true, false), (false, true), (false, false)] {
        door.vouches(uri, map, how);
    }
    public::reached(&PublicConfig::default(), true, None, uri, map);
    assert!(!given.contains_key("cookie") || ways[9].is_err(), "no cookie goes on");
    let query = request.uri().query().unwrap_or_default();
    let kept = query.split('&').any(|pair| pair.starts_with("ticket="));
    assert!(!kept || ways[11].is_err(), "no ticket goes on");
    ways.into_iter().filter_map(Result::err).collect()
}

proptest! {
    #[test]
    fn a_head_is_understood_or_is_the_fault_of_who_sent_it(
        bytes in nearly(HEADS.map(|head| head.as_bytes().to_vec()).to_vec()),
    ) {
        if let Some((uri, map)) = head(&bytes) {
            for problem in understood(&uri, &map) {
                prop_assert!((400..500).contains(&problem.kind().status), "{problem:?}");
            }
        }
    }

    #[test]
    fn a_position_is_one_or_is_refused(
        bytes in nearly(["0000000001_00000000000000000041", "start", "now", "41", ""].map(|text| text.as_bytes().to_vec()).to_vec()),
    ) {
        let text = String::from_utf8_lossy(&bytes);
        for problem in [cursor::place(Some(&text)).map(drop), history::At::parse(&text).map(drop)] {
            if let Err(problem) = problem {
                prop_assert!((400..500).contains(&problem.kind().status), "{problem:?}");
            }
        }
        // What is a number is read as that one.
        if let Some(serial) = history::event_place(&text) {
            prop_assert_eq!(serial.0.to_string(), text);
        }
    }
}

#[test]
fn the_samples_are_heads() {
    for sample in HEADS {
        let (uri, map) = head(sample.as_bytes()).expect(sample);
        assert!(understood(&uri, &map).len() <= 3, "{sample}");
    }
}
