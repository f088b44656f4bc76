//! The headers of the native API, parsed strictly: given once, in one spelling, or refused.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, header};
use tokio::time::Instant;

use super::error::{self, Problem};
use crate::ids::{ProducerEpoch, ProducerId, Serial};
use crate::limits;
use crate::session::{Format, Origin};

pub(super) const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
pub(super) const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
pub(super) const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
pub(super) const PRODUCER_EXPECTED_SEQ: HeaderName =
    HeaderName::from_static("producer-expected-seq");
pub(super) const PRODUCER_RECEIVED_SEQ: HeaderName =
    HeaderName::from_static("producer-received-seq");
pub(super) const OUTLIVE_FORMAT: HeaderName = HeaderName::from_static("outlive-format");
pub(super) const OUTLIVE_CLOSE: HeaderName = HeaderName::from_static("outlive-close");
pub(super) const OUTLIVE_EXPECT_SERIAL: HeaderName =
    HeaderName::from_static("outlive-expect-serial");
pub(super) const OUTLIVE_TIMEOUT_MS: HeaderName = HeaderName::from_static("outlive-timeout-ms");
pub(super) const OUTLIVE_SERIAL: HeaderName = HeaderName::from_static("outlive-serial");
pub(super) const OUTLIVE_CURSOR: HeaderName = HeaderName::from_static("outlive-cursor");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Largest number that every client can hold exactly.
pub(super) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The text of a header that may be given once.
pub(super) fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(&error::BAD_HEADER, format!("{name} is given twice")));
    }
    str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| Problem::new(&error::BAD_HEADER, format!("{name} is not UTF-8")))
}

/// Digits without sign, space or leading zero, up to 2^53 - 1.
pub(super) fn strict_number(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&number| number <= NUMBER_MAX)
}

/// Who writes: all three producer headers, or none.
pub(super) fn producer(headers: &HeaderMap) -> Result<Option<Origin>, Problem> {
    let bad = |detail: String| Problem::new(&error::BAD_PRODUCER, detail);
    let id = one(headers, &PRODUCER_ID)?;
    let epoch = one(headers, &PRODUCER_EPOCH)?;
    let seq = one(headers, &PRODUCER_SEQ)?;
    let (id, epoch, seq) = match (id, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        _ => {
            let detail = "producer-id, producer-epoch and producer-seq come together";
            return Err(bad(detail.to_owned()));
        }
    };
    let producer = producer_name(id).map_err(|why| bad(format!("producer-id: {why}")))?;
    let number = |name: &HeaderName, text: &str| {
        strict_number(text).ok_or_else(|| bad(format!("{name} must be digits up to 2^53-1")))
    };
    Ok(Some(Origin {
        producer,
        epoch: ProducerEpoch(number(&PRODUCER_EPOCH, epoch)?),
        seq: number(&PRODUCER_SEQ, seq)?,
    }))
}

/// A producer that a client may be.
pub(super) fn producer_name(id: &str) -> Result<ProducerId, String> {
    if id == "__ds" || id.starts_with("__ds/") {
        return Err("names below __ds are the service's own".to_owned());
    }
    ProducerId::parse(id).map_err(|why| why.to_string())
}

/// The format tag of a raw body.
pub(super) fn format(headers: &HeaderMap) -> Result<Option<Format>, Problem> {
    let Some(text) = one(headers, &OUTLIVE_FORMAT)? else { return Ok(None) };
    Format::parse(text).map(Some).map_err(|why| Problem::new(&error::BAD_FORMAT, why.to_string()))
}

/// Whether the append closes the session.
pub(super) fn close(headers: &HeaderMap) -> Result<bool, Problem> {
    match one(headers, &OUTLIVE_CLOSE)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::new(&error::BAD_HEADER, "outlive-close must be true or false")),
    }
}

