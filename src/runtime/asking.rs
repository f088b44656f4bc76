//! Sessions as a caller sees them: requests to other nodes carry the grant of the caller, and are judged
//! there again.

use bytes::Bytes;
use tokio::time::Instant;

use super::following::{Changes, Followed};
use super::fork::{ForkError, Wish};
use super::reader::{Attach, AttachError, Reader, Start};
use super::sessions::Sessions;
use super::{FoundFile, Freshness, Reply, Summary, Unavailable};
use crate::ids::{FileId, SessionId, TenantName, TurnId};
use crate::session::{Carried, File, Grant, Status, TurnPlace};

/// All sessions, for a caller with a grant; without one for the node itself, and where no credentials are required.
#[derive(Clone, Copy)]
pub struct Asking<'s> {
    sessions: &'s Sessions,
    grant: Option<&'s Grant>,
}

impl Sessions {
    /// Sessions for a caller with this grant, which was judged here.
    pub fn by<'s>(&'s self, grant: Option<&'s Grant>) -> Asking<'s> {
        Asking { sessions: self, grant }
    }

    /// As [`Asking::attach`], for the node itself.
    ///
    /// # Errors
    /// As there.
    pub async fn attach(
        &self,
        id: &SessionId,
        start: Start,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        self.by(None).attach(id, start, freshness, deadline).await
    }

    /// As [`Asking::status`], for the node itself.
    ///
    /// # Errors
    /// As there.
    pub async fn status(
        &self,
        id: &SessionId,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        self.by(None).status(id, freshness, deadline).await
    }

    /// As [`Asking::list`], for the node itself.
    ///
    /// # Errors
    /// As there.
    pub async fn list(
        &self,
        tenant: Option<&TenantName>,
        place: (&str, Option<&str>),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        self.by(None).list(tenant, place, limit, deadline).await
    }

    /// As [`Asking::fork`], for the node itself.
    ///
    /// # Errors
    /// As there.
    pub async fn fork(
        &self,
        id: &SessionId,
        wish: Wish,
        deadline: Instant,
    ) -> Result<Reply, ForkError> {
        self.by(None).fork(id, wish, deadline).await
    }
}

impl<'s> Asking<'s> {
    /// Attaches a reader. Where it starts is linearizable: everything acknowledged before this call will
    /// be delivered if it lies after the cursor.
    ///
    /// # Errors
    /// The session does not exist, or no node with a majority answers; no reader exists then.
    pub async fn attach(
        self,
        id: &SessionId,
        start: Start,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let attach = Attach { start, freshness, parent_of_fork: None };
        self.sessions.attach_as(self.grant, id, &attach, deadline).await
    }

    /// What the session is now; none where it does not exist. One that is hidden exists for its forks
    /// alone.
    ///
    /// # Errors
    /// No node with a majority answers before the deadline.
    pub async fn status(
        self,
        id: &SessionId,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        self.sessions.status_for(self.grant, id, freshness, deadline).await
    }

    /// What the session remembers of an input, by its name; nothing of one that is forgotten, or never was.
    ///
    /// # Errors
    /// No node with a majority answers before the deadline.
    pub async fn place_of(
        self,
        id: &SessionId,
        input: &TurnId,
        deadline: Instant,
    ) -> Result<Option<TurnPlace>, Unavailable> {
        self.sessions.place_of(self.grant, id, input, deadline).await
    }

    /// What the session takes along if it moves; none where it does not exist.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn carried(
        self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Box<Carried>>, Unavailable> {
        self.sessions.carried_for(self.grant, id, deadline).await
    }

    /// The files that a session has itself, in the order in which they were announced; none where it does not exist.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn files(
        self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Vec<File>>, Unavailable> {
        self.sessions.files_for(self.grant, id, deadline).await
    }

    /// All whole files to which events of the session can refer: its own, then those that it inherits as a fork.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn inherited_files(
        self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Vec<File>, Unavailable> {
        self.sessions.inherited_files_for(self.grant, id, deadline).await
    }

    /// The file of this name; none where the session does not exist, or does not have it. A fork has those of its
    /// source, too, to which an event refers that it inherits.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn file(
        self,
        id: &SessionId,
        name: &FileId,
        deadline: Instant,
    ) -> Result<Option<FoundFile>, Unavailable> {
        self.sessions.file_for(self.grant, id, name, deadline).await
    }

    /// Some bytes of a whole file that the session has, or inherits, from `offset` on: at least one where the file goes
    /// so far, and at most [`crate::limits::FILE_READ_BYTES`]. Looks at this node's replica and at all others.
    ///
    /// # Errors
    /// Nobody has them before the deadline, or has them any more.
    pub async fn file_bytes(
        self,
        id: &SessionId,
        found: &FoundFile,
        offset: u64,
        deadline: Instant,
    ) -> Result<Bytes, Unavailable> {
        self.sessions.file_bytes_for(self.grant, (id, found), offset, deadline).await
    }

    /// What changed in a tenant's sessions after a place, and the place after that; at most about `limit`. Each session
    /// is returned with what it is now, once for all that happened to it. What is returned may be returned again.
    ///
    /// # Errors
    /// A shard does not answer before the deadline; nothing is lost by asking again.
    pub async fn changed(
        self,
        tenant: Option<&TenantName>,
        followed: &Followed,
        limit: usize,
        deadline: Instant,
    ) -> Result<Changes, Unavailable> {
        self.sessions.changed_for((tenant, self.grant), followed, limit, deadline).await
    }

    /// Up to `limit` live sessions of a tenant whose name begins with `prefix`, in byte order of their names, after
    /// `after`. Nothing names a tenant's sessions but the tenant, so a list never has those of another.
    ///
    /// # Errors
    /// A shard does not answer before the deadline.
    pub async fn list(
        self,
        tenant: Option<&TenantName>,
        place: (&str, Option<&str>),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        self.sessions.list_for(self.grant, tenant, place, limit, deadline).await
    }

    /// Creates `id` as a fork; repeating it is no change.
    ///
    /// # Errors
    /// See [`ForkError`]; no hold on the source is left then, or it ends by itself.
    pub async fn fork(
        self,
        id: &SessionId,
        wish: Wish,
        deadline: Instant,
    ) -> Result<Reply, ForkError> {
        self.sessions.fork_for(self.grant, id, wish, deadline).await
    }

    /// The time in the session's next entry, see [`Sessions::time_of`].
    pub fn time_of(self, id: &SessionId) -> crate::ids::Millis {
        self.sessions.time_of(id)
    }
}
