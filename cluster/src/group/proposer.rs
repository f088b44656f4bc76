//! Lets commands ride: whatever gathers while an entry is in flight goes into the next one (no timers).

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::fair::Waiting;
use super::{Class, Fate, Group, Proposal, cost};
use crate::limits::{ENTRY_BYTES, ENTRY_COMMANDS, FAIR_ENTRY_BYTES};
use crate::raft::{Replica, ReplicaError};

/// Proposes until the group stops, one entry after the other: what would fill a second one in flight makes
/// the next one larger, which costs less. Callers that still wait at the end get the answer that it never happened.
pub(super) async fn run(
    group: Arc<Group>,
    mut control: mpsc::Receiver<Proposal>,
    mut data: mpsc::Receiver<Proposal>,
) {
    let mut stopped = pin!(group.stop.cancelled());
    let mut last_ms = 0;
    let mut queues = Queues::new();
    while !group.stop.is_cancelled() {
        while let Ok(proposal) = control.try_recv().or_else(|_| data.try_recv()) {
            queues.push(proposal);
        }
        if queues.is_empty() {
            let next = tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(proposal) = control.recv() => proposal,
                Some(proposal) = data.recv() => proposal,
            };
            queues.push(next);
            // What came with it rides with it.
            continue;
        }
        let batch = queues.gather();
        // The group's time, never backwards (S6).
        let Some(now_ms) = group.stop.run_until_cancelled(group.time.stamp_ms()).await else {
            tell(batch, &Fate::Refused { leader: None });
            break;
        };
        last_ms = now_ms.max(last_ms);
        let commands: Vec<Bytes> = batch.iter().map(|proposal| proposal.command.clone()).collect();
        let fate = match group.current() {
            Some(current) => decided(&current.replica, last_ms, &commands).await,
            None => Fate::Refused { leader: None },
        };
        tell(batch, &fate);
    }
    for queue in [&mut control, &mut data] {
        queue.close();
        while let Ok(proposal) = queue.try_recv() {
            queues.push(proposal);
        }
    }
    while !queues.is_empty() {
        tell(queues.gather(), &Fate::Refused { leader: None });
    }
}

/// What becomes of an entry with these commands. A replica that is closed answers, too.
async fn decided(replica: &Replica, time_ms: u64, commands: &[Bytes]) -> Fate {
    let applied = match replica.propose(time_ms, commands).await {
        Ok(applied) => applied.await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(id) => Fate::Committed(id),
        Err(ReplicaError::NotLeader { leader }) => Fate::Refused { leader },
        Err(ReplicaError::Unknown(text)) => Fate::Unknown(text),
    }
}

fn tell(batch: Vec<Proposal>, fate: &Fate) {
    for proposal in batch {
        (proposal.reply)(fate.clone());
    }
}

/// What waits for an entry; its room bounds it.
struct Queues {
    control: Waiting<Proposal>,
    data: Waiting<Proposal>,
}

/// An entry that is put together.
#[derive(Default)]
struct Batch {
    proposals: Vec<Proposal>,
    bytes: usize,
}

impl Batch {
    /// Whether it takes no more rounds than the fair ones.
    fn has_enough(&self) -> bool {
        FAIR_ENTRY_BYTES <= self.bytes || ENTRY_COMMANDS <= self.proposals.len()
    }

    /// Takes what waits, up to a part of what an entry carries.
    fn fill(&mut self, from: &mut Waiting<Proposal>, part: usize) {
        while self.proposals.len() < ENTRY_COMMANDS / part
            && self.bytes < ENTRY_BYTES / part
            && let Some(next) = from.pop()
        {
            self.bytes += next.command.len();
            self.proposals.push(next);
        }
    }
}

impl Queues {
    fn new() -> Queues {
        Queues { control: Waiting::new(), data: Waiting::new() }
    }

