//! Every call ends (A17), and how long clients waited for the next acknowledgement. The wait counts only
//! while an append, an input or a cancel is open, and is reported, not judged: the bound belongs to the test.

use std::collections::BTreeMap;

use super::super::history::{Call, Kind};
use super::super::report::{Code, Histogram, Stall};
use super::Findings;
use super::index::{Index, Outcome};

pub fn check(index: &Index<'_>, out: &mut Findings) -> Histogram {
    let mut sessions: BTreeMap<&str, Vec<(usize, Step)>> = BTreeMap::new();
    for op in &index.ops {
        if matches!(op.outcome, Outcome::Open) {
            out.add(Code::A17, op.session, &[op.line], format!("{:?} never ended", op.id));
        }
        if let Call::Append { .. } | Call::Input { .. } | Call::Cancel { .. } = op.call {
            let end = match op.outcome {
                Outcome::Open => None,
                Outcome::Ok(_) => Some(Step::Served),
                Outcome::Failed => Some(Step::Refused),
                Outcome::Unknown => Some(Step::Lost),
            };
            let steps = sessions.entry(op.session).or_default();
            steps.push((op.line, Step::Requests));
            steps.extend(end.map(|end| (op.done_line, end)));
        }
    }
    let events = &index.history.events;
    let faults: Vec<usize> =
        (0..events.len()).filter(|&i| matches!(events[i].kind, Kind::Nemesis { .. })).collect();
    let (mut all, mut worst) = (Vec::new(), Vec::new());
    for (session, mut steps) in sessions {
        steps.sort_unstable();
        let waits = waits(steps.into_iter().map(|(line, step)| (events[line].at, step)));
        all.extend(waits.iter().map(|(nanos, _)| nanos));
        if let Some((nanos, from)) = waits.into_iter().max() {
            let near = faults.iter().min_by_key(|&&fault| events[fault].at.abs_diff(from));
            let nemesis = near.map(|&fault| {
                let seconds = (events[fault].at as f64 - from as f64) / 1e9;
                match &events[fault].kind {
                    Kind::Nemesis { action, node } => format!("{action} {node} ({seconds:+.3} s)"),
                    _ => String::new(),
                }
            });
            worst.push(Stall { session: session.to_owned(), nanos, from, nemesis });
        }
    }
    Histogram::new(all, worst)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Requests,
    Served,
    Refused,
    Lost,
}

/// Each acknowledgement's wait and its beginning: the first demand since the acknowledgement
/// before. A lost call is still a demand, because its client comes back.
fn waits(steps: impl Iterator<Item = (u64, Step)>) -> Vec<(u64, u64)> {
    let (mut open, mut since) = (0_usize, None);
    let mut waits = Vec::new();
    for (at, step) in steps {
        if step == Step::Requests {
            open += 1;
            since = since.or(Some(at));
            continue;
        }
        open -= 1;
        match step {
            Step::Served => {
                let from = since.unwrap_or(at);
                waits.push((at - from, from));
                since = (0 < open).then_some(at);
            }
            Step::Refused if open == 0 => since = None,
            _ => {}
        }
    }
    waits
}
