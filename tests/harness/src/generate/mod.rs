//! Clean histories: a seeded model of a correct cluster, its clients, its faults and its readers.
//!
//! The model is one linearizable log per session with idempotent producers. A call takes effect
//! once, somewhere between its beginning and its end; or, if its answer is lost, perhaps later,
//! perhaps never. Readers hop between nodes, fall behind, meet gaps, resets and ends.

mod model;
mod room;
mod turns;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checker::Expectations;
use super::history::{
    Answer, Call, Control, Cursor, Event, History, Kind, OpId, Producer, ReadMode, SubId,
};
use model::Room;
#[allow(unused_imports, reason = "each test target uses a part of this tree")]
pub use turns::generate_turns;

/// How large a history becomes, and which rare things happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub sessions: usize,
    pub clients: usize,
    /// Calls of each client.
    pub calls: usize,
    /// Subscriptions of each session.
    pub readers: usize,
    /// Deletes, creates, trims and closes.
    pub churn: bool,
    pub retention: Option<u64>,
}

impl Shape {
    /// A small shape chosen by the seed: with or without churn, with or without retention.
    pub fn small(seed: u64) -> Shape {
        let retention = (seed % 4 == 3).then_some(4);
        Shape { sessions: 2, clients: 5, calls: 14, readers: 2, churn: seed % 2 == 1, retention }
    }
}

/// A clean history and what it was meant to be.
pub fn generate(seed: u64, shape: Shape) -> (History, Expectations) {
    let mut world = World::new(seed, shape);
    world.run();
    let expectations = Expectations {
        ok_appends: 1,
        final_nodes: NODES,
        retention: shape.retention,
        ..Expectations::default()
    };
    (History { events: world.events }, expectations)
}

/// Nodes of the model; each gives its final log.
pub const NODES: usize = 3;

enum Step {
    Wake(usize),
    Effect(usize),
    Finish(usize),
    Follow(usize),
    Fault,
}

struct Flight {
    op: OpId,
    client: usize,
    room: usize,
    request: Option<u32>,
    call: Call,
    answered: bool,
    reply: Option<Result<Answer, &'static str>>,
}

struct Client {
    room: usize,
    left: usize,
    keyed: bool,
    epoch: u64,
    seq: u64,
    retry: Option<Vec<String>>,
}

struct Follower {
    id: SubId,
    room: usize,
    incarnation: u32,
    next: u64,
    node: usize,
    attached: bool,
    ended: bool,
}

struct World {
    rng: StdRng,
    shape: Shape,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    steps: Vec<Step>,
    events: Vec<Event>,
    rooms: Vec<Room>,
    clients: Vec<Client>,
    flights: Vec<Flight>,
    followers: Vec<Follower>,
    values: u64,
    /// Steps in the queue that are not readers or faults: when none is left, the run is over.
    work: usize,
}

fn node(number: usize) -> String {
    format!("n{number}")
}

impl World {
    fn new(seed: u64, shape: Shape) -> World {
        let rooms: Vec<Room> = (0..shape.sessions)
            .map(|i| Room {
                name: format!("s{i}"),
                incarnation: 1,
                alive: true,
                first: 1,
                ..Room::default()
            })
            .collect();
        let clients = (0..shape.clients)
            .map(|i| Client {
                room: i % shape.sessions,
                left: shape.calls,
                keyed: i % 3 != 2,
                epoch: 0,
                seq: 0,
                retry: None,
            })
            .collect();
        let followers = (0..shape.sessions * shape.readers)
            .map(|i| Follower {
                id: SubId(i as u64),
                room: i % shape.sessions,
                incarnation: 1,
                next: 1,
                node: 0,
                attached: false,
                ended: false,
            })
            .collect();
        World {
            rng: StdRng::seed_from_u64(seed),
            shape,
            now: 0,
            queue: BinaryHeap::new(),
            steps: Vec::new(),
            events: Vec::new(),
            rooms,
            clients,
            flights: Vec::new(),
            followers,
            values: 0,
            work: 0,
        }
    }

    fn run(&mut self) {
        for client in 0..self.clients.len() {
            self.later(1_000, Step::Wake(client));
        }
        for follower in 0..self.followers.len() {
            self.later(1_000, Step::Follow(follower));
        }
        self.later(5_000, Step::Fault);
        while let Some(Reverse((at, step))) = self.queue.pop() {
            self.now = at;
            match self.steps[step] {
                Step::Wake(client) => {
                    self.work -= 1;
                    self.wake(client);
                }
                Step::Effect(flight) => {
                    self.work -= 1;
                    self.effect(flight);
                }
                Step::Finish(flight) => {
                    self.work -= 1;
                    self.finish(flight);
                }
                Step::Follow(follower) if 0 < self.work => {
                    self.follow(follower);
                    self.later(3_000, Step::Follow(follower));
                }
                Step::Fault if 0 < self.work => {
                    self.fault();
                    self.later(20_000, Step::Fault);
                }
                Step::Follow(_) | Step::Fault => {}
            }
        }
        self.rest();
    }

