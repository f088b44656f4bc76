//! The output of a worker while a commit was under way, gathered into the next command.

use super::link::Room;
use crate::ids::Serial;
use crate::limits::{APPEND_BYTES, APPEND_EVENTS};
use crate::session::{NewEvent, Then, TurnOutput, TurnReport};

/// One report of a worker, and the room that it takes until it is answered.
pub(super) struct Received {
    pub(super) report: Box<TurnReport>,
    pub(super) _room: Room,
}

/// The reports of one turn that go into one command, in their order.
pub(super) struct Batch {
    reports: Vec<Received>,
    events: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn of(received: Received) -> Batch {
        let (events, bytes) = size(&received.report);
        Batch { reports: vec![received], events, bytes }
    }

    /// Takes one more, if one command can hold both; else gives it back.
    pub(super) fn join(&mut self, received: Received) -> Option<Received> {
        let (events, bytes) = size(&received.report);
        let over = APPEND_EVENTS < self.events + events || APPEND_BYTES < self.bytes + bytes;
        let last = &self.reports.last().expect("a batch is never empty").report;
        if over || !goes_on(last, &received.report) {
            return Some(received);
        }
        self.events += events;
        self.bytes += bytes;
        self.reports.push(received);
        None
    }

    /// The command for all of them; `seq` is the link's own count of commands in this epoch. `delivered`: the
    /// last input that the worker got.
    pub(super) fn command(&self, seq: u64, delivered: Option<Serial>) -> TurnReport {
        let mut all = TurnReport { delivered, ..TurnReport::clone(&self.reports[0].report) };
        for Received { report, .. } in &self.reports[1..] {
            all.consumed = all.consumed.max(report.consumed);
            all.progress_timeout_ms = report.progress_timeout_ms.or(all.progress_timeout_ms);
            all.phase = all.phase.or_else(|| report.phase.clone());
            if report.checkpoint.is_some() {
                all.checkpoint.clone_from(&report.checkpoint);
            }
            let Some(output) = &report.output else { continue };
            let whole = all.output.get_or_insert_with(|| TurnOutput {
                internal: output.internal,
                ..TurnOutput::default()
            });
            whole.events.extend(output.events.iter().cloned());
            whole.ask.extend(output.ask.iter().cloned());
            whole.then = output.then.clone();
        }
        if let Some(output) = &mut all.output {
            output.seq = seq;
        }
        all
    }

    /// The seq of each report that has one, with its places among those of the whole command. The first report has
    /// what begins its step too, and the last one what came of its questions and of its end.
    pub(super) fn answers(
        &self,
        places: Option<(Serial, Serial)>,
    ) -> impl Iterator<Item = (u64, Option<(Serial, Serial)>)> {
        let output: Vec<_> =
            self.reports.iter().filter_map(|received| received.report.output.as_ref()).collect();
        let (mut next, mut left) = (places.map(|(first, _)| first), output.len());
        output.into_iter().map(move |output| {
            left -= 1;
            let own = output.events.len() as u64 + u64::from(output.step.is_some());
            let place = next.zip(places).and_then(|(at, (_, end))| {
                let last = if left == 0 { end } else { Serial(at.0 + own - 1) };
                next = Some(Serial(at.0 + own));
                (at <= last).then_some((at, last))
            });
            (output.seq, place)
        })
    }

    /// The seqs of those that have one.
    pub(super) fn seqs(&self) -> impl Iterator<Item = u64> {
        self.reports
            .iter()
            .filter_map(|received| received.report.output.as_ref())
            .map(|output| output.seq)
    }

    /// How the turn goes on after all of them.
    pub(super) fn ends(&self) -> bool {
        self.reports.last().is_some_and(|received| ends(&received.report))
    }

    /// Each for itself, where there are several.
    pub(super) fn split(self) -> Result<impl Iterator<Item = Batch>, Batch> {
        if self.reports.len() < 2 { Err(self) } else { Ok(self.reports.into_iter().map(Batch::of)) }
    }
}

/// Events and bytes that count towards the limits of one command.
fn size(report: &TurnReport) -> (usize, usize) {
    let Some(output) = &report.output else { return (0, 0) };
    let bytes = |event: &NewEvent| event.payload.len() + event.format.as_str().len();
    (output.events.len(), output.events.iter().map(bytes).sum())
}

/// Whether one command can hold the second after the first: what it does besides output comes first in a
/// command, or last.
fn goes_on(before: &TurnReport, next: &TurnReport) -> bool {
    let stands = |output: &TurnOutput| {
        output.rewind
            || !output.ask.is_empty()
            || !output.tools.is_empty()
            || !output.begin.is_empty()
    };
    let phase = next.phase.is_none() || next.phase == before.phase;
    let Some(output) = &next.output else { return !ends(before) && phase };
    let before_goes = before.output.as_ref().is_none_or(|before| {
        !stands(before) && before.then == Then::GoOn && before.internal == output.internal
    });
    let begins = output.step.is_some()
        || output.rewind
        || output.mark
        || !output.withdraw.is_empty()
        || !output.tools.is_empty()
        || !output.begin.is_empty();
    before_goes && phase && !begins
}

