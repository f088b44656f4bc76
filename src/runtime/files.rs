//! Reading files of sessions at any node: what is known about one, and its bytes, piece by piece.
//!
//! What is known is read as a status is. Bytes never change, so any replica that has them is right; they are read a
//! piece at a time, and no more is held. A fork's files are its own, and those to which what it inherits refers.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blocking;
use super::peer::wire::{Request, Response};
use super::session::Mail;
use super::sessions::Sessions;
use super::status::{left_ms, odd};
use super::{Freshness, Unavailable};
use crate::ids::{FileId, Incarnation, SessionId};
use crate::limits::{FILE_LOOK_WAIT, FILE_READ_BYTES, FORK_DEPTH, PEER_PATIENCE};
use crate::session::{File, Fork, Grant, Session};
use crate::store::LogOf;

/// The files of one session, or the one that was requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SessionFiles {
    incarnation: Incarnation,
    /// Whether the session exists for its forks alone.
    hidden: bool,
    /// What it inherits, where it is a fork.
    inherits: Option<Fork>,
    files: Vec<File>,
}

/// A file, and where its bytes are.
#[derive(Clone, Debug)]
pub struct FoundFile {
    pub file: File,
    /// The session that has it: the one that was requested, or one that it is a fork of.
    session: SessionId,
    incarnation: Incarnation,
}

impl FoundFile {
    /// Whether it is the session's own, and none that it inherits.
    pub fn is_of(&self, id: &SessionId) -> bool {
        self.session == *id
    }
}

impl SessionFiles {
    /// The file of this name, or all; none of what is not kept.
    pub(super) fn of(session: &Session, name: Option<&FileId>) -> Option<SessionFiles> {
        let is_asked = |file: &&File| name.is_none_or(|name| file.id == *name);
        Some(SessionFiles {
            incarnation: session.incarnation().filter(|_| session.is_kept())?,
            hidden: !session.is_live(),
            inherits: session.inherits().cloned(),
            files: session.files().iter().filter(is_asked).cloned().collect(),
        })
    }
}

/// A session on the way from a fork to its sources.
struct Level {
    session: SessionId,
    /// What the one that was requested has of it, where that is another one.
    fork: Option<Fork>,
}

impl Level {
    /// Whether a file of this session is one of the session that was requested.
    fn has(&self, file: &File) -> bool {
        let inherited = |fork: &Fork| file.cited.is_some_and(|(first, _)| first <= fork.at);
        self.fork.as_ref().is_none_or(inherited)
    }

    /// The source of this one.
    fn below(self, mut source: Fork) -> Level {
        // A fork of a fork has no more of the first source than the fork in between.
        source.at = self.fork.map_or(source.at, |fork| fork.at.min(source.at));
        Level { session: source.source.clone(), fork: Some(source) }
    }
}

impl Sessions {
    /// The files that a session has itself, in the order in which they were announced; none where it does not exist.
    pub(super) async fn files_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Vec<File>>, Unavailable> {
        let found = self.look_at_files(grant, id, None, deadline).await?;
        Ok(found.filter(|found| !found.hidden).map(|found| found.files))
    }

