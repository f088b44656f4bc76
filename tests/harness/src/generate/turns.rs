//! Clean histories with turns: people send inputs, steer, interrupt and cancel, workers claim, send output, are
//! replaced and do not know it, and a model of a correct session answers each call at one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::checker::Expectations;
use super::super::history::{
    Answer, Call, Control, Cursor, Event, History, Kind, OpId, ReadMode, SubId, Taken,
};
use super::super::turn::{Scope, Then, WhenBusy};
use super::NODES;
use super::room::Room;

/// A clean history with turns and what it was meant to be. Seeds decide whether receipts are written.
pub fn generate_turns(seed: u64) -> (History, Expectations) {
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        now: 0,
        queue: BinaryHeap::new(),
        steps: Vec::new(),
        events: Vec::new(),
        rooms: (0..2).map(|room| Room::new(&format!("s{room}"), !seed.is_multiple_of(3))).collect(),
        clients: (0..7).map(Client::new).collect(),
        flights: Vec::new(),
        work: 0,
    };
    world.run();
    let expectations = Expectations { final_nodes: NODES, ..Expectations::default() };
    (History { events: world.events }, expectations)
}

const AGENTS: [&str; 2] = ["poet", "clerk"];

enum Step {
    Wake(usize),
    Effect(usize),
    Finish(usize),
    /// Some worker's lease ends.
    Clock,
}

struct Flight {
    op: OpId,
    client: usize,
    room: Option<usize>,
    call: Call,
    answered: bool,
    reply: Option<Result<Answer, &'static str>>,
}

struct Client {
    worker: bool,
    left: usize,
    retry: Option<(usize, Call)>,
    /// What a worker believes that it has: the room, the turn, its epoch, its next number.
    lease: Option<(usize, String, u64, u64)>,
    inputs: u64,
}

struct World {
    rng: StdRng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    steps: Vec<Step>,
    events: Vec<Event>,
    rooms: Vec<Room>,
    clients: Vec<Client>,
    flights: Vec<Flight>,
    work: usize,
}

impl Client {
    fn new(number: usize) -> Client {
        let worker = 3 <= number;
        Client { worker, left: 16, retry: None, lease: None, inputs: 0 }
    }
}

