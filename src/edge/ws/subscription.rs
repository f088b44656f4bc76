//! One session on a WebSocket: what is sent for it, no more events than the client has room for (S7, S10).

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::super::telling::{Control, Stage, Telling};
use super::super::{frame, wire};
use crate::ids::{Cursor, SessionId};
use crate::limits;

/// Events that the client still has room for.
#[derive(Clone)]
pub(super) struct Credit(Arc<Semaphore>);

impl Credit {
    pub(super) fn new(events: u32) -> Credit {
        Credit(Arc::new(Semaphore::new(events as usize)))
    }

    /// Adds to it; or returns how much it would be then, if that is too much.
    pub(super) fn add(&self, events: u32) -> Result<(), usize> {
        let sum = self.0.available_permits() + events as usize;
        if (limits::SOCKET_CREDIT_MAX as usize) < sum {
            return Err(sum);
        }
        self.0.add_permits(events as usize);
        Ok(())
    }

    /// Waits for credit. Cancel safe.
    async fn given(&self) {
        drop(self.0.acquire().await);
    }

    /// Takes credit for one event, if there is any.
    fn take(&self) -> bool {
        self.0.try_acquire().map(|one| one.forget()).is_ok()
    }
}

/// An attached session and what it has to send next.
pub(super) struct Subscription {
    session: SessionId,
    /// What each of its frames begins with.
    head: String,
    /// Distinguishes it from others of the same session on this connection.
    number: u64,
    telling: Telling,
    credit: Credit,
    detached: CancellationToken,
}

/// What a session sends at once.
pub(super) struct Batch {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) texts: Vec<String>,
    /// What sends more; none after the last.
    pub(super) rest: Option<Subscription>,
}

impl Subscription {
    pub(super) fn new(
        session: SessionId,
        number: u64,
        telling: Telling,
        credit: Credit,
        detached: CancellationToken,
    ) -> Subscription {
        let mut head = b"{\"session\":".to_vec();
        wire::string(&mut head, session.name());
        head.extend_from_slice(b",\"type\":\"");
        let head = String::from_utf8(head).expect("names are texts");
        Subscription { session, head, number, telling, credit, detached }
    }

    /// What is sent first.
    pub(super) fn opening(&mut self) -> String {
        let attached = self.telling.attached(&self.session);
        self.control(attached)
    }

    /// Waits for what it sends next.
    pub(super) async fn speak(mut self) -> Batch {
        let texts = self.next().await;
        let goes_on = self.telling.stage() == Stage::Following && !self.detached.is_cancelled();
        let (session, number) = (self.session.clone(), self.number);
        Batch { session, number, texts, rest: goes_on.then_some(self) }
    }

    /// Nothing if it was detached.
    async fn next(&mut self) -> Vec<String> {
        loop {
            let events = self.events();
            if !events.is_empty() {
                return events;
            }
            let is_behind = self.telling.peek().is_some();
            tokio::select! {
                biased;
                () = self.detached.cancelled() => return Vec::new(),
                () = self.credit.given(), if is_behind => {}
                frames = beside_or_next(&mut self.telling, is_behind) => {
                    if let Some(frames) = frames {
                        return vec![self.control(frames)];
                    }
                }
            }
        }
    }

    /// As many events as there is credit for and the connection should get at once.
    fn events(&mut self) -> Vec<String> {
        let incarnation = self.telling.incarnation();
        let (mut texts, mut bytes) = (Vec::new(), 0);
        while bytes < limits::LIVE_BYTES && self.telling.peek().is_some() && self.credit.take() {
            let Some(shown) = self.telling.take() else { break };
            let cursor = Cursor { incarnation, serial: shown.event.serial };
            let data = frame::data(&shown, incarnation);
            let text = format!("{}event\",\"cursor\":\"{cursor}\",\"data\":{data}}}", self.head);
            bytes += text.len();
            texts.push(text);
        }
        texts
    }

    fn control(&self, frames: Control) -> String {
        let Control { name, cursor, data } = frames;
        let cursor = cursor.map(|at| format!("\"cursor\":\"{at}\",")).unwrap_or_default();
        format!("{}{name}\",{cursor}\"data\":{data}}}", self.head)
    }
}

/// What comes next; beside the events alone where those wait for credit. Cancel safe.
async fn beside_or_next(telling: &mut Telling, is_behind: bool) -> Option<Control> {
    if is_behind { Some(telling.aside().await) } else { telling.next().await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_spent_once_and_never_grows_beyond_its_bound() {
        let credit = Credit::new(1);
        assert!(credit.take());
        assert!(!credit.take());
        assert_eq!(credit.add(limits::SOCKET_CREDIT_MAX), Ok(()));
        assert_eq!(credit.add(1), Err(limits::SOCKET_CREDIT_MAX as usize + 1));
        assert!(credit.take());
        assert_eq!(credit.add(1), Ok(()));
    }
}
