//! What waits for a slow reader or node: the newest of each sender and kind, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use super::EphemeralMessage;

/// Bounded by whoever adds to it.
#[derive(Default)]
pub(super) struct Pile {
    messages: VecDeque<Arc<EphemeralMessage>>,
    bytes: usize,
}

impl Pile {
    /// Adds a message in the place of an older one of its sender and kind; returns how many others were dropped, the
    /// oldest first, so that no more than `most` wait with no more than `most_bytes`.
    pub(super) fn push(
        &mut self,
        message: Arc<EphemeralMessage>,
        most: usize,
        most_bytes: usize,
    ) -> u64 {
        if let Some(at) = self.messages.iter().position(|known| message.replaces(known)) {
            self.remove(at);
        }
        self.bytes += message.size();
        self.messages.push_back(message);
        let mut dropped = 0;
        while most < self.messages.len() || most_bytes < self.bytes {
            self.remove(0);
            dropped += 1;
        }
        dropped
    }

    fn remove(&mut self, at: usize) -> Option<Arc<EphemeralMessage>> {
        let gone = self.messages.remove(at)?;
        self.bytes -= gone.size();
        Some(gone)
    }

    /// Takes the oldest, at least one and about `most_bytes` of them.
    pub(super) fn take(&mut self, most_bytes: usize) -> Vec<Arc<EphemeralMessage>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.messages.front()
            && (taken.is_empty() || bytes + next.size() <= most_bytes)
        {
            bytes += next.size();
            taken.extend(self.remove(0));
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    fn words(taken: &[Arc<EphemeralMessage>]) -> Vec<&str> {
        taken.iter().map(|message| str::from_utf8(&message.content.payload).unwrap()).collect()
    }

    #[test]
    fn the_newest_of_each_sender_waits_and_the_oldest_makes_room() {
        let mut pile = Pile::default();
        let mut push =
            |who: &str, words: &str| pile.push(Arc::new(message("s", who, words)), 3, 4096);
        assert_eq!(push("ada", "1") + push("bob", "2") + push("ada", "3"), 0);
        assert_eq!(push("eve", "4") + push("sue", "5"), 1, "bob was first");
        let size = message("s", "ada", "1").size();
        assert_eq!(words(&pile.take(2 * size)), ["3", "4"]);
        assert_eq!(words(&pile.take(1)), ["5"], "one at least");
        assert!(pile.is_empty() && pile.bytes == 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut pile = Pile::default();
        let large = "x".repeat(1000);
        let mut dropped = 0;
        for at in 0..10 {
            dropped += pile.push(Arc::new(message("s", &format!("p{at}"), &large)), 100, 4096);
        }
        assert_eq!(dropped as usize + pile.take(usize::MAX).len(), 10);
        assert!(0 < dropped && pile.bytes == 0);
        assert_eq!(
            pile.push(Arc::new(message("s", "ada", &large)), 100, 10),
            1,
            "too large for any"
        );
    }
}
