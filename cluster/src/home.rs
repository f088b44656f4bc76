//! A node's own directory: who it is, and whom it has met.
//!
//! Each disk carries a random id. Peers remember the id that came with a node's name, durably, at their
//! first meeting; a node that comes back with another disk under its old name is refused, because it may
//! have forgotten votes and entries that it acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::codec;
use crate::ids::NodeId;
use crate::removed::{REMOVED, Removed};
use crate::transport::Gate;

const VERSION: u8 = 1;
/// How a refusal begins that means: this disk is not the one we knew.
const OTHER_DISK: &str = "known with another disk";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    cluster: String,
    node: NodeId,
    store: u128,
    secret: u128,
}

/// Why a directory cannot be this node's.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another node's data is there.
    #[error("{path} belongs to node {held} of cluster {cluster:?}, not to node {given}")]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The cluster that it belongs to.
        cluster: String,
        /// The node that it belongs to.
        held: NodeId,
        /// The node that was to be started.
        given: NodeId,
    },
    /// Data of another cluster is there.
    #[error("{path} belongs to cluster {held:?}, not to {given:?}")]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster that it belongs to.
        held: String,
        /// The cluster that was to be started.
        given: String,
    },
    /// The file that says whose directory it is cannot be believed.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system said no.
    #[error("{path}: {error}")]
    Io {
        /// What was opened, read or written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The refusals of this node that peers have reported.
///
/// A peer's report is no proof: it may end this node only where the peer's silence could do so too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// That its data is not what it was: another disk, or less than there was.
    data: BTreeMap<NodeId, String>,
    /// That it was removed from the cluster.
    removed: BTreeMap<NodeId, String>,
}

impl Refusals {
    /// Notes the refusal that `by` reports; whether that is news.
    pub(crate) fn note(&mut self, by: NodeId, reason: &str) -> bool {
        let claims = if reason.starts_with(REMOVED) { &mut self.removed } else { &mut self.data };
        claims.insert(by, reason.into()).as_deref() != Some(reason)
    }

    /// Notes that `by` lets this node in: its refusals are withdrawn.
    pub(crate) fn forget(&mut self, by: NodeId) -> bool {
        let forgotten = [&mut self.data, &mut self.removed].map(|claims| claims.remove(&by));
        forgotten.iter().any(Option::is_some)
    }

    /// The peers that refuse this node for its data.
    pub(crate) fn of_data(&self) -> impl Iterator<Item = NodeId> {
        self.data.keys().copied()
    }

    /// Why the node `local` must not go on. Only `members` count: those that refuse it for its data leave no
    /// majority of them that it could be part of; or of the others a majority, and all but one, report that it
    /// was removed. While some group still counts on it, that group has two more members that let it in.
    pub fn outcast(&self, local: NodeId, members: &BTreeSet<NodeId>) -> Option<String> {
        let others = members.iter().filter(|node| **node != local).count();
        let by = |claims: &BTreeMap<NodeId, String>, enough: usize| {
            let mut claims = claims.iter().filter(|(node, _)| members.contains(node));
            let (first, reason) = claims.next()?;
            let count = 1 + claims.count();
            (enough <= count).then(|| format!("node {first} refuses this node: {reason}"))
        };
        let no_majority = members.len() - members.len() / 2;
        let removed = (others / 2 + 1).max(others.saturating_sub(1));
        by(&self.data, no_majority).or_else(|| by(&self.removed, removed))
    }
}

/// The directory of one node, and the gate that it keeps.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    identity: Identity,
    fresh: bool,
    met: Mutex<BTreeMap<NodeId, u128>>,
    refusals: watch::Sender<Refusals>,
    removed: Arc<Removed>,
}

