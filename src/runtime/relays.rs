//! Sessions that this node only relays: one upstream for each, however many read here.
//!
//! A reader begins with an upstream of its own, which answers what its cursor means and brings what is
//! old. Once it has caught up it joins the session's shared tail, and goes back if it falls behind that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use cluster::host::Host;
use cluster::ids::NodeId;
use tokio::sync::watch;

use super::reader::{Attach, Delivery, Start};
use super::relay::Relayed;
use super::tail::{Found, Mark, Served, Tail};
use super::tasks::Tasks;
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::session::{Grant, Status};

/// The shared tails of a node.
pub(super) struct Relays {
    host: Arc<Host>,
    tasks: Tasks,
    open: Mutex<HashMap<SessionId, Weak<Tail>>>,
}

/// Before the upstream has sent where it stands.
const UNKNOWN: Mark = Mark {
    incarnation: Incarnation(0),
    first: Serial(1),
    tail: Serial(0),
    closed: false,
    live: true,
    kept: true,
    served: true,
};

impl Relays {
    pub(super) fn new(host: Arc<Host>, tasks: Tasks) -> Relays {
        Relays { host, tasks, open: Mutex::default() }
    }

    /// A reader that joins the session's shared tail once `own`, which is from `node`, has caught up.
    ///
    /// Its grant was judged where `own` comes from; the shared tail is the node's, for all whom it lets in.
    pub(super) fn join(
        &self,
        node: NodeId,
        id: &SessionId,
        (own, grant): (Relayed, Option<&Grant>),
    ) -> Joined {
        let (shared, marks) = self.shared(node, id);
        Joined {
            host: self.host.clone(),
            node,
            id: id.clone(),
            grant: grant.cloned().map(Box::new),
            cursor: own.cursor,
            status: own.status.clone(),
            own: Some(own),
            shared,
            marks,
            ended: false,
        }
    }

    /// The session's shared tail, with its receiver; an upstream to `node` is opened if there is none.
    fn shared(&self, node: NodeId, id: &SessionId) -> (Arc<Tail>, watch::Receiver<Mark>) {
        let mut open = self.open.lock().expect("no panic happens under this lock");
        if let Some(tail) = open.get(id).and_then(Weak::upgrade) {
            let marks = tail.subscribe();
            if marks.borrow().served {
                return (tail, marks);
            }
        }
        open.retain(|_, tail| 0 < tail.strong_count());
        let tail = Tail::new(UNKNOWN);
        let marks = tail.subscribe();
        open.insert(id.clone(), Arc::downgrade(&tail));
        let served = Served::new(tail.clone());
        self.tasks.spawn_until_stop(follow(self.host.clone(), node, id.clone(), served));
        (tail, marks)
    }
}

/// Feeds a shared tail from one upstream, until it has no readers or the upstream ends.
async fn follow(host: Arc<Host>, node: NodeId, id: SessionId, tail: Served) {
    let attached = Relayed::attach(&host, node, &id, (&Attach::to(Start::Tail), None)).await;
    let Ok(mut upstream) = attached else { return };
    let mut mark = Mark {
        incarnation: upstream.cursor.incarnation,
        tail: upstream.cursor.serial,
        closed: upstream.status.closed,
        ..UNKNOWN
    };
    tail.publish(mark);
    loop {
        let delivery = tokio::select! {
            delivery = upstream.next() => delivery,
            () = tail.unwatched() => return,
        };
        match delivery {
            Delivery::Events(events) => {
                let Some(last) = events.last().map(|shown| shown.event.serial) else { continue };
                mark.tail = last;
                tail.extend(mark.incarnation, events.into_iter(), last);
            }
            Delivery::CaughtUp { .. } => {}
            Delivery::Reset { incarnation } => {
                tail.clear();
                mark = Mark { incarnation, ..UNKNOWN };
            }
            Delivery::End { .. } => mark.closed = true,
            Delivery::Deleted => (mark.live, mark.kept) = (false, false),
            // The readers go on elsewhere.
            Delivery::Gap { .. } | Delivery::Detached { .. } => return,
        }
        tail.publish(mark);
    }
}