    fn later(&mut self, within: u64, step: Step) {
        if !matches!(step, Step::Follow(_) | Step::Fault) {
            self.work += 1;
        }
        let at = self.now + self.rng.random_range(1..=within);
        self.queue.push(Reverse((at, self.steps.len())));
        self.steps.push(step);
    }

    fn log(&mut self, kind: Kind) {
        // The model counts microseconds.
        self.events.push(Event { at: self.now * 1_000, kind });
    }

    fn wake(&mut self, client: usize) {
        if self.clients[client].left == 0 {
            return;
        }
        self.clients[client].left -= 1;
        let call = self.choose(client);
        let room = self.clients[client].room;
        let incarnation = self.rooms[room].incarnation;
        // A retry names no incarnation: its key shows which write it is.
        let plain = self.clients[client].retry.is_none();
        let request = (plain && self.rng.random_bool(0.2)).then_some(incarnation);
        let op = OpId(self.flights.len() as u64);
        let (session, node) = (self.rooms[room].name.clone(), node(self.rng.random_range(0..3)));
        self.log(Kind::Inv {
            op,
            client: client as u32,
            node,
            session,
            incarnation: request,
            call: call.clone(),
        });
        let flight = self.flights.len();
        let (lost, late) = (self.rng.random_bool(0.12), self.rng.random_bool(0.5));
        self.flights.push(Flight { op, client, room, request, call, answered: !lost, reply: None });
        if !lost {
            self.later(700, Step::Effect(flight));
            return;
        }
        if late {
            self.later(6_000, Step::Effect(flight));
        }
        self.later(2_000, Step::Finish(flight));
    }

    fn choose(&mut self, client: usize) -> Call {
        let room = self.clients[client].room;
        if self.clients[client].retry.is_none() {
            let dice = self.rng.random_range(0..100);
            let after = self.rng.random_range(0..=self.rooms[room].log.len() as u64);
            match dice {
                0..12 => return Call::Tail,
                12..24 => return Call::Read { after, mode: ReadMode::Linearizable },
                24..30 => return Call::Read { after, mode: ReadMode::Stale },
                30..33 if self.shape.churn => return Call::Delete,
                33..40 if self.shape.churn => return Call::Create,
                40..43 if self.shape.churn => return Call::Trim { before: after.max(1) },
                43 if self.shape.churn => return Call::Close,
                _ => {}
            }
        }
        let Client { keyed, epoch, seq, .. } = self.clients[client];
        let retry = self.clients[client].retry.take();
        let values = retry.unwrap_or_else(|| {
            let size = if self.rng.random_bool(0.25) { self.rng.random_range(2..=4) } else { 1 };
            (0..size)
                .map(|_| {
                    self.values += 1;
                    format!("c{client}.{}", self.values)
                })
                .collect()
        });
        let producer = keyed.then(|| Producer { id: format!("p{client}"), epoch, seq });
        Call::Append { values, producer }
    }

    fn effect(&mut self, flight: usize) {
        let stale = self.rng.random_range(0..4);
        let Flight { room, request, ref call, .. } = self.flights[flight];
        let reply = self.rooms[room].apply(request, call, stale, self.shape.retention);
        self.flights[flight].reply = Some(reply);
        if self.flights[flight].answered {
            self.later(700, Step::Finish(flight));
        }
    }

    fn finish(&mut self, flight: usize) {
        let Flight { op, client, answered, .. } = self.flights[flight];
        let reply = if answered { self.flights[flight].reply.take() } else { None };
        let append = matches!(self.flights[flight].call, Call::Append { .. });
        let retried = reply.is_none() && self.rng.random_bool(0.8);
        match reply {
            Some(Ok(answer)) => {
                if append {
                    self.clients[client].seq += 1;
                }
                self.log(Kind::Ok { op, answer });
            }
            Some(Err(error)) => {
                if append {
                    self.clients[client].renew();
                }
                self.log(Kind::Fail { op, error: error.to_owned() });
            }
            None => {
                if append && retried && self.clients[client].keyed {
                    if let Call::Append { values, .. } = &self.flights[flight].call {
                        self.clients[client].retry = Some(values.clone());
                    }
                } else if append {
                    self.clients[client].renew();
                }
                self.log(Kind::Info { op, error: "timeout".to_owned() });
            }
        }
        self.later(1_500, Step::Wake(client));
    }

