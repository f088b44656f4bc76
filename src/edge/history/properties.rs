//! For any sequence of events: pages forward, pages backward, one by one, and a snapshot with what comes after it all
//! give the messages that a fold of the whole log gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Log, PageRequest, Side, begins, one, read};
use crate::edge::attached::Visibility;
use crate::edge::attached::fold::Shape;
use crate::edge::content::raw::Object;
use crate::ids::{
    AgentName, InteractionId, KindName, Millis, ParticipantName, Serial, SessionId, StepName,
    TurnEpoch, TurnId, WorkerName,
};
use crate::limits::{DELIVERY_EVENTS, MESSAGES_BYTES};
use crate::session::{
    Answer, Append, Ask, Cancel, Cause, Claim, Command, Config, ControlRequest, Cut, Event, Fact,
    Follows, Format, Found, Inherited, Input, Lose, Mode, NewEvent, Role, Say, Scope, Sender,
    Session, Status, Then, TurnOutput, Verb, View, WhenBusy,
};

/// A session with whatever happens in it.
pub(super) struct World {
    session: Session,
    /// What can still be read.
    pub(super) log: Vec<Event>,
    now: u64,
    names: u32,
    /// How often each lease has spoken.
    seqs: BTreeMap<TurnEpoch, u64>,
    /// Texts of [`LARGE`] bytes so far.
    large: usize,
}

/// Bytes of a large text: a page has room for two of them, and what is read at once for [`LARGE_COUNT`].
const LARGE: usize = 120 << 10;
const LARGE_COUNT: usize = 4;

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
        input.when_busy = Some(WhenBusy::ALL[usize::from(busy % 3)]);
        input.sender = by_sue.then(sue);
        self.run(Command::Input(Box::new(input)));
    }

    /// Somebody speaks after a message that was there before, or wants another answer to it.
    pub(super) fn branch(&mut self, which: u8, how: u8) {
        let begun: Vec<_> = self.log.iter().filter(|event| begins(event).is_some()).collect();
        let Some(event) = begun.get(usize::from(which) % begun.len().max(1)) else { return };
        let (place, life) = (begins(event).unwrap(), self.status().incarnation);
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
        input.when_busy = Some(WhenBusy::ALL[usize::from(how / 16 % 3)]);
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
                let (lease_ms, quiet_ms) = (600_000, 600_000);
                let (turn, worker) = (turn.turn.clone(), WorkerName::parse("w").unwrap());
                let key = u64::from(self.names) << 8 | u64::from(how);
                self.run(Command::Claim(Box::new(Claim {
                    turn,
                    worker,
                    key,
                    lease_ms,
                    quiet_ms,
                    node: None,
                })));
            }
            6..=15 => {
                let Some((turn, epoch)) = active.get(pick(active.len())).cloned() else { return };
                self.say(turn, epoch, which, how);
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
                    0 => Verb::Release,
                    1 => Verb::Take { mode: Mode::Manual },
                    _ => Verb::Take { mode: Mode::Assist },
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

    fn say(&mut self, turn: TurnId, epoch: TurnEpoch, which: u8, how: u8) {
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
        let say = Say { output: Some(emitted), consumed, ..Say::new(turn, epoch) };
        if self.run(Command::Say(Box::new(say))) {
            self.seqs.insert(epoch, seq + 1);
        }
    }
}

/// The texts of a log's messages by their ids, folded as plainly as can be; of each as much as a page has room for.
fn plain(log: &[Event], visibility: Visibility) -> BTreeMap<Serial, String> {
    let mut all: BTreeMap<Serial, Vec<(Serial, String, usize)>> = BTreeMap::new();
    let mut of: BTreeMap<Serial, (TurnId, Option<StepName>)> = BTreeMap::new();
    let mut asks: BTreeSet<Serial> = BTreeSet::new();
    for event in log {
        let words = match event.format == Format::TEXT {
            true => String::from_utf8_lossy(&event.payload).into_owned(),
            false => String::new(),
        };
        let size = event.payload.len();
        match event.fact.as_deref() {
            Some(Fact::Input { place, .. } | Fact::Person { place, .. }) if !place.again => {
                all.insert(event.serial, vec![(event.serial, words, size)]);
            }
            Some(Fact::Output(output)) => {
                if visibility == Visibility::Public && output.internal {
                    continue;
                }
                all.entry(output.message).or_default().push((event.serial, words, size));
                of.insert(output.message, (output.turn.clone(), output.step.clone()));
            }
            Some(Fact::Requested { message, .. }) => {
                all.entry(*message).or_default();
                asks.insert(*message);
            }
            Some(Fact::Rewound { turn, step, from, to, .. }) => {
                for (id, pieces) in &mut all {
                    let is_meant = of
                        .get(id)
                        .is_some_and(|(of, which)| of == turn && (step.is_none() || which == step));
                    if is_meant {
                        pieces.retain(|(serial, ..)| serial < from || to < serial);
                    }
                }
            }
            _ => {}
        }
    }
    all.retain(|id, pieces| !pieces.is_empty() || asks.contains(id));
    for pieces in all.values_mut() {
        let bytes =
            |pieces: &[(Serial, String, usize)]| pieces.iter().map(|it| it.2).sum::<usize>();
        while MESSAGES_BYTES < bytes(pieces) && 1 < pieces.len() {
            pieces.remove(0);
        }
    }
    let joined = |pieces: Vec<(Serial, String, usize)>| {
        pieces.into_iter().map(|(_, text, _)| text).collect()
    };
    all.into_iter().map(|(id, pieces)| (id, joined(pieces))).collect()
}

