//! Requests about subscriptions: each reads the subscription's log, decides, and appends by compare-and-swap.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::change::Change;
use super::ledger::{Committed, Ledger};
use super::place::LogPosition;
use super::state::{Deliver, Plan, Refused, State};
use super::{Fault, Named, Subscriptions, scan, secret, shown, signing_keys, wake};
use crate::ids::{Millis, TenantName};
use crate::limits;
use crate::runtime::SubmitError;
use crate::session::{Applied, Command, Create, Refusal};

/// What whoever holds the lease shows with a request.
pub struct Lease {
    pub token: String,
    pub wake_id: Option<String>,
    pub generation: Option<u64>,
}

/// How far a worker got.
pub struct Acked {
    /// By stream.
    pub acks: Vec<(String, LogPosition)>,
    /// That is all for this wake.
    pub done: bool,
    /// Reported by who pulls; otherwise by who was called.
    pub pull: bool,
}

impl Subscriptions {
    /// The keys that webhooks of a tenant are signed with, as a JSON Web Key Set. There is one for each possible name:
    /// which tenants there are is not revealed.
    pub async fn jwks(
        &self,
        tenant: Option<&TenantName>,
        deadline: Instant,
    ) -> Result<Value, Fault> {
        Ok(self.keys(tenant, deadline).await?.jwks())
    }

    /// The subscription as clients see it.
    pub async fn show(&self, id: &Named, deadline: Instant) -> Result<Value, Fault> {
        let ledger = self.open(id, deadline).await?;
        self.shown(id, &ledger, deadline).await
    }

    async fn open(&self, id: &Named, deadline: Instant) -> Result<Ledger, Fault> {
        Ledger::open(&self.sessions, id, deadline).await?.ok_or(Fault::Gone)
    }

    async fn shown(&self, id: &Named, ledger: &Ledger, deadline: Instant) -> Result<Value, Fault> {
        let keys = self.keys(id.tenant.as_ref(), deadline).await?;
        let state = ledger.state().ok_or(Fault::Gone)?;
        Ok(shown::subscription(id, state, &keys))
    }

    /// Ends a subscription, if there is one.
    pub async fn delete(&self, id: &Named, deadline: Instant) -> Result<(), Fault> {
        let name = id.session().map_err(|why| Fault::invalid(why.to_string()))?;
        let delete = Command::Delete { incarnation: None };
        match self.sessions.submit(&name, delete, deadline).await {
            Ok(_) | Err(SubmitError::Refused { refusal: Refusal::NotFound, .. }) => Ok(()),
            Err(why) => Err(Fault::unavailable(&why)),
        }
    }

    /// Begins a subscription whose creator reached this service at `base`, where its tenant has fewer than `most`;
    /// whether it is new, and what it is.
    ///
    /// # Errors
    /// There is another one of this name, no receiver may be called there, or there are as many as there may be.
    /// Nothing is created.
    pub async fn create(
        &self,
        id: &Named,
        plan: Plan,
        base: String,
        most: Option<usize>,
        deadline: Instant,
    ) -> Result<(bool, Value), Fault> {
        let name = id.session().map_err(|why| Fault::invalid(why.to_string()))?;
        let mut created = false;
        loop {
            if let Some(ledger) = Ledger::open(&self.sessions, id, deadline).await? {
                if ledger.state().is_none_or(|state| state.plan != plan) {
                    return Err(Fault::Exists);
                }
                return Ok((created, self.shown(id, &ledger, deadline).await?));
            }
            if deadline <= Instant::now() {
                return Err(Fault::unavailable(&"it is created and deleted all the time"));
            }
            if let Deliver::Webhook(url) = &plan.deliver {
                self.caller.check(url).await?;
            }
            if let Some(most) = most {
                // Those that are created at the same moment do not see each other.
                let tenant = id.tenant.as_ref();
                if most <= scan::subscriptions(&self.sessions, tenant, most, deadline).await? {
                    return Err(Fault::TooMany);
                }
            }
            let tails = scan::streams(&self.sessions, id, &plan, None, deadline).await?;
            let events = beginning(&plan, &base, &tails)?;
            let events = events.iter().map(|change| change.event(None)).collect();
            let create = Create { config: signing_keys::config(), events, ..Create::default() };
            match self.sessions.submit(&name, create.into(), deadline).await {
                Ok(reply) => {
                    created = matches!(reply.applied, Applied::Created { created: true, .. })
                }
                Err(why) => return Err(Fault::unavailable(&why)),
            }
        }
    }

