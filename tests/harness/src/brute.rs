//! The second opinion: tiny histories of one session, and a search over all orders of their calls.
//!
//! The search knows nothing of prefix maxima or merged attempts: it runs a log with idempotent
//! producers and tries every call that may come next.

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand::rngs::StdRng;

use super::checker::index::{Index, NEVER, Outcome};
use super::checker::{Expectations, Findings};
use super::history::{Answer, Call, Event, History, Kind, OpId, Producer, ReadMode, Record};

/// A tiny history of at most seven calls: the final log and all serials agree, but times and tails
/// are chosen freely, so about half of them are linearizable.
pub fn tiny(rng: &mut StdRng) -> History {
    struct Plan {
        call: Call,
        answer: Option<Answer>,
        at: u64,
    }
    let writes = rng.random_range(1..=4_u64);
    let mut records: Vec<Record> = Vec::new();
    let mut plans: Vec<Plan> = Vec::new();
    let mut ends = vec![0];
    for write in 0..writes {
        let size = rng.random_range(1..=2_u64);
        let values: Vec<String> = (0..size).map(|i| format!("w{write}.{i}")).collect();
        let keyed = rng.random_bool(0.6);
        let producer = keyed.then(|| Producer { id: format!("p{write}"), epoch: 0, seq: 0 });
        let call = Call::Append { values: values.clone(), producer };
        let first = records.len() as u64 + 1;
        for (serial, value) in (first..).zip(values) {
            records.push(Record { serial, value, chain: None, fact: None });
        }
        let last = records.len() as u64;
        ends.push(last);
        let attempts = if keyed { rng.random_range(1..=2) } else { 1 };
        for _ in 0..attempts {
            let known = rng.random_bool(0.7);
            let answer = known.then_some(Answer::Appended { incarnation: 1, first, last });
            plans.push(Plan { call: call.clone(), answer, at: write * 6 });
        }
    }
    while plans.len() < 7 && rng.random_bool(0.7) {
        let place = rng.random_range(0..ends.len());
        let answer = Some(Answer::Tail { incarnation: 1, tail: ends[place] });
        plans.push(Plan { call: Call::Tail, answer, at: place as u64 * 6 });
    }
    let mut events: Vec<Event> = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        let op = OpId(number as u64);
        // Times are all different, so that nothing hangs on how ties are read.
        let moment = |t: u64| t * 16 + number as u64;
        let begin = moment(plan.at + rng.random_range(0..16));
        let end = begin + moment(rng.random_range(1..16)) / 16 * 16 + 8;
        let (node, session) = ("n0".to_owned(), "s".to_owned());
        let inv = Kind::Inv {
            op,
            client: number as u32,
            node,
            session,
            incarnation: None,
            call: plan.call,
        };
        let done = match plan.answer {
            Some(answer) => Kind::Ok { op, answer },
            None => Kind::Info { op, error: "timeout".to_owned() },
        };
        events.push(Event { at: begin, kind: inv });
        events.push(Event { at: end, kind: done });
    }
    let mut history = History { events };
    history.sort();
    let (op, tail) = (OpId(99), Some(records.len() as u64));
    let call = Call::Read { after: 0, mode: ReadMode::Final };
    let (node, session) = ("n0".to_owned(), "s".to_owned());
    let inv = Kind::Inv { op, client: 9, node, session, incarnation: None, call };
    let done = Kind::Ok { op, answer: Answer::Page { incarnation: 1, first: 1, tail, records } };
    history.events.extend([inv, done].map(|kind| Event { at: 1 << 40, kind }));
    history
}

/// Whether some order of the calls explains everything, the final log included.
pub fn linearizable(history: &History) -> bool {
    let index = Index::build(history, &Expectations::default(), &mut Findings::default());
    let mut calls: Vec<Try> = Vec::new();
    let mut wanted: Vec<String> = Vec::new();
    for op in &index.ops {
        match (op.call, op.answer()) {
            (Call::Read { mode: ReadMode::Final, .. }, Some(Answer::Page { records, .. })) => {
                wanted = records.iter().map(|record| record.value.clone()).collect()
            }
            (call, answer) => calls.push(Try {
                call,
                answer,
                inv: op.inv,
                ret: if matches!(op.outcome, Outcome::Unknown) { NEVER } else { op.ret },
            }),
        }
    }
    search(&calls, &wanted, 0, &World::default(), &mut HashSet::new())
}

struct Try<'h> {
    call: &'h Call,
    answer: Option<&'h Answer>,
    inv: u64,
    ret: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct World {
    log: Vec<String>,
    keys: BTreeMap<Producer, (u64, u64)>,
}

fn search(
    calls: &[Try<'_>],
    wanted: &[String],
    done: u32,
    world: &World,
    seen: &mut HashSet<(u32, World)>,
) -> bool {
    let open = |i: &usize| done & (1 << i) == 0;
    if world.log == wanted && (0..calls.len()).filter(open).all(|i| calls[i].answer.is_none()) {
        return true;
    }
    if !seen.insert((done, world.clone())) {
        return false;
    }
    let first_end = (0..calls.len()).filter(open).map(|i| calls[i].ret).min().unwrap_or(NEVER);
    (0..calls.len()).filter(open).filter(|&i| calls[i].inv <= first_end).any(|i| {
        let mut next = world.clone();
        let reply = next.apply(calls[i].call);
        calls[i].answer.is_none_or(|answer| *answer == reply)
            && search(calls, wanted, done | 1 << i, &next, seen)
    })
}

impl World {
    fn apply(&mut self, call: &Call) -> Answer {
        let incarnation = 1;
        let tail = self.log.len() as u64;
        let Call::Append { values, producer } = call else {
            return Answer::Tail { incarnation, tail };
        };
        if let Some(&(first, last)) = producer.as_ref().and_then(|key| self.keys.get(key)) {
            return Answer::Appended { incarnation, first, last };
        }
        self.log.extend(values.iter().cloned());
        let (first, last) = (tail + 1, self.log.len() as u64);
        if let Some(key) = producer {
            self.keys.insert(key.clone(), (first, last));
        }
        Answer::Appended { incarnation, first, last }
    }
}
