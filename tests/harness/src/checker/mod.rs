//! The checker: one file per promise, all over one [`index::Index`] of the history.
//!
//! Because an acknowledgement names the serial, the order of a session is known, and every promise
//! is checked exactly in O(n log n), with no search.

pub mod book;
pub mod canonical;
pub mod coverage;
pub mod dedup;
pub mod durability;
pub mod imports;
pub mod incarnation;
pub mod index;
pub mod linear;
pub mod liveness;
pub mod order;
pub mod phantom;
pub mod subscription;
pub mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::history::{History, Kind};
use super::report::{Anomaly, CASES, Code, Report, Verdict};
use index::{Book, Index};

/// What the run was meant to be. The default requires nothing but one final read per session.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// Fewer acknowledged appends prove nothing.
    pub ok_appends: usize,
    /// Fewer calls with an unknown outcome prove nothing.
    pub unknown: usize,
    /// Fewer faults prove nothing.
    pub nemesis: usize,
    /// Fewer changes of a shard's leader prove nothing.
    pub leader_changes: usize,
    /// Fewer delivered frames prove nothing.
    pub deliveries: usize,
    /// Fewer turns that went on under another worker prove nothing.
    pub takeovers: usize,
    /// Fewer interrupts that were acknowledged, by cancel or by input, prove nothing.
    pub interrupts: usize,
    /// How many nodes must have given their final log of each session that lives.
    pub final_nodes: usize,
    /// Subscriptions still attached at the end were given time to reach the tail.
    pub drained: bool,
    /// Automatic retention keeps at least this many newest events; `None`: only `Trim` removes.
    pub retention: Option<u64>,
    /// Final reads come from replicas that may still be behind each other.
    pub replicas_may_lag: bool,
    /// Sessions may end by themselves (a time to live), without a `Delete`.
    pub expiry: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Expectations {
            ok_appends: 0,
            unknown: 0,
            nemesis: 0,
            leader_changes: 0,
            deliveries: 0,
            takeovers: 0,
            interrupts: 0,
            final_nodes: 1,
            drained: true,
            retention: None,
            replicas_may_lag: false,
            expiry: false,
        }
    }
}

/// Where the checks put what they find.
#[derive(Default)]
pub struct Findings {
    list: Vec<Anomaly>,
}

impl Findings {
    /// `lines` are the places in the history that prove it.
    pub fn add(&mut self, code: Code, session: &str, lines: &[usize], text: String) {
        let (session, lines) = (session.to_owned(), lines.to_vec());
        self.list.push(Anomaly { code, session, text, lines, context: Vec::new() });
    }

    /// As [`Findings::add`], with the incarnation in the text.
    pub fn in_book(&mut self, code: Code, book: &Book<'_>, lines: &[usize], text: String) {
        let text = format!("incarnation {}: {text}", book.incarnation);
        self.add(code, book.session, lines, text);
    }
}

/// Judges a history.
pub fn check(history: &History, expectations: &Expectations) -> Report {
    let mut findings = Findings::default();
    let index = Index::build(history, expectations, &mut findings);
    for book in index.books.values() {
        canonical::check(&index, book, &mut findings);
        phantom::check(&index, book, &mut findings);
        durability::check(&index, book, expectations, &mut findings);
        order::check(&index, book, &mut findings);
        linear::check(&index, book, &mut findings);
        dedup::check(&index, book, &mut findings);
        turns::check(&index, book, &mut findings);
        imports::check(&index, book, &mut findings);
    }
    incarnation::check(&index, expectations, &mut findings);
    subscription::check(&index, expectations, &mut findings);
    let stalls = liveness::check(&index, &mut findings);
    let (counts, missing) = coverage::check(&index, expectations);

    let mut anomalies = findings.list;
    explain(history, &mut anomalies);
    let verdict = match (anomalies.is_empty(), missing.is_empty()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Unknown,
        (true, true) => Verdict::Valid,
    };
    Report { verdict, anomalies, missing, stalls, counts }
}

/// Judges a history that was kept in a file.
///
/// # Errors
/// The file cannot be read or is not a history.
pub fn check_file(path: &Path, expectations: &Expectations) -> io::Result<Report> {
    Ok(check(&History::load(path)?, expectations))
}

/// Gives the first cases of each code their lines, the lines around them, and the faults near them.
fn explain(history: &History, anomalies: &mut [Anomaly]) {
    const NEAR_LINES: usize = 2;
    const NEAR_NANOS: u64 = 2_000_000_000;
    const FAULTS: usize = 12;
    let events = &history.events;
    let faults: Vec<usize> =
        (0..events.len()).filter(|&i| matches!(events[i].kind, Kind::Nemesis { .. })).collect();
    let mut shown: BTreeMap<Code, usize> = BTreeMap::new();
    for anomaly in anomalies {
        let count = shown.entry(anomaly.code).or_default();
        *count += 1;
        if CASES < *count {
            continue;
        }
        let mut places: BTreeSet<usize> = BTreeSet::new();
        for &line in &anomaly.lines {
            let at = events[line].at;
            places.extend(line.saturating_sub(NEAR_LINES)..=line + NEAR_LINES);
            let from = faults.partition_point(|&f| events[f].at + NEAR_NANOS < at);
            let near = faults[from..].iter().take_while(|&&f| events[f].at <= at + NEAR_NANOS);
            places.extend(near.take(FAULTS));
        }
        anomaly.context = places
            .into_iter()
            .filter(|&line| line < events.len())
            .map(|line| {
                let mark = if anomaly.lines.contains(&line) { '>' } else { ' ' };
                format!("{mark} {:>7} {}", line + 1, events[line])
            })
            .collect();
    }
}
