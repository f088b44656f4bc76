//! Clients that read: linearizable looks, and subscriptions that go on at other nodes.

use outlive::ids::{Cursor, Incarnation, Serial, SessionId};
use outlive::runtime::{AttachError, Delivery, Freshness, Reader, Start};
use rand::Rng;
use tokio::time::{Duration, timeout};

use crate::clients::{Client, soon};

impl Client {
    /// Looks where sessions stand.
    pub(crate) async fn look(mut self) {
        while !self.is_over() {
            self.pause(80).await;
            let Some(id) = self.one_of(&self.sessions.all()) else { return };
            let Some((node, runtime)) = self.some_node() else { continue };
            let floor = self.judge.floor(&id);
            let status = runtime.sessions.status(&id, Freshness::Linearizable, soon()).await;
            if let Ok(status) = status {
                let status = status.filter(|status| !status.hidden);
                let found = status.as_ref().map(|status| (status.incarnation, status.tail));
                self.judge.saw(&id, node, floor, found);
                if let Some((life, fork)) =
                    status.and_then(|status| Some((status.incarnation, status.fork?)))
                {
                    self.judge.fork(&id, life, &fork);
                }
            }
        }
    }

    /// Follows one session after another, each for a while, wherever it is served.
    pub(crate) async fn follow(mut self) {
        while !self.is_over() {
            let Some(id) = self.one_of(&self.sessions.all()) else { return };
            let mut cursor = None;
            let rounds = self.rng.random_range(1..6);
            for _ in 0..rounds {
                self.pause(200).await;
                self.attach(&id, &mut cursor).await;
            }
        }
    }

    async fn attach(&mut self, id: &SessionId, cursor: &mut Option<Cursor>) {
        let Some((node, runtime)) = self.some_node() else { return };
        let local = self.rng.random_bool(0.3);
        let freshness = if local { Freshness::Local } else { Freshness::Linearizable };
        let start = cursor.map_or(Start::Beginning, Start::After);
        let floor = self.judge.floor(id);
        match runtime.sessions.attach(id, start, freshness, soon()).await {
            Ok(mut reader) => {
                let life = reader.status().incarnation;
                if let Some(fork) = &reader.status().fork {
                    self.judge.fork(id, life, fork);
                }
                if !local {
                    let found = Some((life, reader.status().tail));
                    self.judge.saw(id, node, floor, found);
                }
                let (name, at) = (self.name, reader.cursor());
                self.judge.note(format_args!("c{name} n{node} {id:?} reads from {at}"));
                self.read(id, node, &mut reader).await;
                *cursor = Some(reader.cursor());
            }
            Err(AttachError::NotFound | AttachError::Gone) => {
                if !local {
                    self.judge.saw(id, node, floor, None);
                }
                *cursor = None;
            }
            Err(AttachError::Ahead { given, tail }) => {
                // What was read is there for good; a replica that is behind may say so.
                assert!(local, "{id:?} ends at {tail} at node {node}; {given} was read before");
            }
            Err(_) => {}
        }
    }

    async fn read(&mut self, id: &SessionId, node: u64, reader: &mut Reader) {
        let mut at = reader.cursor();
        let millis = self.rng.random_range(50..3000);
        let until = tokio::time::Instant::now() + Duration::from_millis(millis);
        while let Ok(delivery) = tokio::time::timeout_at(until, reader.next()).await {
            match delivery {
                Delivery::Events(events) => {
                    for shown in events {
                        let serial = shown.event.serial;
                        let next = at.serial.next();
                        assert!(
                            serial == next,
                            "{id:?} at node {node}: {serial} follows {}",
                            at.serial
                        );
                        self.judge.event(id, at.incarnation, &shown.event, node);
                        at.serial = serial;
                        self.judge.count("delivered");
                    }
                }
                Delivery::CaughtUp { .. } => {}
                Delivery::Gap { first } => {
                    self.judge.gap(id, at.incarnation, first);
                    at.serial = Serial(first.0 - 1);
                }
                Delivery::Reset { incarnation } => {
                    self.judge.over(id, at.incarnation);
                    at = Cursor { incarnation, serial: Serial::ZERO };
                    self.began(id, incarnation, reader);
                }
                Delivery::Deleted => return self.judge.over(id, at.incarnation),
                Delivery::End { at } => {
                    panic!("{id:?} at node {node} ends at {at}; nobody closed it")
                }
                Delivery::Detached { .. } => return,
            }
            assert!(
                reader.cursor() == at,
                "{id:?}: the reader is at {}, not {at}",
                reader.cursor()
            );
        }
    }

    fn began(&self, id: &SessionId, life: Incarnation, reader: &Reader) {
        let status = reader.status();
        if let Some(fork) = status.fork.as_ref().filter(|_| status.incarnation == life) {
            self.judge.fork(id, life, fork);
        }
    }
}

/// Reads everything that one node has of a session; none where it does not give it.
pub(crate) async fn whole(
    runtime: &outlive::runtime::Runtime,
    id: &SessionId,
) -> Option<(outlive::session::Status, Vec<outlive::session::Event>)> {
    let attached = runtime.sessions.attach(id, Start::Beginning, Freshness::Local, soon()).await;
    let mut reader = attached.ok()?;
    let mut all = Vec::new();
    loop {
        match timeout(Duration::from_secs(5), reader.next()).await.ok()? {
            Delivery::Events(events) => all.extend(events.iter().map(|shown| shown.event.clone())),
            Delivery::Gap { .. } => {}
            Delivery::CaughtUp { .. } | Delivery::End { .. } => break,
            _ => return None,
        }
    }
    Some((reader.status().clone(), all))
}