    /// Adds streams by name.
    pub async fn link(
        &self,
        id: &Named,
        streams: &[String],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut ledger = self.open(id, deadline).await?;
        loop {
            let state = ledger.state().ok_or(Fault::Gone)?;
            if streams.iter().all(|path| state.links.get(path).is_some_and(|link| link.explicit)) {
                return Ok(());
            }
            let fresh = streams.iter().filter(|path| !state.links.contains_key(*path)).count();
            if limits::SUBSCRIPTION_STREAMS < state.links.len() + fresh {
                let limit = limits::SUBSCRIPTION_STREAMS;
                return Err(Fault::invalid(format!("a subscription has at most {limit} streams")));
            }
            let tails = scan::named_streams(&self.sessions, id, streams.to_vec(), deadline).await?;
            let at = |path: &String| Some(tails.get(path).copied().unwrap_or_default());
            let streams = streams.iter().map(|path| (path.clone(), at(path))).collect();
            let change = Change::Linked { explicit: true, streams };
            if settled(&mut ledger, &[change], deadline).await? {
                return Ok(());
            }
        }
    }

    /// Takes a stream away.
    pub async fn unlink(&self, id: &Named, stream: String, deadline: Instant) -> Result<(), Fault> {
        let mut ledger = self.open(id, deadline).await?;
        let change = Change::Unlinked { streams: vec![stream] };
        while !settled(&mut ledger, std::slice::from_ref(&change), deadline).await? {}
        Ok(())
    }

    /// Takes the lease for a worker that pulls; the wake with its token.
    pub async fn claim(&self, id: &Named, holder: &str, deadline: Instant) -> Result<Value, Fault> {
        let keys = self.keys(id.tenant.as_ref(), deadline).await?;
        let mut ledger = self.open(id, deadline).await?;
        let secret = secret::draw(id.tenant.as_ref());
        loop {
            let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
            pulls(state)?;
            let mut changes = Vec::new();
            if state.current(now).is_none() {
                let tails =
                    scan::streams(&self.sessions, id, &state.plan, Some(state), deadline).await?;
                changes = wake::awaken(id, state, &tails, &keys);
                if !changes.iter().any(|change| matches!(change, Change::Woken { .. })) {
                    return Err(Fault::NoPendingWork);
                }
            }
            let generation = state.generation + u64::from(!changes.is_empty());
            let (holder, token) = (holder.to_owned(), secret::hash(&secret));
            changes.push(Change::Claimed { generation, holder, token });
            tried(state, now, &changes)?;
            if !settled(&mut ledger, &changes, deadline).await? {
                continue;
            }
            let state = ledger.state().ok_or(Fault::Gone)?;
            // Whoever comes later has another generation.
            let wake = state.wake.as_ref().filter(|_| state.generation == generation);
            let wake = wake.ok_or(Refused::Fenced)?;
            return Ok(json!({
                "wake_id": wake.id,
                "generation": generation,
                "token": secret,
                "streams": shown::streams(state, wake),
                "lease_ttl_ms": state.plan.lease_ttl_ms,
            }));
        }
    }

    /// Records how far a worker got, which was called or pulls, and whether that is all; returns whether there is
    /// more to do.
    pub async fn acknowledge(
        &self,
        id: &Named,
        lease: &Lease,
        acked: Acked,
        deadline: Instant,
    ) -> Result<bool, Fault> {
        let Acked { acks, done, pull } = acked;
        let keys = self.keys(id.tenant.as_ref(), deadline).await?;
        let mut ledger = self.open(id, deadline).await?;
        loop {
            let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
            let generation = fence(state, lease)?;
            if pull {
                pulls(state)?;
            }
            self.within(id, state, &acks, deadline).await?;
            let mut changes = vec![Change::Acked { generation, acks: acks.clone(), done }];
            let after = tried(state, now, &changes)?;
            if done {
                let tails =
                    scan::streams(&self.sessions, id, &after.plan, Some(&after), deadline).await?;
                changes.extend(wake::awaken(id, &after, &tails, &keys));
            }
            let next_wake = changes.iter().any(|change| matches!(change, Change::Woken { .. }));
            if settled(&mut ledger, &changes, deadline).await? {
                return Ok(next_wake);
            }
        }
    }

