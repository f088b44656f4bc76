//! What a worker said while a commit was under way, gathered into the next command.

use bytes::Bytes;

use super::link::Room;
use crate::ids::Serial;
use crate::limits::{APPEND_BYTES, APPEND_EVENTS};
use crate::session::{NewEvent, Said, Say, Then};

/// What one say of a worker is, and the room that it takes until it is answered.
pub(super) struct Heard {
    pub(super) say: Say,
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
        if over || ends(last) {
            return Some(heard);
        }
        self.events += events;
        self.bytes += bytes;
        self.says.push(heard);
        None
    }

    /// The command for all of them; `seq` is the link's own count of commands in this epoch.
    pub(super) fn command(&self, seq: u64) -> Say {
        let first = &self.says[0].say;
        let (mut events, mut then, mut says) = (Vec::with_capacity(self.events), Then::GoOn, false);
        let (mut heard, mut quiet_ms): (Option<Serial>, Option<u64>) = (None, None);
        let mut checkpoint: Option<Bytes> = None;
        for Heard { say, .. } in &self.says {
            if let Some(said) = &say.said {
                events.extend(said.events.iter().cloned());
                then = said.then.clone();
                says = true;
            }
            heard = heard.max(say.heard);
            quiet_ms = say.quiet_ms.or(quiet_ms);
            checkpoint = say.checkpoint.clone().or(checkpoint);
        }
        let said = says.then_some(Said { seq, events, then });
        Say { turn: first.turn.clone(), epoch: first.epoch, said, heard, quiet_ms, checkpoint }
    }

    /// The seq of each say that has one, with where its output lies if the output of all begins at `first`.
    pub(super) fn answers(
        &self,
        first: Option<Serial>,
    ) -> impl Iterator<Item = (u64, Option<(Serial, Serial)>)> {
        let mut next = first;
        let said = self.says.iter().filter_map(|heard| heard.say.said.as_ref());
        said.map(move |said| {
            let count = said.events.len() as u64;
            let places = next.filter(|_| 0 < count).map(|at| (at, Serial(at.0 + count - 1)));
            next = next.map(|at| Serial(at.0 + count));
            (said.seq, places)
        })
    }

    /// How the turn goes on behind all of them.
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

fn ends(say: &Say) -> bool {
    say.said.as_ref().is_some_and(|said| said.then != Then::GoOn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TurnId;
    use crate::session::Format;

    fn heard(seq: Option<u64>, texts: &[&str], then: Then) -> Heard {
        let event = |text: &&str| NewEvent {
            format: Format::TEXT,
            payload: Bytes::copy_from_slice(text.as_bytes()),
        };
        let events = texts.iter().map(event).collect();
        let said = seq.map(|seq| Said { seq, events, then });
        let turn = TurnId::parse("t").unwrap();
        let say = Say { turn, epoch: 7, said, heard: None, quiet_ms: None, checkpoint: None };
        Heard { say, _room: Room::none() }
    }

    #[test]
    fn what_gathers_rides_in_one_command_and_each_say_knows_its_place() {
        let mut batch = Batch::of(heard(Some(4), &["a", "b"], Then::GoOn));
        assert!(batch.join(heard(None, &[], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(5), &[], Then::GoOn)).is_none());
        assert!(batch.join(heard(Some(6), &["c"], Then::Complete)).is_none());
        let late = batch.join(heard(Some(7), &["d"], Then::GoOn));
        assert!(late.is_some(), "nothing rides behind an end");
        let said = batch.command(2).said.unwrap();
        assert_eq!((said.seq, said.events.len(), said.then), (2, 3, Then::Complete));
        let at = |first, last| Some((Serial(first), Serial(last)));
        let answers: Vec<_> = batch.answers(Some(Serial(10))).collect();
        assert_eq!(answers, [(4, at(10, 11)), (5, None), (6, at(12, 12))]);
        assert_eq!(batch.answers(None).collect::<Vec<_>>(), [(4, None), (5, None), (6, None)]);
        assert_eq!(batch.split().ok().unwrap().count(), 4);
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
