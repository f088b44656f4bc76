//! Chunked bodies, taken apart and put together (RFC 9112, 7.1).

use std::io;

use super::connection::{Connection, find};

/// Takes chunks apart.
#[derive(Default)]
pub(super) struct Chunks {
    /// Bytes of the present chunk that are still to come, its line end included.
    left: usize,
    /// Whether the last chunk has come.
    pub(super) ended: bool,
}

impl Chunks {
    /// Whether everything has come, the last line end too.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.left == 0
    }

    /// Moves what the chunks in the buffer carry to `text`.
    pub(super) fn take(
        &mut self,
        connection: &mut Connection,
        text: &mut Vec<u8>,
    ) -> io::Result<()> {
        let buffer = &mut connection.buffer;
        let mut at = 0;
        while at < buffer.len() {
            if self.left == 0 {
                let Some(length) = find(&buffer[at..], b"\r\n") else { break };
                let size = str::from_utf8(&buffer[at..at + length]).ok();
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                let size = size.ok_or(io::ErrorKind::InvalidData)?;
                self.ended |= size == 0;
                self.left = size + 2;
                at += length + 2;
                continue;
            }
            let count = self.left.min(buffer.len() - at);
            // The last two bytes are the chunk's line end.
            let content = count.min(self.left.saturating_sub(2));
            text.extend_from_slice(&buffer[at..at + content]);
            self.left -= count;
            at += count;
        }
        buffer.drain(..at);
        Ok(())
    }
}
