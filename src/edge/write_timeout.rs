//! A connection that gives up on a client who does not read (S10).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::telemetry::Metrics;

/// Bytes in and out, where a write that makes no progress for too long is an error.
pub(super) struct Impatient<T> {
    inner: T,
    limit: Duration,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl<T> Impatient<T> {
    pub(super) fn new(inner: T, limit: Duration, metrics: Arc<Metrics>) -> Impatient<T> {
        Impatient { inner, limit, patience: None, metrics }
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

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
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
        self.judge(outcome, context)
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

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not() {
        let metrics = Arc::new(Metrics::default());
        let (near, mut far) = tokio::io::duplex(10);
        let limit = Duration::from_millis(500);
        let mut near = Impatient::new(near, limit, metrics.clone());
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
}
