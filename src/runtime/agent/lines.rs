//! Lines of a process: read one by one within a limit, and the last of what it wrote besides.

use std::collections::VecDeque;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::limits::{LAST_WORDS_BYTES, LINE_BYTES};

/// Lines of a stream, without their ends.
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// Whether `line` was handed out.
    whole: bool,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadLine {
    #[error("it ended")]
    End,
    #[error("it wrote a line of more than {LINE_BYTES} bytes")]
    TooLong,
    #[error("it cannot be read: {0}")]
    Broken(std::io::Error),
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Lines<R> {
        Lines { from, line: Vec::new(), whole: false }
    }

    /// The next line that is not empty. Cancel safe: half a line is kept. What comes after the last line end is
    /// no line: its writer was cut off.
    pub(super) async fn next(&mut self) -> Result<&[u8], BadLine> {
        if std::mem::take(&mut self.whole) {
            self.line.clear();
        }
        loop {
            let bytes = self.from.fill_buf().await.map_err(BadLine::Broken)?;
            if bytes.is_empty() {
                return Err(BadLine::End);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(bytes.len());
            if LINE_BYTES < self.line.len() + taken {
                return Err(BadLine::TooLong);
            }
            self.line.extend_from_slice(&bytes[..taken]);
            self.from.consume(taken + usize::from(end.is_some()));
            if end.is_some() && !self.line.is_empty() {
                self.whole = true;
                return Ok(&self.line);
            }
        }
    }
}

/// The last bytes of an output.
#[derive(Default)]
pub(super) struct LastWords(VecDeque<u8>);

impl LastWords {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let over = self.0.len().saturating_sub(LAST_WORDS_BYTES);
        self.0.drain(..over);
    }

    /// As text, in one line.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches(char::REPLACEMENT_CHARACTER).trim();
        text.replace(['\r', '\n'], " | ").replace(|letter: char| letter.is_control(), " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_or_not_there() {
        let mut lines = Lines::new(&b"one\n\ntwo\nhalf"[..]);
        assert_eq!(lines.next().await.unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap(), b"two");
        assert!(matches!(lines.next().await, Err(BadLine::End)));
        let long = vec![b'x'; LINE_BYTES + 1];
        assert!(matches!(Lines::new(&long[..]).next().await, Err(BadLine::TooLong)));
    }

    #[test]
    fn the_last_words_are_the_last_ones() {
        let mut words = LastWords::default();
        words.hear(&vec![b'a'; LAST_WORDS_BYTES]);
        words.hear("bä\npanicked\n".as_bytes());
        let text = words.text();
        assert!(text.starts_with('a') && text.ends_with("bä | panicked"), "{text}");
    }
}
