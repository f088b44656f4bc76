//! The bytes of a client's connection: TCP or TLS over it, with the protocol of its first bytes, with an end for
//! clients who do not read (S10), and with a sign when everything is written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::takeover::Takeover;
use crate::telemetry::Metrics;

/// What every connection of HTTP/2 begins with (RFC 9113, 3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes of a connection come by; TLS is boxed, so that a connection without it is small.
pub(super) type Carrier = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// A connection of a client. A write that makes no progress for too long is an error.
pub(super) struct Connection<T = Carrier> {
    inner: T,
    /// Its first bytes, which were looked at and are still to be read; boxed, since most of its life there are none.
    first: Option<Box<Bytes>>,
    limit: Duration,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
    /// Who is notified when everything that was to be written is written.
    takeover: Option<Arc<Takeover>>,
}

impl<T> Connection<T> {
    pub(super) fn new(inner: T, limit: Duration, metrics: Arc<Metrics>) -> Connection<T> {
        Connection { inner, first: None, limit, patience: None, metrics, takeover: None }
    }

    /// Has the takeover notified when everything is written: whoever writes flushes only then.
    pub(super) fn watched_by(self, takeover: Arc<Takeover>) -> Connection<T> {
        Connection { takeover: Some(takeover), ..self }
    }

    /// Takes back what [`Self::watched_by`] did.
    pub(super) fn unwatched(self) -> Connection<T> {
        Connection { takeover: None, ..self }
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn judge<V>(
        &mut self,
        outcome: Poll<io::Result<V>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<V>> {
        if outcome.is_ready() {
            self.patience = None;
            return outcome;
        }
        let limit = self.limit;
        let stall = || Box::pin(sleep(limit));
        ready!(self.patience.get_or_insert_with(stall).as_mut().poll(context));
        self.metrics.slow_consumers.inc();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<T: AsyncRead + Unpin> Connection<T> {
    /// Looks at as few of the first bytes as show the client's protocol. They are read again.
    ///
    /// # Errors
    /// The connection ended or broke before that.
    pub(super) async fn speaks(&mut self) -> io::Result<Speaks> {
        let mut start = [0; HTTP2.len()];
        let mut count = 0;
        let speaks = loop {
            match self.inner.read(&mut start[count..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => count += more,
            }
            if start[..count] != HTTP2[..count] {
                break Speaks::Http1;
            }
            if count == HTTP2.len() {
                break Speaks::Http2;
            }
        };
        self.first = Some(Box::new(Bytes::copy_from_slice(&start[..count])));
        Ok(speaks)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(first) = &mut self.first else {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        };
        let count = first.len().min(buffer.remaining());
        buffer.put_slice(&first.split_to(count));
        if first.is_empty() {
            self.first = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.judge(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        ready!(self.judge(outcome, context))?;
        if let Some(takeover) = &self.takeover {
            takeover.flushed(context);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    fn socket<T>(inner: T) -> Connection<T> {
        Connection::new(inner, Duration::from_millis(500), Arc::default())
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not() {
        let metrics = Arc::new(Metrics::default());
        let (near, mut far) = tokio::io::duplex(10);
        let limit = Duration::from_millis(500);
        let mut near = Connection::new(near, limit, metrics.clone());
        near.write_all(&[0; 10]).await.unwrap();
        let slow_reading = async {
            for _ in 0..4 {
                sleep(limit / 3).await;
                far.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 4]), slow_reading);
        written.unwrap();
        assert_eq!(metrics.slow_consumers.get(), 0);

        let begun = Instant::now();
        let cut = near.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        assert!(limit <= begun.elapsed());
        assert_eq!(metrics.slow_consumers.get(), 1);
    }

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
                    let mut stream = socket(near);
                    let found = stream.speaks().await.unwrap();
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).await.unwrap();
                    (found, got)
                };
                let ((), (found, got)) = tokio::join!(sending, reading);
                assert_eq!((found, &got[..]), (speaks, sent), "in pieces of {piece}");
            }
        }
        assert!(socket(&b"PRI"[..]).speaks().await.is_err());
    }
}
