//! The API in which the service is used: its native one, or Durable Streams.

use super::connection::find;
use super::writer::{DUE_DIGITS, DUE_MARK};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    #[default]
    Native,
    /// Durable Streams: JSON streams, SSE
    Durable,
}

/// The content of one line of a live stream.
pub(super) enum Line<'l> {
    /// Where the next stream goes on.
    At(&'l [u8]),
    CaughtUp,
    /// Events with the times at which they were due, in microseconds; the first one's serial, where the line names it.
    Events {
        first: Option<u64>,
        due_us: Vec<Option<u64>>,
    },
}

impl Dialect {
    /// The path of a session.
    pub(super) fn session(self, name: &str) -> String {
        match self {
            Dialect::Native => format!("/v1/sessions/{name}"),
            Dialect::Durable => format!("/v1/stream/{name}"),
        }
    }

    /// The path that events are appended to.
    pub(super) fn append(self, name: &str) -> String {
        match self {
            Dialect::Native => format!("/v1/sessions/{name}/events"),
            Dialect::Durable => self.session(name),
        }
    }

    /// The path of a live stream after `at`, which is where an earlier one stopped.
    pub(super) fn live(self, name: &str, at: Option<&str>) -> String {
        let path = self.append(name);
        match self {
            Dialect::Native => format!("{path}?live=sse&after={}", at.unwrap_or("start")),
            Dialect::Durable => format!("{path}?live=sse&offset={}", at.unwrap_or("-1")),
        }
    }

    /// The path of a page after `at`.
    pub(super) fn page(self, name: &str, at: Option<&str>) -> String {
        let path = self.append(name);
        match self {
            Dialect::Native => format!("{path}?limit=10000&after={}", at.unwrap_or("start")),
            Dialect::Durable => format!("{path}?offset={}", at.unwrap_or("-1")),
        }
    }

    /// The body of an append.
    pub(super) fn render(self, payloads: impl Iterator<Item = String>, out: &mut Vec<u8>) {
        let (open, close): (&[u8], &[u8]) = match self {
            Dialect::Native => (b"{\"events\":[", b"]}"),
            Dialect::Durable => (b"[", b"]"),
        };
        out.extend_from_slice(open);
        for (place, payload) in payloads.enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let event = match self {
                Dialect::Native => format!("{comma}{{\"data\":{payload}}}"),
                Dialect::Durable => format!("{comma}{payload}"),
            };
            out.extend_from_slice(event.as_bytes());
        }
        out.extend_from_slice(close);
    }

    /// Reads a line of a live stream, as far as it matters here.
    pub(super) fn line(self, line: &[u8]) -> Option<Line<'_>> {
        match self {
            Dialect::Native => {
                if line == b"event: caught-up" {
                    return Some(Line::CaughtUp);
                }
                if let Some(id) = line.strip_prefix(b"id: ") {
                    return Some(Line::At(id));
                }
                let rest = line.strip_prefix(b"data: {\"serial\":")?;
                let due_us = find(rest, DUE_MARK).map(|at| due(&rest[at..]));
                Some(Line::Events { first: Some(digits(rest)), due_us: vec![due_us] })
            }
            Dialect::Durable => {
                let data = line.strip_prefix(b"data:")?;
                if let Some(at) = find(data, NEXT_MARK) {
                    if find(data, b"\"upToDate\":true").is_some() {
                        return Some(Line::CaughtUp);
                    }
                    let offset = &data[at + NEXT_MARK.len()..];
                    let end = offset.iter().position(|byte| *byte == b'"').unwrap_or(offset.len());
                    return Some(Line::At(&offset[..end]));
                }
                let (mut rest, mut all) = (data, Vec::new());
                while let Some(at) = find(rest, DUE_MARK) {
                    all.push(Some(due(&rest[at..])));
                    rest = &rest[at + DUE_MARK.len()..];
                }
                (!all.is_empty()).then_some(Line::Events { first: None, due_us: all })
            }
        }
    }
}

const NEXT_MARK: &[u8] = b"\"streamNextOffset\":\"";

/// The time after a mark.
fn due(marked: &[u8]) -> u64 {
    let due = &marked[DUE_MARK.len()..];
    digits(&due[..due.len().min(DUE_DIGITS)])
}

/// The number that a text begins with.
pub(super) fn digits(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(line: Option<Line<'_>>) -> Vec<Option<u64>> {
        match line {
            Some(Line::Events { due_us, .. }) => due_us,
            _ => Vec::new(),
        }
    }

    #[test]
    fn events_are_found_in_the_lines_of_both_dialects() {
        let native = b"data: {\"serial\":7,\"data\":{\"t\":\"000000000042\",\"p\":\"x\"}}";
        assert_eq!(dues(Dialect::Native.line(native)), [Some(42)]);
        let durable = b"data:[{\"t\":\"000000000042\",\"p\":\"\"},{\"t\":\"000000000043\"}]";
        assert_eq!(dues(Dialect::Durable.line(durable)), [Some(42), Some(43)]);
        let control = b"data: {\"streamNextOffset\":\"1_2\",\"streamCursor\":\"9\"}";
        assert!(matches!(Dialect::Durable.line(control), Some(Line::At(b"1_2"))));
        let control = b"data:{\"streamNextOffset\":\"1_2\",\"upToDate\":true}";
        assert!(matches!(Dialect::Durable.line(control), Some(Line::CaughtUp)));
        assert!(Dialect::Durable.line(b"event: control").is_none());
    }
}
