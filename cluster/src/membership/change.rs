//! Changes of the list of nodes, and which of them are refused.
//!
//! The same judgement is made before a change is proposed, so that whoever requests it learns at once what is
//! wrong with it, and when it is applied, so that of two changes that do not know of each other only the
//! first takes effect.

use serde::{Deserialize, Serialize};

use super::roster::{Member, Roster};
use crate::ids::{MapVersion, NodeId};

/// A change of the list of nodes. `at` is the version of the map that it was made for: it takes effect on
/// that map alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The bootstrap: takes effect once.
    Found {
        /// Groups that carry slots, 1..=groups.
        groups: u32,
        /// Members of each group.
        replication: u32,
        /// The first nodes.
        members: Vec<Member>,
    },
    /// One node more.
    Add {
        /// The node, and where it is reached.
        member: Member,
        /// The map that was looked at.
        at: MapVersion,
    },
    /// One node fewer, for ever.
    Remove {
        /// The node.
        node: NodeId,
        /// The map that was looked at.
        at: MapVersion,
    },
    /// `with` takes the place of `node`: everything that `node` carried, and nothing else, moves.
    Replace {
        /// Who goes.
        node: NodeId,
        /// Who comes.
        with: Member,
        /// The map that was looked at.
        at: MapVersion,
    },
}

/// What a change would do that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The list is as the change requires.
    Done,
    /// It would change the list.
    Needed,
}

/// Why a change is not made. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no list that could change.
    #[error("the cluster has not agreed on its first members yet")]
    NotBorn,
    /// A node that is to go is not there.
    #[error("node {} is no member; members are {members}", node.0)]
    UnknownNode {
        /// The node.
        node: NodeId,
        /// Those that are there, for the reader of the message.
        members: String,
    },
    /// An id is never used again.
    #[error(
        "node {} was a member and was removed; an id is never used again, so start the node with \
         another --node-id and an empty data directory",
        node.0
    )]
    RemovedBefore {
        /// The node.
        node: NodeId,
    },
    /// The same node with other addresses.
    #[error("node {} is a member already, at {peer} and {client}", node.0)]
    MemberAlready {
        /// The node.
        node: NodeId,
        /// Its address for peers.
        peer: String,
        /// Its address for clients.
        client: String,
    },
    /// Two nodes cannot be reached at one address.
    #[error("{address} is the address of node {}", node.0)]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        node: NodeId,
    },
    /// Nobody could reach it.
    #[error("node {} needs an address for peers (HOST:PORT)", node.0)]
    NoAddress {
        /// The node.
        node: NodeId,
    },
    /// Nobody would be left.
    #[error("node {} is the only member; a cluster cannot be without one", node.0)]
    LastMember {
        /// The node.
        node: NodeId,
    },
    /// The map that was looked at is not the latest one.
    #[error("the members changed meanwhile; look at them and ask again")]
    ChangedMeanwhile,
}

impl Roster {
    /// Returns what `change` would do.
    ///
    /// # Errors
    /// It would be refused.
    pub fn judge(&self, change: &Change) -> Result<Judgement, Refusal> {
        if let Change::Found { .. } = change {
            let is_born = self.version != MapVersion::NONE;
            return Ok(if is_born { Judgement::Done } else { Judgement::Needed });
        }
        if self.version == MapVersion::NONE {
            return Err(Refusal::NotBorn);
        }
        let (judgement, at) = match change {
            Change::Found { .. } => unreachable!("the bootstrap was judged above"),
            Change::Add { member, at } => (self.judge_add(member)?, at),
            Change::Remove { node, at } => (self.judge_remove(*node)?, at),
            Change::Replace { node, with, at } => (self.judge_replace(*node, with)?, at),
        };
        if judgement == Judgement::Needed && *at != self.version {
            return Err(Refusal::ChangedMeanwhile);
        }
        Ok(judgement)
    }

    fn judge_add(&self, member: &Member) -> Result<Judgement, Refusal> {
        if self.members.get(&member.node) == Some(member) {
            return Ok(Judgement::Done);
        }
        self.judge_newcomer(member, None)?;
        Ok(Judgement::Needed)
    }

    fn judge_remove(&self, node: NodeId) -> Result<Judgement, Refusal> {
        if self.removed.contains(&node) {
            return Ok(Judgement::Done);
        }
        self.judge_known(node)?;
        if self.members.len() == 1 {
            return Err(Refusal::LastMember { node });
        }
        Ok(Judgement::Needed)
    }

    fn judge_replace(&self, node: NodeId, with: &Member) -> Result<Judgement, Refusal> {
        if self.removed.contains(&node) && self.members.get(&with.node) == Some(with) {
            return Ok(Judgement::Done);
        }
        if self.removed.contains(&node) {
            return Err(Refusal::RemovedBefore { node });
        }
        self.judge_known(node)?;
        self.judge_newcomer(with, Some(node))?;
        Ok(Judgement::Needed)
    }

    fn judge_known(&self, node: NodeId) -> Result<(), Refusal> {
        if self.members.contains_key(&node) {
            return Ok(());
        }
        let members: Vec<String> = self.members.keys().map(|node| node.0.to_string()).collect();
        Err(Refusal::UnknownNode { node, members: members.join(", ") })
    }

