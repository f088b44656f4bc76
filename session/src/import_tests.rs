//! What holds of a session that moved: the same log, the same messages and turns, retries answered the same (S2, S9,
//! S11), whatever it was and in whatever pieces it came.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::stored::read_back;
use super::*;
use crate::turn_tests::{Play, cancel, claim, emit, input, turn_id, words};

/// How an import goes wrong on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// Each step is submitted twice.
    Twice,
    /// It is begun again in the middle.
    Restart,
    /// Another import of the name was begun before it.
    Other,
}

fn step(digest: u128, step: ImportStep) -> Command {
    step_of(Incarnation::FIRST, digest, step)
}

fn step_of(life: Incarnation, digest: u128, step: ImportStep) -> Command {
    read_back(&Command::Import(Box::new(Import { digest, life, step })))
}

/// The steps that bring a session in, its events `size` at a time.
fn steps(carried: &Carried, log: &[Event], size: usize) -> Vec<ImportStep> {
    let mut carried = read_back(carried);
    let mut all = vec![ImportStep::Begin(Box::new(carried.begin()))];
    all.extend(carried.take_writers().into_iter().map(ImportStep::Writers));
    for (at, events) in log.chunks(size).enumerate() {
        let events = events.to_vec();
        all.push(ImportStep::Events(ImportEvents { linked: 0 < at, events }));
    }
    all.push(ImportStep::Finish(Box::new(carried)));
    all
}

fn bring(
    session: &mut Session,
    now: Millis,
    steps: &[ImportStep],
    trouble: Trouble,
) -> Result<Vec<Event>, Refusal> {
    let mut out = Vec::new();
    if trouble == Trouble::Other {
        let other = ImportStep::Begin(Box::new(ImportBegin {
            config: Config::default(),
            incarnation: Incarnation::FIRST,
            first: Serial(7),
            chain: 1,
        }));
        session.apply(now, &step(2, other), &mut Vec::new())?;
    }
    let (middle, mut life) = (steps.len() / 2, Incarnation::FIRST);
    for (at, next) in steps.iter().enumerate() {
        if trouble == Trouble::Restart && at == middle {
            for again in &steps[..at] {
                session.apply(now, &step_of(life, 1, again.clone()), &mut out)?;
            }
        }
        let times = if trouble == Trouble::Twice { 2 } else { 1 };
        for _ in 0..times {
            assert!(!session.is_live() || at + 1 == steps.len(), "it is seen before it is whole");
            session.apply(now, &step_of(life, 1, next.clone()), &mut out)?;
            life = session.incarnation().expect("it has begun");
        }
    }
    Ok(out)
}

/// Events of the life as they can still be read.
fn readable(session: &Session, log: &[Event]) -> Vec<Event> {
    let first = session.first();
    log.iter().filter(|event| first <= event.serial).cloned().collect()
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => crate::turn_tests::any_command(),
        3 => crate::people_tests::any_command(),
        3 => crate::properties::append().prop_map(Command::Append),
        1 => crate::properties::append_each().prop_map(|each| Command::AppendEach(Box::new(each))),
        1 => (0_u64..40).prop_map(|before| Command::Trim { before: Serial(before) }),
    ]
}

/// What a session is, as far as it moves.
fn kept(session: &Session) -> Option<(Config, bool, Standing, Serial, Branches)> {
    let status = session.status()?;
    let Status { config, closed, standing, message, branches, .. } = status;
    Some((config, closed, standing, message, branches))
}

