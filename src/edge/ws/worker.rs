//! One WebSocket of a worker: its frames in and out of a link of the runtime's.
//!
//! Everything that a worker is and may do is the link's; this only carries. What it sent in front of a
//! close is still committed, and then its turns go to others at once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::super::Edge;
use super::super::error::Problem;
use super::super::worker::{Frames, refused};
use super::socket::{CloseReason, Received, SocketReceiver, SocketSender};
use crate::auth::{Caller, Ending, Exceeded};
use crate::ids::AgentId;
use crate::limits;
use crate::runtime::agent::{
    Codec, Frame, FromWorker, Leave, LinkEnd, Listener, Refused, Register, Registration, Speaker,
    ToWorker, TurnKey,
};
use crate::session::Command;

/// Texts that wait for the worker to read; beyond them it is sent nothing more.
const WAITING: usize = 16;

/// Serves a worker until either side has enough.
pub(super) async fn run(
    edge: Edge,
    caller: Caller,
    mut receiver: SocketReceiver,
    mut sender: SocketSender,
) {
    let reason = match registered(&edge, &caller, &mut receiver, &mut sender).await {
        Ok((speaker, listener)) => {
            let frames = Frames { tenant: caller.tenant().cloned() };
            let mut worker =
                Worker { edge, ending: caller.ending(), caller, frames, speaker, listener };
            let reason = worker.serve(&mut receiver, &mut sender).await;
            worker.speaker.close(leave(reason));
            reason
        }
        Err(reason) => reason,
    };
    if let Some(why) = receiver.objection(reason) {
        emit(&mut sender, &Refused::frame(why.code(), why.detail().to_owned()));
    }
    sender.close(receiver, reason).await;
}

/// How a worker leaves its turns when its connection ends.
fn leave(reason: CloseReason) -> Leave {
    match reason {
        CloseReason::Stopping | CloseReason::Done => Leave::Released,
        CloseReason::Defiant => {
            Leave::Replaced("it went on with a turn that was taken from it".into())
        }
        _ => Leave::Disconnected,
    }
}

/// Waits for a worker to register.
async fn registered(
    edge: &Edge,
    caller: &Caller,
    receiver: &mut SocketReceiver,
    sender: &mut SocketSender,
) -> Result<(Speaker, Listener), CloseReason> {
    let until = Instant::now() + Duration::from_millis(limits::HEAD_MS);
    loop {
        let next = async {
            sender.flush().await?;
            Ok::<Received, CloseReason>(receiver.hear().await)
        };
        let received = tokio::select! {
            received = timeout_at(until, next) => received,
            () = edge.stop.cancelled() => return Err(CloseReason::Stopping),
        };
        let text = match received.map_err(|_| CloseReason::Silent)?? {
            Received::Text(text) => text,
            Received::Sign => continue,
            Received::Odd(why) => {
                emit(sender, &Refused::frame(why.code(), why.detail().to_owned()));
                continue;
            }
            Received::Over(reason) => return Err(reason),
        };
        match register(caller, &text) {
            Ok(register) => {
                if let Err(why) = caller.may_claim(&register.agent.name) {
                    let why = Problem::from(why);
                    emit(sender, &Refused::frame(why.code(), why.detail().to_owned()));
                    continue;
                }
                let link = edge.runtime.workers.link(register).ok_or(CloseReason::Stopping)?;
                sender.send(text_of(Frames::default().registered(edge.runtime.workers.node())));
                receiver.trust(limits::WORKER_FRAME_BYTES);
                return Ok(link);
            }
            Err(refused) => emit(sender, &ToWorker::Refused(refused)),
        }
    }
}

fn register(caller: &Caller, text: &Utf8Bytes) -> Result<Register, Box<Refused>> {
    let refuse = |detail: &str| {
        let (code, detail) = ("bad_frame", detail.to_owned());
        Box::new(Refused { key: None, seq: None, code, detail, retry_after_ms: None })
    };
    let requested = match Frames::default().read(text.as_bytes())? {
        Frame::Register(requested) => requested,
        Frame::FromWorker(_) => return Err(refuse("the first frame is register")),
    };
    let Registration { agent, worker, capacity, lease_ms, progress_timeout_ms } = requested;
    Ok(Register {
        agent: AgentId {
            tenant: caller.tenant().cloned(),
            name: agent.ok_or_else(|| refuse("a worker names its agent"))?,
        },
        worker: worker.ok_or_else(|| refuse("a worker names itself"))?,
        capacity: capacity.unwrap_or(1),
        lease_ms: lease_ms.unwrap_or(limits::LINK_LEASE_MS),
        progress_timeout_ms: progress_timeout_ms.unwrap_or(limits::PROGRESS_TIMEOUT_MS),
        cancel_grace: limits::CANCEL_GRACE,
        grant: caller.judged().cloned(),
    })
}

