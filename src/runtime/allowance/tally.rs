//! What the sessions of one shard hold, summed by tenant: kept by the actors as they apply, at every replica.
//!
//! The sum is that of the heads on disk when the shard was opened, and of every change since. A session whose actor
//! goes without having written its head takes back what it added beyond that head: whoever applies it again adds it
//! again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::SessionId;
use crate::runtime::chance::Map;
use crate::session::Holding;
use crate::store::kept::Head;

/// Heads of a shard, as they were at one moment.
pub(in crate::runtime) type Heads = Box<dyn Iterator<Item = io::Result<(String, Head)>> + Send>;

/// The sums of one shard.
#[derive(Default)]
pub(in crate::runtime) struct Tally {
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    /// By the name of the tenant, which is empty for the default one. Those that hold nothing are not there.
    tenants: Map<Box<str>, Sum>,
    /// What is not counted yet of what the shard was opened with.
    uncounted: Option<Heads>,
    counted: bool,
}

/// Differences: a session may end before it was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    sessions: i64,
    open_turns: i64,
    stored_bytes: i64,
}

impl Sum {
    fn add(&mut self, before: &Holding, after: &Holding) {
        let change = |before: u64, after: u64| after.wrapping_sub(before).cast_signed();
        self.sessions += change(before.sessions, after.sessions);
        self.open_turns += change(before.open_turns, after.open_turns);
        self.stored_bytes += change(before.stored_bytes, after.stored_bytes);
    }

    fn holding(&self) -> Holding {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Holding {
            sessions: count(self.sessions),
            open_turns: count(self.open_turns),
            stored_bytes: count(self.stored_bytes),
        }
    }
}

/// The tenant that a session counts for, as the tallies name it; none for what the program keeps for itself.
pub(in crate::runtime) fn owner(id: &SessionId) -> Option<Box<str>> {
    let tenant = || id.tenant().map_or_else(Box::default, |tenant| tenant.as_str().into());
    (!id.is_reserved()).then(tenant)
}

impl Tally {
    /// The sums of a shard that was opened with these heads, once they are [counted](Self::count).
    pub(in crate::runtime) fn of(heads: Heads) -> Tally {
        let sums = Sums { uncounted: Some(heads), ..Sums::default() };
        Tally { sums: Mutex::new(sums) }
    }

    /// Counts what the shard was opened with, if that was not done before. Blocks on the disk.
    ///
    /// # Errors
    /// A head is unreadable; the sums stay unknown.
    pub(in crate::runtime) fn count(&self) -> io::Result<()> {
        let Some(heads) = self.sums().uncounted.take() else { return Ok(()) };
        let mut found: Map<Box<str>, Sum> = Map::default();
        for row in heads {
            let (id, head) = row?;
            let id = SessionId::read(&id);
            let id = id.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            if let Some(owner) = owner(&id) {
                found.entry(owner).or_default().add(&Holding::default(), &head.session.holding());
            }
        }
        let mut sums = self.sums();
        for (tenant, sum) in found {
            sums.change(&tenant, &Holding::default(), &sum.holding());
        }
        sums.counted = true;
        Ok(())
    }

    /// What a tenant holds; none as long as that is not known.
    pub(in crate::runtime) fn holds(&self, tenant: &str) -> Option<Holding> {
        let sums = self.sums();
        sums.counted.then(|| sums.tenants.get(tenant).map_or_else(Holding::default, Sum::holding))
    }

    /// Whether the sums are known.
    pub(in crate::runtime) fn is_counted(&self) -> bool {
        self.sums().counted
    }

    /// Calls `each` with what every tenant holds, if that is known.
    pub(in crate::runtime) fn each(&self, mut each: impl FnMut(&str, Holding)) {
        let sums = self.sums();
        if sums.counted {
            sums.tenants.iter().for_each(|(tenant, sum)| each(tenant, sum.holding()));
        }
    }

    /// A session without an actor became another on disk.
    pub(in crate::runtime) fn change(&self, id: &SessionId, before: &Holding, after: &Holding) {
        if let Some(owner) = owner(id) {
            self.sums().change(&owner, before, after);
        }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn change(&mut self, tenant: &str, before: &Holding, after: &Holding) {
        if before == after {
            return;
        }
        let sum = match self.tenants.get_mut(tenant) {
            Some(sum) => sum,
            None => self.tenants.entry(tenant.into()).or_default(),
        };
        sum.add(before, after);
        if *sum == Sum::default() {
            self.tenants.remove(tenant);
        }
    }
}

/// What one session's actor has added to the sums of its shard; it takes back what is on no disk when it goes.
#[derive(Default)]
pub(in crate::runtime) struct Counted {
    /// None where nothing is counted, or the session counts for no tenant.
    sums: Option<(Arc<Tally>, Box<str>)>,
    stored: Holding,
    notified: Holding,
}

impl Counted {
    pub(in crate::runtime) fn new(tally: Option<&Arc<Tally>>, id: &SessionId) -> Counted {
        Counted { sums: tally.cloned().zip(owner(id)), ..Counted::default() }
    }

