//! Faults in turns: zombies, control messages that get lost or come twice, turns with no end or with two.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::checker::Expectations;
use super::super::history::{Answer, Call, History, Kind, OpId, Record, Taken};
use super::super::turn::{Fact, Scope, Then, What, WhenBusy};
use super::choose;
use super::turn_log::{answered, emit, fact, pages, plant, record, rewrite, spots};

/// An answer stands on another branch than what it answers.
pub(super) fn other_branch(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let is_output = |log: &[Record], at: usize| fact(&log[at]).what == What::Output;
    let (session, at) = choose(rng, spots(h, is_output))?;
    Some(rewrite(h, &session, |log| {
        let fact = log[at].fact.as_mut().expect("it is about a turn");
        fact.branch = if fact.branch == 0 { 1 } else { 0 };
    }))
}

pub(super) fn zombie_word(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let later = |records: &[Record], at: usize| {
        let (this, turn) = (fact(&records[at]), &fact(&records[at]).turn);
        let earlier =
            |other: &Record| fact(other).what == What::Started && fact(other).turn == *turn;
        this.what == What::Started && records[..at].iter().any(earlier)
    };
    let (session, at) = choose(rng, spots(h, later))?;
    let all = pages(h);
    let page = all.iter().find(|page| page.session == session)?;
    let turn = fact(&page.records[at]).turn.clone();
    let old = page.records[..at]
        .iter()
        .map(fact)
        .find(|fact| fact.what == What::Started && fact.turn == turn)?;
    let epoch = old.epoch?;
    let mut history = rewrite(h, &session, |records| {
        records.insert(at + 1, record("zombie", Fact::of_epoch(What::Output, &turn, epoch)));
    });
    plant(&mut history, 0, &session, emit(&turn, epoch, Some(99), Some("zombie")), None);
    Some(history)
}

/// A worker that has a turn: the session, the place where it was given, the turn and the epoch.
fn held(h: &History, rng: &mut StdRng) -> Option<(String, usize, String, u64)> {
    let starts = |records: &[Record], at: usize| fact(&records[at]).what == What::Started;
    let (session, at) = choose(rng, spots(h, starts))?;
    let all = pages(h);
    let started = fact(&all.iter().find(|page| page.session == session)?.records[at]);
    Some((session, at, started.turn.clone(), started.epoch?))
}

pub(super) fn zombie_call(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at, turn, epoch) = held(h, rng)?;
    Some(rewrite(h, &session, |records| {
        let begun = Fact::of_epoch(What::ToolStarted, &turn, epoch + 1_000);
        records.insert(at + 1, record("call", begun));
    }))
}

pub(super) fn another_key(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at, turn, epoch) = held(h, rng)?;
    Some(rewrite(h, &session, |records| {
        for key in ["aa", "bb"] {
            let (call, key_of) = (Some("c".to_owned()), Some(key.to_owned()));
            let begun = Fact::of_epoch(What::ToolStarted, &turn, epoch);
            records.insert(at + 1, record(key, Fact { call, key: key_of, ..begun }));
        }
    }))
}

pub(super) fn two_devices(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at, turn, _) = held(h, rng)?;
    Some(rewrite(h, &session, |records| {
        for name in ["one", "other"] {
            let claimed = Fact::of_epoch(What::CallClaimed, &turn, 1);
            let interaction = Some("q".to_owned());
            records.insert(at + 1, record(name, Fact { interaction, ..claimed }));
        }
    }))
}

pub(super) fn zombie_beat(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let mut seen: Vec<Taken> = Vec::new();
    let mut found = Vec::new();
    for (line, _, _, answer) in answered(h) {
        let Answer::Claimed { taken: Some(taken) } = answer else { continue };
        let same = |old: &&Taken| old.session == taken.session && old.turn == taken.turn;
        if let Some(old) = seen.iter().find(same)
            && old.epoch < taken.epoch
        {
            found.push((line, old.clone()));
        }
        seen.push(taken);
    }
    let (line, Taken { session, turn, epoch }) = choose(rng, found)?;
    let mut history = h.clone();
    let answer = Answer::OutputAccepted { places: None, duplicate: false, over: false };
    let line = line + 1;
    let at = history.events[line.min(h.events.len() - 1)].at + 1;
    history.events[line..].iter_mut().for_each(|event| event.at += 2);
    let line = line - 1;
    plant(&mut history, line, &session, emit(&turn, epoch, None, None), Some(answer));
    history.events[line + 1].at = at;
    history.events[line + 2].at = at;
    Some(history)
}