    /// Gives the lease back.
    pub async fn release(&self, id: &Named, lease: &Lease, deadline: Instant) -> Result<(), Fault> {
        let mut ledger = self.open(id, deadline).await?;
        loop {
            let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
            let generation = fence(state, lease)?;
            pulls(state)?;
            let changes = [Change::Released { generation }];
            tried(state, now, &changes)?;
            if settled(&mut ledger, &changes, deadline).await? {
                return Ok(());
            }
        }
    }

    /// Refuses acknowledgements of what is not there.
    async fn within(
        &self,
        id: &Named,
        state: &State,
        acks: &[(String, LogPosition)],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let woken = |path: &String| state.wake.as_ref()?.streams.get(path).copied();
        let beyond = acks.iter().filter(|(path, place)| woken(path) < Some(*place));
        let beyond: Vec<_> = beyond.map(|(path, _)| path.clone()).collect();
        let tails = scan::named_streams(&self.sessions, id, beyond, deadline).await?;
        for (path, place) in acks {
            let tail = woken(path).max(tails.get(path).copied()).unwrap_or_default();
            if tail < *place {
                return Err(Refused::Offset("the offset lies beyond the stream's tail").into());
            }
        }
        Ok(())
    }
}

/// The first changes of a subscription: what is there already is no news.
fn beginning(plan: &Plan, base: &str, tails: &scan::Tails) -> Result<Vec<Change>, Fault> {
    let named = plan.streams.iter().cloned();
    let explicit: Vec<_> = named
        .map(|path| (path.clone(), Some(tails.get(&path).copied().unwrap_or_default())))
        .collect();
    let others = tails.iter().filter(|(path, _)| plan.streams.binary_search(path).is_err());
    let meant: Vec<_> = others.map(|(path, tail)| (path.clone(), Some(*tail))).collect();
    if limits::SUBSCRIPTION_STREAMS < explicit.len() + meant.len() {
        let message = format!(
            "a subscription has at most {} streams; {} are there",
            limits::SUBSCRIPTION_STREAMS,
            explicit.len() + meant.len()
        );
        return Err(Fault::invalid(message));
    }
    let mut changes = vec![Change::Created { plan: plan.clone(), base: base.to_owned() }];
    for (explicit, streams) in [(true, explicit), (false, meant)] {
        let pieces = streams.chunks(limits::WAKE_STREAMS);
        changes.extend(pieces.map(|piece| Change::Linked { explicit, streams: piece.to_vec() }));
    }
    Ok(changes)
}

fn pulls(state: &State) -> Result<(), Fault> {
    match state.plan.deliver {
        Deliver::Pull(_) => Ok(()),
        Deliver::Webhook(_) => Err(Fault::invalid("the subscription is not pull-wake")),
    }
}

/// The present generation, if it is the one that is meant.
fn fence(state: &State, lease: &Lease) -> Result<u64, Fault> {
    let wake = state.wake.as_ref();
    let current = wake.and_then(|wake| wake.token.as_ref());
    let current = current.is_some_and(|kept| secret::is(&lease.token, kept));
    if !current && !state.past.iter().any(|kept| secret::is(&lease.token, kept)) {
        return Err(Fault::UNKNOWN_TOKEN);
    }
    let names_wake = wake.is_some_and(|wake| lease.wake_id.as_ref() == Some(&wake.id));
    if !current || !names_wake || lease.generation != Some(state.generation) {
        return Err(Refused::Fenced.into());
    }
    Ok(state.generation)
}

/// The state after these changes, were they made now.
fn tried(state: &State, now: Millis, changes: &[Change]) -> Result<State, Fault> {
    let mut after = state.clone();
    changes.iter().try_for_each(|change| after.apply(now, change))?;
    Ok(after)
}

/// Whether the changes are made; otherwise it has to be thought over.
async fn settled(
    ledger: &mut Ledger,
    changes: &[Change],
    deadline: Instant,
) -> Result<bool, Fault> {
    let committed = ledger.commit(changes, deadline).await?;
    match committed {
        Committed::Done(Ok(())) => Ok(true),
        _ if deadline <= Instant::now() => Err(Fault::unavailable(&"others are always first")),
        Committed::Done(Err(_)) | Committed::Overtaken => Ok(false),
    }
}
