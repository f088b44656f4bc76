//! The report: the verdict, what is wrong with the lines that show it, how long writers waited.

use std::collections::BTreeMap;
use std::fmt;

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// An acknowledged append is lost.
    A1,
    /// One append is in the log twice.
    A2,
    /// Two events, or two histories, at one serial: divergence.
    A3,
    /// A hole in the serials.
    A4,
    /// Appends stand in another order than they happened.
    A5,
    /// A stale or a premature answer to a read.
    A6,
    /// A ghost: seen, but not in the final log.
    A7,
    /// A phantom: never requested, refused, or seen before it was requested.
    A8,
    /// A subscription skipped, repeated, went back, or stopped.
    A9,
    /// A zombie: an older epoch wrote after a newer one.
    A10,
    /// A control message was lost, had its effect twice, or had another one.
    A11,
    /// Two workers hold one turn: an epoch was given twice, or went back.
    A12,
    /// A repeated append was answered with another serial.
    A13,
    /// A deleted incarnation lives on, or one began without a delete.
    A14,
    /// A call never ended.
    A17,
    /// A turn has no end, or more than one.
    A18,
    /// A turn goes on after its end.
    A19,
    /// Output of a worker is lost, or stands in another order.
    A20,
    /// Something stands on another branch of the conversation, or follows nothing.
    A21,
    /// What was imported from a session is not what it was.
    A22,
    /// The history contradicts itself: the harness is wrong, not the system.
    Harness,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Code::A1 => "lost",
            Code::A2 => "duplicate",
            Code::A3 => "divergence",
            Code::A4 => "hole in the serials",
            Code::A5 => "reordered",
            Code::A6 => "stale or premature read",
            Code::A7 => "ghost",
            Code::A8 => "phantom",
            Code::A9 => "broken subscription",
            Code::A10 => "zombie write",
            Code::A11 => "control message lost or doubled",
            Code::A12 => "two workers at once",
            Code::A13 => "retry answered differently",
            Code::A14 => "incarnations mixed",
            Code::A17 => "call never ended",
            Code::A18 => "not exactly one end",
            Code::A19 => "goes on after its end",
            Code::A20 => "words lost or reordered",
            Code::A21 => "on another branch",
            Code::A22 => "imported as something else",
            Code::Harness => "history contradicts itself",
        };
        write!(f, "{self:?} ({meaning})")
    }
}

/// One broken promise. `lines` are places in the history; `context` shows them and what is near.
#[derive(Clone, Debug)]
pub struct Anomaly {
    pub code: Code,
    pub session: String,
    pub text: String,
    pub lines: Vec<usize>,
    pub context: Vec<String>,
}

/// The judgement of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Valid,
    Invalid,
    /// Nothing is wrong, but the run proves nothing: it did not bite, or was not observed.
    Unknown,
}

/// The longest wait of one session, and the fault nearest to its beginning.
#[derive(Clone, Debug)]
pub struct Stall {
    pub session: String,
    pub nanos: u64,
    pub from: u64,
    pub nemesis: Option<String>,
}

/// How long writers waited for the next acknowledgement, over all sessions; nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    sorted: Vec<u64>,
    /// Longest first.
    pub worst: Vec<Stall>,
}

impl Histogram {
    pub fn new(mut nanos: Vec<u64>, mut worst: Vec<Stall>) -> Histogram {
        nanos.sort_unstable();
        worst.sort_by_key(|stall| std::cmp::Reverse(stall.nanos));
        Histogram { sorted: nanos, worst }
    }

    /// The value that `percent` of all waits do not exceed; 0 when there are none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = (percent / 100.0 * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).or(self.sorted.last()).copied().unwrap_or(0)
    }

    pub fn max(&self) -> u64 {
        self.sorted.last().copied().unwrap_or(0)
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }
}

/// What one history proves.
#[derive(Clone, Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub anomalies: Vec<Anomaly>,
    /// Why the run proves nothing, if so.
    pub missing: Vec<String>,
    pub stalls: Histogram,
    pub counts: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Panics with the whole report unless the verdict is valid: a run that proves nothing fails.
    pub fn assert_valid(&self) {
        assert!(self.verdict == Verdict::Valid, "{self}");
    }

    pub fn has(&self, code: Code) -> bool {
        self.anomalies.iter().any(|anomaly| anomaly.code == code)
    }
}

/// How many cases of one code a report shows in full.
pub const CASES: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verdict: {:?}", self.verdict)?;
        for reason in &self.missing {
            writeln!(f, "  proves nothing: {reason}")?;
        }
        let counts: Vec<_> = self.counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
        writeln!(f, "counts: {}", counts.join(", "))?;
        let ms = |nanos: u64| nanos as f64 / 1e6;
        let (p50, p99) = (self.stalls.percentile(50.0), self.stalls.percentile(99.0));
        let (count, max) = (self.stalls.count(), self.stalls.max());
        write!(f, "stalls: {count} waits, ")?;
        writeln!(f, "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(p50), ms(p99), ms(max))?;
        for stall in self.stalls.worst.iter().take(5) {
            let near = stall.nemesis.as_deref().unwrap_or("no fault");
            write!(f, "  {}: {:.1} ms from ", stall.session, ms(stall.nanos))?;
            writeln!(f, "{:.3} s, nearest: {near}", stall.from as f64 / 1e9)?;
        }
        let mut by_code: BTreeMap<Code, Vec<&Anomaly>> = BTreeMap::new();
        for anomaly in &self.anomalies {
            by_code.entry(anomaly.code).or_default().push(anomaly);
        }
        for (code, cases) in by_code {
            writeln!(f, "\n{code}: {} cases", cases.len())?;
            for case in cases.iter().take(CASES) {
                writeln!(f, "  {}: {}", case.session, case.text)?;
                for line in &case.context {
                    writeln!(f, "      {line}")?;
                }
            }
        }
        Ok(())
    }
}
