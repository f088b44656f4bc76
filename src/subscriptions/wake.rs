//! What is to be sent when no worker is awake: streams that joined, and a new wake if there is news.

use super::Named;
use super::change::Change;
use super::glob;
use super::scan::Tails;
use super::secret::{self, Keys};
use super::state::{Deliver, State};
use crate::limits;

/// The changes that make the next wake, if one is due; `id` is the subscription's.
pub(super) fn awaken(id: &Named, state: &State, tails: &Tails, keys: &Keys) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut joined = state.clone();
    let fresh = joining(state, tails);
    if !fresh.is_empty() {
        let streams = fresh.into_iter().map(|path| (path, None)).collect();
        let change = Change::Linked { explicit: false, streams };
        joined.apply(state.created_at, &change).expect("a stream may always join");
        changes.push(change);
    }
    let news = joined.pending(tails).take(limits::WAKE_STREAMS);
    let streams: Vec<_> = news.map(|(path, tail)| (path.clone(), tail)).collect();
    if !streams.is_empty() {
        let wake = format!("w_{}", secret::random::<12>());
        let token = match state.plan.deliver {
            Deliver::Webhook(_) => Some(secret::hash(&keys.token(id, &wake))),
            // Whoever claims it gets one.
            Deliver::Pull(_) => None,
        };
        let generation = state.generation + 1;
        changes.push(Change::Woken { wake, generation, token, streams });
    }
    changes
}

/// Streams that the pattern means and that are not linked yet.
fn joining(state: &State, tails: &Tails) -> Vec<String> {
    let Some(pattern) = &state.plan.pattern else { return Vec::new() };
    let room = limits::SUBSCRIPTION_STREAMS - state.links.len().min(limits::SUBSCRIPTION_STREAMS);
    let fresh = tails.keys().filter(|path| !state.links.contains_key(*path));
    let mut fresh = fresh.filter(|path| glob::matches(pattern, path));
    let joining: Vec<_> = fresh.by_ref().take(room.min(limits::WAKE_STREAMS)).cloned().collect();
    if room <= joining.len() && fresh.next().is_some() {
        tracing::warn!(
            pattern,
            "a subscription has as many streams as it may; others are left out"
        );
    }
    joining
}