/// A reader of a relayed session.
pub(super) struct Joined {
    host: Arc<Host>,
    node: NodeId,
    id: SessionId,
    /// The reader's, where it has one.
    grant: Option<Box<Grant>>,
    /// The upstream of its own, while it catches up.
    own: Option<Relayed>,
    shared: Arc<Tail>,
    marks: watch::Receiver<Mark>,
    pub(super) cursor: Cursor,
    pub(super) status: Status,
    ended: bool,
}

impl Joined {
    pub(super) fn known_tail(&self) -> Serial {
        self.status.tail.max(self.marks.borrow().tail)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.status.closed || self.marks.borrow().closed
    }

    /// The next delivery; see [`super::Reader::next`].
    pub(super) async fn next(&mut self) -> Delivery {
        loop {
            if self.ended {
                return std::future::pending().await;
            }
            if let Some(own) = &mut self.own {
                let delivery = own.next().await;
                self.cursor = own.cursor;
                match &delivery {
                    Delivery::CaughtUp { .. } => self.own = None,
                    Delivery::End { .. } | Delivery::Deleted | Delivery::Detached { .. } => {
                        self.ended = true;
                    }
                    _ => {}
                }
                return delivery;
            }
            if let Some(delivery) = self.step() {
                return delivery;
            }
            if self.falls_behind() {
                if let Err(delivery) = self.catch_up().await {
                    return delivery;
                }
            } else if self.marks.changed().await.is_err() {
                return self.end(Delivery::Detached { reason: "the relay ended" });
            }
        }
    }

    /// What the shared tail returns without waiting.
    fn step(&mut self) -> Option<Delivery> {
        let mark = *self.marks.borrow_and_update();
        if !mark.served {
            return Some(self.end(Delivery::Detached { reason: "the relay ended" }));
        }
        // The shared tail may be behind this reader, never the other way for long.
        if mark.incarnation < self.cursor.incarnation {
            return None;
        }
        if !mark.live {
            return Some(self.end(Delivery::Deleted));
        }
        if self.cursor.incarnation < mark.incarnation {
            self.cursor = Cursor { incarnation: mark.incarnation, serial: Serial::ZERO };
            return Some(Delivery::Reset { incarnation: mark.incarnation });
        }
        if self.cursor.serial < mark.tail {
            let Found::Events(events) = self.shared.after(self.cursor, mark.tail) else {
                return None;
            };
            let dense =
                events.first().is_some_and(|shown| shown.event.serial == self.cursor.serial.next());
            self.cursor.serial = events.last().filter(|_| dense)?.event.serial;
            return Some(Delivery::Events(events));
        }
        let at_end = mark.closed && self.cursor.serial == mark.tail;
        at_end.then(|| self.end(Delivery::End { at: self.cursor }))
    }

    /// Whether the shared tail no longer has what comes next.
    fn falls_behind(&self) -> bool {
        let mark = *self.marks.borrow();
        mark.incarnation == self.cursor.incarnation && self.cursor.serial < mark.tail
    }

    /// Opens an upstream of its own again.
    async fn catch_up(&mut self) -> Result<(), Delivery> {
        let lost = Delivery::Detached { reason: "the link to the replica was lost" };
        let attach = Attach::to(Start::After(self.cursor));
        let by = (&attach, self.grant.as_deref());
        match Relayed::attach(&self.host, self.node, &self.id, by).await {
            Ok(own) => {
                self.own = Some(own);
                Ok(())
            }
            Err(_) => Err(self.end(lost)),
        }
    }

    fn end(&mut self, delivery: Delivery) -> Delivery {
        self.ended = true;
        delivery
    }
}
