//! What a worker said while a commit was under way, gathered into the next command.

use super::link::Room;
use crate::ids::Serial;
use crate::limits::{APPEND_BYTES, APPEND_EVENTS};
use crate::session::{NewEvent, Said, Say, Then};

/// What one say of a worker is, and the room that it takes until it is answered.
pub(super) struct Heard {
    pub(super) say: Box<Say>,
    pub(super) _room: Room,
}

/// Says of one turn that ride in one command, in their order.
pub(super) struct Batch {
    says: Vec<Heard>,
    events: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn of(heard: Heard) -> Batch {
        let (events, bytes) = size(&heard.say);
        Batch { says: vec![heard], events, bytes }
    }

    /// Takes one more, if one command can say both; else gives it back.
    pub(super) fn join(&mut self, heard: Heard) -> Option<Heard> {
        let (events, bytes) = size(&heard.say);
        let over = APPEND_EVENTS < self.events + events || APPEND_BYTES < self.bytes + bytes;
        let last = &self.says.last().expect("a batch is never empty").say;
        if over || !goes_on(last, &heard.say) {
            return Some(heard);
        }
        self.events += events;
        self.bytes += bytes;
        self.says.push(heard);
        None
    }

    /// The command for all of them; `seq` is the link's own count of commands in this epoch. `delivered`: the
    /// last input that the worker was told of.
    pub(super) fn command(&self, seq: u64, delivered: Option<Serial>) -> Say {
        let mut all = Say { delivered, ..Say::clone(&self.says[0].say) };
        for Heard { say, .. } in &self.says[1..] {
            all.heard = all.heard.max(say.heard);
            all.quiet_ms = say.quiet_ms.or(all.quiet_ms);
            all.phase = all.phase.or_else(|| say.phase.clone());
            if say.checkpoint.is_some() {
                all.checkpoint.clone_from(&say.checkpoint);
            }
            let Some(said) = &say.said else { continue };
            let whole =
                all.said.get_or_insert_with(|| Said { internal: said.internal, ..Said::default() });
            whole.events.extend(said.events.iter().cloned());
            whole.ask.extend(said.ask.iter().cloned());
            whole.then = said.then.clone();
        }
        if let Some(said) = &mut all.said {
            said.seq = seq;
        }
        all
    }

    /// The seq of each say that has one, with its places among those of the whole command. The first say has
    /// what begins its step too, and the last one what came of its questions and of its end.
    pub(super) fn answers(
        &self,
        places: Option<(Serial, Serial)>,
    ) -> impl Iterator<Item = (u64, Option<(Serial, Serial)>)> {
        let said: Vec<_> = self.says.iter().filter_map(|heard| heard.say.said.as_ref()).collect();
        let (mut next, mut left) = (places.map(|(first, _)| first), said.len());
        said.into_iter().map(move |said| {
            left -= 1;
            let own = said.events.len() as u64 + u64::from(said.step.is_some());
            let place = next.zip(places).and_then(|(at, (_, end))| {
                let last = if left == 0 { end } else { Serial(at.0 + own - 1) };
                next = Some(Serial(at.0 + own));
                (at <= last).then_some((at, last))
            });
            (said.seq, place)
        })
    }

    /// The seqs of those that have one.
    pub(super) fn seqs(&self) -> impl Iterator<Item = u64> {
        self.says.iter().filter_map(|heard| heard.say.said.as_ref()).map(|said| said.seq)
    }

    /// How the turn goes on after all of them.
    pub(super) fn ends(&self) -> bool {
        self.says.last().is_some_and(|heard| ends(&heard.say))
    }

    /// Each for itself, where there are several.
    pub(super) fn split(self) -> Result<impl Iterator<Item = Batch>, Batch> {
        if self.says.len() < 2 { Err(self) } else { Ok(self.says.into_iter().map(Batch::of)) }
    }
}

/// Events and bytes that count towards the limits of one command.
fn size(say: &Say) -> (usize, usize) {
    let Some(said) = &say.said else { return (0, 0) };
    let bytes = |event: &NewEvent| event.payload.len() + event.format.as_str().len();
    (said.events.len(), said.events.iter().map(bytes).sum())
}

/// Whether one command can say the second after the first: what it does besides output comes first in a
/// command, or last.
fn goes_on(before: &Say, next: &Say) -> bool {
    let stands = |said: &Said| said.rewind || !said.ask.is_empty() || !said.tools.is_empty();
    let phase = next.phase.is_none() || next.phase == before.phase;
    let Some(said) = &next.said else { return !ends(before) && phase };
    let before_goes = before.said.as_ref().is_none_or(|before| {
        !stands(before) && before.then == Then::GoOn && before.internal == said.internal
    });
    let begins = said.step.is_some()
        || said.rewind
        || said.mark
        || !said.withdraw.is_empty()
        || !said.tools.is_empty();
    before_goes && phase && !begins
}

