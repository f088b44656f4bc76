//! A session on which strategies of tests act, with all that its log ever had.

use std::collections::BTreeMap;

use crate::ids::{
    AgentName, InteractionId, KindName, Millis, ParticipantName, Serial, SessionId, StepName,
    TurnEpoch, TurnId, WorkerName,
};
use crate::session::{
    Answer, Append, Ask, Cancel, Cause, Claim, Command, Config, ControlRequest, ControlVerb, Event,
    Fact, Follows, Format, Found, Input, Lose, Mode, NewEvent, Role, Scope, Sender, Session,
    Status, Then, TurnOutput, TurnReport, WhenBusy,
};

/// A session with whatever happens in it.
pub(super) struct World {
    session: Session,
    /// What can still be read.
    pub(super) log: Vec<Event>,
    now: u64,
    names: u32,
    /// How many outputs each lease has sent.
    seqs: BTreeMap<TurnEpoch, u64>,
    /// Texts of [`LARGE`] bytes so far.
    large: usize,
}

/// Bytes of a large text: a page has room for two of them, and what is read at once for [`LARGE_COUNT`].
const LARGE: usize = 120 << 10;
const LARGE_COUNT: usize = 4;

const BUSY: [WhenBusy; 4] =
    [WhenBusy::Steer, WhenBusy::Queue, WhenBusy::Interrupt, WhenBusy::Rollback];

pub(super) fn text(words: &str) -> NewEvent {
    NewEvent { format: Format::TEXT, payload: words.as_bytes().to_vec().into() }
}

fn sue() -> Sender {
    Sender { participant: ParticipantName::parse("sue").unwrap(), device: None }
}

impl World {
    pub(super) fn new() -> World {
        let session = Session::absent(SessionId::parse("s").unwrap());
        let (log, seqs) = (Vec::new(), BTreeMap::new());
        let mut world = World { session, log, now: 0, names: 0, seqs, large: 0 };
        world.run(Config::default().into());
        world
    }

    pub(super) fn run(&mut self, command: Command) -> bool {
        self.now += 2_000;
        let did = self.session.apply(Millis(self.now), &command, &mut self.log).is_ok();
        let first = self.session.first();
        self.log.retain(|event| first <= event.serial);
        did
    }