    /// The session is as its head has it, which is in the sums already.
    pub(in crate::runtime) fn is_as_stored(&mut self, holding: Holding) {
        (self.stored, self.notified) = (holding, holding);
    }

    /// The session holds this now.
    pub(in crate::runtime) fn holds(&mut self, now: impl FnOnce() -> Holding) {
        if let Some((tally, owner)) = &self.sums {
            let now = now();
            if now != self.notified {
                tally.sums().change(owner, &self.notified, &now);
                self.notified = now;
            }
        }
    }

    /// What it holds is in its head.
    pub(in crate::runtime) fn was_stored(&mut self) {
        self.stored = self.notified;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let stored = self.stored;
        self.holds(|| stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Millis, TenantName};
    use crate::session::{Config, Session};

    fn id(tenant: &str, name: &str) -> SessionId {
        SessionId::of(TenantName::parse(tenant).ok().as_ref(), name).unwrap()
    }

    fn some(sessions: u64, open_turns: u64, stored_bytes: u64) -> Holding {
        Holding { sessions, open_turns, stored_bytes }
    }

    fn head(id: &SessionId) -> io::Result<(String, Head)> {
        let mut session = Session::absent(id.clone());
        session.apply(Millis(1), &Config::default().into(), &mut Vec::new()).unwrap();
        Ok((id.full().to_owned(), Head { next: 1, session, unsealed: Vec::new(), filed: None }))
    }

    #[test]
    fn what_was_there_is_counted_beside_what_happens_meanwhile() {
        let (a, b) = (id("acme", "a"), id("acme", "b"));
        let heads = vec![head(&a), head(&b), head(&id("zeta", "z"))];
        let tally = Arc::new(Tally::of(Box::new(heads.into_iter())));
        assert_eq!(tally.holds("acme"), None);
        // One of them ends before it was counted.
        let mut counted = Counted::new(Some(&tally), &a);
        counted.is_as_stored(some(1, 0, 0));
        counted.holds(Holding::default);
        counted.was_stored();
        drop(counted);
        tally.count().unwrap();
        assert_eq!(tally.holds("acme"), Some(some(1, 0, 0)));
        assert_eq!(tally.holds("zeta"), Some(some(1, 0, 0)));
        assert_eq!(tally.holds("nobody"), Some(Holding::default()));
        tally.change(&b, &some(1, 0, 0), &Holding::default());
        let mut all = Vec::new();
        tally.each(|tenant, holding| all.push((tenant.to_owned(), holding)));
        assert_eq!(all, [("zeta".to_owned(), some(1, 0, 0))]);
    }

    #[test]
    fn an_actor_that_goes_takes_back_what_its_head_does_not_have() {
        let tally = Arc::new(Tally::of(Box::new(std::iter::empty())));
        tally.count().unwrap();
        let session = id("acme", "a");
        let mut counted = Counted::new(Some(&tally), &session);
        counted.holds(|| some(1, 1, 10));
        counted.was_stored();
        counted.holds(|| some(1, 2, 30));
        assert_eq!(tally.holds("acme"), Some(some(1, 2, 30)));
        drop(counted);
        assert_eq!(tally.holds("acme"), Some(some(1, 1, 10)));
    }

    #[test]
    fn what_the_program_keeps_for_itself_counts_for_nobody() {
        let tally = Arc::new(Tally::of(Box::new(std::iter::empty())));
        tally.count().unwrap();
        let mut counted = Counted::new(Some(&tally), &SessionId::read("__outlive/keys").unwrap());
        counted.holds(|| some(1, 1, 10));
        assert_eq!(tally.holds(""), Some(Holding::default()));
    }

    #[test]
    fn sums_stay_unknown_where_a_head_is_unreadable() {
        let broken = Err(io::Error::other("damaged"));
        let tally = Tally::of(Box::new(std::iter::once(broken)));
        assert!(tally.count().is_err());
        assert_eq!(tally.holds("acme"), None);
    }
}
