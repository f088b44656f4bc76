//! Attaching a reader: at this node's replica or at another's, and to the source of a fork as well.

use tokio::time::{Instant, timeout};

use super::fork_reader::ForkReader;
use super::reader::{Attach, AttachError, Counted, Reader, Start};
use super::relay::Relayed;
use super::sessions::Sessions;
use super::{Freshness, Unavailable};
use crate::ids::{Cursor, Serial, SessionId};
use crate::limits::PEER_PATIENCE;
use crate::session::{Fork, Grant};

impl Sessions {
    /// Attaches a reader wherever the session has a replica.
    pub(super) async fn attach_as(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let here = self.directory.local(id).is_some();
        if self.directory.serves(id, attach.freshness) {
            return self.attach_here(id, attach, deadline).await;
        }
        match self.attach_elsewhere(grant, id, attach).await {
            // Its own replica may be in touch again by now.
            Err(AttachError::Unavailable(_)) if here => {
                self.attach_here(id, attach, deadline).await
            }
            attached => attached,
        }
    }

    /// Attaches a reader at another node's replica.
    async fn attach_elsewhere(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        attach: &Attach,
    ) -> Result<Reader, AttachError> {
        let none = || Unavailable::NoQuorum("no replica is in reach".into());
        let group = self.directory.group_of(id).ok_or_else(none)?;
        let mut last = AttachError::from(none());
        for node in self.directory.replicas(group) {
            // A link to a dead node is noticed late; the next replica gets the request in time.
            let attached = Relayed::attach(&self.host, node, id, (attach, grant));
            let silent = || Unavailable::NoQuorum(format!("node {node} does not answer"));
            let attached = timeout(PEER_PATIENCE, attached).await;
            match attached.unwrap_or_else(|_| Err(silent().into())) {
                Ok(own) => {
                    let counted = self.count_reader()?;
                    if attach.parent_of_fork.is_some() {
                        return Ok(Reader::parent_of_fork(own, counted));
                    }
                    let joined = self.relays.join(node, id, (own, grant));
                    return Ok(Reader::relayed(joined, counted));
                }
                Err(AttachError::Unavailable(error)) => last = error.into(),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Attaches a reader at this node's own replica; to the source too, if the session is a fork.
    pub(super) async fn attach_here(
        &self,
        id: &SessionId,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let counted = self.count_reader()?;
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        if attach.freshness == Freshness::Linearizable {
            self.directory.linearize(&group, deadline).await?;
        }
        let looked = self.directory.look(&shard, id).await?.ok_or(AttachError::NotFound)?;
        let (store, number) = (self.store.clone(), shard.number());
        let inherits = looked.inherits.clone();
        let own = Reader::attach(number, id.clone(), store.clone(), looked, attach, counted)?;
        match inherits {
            Some(fork) => self.read_fork(own, &fork, attach, deadline).await,
            None => Ok(own),
        }
    }

    /// Puts what a fork inherits in front of its reader, if the reader needs it.
    async fn read_fork(
        &self,
        own: Reader,
        fork: &Fork,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let cursor = own.cursor();
        let resets = cursor.incarnation != own.status().incarnation;
        if !resets && fork.at <= cursor.serial {
            return Ok(own);
        }
        let start = match attach.start {
            Start::Beginning => Start::Beginning,
            _ if resets => {
                Start::After(Cursor { incarnation: fork.incarnation, serial: Serial::ZERO })
            }
            _ => Start::After(Cursor { incarnation: fork.incarnation, serial: cursor.serial }),
        };
        let freshness = attach.freshness;
        // What a fork inherits is its own: whoever may read it need not be one who may read its source.
        let source = Attach { start, freshness, parent_of_fork: Some(fork.incarnation) };
        let inherited = Box::pin(self.attach_as(None, &fork.source, &source, deadline)).await?;
        if resets && fork.at <= inherited.cursor().serial {
            return Ok(own);
        }
        let own = own.skipped_to(fork.at);
        if fork.at <= inherited.cursor().serial {
            // Retention took all of it.
            return Ok(own);
        }
        let counted = self.count_reader()?;
        let before = resets.then_some(cursor);
        Ok(Reader::fork_reader(ForkReader::new(inherited, fork.at, own, before), counted))
    }

    fn count_reader(&self) -> Result<Counted, AttachError> {
        Counted::new(&self.readers).ok_or(AttachError::TooManyReaders)
    }
}
