//! What tests break on purpose.

#[cfg(test)]
use super::envelope::{self, Envelope, Ticket};
#[cfg(test)]
use super::flow;
use super::session::Mail;
use super::sessions::Sessions;
use crate::ids::SessionId;
#[cfg(test)]
use crate::session::Command;

impl Sessions {
    /// Makes the session's actor on this node fail, if it has a replica.
    pub fn fail_actor(&self, id: &SessionId) {
        if let Some((_, shard)) = self.directory.local(id) {
            shard.actors().send(id, Mail::Fail);
        }
    }

    /// Has the store fail, as its disk would.
    #[cfg(test)]
    pub(crate) fn fail_store(&self, why: &str) {
        self.store.fault().report("a test", &why);
    }

    /// Commits what no version of this program can read.
    #[cfg(test)]
    pub(crate) fn propose_unreadable(&self, id: &SessionId) {
        let (group, _) = self.directory.local(id).expect("its replica is here");
        let permit =
            group.admit(cluster::group::Class::Control, flow::of(id), 100).expect("there is room");
        let ticket = Ticket { origin: 0, number: 0 };
        group.propose(permit, envelope::encode(ticket, id, &[200, 1, 2, 3]), Box::new(|_| ()));
    }

    /// Has this node's replica alone apply a command to the session, as a fault of its disk would.
    #[cfg(test)]
    pub(crate) async fn corrupt(&self, id: &SessionId, command: &Command) {
        let (_, shard) = self.directory.local(id).expect("its replica is here");
        let looked = self.directory.look(&shard, id).await.expect("it answers").expect("it lives");
        let envelope =
            Envelope { ticket: Ticket { origin: 0, number: 0 }, command: envelope::plain(command) };
        let settled = cluster::settled::Settled::starting_at(0);
        let mail = Mail::Committed {
            index: looked.next,
            time: self.now(),
            commands: vec![envelope],
            hold: settled.begin(0),
        };
        shard.actors().send(id, mail);
        settled.reached(0).await;
    }
}
