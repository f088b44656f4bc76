//! Changes of the cluster's members: requested at any node, judged and agreed on where the system group is led,
//! followed until every shard is as the map has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::host::{ChangeError, Host};
use cluster::ids::{GroupId, MapVersion, NodeId};
use cluster::membership::{Change, Judgement, Map, Member};
use futures::future::join_all;
use tokio::time::Instant;

use super::Unavailable;
use super::directory::Directory;
use super::peer::members::{ChangeAnswer, Introduction, LedGroup, MemberChange};
use super::peer::wire::{Request, Response};
use crate::limits::{LEADER_WAIT, NEWCOMER_WAIT, REPORT_WAIT};

/// The members of the cluster, and what changes them.
pub struct Members {
    host: Arc<Host>,
    directory: Arc<Directory>,
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Nothing happened; the text gives what is wrong.
    #[error("{0}")]
    Refused(String),
    /// Nothing happened; no node with a majority answers.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It may yet happen; repeating it is harmless.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// How far the shards are on their way to the members of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Version of the agreed map.
    pub version: MapVersion,
    pub members: Vec<u64>,
    /// The system group, as shard 0, and all shards.
    pub shards: Vec<ShardProgress>,
}

/// One shard on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardProgress {
    pub shard: u32,
    pub leader: Option<u64>,
    pub stage: Stage,
    /// Who is to vote, by the map.
    pub wanted: Vec<u64>,
    /// Who votes, as the leader reports.
    pub voters: Vec<u64>,
    /// Who is to vote and does not yet, and how many entries it lacks where that is known.
    pub newcomers: Vec<(u64, Option<u64>)>,
}

/// Where a shard is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No node leads it, as far as this node could find out.
    NoLeader,
    /// A newcomer does not know of it yet.
    Waiting,
    /// A newcomer learns what it lacks.
    CatchingUp,
    /// The voters change.
    Changing,
    Done,
}

impl Progress {
    /// Whether every shard has the members that it is to have.
    pub fn is_settled(&self) -> bool {
        self.shards.iter().all(|shard| shard.stage == Stage::Done)
    }
}

/// What the nodes that answered reported of the groups that they lead.
struct Gathered {
    alive: BTreeSet<NodeId>,
    led: BTreeMap<GroupId, (NodeId, LedGroup)>,
}

impl Members {
    pub(super) fn new(host: Arc<Host>, directory: Arc<Directory>) -> Members {
        Members { host, directory }
    }

    /// This node.
    pub fn local(&self) -> NodeId {
        self.host.local()
    }