pub(super) type Listed = BTreeMap<Serial, String>;

pub(super) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// All messages, read page by page from one end to the other.
pub(super) fn paged(
    log: &[Event],
    status: &Status,
    side: Side,
    limit: usize,
    visibility: Visibility,
) -> Result<Listed, TestCaseError> {
    paged_view(log, status, side, limit, (visibility, &View::default()))
}

/// The same of one path.
fn paged_view(
    log: &[Event],
    status: &Status,
    side: Side,
    limit: usize,
    (visibility, view): (Visibility, &View),
) -> Result<Listed, TestCaseError> {
    let mut listed = Listed::new();
    let mut place = match side {
        Side::Older => status.tail.next(),
        Side::Newer => Serial::ZERO,
    };
    for _ in 0..10_000 {
        let view = view.clone();
        let request = PageRequest { side, place, limit, visibility, view };
        let page = block(read(&mut Log::of(log), status, request)).unwrap();
        prop_assert!(page.messages.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        for (id, message) in page.messages {
            prop_assert!(listed.insert(id, message.to_string()).is_none(), "{id:?} came twice");
        }
        let next = if side == Side::Older { page.older } else { page.newer };
        let Some(next) = next else { return Ok(listed) };
        let goes_on = if side == Side::Older { next < place } else { place < next };
        prop_assert!(goes_on, "a page goes on");
        place = next;
    }
    panic!("there is no end of pages")
}

fn texts(listed: &Listed) -> BTreeMap<Serial, String> {
    let text = |json: &String| Object::parse(json).unwrap().text("text").unwrap_or_default();
    listed.iter().map(|(id, json)| (*id, text(json))).collect()
}

/// What a device knows that read the pages of an earlier log and followed from there: texts of outputs go to the
/// message that they name, and what was superseded is read anew.
fn followed(
    world: &World,
    before: &Status,
    log_before: &[Event],
    (visibility, view): (Visibility, &View),
) -> BTreeMap<Serial, String> {
    let shown = (visibility, view);
    let listed = paged_view(log_before, before, Side::Older, 1_000, shown).unwrap();
    let (mut known, mut stale) = (texts(&listed), BTreeSet::new());
    let mut turns: BTreeMap<Serial, TurnId> = BTreeMap::new();
    for event in log_before.iter().chain(&world.log) {
        if let Some(Fact::Output(output)) = event.fact.as_deref() {
            turns.insert(output.message, output.turn.clone());
        }
    }
    let shape = Shape { view: Some(Box::new(view.clone())), ..Shape::default() };
    let sent = |event: &&Event| before.tail < event.serial && !shape.is_elsewhere(event);
    for event in world.log.iter().filter(sent) {
        let words = String::from_utf8_lossy(&event.payload).into_owned();
        let words = if event.format == Format::TEXT { words } else { String::new() };
        match event.fact.as_deref() {
            Some(Fact::Input { place, .. } | Fact::Person { place, .. }) if !place.again => {
                known.insert(event.serial, words);
            }
            Some(Fact::Output(output)) if visibility == Visibility::All || !output.internal => {
                known.entry(output.message).or_default().push_str(&words);
            }
            Some(Fact::Requested { message, .. }) => _ = known.entry(*message).or_default(),
            Some(Fact::Rewound { turn, .. }) => {
                stale.extend(known.keys().filter(|id| turns.get(id) == Some(turn)));
            }
            _ => {}
        }
    }
    let status = world.status();
    // What was trimmed since is gone from the device's page when it is asked for again.
    stale.extend(known.keys().filter(|id| **id < status.first));
    // A message that grew too large for a page lost its beginning.
    stale.extend(known.iter().filter(|(_, text)| MESSAGES_BYTES < text.len()).map(|(id, _)| *id));
    for id in stale {
        match block(one(&mut Log::of(&world.log), &status, id, visibility)).unwrap() {
            Some(json) => {
                let listed = Listed::from([(id, json.to_string())]);
                known.extend(texts(&listed));
            }
            None => _ = known.remove(&id),
        }
    }
    known
}

/// A page at any place has the messages next to it, and none of the other side.
fn from_a_place(
    world: &World,
    status: &Status,
    all: &Listed,
    request: PageRequest,
) -> Result<(), TestCaseError> {
    let page = block(read(&mut Log::of(&world.log), status, request.clone())).unwrap();
    let listed: Vec<_> = page.messages.into_iter().map(|(id, it)| (id, it.to_string())).collect();
    let place = request.place;
    let mut near: Vec<(Serial, String)> = match request.side {
        Side::Older => all.range(..place).map(|(id, it)| (*id, it.clone())).collect(),
        Side::Newer => all.range(place.next()..).map(|(id, it)| (*id, it.clone())).collect(),
    };
    prop_assert!(!listed.is_empty() || near.is_empty(), "{request:?} has nothing of {near:?}");
    match request.side {
        Side::Older => _ = near.drain(..near.len().saturating_sub(listed.len())),
        Side::Newer => near.truncate(listed.len()),
    }
    prop_assert_eq!(listed, near, "{:?}", request);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_read_gives_the_same_messages(
        steps in prop::collection::vec((0_u8..23, any::<u8>(), any::<u8>()), 1..80),
        limit in 1_usize..6,
        at in any::<prop::sample::Index>(),
        public in any::<bool>(),
    ) {
        let visibility = if public { Visibility::Public } else { Visibility::All };
        let mut world = World::new();
        let middle = at.index(steps.len());
        let (mut earlier, mut stood) = (None, Vec::new());
        for (place, step) in steps.into_iter().enumerate() {
            if place == middle {
                earlier = Some((world.status(), world.log.clone()));
            }
            world.step(step);
            stood.push(world.status());
        }
        for status in &stood {
            cut_at(&world, status)?;
        }
        let status = world.status();
        let whole = plain(&world.log, visibility);
        let older = paged(&world.log, &status, Side::Older, limit, visibility)?;
        let newer = paged(&world.log, &status, Side::Newer, limit, visibility)?;
        prop_assert_eq!(&older, &newer, "both ways, to the byte");
        prop_assert_eq!(texts(&older), whole.clone());
        for (id, message) in &older {
            let alone = block(one(&mut Log::of(&world.log), &status, *id, visibility)).unwrap();
            prop_assert_eq!(Some(message.clone()), alone.map(|alone| alone.to_string()));
        }
        let place = Serial(at.index(status.tail.0 as usize + 2) as u64);
        let near = |side| PageRequest { side, place, limit, visibility, view: View::default() };
        from_a_place(&world, &status, &older, near(Side::Newer))?;
        from_a_place(&world, &status, &older, near(Side::Older))?;
        let (before, log) = earlier.expect("there is a step");
        let listed = followed(&world, &before, &log, (visibility, &View::default()));
        prop_assert_eq!(&listed, &whole);
        for branch in branches(&status) {
            let view = status.branches.path(branch).unwrap();
            let on_it = of_view(&world.log, &view, &older);
            let shown = (visibility, &view);
            for side in [Side::Older, Side::Newer] {
                let listed = paged_view(&world.log, &status, side, limit, shown)?;
                prop_assert_eq!(&listed, &on_it, "{:?} of branch {:?}", side, branch);
                let near = PageRequest { side, place, limit, visibility, view: view.clone() };
                from_a_place(&world, &status, &on_it, near)?;
            }
            if status.first <= Serial(1) {
                let chain = chain(&world.log, &view);
                prop_assert!(on_it.keys().all(|id| chain.contains(id)), "parents lead to all");
                let begun = chain.iter().filter(|id| whole.contains_key(id)).count();
                prop_assert_eq!(begun, on_it.len(), "parents lead to nothing else");
            }
            if let Some(pinned) = before.branches.path(branch) {
                let listed = followed(&world, &before, &log, (visibility, &pinned));
                prop_assert_eq!(listed, texts(&on_it), "followed on branch {:?}", branch);
            }
        }
    }
}

/// What is open at a place that the log had once is found by reading a little of it.
fn cut_at(world: &World, then: &Status) -> Result<(), TestCaseError> {
    if Serial(1) < world.status().first {
        return Ok(());
    }
    let log = || world.log.iter().filter(|event| event.serial <= then.tail);
    let begun = log().filter_map(|event| Some((event.serial, begins(event)?))).last();
    let from = begun.map_or(Serial(1), |(at, place)| match place.open {
        Serial::ZERO => at,
        open => open.min(at),
    });
    let mut cut = Cut::default();
    log().filter(|event| from <= event.serial).for_each(|event| cut.take(event));
    let open: BTreeSet<_> = cut.open().iter().map(|open| open.turn.clone()).collect();
    let known: BTreeSet<_> = then.turns.iter().map(|turn| turn.turn.clone()).collect();
    prop_assert!(known.is_subset(&open), "turns open at {}", then.tail);
    let held = usize::from(then.control.held);
    prop_assert_eq!(open.len() - known.len(), held, "held back at {}", then.tail);
    let questions: BTreeSet<_> = cut.open().iter().flat_map(|it| it.interactions.clone()).collect();
    let known = then.interactions.iter().map(|open| open.interaction.clone()).collect();
    prop_assert_eq!(questions, known, "questions open at {}", then.tail);
    let inherited = Inherited::default().with(cut, None);
    if then.branches.is_tree() {
        return Ok(());
    }
    prop_assert_eq!(inherited.branches.root, then.branches.root, "the newest message");
    Ok(())
}

/// All branches by their names.
fn branches(status: &Status) -> Vec<Serial> {
    let others = status.branches.all.iter().map(|branch| branch.begin);
    [Serial::ZERO].into_iter().chain(others).collect()
}

/// Those of all messages that are on a path, by what their events say.
fn of_view(log: &[Event], view: &View, all: &Listed) -> Listed {
    let mut on: BTreeMap<Serial, Serial> = BTreeMap::new();
    for event in log {
        match event.fact.as_deref() {
            Some(Fact::Input { place, .. } | Fact::Person { place, .. }) => {
                on.insert(event.serial, place.branch);
            }
            Some(Fact::Output(output)) => _ = on.insert(output.message, output.place.branch),
            Some(Fact::Requested { message, place, .. }) => _ = on.insert(*message, place.branch),
            _ => {}
        }
    }
    let is_on = |id: &Serial| view.has(on[id], *id);
    all.iter().filter(|(id, _)| is_on(id)).map(|(id, it)| (*id, it.clone())).collect()
}

/// The messages that the last one of a path leads to, each by its parent.
fn chain(log: &[Event], view: &View) -> BTreeSet<Serial> {
    let places: BTreeMap<Serial, _> =
        log.iter().filter_map(|event| Some((event.serial, begins(event)?))).collect();
    let (mut found, mut at) = (BTreeSet::new(), view.leaf());
    while let Some(place) = places.get(&at) {
        found.insert(at);
        at = place.parent;
    }
    found
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
            let say = Say { output: emitted, ..Say::new(id.clone(), epoch) };
            assert!(world.run(Command::Say(Box::new(say))));
            if left == 0 {
                break;
            }
        }
    }
    world
}