    fn fault(&mut self) {
        let node = node(self.rng.random_range(0..NODES));
        if self.rng.random_bool(0.5) {
            let shard = self.rng.random_range(0..2);
            return self.log(Kind::Leader { shard, node });
        }
        let action = ["kill", "start", "pause", "resume"][self.rng.random_range(0..4)].to_owned();
        self.log(Kind::Nemesis { action, node });
    }

    fn control(&mut self, follower: usize, control: Control) {
        let Follower { id: sub, room, incarnation, node: at, .. } = self.followers[follower];
        let session = self.rooms[room].name.clone();
        self.log(Kind::Ctl { sub, node: node(at), session, incarnation, control });
    }

    fn follow(&mut self, place: usize) {
        if self.followers[place].ended {
            return;
        }
        if self.followers[place].attached && self.rng.random_bool(0.1) {
            self.control(place, Control::Detach);
            self.followers[place].attached = false;
        }
        if !self.followers[place].attached {
            let back = self.rng.random_range(0..3);
            let node = self.rng.random_range(0..NODES);
            let follower = &mut self.followers[place];
            follower.node = node;
            follower.attached = true;
            follower.next = follower.next.saturating_sub(back).max(1);
            let cursor = Cursor { incarnation: follower.incarnation, serial: follower.next - 1 };
            return self.control(place, Control::Attach { cursor: Some(cursor) });
        }
        let most = self.rng.random_range(0..4);
        self.push(place, most);
    }

    /// Sends at most `most` frames, or the control that is due.
    fn push(&mut self, place: usize, most: usize) {
        let Follower { room: number, incarnation, next, id: sub, node: at, .. } =
            self.followers[place];
        let room = &self.rooms[number];
        if room.incarnation != incarnation {
            if room.alive {
                let to = room.incarnation;
                self.control(place, Control::Reset { to });
                (self.followers[place].incarnation, self.followers[place].next) = (to, 1);
            }
            return;
        }
        if !room.alive {
            return;
        }
        if next < room.first {
            let first = room.first;
            self.followers[place].next = first;
            return self.control(place, Control::Gap { first });
        }
        let rest = room.log.get(next as usize - 1..).unwrap_or_default();
        if rest.is_empty() && room.closed {
            self.followers[place].ended = true;
            return self.control(place, Control::End);
        }
        let session = room.name.clone();
        for record in rest.iter().take(most).cloned().collect::<Vec<_>>() {
            self.followers[place].next = record.serial + 1;
            let (node, session) = (node(at), session.clone());
            self.log(Kind::Deliver { sub, node, session, incarnation, record });
        }
    }

    /// Everything has come to rest: readers reach the tail, and every node gives its log.
    fn rest(&mut self) {
        for place in 0..self.followers.len() {
            self.now += 10;
            if self.followers[place].ended {
                continue;
            }
            if !self.followers[place].attached {
                self.follow(place);
            }
            for _ in 0..3 {
                self.push(place, usize::MAX);
                if self.followers[place].ended {
                    break;
                }
            }
        }
        for room in 0..self.rooms.len() {
            for number in 0..NODES {
                let op = OpId((self.flights.len() + room * NODES + number) as u64);
                let (session, node) = (self.rooms[room].name.clone(), node(number));
                let call = Call::Read { after: 0, mode: ReadMode::Final };
                let reply = self.rooms[room].apply(None, &call, 0, None);
                self.now += 10;
                self.log(Kind::Inv { op, client: 0, node, session, incarnation: None, call });
                self.now += 10;
                self.log(match reply {
                    Ok(answer) => Kind::Ok { op, answer },
                    Err(error) => Kind::Fail { op, error: error.to_owned() },
                });
            }
        }
        self.import();
    }

    /// Every session that lives is imported under another name.
    fn import(&mut self) {
        let before = self.flights.len() + self.rooms.len() * NODES;
        for room in 0..self.rooms.len() {
            let (op, node) = (OpId((before + room) as u64), node(0));
            let session = self.rooms[room].name.clone();
            let call = Call::Import { to: format!("{session}-copy") };
            let Ok(answer) = self.rooms[room].apply(None, &call, 0, None) else { continue };
            self.now += 10;
            self.log(Kind::Inv { op, client: 0, node, session, incarnation: None, call });
            self.now += 10;
            self.log(Kind::Ok { op, answer });
        }
    }
}

impl Client {
    /// After a refusal or a lost call that is given up, the numbers begin again.
    fn renew(&mut self) {
        self.epoch += 1;
        self.seq = 0;
    }
}