pub(super) fn epoch_twice(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let second = |records: &[Record], at: usize| {
        let started = |record: &Record| fact(record).what == What::Started;
        started(&records[at]) && records[..at].iter().any(started)
    };
    let (session, at) = choose(rng, spots(h, second))?;
    Some(rewrite(h, &session, |records| {
        let earlier = records[..at].iter().map(fact).rfind(|fact| fact.what == What::Started);
        let epoch = earlier.and_then(|fact| fact.epoch);
        records[at].fact.as_mut().expect("a fact").epoch = epoch;
    }))
}

pub(super) fn claimed_twice(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let claims = answered(h)
        .into_iter()
        .filter(|(.., answer)| matches!(answer, Answer::Claimed { taken: Some(_) }));
    let (line, _, call, answer) = choose(rng, claims)?;
    let mut history = h.clone();
    plant(&mut history, line, "", call, Some(answer));
    Some(history)
}

/// Something that a session's log has after the end of a turn.
fn behind_end(
    h: &History,
    rng: &mut StdRng,
    ended: What,
    put: impl Fn(&str, &[Record]) -> Option<Fact>,
) -> Option<History> {
    let all = spots(h, |records, at| fact(&records[at]).what == ended);
    let (session, at) = choose(rng, all)?;
    let pages = pages(h);
    let page = pages.iter().find(|page| page.session == session)?;
    let turn = fact(&page.records[at]).turn.clone();
    let fact = put(&turn, page.records)?;
    Some(rewrite(h, &session, |records| records.push(record("after the end", fact.clone()))))
}

pub(super) fn word_after_cancel(
    h: &History,
    _: &Expectations,
    rng: &mut StdRng,
) -> Option<History> {
    behind_end(h, rng, What::Cancelled, |turn, records| {
        let mut started = records.iter().map(fact);
        let lease = started.find(|fact| fact.what == What::Started && fact.turn == turn)?;
        Some(Fact::of_epoch(What::Output, turn, lease.epoch?))
    })
}

pub(super) fn ends_twice(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    behind_end(h, rng, What::Completed, |turn, _| Some(Fact::new(What::Failed, turn)))
}

pub(super) fn never_ends(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let ends = spots(h, |records, at| fact(&records[at]).what.is_terminal());
    let (session, at) = choose(rng, ends)?;
    Some(rewrite(h, &session, |records| {
        records.remove(at);
    }))
}

fn acked_inputs(h: &History, steers: bool) -> Vec<(String, usize)> {
    let acked: Vec<(String, String)> = answered(h)
        .into_iter()
        .filter_map(|(_, session, call, _)| match call {
            Call::Input { input, .. } => Some((session, input)),
            _ => None,
        })
        .collect();
    let mut spots = Vec::new();
    for page in pages(h) {
        for (at, record) in page.records.iter().enumerate() {
            let Fact { what: What::Accepted, turn, input: Some(input), .. } = fact(record) else {
                continue;
            };
            let known =
                |(session, name): &(String, String)| session == page.session && name == input;
            if (turn != input) == steers && acked.iter().any(known) {
                spots.push((page.session.to_owned(), at));
            }
        }
    }
    spots
}

pub(super) fn steer_lost(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, acked_inputs(h, true))?;
    Some(rewrite(h, &session, |records| {
        let input = fact(&records[at]).input.clone();
        records.retain(|record| fact(record).input != input);
    }))
}

pub(super) fn input_doubled(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let steers = rng.random_bool(0.5);
    let (session, at) = choose(rng, acked_inputs(h, steers))?;
    Some(rewrite(h, &session, |records| {
        let mut copy = records[at].clone();
        copy.value = format!("{} once more", copy.value);
        records.insert(at + 1, copy);
    }))
}

pub(super) fn input_answered_twice(
    h: &History,
    _: &Expectations,
    rng: &mut StdRng,
) -> Option<History> {
    let inputs =
        answered(h).into_iter().filter(|(_, _, call, _)| matches!(call, Call::Input { .. }));
    let (line, ..) = choose(rng, inputs)?;
    let mut history = h.clone();
    if let Kind::Ok { answer: Answer::Accepted { serial, .. }, .. } = &mut history.events[line].kind
    {
        *serial += 1;
    }
    Some(history)
}