    /// The file of this name; none where the session does not exist, or does not have it. A fork has those of its
    /// source, too, to which an event refers that it inherits: those are looked for without the grant.
    pub(super) async fn file_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        name: &FileId,
        deadline: Instant,
    ) -> Result<Option<FoundFile>, Unavailable> {
        let mut at = Level { session: id.clone(), fork: None };
        for _ in 0..FORK_DEPTH {
            let Some(found) = self.look_at_level(grant, &at, Some(name), deadline).await? else {
                return Ok(None);
            };
            let incarnation = found.incarnation;
            if let Some(file) = found.files.into_iter().next() {
                let is_had = at.has(&file);
                let session = at.session;
                return Ok(is_had.then_some(FoundFile { file, session, incarnation }));
            }
            let Some(inherits) = found.inherits else { return Ok(None) };
            at = at.below(inherits);
        }
        Ok(None)
    }

    /// All whole files to which events of the session can refer: its own, then those that it inherits.
    pub(super) async fn inherited_files_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Vec<File>, Unavailable> {
        let (mut all, mut names) = (Vec::new(), BTreeSet::new());
        let mut at = Level { session: id.clone(), fork: None };
        for _ in 0..FORK_DEPTH {
            let Some(found) = self.look_at_level(grant, &at, None, deadline).await? else { break };
            for file in found.files {
                // The nearest one of a name is the one that is read, whole or not.
                if names.insert(file.id.clone()) && file.is_whole() && at.has(&file) {
                    all.push(file);
                }
            }
            let Some(inherits) = found.inherits else { break };
            at = at.below(inherits);
        }
        Ok(all)
    }

    /// The files of a session, as one that is a fork of it sees them; none where it has none for it.
    async fn look_at_level(
        &self,
        grant: Option<&Grant>,
        at: &Level,
        name: Option<&FileId>,
        deadline: Instant,
    ) -> Result<Option<SessionFiles>, Unavailable> {
        let grant = grant.filter(|_| at.fork.is_none());
        let found = self.look_at_files(grant, &at.session, name, deadline).await?;
        Ok(found.filter(|found| match &at.fork {
            None => !found.hidden,
            Some(fork) => found.incarnation == fork.incarnation,
        }))
    }

    /// Some bytes of a whole file from `offset` on: at least one where the file goes so far, and at most
    /// [`FILE_READ_BYTES`]. Looks at this node's replica and at all others, until the deadline.
    pub(super) async fn file_bytes_for(
        &self,
        grant: Option<&Grant>,
        (id, found): (&SessionId, &FoundFile),
        offset: u64,
        deadline: Instant,
    ) -> Result<Bytes, Unavailable> {
        let grant = grant.filter(|_| found.is_of(id));
        let (id, life, number) = (&found.session, found.incarnation, found.file.number);
        loop {
            if let Ok(Some(bytes)) = self.file_bytes_here(id, life, number, offset).await {
                return Ok(bytes);
            }
            let (session, grant) = (id.clone(), grant.cloned().map(Box::new));
            let request = Request::FileBytes { session, incarnation: life, number, offset, grant };
            let nodes = self.directory.group_of(id).map(|group| self.directory.replicas(group));
            for node in nodes.unwrap_or_default() {
                let left = deadline.saturating_duration_since(Instant::now());
                let answer = self.directory.ask(node, &request, left.min(PEER_PATIENCE)).await;
                match answer {
                    Ok(Response::FileBytes(Some(bytes))) => return Ok(bytes),
                    Ok(Response::Denied(why)) => return Err(Unavailable::Denied(why)),
                    _ => {}
                }
            }
            if deadline <= Instant::now() + FILE_LOOK_WAIT {
                return Err(Unavailable::NoQuorum("no replica in reach has these bytes".into()));
            }
            tokio::time::sleep(FILE_LOOK_WAIT).await;
        }
    }

    /// The same at this node's own replica, if it has them.
    pub(super) async fn file_bytes_here(
        &self,
        id: &SessionId,
        incarnation: Incarnation,
        number: u64,
        offset: u64,
    ) -> io::Result<Option<Bytes>> {
        let Some((_, shard)) = self.directory.local(id) else { return Ok(None) };
        let (store, shard, id) = (self.store.clone(), shard.number(), id.clone());
        let read = move || {
            let at = LogOf { shard, id: &id, incarnation };
            store.file_bytes(&at, number, offset, FILE_READ_BYTES)
        };
        blocking::off_thread(read).await?
    }

    async fn look_at_files(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        name: Option<&FileId>,
        deadline: Instant,
    ) -> Result<Option<SessionFiles>, Unavailable> {
        let here = self.directory.local(id).is_some();
        if self.directory.serves(id, Freshness::Linearizable) {
            return self.files_here(id, name, deadline).await;
        }
        let (session, file, within_ms) = (id.clone(), name.cloned(), left_ms(deadline));
        let grant = grant.cloned().map(Box::new);
        let request = Request::Files { session, file, within_ms, grant };
        match self.ask_a_replica(self.directory.group_of(id), &request, deadline).await {
            Ok(Response::Files(found)) => Ok(found),
            Ok(_) => Err(odd()),
            Err(Unavailable::Denied(why)) => Err(Unavailable::Denied(why)),
            // Its own replica may be in touch again by now.
            Err(_) if here => self.files_here(id, name, deadline).await,
            Err(error) => Err(error),
        }
    }

    /// What the session knows of its files, at this node's own replica.
    pub(super) async fn files_here(
        &self,
        id: &SessionId,
        name: Option<&FileId>,
        deadline: Instant,
    ) -> Result<Option<SessionFiles>, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        let (reply, files) = oneshot::channel();
        let request = Mail::Files { name: name.cloned(), reply };
        let answer =
            self.directory.ask_actor(&shard, id, files, |actors, id| actors.send(id, request));
        Ok(answer.await?.flatten())
    }
}
