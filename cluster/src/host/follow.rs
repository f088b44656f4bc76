//! How a group comes to have the members that the map gives it: one small step at a time, each derived from the
//! leader's own report.
//!
//! A newcomer first learns; it gets a vote when it has nearly everything, so that a change never waits for
//! it with the group's majority. Whoever is stuck halfway, or gets another map meanwhile, goes on from
//! where the group is.

use std::collections::BTreeSet;

use tokio::time::timeout;

use crate::group::{Group, MemberStep};
use crate::ids::{GroupId, NodeId};
use crate::limits::{MEMBER_STEP, PROMOTION_LAG};
use crate::membership::Map;
use crate::raft::Report;

/// The members that a group is to have.
pub(super) struct Wanted {
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Wanted {
    pub(super) fn of(map: &Map, group: GroupId) -> Wanted {
        let learners = if group == GroupId::SYSTEM { map.learners(group) } else { Vec::new() };
        Wanted { voters: map.voters(group), learners }
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// Some newcomer has not caught up.
    Wait,
    /// This node leads and is to go: a member that stays takes the lead first.
    HandOver(NodeId),
    Change(MemberStep),
}

/// Takes the next step, if there is one; returns soon, whatever the group does.
pub(super) async fn follow(group: &Group, local: NodeId, wanted: &Wanted) {
    if wanted.voters.is_empty() {
        return;
    }
    let id = group.id();
    match next(&group.report(), wanted, local) {
        Next::Nothing | Next::Wait => (),
        Next::HandOver(to) => {
            tracing::info!(group = %id, %to, "the lead moves off a node that leaves");
            group.transfer(to).await;
        }
        Next::Change(step) => {
            tracing::info!(group = %id, ?step, "the group's members change");
            // A change that hangs is looked at anew; openraft goes on from what is in the log.
            match timeout(MEMBER_STEP, group.change_members(&step)).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => {
                    tracing::warn!(group = %id, error, "the group's members did not change yet");
                }
                Err(_) => tracing::warn!(group = %id, ?step, "the group's members do not change"),
            }
        }
    }
}

fn next(report: &Report, wanted: &Wanted, local: NodeId) -> Next {
    let present = |node: &&NodeId| report.voters.contains(node) || report.learners.contains(node);
    let all = wanted.voters.iter().chain(&wanted.learners);
    if let Some(missing) = all.clone().find(|node| !present(node)) {
        return Next::Change(MemberStep::AddLearner(*missing));
    }
    let voters: BTreeSet<_> = report.voters.iter().collect();
    if report.joint || voters != wanted.voters.iter().collect() {
        let mut newcomers = wanted.voters.iter().filter(|node| !voters.contains(node));
        if newcomers.any(|node| !is_near(report, *node, PROMOTION_LAG)) {
            return Next::Wait;
        }
        let mut heirs = wanted.voters.iter().filter(|node| voters.contains(node));
        return match heirs.find(|node| is_near(report, **node, PROMOTION_LAG)) {
            Some(heir) if !wanted.voters.contains(&local) && !report.joint => Next::HandOver(*heir),
            _ => Next::Change(MemberStep::Vote(wanted.voters.clone())),
        };
    }
    let spare = report.learners.iter().filter(|node| !all.clone().any(|wanted| wanted == *node));
    match spare.copied().collect::<Vec<_>>() {
        spare if spare.is_empty() => Next::Nothing,
        spare => Next::Change(MemberStep::Forget(spare)),
    }
}

/// Whether a member lacks no more than `lag` entries, as its leader knows.
fn is_near(report: &Report, node: NodeId, lag: u64) -> bool {
    let matched = report.matched.get(&node).copied().flatten();
    matched.is_some_and(|matched| report.last.unwrap_or(0) <= matched + lag)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// A leader of 10,000 entries whose members have so many of them.
    fn report(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> Report {
        Report {
            last: Some(10_000),
            voters: nodes(voters),
            learners: nodes(learners),
            matched: matched.iter().map(|(node, at)| (NodeId(*node), Some(*at))).collect(),
            ..Report::default()
        }
    }

    fn check(report: &Report, voters: &[u64], expected: Expect) {
        let wanted = Wanted { voters: nodes(voters), learners: Vec::new() };
        expected.assert_eq(&format!("{:?}", next(report, &wanted, NodeId(1))));
    }

    #[test]
    fn a_newcomer_learns_before_it_votes() {
        let settled = report(&[1, 2, 3], &[], &[(3, 10_000)]);
        check(&settled, &[1, 2, 3], expect!["Nothing"]);
        check(&settled, &[1, 3, 4], expect!["Change(AddLearner(NodeId(4)))"]);
        let behind = report(&[1, 2, 3], &[4], &[(3, 10_000), (4, 5)]);
        check(&behind, &[1, 3, 4], expect!["Wait"]);
        let near = report(&[1, 2, 3], &[4], &[(3, 10_000), (4, 9_950)]);
        check(&near, &[1, 3, 4], expect!["Change(Vote([NodeId(1), NodeId(3), NodeId(4)]))"]);
    }

    #[test]
    fn whatever_was_left_halfway_is_ended() {
        let joint = Report { joint: true, ..report(&[1, 2, 3], &[], &[]) };
        check(&joint, &[1, 2, 3], expect!["Change(Vote([NodeId(1), NodeId(2), NodeId(3)]))"]);
        // The replacement died too, and another one takes its place.
        let twice = report(&[1, 2, 3], &[4], &[(3, 10_000)]);
        check(&twice, &[1, 3, 5], expect!["Change(AddLearner(NodeId(5)))"]);
        let done = report(&[1, 3, 5], &[4], &[(3, 10_000)]);
        check(&done, &[1, 3, 5], expect!["Change(Forget([NodeId(4)]))"]);
    }

    #[test]
    fn a_leader_that_goes_hands_over_first() {
        let ready = report(&[1, 2, 3], &[4], &[(2, 10_000), (3, 10_000), (4, 10_000)]);
        check(&ready, &[2, 3, 4], expect!["HandOver(NodeId(2))"]);
        let nobody = report(&[1, 2, 3], &[4], &[(4, 10_000)]);
        check(&nobody, &[2, 3, 4], expect!["Change(Vote([NodeId(2), NodeId(3), NodeId(4)]))"]);
    }
}