impl Home {
    /// Opens the directory, or makes it for a new node.
    ///
    /// # Errors
    /// The directory is another node's, damaged or unreadable; nothing was changed.
    pub fn open(dir: &Path, cluster: &str, node: NodeId) -> Result<Self, HomeError> {
        let io = |error| HomeError::Io { path: dir.to_path_buf(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let kept = read::<Identity>(&dir.join("identity"))?;
        let fresh = kept.is_none();
        let identity = match kept {
            Some(identity) => identity,
            None => {
                let (store, secret) = (rand::random(), rand::random());
                let identity = Identity { cluster: cluster.into(), node, store, secret };
                write(dir, "identity", &identity).map_err(io)?;
                identity
            }
        };
        let path = dir.to_path_buf();
        if identity.cluster != cluster {
            let (held, given) = (identity.cluster, cluster.to_string());
            return Err(HomeError::OtherCluster { path, held, given });
        }
        if identity.node != node {
            let Identity { cluster, node: held, .. } = identity;
            return Err(HomeError::OtherNode { path, cluster, held, given: node });
        }
        let met = read(&dir.join("peers"))?.unwrap_or_default();
        let (met, removed) = (Mutex::new(met), Arc::default());
        Ok(Home { dir: path, identity, fresh, met, refusals: watch::Sender::default(), removed })
    }

    /// The random id of this disk.
    pub fn store(&self) -> u128 {
        self.identity.store
    }

    /// What this node seals its own announcements with. It never leaves the disk; an older copy of it has the same.
    pub fn secret(&self) -> u128 {
        self.identity.secret
    }

    /// Whether the directory was made by this start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The nodes that the gate keeps out, because they are no members any more.
    pub fn removed(&self) -> Arc<Removed> {
        self.removed.clone()
    }

    /// Follows the refusals that peers report; also changes when one reports the same again.
    pub fn refusals(&self) -> watch::Receiver<Refusals> {
        self.refusals.subscribe()
    }
}

impl Gate for Home {
    fn admit(&self, peer: NodeId, store: u128) -> Result<(), String> {
        self.removed.admit(peer)?;
        let mut met = self.met.lock().expect("no panic under this lock");
        match met.get(&peer) {
            Some(known) if *known == store => {}
            Some(_) => {
                return Err(format!(
                    "{OTHER_DISK}: node {peer} was here before with other data; start it with its old \
                     data directory, or under a new node id"
                ));
            }
            None => {
                let mut with_peer = met.clone();
                with_peer.insert(peer, store);
                write(&self.dir, "peers", &with_peer).map_err(|error| error.to_string())?;
                *met = with_peer;
            }
        }
        // Should it refuse this node still, it reports that again.
        self.refusals.send_if_modified(|refusals| refusals.forget(peer));
        Ok(())
    }

    fn refused(&self, by: NodeId, reason: String) {
        if !reason.starts_with(OTHER_DISK) && !reason.starts_with(REMOVED) {
            tracing::error!(peer = %by, reason, "a peer refuses this node");
            return;
        }
        // Also what is no news: the members may have changed since.
        self.refusals.send_modify(|refusals| {
            if refusals.note(by, &reason) {
                tracing::error!(peer = %by, reason, "a peer refuses this node");
            }
        });
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, HomeError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::Io { path: path.to_path_buf(), error }),
    };
    let damaged = |what: String| HomeError::Damaged { path: path.to_path_buf(), what };
    let (body, sum) = bytes.split_at(bytes.len().saturating_sub(4));
    if crc32fast::hash(body).to_le_bytes() != sum {
        return Err(damaged("its checksum differs".into()));
    }
    codec::decode(VERSION, body).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Replaces a small file: new name, fsync, rename, fsync of the directory.
pub(crate) fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    replace(dir, name, value, true)
}

/// The same without any sync: after a power cut the file may be older, or damaged.
pub(crate) fn write_lazily<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    replace(dir, name, value, false)
}

