//! A parser of `text/event-stream` (WHATWG HTML 9.2) that takes the stream in any pieces.
//!
//! Beyond the standard it takes a field `error`, by which some servers of models report that they failed, as the data
//! of an event of that name; and such an event counts without data, too.

/// One dispatched event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `message` where the stream gave no name.
    /// The name of the frame; `message` where it has none.
    pub event: String,
    /// The last id given up to here.
    pub id: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
}

/// The stream holds a line or an event larger than any that the service sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the live stream is larger than {limit} bytes")]
pub struct TooLong {
    /// What it is larger than, in bytes.
    pub limit: usize,
}

/// What has been read of a stream.
#[derive(Debug, Default)]
pub struct Parser {
    /// The wait before coming back that the stream set, in milliseconds.
    pub retry_ms: Option<u64>,
    line: Vec<u8>,
    /// The last byte was a carriage return; a line feed after it belongs to it.
    after_return: bool,
    /// The first line was seen, which may begin with a byte order mark.
    begun: bool,
    name: String,
    data: String,
    id: String,
}

/// Lines and events beyond this are no service's; an event of 256 KiB may be six times as long in JSON.
const FRAME_BYTES: usize = 8 << 20;

/// An id is returned with each event after it, so a long one would be there as often as there are events. No cursor is
/// longer; such an id is passed over.
const ID_BYTES: usize = 1024;

impl Parser {
    /// Takes the next bytes and returns the events they complete.
    ///
    /// # Errors
    /// A line or an event is too large; the stream is of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, TooLong> {
        let mut frames = Vec::new();
        let mut rest = bytes;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.extend_from_slice(&rest[..end]);
            frames.extend(self.take_line());
            let is_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_return {
                match rest.strip_prefix(b"\n") {
                    Some(after) => rest = after,
                    None => self.after_return = rest.is_empty(),
                }
            }
        }
        self.line.extend_from_slice(rest);
        if FRAME_BYTES < self.line.len() + self.data.len() {
            return Err(TooLong { limit: FRAME_BYTES });
        }
        Ok(frames)
    }

    /// The event that the stream ended in, if its blank line never came. The standard drops it: it may be cut.
    pub fn finish(&mut self) -> Option<Frame> {
        let unfinished = if self.line.is_empty() { None } else { self.take_line() };
        unfinished.or_else(|| self.dispatch())
    }

    fn take_line(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        // A line break is never part of a letter, so lines decode one by one as the whole would.
        let line = String::from_utf8_lossy(&line);
        let mut line = line.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "error" => {
                field.clone_into(&mut self.name);
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') && value.len() <= ID_BYTES => {
                value.clone_into(&mut self.id)
            }
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Frame> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() && name != "error" {
            return None;
        }
        let event = if name.is_empty() { "message".to_owned() } else { name };
        Some(Frame { event, id: self.id.clone(), data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &[u8], piece: usize) -> Vec<Frame> {
        let mut parser = Parser::default();
        stream.chunks(piece).flat_map(|bytes| parser.feed(bytes).unwrap()).collect()
    }

    #[test]
    fn a_stream_reads_the_same_in_any_pieces() {
        let stream = "\u{feff}data: ä\r\rdata:b\r\ndata: c\r\n\r\n: x\nid: 7\nevent: e\ndata\n\nid: 8\n\ndata: \u{10ffff}\n\nevent: lost";
        let frame = |event: &str, id: &str, data: &str| Frame {
            event: event.into(),
            id: id.into(),
            data: data.into(),
        };
        let expected = vec![
            frame("message", "", "ä"),
            frame("message", "", "b\nc"),
            frame("e", "7", ""),
            frame("message", "8", "\u{10ffff}"),
        ];
        for piece in 1..=stream.len() {
            assert_eq!(all(stream.as_bytes(), piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_error_and_the_unfinished_last_event_are_taken_where_they_are_wanted() {
        let mut parser = Parser::default();
        let frames = parser.feed(b"error: {}\n\ndata: a\ndata: b").unwrap();
        assert_eq!((frames[0].event.as_str(), frames[0].data.as_str()), ("error", "{}"));
        assert_eq!(parser.finish().map(|frame| frame.data).as_deref(), Some("a\nb"));
        assert_eq!(parser.finish(), None);
        let frames = parser.feed(b"event: error\n\nevent: other\n\n").unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].event.as_str(), frames[0].data.as_str()), ("error", ""));
    }

    #[test]
    fn an_id_that_is_no_cursor_is_passed_over() {
        let stream = format!("id: 7\ndata: a\n\nid: {}\ndata: b\n\n", "x".repeat(2_000));
        let ids: Vec<_> = all(stream.as_bytes(), 64).into_iter().map(|frame| frame.id).collect();
        assert_eq!(ids, ["7", "7"]);
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..9).any(|_| parser.feed(&piece).is_err()));
    }
}