#[test]
fn a_page_costs_what_its_messages_do_and_not_what_the_log_does() {
    let world = long(1_000, 100);
    let status = world.status();
    assert!(100_000 < status.tail.0);
    let cost = |request: PageRequest| {
        let mut log = Log::of(&world.log);
        let page = block(read(&mut log, &status, request)).unwrap();
        (page.messages.len(), log.read)
    };
    let most = 4 * DELIVERY_EVENTS as u64 + 10 * 103;
    let visibility = Visibility::All;
    for (side, place) in [
        (Side::Older, status.tail.next()),
        (Side::Older, Serial(50_000)),
        (Side::Newer, Serial(50_000)),
        (Side::Newer, Serial::ZERO),
    ] {
        let view = View::default();
        let (count, read) = cost(PageRequest { side, place, limit: 10, visibility, view });
        assert_eq!(count, 10);
        assert!(read <= 2 * most, "{read} events were read {side:?} of {place:?}");
    }
}

#[test]
fn a_message_that_is_larger_than_a_page_says_what_is_missing() {
    let mut world = long(1, 1);
    world.input(0, 0, false);
    world.step((3, 0, 1));
    let turn = world.status().turns[0].clone();
    let (id, epoch) = (turn.turn.clone(), turn.lease.unwrap().epoch);
    let large = "y".repeat(MESSAGES_BYTES / 2);
    for seq in 0..5 {
        let emitted = Some(TurnOutput { seq, events: vec![text(&large)], ..TurnOutput::default() });
        let say = Say { output: emitted, ..Say::new(id.clone(), epoch) };
        assert!(world.run(Command::Say(Box::new(say))));
    }
    let status = world.status();
    for side in [Side::Older, Side::Newer] {
        let listed = paged(&world.log, &status, side, 10, Visibility::All).unwrap();
        assert_eq!(listed.len(), 4, "{side:?}");
        let last = listed.values().last().unwrap();
        let last = Object::parse(last).unwrap();
        assert_eq!(last.number("cut"), Some(3 * large.len() as u64));
        assert_eq!(last.text("text").unwrap().len(), 2 * large.len());
    }
}
