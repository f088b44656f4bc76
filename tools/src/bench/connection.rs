//! One HTTP/1.1 connection, written by hand: the generator must cost less than what it measures.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::chunks::Chunks;

/// Room for what is usually read at once, in bytes.
const BUFFER: usize = 4096;
/// Answers larger than this are not ours, in bytes.
const ANSWER_MOST: usize = 16 << 20;

/// A connection that is kept alive.
pub(super) struct Connection {
    /// The head lines of every request.
    pub(super) head: Arc<str>,
    pub(super) stream: TcpStream,
    /// What was read and not used.
    pub(super) buffer: Vec<u8>,
}

/// An answer with its whole body.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    length: Option<usize>,
    headers: Vec<(String, String)>,
}

impl Head {
    fn is_chunked(&self) -> bool {
        let coding = self.headers.iter().find(|(name, _)| name == "transfer-encoding");
        coding.is_some_and(|(_, coding)| coding.eq_ignore_ascii_case("chunked"))
    }
}

impl Connection {
    pub(super) async fn open(address: &str, head: Arc<str>) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { head, stream, buffer: Vec::with_capacity(BUFFER) })
    }

    /// A request without a body.
    pub(super) async fn ask(&mut self, method: &str, path: &str) -> io::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: 0\r\n\r\n",
            self.head
        );
        self.send(request.as_bytes()).await
    }

    /// Sends a whole request and reads the whole answer.
    pub(super) async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        if head.is_chunked() {
            let (mut chunks, mut body) = (Chunks::default(), Vec::new());
            while !chunks.is_over() {
                chunks.take(self, &mut body)?;
                if !chunks.is_over() {
                    self.more().await?;
                }
            }
            return Ok(Answer { status: head.status, headers: head.headers, body });
        }
        let length = head.length.unwrap_or(0);
        if ANSWER_MOST < length {
            return Err(io::Error::other("the answer is endless"));
        }
        while self.buffer.len() < length {
            self.more().await?;
        }
        let body = self.buffer.drain(..length).collect();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Reads the head of an answer.
    pub(super) async fn head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let bad = || io::Error::new(ErrorKind::InvalidData, "this is no HTTP/1.1");
        let text = str::from_utf8(&self.buffer[..end]).map_err(|_| bad())?;
        let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
        let headers = text.lines().filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let headers: Vec<_> = headers.collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| value.parse().ok());
        self.buffer.drain(..end);
        Ok(Head { status, length, headers })
    }

    /// Reads what is there, and waits if nothing is.
    pub(super) async fn more(&mut self) -> io::Result<Range<usize>> {
        let before = self.buffer.len();
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => Ok(before..before + count),
        }
    }
}

/// Where `part` begins in `all`.
pub(super) fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}