    pub(super) fn status(&self) -> Status {
        self.session.status().unwrap()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    pub(super) fn input(&mut self, agent: u8, busy: u8, by_sue: bool) {
        let name = self.name();
        let agent = AgentName::parse(["a", "b"][usize::from(agent % 2)]).unwrap();
        let mut input = Input::new(TurnId::parse(&name).unwrap(), agent, text(&name));
        input.when_busy = Some(BUSY[usize::from(busy % 4)]);
        input.sender = by_sue.then(sue);
        self.run(Command::Input(Box::new(input)));
    }

    /// A person sends an input after a message that was there before, or wants another answer to it.
    pub(super) fn branch(&mut self, which: u8, how: u8) {
        let begun: Vec<_> = self.log.iter().filter(|event| event.begins().is_some()).collect();
        let Some(event) = begun.get(usize::from(which) % begun.len().max(1)) else { return };
        let (place, life) = (event.begins().unwrap(), self.status().incarnation);
        let is_output = matches!(event.fact.as_deref(), Some(Fact::Input { .. }));
        let again = how.is_multiple_of(3) && is_output;
        if place.again {
            return;
        }
        let (message, branch) = match how % 16 {
            1 => (Serial::ZERO, Serial::ZERO),
            _ => (event.serial, place.branch),
        };
        let found = Some(Found { life, message, branch });
        let emitted = event.payload.clone();
        let name = self.name();
        let agent = AgentName::parse(["a", "b"][usize::from(how % 2)]).unwrap();
        let words =
            if again { String::from_utf8_lossy(&emitted).into_owned() } else { name.clone() };
        let mut input = Input::new(TurnId::parse(&name).unwrap(), agent, text(&words));
        input.follows = Some(Follows { message, again: again && how % 16 != 1, found });
        input.when_busy = Some(BUSY[usize::from(how / 16 % 4)]);
        self.run(Command::Input(Box::new(input)));
    }

    /// Does one of the things that may happen.
    pub(super) fn step(&mut self, (what, which, how): (u8, u8, u8)) {
        let status = self.status();
        let waits: Vec<_> = status.turns.iter().filter(|turn| turn.waits_from.is_some()).collect();
        let active: Vec<_> = status
            .turns
            .iter()
            .filter_map(|turn| Some((turn.turn.clone(), turn.lease.as_ref()?.epoch)))
            .collect();
        let pick = |count: usize| usize::from(which) % count.max(1);
        match what {
            0 if how & 4 == 4 => self.branch(which, how),
            0..=2 => self.input(which, how, how & 8 == 8),
            3..=5 => {
                let Some(turn) = waits.get(pick(waits.len())) else { return };
                let (lease_ms, progress_timeout_ms) = (600_000, 600_000);
                let (turn, worker) = (turn.turn.clone(), WorkerName::parse("w").unwrap());
                let key = u64::from(self.names) << 8 | u64::from(how);
                self.run(Command::Claim(Box::new(Claim {
                    turn,
                    worker,
                    key,
                    lease_ms,
                    progress_timeout_ms,
                    node: None,
                })));
            }
            6..=15 => {
                let Some((turn, epoch)) = active.get(pick(active.len())).cloned() else { return };
                self.emit(turn, epoch, which, how);
            }
            16 => {
                let Some(open) = status.interactions.first() else { return };
                let (interaction, sender) = (open.interaction.clone(), Some(sue()));
                let (content, role) = (text("yes"), Role::Controller);
                self.run(Command::Answer(Box::new(Answer {
                    sender,
                    role,
                    ..Answer::new(interaction, content)
                })));
            }
            17 => {
                let verb = match how % 3 {
                    0 => ControlVerb::Release,
                    1 => ControlVerb::Take { mode: Mode::Manual },
                    _ => ControlVerb::Take { mode: Mode::Assist },
                };
                let (note, role) = (String::new(), Role::Supervisor);
                let questions = ControlRequest { verb, by: sue(), for_ms: 1 << 40, note, role };
                self.run(Command::Control(Box::new(questions)));
            }
            18 => {
                let Some(turn) = status.turns.get(pick(status.turns.len())) else { return };
                let cancel = Cancel::new(Scope::Turn(turn.turn.clone()), "");
                self.run(Command::Cancel(Box::new(cancel)));
            }
            19 => {
                let Some((turn, epoch)) = active.first().cloned() else { return };
                let (cause, wait_ms, detail) = (Cause::Exited, 0, String::new());
                self.run(Command::Lose(Box::new(Lose { turn, epoch, cause, wait_ms, detail })));
            }
            20 => {
                let events = vec![text("plain"); usize::from(which) + 1];
                self.run(Command::Append(Append { events, ..Append::default() }));
            }
            _ if how < 64 => {
                let span = status.tail.0.saturating_sub(status.first.0);
                let before = Serial(status.first.0 + span * u64::from(which % 8) / 8);
                self.run(Command::Trim { before });
            }
            _ => {}
        }
    }

    fn emit(&mut self, turn: TurnId, epoch: TurnEpoch, which: u8, how: u8) {
        let seq = self.seqs.get(&epoch).copied().unwrap_or(0);
        let mut emitted = TurnOutput { seq, ..TurnOutput::default() };
        emitted.rewind = how & 3 == 1;
        emitted.mark = how & 12 == 4;
        emitted.internal = how & 48 == 16;
        emitted.step =
            (how & 192 == 64).then(|| StepName::parse(["x", "y"][usize::from(which % 2)]).unwrap());
        emitted.events = (0..which % 5).map(|_| text(&format!("{} ", self.name()))).collect();
        if which % 11 == 3 && self.large < LARGE_COUNT {
            self.large += 1;
            emitted.events.push(text(&format!("{} {} ", self.name(), "l".repeat(LARGE))));
        }
        if which.is_multiple_of(7) {
            let id = r#"{"type":"tool-input-available","toolCallId":"k","toolName":"t","input":{"n":1.10}}"#;
            let result = r#"{"type":"tool-output-available","toolCallId":"k","output":{"n":2.20}}"#;
            let json = if which.is_multiple_of(2) { id } else { result };
            let format = Format::parse("ai-sdk/1").unwrap();
            emitted.events.push(NewEvent { format, payload: json.as_bytes().to_vec().into() });
        }
        if which.is_multiple_of(9) {
            let interaction = InteractionId::parse(&self.name()).unwrap();
            let (kind, deadline_ms) = (KindName::parse("text").unwrap(), None);
            emitted.ask.push(Ask {
                interaction,
                kind,
                question: text("?"),
                deadline_ms,
                role: Role::Participant,
            });
        }
        emitted.then = match which {
            200..210 => Then::Complete,
            210..214 => Then::Fail { reason: "no".into() },
            214..218 => Then::Wait,
            218..222 => Then::Release,
            _ => Then::GoOn,
        };
        let consumed = (which % 4 == 3).then(|| self.status().tail);
        let report = TurnReport { output: Some(emitted), consumed, ..TurnReport::new(turn, epoch) };
        if self.run(Command::Report(Box::new(report))) {
            self.seqs.insert(epoch, seq + 1);
        }
    }
}

/// A session of `turns` turns with so many one-letter events each.
pub(super) fn long(turns: usize, events: usize) -> World {
    let mut world = World::new();
    for at in 0..turns {
        world.input(0, 0, false);
        world.step((3, 0, at.to_le_bytes()[0]));
        let turn = world.status().turns[0].clone();
        let (id, epoch) = (turn.turn.clone(), turn.lease.unwrap().epoch);
        let mut left = events;
        for seq in 0.. {
            let count = left.min(1_000);
            left -= count;
            let then = if left == 0 { Then::Complete } else { Then::GoOn };
            let events = vec![text("x"); count];
            let emitted = Some(TurnOutput { seq, events, then, ..TurnOutput::default() });
            let report = TurnReport { output: emitted, ..TurnReport::new(id.clone(), epoch) };
            assert!(world.run(Command::Report(Box::new(report))));
            if left == 0 {
                break;
            }
        }
    }
    world
}
