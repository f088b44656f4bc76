//! What a subscription is: the fold of its changes. No clock, no I/O: times are arguments.
//!
//! A change that came too late, or of a generation that is over, is refused here and changes nothing,
//! though it stands in the log: its time stamp decides, which is the journal's and the same for all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::{Change, Token};
use super::place::LogPosition;
use crate::ids::Millis;
use crate::limits;

/// What the creator requested; it does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub deliver: Deliver,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pattern: Option<String>,
    /// Named by the creator; sorted, each once.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub streams: Vec<String>,
    pub lease_ttl_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
}

/// How a wake reaches its receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    Webhook(String),
    /// An event on this stream; whoever reads it claims the wake.
    Pull(String),
}

/// A stream of the subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamLink {
    /// A client named it; otherwise the pattern did.
    pub(super) explicit: bool,
    /// What was dealt with; none: nothing at all.
    pub(super) acked: Option<LogPosition>,
}

/// A call for a worker, with one generation of fencing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wake {
    pub(super) id: String,
    /// What made it: streams with something new, and how far they went.
    pub(super) streams: BTreeMap<String, LogPosition>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) holder: Option<String>,
    /// A receiver was notified.
    pub(super) delivered: bool,
    /// End of the lease; none while no worker has it.
    #[serde(with = "moment_ms", skip_serializing_if = "Option::is_none", default)]
    pub(super) until: Option<Millis>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) plan: Plan,
    /// Where its creator reached this service.
    pub(super) base: String,
    #[serde(with = "time_ms")]
    pub(super) created_at: Millis,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) links: BTreeMap<String, StreamLink>,
    /// Counts wakes.
    pub(super) generation: u64,
    pub(super) wake: Option<Wake>,
    /// Tokens of wakes that are over, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) past: Vec<Token>,
    /// Attempts in a row to notify a receiver that failed.
    pub(super) failures: u32,
    #[serde(with = "moment_ms", skip_serializing_if = "Option::is_none", default)]
    pub(super) retry_at: Option<Millis>,
}

/// Why a change changed nothing. Final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the wake is over")]
    Fenced,
    #[error("the wake is claimed by {holder}")]
    Claimed { holder: String, generation: u64 },
    #[error("{0}")]
    Offset(&'static str),
    /// Another wake is under way.
    #[error("a wake is under way")]
    Awake,
}

impl State {
    /// A subscription that was just created.
    pub(super) fn new(plan: Plan, base: String, at: Millis) -> State {
        State {
            plan,
            base,
            created_at: at,
            links: BTreeMap::new(),
            generation: 0,
            wake: None,
            past: Vec::new(),
            failures: 0,
            retry_at: None,
        }
    }

    /// Changes the subscription at the time `at`.
    ///
    /// # Errors
    /// A refusal leaves it exactly as it was.
    pub(super) fn apply(&mut self, at: Millis, change: &Change) -> Result<(), Refused> {
        match change {
            // They begin a fold; within one they repeat what is known.
            Change::Created { .. } | Change::Kept { .. } => {}
            Change::Links { links } => self.links.extend(links.iter().cloned()),
            Change::Linked { explicit, streams } => self.link(*explicit, streams),
            Change::Unlinked { streams } => self.unlink(streams),
            Change::Dropped { streams } => {
                self.links.retain(|path, _| !streams.contains(path));
            }
            Change::Woken { wake, generation, token, streams } => {
                if self.current(at).is_some() || *generation != self.generation + 1 {
                    return Err(Refused::Awake);
                }
                self.end_wake();
                self.generation = *generation;
                self.wake = Some(Wake {
                    id: wake.clone(),
                    streams: streams.iter().cloned().collect(),
                    token: token.clone(),
                    holder: None,
                    delivered: false,
                    until: None,
                });
            }
            Change::Delivered { generation, done } => {
                let until = at.after(self.plan.lease_ttl_ms);
                let wake = self.wake_of(*generation, at)?;
                wake.delivered = true;
                wake.until = wake.until.max(Some(until));
                let streams = if *done { wake.streams.clone() } else { BTreeMap::new() };
                (self.failures, self.retry_at) = (0, None);
                if *done {
                    self.acknowledge(streams.iter());
                    self.end_wake();
                }
            }
            Change::Announced { generation } => {
                self.wake_of(*generation, at)?.delivered = true;
                (self.failures, self.retry_at) = (0, None);
            }
            Change::Failed { generation } => {
                if self.wake_of(*generation, at)?.delivered {
                    return Err(Refused::Fenced);
                }
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(at.after(back_off_ms(self.failures)));
            }
            Change::Claimed { generation, holder, token } => {
                let until = at.after(self.plan.lease_ttl_ms);
                let wake = self.wake_of(*generation, at)?;
                if let Some(holder) = &wake.holder {
                    let (holder, generation) = (holder.clone(), *generation);
                    return Err(Refused::Claimed { holder, generation });
                }
                wake.holder = Some(holder.clone());
                wake.token = Some(token.clone());
                (wake.delivered, wake.until) = (true, Some(until));
                (self.failures, self.retry_at) = (0, None);
            }
            Change::Acked { generation, acks, done } => self.ack(at, *generation, acks, *done)?,
            Change::Released { generation } => {
                if self.wake_of(*generation, at)?.token.is_none() {
                    return Err(Refused::Fenced);
                }
                self.end_wake();
            }
        }
        Ok(())
    }