fn check_retries(
    was: &Play,
    copy: &Session,
    commands: &[Command],
    same_name: bool,
) -> Result<(), TestCaseError> {
    let open = was.session.status().map_or_else(Vec::new, |status| status.turns);
    let open: BTreeSet<_> = open.into_iter().map(|turn| turn.turn).collect();
    for command in commands {
        let of_open = match command {
            // Under another name the keys of calls are other ones.
            Command::Report(report)
                if !same_name && report.output.iter().any(|it| !it.tools.is_empty()) =>
            {
                continue;
            }
            Command::Report(report) => open.contains(&report.turn),
            Command::Input(_) | Command::Append(_) | Command::AppendEach(_) => false,
            _ => continue,
        };
        let mut before = was.session.clone();
        let first = before.apply(was.now, command, &mut Vec::new());
        // What would be new there may be new here in another way.
        let is_retry = match &first {
            Ok(Applied::Input { duplicate, .. } | Applied::OutputAccepted { duplicate, .. }) => {
                *duplicate
            }
            Ok(Applied::Appended { duplicate, .. }) => *duplicate,
            _ => false,
        };
        if is_retry && !of_open {
            let again = copy.clone().apply(was.now, command, &mut Vec::new());
            prop_assert_eq!(again, first, "{:?}", command);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_session_that_moved_is_the_same(
        commands in prop::collection::vec((0_u64..2_000, any_command()), 1..60),
        size in 1_usize..9,
        trouble in prop::sample::select(vec![Trouble::None, Trouble::Twice, Trouble::Restart, Trouble::Other]),
        same_name in any::<bool>(),
    ) {
        let mut was = Play::new();
        let (mut taken, mut log) = (Vec::new(), Vec::new());
        // A turn that is over, whatever comes after it.
        let turn = [
            input("t0", "a", WhenBusy::Queue),
            claim("t0", "w", 9),
            emit("t0", 1, Some(0), "one", Then::GoOn),
            emit("t0", 1, Some(1), "two", Then::GoOn),
            emit("t0", 1, Some(2), "", Then::Complete),
        ];
        let commands = turn.into_iter().map(|command| (1, command)).chain(commands);
        for (wait, command) in commands {
            if matches!(command, Command::Delete { .. } | Command::DeleteUnchanged { .. }) {
                continue;
            }
            let life = was.session.incarnation();
            was.wait(wait).run(command.clone()).ok();
            if was.session.incarnation() != life {
                log.clear();
                taken.clear();
            }
            log.extend(was.drain());
            taken.push(command);
        }
        let Some(carried) = was.session.carried() else { return Ok(()) };
        let log = readable(&was.session, &log);
        let name = if same_name { "s" } else { "copy" };
        let carried = if same_name { carried } else { carried.as_another() };
        let steps = steps(&carried, &log, size);
        let mut copy = Session::absent(SessionId::parse(name).unwrap());
        let mut out = bring(&mut copy, was.now, &steps, trouble).unwrap();

        // The same chain, and after it one end for each thing that was open.
        let ended = out.split_off(log.len());
        prop_assert_eq!(&out, &log);
        prop_assert_eq!(out.last().map_or(carried.chain, |last| last.chain), carried.chain);
        let over = |event: &&Event| matches!(event.fact.as_deref(), Some(Fact::Ended { .. }));
        prop_assert_eq!(ended.iter().filter(over).count(), carried.open_turns());
        prop_assert!(ended.iter().all(|event| event.fact.is_some() && carried.tail < event.serial));
        let mut chain = carried.chain;
        for event in &ended {
            prop_assert_eq!(event.chain, chain::next(chain, event));
            chain = event.chain;
        }
        prop_assert_eq!(kept(&copy), kept(&was.session));
        prop_assert_eq!(copy.first(), was.session.first());
        if trouble != Trouble::Other {
            prop_assert_eq!(copy.root(), was.session.root(), "cursors go on");
        }
        prop_assert_eq!(copy.check(), Ok(()));
        prop_assert_eq!(&read_back(&copy), &copy);
        check_retries(&was, &copy, &taken, same_name)?;

        // The same again is the same, and nothing else may take its place.
        let stands = copy.clone();
        for next in &steps {
            let again = copy.apply(was.now, &step(1, next.clone()), &mut Vec::new()).unwrap();
            let is_known = matches!(again, Applied::Imported { complete: true, again: true, .. });
            prop_assert!(is_known, "{:?}", again);
        }
        let other = copy.apply(was.now, &step(9, steps[0].clone()), &mut Vec::new());
        prop_assert_eq!(other, Err(Refusal::SessionExists));
        prop_assert_eq!(copy, stands);
    }

    /// Nothing that is made up does harm: it is refused, or is a session that holds what all sessions do.
    #[test]
    fn what_is_damaged_is_refused_and_leaves_nothing_that_is_seen(
        texts in prop::collection::vec("[a-z]{0,6}", 1..12),
        at in any::<prop::sample::Index>(),
        what in 0_usize..6,
    ) {
        let mut was = Play::new();
        for (number, text) in texts.iter().enumerate() {
            was.run(input(&format!("t{number}"), "a", WhenBusy::Queue)).unwrap();
            was.run(Command::Append(Append { events: vec![words(text)], ..Append::default() })).unwrap();
        }
        let (mut carried, mut log) = (was.session.carried().unwrap(), was.drain());
        let place = at.index(log.len());
        match what {
            0 => drop(log.remove(place)),
            // Nothing stands before the first one; its bytes are the file's to vouch for.
            1 => log[place.max(1)].payload = Bytes::from_static(b"another"),
            2 => log[place].chain ^= 1,
            3 => log[place].time = Millis(1 << 50),
            4 => carried.chain ^= 1,
            _ => carried.inherited.epoch = TurnEpoch(u64::MAX),
        }
        let mut copy = Session::absent(SessionId::parse("s").unwrap());
        let steps = steps(&carried, &log, 3);
        let brought = bring(&mut copy, was.now, &steps, Trouble::None);
        prop_assert!(matches!(brought, Err(Refusal::BadImport { .. })), "{:?}", brought);
        prop_assert!(!copy.is_live());
        prop_assert_eq!(copy.check(), Ok(()));
        prop_assert_eq!(copy.carried(), None);
    }
}

/// A session with a turn that is over, one that is open, a question that was answered, and a writer.
fn furnished() -> (Play, Vec<Event>) {
    let mut was = Play::new();
    for command in [
        input("t0", "a", WhenBusy::Queue),
        claim("t0", "w", 9),
        emit("t0", 1, Some(0), "one", Then::GoOn),
        emit("t0", 1, Some(1), "", Then::Complete),
        input("t1", "a", WhenBusy::Queue),
        input("t2", "b", WhenBusy::Queue),
        claim("t2", "w", 10),
        cancel(Scope::Turn(turn_id("t9"))),
    ] {
        was.run(command).unwrap();
    }
    let producer = crate::ids::ProducerId::parse("p").unwrap();
    let producer = Some(Origin { producer, epoch: crate::ids::ProducerEpoch(1), seq: 0 });
    let append = Append { events: vec![words("x")], producer, ..Append::default() };
    was.run(Command::Append(append)).unwrap();
    let log = was.drain();
    (was, log)
}

proptest! {
    /// A state that is made up, byte by byte.
    #[test]
    fn no_state_that_is_brought_in_breaks_a_session_later(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4),
        commands in prop::collection::vec((0_u64..100_000, any_command()), 0..30),
    ) {
        let (was, log) = furnished();
        let mut bytes = cluster::codec::encode(1, &was.session.carried().unwrap());
        for (at, byte, how) in cuts {
            let at = at.index(bytes.len() - 1) + 1;
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                // The greatest number that there is.
                _ => drop(bytes.splice(at..=at, [0xfd, 255, 255, 255, 255, 255, 255, 255, 255])),
            }
        }
        let Ok(carried) = cluster::codec::decode::<Carried>(1, &bytes) else { return Ok(()) };
        let steps = steps(&carried, &log, 4);
        let mut copy = Play::new();
        copy.session = Session::absent(SessionId::parse("s").unwrap());
        if bring(&mut copy.session, Millis(0), &steps, Trouble::None).is_err() {
            prop_assert!(!copy.session.is_live());
        }
        prop_assert_eq!(copy.session.check(), Ok(()));
        for (wait, command) in commands {
            copy.wait(wait).run(command).ok();
        }
    }
}

