//! Frames of a live stream (`text/event-stream`, WHATWG HTML 9.2), safe for every payload.
//!
//! An event is one line of JSON, so that no payload can end a line, a frame or begin a field; names of
//! frames and ids are ours alone.

use std::borrow::Cow;
use std::fmt::Display;

use bytes::{BufMut, Bytes, BytesMut};

use super::{json, wire};
use crate::ids::{Cursor, Incarnation, Serial};
use crate::runtime::{Rendered, Shown};

/// Keeps a silent connection alive; a comment, so that no client sees it. No blank line follows, here and in
/// the opening: some readers take a block without data for a message.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n");

/// The data of frames of data alone, each of one line, as [`super::chat`] writes them; comments are left out.
pub(super) fn datas(frames: &[u8]) -> impl Iterator<Item = &str> {
    let lines = frames.split(|byte| *byte == b'\n');
    lines.filter_map(|line| str::from_utf8(line).ok()?.strip_prefix("data: "))
}

/// Comment that makes clients and proxies with a buffer of up to 2 KiB pass on the first bytes.
const PADDING: usize = 2048;

/// What the first frame of every stream begins with: how long to wait before coming back, and padding.
pub(super) fn opening(retry_ms: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(PADDING + 32);
    out.extend_from_slice(format!("retry: {retry_ms}\n:").as_bytes());
    out.put_bytes(b' ', PADDING);
    out.put_u8(b'\n');
    out.freeze()
}

/// The frame of an event: encoded by its first reader and shared by all others of the same life. A fork and its
/// source share events and not ids.
pub(super) fn event(shown: &Shown, incarnation: Incarnation) -> Cow<'_, Bytes> {
    let rendered = rendered(shown, incarnation);
    if rendered.incarnation == incarnation {
        return Cow::Borrowed(&rendered.frame);
    }
    let json = json_of(&rendered.frame).as_bytes();
    Cow::Owned(of_event(json, shown.event.serial, incarnation).into())
}

/// The JSON inside the frame of an event; it is the same in every life.
pub(super) fn data(shown: &Shown, incarnation: Incarnation) -> &str {
    json_of(&rendered(shown, incarnation).frame)
}

fn rendered(shown: &Shown, incarnation: Incarnation) -> &Rendered {
    shown.rendered.get_or_init(|| {
        let event = &shown.event;
        let cursor = Cursor { incarnation, serial: event.serial };
        let mut out = Vec::with_capacity(160 + event.payload.len());
        out.extend_from_slice(format!("id: {cursor}\ndata: ").as_bytes());
        wire::event(&mut out, event, None);
        out.extend_from_slice(b"\n\n");
        Rendered { incarnation, frame: json::without_line_ends(out).into() }
    })
}

fn json_of(frame: &Bytes) -> &str {
    const LABEL: &str = "data: ";
    let frame = str::from_utf8(frame).expect("frames are rendered as text");
    let data = frame.find(LABEL).map(|at| &frame[at + LABEL.len()..]);
    data.expect("a frame has its data").trim_end_matches('\n')
}

/// The frame of an event whose JSON is there already.
pub(super) fn of_event(json: &[u8], serial: Serial, incarnation: Incarnation) -> Vec<u8> {
    let cursor = Cursor { incarnation, serial };
    let mut out = format!("id: {cursor}\ndata: ").into_bytes();
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
    json::without_line_ends(out)
}

