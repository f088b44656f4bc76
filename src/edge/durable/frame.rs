//! Frames of a live stream: `data` with what was appended, `control` with where it ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json as value};

use super::super::json;
use super::body::Shape;
use crate::offset::Offset;

/// Where a reader stands after the data before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// More is there already.
    Behind { cursor: String },
    /// What follows is live.
    UpToDate { cursor: String },
    /// Nothing follows.
    Closed,
}

/// Writes a body of this shape. Bytes are base64, because a frame is text.
pub(super) fn data(out: &mut Vec<u8>, shape: Shape, body: &[u8]) {
    match shape {
        Shape::Json => {
            let json = json::without_line_ends(body.to_vec());
            frame(out, "data", &String::from_utf8_lossy(&json));
        }
        Shape::Text => frame(out, "data", &String::from_utf8_lossy(body)),
        Shape::Bytes => frame(out, "data", &STANDARD.encode(body)),
    }
}

pub(super) fn control(out: &mut Vec<u8>, next: Offset, standing: Standing) {
    let mut data = value!({ "streamNextOffset": next.to_string() });
    match standing {
        Standing::Closed => data["streamClosed"] = Value::Bool(true),
        Standing::Behind { cursor } => data["streamCursor"] = cursor.into(),
        Standing::UpToDate { cursor } => {
            data["streamCursor"] = cursor.into();
            data["upToDate"] = Value::Bool(true);
        }
    }
    frame(out, "control", &data.to_string());
}

/// Each line of the text in a field of its own, so that none can end the frame.
fn frame(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(format!("event: {name}\n").as_bytes());
    for line in lines(text) {
        // A reader takes one leading space for padding (WHATWG HTML 9.2.6).
        let padding = if line.starts_with(' ') { " " } else { "" };
        out.extend_from_slice(format!("data:{padding}{line}\n").as_bytes());
    }
    out.push(b'\n');
}

/// What stands between CR, LF and CRLF.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\r', '\n']) else { return rest.take() };
        let end = if text[at..].starts_with("\r\n") { at + 2 } else { at + 1 };
        rest = Some(&text[end..]);
        Some(&text[..at])
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::client::sse::Parser;
    use crate::ids::{Incarnation, Serial};

    const NEXT: Offset = Offset { root: Incarnation(1), serial: Serial(7) };

    #[test]
    fn data_is_followed_by_where_it_ends() {
        let mut out = Vec::new();
        data(&mut out, Shape::Text, b" a\r\nb\rc\n");
        control(&mut out, NEXT, Standing::UpToDate { cursor: "5".into() });
        data(&mut out, Shape::Json, "[\"\u{2028}\"]".as_bytes());
        data(&mut out, Shape::Bytes, b"\xff");
        control(&mut out, NEXT, Standing::Behind { cursor: "5".into() });
        data(&mut out, Shape::Bytes, b"");
        control(&mut out, NEXT, Standing::Closed);
        expect![[r#"
            event: data
            data:  a
            data:b
            data:c
            data:

            event: control
            data:{"streamCursor":"5","streamNextOffset":"0000000000000001_0000000000000007","upToDate":true}

            event: data
            data:["\u2028"]

            event: data
            data:/w==

            event: control
            data:{"streamCursor":"5","streamNextOffset":"0000000000000001_0000000000000007"}

            event: data
            data:

            event: control
            data:{"streamClosed":true,"streamNextOffset":"0000000000000001_0000000000000007"}

        "#]]
        .assert_eq(str::from_utf8(&out).unwrap());
    }

    fn attack() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\n".to_owned()),
            Just("\r".to_owned()),
            Just("\r\n".to_owned()),
            Just(" ".to_owned()),
            Just("\n\nevent: control\ndata:{}\n\n".to_owned()),
            Just("\r\rdata:".to_owned()),
            Just("\u{feff}".to_owned()),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_frame(text in attack()) {
            let mut out = b":\n\n".to_vec();
            data(&mut out, Shape::Text, text.as_bytes());
            control(&mut out, NEXT, Standing::Closed);
            let frames = Parser::default().feed(&out).unwrap();
            let names: Vec<_> = frames.iter().map(|frame| frame.event.as_str()).collect();
            prop_assert_eq!(names, ["data", "control"]);
            // Line ends are all that a text loses.
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&frames[0].data, &text);
        }

        #[test]
        fn every_byte_comes_back(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            let mut out = Vec::new();
            data(&mut out, Shape::Bytes, &bytes);
            let frames = Parser::default().feed(&out).unwrap();
            prop_assert_eq!(STANDARD.decode(&frames[0].data).unwrap(), bytes);
        }
    }
}