#[test]
fn an_import_that_nobody_goes_on_with_is_given_up() {
    let mut was = Play::new();
    was.run(input("t1", "a", WhenBusy::Queue)).unwrap();
    let (carried, log) = (was.session.carried().unwrap(), was.drain());
    let steps = steps(&carried, &log, 1);
    let mut copy = Session::absent(SessionId::parse("s").unwrap());
    let mut ask = |at: u64, command: &Command| copy.apply(Millis(at), command, &mut Vec::new());
    for next in &steps[..2] {
        ask(0, &step(1, next.clone())).unwrap();
    }
    assert_eq!(ask(1, &Config::default().into()), Err(Refusal::Importing));
    let this = Command::Delete { incarnation: Some(Incarnation::FIRST) };
    assert_eq!(ask(1, &this), Err(Refusal::NotFound), "nobody knows it");
    assert_eq!(ask(1, &Command::Append(Append::default())), Err(Refusal::NotFound));
    assert_eq!(ask(2, &step(3, steps[1].clone())), Err(Refusal::ImportOver));
    assert_eq!(copy.tick_at(), Some(Millis(limits::IMPORT_MS)));
    assert_eq!((copy.holding().sessions, copy.status()), (1, None));
    let mut ask = |at: u64, command: &Command| copy.apply(Millis(at), command, &mut Vec::new());
    assert_eq!(ask(limits::IMPORT_MS - 1, &Command::Tick), Ok(Applied::Unchanged));
    assert!(matches!(ask(limits::IMPORT_MS, &Command::Tick), Ok(Applied::Deleted { .. })));
    assert_eq!(ask(limits::IMPORT_MS, &step(1, steps[1].clone())), Err(Refusal::ImportOver));
    // The name is free again, and the whole import goes in another life.
    let now = Millis(limits::IMPORT_MS);
    bring(&mut copy, now, &steps, Trouble::None).unwrap();
    assert_eq!(copy.incarnation(), Some(Incarnation(2)));
    assert!(copy.status().unwrap().turns.is_empty(), "what was open has ended");
    assert_eq!(copy.place_of(&turn_id("t1")).unwrap().ended, Some(Serial(2)));
}