    /// The nodes of the cluster, as far as this one knows.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.host.members()
    }

    /// Changes the members of the cluster; returns whether that changed anything. The shards follow by themselves.
    ///
    /// # Errors
    /// See [`MembersError`]; each states whether it may have happened.
    pub async fn change_members(
        &self,
        change: &MemberChange,
        deadline: Instant,
    ) -> Result<bool, MembersError> {
        loop {
            let last = match self.change_members_once(change).await {
                ChangeAnswer::Agreed { changed } => return Ok(changed),
                ChangeAnswer::Refused(text) => return Err(MembersError::Refused(text)),
                ChangeAnswer::Unknown(text) => MembersError::Unknown(text),
                ChangeAnswer::Unavailable(text) => Unavailable::NoQuorum(text).into(),
            };
            // Repeating it is harmless, and settles an unknown outcome.
            if deadline <= Instant::now() + LEADER_WAIT {
                return Err(last);
            }
            tokio::time::sleep(LEADER_WAIT).await;
        }
    }

    async fn change_members_once(&self, change: &MemberChange) -> ChangeAnswer {
        let system = self.host.group(GroupId::SYSTEM);
        let Some(leader) = system.and_then(|group| group.leader()) else {
            return ChangeAnswer::Unavailable("nobody leads the system group".into());
        };
        if leader == self.host.local() {
            return self.change_members_here(change).await;
        }
        let request = Request::ChangeMembers(change.clone());
        match self.directory.ask(leader, &request, NEWCOMER_WAIT + 3 * REPORT_WAIT).await {
            Ok(Response::MembersChanged(answer)) => answer,
            Ok(_) => ChangeAnswer::Unknown("the peer answered something else".into()),
            Err(error) => ChangeAnswer::Unknown(error.to_string()),
        }
    }

    /// The same at the node that leads the system group.
    pub(super) async fn change_members_here(&self, change: &MemberChange) -> ChangeAnswer {
        match self.judge_and_agree(change).await {
            Ok(changed) => ChangeAnswer::Agreed { changed },
            Err(MembersError::Refused(text)) => ChangeAnswer::Refused(text),
            Err(MembersError::Unavailable(why)) => ChangeAnswer::Unavailable(why.to_string()),
            Err(MembersError::Unknown(text)) => ChangeAnswer::Unknown(text),
        }
    }

    async fn judge_and_agree(&self, request: &MemberChange) -> Result<bool, MembersError> {
        let map = self.host.map().borrow().clone();
        let refused = |why: cluster::membership::Refusal| MembersError::Refused(why.to_string());
        // Whatever is wrong with the numbers is reported before a node's addresses are requested.
        let guess = change(request, &map, None);
        if map.judge(&guess).map_err(refused)? == Judgement::Done {
            return Ok(false);
        }
        let introduced = match request.newcomer() {
            Some(node) => Some(self.introduced(NodeId(node)).await?),
            None => None,
        };
        let change = change(request, &map, introduced);
        if map.judge(&change).map_err(refused)? == Judgement::Done {
            return Ok(false);
        }
        self.check_safe(&map, &change).await?;
        match self.host.change_members(change).await {
            Ok(judgement) => Ok(judgement == Judgement::Needed),
            Err(ChangeError::Refused(why)) => Err(refused(why)),
            Err(why @ (ChangeError::NotLeader(_) | ChangeError::Busy(_))) => {
                Err(Unavailable::NoQuorum(why.to_string()).into())
            }
            Err(ChangeError::Unknown(text)) => Err(MembersError::Unknown(text)),
        }
    }

    /// What a node that is to come in reports about itself.
    async fn introduced(&self, node: NodeId) -> Result<Introduction, MembersError> {
        let begun = Instant::now();
        let introduction = loop {
            let answer = self.directory.ask(node, &Request::Introduce, REPORT_WAIT).await;
            if let Ok(Response::Introduced(introduction)) = answer {
                break introduction;
            }
            // One that has just started is about to come.
            if NEWCOMER_WAIT <= begun.elapsed() {
                return Err(MembersError::Refused(format!(
                    "node {} does not answer node {}, which would lead the change: start it first, with \
                     --join and the members of this cluster",
                    node.0,
                    self.host.local().0
                )));
            }
            tokio::time::sleep(LEADER_WAIT).await;
        };
        if introduction.version != MapVersion::NONE {
            return Err(MembersError::Refused(format!(
                "node {} belongs to a cluster already, at its map {}: start it with an empty data directory",
                node.0, introduction.version
            )));
        }
        Ok(introduction)
    }

    /// What this node reports about itself to a cluster that it is to join.
    pub(super) fn introduction(&self) -> Introduction {
        let own = self.host.own_member();
        let (peer, http) = own.map(|own| (own.peer, own.client)).unwrap_or_default();
        Introduction { peer, http, version: self.host.map().borrow().version }
    }

    /// Refuses what would leave a shard without a majority, and a change on top of an unfinished one.
    async fn check_safe(&self, map: &Map, change: &Change) -> Result<(), MembersError> {
        let after = map.after(change.clone());
        let leaving: Vec<NodeId> =
            map.members.keys().filter(|node| !after.members.contains_key(node)).copied().collect();
        let gathered = self.gather(map).await;
        for group in (0..=map.groups).map(GroupId) {
            let name = name(group);
            let Some((_, led)) = gathered.led.get(&group) else {
                return Err(MembersError::Refused(format!(
                    "{name} has no leader now, so its members cannot change; look at the cluster's status"
                )));
            };
            let missing = missing(&map.voters(group), led);
            // A newcomer that never arrives must not bar the way for another one.
            let given_up = !missing.is_empty() && missing.iter().all(|node| leaving.contains(node));
            if stage(&map.voters(group), led) != Stage::Done && !given_up {
                return Err(MembersError::Refused(format!(
                    "an earlier change is under way: {name} is to have the voters {} and has {}",
                    list(&map.voters(group)),
                    list(&nodes(&led.voters)),
                )));
            }
            let voters = after.voters(group);
            let alive: Vec<NodeId> =
                voters.iter().filter(|node| gathered.alive.contains(node)).copied().collect();
            if alive.len() <= voters.len() / 2 {
                return Err(MembersError::Refused(format!(
                    "{name} would have no majority: of its voters {} only {} would answer",
                    list(&voters),
                    if alive.is_empty() { "none".into() } else { list(&alive) },
                )));
            }
        }
        Ok(())
    }

    /// How far the shards are on their way to the members of the map.
    pub async fn progress(&self) -> Progress {
        let map = self.host.map().borrow().clone();
        let gathered = self.gather(&map).await;
        let shard = |group: GroupId| {
            let wanted = map.voters(group);
            let led = gathered.led.get(&group);
            let newcomers = led.map(|(_, led)| {
                let lag = |node: &NodeId| (node.0, led.lag(node.0));
                missing(&wanted, led).iter().map(lag).collect()
            });
            ShardProgress {
                shard: group.0,
                leader: led.map(|(node, _)| node.0),
                stage: led.map_or(Stage::NoLeader, |(_, led)| stage(&wanted, led)),
                wanted: wanted.iter().map(|node| node.0).collect(),
                voters: led.map(|(_, led)| led.voters.clone()).unwrap_or_default(),
                newcomers: newcomers.unwrap_or_default(),
            }
        };
        Progress {
            version: map.version,
            members: map.members.keys().map(|node| node.0).collect(),
            shards: (0..=map.groups).map(GroupId).map(shard).collect(),
        }
    }

    /// Queries all nodes in reach, members or not: one that leaves may still lead.
    async fn gather(&self, map: &Map) -> Gathered {
        let mut request: BTreeSet<NodeId> = map.members.keys().copied().collect();
        request.extend(self.host.connected());
        request.remove(&self.host.local());
        let answers = request.into_iter().map(async |node| {
            match self.directory.ask(node, &Request::LedGroups, REPORT_WAIT).await {
                Ok(Response::LedGroups(led)) => Some((node, led)),
                _ => None,
            }
        });
        let mut answers: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
        answers.push((self.host.local(), self.led_groups()));
        let (mut alive, mut led) = (BTreeSet::new(), BTreeMap::new());
        for (node, groups) in answers {
            alive.insert(node);
            for group in groups {
                // Of two that believe to lead, the later term does.
                let held = led.entry(GroupId(group.shard)).or_insert((node, group.clone()));
                if held.1.term < group.term {
                    *held = (node, group);
                }
            }
        }
        Gathered { alive, led }
    }

    /// The members of the groups that this node leads.
    pub(super) fn led_groups(&self) -> Vec<LedGroup> {
        let led = self.host.groups().into_iter().filter(|group| group.leads());
        let results = led.map(|group| {
            let report = group.report();
            LedGroup {
                shard: group.id().0,
                term: report.term,
                last: report.last.unwrap_or(0),
                is_changing: report.joint || !report.agreed,
                voters: report.voters.iter().map(|node| node.0).collect(),
                learners: report.learners.iter().map(|node| node.0).collect(),
                matched: report.matched.iter().map(|(node, at)| (node.0, *at)).collect(),
            }
        });
        results.collect()
    }
}