    fn push(&mut self, proposal: Proposal) {
        let permit = &proposal.permit;
        let queue = match permit.class {
            Class::Control => &mut self.control,
            Class::Data => &mut self.data,
        };
        queue.push(permit.flow, cost(proposal.command.len()), proposal);
    }

    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// The next entry, which has one command at least, if any waits. Control goes first, and leaves half of it to data,
    /// where there is any.
    fn gather(&mut self) -> Vec<Proposal> {
        let mut batch = Batch::default();
        self.control.begin();
        self.data.begin();
        loop {
            batch.fill(&mut self.control, 2);
            batch.fill(&mut self.data, 1);
            batch.fill(&mut self.control, 1);
            if batch.has_enough() || self.is_empty() {
                return batch.proposals;
            }
            // A large command among others waits until the share of its flow can pay for it.
            self.control.again();
            self.data.again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::super::{Flow, Permit};
    use super::*;

    /// A group's queues and its room, without the group.
    struct Gate {
        queues: Queues,
        control: Arc<Room>,
        data: Arc<Room>,
    }

    impl Gate {
        fn new(data: usize, control: usize) -> Gate {
            Gate { queues: Queues::new(), control: Room::new(control), data: Room::new(data) }
        }

        /// Whether a command had room; it waits then.
        fn admits(&mut self, class: Class, flow: Flow, bytes: usize) -> bool {
            let room = match class {
                Class::Control => &self.control,
                Class::Data => &self.data,
            };
            let Some(room) = room.take(flow, cost(bytes)) else { return false };
            let permit = Permit { class, flow, _room: room };
            let command = vec![flow.owner as u8; bytes].into();
            self.queues.push(Proposal { command, permit, reply: Box::new(|_| ()) });
            true
        }

        /// Owners of the next entry's commands.
        fn next(&mut self) -> Vec<u64> {
            self.queues.gather().iter().map(|proposal| proposal.permit.flow.owner).collect()
        }
    }

    const FLOOD: Flow = Flow { owner: 1, part: 1 };
    const QUIET: Flow = Flow { owner: 2, part: 1 };

    #[test]
    fn a_flood_of_one_flow_leaves_another_s_command_room_and_a_place_in_the_next_entry() {
        for (class, bytes) in [(Class::Data, 10), (Class::Data, 20_000), (Class::Control, 10)] {
            let mut gate = Gate::new(16 << 20, 1 << 20);
            while gate.admits(class, FLOOD, bytes) {}
            assert!(gate.admits(class, QUIET, 100), "{class:?} {bytes}");
            assert!(gate.next().contains(&QUIET.owner), "{class:?} {bytes}");
            assert!(!gate.queues.is_empty(), "the flood is larger than an entry");
            while gate.admits(class, FLOOD, bytes) {}
            assert!(gate.admits(class, QUIET, 100) && gate.next().contains(&QUIET.owner));
        }
    }

    #[test]
    fn control_goes_before_a_flood_of_data_and_data_is_in_each_entry_of_a_flood_of_control() {
        let mut gate = Gate::new(16 << 20, 1 << 20);
        while gate.admits(Class::Data, FLOOD, 1000) {}
        assert!(gate.admits(Class::Control, FLOOD, 10), "control has room of its own");
        let entry = gate.queues.gather();
        assert_eq!(entry[0].permit.class, Class::Control);
        drop(entry);
        while gate.admits(Class::Control, QUIET, 10) {}
        let entry = gate.queues.gather();
        let data = entry.iter().filter(|proposal| proposal.permit.class == Class::Data).count();
        assert!((ENTRY_COMMANDS / 2..ENTRY_COMMANDS).contains(&data), "{data}");
    }

    #[test]
    fn room_that_the_shares_leave_is_given_to_who_waits_one_after_the_other() {
        let mut gate = Gate::new(16 << 20, 1 << 20);
        let (one, two) = (FLOOD, Flow { owner: 3, part: 1 });
        let large = 100_000;
        let mut taken = [0; 2];
        for _ in 0..40 {
            for flow in [one, two] {
                while gate.admits(Class::Data, flow, large) {}
            }
            // A quiet one has a command in each entry, which is not all that an entry carries.
            assert!(gate.admits(Class::Data, QUIET, 100));
            let entry = gate.queues.gather();
            let bytes: usize = entry.iter().map(|proposal| proposal.command.len()).sum();
            assert!(
                (FAIR_ENTRY_BYTES..FAIR_ENTRY_BYTES + 2 * large + 100).contains(&bytes),
                "{bytes}"
            );
            for (count, flow) in taken.iter_mut().zip([one, two]) {
                *count += entry.iter().filter(|proposal| proposal.permit.flow == flow).count();
            }
            let quiet = entry.iter().filter(|proposal| proposal.permit.flow == QUIET).count();
            assert_eq!(quiet, 1);
        }
        assert!(taken[0].abs_diff(taken[1]) <= 1 && 20 <= taken[0], "{taken:?}");
    }

    #[test]
    fn an_entry_is_bounded_and_nothing_is_left_out() {
        let mut gate = Gate::new(64 << 20, 1 << 20);
        let mut count = 0;
        for number in 0..3000 {
            let flow = Flow { owner: number % 7, part: number % 3 };
            count += usize::from(gate.admits(Class::Data, flow, 5000));
            count += usize::from(gate.admits(Class::Control, flow, 10));
        }
        while !gate.queues.is_empty() {
            let entry = gate.queues.gather();
            let bytes: usize = entry.iter().map(|proposal| proposal.command.len()).sum();
            assert!(entry.len() <= ENTRY_COMMANDS && bytes < ENTRY_BYTES + 5000);
            count -= entry.len();
        }
        assert_eq!(count, 0);
    }
}
