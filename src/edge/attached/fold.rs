//! Fewer frames for the same text: consecutive output of a turn becomes one event, and what is not for the
//! reader is left out.
//!
//! A folded event stands for a dense run of serials, so a reader misses nothing (S7): `serial` is the last
//! of them, `from` the first, `offset` where the joined text begins.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;

use super::super::{frame, wire};
use super::Visibility;
use crate::ids::{Incarnation, Serial};
use crate::runtime::{Rendered, Shown};
use crate::session::{Event, Fact, Format, Output, View};

/// How the events of a delivery are shown to one reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::edge) struct Shape {
    pub(in crate::edge) fold: bool,
    pub(in crate::edge) visibility: Visibility,
    /// Of messages, those on this path alone. What only shows how turns go on is shown of all.
    pub(in crate::edge) view: Option<Box<View>>,
}

impl Shape {
    /// The events as they are to be shown, folded or not, and the last serial where that one is not shown.
    pub(in crate::edge) fn apply(
        &self,
        fold: bool,
        events: Vec<Arc<Shown>>,
        incarnation: Incarnation,
    ) -> (Vec<Arc<Shown>>, Option<Serial>) {
        if !fold && self.visibility == Visibility::All && self.view.is_none() {
            return (events, None);
        }
        let last = events.last().map(|shown| shown.event.serial);
        let mut out = Vec::new();
        let mut run: Vec<Arc<Shown>> = Vec::new();
        for shown in events {
            let hidden = self.visibility == Visibility::Public && is_internal(&shown.event);
            let hidden = hidden || self.is_elsewhere(&shown.event);
            if !hidden && fold && joins(run.last(), &shown.event) {
                run.push(shown);
                continue;
            }
            close(&mut out, &mut run, incarnation);
            if !hidden {
                run.push(shown);
            }
        }
        close(&mut out, &mut run, incarnation);
        let skipped = last.filter(|last| out.last().is_none_or(|shown| shown.event.serial < *last));
        (out, skipped)
    }

    /// Whether an event is of a message that is not on the reader's path.
    pub(in crate::edge) fn is_elsewhere(&self, event: &Event) -> bool {
        let Some(view) = &self.view else { return false };
        let (message, place) = match event.fact.as_deref() {
            Some(Fact::Input { place, .. } | Fact::Person { place, .. }) => (event.serial, place),
            Some(Fact::Output(output)) => (output.message, &output.place),
            Some(Fact::Requested { message, place, .. }) => (*message, place),
            _ => return false,
        };
        !view.has(place.branch, message)
    }
}

/// Whether an event is not for everyone.
pub(in crate::edge) fn is_internal(event: &Event) -> bool {
    matches!(event.fact.as_deref(), Some(Fact::Output(output)) if output.internal)
}

/// Whether an event goes on where the last one of a run ends.
fn joins(last: Option<&Arc<Shown>>, event: &Event) -> bool {
    let Some((before, output)) = last.and_then(|last| text(&last.event)).zip(text(event)) else {
        return false;
    };
    let key = |output: &Output| {
        let Output { turn, epoch, attempt, step, internal, message, .. } = output.clone();
        (turn, epoch, attempt, step, internal, message)
    };
    key(before) == key(output)
}

/// What a piece of output is of, if it is text that can be joined with other text.
fn text(event: &Event) -> Option<&Output> {
    let Some(Fact::Output(output)) = event.fact.as_deref() else { return None };
    let whole = event.format == Format::TEXT && str::from_utf8(&event.payload).is_ok();
    whole.then_some(output)
}

/// Puts a run out, as one event.
fn close(out: &mut Vec<Arc<Shown>>, run: &mut Vec<Arc<Shown>>, incarnation: Incarnation) {
    match run.as_slice() {
        [] => {}
        [_] => out.append(run),
        [first, .., last] => {
            let bytes = run.iter().map(|shown| shown.event.payload.len()).sum();
            let mut joined = BytesMut::with_capacity(bytes);
            run.iter().for_each(|shown| joined.extend_from_slice(&shown.event.payload));
            let event = Event {
                payload: joined.freeze(),
                // The fact of the first has where the text begins.
                fact: first.event.fact.clone(),
                ..last.event.clone()
            };
            out.push(folded(event, first.event.serial, incarnation));
            run.clear();
        }
    }
}

