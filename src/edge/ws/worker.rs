//! One WebSocket of a worker: its frames in and out of a link of the runtime's.
//!
//! Everything that a worker is and may do is the link's; this only carries. What it said in front of a
//! close is still committed, and then its turns go to others at once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::super::Edge;
use super::super::worker::Frames;
use super::socket::{Ears, Heard, Mouth, Parting};
use crate::limits;
use crate::runtime::agent::{
    Codec, Frame, FromWorker, Leave, LinkEnd, Listener, Refused, Register, Registration, Speaker,
    ToWorker,
};

/// Texts that wait for the worker to read; beyond them it is told nothing more.
const WAITING: usize = 16;

/// Serves a worker until either side has enough.
pub(super) async fn run(edge: Edge, mut ears: Ears, mut mouth: Mouth) {
    let parting = match registered(&edge, &mut ears, &mut mouth).await {
        Ok((speaker, listener)) => {
            let mut worker = Worker { edge, speaker, listener };
            let parting = worker.serve(&mut ears, &mut mouth).await;
            worker.speaker.close(leave(parting));
            parting
        }
        Err(parting) => parting,
    };
    if let Some(why) = ears.objection(parting) {
        say(&mut mouth, &Refused::frame(why.code(), why.detail().to_owned()));
    }
    mouth.close(ears, parting).await;
}

/// How a worker leaves its turns when its connection ends.
fn leave(parting: Parting) -> Leave {
    match parting {
        Parting::Stopping | Parting::Done => Leave::Released,
        Parting::Defiant => Leave::Replaced("it went on with a turn that was taken from it".into()),
        _ => Leave::Disconnected,
    }
}

/// Waits for a worker to say who it is.
async fn registered(
    edge: &Edge,
    ears: &mut Ears,
    mouth: &mut Mouth,
) -> Result<(Speaker, Listener), Parting> {
    let until = Instant::now() + Duration::from_millis(limits::HEAD_MS);
    loop {
        let next = async {
            mouth.flush().await?;
            Ok::<Heard, Parting>(ears.hear().await)
        };
        let heard = tokio::select! {
            heard = timeout_at(until, next) => heard,
            () = edge.stop.cancelled() => return Err(Parting::Stopping),
        };
        let text = match heard.map_err(|_| Parting::Silent)?? {
            Heard::Text(text) => text,
            Heard::Sign => continue,
            Heard::Odd(why) => {
                say(mouth, &Refused::frame(why.code(), why.detail().to_owned()));
                continue;
            }
            Heard::Over(parting) => return Err(parting),
        };
        match register(&text) {
            Ok(register) => {
                let link = edge.runtime.link(register).ok_or(Parting::Stopping)?;
                mouth.say(text_of(Frames.registered(edge.runtime.node())));
                ears.trust(limits::WORKER_FRAME_BYTES);
                return Ok(link);
            }
            Err(refused) => say(mouth, &ToWorker::Refused(refused)),
        }
    }
}

fn register(text: &Utf8Bytes) -> Result<Register, Box<Refused>> {
    let refuse = |detail: &str| {
        let (code, detail) = ("bad_frame", detail.to_owned());
        Box::new(Refused { key: None, seq: None, code, detail })
    };
    let asked = match Frames.read(text.as_bytes())? {
        Frame::Register(asked) => asked,
        Frame::Said(_) => return Err(refuse("the first frame is register")),
    };
    let Registration { agent, worker, capacity, lease_ms, quiet_ms } = asked;
    Ok(Register {
        agent: agent.ok_or_else(|| refuse("a worker names its agent"))?,
        worker: worker.ok_or_else(|| refuse("a worker names itself"))?,
        capacity: capacity.unwrap_or(1),
        lease_ms: lease_ms.unwrap_or(limits::LINK_LEASE_MS),
        quiet_ms: quiet_ms.unwrap_or(limits::QUIET_MS),
        cancel_grace: limits::CANCEL_GRACE,
    })
}

struct Worker {
    edge: Edge,
    speaker: Speaker,
    listener: Listener,
}

impl Worker {
    async fn serve(&mut self, ears: &mut Ears, mouth: &mut Mouth) -> Parting {
        let stop = self.edge.stop.clone();
        let (to_mouth, refusals) = mpsc::channel(WAITING);
        tokio::select! {
            biased;
            () = stop.cancelled() => Parting::Stopping,
            parting = tell(&mut self.listener, refusals, mouth) => parting,
            parting = hear(&self.speaker, to_mouth, ears) => parting,
        }
    }
}

/// Passes on what the worker says, while the link has room for it.
async fn hear(speaker: &Speaker, to_mouth: mpsc::Sender<ToWorker>, ears: &mut Ears) -> Parting {
    loop {
        let said = match ears.hear().await {
            Heard::Text(text) => match Frames.read(text.as_bytes()) {
                Ok(Frame::Said(said)) => Ok(said),
                Ok(Frame::Register(_)) => {
                    Err(Refused::frame("bad_frame", "it is registered already".to_owned()))
                }
                Err(refused) => Err(ToWorker::Refused(refused)),
            },
            // Whatever comes says that it lives.
            Heard::Sign => Ok(FromWorker::Pong),
            Heard::Odd(why) => Err(Refused::frame(why.code(), why.detail().to_owned())),
            Heard::Over(parting) => return parting,
        };
        let closed = match said {
            Ok(said) => speaker.hear(said).await.is_err(),
            Err(refused) => to_mouth.send(refused).await.is_err(),
        };
        if closed {
            // The link says why it ended.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells the worker what the link has for it, no faster than it reads.
async fn tell(
    listener: &mut Listener,
    mut refusals: mpsc::Receiver<ToWorker>,
    mouth: &mut Mouth,
) -> Parting {
    let mut pings = interval(Duration::from_millis(limits::SOCKET_PING_MS));
    loop {
        let (is_idle, tells) = (mouth.is_idle(), mouth.waiting() < WAITING);
        tokio::select! {
            biased;
            flushed = mouth.flush(), if !is_idle => {
                if let Err(parting) = flushed {
                    return parting;
                }
            }
            told = listener.next(), if tells => match told {
                Ok(told) => say(mouth, &told),
                Err(end) => return parting(end),
            },
            Some(refused) = refusals.recv(), if tells => say(mouth, &refused),
            _ = pings.tick(), if tells => mouth.ping(),
        }
    }
}

fn parting(end: LinkEnd) -> Parting {
    match end {
        LinkEnd::Drained | LinkEnd::Closed => Parting::Done,
        LinkEnd::Silent => Parting::Silent,
        LinkEnd::Defiant => Parting::Defiant,
        LinkEnd::Stopping => Parting::Stopping,
    }
}

fn say(mouth: &mut Mouth, told: &ToWorker) {
    mouth.say(text_of(Frames.write(told)));
}

fn text_of(frame: Vec<u8>) -> String {
    String::from_utf8(frame).expect("frames are rendered as text")
}
