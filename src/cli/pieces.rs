//! A stream of bytes in pieces that give it back when put together again.

use clap::ValueEnum;

use crate::limits;

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// After the white space that follows a word
    Word,
    /// After each line feed
    Line,
    /// Nowhere: all of it is one event
    All,
}

/// Cuts what comes in.
#[derive(Debug)]
pub(super) struct Pieces {
    by: By,
    /// What came since the last cut.
    rest: Vec<u8>,
}

impl Pieces {
    pub(super) fn new(by: By) -> Pieces {
        Pieces { by, rest: Vec::new() }
    }

    /// Takes more bytes and hands each finished piece to `out`.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        for &byte in bytes {
            if self.is_cut_before(byte) || self.rest.len() == limits::EVENT_BYTES {
                self.finish(out);
            }
            self.rest.push(byte);
            // A line is finished by its own last byte; no reader should wait for the next one.
            if self.by == By::Line && byte == b'\n' {
                self.finish(out);
            }
        }
    }

    /// Hands over what is left, if anything.
    pub(super) fn finish(&mut self, out: &mut Vec<Vec<u8>>) {
        if !self.rest.is_empty() {
            out.push(std::mem::take(&mut self.rest));
        }
    }

    fn is_cut_before(&self, byte: u8) -> bool {
        let last = self.rest.last();
        self.by == By::Word
            && !byte.is_ascii_whitespace()
            && last.is_some_and(u8::is_ascii_whitespace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(by: By, text: &[u8], at_a_time: usize) -> Vec<Vec<u8>> {
        let (mut pieces, mut out) = (Pieces::new(by), Vec::new());
        text.chunks(at_a_time).for_each(|bytes| pieces.feed(bytes, &mut out));
        pieces.finish(&mut out);
        out
    }

    #[test]
    fn words_keep_the_white_space_behind_them() {
        let text = "  one two\n\n three\n";
        assert_eq!(
            cut(By::Word, text.as_bytes(), 4),
            [&b"  "[..], b"one ", b"two\n\n ", b"three\n"]
        );
        assert_eq!(cut(By::Line, text.as_bytes(), 4), [&b"  one two\n"[..], b"\n", b" three\n"]);
        assert_eq!(cut(By::All, text.as_bytes(), 4), [text.as_bytes()]);
        assert!(cut(By::Word, b"", 1).is_empty());
    }

    #[test]
    fn a_piece_is_never_larger_than_an_event() {
        let pieces = cut(By::All, &vec![b'x'; limits::EVENT_BYTES + 1], 1 << 16);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [limits::EVENT_BYTES, 1]);
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_whole(
            text in prop::collection::vec(prop_oneof![Just(b' '), Just(b'\n'), any::<u8>()], 0..200),
            at_a_time in 1_usize..20,
            by in prop::sample::select(vec![By::Word, By::Line, By::All]),
        ) {
            let pieces = cut(by, &text, at_a_time);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(&pieces, &cut(by, &text, 1));
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