fn folded(event: Event, from: Serial, incarnation: Incarnation) -> Arc<Shown> {
    let mut json = Vec::with_capacity(200 + event.payload.len());
    wire::folded(&mut json, &event, from);
    let frame = frame::of_event(&json, event.serial, incarnation).into();
    Arc::new(Shown { event, rendered: OnceLock::from(Rendered { incarnation, frame }) })
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use expect_test::{Expect, expect};

    use super::super::super::wire::tests::sample;
    use super::*;
    use crate::ids::{StepName, TurnEpoch, TurnId};
    use crate::session::TreePlace;

    pub(in crate::edge::attached) fn output(
        serial: u64,
        turn: &str,
        step: Option<&str>,
        internal: bool,
        text: &str,
    ) -> Event {
        let fact = Fact::Output(Output {
            turn: TurnId::parse(turn).unwrap(),
            epoch: TurnEpoch(1),
            attempt: 1,
            offset: serial * 10,
            step: step.map(|step| StepName::parse(step).unwrap()),
            internal,
            message: Serial(1),
            place: TreePlace::default(),
        });
        let fact = Some(Box::new(fact));
        Event { serial: Serial(serial), fact, ..sample("text", text.as_bytes()) }
    }

    /// What a reader is shown of some events.
    fn check(shape: Shape, events: &[Event], expected: Expect) {
        let shown =
            |event: &Event| Arc::new(Shown { event: event.clone(), rendered: OnceLock::new() });
        let all = events.iter().map(shown).collect();
        let (out, skipped) = shape.apply(shape.fold, all, Incarnation(1));
        let mut text = String::new();
        for shown in out {
            let frame = frame::event(&shown, Incarnation(1));
            let frame = str::from_utf8(&frame).unwrap();
            text += frame.split_once("\ndata: ").unwrap().1.split_once(",\"chain\"").unwrap().0;
            text += "\n";
        }
        if let Some(skipped) = skipped {
            text += &format!("skipped {skipped}\n");
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_run_of_output_is_one_event_that_says_what_it_stands_for() {
        let all = [
            output(1, "t", None, false, "Ro"),
            output(2, "t", None, false, "ses"),
            output(3, "u", None, false, "x"),
            output(4, "t", Some("a"), false, "are"),
            output(5, "t", Some("b"), false, " r"),
            output(6, "t", Some("b"), false, "ed"),
        ];
        let fold = Shape { fold: true, ..Shape::default() };
        check(
            fold,
            &all,
            expect![[r#"
                {"serial":2,"from":1,"time":1700000000000,"format":"text","text":"Roses","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":10,"message":1
                {"serial":3,"time":1700000000000,"format":"text","text":"x","type":"turn.output","turn":"u","epoch":1,"attempt":1,"offset":30,"message":1
                {"serial":4,"time":1700000000000,"format":"text","text":"are","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":40,"message":1,"step":"a"
                {"serial":6,"from":5,"time":1700000000000,"format":"text","text":" red","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":50,"message":1,"step":"b"
            "#]],
        );
    }

    #[test]
    fn what_is_internal_is_passed_over() {
        let all = [
            output(1, "t", None, false, "a"),
            output(2, "t", None, true, "draft"),
            output(3, "t", None, false, "b"),
            output(4, "t", None, true, "draft"),
        ];
        let public = Shape { visibility: Visibility::Public, fold: true, ..Shape::default() };
        check(
            public,
            &all,
            expect![[r#"
                {"serial":1,"time":1700000000000,"format":"text","text":"a","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":10,"message":1
                {"serial":3,"time":1700000000000,"format":"text","text":"b","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":30,"message":1
                skipped #4
            "#]],
        );
        check(
            Shape { fold: true, ..Shape::default() },
            &all[2..],
            expect![[r#"
                {"serial":3,"time":1700000000000,"format":"text","text":"b","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":30,"message":1
                {"serial":4,"time":1700000000000,"format":"text","text":"draft","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":40,"message":1,"visibility":"internal"
            "#]],
        );
    }

    #[test]
    fn half_a_letter_is_not_joined() {
        let mut half = output(2, "t", None, false, "");
        half.payload = Bytes::from_static(b"\xc3");
        let all = [output(1, "t", None, false, "a"), half, output(3, "t", None, false, "b")];
        check(
            Shape { fold: true, ..Shape::default() },
            &all,
            expect![[r#"
                {"serial":1,"time":1700000000000,"format":"text","text":"a","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":10,"message":1
                {"serial":2,"time":1700000000000,"format":"text","base64":"ww==","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":20,"message":1
                {"serial":3,"time":1700000000000,"format":"text","text":"b","type":"turn.output","turn":"t","epoch":1,"attempt":1,"offset":30,"message":1
            "#]],
        );
    }
}
