//! The rest of a live stream on a connection of its own: chunks out (RFC 9112, 7.1), nothing in.
//!
//! What waits here for the next event waits by the ten thousand, so it holds no buffer (S10). The last
//! chunk, which ends the stream cleanly, is written after `end` and `deleted` alone (S7).

use std::io::{self, Write};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::live::EventStream;
use crate::limits;

/// Length of a chunk in hexadecimal and a line end.
const CHUNK_HEAD: usize = 18;
/// Bytes that are taken from a client at once, to be thrown away.
const DISCARD: usize = 64;

/// Writes what the live stream has until it ends, breaks off, or the client leaves.
pub(super) async fn run<T>(mut socket: T, mut live: Box<EventStream>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let outcome = loop {
        let bytes = tokio::select! {
            biased;
            bytes = live.next() => bytes,
            () = gone(&mut socket) => return,
        };
        match bytes {
            Some(Ok(bytes)) => {
                if let Err(why) = chunk(&mut socket, bytes).await {
                    break Err(why);
                }
            }
            // The connection breaks, so that the client knows that the stream did not end.
            Some(Err(_)) => return,
            None => break end(&mut socket).await,
        }
    };
    if let Err(why) = outcome {
        tracing::debug!(%why, "a reader was lost");
    }
}

async fn chunk(socket: &mut (impl AsyncWrite + Unpin), bytes: Bytes) -> io::Result<()> {
    let mut head = [0; CHUNK_HEAD];
    let mut space = &mut head[..];
    write!(space, "{:x}\r\n", bytes.len())?;
    let used = CHUNK_HEAD - space.len();
    let mut all = Buf::chain(Buf::chain(&head[..used], bytes), &b"\r\n"[..]);
    socket.write_all_buf(&mut all).await
}

async fn end(socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    socket.write_all(b"0\r\n\r\n").await?;
    socket.shutdown().await
}

/// Waits until the client has left, or sends more than a reader has to send.
async fn gone(socket: &mut (impl AsyncRead + Unpin)) {
    let mut received = 0;
    let mut bytes = [0; DISCARD];
    while let Ok(count @ 1..) = socket.read(&mut bytes).await {
        received += count;
        if limits::HEAD_BYTES < received {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::connection::Connection;

    #[tokio::test]
    async fn a_chunk_is_its_length_and_its_bytes() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        chunk(&mut near, Bytes::from(vec![b'x'; 26])).await.unwrap();
        end(&mut near).await.unwrap();
        let mut got = String::new();
        far.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, format!("1a\r\n{}\r\n0\r\n\r\n", "x".repeat(26)));
    }

    /// What a task for this costs while it waits.
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>() + size_of::<EventStream>()
    }

    #[test]
    fn an_idle_reader_is_small() {
        let bytes = size(run::<Connection>);
        let (live, socket) = (size_of::<EventStream>(), size_of::<Connection>());
        let of = format!("{live} of what it tells, {socket} of its connection");
        assert!(bytes <= 2048, "the task of one live stream takes {bytes} bytes: {of}");
    }
}