struct Worker {
    edge: Edge,
    caller: Caller,
    ending: Ending,
    frames: Frames,
    speaker: Speaker,
    listener: Listener,
}

impl Worker {
    async fn serve(
        &mut self,
        receiver: &mut SocketReceiver,
        sender: &mut SocketSender,
    ) -> CloseReason {
        let stop = self.edge.stop.clone();
        let (to_mouth, refusals) = mpsc::channel(WAITING);
        tokio::select! {
            biased;
            () = stop.cancelled() => CloseReason::Stopping,
            ended = self.ending.came() => CloseReason::Ended(ended),
            reason = tell(&mut self.listener, refusals, sender) => reason,
            reason = hear((&self.edge, &self.caller), &self.frames, &self.speaker, to_mouth, receiver) => reason,
        }
    }
}

/// Passes on the worker's frames, while the link has room for it.
async fn hear(
    (edge, caller): (&Edge, &Caller),
    frames: &Frames,
    speaker: &Speaker,
    to_mouth: mpsc::Sender<ToWorker>,
    receiver: &mut SocketReceiver,
) -> CloseReason {
    loop {
        let output = match receiver.hear().await {
            Received::Text(text) => match frames.read(text.as_bytes()) {
                Ok(Frame::FromWorker(output)) => spend(edge, caller, output),
                Ok(Frame::Register(_)) => {
                    Err(Refused::frame("bad_frame", "it is registered already".to_owned()))
                }
                Err(refused) => Err(ToWorker::Refused(refused)),
            },
            // Whatever comes shows that it lives.
            Received::Sign => Ok(FromWorker::Pong),
            Received::Odd(why) => Err(Refused::frame(why.code(), why.detail().to_owned())),
            Received::Over(reason) => return reason,
        };
        let closed = match output {
            Ok(output) => speaker.hear(output).await.is_err(),
            // It lives, whatever it may send.
            Err(refused) => {
                speaker.hear(FromWorker::Pong).await.is_err()
                    || to_mouth.send(refused).await.is_err()
            }
        };
        if closed {
            // The link has the reason of its end.
            std::future::pending::<()>().await;
        }
    }
}

/// The worker's frame, if its quotas have room for it.
///
/// # Errors
/// The answer, where they have not: the link does not get it.
fn spend(edge: &Edge, caller: &Caller, output: FromWorker) -> Result<FromWorker, ToWorker> {
    if let FromWorker::Ephemeral { key, content: words, .. } = &output {
        let spent = edge.auth.spend_on_bytes(caller, words.payload.len());
        let answer =
            |why: Exceeded| ToWorker::Refused(refused(&why.into(), Some(key.clone()), None));
        spent.map_err(answer)?;
        return Ok(output);
    }
    let FromWorker::Report { session, report } = output else { return Ok(output) };
    let command = Command::Report(report);
    let spent = edge.auth.spend(caller, &command);
    let Command::Report(report) = command else { unreachable!("it is what it was") };
    let Err(why) = spent else { return Ok(FromWorker::Report { session, report }) };
    let key = TurnKey { session, turn: report.turn.clone(), epoch: report.epoch };
    let seq = report.output.as_ref().map(|output| output.seq);
    Err(ToWorker::Refused(refused(&why.into(), Some(key), seq)))
}

/// Sends the worker what the link has for it, no faster than it reads.
async fn tell(
    listener: &mut Listener,
    mut refusals: mpsc::Receiver<ToWorker>,
    sender: &mut SocketSender,
) -> CloseReason {
    let mut pings = interval(Duration::from_millis(limits::SOCKET_PING_MS));
    loop {
        let (is_idle, tells) = (sender.is_idle(), sender.waiting() < WAITING);
        tokio::select! {
            biased;
            flushed = sender.flush(), if !is_idle => {
                if let Err(reason) = flushed {
                    return reason;
                }
            }
            message = listener.next(), if tells => match message {
                Ok(message) => emit(sender, &message),
                Err(end) => return reason(end),
            },
            Some(refused) = refusals.recv(), if tells => emit(sender, &refused),
            _ = pings.tick(), if tells => sender.ping(),
        }
    }
}

fn reason(end: LinkEnd) -> CloseReason {
    match end {
        LinkEnd::Drained | LinkEnd::Closed => CloseReason::Done,
        LinkEnd::Silent => CloseReason::Silent,
        LinkEnd::Defiant => CloseReason::Defiant,
        LinkEnd::Stopping => CloseReason::Stopping,
    }
}

fn emit(sender: &mut SocketSender, message: &ToWorker) {
    sender.send(text_of(Frames::default().write(message)));
}

fn text_of(frame: Vec<u8>) -> String {
    String::from_utf8(frame).expect("frames are rendered as text")
}