fn ends(say: &Say) -> bool {
    say.said.as_ref().is_some_and(|said| said.then != Then::GoOn)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{CallId, InteractionId, StepName, TurnEpoch, TurnId};
    use crate::session::{Format, Phase, ToolMark, ToolStep, Withdraw};

    fn heard(seq: Option<u64>, texts: &[&str], then: Then) -> Heard {
        let event = |text: &&str| NewEvent {
            format: Format::TEXT,
            payload: Bytes::copy_from_slice(text.as_bytes()),
        };
        let events = texts.iter().map(event).collect();
        let said = seq.map(|seq| Said { seq, events, then, ..Said::default() });
        let say = Say { said, ..Say::new(TurnId::parse("t").unwrap(), TurnEpoch(7)) };
        Heard { say: Box::new(say), _room: Room::none() }
    }

    #[test]
    fn what_gathers_rides_in_one_command_and_each_say_knows_its_place() {
        let mut batch = Batch::of(heard(Some(4), &["a", "b"], Then::GoOn));
        assert!(batch.join(heard(None, &[], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(5), &[], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(6), &["c"], Then::Complete)).is_none());
        let late = batch.join(heard(Some(7), &["d"], Then::GoOn));
        assert!(late.is_some(), "nothing rides after an end");
        let said = batch.command(2, None).said.unwrap();
        assert_eq!((said.seq, said.events.len(), said.then), (2, 3, Then::Complete));
        let at = |first, last| Some((Serial(first), Serial(last)));
        // The last one is told of the end, too.
        let answers: Vec<_> = batch.answers(at(10, 13)).collect();
        assert_eq!(answers, [(4, at(10, 11)), (5, None), (6, at(12, 13))]);
        assert_eq!(batch.answers(None).collect::<Vec<_>>(), [(4, None), (5, None), (6, None)]);
        assert_eq!(batch.split().ok().unwrap().count(), 4);
    }

    #[test]
    fn what_is_more_than_output_begins_a_command_or_ends_it() {
        let plain = || heard(Some(1), &["b"], Then::GoOn);
        let step = |mut heard: Heard| {
            heard.say.said.as_mut().unwrap().step = StepName::parse("plan").ok();
            heard
        };
        let mut batch = Batch::of(step(heard(Some(0), &["a"], Then::GoOn)));
        assert!(batch.join(plain()).is_none());
        assert!(batch.join(step(heard(Some(2), &["c"], Then::GoOn))).is_some());
        let at = |first, last| Some((Serial(first), Serial(last)));
        // The event that begins the step is the first say's.
        assert_eq!(batch.answers(at(5, 7)).collect::<Vec<_>>(), [(0, at(5, 6)), (1, at(7, 7))]);
        let mut rewinds = heard(Some(2), &["c"], Then::GoOn);
        rewinds.say.said.as_mut().unwrap().rewind = true;
        assert!(Batch::of(rewinds).join(plain()).is_some(), "nobody knows how much it supersedes");
        let mut internal = plain();
        internal.say.said.as_mut().unwrap().internal = true;
        assert!(Batch::of(heard(Some(0), &["a"], Then::GoOn)).join(internal).is_some());
        let takes_back = |mut heard: Heard| {
            let interaction = InteractionId::parse("q").unwrap();
            let withdraw = Withdraw { interaction, reason: String::new() };
            heard.say.said.as_mut().unwrap().withdraw.push(withdraw);
            heard
        };
        assert!(Batch::of(plain()).join(takes_back(plain())).is_some(), "it comes before output");
        let mut batch = Batch::of(takes_back(heard(Some(0), &[], Then::GoOn)));
        assert!(batch.join(plain()).is_none());
        assert_eq!(batch.command(0, None).said.unwrap().withdraw.len(), 1);
        let calls = |mut heard: Heard| {
            let result = NewEvent { format: Format::TEXT, payload: Bytes::new() };
            let step = ToolStep::Finished { result, failed: false };
            let call = CallId::parse("c").unwrap();
            heard.say.said.as_mut().unwrap().tools.push(ToolMark { call, step });
            heard
        };
        assert!(Batch::of(plain()).join(calls(plain())).is_some(), "its keys are its own");
        assert!(Batch::of(calls(plain())).join(plain()).is_some());
        let mut works = plain();
        works.say.phase = Some(Phase::Streaming);
        assert!(Batch::of(heard(Some(0), &["a"], Then::GoOn)).join(works).is_some());
    }

    #[test]
    fn a_command_never_grows_beyond_what_one_append_may_have() {
        let many = vec!["x"; APPEND_EVENTS - 1];
        let mut batch = Batch::of(heard(Some(0), &many, Then::GoOn));
        assert!(batch.join(heard(Some(1), &["x"], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(2), &["x"], Then::GoOn)).is_some());
        let large = "x".repeat(200 << 10);
        let mut batch = Batch::of(heard(Some(0), &[&large, &large, &large], Then::GoOn));
        assert!(batch.join(heard(Some(1), &[&large], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(2), &[&large], Then::GoOn)).is_some());
    }
}