    /// The wake that is under way at the time `at`.
    pub(super) fn current(&self, at: Millis) -> Option<&Wake> {
        self.wake.as_ref().filter(|wake| wake.until.is_none_or(|until| at < until))
    }

    /// Streams that have more than was acknowledged, and how far they go.
    pub(super) fn pending<'s>(
        &'s self,
        tails: &'s BTreeMap<String, LogPosition>,
    ) -> impl Iterator<Item = (&'s String, LogPosition)> {
        self.links.iter().filter_map(|(path, link)| {
            let tail = tails.get(path)?;
            tail.is_news(link.acked).then_some((path, *tail))
        })
    }

    /// Whether more streams may be linked.
    pub(super) fn is_full(&self) -> bool {
        limits::SUBSCRIPTION_STREAMS <= self.links.len()
    }

    fn wake_of(&mut self, generation: u64, at: Millis) -> Result<&mut Wake, Refused> {
        if generation != self.generation || self.current(at).is_none() {
            return Err(Refused::Fenced);
        }
        self.wake.as_mut().ok_or(Refused::Fenced)
    }

    fn ack(
        &mut self,
        at: Millis,
        generation: u64,
        acks: &[(String, LogPosition)],
        done: bool,
    ) -> Result<(), Refused> {
        let until = at.after(self.plan.lease_ttl_ms);
        if self.wake_of(generation, at)?.token.is_none() {
            return Err(Refused::Fenced);
        }
        for (path, place) in acks {
            let link = self.links.get(path);
            let link = link.ok_or(Refused::Offset("the subscription has no such stream"))?;
            if Some(*place) < link.acked {
                return Err(Refused::Offset("a later offset is acknowledged already"));
            }
        }
        self.acknowledge(acks.iter().map(|(path, place)| (path, place)));
        (self.failures, self.retry_at) = (0, None);
        if done {
            self.end_wake();
        } else if let Some(wake) = &mut self.wake {
            (wake.delivered, wake.until) = (true, Some(until));
        }
        Ok(())
    }

    /// Moves what is acknowledged on; never back.
    fn acknowledge<'a>(&mut self, acks: impl Iterator<Item = (&'a String, &'a LogPosition)>) {
        for (path, place) in acks {
            if let Some(link) = self.links.get_mut(path) {
                link.acked = link.acked.max(Some(*place));
            }
        }
    }

    fn end_wake(&mut self) {
        let Some(wake) = self.wake.take() else { return };
        self.past.extend(wake.token);
        let over = self.past.len().saturating_sub(limits::SUBSCRIPTION_TOKENS);
        self.past.drain(..over);
        (self.failures, self.retry_at) = (0, None);
    }

    fn link(&mut self, explicit: bool, streams: &[(String, Option<LogPosition>)]) {
        for (path, acked) in streams {
            if let Some(link) = self.links.get_mut(path) {
                link.explicit |= explicit;
            } else if !self.is_full() {
                self.links.insert(path.clone(), StreamLink { explicit, acked: *acked });
            }
        }
    }

    /// Takes the names back that a client gave; the pattern keeps those that it means.
    fn unlink(&mut self, streams: &[String]) {
        for path in streams {
            let pattern = self.plan.pattern.as_deref();
            let meant = pattern.is_some_and(|pattern| super::glob::matches(pattern, path));
            match self.links.get_mut(path) {
                Some(link) if meant => link.explicit = false,
                Some(link) if link.explicit => _ = self.links.remove(path),
                _ => {}
            }
        }
    }
}

/// Pause after so many failures in a row, in milliseconds.
fn back_off_ms(failures: u32) -> u64 {
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    limits::WEBHOOK_RETRY_MS.saturating_mul(doubled).min(limits::WEBHOOK_RETRY_MS_MAX)
}

/// Times as numbers.
mod time_ms {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ids::Millis;

    pub(super) fn serialize<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        u64::deserialize(from).map(Millis)
    }
}

/// Times that may be absent, as numbers.
mod moment_ms {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::ids::Millis;

    pub(super) fn serialize<S: Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.0).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Millis>, D::Error> {
        Ok(<Option<u64>>::deserialize(from)?.map(Millis))
    }
}