fn replace<T: Serialize>(dir: &Path, name: &str, value: &T, sync: bool) -> io::Result<()> {
    let mut bytes = codec::encode(VERSION, value);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let new = dir.join(format!("{name}.new"));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&new, dir.join(name))?;
    if sync {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Reads what [`write()`] wrote; none where there is nothing.
pub(crate) fn read_kept<T: serde::de::DeserializeOwned>(
    dir: &Path,
    name: &str,
) -> io::Result<Option<T>> {
    read(&dir.join(name)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_disk_under_a_known_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), "c", NodeId(1)).unwrap();
        assert!(home.is_fresh());
        home.admit(NodeId(2), 7).unwrap();
        drop(home);
        let home = Home::open(dir.path(), "c", NodeId(1)).unwrap();
        assert!(!home.is_fresh());
        home.admit(NodeId(2), 7).unwrap();
        let refusal = home.admit(NodeId(2), 8).unwrap_err();
        let refusals = home.refusals();
        home.refused(NodeId(2), refusal);
        let members = (1..=2).map(NodeId).collect();
        assert!(refusals.borrow().outcast(NodeId(1), &members).is_some());
    }

    #[test]
    fn peers_end_a_node_by_their_word_only_where_their_silence_would() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), "c", NodeId(1)).unwrap();
        let out = |count: u64| {
            let members = (1..=count).map(NodeId).collect();
            home.refusals().borrow().outcast(NodeId(1), &members).is_some()
        };
        let other_disk = || format!("{OTHER_DISK}: it says");
        home.refused(NodeId(2), "any other reason".into());
        home.refused(NodeId(2), format!("a reason that quotes: {}", other_disk()));
        assert!(!out(2));
        home.refused(NodeId(2), other_disk());
        home.refused(NodeId(9), other_disk());
        assert_eq!([out(2), out(3), out(4), out(5)], [true, false, false, false]);
        home.refused(NodeId(3), other_disk());
        assert_eq!([out(3), out(4), out(5), out(6)], [true, true, false, false]);
        // A peer that lets this node in again has withdrawn its refusal.
        home.admit(NodeId(3), 7).unwrap();
        assert_eq!([out(2), out(3)], [true, false]);
    }

    #[test]
    fn a_removed_node_is_refused_and_believes_it_when_enough_peers_say_so() {
        let dirs = [1, 2].map(|_| tempfile::tempdir().unwrap());
        let [home, leaving] =
            [1, 2].map(|node| Home::open(dirs[node - 1].path(), "c", NodeId(node as u64)).unwrap());
        home.admit(NodeId(2), 7).unwrap();
        home.removed().keep_out(NodeId(2));
        let refusal = home.admit(NodeId(2), 7).unwrap_err();
        home.admit(NodeId(3), 7).unwrap();
        // Which peers it has met does not count: at its first start it has met none.
        let members = (1..=3).map(NodeId).collect();
        let out = || leaving.refusals().borrow().outcast(NodeId(2), &members);
        leaving.refused(NodeId(1), refusal.clone());
        leaving.refused(NodeId(1), refusal.clone());
        assert_eq!(out(), None, "one peer alone ends no node");
        leaving.refused(NodeId(9), refusal.clone());
        assert_eq!(out(), None, "nor with a stranger");
        leaving.refused(NodeId(3), refusal);
        assert!(out().unwrap().contains("node 2 is no member any more"));
    }

    #[test]
    fn a_directory_serves_one_node_of_one_cluster() {
        let dir = tempfile::tempdir().unwrap();
        drop(Home::open(dir.path(), "c", NodeId(1)).unwrap());
        let other = Home::open(dir.path(), "c", NodeId(2));
        assert!(matches!(other, Err(HomeError::OtherNode { .. })));
        let other = Home::open(dir.path(), "d", NodeId(1));
        assert!(matches!(other, Err(HomeError::OtherCluster { .. })));
        fs::write(dir.path().join("identity"), b"nonsense").unwrap();
        let damaged = Home::open(dir.path(), "c", NodeId(1));
        assert!(matches!(damaged, Err(HomeError::Damaged { .. })));
    }
}