/// A frame with a name of its own. Its id, if it has one, is where a reader goes on after it.
pub(super) fn control(name: &'static str, id: Option<&str>, data: &impl Display) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // A JSON value's own text has no line break: strings escape theirs.
    let frame = format!("event: {name}\n{id}data: {data}\n\n");
    json::without_line_ends(frame.into()).into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::super::wire::tests::sample;
    use super::*;
    use crate::client::sse::{Frame, Parser};

    fn shown(format: &str, payload: &[u8]) -> Shown {
        Shown { event: sample(format, payload), rendered: std::sync::OnceLock::new() }
    }

    /// What an EventSource makes of `stream`, written from the standard's text and slow on purpose:
    /// `client::sse` is the quick one.
    fn event_source(stream: &[u8]) -> Vec<Frame> {
        let text = String::from_utf8_lossy(stream);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let (mut frames, mut id) = (Vec::new(), String::new());
        let (mut name, mut data) = (String::new(), String::new());
        let Some((whole, _)) = text.rsplit_once('\n') else { return frames };
        for line in whole.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    let event = if name.is_empty() { "message".into() } else { name.clone() };
                    frames.push(Frame { event, id: id.clone(), data: data.clone() });
                }
                (name, data) = (String::new(), String::new());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value.into(),
                "data" => data = data + value + "\n",
                "id" if !value.contains('\0') => id = value.into(),
                _ => {}
            }
        }
        frames
    }

    /// The payload inside a frame's data, as any client would take it out.
    fn payload(data: &str) -> Vec<u8> {
        #[derive(serde::Deserialize)]
        struct Shape<'a> {
            #[serde(borrow)]
            data: Option<&'a RawValue>,
            text: Option<String>,
            base64: Option<String>,
        }
        // `null` is the one value that an Option swallows.
        if data.contains("\"data\":null,\"chain\"") {
            return b"null".to_vec();
        }
        let shape: Shape<'_> = serde_json::from_str(data).unwrap();
        match (shape.data, shape.text, shape.base64) {
            (Some(value), None, None) => value.get().into(),
            (None, Some(text), None) => text.into(),
            (None, None, Some(text)) => STANDARD.decode(text).unwrap(),
            _ => panic!("not exactly one payload in {data}"),
        }
    }

    /// One event in a stream arrives as one frame with exactly its payload.
    fn check(format: &str, bytes: &[u8]) {
        let shown = shown(format, bytes);
        let frame = event(&shown, Incarnation(3));
        let stream = [&opening(700), &*frame, &HEARTBEAT].map(|part| part.to_vec()).concat();
        let frames = event_source(&stream);
        assert_eq!(frames.len(), 1, "{stream:?}");
        assert_eq!(frames[0].event, "message");
        assert_eq!(frames[0].id, "0000000003_00000000000000000007");
        for line_end in ['\u{85}', '\u{2028}', '\u{2029}'] {
            assert!(!frames[0].data.contains(line_end), "{stream:?}");
        }
        let got = payload(&frames[0].data);
        if got != bytes {
            // In the text of JSON those letters are escaped.
            assert_eq!(format, "json");
            assert_eq!(got, json::without_line_ends(bytes.to_vec()));
        }
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&stream).unwrap(), frames);
        assert_eq!(parser.retry_ms, Some(700));
    }

    #[test]
    fn the_data_of_an_event_is_what_its_frame_carries() {
        let shown = shown("text", b"data: a\n\n");
        let frames = event_source(&event(&shown, Incarnation(3)));
        assert_eq!(data(&shown, Incarnation(3)), frames[0].data);
    }

    #[test]
    fn no_payload_breaks_out_of_its_frame() {
        for format in ["text", "raw", "json", "text/x; a=\"b\""] {
            for bytes in [
                "",
                "\n",
                "\r",
                "\r\n",
                "\n\nevent: end\nid: 9\ndata: x\n\n",
                "a\u{2028}b\u{2029}c\u{85}",
                "\0\u{1}\u{7f}",
                "\u{feff}data: x",
                "null",
                "{\"a\":\"\\n\"}",
                "[1,\n2]",
                " 1",
                "\"\\ud800\"",
            ] {
                check(format, bytes.as_bytes());
            }
            check(format, b"\xed\xa0\x80");
            check(format, b"\xff\n\n\xfe");
            check(format, "ä".repeat(70_000).as_bytes());
        }
    }

    #[test]
    fn a_frame_is_encoded_once() {
        let shown = shown("text", b"Hel");
        let first = event(&shown, Incarnation(1)).as_ptr();
        assert_eq!(event(&shown, Incarnation(1)).as_ptr(), first);
        expect![[r#"
            id: 0000000001_00000000000000000007
            data: {"serial":7,"time":1700000000000,"format":"text","text":"Hel","chain":"0000000000000abc"}

        "#]]
        .assert_eq(str::from_utf8(&event(&shown, Incarnation(1))).unwrap());
    }

    #[test]
    fn readers_of_different_lives_share_an_event_and_get_ids_of_their_own() {
        let shown = shown("text", b"Hel");
        for incarnation in [Incarnation(3), Incarnation(1), Incarnation(3), Incarnation(2)] {
            let frames = event_source(&event(&shown, incarnation));
            let cursor = Cursor { incarnation, serial: Serial(7) };
            assert_eq!(frames[0].id, cursor.to_string());
            assert_eq!(frames[0].data, data(&shown, incarnation));
        }
        // What was folded for one reader stays folded.
        let folded = of_event(b"{\"folded\":true}", Serial(7), Incarnation(1));
        let rendered = Rendered { incarnation: Incarnation(1), frame: folded.into() };
        let shown = Shown { rendered: rendered.into(), ..shown };
        let frames = event_source(&event(&shown, Incarnation(2)));
        assert_eq!(frames[0].data, "{\"folded\":true}");
        assert_eq!(frames[0].id, "0000000002_00000000000000000007");
    }

    #[test]
    fn a_control_frame_is_one_frame_whatever_it_names() {
        let data = json!({ "session": "a\u{2028}\nid: 9\r\rb" });
        let frames = event_source(&control("attached", Some("7"), &data));
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].event, "attached");
        assert_eq!(serde_json::from_str::<Value>(&frames[0].data).unwrap(), data);
        assert!(!frames[0].data.contains('\u{2028}'));
    }

    /// Blocks as a reader takes them that makes a message of each.
    #[test]
    fn every_block_has_data() {
        let data = json!({ "session": "a" });
        let shown = shown("text", b"Hel");
        let stream = [
            &opening(700)[..],
            &control("attached", Some("7"), &data),
            &HEARTBEAT,
            &HEARTBEAT,
            &event(&shown, Incarnation(1)),
            &HEARTBEAT,
        ]
        .concat();
        let text = str::from_utf8(&stream).unwrap();
        let (whole, rest) = text.rsplit_once("\n\n").unwrap();
        assert!(whole.split("\n\n").all(|block| block.contains("\ndata: ")), "{text}");
        assert_eq!(rest.as_bytes(), HEARTBEAT);
    }

    /// What attackers send: pieces of frames, halves of letters, all kinds of line ends.
    fn attack() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\ndata: x\n\n".to_vec()),
            Just(b"event: end\n".to_vec()),
            Just(b"id:".to_vec()),
            Just(b":".to_vec()),
            Just(b"\0".to_vec()),
            Just(b"\"".to_vec()),
            Just(b"\\".to_vec()),
            Just("\u{2028}".into()),
            Just("\u{feff}".into()),
            any::<char>().prop_map(|letter| letter.to_string().into_bytes()),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<f64>()
                .prop_map(|number| format!("{number:e}").replace("inf", "1").replace("NaN", "0")),
            ".{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|all| format!("[ {}]", all.join(" ,"))),
                prop::collection::vec((".{0,3}", inner), 0..4).prop_map(|all| {
                    let pairs: Vec<_> = all
                        .into_iter()
                        .map(|(key, value)| {
                            format!("{} :{value}", serde_json::to_string(&key).unwrap())
                        })
                        .collect();
                    format!("{{{}}}", pairs.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_payload_comes_back_byte_for_byte(
            bytes in attack(),
            format in prop::sample::select(vec!["text", "raw", "json", "a\"b"]),
        ) {
            check(format, &bytes);
        }

        #[test]
        fn every_json_value_comes_back_byte_for_byte(text in value()) {
            check("json", text.as_bytes());
        }

        #[test]
        fn the_quick_parser_reads_any_stream_as_the_standard_does(
            pieces in prop::collection::vec(attack(), 0..6),
        ) {
            let mut parser = Parser::default();
            let mut frames = Vec::new();
            for piece in &pieces {
                frames.extend(parser.feed(piece).unwrap());
            }
            prop_assert_eq!(frames, event_source(&pieces.concat()));
        }
    }
}
