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
}

/// Why a directory cannot be this node's.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("{path} belongs to node {held} of cluster {cluster:?}, not to node {given}")]
    OtherNode { path: PathBuf, cluster: String, held: NodeId, given: NodeId },
    #[error("{path} belongs to cluster {held:?}, not to {given:?}")]
    OtherCluster { path: PathBuf, held: String, given: String },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// Peers that say they know this node's name with another disk, and what they said.
///
/// A peer's word is no proof: what it says may end this node only where it could do so by its silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(BTreeMap<NodeId, String>);

impl Refusals {
    /// Why the node must not go on: those that refuse it leave no majority of `members` that it could be
    /// part of.
    pub fn outcast(&self, members: &BTreeSet<NodeId>) -> Option<String> {
        let refusing = self.0.iter().filter(|(node, _)| members.contains(node));
        let majority = members.len() / 2 + 1;
        let (by, reason) = refusing.clone().next()?;
        let others = refusing.count();
        let is_out = members.len() - others < majority;
        is_out.then(|| format!("node {by} refuses this node: {reason}"))
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
    disowned: watch::Sender<Option<String>>,
    removed: Arc<Removed>,
    /// Peers that say that this node is no member any more.
    parted: Mutex<BTreeSet<NodeId>>,
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
                let store = rand::random::<u128>();
                let identity = Identity { cluster: cluster.into(), node, store };
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
        let (refusals, disowned) = (watch::Sender::default(), watch::Sender::new(None));
        let (met, removed, parted) = (Mutex::new(met), Arc::default(), Mutex::default());
        Ok(Home { dir: path, identity, fresh, met, refusals, disowned, removed, parted })
    }

    /// The random id of this disk.
    pub fn store(&self) -> u128 {
        self.identity.store
    }

    /// Whether the directory was made by this start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The nodes that the gate keeps out, because they are no members any more.
    pub fn removed(&self) -> Arc<Removed> {
        self.removed.clone()
    }

    /// Follows which peers know this node's name with another disk.
    pub fn refusals(&self) -> watch::Receiver<Refusals> {
        self.refusals.subscribe()
    }

    /// Becomes the reason when this node was removed from the cluster: the node must not go on.
    pub fn disowned(&self) -> watch::Receiver<Option<String>> {
        self.disowned.subscribe()
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
        // Should it refuse this node still, it says so again.
        self.refusals.send_if_modified(|refusals| refusals.0.remove(&peer).is_some());
        Ok(())
    }

    fn refused(&self, by: NodeId, reason: String) {
        if !reason.starts_with(OTHER_DISK) {
            tracing::error!(peer = %by, reason, "a peer refuses this node");
            if reason.starts_with(REMOVED) && self.parts(by) {
                self.disowned.send_replace(Some(format!("node {by} refuses this node: {reason}")));
            }
            return;
        }
        self.refusals.send_if_modified(|refusals| {
            let is_news = refusals.0.insert(by, reason.clone()).as_ref() != Some(&reason);
            if is_news {
                tracing::error!(peer = %by, reason, "a peer refuses this node");
            }
            is_news
        });
    }
}

impl Home {
    /// Hears that this node was removed, as `by` says; whether enough peers have said so. One alone may be
    /// wrong or, while some group still counts on this node, early. A group that does has at least two more
    /// members that let this node in.
    fn parts(&self, by: NodeId) -> bool {
        let mut parted = self.parted.lock().expect("no panic under this lock");
        parted.insert(by);
        let met = self.met.lock().expect("no panic under this lock");
        let others = met.keys().filter(|node| !self.removed.contains(**node)).count();
        (others / 2 + 1).max(others.saturating_sub(1)) <= parted.len()
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

/// Reads what [`write`] wrote; none where there is nothing.
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
        assert!(refusals.borrow().outcast(&members).is_some());
    }

    #[test]
    fn peers_end_a_node_by_their_word_only_where_their_silence_would() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), "c", NodeId(1)).unwrap();
        let out = |count: u64| {
            let members = (1..=count).map(NodeId).collect();
            home.refusals().borrow().outcast(&members).is_some()
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
        // Whoever lets this node in again has taken its word back.
        home.admit(NodeId(3), 7).unwrap();
        assert_eq!([out(2), out(3)], [true, false]);
    }

    #[test]
    fn a_removed_node_is_refused_and_believes_it_when_enough_peers_say_so() {
        let dirs = [1, 2].map(|_| tempfile::tempdir().unwrap());
        let [home, leaving] = [1, 2].map(|node| {
            let home = Home::open(dirs[node - 1].path(), "c", NodeId(node as u64)).unwrap();
            let peers = (1..=3).filter(|peer| *peer != node as u64);
            peers.for_each(|peer| home.admit(NodeId(peer), 7).unwrap());
            home
        });
        home.removed().keep_out(NodeId(2));
        let refusal = home.admit(NodeId(2), 7).unwrap_err();
        home.admit(NodeId(3), 7).unwrap();
        let disowned = leaving.disowned();
        leaving.refused(NodeId(1), refusal.clone());
        leaving.refused(NodeId(1), refusal.clone());
        assert_eq!(*disowned.borrow(), None, "one peer alone ends no node");
        leaving.refused(NodeId(3), refusal);
        assert!(disowned.borrow().as_ref().unwrap().contains("node 2 is no member any more"));
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
