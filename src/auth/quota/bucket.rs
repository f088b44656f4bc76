//! A rate as one number: the generic cell rate algorithm (ITU-T I.371, the virtual scheduling form).
//!
//! A rate of *n* per second lets in up to *n* at once, and then one whenever its share of a second is over. The state
//! is the moment at which all that was let in is paid for; times are nanoseconds on any clock that does not run
//! backwards.

/// Nanoseconds of what may be let in at once.
const BURST_NS: u64 = 1_000_000_000;

/// What was let in, of one rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    paid_at_ns: u64,
}

/// Why something is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty {
    /// After so many nanoseconds it would be, if nothing else is.
    pub(super) wait_ns: u64,
    /// How many may be let in now.
    pub(super) left: u64,
}

fn cost_ns(count: u64, per_s: u32) -> u64 {
    let cost = u128::from(count) * u128::from(BURST_NS) / u128::from(per_s.max(1));
    u64::try_from(cost).unwrap_or(u64::MAX)
}

impl Bucket {
    /// Whether `count` may be let in now, at so many per second. More than a second's worth may be where nothing is
    /// owed, and is paid for afterwards: else it never could.
    ///
    /// # Errors
    /// Not now.
    pub(super) fn look(&self, now_ns: u64, count: u64, per_s: u32) -> Result<(), Empty> {
        let owed = self.paid_at_ns.saturating_sub(now_ns);
        let needed = cost_ns(count, per_s).min(BURST_NS);
        let wait_ns = (owed.saturating_add(needed)).saturating_sub(BURST_NS);
        if wait_ns == 0 {
            return Ok(());
        }
        let free = u128::from(BURST_NS.saturating_sub(owed)) * u128::from(per_s);
        let left = u64::try_from(free / u128::from(BURST_NS)).unwrap_or(u64::MAX);
        Err(Empty { wait_ns, left })
    }

    /// Lets `count` in.
    pub(super) fn take(&mut self, now_ns: u64, count: u64, per_s: u32) {
        self.paid_at_ns = self.paid_at_ns.max(now_ns).saturating_add(cost_ns(count, per_s));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_one_at_a_time() {
        let mut bucket = Bucket::default();
        for _ in 0..4 {
            assert_eq!(bucket.look(S, 1, 4), Ok(()));
            bucket.take(S, 1, 4);
        }
        assert_eq!(bucket.look(S, 1, 4), Err(Empty { wait_ns: S / 4, left: 0 }));
        assert_eq!(bucket.look(S, 3, 4), Err(Empty { wait_ns: S / 4 * 3, left: 0 }));
        assert_eq!(bucket.look(S + S / 4, 1, 4), Ok(()));
        assert_eq!(bucket.look(S + S / 2, 3, 4), Err(Empty { wait_ns: S / 4, left: 2 }));
    }

    #[test]
    fn what_is_more_than_a_second_s_worth_passes_and_is_paid_for_afterwards() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.look(0, 50, 10), Ok(()));
        bucket.take(0, 50, 10);
        assert_eq!(bucket.look(0, 1, 10), Err(Empty { wait_ns: 4 * S + S / 10, left: 0 }));
        assert_eq!(bucket.look(5 * S, 50, 10), Ok(()));
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_rate_and_whoever_waits_as_told_gets_in(
            per_s in 1_u32..1000,
            asks in prop::collection::vec((0_u64..S, 1_u64..20), 1..200),
        ) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), 0, 0);
            for (pause, count) in asks {
                now += pause;
                if let Err(Empty { wait_ns, .. }) = bucket.look(now, count, per_s) {
                    now += wait_ns;
                }
                prop_assert_eq!(bucket.look(now, count, per_s), Ok(()));
                bucket.take(now, count, per_s);
                taken += count;
                let most = u128::from(now) * u128::from(per_s) / u128::from(S)
                    + u128::from(per_s) + 20;
                prop_assert!(u128::from(taken) <= most, "{taken} of {most}");
            }
        }
    }
}