/// The change that is requested; what is not known of the newcomer is left open.
fn change(request: &MemberChange, map: &Map, introduced: Option<Introduction>) -> Change {
    let at = map.version;
    let member = |node: u64, peer: &Option<String>, http: &Option<String>| {
        let node = NodeId(node);
        let known = map.members.get(&node).cloned();
        let addresses =
            introduced.as_ref().map(|addresses| (addresses.peer.clone(), addresses.http.clone()));
        let open = || (format!("of {node}"), String::new());
        let addresses =
            known.map(|known| (known.peer, known.client)).or(addresses).unwrap_or_else(open);
        let peer = peer.clone().unwrap_or(addresses.0);
        Member { node, peer, client: http.clone().unwrap_or(addresses.1) }
    };
    match request {
        MemberChange::Join { node, peer, http } => {
            Change::Add { member: member(*node, peer, http), at }
        }
        MemberChange::Replace { node, with, peer, http } => {
            Change::Replace { node: NodeId(*node), with: member(*with, peer, http), at }
        }
        MemberChange::Leave { node } => Change::Remove { node: NodeId(*node), at },
    }
}

fn missing(wanted: &[NodeId], led: &LedGroup) -> Vec<NodeId> {
    wanted.iter().filter(|node| !led.voters.contains(&node.0)).copied().collect()
}

fn stage(wanted: &[NodeId], led: &LedGroup) -> Stage {
    let missing = missing(wanted, led);
    if missing.iter().any(|node| !led.learners.contains(&node.0)) {
        return Stage::Waiting;
    }
    if !missing.is_empty() {
        return Stage::CatchingUp;
    }
    let same = wanted.len() == led.voters.len();
    if same && !led.is_changing { Stage::Done } else { Stage::Changing }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(", ")
}

fn name(group: GroupId) -> String {
    match group.0 {
        0 => "the system group".into(),
        shard => format!("shard {shard}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(voters: &[u64], learners: &[u64], is_changing: bool) -> LedGroup {
        let (voters, learners) = (voters.to_vec(), learners.to_vec());
        let matched = vec![(4, Some(7)), (3, Some(10)), (5, None)];
        LedGroup { shard: 1, term: 1, last: 10, is_changing, voters, learners, matched }
    }

    #[test]
    fn a_shard_is_done_when_its_voters_are_those_of_the_map() {
        let wanted = nodes(&[1, 3, 4]);
        assert_eq!(stage(&wanted, &led(&[1, 2, 3], &[], false)), Stage::Waiting);
        assert_eq!(stage(&wanted, &led(&[1, 2, 3], &[4], false)), Stage::CatchingUp);
        assert_eq!(stage(&wanted, &led(&[1, 2, 3, 4], &[], true)), Stage::Changing);
        assert_eq!(stage(&wanted, &led(&[1, 3, 4], &[], true)), Stage::Changing);
        assert_eq!(stage(&wanted, &led(&[1, 3, 4], &[], false)), Stage::Done);
        assert_eq!(led(&[1], &[4], false).lag(4), Some(3));
        assert_eq!(led(&[1], &[5], false).lag(5), None);
    }
}