fn ends(report: &TurnReport) -> bool {
    report.output.as_ref().is_some_and(|output| output.then != Then::GoOn)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{CallId, InteractionId, StepName, TurnEpoch, TurnId};
    use crate::session::{Format, Phase, ToolMark, ToolStep, Withdraw};

    fn received(seq: Option<u64>, texts: &[&str], then: Then) -> Received {
        let event = |text: &&str| NewEvent {
            format: Format::TEXT,
            payload: Bytes::copy_from_slice(text.as_bytes()),
        };
        let events = texts.iter().map(event).collect();
        let output = seq.map(|seq| TurnOutput { seq, events, then, ..TurnOutput::default() });
        let report =
            TurnReport { output, ..TurnReport::new(TurnId::parse("t").unwrap(), TurnEpoch(7)) };
        Received { report: Box::new(report), _room: Room::none() }
    }

    #[test]
    fn what_gathers_rides_in_one_command_and_each_say_knows_its_place() {
        let mut batch = Batch::of(received(Some(4), &["a", "b"], Then::GoOn));
        assert!(batch.join(received(None, &[], Then::GoOn)).is_none());
        assert!(batch.join(received(Some(5), &[], Then::GoOn)).is_none());
        assert!(batch.join(received(Some(6), &["c"], Then::Complete)).is_none());
        let late = batch.join(received(Some(7), &["d"], Then::GoOn));
        assert!(late.is_some(), "nothing rides after an end");
        let output = batch.command(2, None).output.unwrap();
        assert_eq!((output.seq, output.events.len(), output.then), (2, 3, Then::Complete));
        let at = |first, last| Some((Serial(first), Serial(last)));
        // The last one learns of the end, too.
        let answers: Vec<_> = batch.answers(at(10, 13)).collect();
        assert_eq!(answers, [(4, at(10, 11)), (5, None), (6, at(12, 13))]);
        assert_eq!(batch.answers(None).collect::<Vec<_>>(), [(4, None), (5, None), (6, None)]);
        assert_eq!(batch.split().ok().unwrap().count(), 4);
    }

    #[test]
    fn what_is_more_than_output_begins_a_command_or_ends_it() {
        let plain = || received(Some(1), &["b"], Then::GoOn);
        let step = |mut received: Received| {
            received.report.output.as_mut().unwrap().step = StepName::parse("plan").ok();
            received
        };
        let mut batch = Batch::of(step(received(Some(0), &["a"], Then::GoOn)));
        assert!(batch.join(plain()).is_none());
        assert!(batch.join(step(received(Some(2), &["c"], Then::GoOn))).is_some());
        let at = |first, last| Some((Serial(first), Serial(last)));
        // The event that begins the step is the first report's.
        assert_eq!(batch.answers(at(5, 7)).collect::<Vec<_>>(), [(0, at(5, 6)), (1, at(7, 7))]);
        let mut rewinds = received(Some(2), &["c"], Then::GoOn);
        rewinds.report.output.as_mut().unwrap().rewind = true;
        assert!(Batch::of(rewinds).join(plain()).is_some(), "nobody knows how much it supersedes");
        let mut internal = plain();
        internal.report.output.as_mut().unwrap().internal = true;
        assert!(Batch::of(received(Some(0), &["a"], Then::GoOn)).join(internal).is_some());
        let takes_back = |mut received: Received| {
            let interaction = InteractionId::parse("q").unwrap();
            let withdraw = Withdraw { interaction, reason: String::new() };
            received.report.output.as_mut().unwrap().withdraw.push(withdraw);
            received
        };
        assert!(Batch::of(plain()).join(takes_back(plain())).is_some(), "it comes before output");
        let mut batch = Batch::of(takes_back(received(Some(0), &[], Then::GoOn)));
        assert!(batch.join(plain()).is_none());
        assert_eq!(batch.command(0, None).output.unwrap().withdraw.len(), 1);
        let calls = |mut received: Received| {
            let result = NewEvent { format: Format::TEXT, payload: Bytes::new() };
            let step = ToolStep::Finished { result, failed: false };
            let call = CallId::parse("c").unwrap();
            received.report.output.as_mut().unwrap().tools.push(ToolMark { call, step });
            received
        };
        assert!(Batch::of(plain()).join(calls(plain())).is_some(), "its keys are its own");
        assert!(Batch::of(calls(plain())).join(plain()).is_some());
        let mut works = plain();
        works.report.phase = Some(Phase::Streaming);
        assert!(Batch::of(received(Some(0), &["a"], Then::GoOn)).join(works).is_some());
    }

    #[test]
    fn a_command_never_grows_beyond_what_one_append_may_have() {
        let many = vec!["x"; APPEND_EVENTS - 1];
        let mut batch = Batch::of(received(Some(0), &many, Then::GoOn));
        assert!(batch.join(received(Some(1), &["x"], Then::GoOn)).is_none());
        assert!(batch.join(received(Some(2), &["x"], Then::GoOn)).is_some());
        let large = "x".repeat(200 << 10);
        let mut batch = Batch::of(received(Some(0), &[&large, &large, &large], Then::GoOn));
        assert!(batch.join(received(Some(1), &[&large], Then::GoOn)).is_none());
        assert!(batch.join(received(Some(2), &[&large], Then::GoOn)).is_some());
    }
}