/// The serial that must be the last one.
pub(super) fn expect_serial(headers: &HeaderMap) -> Result<Option<Serial>, Problem> {
    let Some(text) = one(headers, &OUTLIVE_EXPECT_SERIAL)? else { return Ok(None) };
    let detail = "outlive-expect-serial must be digits up to 2^53-1";
    strict_number(text)
        .map(|serial| Some(Serial(serial)))
        .ok_or_else(|| Problem::new(&error::BAD_HEADER, detail))
}

/// When the client stops waiting.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Instant, Problem> {
    let wait_ms = match one(headers, &OUTLIVE_TIMEOUT_MS)? {
        None => limits::REQUEST_MS,
        Some(text) => strict_number(text)
            .filter(|ms| (1..=limits::REQUEST_MS_MAX).contains(ms))
            .ok_or_else(|| {
                let detail = format!("outlive-timeout-ms must be 1 to {}", limits::REQUEST_MS_MAX);
                Problem::new(&error::BAD_HEADER, detail)
            })?,
    };
    Ok(Instant::now() + Duration::from_millis(wait_ms))
}

/// The media type without its parameters, in small letters; empty where none is given.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let text = one(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses compressed bodies: nothing here inflates.
pub(super) fn plain_body(headers: &HeaderMap) -> Result<(), Problem> {
    match one(headers, &header::CONTENT_ENCODING)? {
        None | Some("identity") => Ok(()),
        Some(_) => Err(Problem::new(&error::UNSUPPORTED_ENCODING, "send the body as it is")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (text, number) in [("0", 0), ("7", 7), ("9007199254740991", NUMBER_MAX)] {
            assert_eq!(strict_number(text), Some(number));
        }
        for text in
            ["", "-1", "+1", "01", "00", " 1", "1 ", "1.0", "1e3", "NaN", "9007199254740992", "٣"]
        {
            assert_eq!(strict_number(text), None, "{text:?}");
        }
        assert_eq!(strict_number(&"9".repeat(10_000)), None);
    }

    #[test]
    fn a_producer_is_named_whole_or_not_at_all() {
        let whole: &[(&str, &[u8])] =
            &[("producer-id", b"p"), ("producer-epoch", b"0"), ("producer-seq", b"7")];
        assert_eq!(producer(&headers(whole)).unwrap().unwrap().seq, 7);
        assert_eq!(producer(&headers(&[])).unwrap(), None);
        for left_out in 0..3 {
            let mut some = whole.to_vec();
            some.remove(left_out);
            let why = producer(&headers(&some)).unwrap_err();
            assert_eq!(why.kind().code, "bad_producer");
        }
        for (at, value) in [(0, &b""[..]), (0, b" x"), (1, b"01"), (2, b"-1"), (2, b"")] {
            let mut bad = whole.to_vec();
            bad[at].1 = value;
            assert_eq!(producer(&headers(&bad)).unwrap_err().kind().code, "bad_producer");
        }
        let twice = [whole, &[("producer-seq", b"8")]].concat();
        assert_eq!(producer(&headers(&twice)).unwrap_err().kind().code, "bad_header");
        let broken: &[(&str, &[u8])] =
            &[("producer-id", b"\xff"), ("producer-epoch", b"0"), ("producer-seq", b"7")];
        assert_eq!(producer(&headers(broken)).unwrap_err().kind().code, "bad_header");
    }

    #[test]
    fn switches_are_true_false_or_wrong() {
        assert!(close(&headers(&[("outlive-close", b"true")])).unwrap());
        assert!(!close(&headers(&[("outlive-close", b"false")])).unwrap());
        assert!(close(&headers(&[("outlive-close", b"yes")])).is_err());
        assert!(deadline(&headers(&[("outlive-timeout-ms", b"0")])).is_err());
        assert!(deadline(&headers(&[("outlive-timeout-ms", b"60001")])).is_err());
        assert!(deadline(&headers(&[("outlive-timeout-ms", b"60000")])).is_ok());
        assert!(plain_body(&headers(&[("content-encoding", b"gzip")])).is_err());
        let kind = headers(&[("content-type", b"Application/JSON; charset=utf-8")]);
        assert_eq!(media_type(&kind).unwrap(), "application/json");
    }
}
