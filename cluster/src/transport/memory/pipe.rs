//! One direction of a stream in the memory network: bounded, delayed, in order.

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::MemoryNetwork;
use crate::{limits::MEMORY_STREAM_MESSAGES, transport::StreamError};

/// A message, or the clean end, and when it arrives.
type Parcel = (Instant, Option<Bytes>);

#[derive(Debug)]
pub(crate) struct MemorySender {
    network: MemoryNetwork,
    end: CancellationToken,
    pipe: mpsc::Sender<Parcel>,
    last: Instant,
}

#[derive(Debug)]
pub(crate) struct MemoryReceiver {
    end: CancellationToken,
    pipe: mpsc::Receiver<Parcel>,
    /// Taken from the pipe and not yet due, so that a dropped `recv` loses nothing.
    held: Option<Parcel>,
    finished: bool,
}

/// A pipe that breaks when `end` is cancelled.
pub(super) fn pipe(
    network: &MemoryNetwork,
    end: &CancellationToken,
) -> (MemorySender, MemoryReceiver) {
    let (send, recv) = mpsc::channel(MEMORY_STREAM_MESSAGES);
    let (network, last) = (network.clone(), Instant::now());
    (
        MemorySender { network, end: end.clone(), pipe: send, last },
        MemoryReceiver { end: end.clone(), pipe: recv, held: None, finished: false },
    )
}

fn lost() -> StreamError {
    StreamError::Lost("the nodes are apart".into())
}

impl MemorySender {
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), StreamError> {
        self.put(Some(message)).await
    }

    pub(crate) async fn finish(&mut self) -> Result<(), StreamError> {
        self.put(None).await
    }

    async fn put(&mut self, content: Option<Bytes>) -> Result<(), StreamError> {
        let place = tokio::select! {
            biased;
            () = self.end.cancelled() => return Err(lost()),
            place = self.pipe.reserve() => place.map_err(|_| StreamError::Stopped)?,
        };
        self.last = self.last.max(Instant::now() + self.network.delay());
        place.send((self.last, content));
        Ok(())
    }
}

impl MemoryReceiver {
    pub(crate) async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.finished {
            return Ok(None);
        }
        if self.held.is_none() {
            self.held = tokio::select! {
                biased;
                () = self.end.cancelled() => return Err(lost()),
                parcel = self.pipe.recv() => parcel,
            };
        }
        let Some((at, _)) = &self.held else { return Err(StreamError::Reset) };
        tokio::select! {
            biased;
            () = self.end.cancelled() => return Err(lost()),
            () = sleep_until(*at) => {}
        }
        let content = self.held.take().and_then(|(_, content)| content);
        self.finished = content.is_none();
        Ok(content)
    }
}
