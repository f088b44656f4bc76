//! What one tenant or one key has used at this node, and the table of those that used something lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::bucket::{Bucket, Empty};
use super::{Cost, Quota};
use crate::config::QuotaLimits;

/// What a tenant or a key may do and has done.
#[derive(Debug)]
pub(in crate::auth) struct Account {
    pub(super) limits: QuotaLimits,
    pub(super) buckets: Mutex<Buckets>,
    streams: AtomicU32,
    used_at: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buckets {
    appends: Bucket,
    bytes: Bucket,
    inputs: Bucket,
    controls: Bucket,
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) quota: Quota,
    pub(super) limit: u32,
    pub(super) empty: Empty,
}

impl Account {
    pub(super) fn new(limits: QuotaLimits) -> Account {
        let (buckets, streams, used_at) = Default::default();
        Account { limits, buckets, streams, used_at }
    }

    /// What is used up of what this costs; where that is more than one, the one that lasts longest.
    pub(super) fn look(&self, buckets: &Buckets, now_ns: u64, cost: &Cost) -> Option<Over> {
        let rates = buckets.rates(&self.limits, cost);
        let over = rates.into_iter().filter_map(|(quota, bucket, count, limit)| {
            let limit = limit.filter(|_| 0 < count)?;
            let empty = bucket.look(now_ns, count, limit).err()?;
            Some(Over { quota, limit, empty })
        });
        over.max_by_key(|over| over.empty.wait_ns)
    }

    pub(super) fn take(&self, buckets: &mut Buckets, now_ns: u64, cost: &Cost) {
        let QuotaLimits { appends_per_s, bytes_per_s, inputs_per_s, controls_per_s, .. } =
            self.limits;
        for (bucket, count, limit) in [
            (&mut buckets.appends, cost.appends, appends_per_s),
            (&mut buckets.bytes, cost.bytes, bytes_per_s),
            (&mut buckets.inputs, cost.inputs, inputs_per_s),
            (&mut buckets.controls, cost.controls, controls_per_s),
        ] {
            if let Some(limit) = limit {
                bucket.take(now_ns, count, limit);
            }
        }
    }

    /// Counts one more stream, if there may be one.
    pub(super) fn open_stream(&self) -> Result<(), u32> {
        let limit = self.limits.live_streams.unwrap_or(u32::MAX);
        let one_more = |open: u32| (open < limit).then(|| open + 1);
        let opened = self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        opened.map(drop).map_err(|_| limit)
    }

    pub(super) fn close_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Buckets {
    fn rates(&self, limits: &QuotaLimits, cost: &Cost) -> [(Quota, Bucket, u64, Option<u32>); 4] {
        [
            (Quota::Appends, self.appends, cost.appends, limits.appends_per_s),
            (Quota::Bytes, self.bytes, cost.bytes, limits.bytes_per_s),
            (Quota::Inputs, self.inputs, cost.inputs, limits.inputs_per_s),
            (Quota::Controls, self.controls, cost.controls, limits.controls_per_s),
        ]
    }
}

/// Accounts by whose they are; at most so many. When there is no place, those that were used least lately go, but for
/// those with open streams.
pub(super) struct Table<K> {
    most: usize,
    accounts: Mutex<HashMap<K, Arc<Account>>>,
    uses: AtomicU64,
}

impl<K: Hash + Eq> Table<K> {
    pub(super) fn new(most: usize) -> Table<K> {
        Table { most, accounts: Mutex::default(), uses: AtomicU64::default() }
    }

    /// The account of a tenant or a key, which begins with these limits.
    pub(super) fn account<Q>(&self, whose: &Q, limits: impl FnOnce() -> QuotaLimits) -> Arc<Account>
    where
        K: Borrow<Q> + for<'q> From<&'q Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = match accounts.get(whose) {
            Some(account) => account.clone(),
            None => {
                if self.most <= accounts.len() {
                    make_room(&mut accounts);
                }
                let account = Arc::new(Account::new(limits()));
                accounts.insert(whose.into(), account.clone());
                account
            }
        };
        let uses = self.uses.fetch_add(1, Ordering::Relaxed);
        account.used_at.store(uses, Ordering::Relaxed);
        account
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.lock().unwrap().len()
    }
}

/// Drops a quarter, so that it is not done again soon.
fn make_room<K: Hash + Eq>(accounts: &mut HashMap<K, Arc<Account>>) {
    let used_at = |account: &Account| account.used_at.load(Ordering::Relaxed);
    // One that is held elsewhere is about to be used.
    let idle = |account: &Arc<Account>| {
        account.streams.load(Ordering::Relaxed) == 0 && Arc::strong_count(account) == 1
    };
    let mut uses: Vec<u64> =
        accounts.values().filter(|account| idle(account)).map(|account| used_at(account)).collect();
    if uses.is_empty() {
        // As many as there are streams open, which the node bounds.
        return;
    }
    let last = uses.len() / 4;
    let (_, last, _) = uses.select_nth_unstable(last);
    let last = *last;
    accounts.retain(|_, account| last < used_at(account) || !idle(account));
}
