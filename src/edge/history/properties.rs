//! For any sequence of events: pages forward, pages backward, one by one, and a snapshot with what comes after it all
//! give the messages that a fold of the whole log gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::world_tests::{World, long, text};
use super::{Log, PageRequest, Side, message_at, one, read};
use crate::edge::attached::Visibility;
use crate::edge::attached::fold::Shape;
use crate::edge::content::raw::Object;
use crate::ids::{Serial, StepName, TurnId};
use crate::limits::{DELIVERY_EVENTS, MESSAGES_BYTES};
use crate::session::{
    Command, Cut, Event, Fact, Format, Inherited, Status, TurnOutput, TurnReport, View,
};

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
    // What was trimmed since is gone from the device's page when it is requested again.
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
        named(&world, &status)?;
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

/// A message that is shown can be named, and nothing else can.
fn named(world: &World, status: &Status) -> Result<(), TestCaseError> {
    let whole = plain(&world.log, Visibility::All);
    for at in world.log.iter().map(|event| event.serial) {
        let found = block(message_at(&mut Log::of(&world.log), status, at)).unwrap();
        prop_assert_eq!(found.is_some(), whole.contains_key(&at), "a message at {}", at);
    }
    Ok(())
}

/// What is open at a place that the log had once is found by reading a little of it.
fn cut_at(world: &World, then: &Status) -> Result<(), TestCaseError> {
    if Serial(1) < world.status().first {
        return Ok(());
    }
    let log = || world.log.iter().filter(|event| event.serial <= then.tail);
    let begun = log().filter_map(|event| Some((event.serial, event.begins()?))).last();
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

/// Those of all messages that are on a path, by what their events record.
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
        log.iter().filter_map(|event| Some((event.serial, event.begins()?))).collect();
    let (mut found, mut at) = (BTreeSet::new(), view.leaf());
    while let Some(place) = places.get(&at) {
        found.insert(at);
        at = place.parent;
    }
    found
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
        let report = TurnReport { output: emitted, ..TurnReport::new(id.clone(), epoch) };
        assert!(world.run(Command::Report(Box::new(report))));
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
