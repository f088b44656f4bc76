//! A worker on a WebSocket: the frames it receives, with the time at which it came.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Target;

/// What must have come by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames under way in each direction.
const FRAMES: usize = 256;

/// A registered worker. Its connection breaks when this is dropped.
pub(super) struct BenchWorker {
    report: mpsc::Sender<Value>,
    received: mpsc::Receiver<(Instant, Value)>,
    _task: JoinSet<()>,
}

impl BenchWorker {
    /// Registers a worker of an agent, for one turn at once.
    pub(super) async fn open(
        target: &Target,
        node: usize,
        agent: &str,
    ) -> anyhow::Result<BenchWorker> {
        let mut connection = target.connect(node).await?;
        let request = format!(
            "GET /v1/agents/ws HTTP/1.1\r\n{}connection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: YmVuY2hiZW5jaGJlbmNoYg==\r\n\r\n",
            target.head()
        );
        connection.stream.write_all(request.as_bytes()).await?;
        let head = connection.head().await?;
        ensure!(head.status == 101, "status {} for a WebSocket", head.status);
        let (stream, read) = (connection.stream, connection.buffer);
        let socket = WebSocketStream::from_partially_read(stream, read, Role::Client, None).await;
        let (report, frames) = mpsc::channel(FRAMES);
        let (tell, received) = mpsc::channel(FRAMES);
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(why) = carry(socket, frames, tell).await {
                tracing::debug!(%why, "a worker's connection broke");
            }
        });
        let mut link = BenchWorker { report, received, _task: task };
        link.emit(json!({ "type": "register", "agent": agent, "worker": "bench", "capacity": 1 }))
            .await?;
        link.see("registered").await?;
        Ok(link)
    }

    pub(super) async fn emit(&self, frame: Value) -> anyhow::Result<()> {
        self.report.send(frame).await.context("the worker's connection broke")
    }

    /// The next frame of a type, and when it came; a `signal` by its `what`.
    pub(super) async fn see(&mut self, what: &str) -> anyhow::Result<(Instant, Value)> {
        loop {
            let frame = timeout(PATIENCE, self.received.recv()).await;
            let frame = frame.with_context(|| format!("no {what:?} came"))?;
            let (at, frame) = frame.context("the worker's connection broke")?;
            ensure!(frame["type"] != "refused", "refused: {frame}");
            if frame["type"] == what || frame["type"] == "signal" && frame["what"] == what {
                return Ok((at, frame));
            }
        }
    }
}

async fn carry(
    mut socket: WebSocketStream<TcpStream>,
    mut frames: mpsc::Receiver<Value>,
    tell: mpsc::Sender<(Instant, Value)>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { return Ok(()) };
                socket.send(Message::text(frame.to_string())).await?;
            }
            message = socket.next() => {
                let at = Instant::now();
                let message = message.context("the end")??;
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(text.as_str())?;
                if frame["type"] == "ping" {
                    socket.send(Message::text(r#"{"type":"pong"}"#)).await?;
                } else {
                    tell.send((at, frame)).await?;
                }
            }
        }
    }
}