#[test]
fn who_wrote_in_earlier_lives_of_the_name_stays_fenced() {
    let origin = |epoch: u64| {
        let producer = crate::ids::ProducerId::parse("p").unwrap();
        Some(Origin { producer, epoch: crate::ids::ProducerEpoch(epoch), seq: 0 })
    };
    let append = |epoch| {
        let (events, producer) = (vec![words("x")], origin(epoch));
        Command::Append(Append { events, producer, ..Append::default() })
    };
    let mut was = Play::new();
    was.run(append(3)).unwrap();
    let (carried, log) = (was.session.carried().unwrap(), was.drain());
    let mut other = Play::new();
    other.run(append(5)).unwrap();
    other.run(Command::Delete { incarnation: None }).unwrap();
    let steps = steps(&carried, &log, 1);
    bring(&mut other.session, Millis(0), &steps, Trouble::None).unwrap();
    assert!(matches!(other.run(append(3)), Err(Refusal::StaleEpoch { .. })));
    assert!(matches!(other.run(append(5)), Err(Refusal::StaleEpoch { .. })));
    assert!(other.run(append(6)).is_ok());
}

/// Numbers near their greatest, and more of something than a session may have: none of it is taken, and what was taken
/// before goes on.
#[test]
fn what_no_session_could_hold_is_refused_where_it_comes() {
    let (was, log) = furnished();
    let carried = was.session.carried().unwrap();
    let begin = |incarnation, first| ImportBegin {
        config: Config::default(),
        incarnation: Incarnation(incarnation),
        first: Serial(first),
        chain: 0,
    };
    let refused = |session: &mut Session, next: ImportStep| {
        let before = session.clone();
        let answer = session.apply(Millis(0), &step(1, next), &mut Vec::new());
        assert!(matches!(answer, Err(Refusal::BadImport { .. })), "{answer:?}");
        assert_eq!(*session, before);
    };
    let mut copy = Session::absent(SessionId::parse("s").unwrap());
    for (incarnation, first) in [(u32::MAX, 1), (1, 0), (1, u64::MAX), (1, 1 << 61)] {
        refused(&mut copy, ImportStep::Begin(Box::new(begin(incarnation, first))));
    }
    let steps = steps(&carried, &log, 100);
    let mut ask = |next: ImportStep| copy.apply(Millis(0), &step(1, next), &mut Vec::new());
    ask(steps[0].clone()).unwrap();
    let mut events = log.clone();
    let ended = |event: &Event| matches!(event.fact.as_deref(), Some(Fact::Ended { .. }));
    let last = events.iter_mut().rfind(|event| ended(event)).unwrap();
    let turn = last.fact.as_ref().unwrap().turn().unwrap().clone();
    let reason = "x".repeat(limits::DETAIL_BYTES + 1);
    last.fact = Some(Box::new(Fact::Ended { turn, end: End::Failed { reason } }));
    // The chain fits the changed events.
    let mut chain = None;
    for event in &mut events {
        event.chain = chain.map_or(event.chain, |chain| chain::next(chain, event));
        chain = Some(event.chain);
    }
    refused(&mut copy, ImportStep::Events(ImportEvents { linked: false, events }));
    let mut ask = |next: ImportStep| copy.apply(Millis(0), &step(1, next), &mut Vec::new());
    let writer = carried.clone().take_writers().remove(0).0.remove(0);
    let many = |from: usize| {
        let named =
            |number: usize| crate::ids::ProducerId::parse(&format!("p{number:06}")).unwrap();
        let more = (from..from + 256).map(|number| {
            let mut writer = writer.clone();
            writer.id = named(number);
            writer
        });
        ImportStep::Writers(Writers(more.collect()))
    };
    for from in (0..limits::PRODUCERS).step_by(256) {
        ask(many(from)).unwrap();
    }
    refused(&mut copy, many(limits::PRODUCERS));
    let ImportStep::Writers(Writers(mut turned)) = many(2 * limits::PRODUCERS) else { panic!() };
    turned.reverse();
    refused(&mut copy, ImportStep::Writers(Writers(turned)));
}