impl World {
    fn run(&mut self) {
        for client in 0..self.clients.len() {
            self.later(1_000, Step::Wake(client));
        }
        self.later(2_000, Step::Clock);
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
                Step::Clock if 0 < self.work => {
                    let room = self.rng.random_range(0..self.rooms.len());
                    let dice = self.rng.random_range(0..8);
                    self.rooms[room].lose(dice);
                    self.later(2_500, Step::Clock);
                }
                Step::Clock => {}
            }
        }
        self.rest();
    }

    fn later(&mut self, within: u64, step: Step) {
        if !matches!(step, Step::Clock) {
            self.work += 1;
        }
        let at = self.now + self.rng.random_range(1..=within);
        self.queue.push(Reverse((at, self.steps.len())));
        self.steps.push(step);
    }

    fn log(&mut self, kind: Kind) {
        self.events.push(Event { at: self.now * 1_000, kind });
    }

    fn wake(&mut self, client: usize) {
        if self.clients[client].left == 0 && self.clients[client].retry.is_none() {
            return;
        }
        self.clients[client].left = self.clients[client].left.saturating_sub(1);
        let retry = self.clients[client].retry.take();
        let (room, call) = match retry {
            Some((room, call)) => (Some(room), call),
            None if self.clients[client].worker => self.speak(client),
            None => self.ask(client),
        };
        let op = OpId(self.flights.len() as u64);
        let session = room.map_or_else(String::new, |room| self.rooms[room].name.clone());
        let node = format!("n{}", self.rng.random_range(0..NODES));
        let (incarnation, request) = (None, call.clone());
        let who = client as u32;
        self.log(Kind::Inv { op, client: who, node, session, incarnation, call: request });
        let (lost, late) = (self.rng.random_bool(0.12), self.rng.random_bool(0.5));
        let flight = self.flights.len();
        self.flights.push(Flight { op, client, room, call, answered: !lost, reply: None });
        if !lost {
            self.later(700, Step::Effect(flight));
            return;
        }
        if late {
            self.later(4_000, Step::Effect(flight));
        }
        self.later(2_000, Step::Finish(flight));
    }

    /// What a person does next.
    fn ask(&mut self, client: usize) -> (Option<usize>, Call) {
        let room = self.rng.random_range(0..self.rooms.len());
        let agent = AGENTS[self.rng.random_range(0..2)].to_owned();
        let inputs = self.clients[client].inputs;
        let mine = |number: u64| format!("i{client}.{number}");
        let call = match self.rng.random_range(0..100) {
            0..12 => {
                // Also one that is still to come.
                let number = self.rng.random_range(0..=inputs + 1);
                Call::Cancel { scope: Scope::Turn(mine(number)) }
            }
            12..17 => Call::Cancel { scope: Scope::Agent(agent) },
            17..19 => Call::Cancel { scope: Scope::All },
            dice => {
                self.clients[client].inputs += 1;
                let when_busy = match dice {
                    19..60 => WhenBusy::Steer,
                    60..75 => WhenBusy::Queue,
                    75..90 => WhenBusy::Interrupt,
                    _ => WhenBusy::Reject,
                };
                let input = mine(inputs);
                let value = format!("please {input}");
                Call::Input { input, agent, value, when_busy }
            }
        };
        (Some(room), call)
    }

    /// What a worker does next.
    fn speak(&mut self, client: usize) -> (Option<usize>, Call) {
        let Some((room, turn, epoch, seq)) = self.clients[client].lease.clone() else {
            let agent = AGENTS[client % 2].to_owned();
            return (None, Call::Claim { agent, worker: format!("w{client}") });
        };
        let (seq, then) = match self.rng.random_range(0..100) {
            0..10 => (None, Then::GoOn),
            10..25 if 0 < seq => (Some(seq), Then::Complete),
            25..30 => (Some(seq), Then::Release),
            _ => (Some(seq), Then::GoOn),
        };
        let words = match (seq, then) {
            (None, _) => 0,
            (_, Then::GoOn) => self.rng.random_range(1..3),
            _ => self.rng.random_range(0..2),
        };
        let word = |part| format!("{turn} {epoch}/{}/{part}", seq.unwrap_or_default());
        let values = (0..words).map(word).collect();
        (Some(room), Call::Report { turn, epoch, seq, values, then })
    }

    fn effect(&mut self, flight: usize) {
        let Flight { room, ref call, .. } = self.flights[flight];
        let reply = match (room, call) {
            (Some(room), call) => self.rooms[room].apply(call, &mut self.rng),
            (None, Call::Claim { agent, .. }) => {
                let agent = agent.clone();
                let first = self.rng.random_range(0..self.rooms.len());
                let order = [first, 1 - first];
                let taken = order.into_iter().find_map(|room| {
                    let (turn, epoch) = self.rooms[room].claim(&agent)?;
                    Some(Taken { session: self.rooms[room].name.clone(), turn, epoch })
                });
                Ok(Answer::Claimed { taken })
            }
            (None, _) => Err("of no session"),
        };
        self.flights[flight].reply = Some(reply);
        if self.flights[flight].answered {
            self.later(700, Step::Finish(flight));
        }
    }

    fn finish(&mut self, flight: usize) {
        let Flight { op, client, answered, room, .. } = self.flights[flight];
        let call = self.flights[flight].call.clone();
        let reply = if answered { self.flights[flight].reply.take() } else { None };
        let again = self.rng.random_bool(0.9);
        let this = &mut self.clients[client];
        match reply {
            Some(Ok(answer)) => {
                match (&answer, &mut this.lease, &call) {
                    (Answer::Claimed { taken: Some(taken) }, lease, _) => {
                        let room = usize::from(taken.session == "s1");
                        *lease = Some((room, taken.turn.clone(), taken.epoch, 0));
                    }
                    (Answer::OutputAccepted { over: true, .. }, lease, _)
                    | (_, lease, Call::Report { then: Then::Release, .. }) => *lease = None,
                    (
                        Answer::OutputAccepted { .. },
                        Some((.., seq)),
                        Call::Report { seq: Some(_), .. },
                    ) => {
                        *seq += 1;
                    }
                    _ => {}
                }
                self.log(Kind::Ok { op, answer });
            }
            Some(Err(error)) => {
                if matches!(call, Call::Report { .. }) {
                    this.lease = None;
                }
                self.log(Kind::Fail { op, error: error.to_owned() });
            }
            None => {
                if let Some(room) = room
                    && again
                {
                    this.retry = Some((room, call));
                } else {
                    this.lease = None;
                }
                self.log(Kind::Info { op, error: "timeout".to_owned() });
            }
        }
        self.later(900, Step::Wake(client));
    }

    /// Everything comes to rest: turns that no worker takes fail, and every node gives its log.
    fn rest(&mut self) {
        let mut ops = self.flights.len() as u64;
        for place in 0..self.rooms.len() {
            self.rooms[place].rest();
            let (session, log) = (self.rooms[place].name.clone(), self.rooms[place].log.clone());
            let (sub, incarnation) = (SubId(place as u64), 1);
            let of = |kind| (session.clone(), "n0".to_owned(), kind);
            let (at, node, control) =
                of(Control::Attach { cursor: Some(Cursor { incarnation, serial: 0 }) });
            self.log(Kind::Ctl { sub, node, session: at, incarnation, control });
            for record in log.clone() {
                self.now += 1;
                let (session, node) = (session.clone(), "n0".to_owned());
                self.log(Kind::Deliver { sub, node, session, incarnation, record });
            }
            for number in 0..NODES {
                let (op, node, session) = (OpId(ops), format!("n{number}"), session.clone());
                ops += 1;
                let call = Call::Read { after: 0, mode: ReadMode::Final };
                self.now += 10;
                self.log(Kind::Inv { op, client: 0, node, session, incarnation: None, call });
                self.now += 10;
                let (records, tail) = (log.clone(), Some(log.len() as u64));
                let answer = Answer::Page { incarnation: 1, first: 1, tail, records };
                self.log(Kind::Ok { op, answer });
            }
        }
    }
}