    /// Whether a node can come in under this id and these addresses; `leaving` gives its own up.
    fn judge_newcomer(&self, member: &Member, leaving: Option<NodeId>) -> Result<(), Refusal> {
        let node = member.node;
        if self.removed.contains(&node) {
            return Err(Refusal::RemovedBefore { node });
        }
        if let Some(known) = self.members.get(&node) {
            let (peer, client) = (known.peer.clone(), known.client.clone());
            return Err(Refusal::MemberAlready { node, peer, client });
        }
        if member.peer.is_empty() {
            return Err(Refusal::NoAddress { node });
        }
        for other in self.members.values().filter(|other| Some(other.node) != leaving) {
            let taken = |address: &str| {
                Err(Refusal::AddressTaken { address: address.to_string(), node: other.node })
            };
            if other.peer == member.peer {
                return taken(&member.peer);
            }
            if !member.client.is_empty() && other.client == member.client {
                return taken(&member.client);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::membership::Map;

    fn member(node: u64) -> Member {
        Member { node: NodeId(node), peer: format!("h{node}:1"), client: format!("http://h{node}") }
    }

    fn bootstrapped(count: u64) -> Map {
        let members = (1..=count).map(member).collect();
        Map::default().after(Change::Found { groups: 12, replication: 3, members })
    }

    fn replace(map: &Map, node: u64, with: u64) -> Change {
        Change::Replace { node: NodeId(node), with: member(with), at: map.version }
    }

    fn check_refused(map: &Map, change: &Change, wanted: Expect) {
        wanted.assert_eq(&map.judge(change).unwrap_err().to_string());
        assert_eq!(map.after(change.clone()), *map, "a refused change changes nothing");
    }

    #[test]
    fn a_replacement_takes_over_exactly_what_the_other_carried() {
        for count in [3, 5, 9] {
            let before = bootstrapped(count);
            let after = before.after(replace(&before, 2, 40)).after(Change::Found {
                groups: 1,
                replication: 1,
                members: Vec::new(),
            });
            assert_eq!(after.version, MapVersion(2));
            for (group, old) in before.placement.iter() {
                let renamed = |node: &NodeId| if node.0 == 2 { NodeId(40) } else { *node };
                let wanted: Vec<NodeId> = old.iter().map(renamed).collect();
                assert_eq!(after.placement.replicas(group), wanted);
            }
            // And so does the next one, though two ids lie between it and the place.
            let again = after.after(replace(&after, 40, 7 + 90));
            let carried = |map: &Map, node| map.placement.groups_of(NodeId(node));
            assert_eq!(carried(&again, 97), carried(&before, 2));
        }
    }

    #[test]
    fn what_is_dangerous_is_refused_with_a_sentence() {
        let map = bootstrapped(3);
        let remove = |map: &Map, node| Change::Remove { node: NodeId(node), at: map.version };
        let add = |map: &Map, member| Change::Add { member, at: map.version };
        let (unborn, alone) = (Map::default(), bootstrapped(1));
        check_refused(
            &unborn,
            &remove(&unborn, 1),
            expect!["the cluster has not agreed on its first members yet"],
        );
        check_refused(
            &alone,
            &remove(&alone, 1),
            expect!["node 1 is the only member; a cluster cannot be without one"],
        );
        check_refused(&map, &remove(&map, 7), expect!["node 7 is no member; members are 1, 2, 3"]);
        check_refused(
            &map,
            &replace(&map, 7, 4),
            expect!["node 7 is no member; members are 1, 2, 3"],
        );
        check_refused(
            &map,
            &replace(&map, 2, 3),
            expect!["node 3 is a member already, at h3:1 and http://h3"],
        );
        let squatter = Member { peer: "h3:1".into(), ..member(4) };
        check_refused(&map, &add(&map, squatter.clone()), expect!["h3:1 is the address of node 3"]);
        let change = Change::Replace { node: NodeId(3), with: squatter, at: map.version };
        assert_eq!(map.judge(&change), Ok(Judgement::Needed), "the leaving node's address is free");
        let squatter = Member { client: "http://h1".into(), ..member(4) };
        check_refused(&map, &add(&map, squatter), expect!["http://h1 is the address of node 1"]);
        let silent = Member { peer: String::new(), ..member(4) };
        check_refused(
            &map,
            &add(&map, silent),
            expect!["node 4 needs an address for peers (HOST:PORT)"],
        );
        let replaced = map.after(replace(&map, 2, 4));
        check_refused(
            &replaced,
            &add(&replaced, member(2)),
            expect![
                "node 2 was a member and was removed; an id is never used again, so start the node with \
                 another --node-id and an empty data directory"
            ],
        );
        check_refused(
            &replaced,
            &Change::Add { member: member(5), at: map.version },
            expect!["the members changed meanwhile; look at them and ask again"],
        );
    }

    #[test]
    fn asking_again_changes_nothing() {
        let map = bootstrapped(3);
        let request = replace(&map, 2, 4);
        let replaced = map.after(request.clone());
        assert_eq!(replaced.judge(&request), Ok(Judgement::Done));
        assert_eq!(replaced.after(request), replaced);
        let left = Change::Remove { node: NodeId(2), at: MapVersion::BIRTH };
        assert_eq!(replaced.judge(&left), Ok(Judgement::Done));
        let joined = Change::Add { member: member(4), at: MapVersion::BIRTH };
        assert_eq!(replaced.judge(&joined), Ok(Judgement::Done));
    }
}