#[test]
fn what_is_given_up_leaves_the_name_free() {
    let mut was = Play::new();
    was.run(input("t1", "a", WhenBusy::Queue)).unwrap();
    let (carried, log) = (was.session.carried().unwrap(), was.drain());
    let steps = steps(&carried, &log, 1);
    let mut copy = Session::absent(SessionId::parse("s").unwrap());
    let mut ask = |command: &Command| copy.apply(Millis(0), command, &mut Vec::new());
    let gone = |life, reason| Ok(Applied::Deleted { incarnation: Incarnation(life), reason });
    for next in &steps[..2] {
        ask(&step(1, next.clone())).unwrap();
    }
    assert_eq!(ask(&step(2, ImportStep::GiveUp)), Err(Refusal::ImportOver));
    assert_eq!(ask(&step(1, ImportStep::GiveUp)), gone(1, DeleteReason::Requested));
    assert_eq!(ask(&step(1, ImportStep::GiveUp)), Err(Refusal::ImportOver));
    // A delete does the same, and who began before goes on with nothing that was begun after.
    ask(&step(1, steps[0].clone())).unwrap();
    assert_eq!(ask(&step(1, steps[1].clone())), Err(Refusal::ImportOver), "it is another life");
    ask(&step_of(Incarnation(2), 1, steps[1].clone())).unwrap();
    assert_eq!(ask(&Command::Delete { incarnation: None }), gone(2, DeleteReason::Requested));
    ask(&Config::default().into()).unwrap();
    assert_eq!((copy.incarnation(), copy.holding().sessions), (Some(Incarnation(3)), 1));
}

/// Where a chain begins anew it is believed, as often as forks can be of forks.
#[test]
fn a_chain_that_is_broken_everywhere_is_none() {
    let mut was = Play::new();
    for at in 0..2 * limits::FORK_DEPTH {
        let events = vec![words(&format!("{at}"))];
        was.run(Command::Append(Append { events, ..Append::default() })).unwrap();
    }
    let (carried, log) = (was.session.carried().unwrap(), was.drain());
    let mut copy = Session::absent(SessionId::parse("s").unwrap());
    let mut ask = |command: &Command| copy.apply(was.now, command, &mut Vec::new());
    ask(&step(1, ImportStep::Begin(Box::new(carried.begin())))).unwrap();
    let broken = log.into_iter().map(|event| {
        let events = ImportEvents { linked: false, events: vec![event] };
        ask(&step(1, ImportStep::Events(events)))
    });
    let taken = broken.take_while(Result::is_ok).count();
    assert_eq!(taken, limits::FORK_DEPTH + 1);
}

/// Retention takes what is too old when the rest of an import comes, and with it what an event alone referred to.
#[test]
fn what_an_event_named_that_retention_takes_is_no_hindrance() {
    let mut was = Play::new();
    let events = vec![words("see file_0123456789abcdef")];
    was.run(Command::Append(Append { events, ..Append::default() })).unwrap();
    was.run(input("t1", "a", WhenBusy::Queue)).unwrap();
    let (mut carried, log) = (was.session.carried().unwrap(), was.drain());
    carried.config.retention.max_age_ms = Some(1_000);
    let mut copy = Session::absent(SessionId::parse("s").unwrap());
    bring(&mut copy, Millis(1 << 30), &steps(&carried, &log, 1), Trouble::None).unwrap();
    assert!(Serial(1) < copy.first(), "{:?}", copy.first());
}
