//! The first bytes of a connection: they say which HTTP follows (RFC 9113, 3.4), and are then read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// A connection whose first bytes were looked at.
pub(super) struct Prefaced<T> {
    pub(super) inner: T,
    start: [u8; HTTP2.len()],
    /// The part of `start` that is still to be read again.
    left: std::ops::Range<u8>,
}

/// Reads as little as tells what the client speaks.
///
/// # Errors
/// The connection ended or broke before that.
pub(super) async fn read<T>(mut inner: T) -> io::Result<(Prefaced<T>, Speaks)>
where
    T: AsyncRead + Unpin,
{
    let mut start = [0; HTTP2.len()];
    let mut count = 0;
    loop {
        match inner.read(&mut start[count..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => count += more,
        }
        let speaks = if start[..count] != HTTP2[..count] {
            Speaks::Http1
        } else if count == HTTP2.len() {
            Speaks::Http2
        } else {
            continue;
        };
        let left = 0..u8::try_from(count).expect("the preface is short");
        return Ok((Prefaced { inner, start, left }, speaks));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefaced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let left = &self.start[usize::from(self.left.start)..usize::from(self.left.end)];
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.left.start += u8::try_from(count).expect("the preface is short");
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefaced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_read_again_in_any_pieces() {
        let long = [HTTP2, &b"more"[..]].concat();
        for (sent, speaks) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Speaks::Http1),
            (b"PUT / HTTP/1.1\r\n\r\n", Speaks::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Speaks::Http1),
            (b"\0", Speaks::Http1),
            (&long, Speaks::Http2),
        ] {
            for piece in 1..=sent.len() {
                let (near, mut far) = tokio::io::duplex(piece);
                let sending = async {
                    far.write_all(sent).await.unwrap();
                    drop(far);
                };
                let reading = async {
                    let (mut stream, found) = read(near).await.unwrap();
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).await.unwrap();
                    (found, got)
                };
                let ((), (found, got)) = tokio::join!(sending, reading);
                assert_eq!((found, &got[..]), (speaks, sent), "in pieces of {piece}");
            }
        }
        assert!(read(&b"PRI"[..]).await.is_err());
    }
}