/// A cancel is acknowledged while its turn goes on.
pub(super) fn cancel_lost(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let long = |records: &[Record], at: usize| {
        let (this, turn) = (fact(&records[at]), &fact(&records[at]).turn);
        let goes_on =
            |later: &Record| fact(later).turn == *turn && fact(later).what == What::Output;
        this.what == What::Accepted && records[at + 1..].iter().any(goes_on)
    };
    let (session, at) = choose(rng, spots(h, long))?;
    let all = pages(h);
    let page = all.iter().find(|page| page.session == session)?;
    let scope = Scope::Turn(fact(&page.records[at]).turn.clone());
    let mut history = h.clone();
    let (turns, tail) = (rng.random_range(0..2), page.records[at].serial);
    plant(
        &mut history,
        0,
        &session,
        Call::Cancel { scope },
        Some(Answer::Cancelled { turns, tail }),
    );
    Some(history)
}

/// A turn that was cancelled before it came begins all the same.
pub(super) fn early_cancel_lost(
    h: &History,
    _: &Expectations,
    rng: &mut StdRng,
) -> Option<History> {
    let (session, at) =
        choose(rng, spots(h, |records, at| fact(&records[at]).what == What::Started))?;
    let all = pages(h);
    let page = all.iter().find(|page| page.session == session)?;
    let scope = Scope::Turn(fact(&page.records[at]).turn.clone());
    let mut history = h.clone();
    let answer = Answer::Cancelled { turns: 0, tail: 0 };
    plant(&mut history, 0, &session, Call::Cancel { scope }, Some(answer));
    Some(history)
}

pub(super) fn cancelled_twice(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let effective = answered(h).into_iter().filter(|(_, _, call, answer)| {
        matches!(call, Call::Cancel { scope: Scope::Turn(_) })
            && matches!(answer, Answer::Cancelled { turns: 1, .. })
    });
    let (line, session, call, answer) = choose(rng, effective)?;
    let mut history = h.clone();
    plant(&mut history, line, &session, call, Some(answer));
    Some(history)
}

pub(super) fn cancelled_by_nobody(
    h: &History,
    _: &Expectations,
    rng: &mut StdRng,
) -> Option<History> {
    let cancels = |session: &str| {
        h.events.iter().any(|event| match &event.kind {
            Kind::Inv { session: at, call, .. } if at == session => matches!(
                call,
                Call::Cancel { scope: Scope::All | Scope::Agent(_) }
                    | Call::Input { when_busy: WhenBusy::Interrupt, .. }
            ),
            _ => false,
        })
    };
    let request = |name: &str| {
        h.events.iter().any(|event| {
            matches!(&event.kind, Kind::Inv { call: Call::Cancel { scope: Scope::Turn(turn) }, .. }
                if turn == name)
        })
    };
    let failed = spots(h, |records, at| {
        fact(&records[at]).what == What::Failed && !request(&fact(&records[at]).turn)
    });
    let (session, at) = choose(rng, failed)?;
    // What may have cancelled it is taken for refused.
    let mut history = rewrite(h, &session, |records| {
        records[at].fact.as_mut().expect("a fact").what = What::Cancelled;
    });
    if cancels(&session) {
        let suspects: Vec<OpId> = h
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                Kind::Inv {
                    op,
                    call: Call::Cancel { .. } | Call::Input { when_busy: WhenBusy::Interrupt, .. },
                    ..
                } => Some(*op),
                _ => None,
            })
            .collect();
        for event in &mut history.events {
            if let Kind::Ok { op, .. } | Kind::Info { op, .. } = &event.kind
                && suspects.contains(op)
            {
                event.kind = Kind::Fail { op: *op, error: "refused".to_owned() };
            }
        }
    }
    Some(history)
}

/// An input that was to interrupt leaves the turn open that it found.
pub(super) fn interrupts_nothing(
    h: &History,
    _: &Expectations,
    rng: &mut StdRng,
) -> Option<History> {
    let queued = |records: &[Record], at: usize| {
        let this = fact(&records[at]);
        let open = |(place, other): (usize, &Record)| {
            let other = fact(other);
            let over =
                |later: &Record| fact(later).turn == other.turn && fact(later).what.is_terminal();
            other.what == What::Accepted
                && other.agent == this.agent
                && other.input.as_ref() == Some(&other.turn)
                && !records[place..at].iter().any(over)
        };
        this.what == What::Accepted
            && this.input.as_ref() == Some(&this.turn)
            && records[..at].iter().enumerate().any(open)
    };
    let (session, at) = choose(rng, spots(h, queued))?;
    let all = pages(h);
    let page = all.iter().find(|page| page.session == session)?;
    let name = fact(&page.records[at]).turn.clone();
    let mut history = h.clone();
    let mut changed = false;
    for event in &mut history.events {
        match &mut event.kind {
            Kind::Inv { call: Call::Input { input, when_busy, .. }, .. } if *input == name => {
                changed |= *when_busy == WhenBusy::Queue;
                *when_busy = WhenBusy::Interrupt;
            }
            Kind::Inv { call: Call::Cancel { scope: Scope::Turn(turn) }, .. } if *turn == name => {
                return None;
            }
            _ => {}
        }
    }
    changed.then_some(history)
}

/// Spots with output that was acknowledged; the line of the output.
fn acked_words(h: &History) -> Vec<(String, usize)> {
    let acked: Vec<String> = answered(h)
        .into_iter()
        .flat_map(|(_, _, call, _)| match call {
            Call::Report { values, .. } => values,
            _ => Vec::new(),
        })
        .collect();
    spots(h, |records, at| {
        fact(&records[at]).what == What::Output && acked.contains(&records[at].value)
    })
}

pub(super) fn word_lost(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, acked_words(h))?;
    Some(rewrite(h, &session, |records| {
        records.remove(at);
    }))
}

pub(super) fn word_doubled(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, acked_words(h))?;
    Some(rewrite(h, &session, |records| {
        let copy = records[at].clone();
        records.insert(at + 1, copy);
    }))
}

pub(super) fn words_swapped(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let next = |records: &[Record], at: usize| {
        let this = fact(&records[at]);
        let place = |other: &Record| {
            let other = fact(other);
            this.what == What::Output
                && (other.what, &other.turn, other.epoch) == (this.what, &this.turn, this.epoch)
        };
        records[at + 1..].iter().position(place).map(|behind| at + 1 + behind)
    };
    let (session, at) = choose(rng, spots(h, |records, at| next(records, at).is_some()))?;
    Some(rewrite(h, &session, |records| {
        let other = next(records, at).expect("it was found");
        records.swap(at, other);
    }))
}

pub(super) fn word_of_nobody(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, acked_words(h))?;
    Some(rewrite(h, &session, |records| {
        let mut copy = records[at].clone();
        copy.value = "nobody".to_owned();
        records.insert(at + 1, copy);
    }))
}

pub(super) fn word_elsewhere(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, acked_words(h))?;
    Some(rewrite(h, &session, |records| {
        records[at].fact.as_mut().expect("a fact").turn.push_str("'s other");
    }))
}

pub(super) fn other_places(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let reports = answered(h).into_iter().filter(|(.., answer)| {
        matches!(answer, Answer::OutputAccepted { places: Some(_), duplicate: false, .. })
    });
    let (line, session, call, answer) = choose(rng, reports)?;
    let Answer::OutputAccepted { places: Some((first, last)), over, .. } = answer else {
        return None;
    };
    let mut history = h.clone();
    let places = Some((first + 1, last + 1));
    plant(
        &mut history,
        line,
        &session,
        call,
        Some(Answer::OutputAccepted { places, duplicate: true, over }),
    );
    Some(history)
}

pub(super) fn other_end(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let done = answered(h).into_iter().filter_map(|(_, session, call, _)| match call {
        Call::Report { turn, then: Then::Complete, .. } => Some((session, turn)),
        _ => None,
    });
    let (session, turn) = choose(rng, done)?;
    Some(rewrite(h, &session, |records| {
        for record in records {
            let fact = record.fact.as_mut().expect("a fact");
            if fact.what == What::Completed && fact.turn == turn {
                fact.what = What::Failed;
            }
        }
    }))
}

fn receipts(h: &History) -> Vec<(String, usize)> {
    spots(h, |records, at| matches!(fact(&records[at]).what, What::Consumed | What::Dropped))
}

pub(super) fn no_receipt(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let all = receipts(h);
    if all.len() < 2 {
        return None; // Without any, receipts would not be promised.
    }
    let (session, at) = choose(rng, all)?;
    Some(rewrite(h, &session, |records| {
        records.remove(at);
    }))
}

pub(super) fn two_receipts(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, at) = choose(rng, receipts(h))?;
    Some(rewrite(h, &session, |records| {
        let mut copy = records[at].clone();
        copy.value = format!("{} once more", copy.value);
        records.insert(at + 1, copy);
    }))
}
