//! What is random in the runtime: numbers that are drawn, and the order of maps that are walked through.
//! The simulation decides both by its seed.

use std::collections::HashMap;

use rand::distr::{Distribution, StandardUniform};

#[cfg(not(tokio_unstable))]
type Order = std::hash::RandomState;
#[cfg(tokio_unstable)]
type Order = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A hash map whose entries are visited in an unknown order.
pub(super) type Map<K, V> = HashMap<K, V, Order>;

/// Draws a number.
#[cfg(not(tokio_unstable))]
pub(crate) fn draw<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rand::random()
}

/// Draws a number that follows from the seed.
#[cfg(tokio_unstable)]
pub(crate) fn draw<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    use rand::Rng as _;
    seed::rng().random()
}

/// Where the simulation sets the seed: one for each process.
#[cfg(tokio_unstable)]
pub mod seed {
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    static DRAWN: LazyLock<Mutex<SmallRng>> =
        LazyLock::new(|| Mutex::new(SmallRng::seed_from_u64(0)));

    /// Begins the numbers of this seed.
    pub fn start(seed: u64) {
        *rng() = SmallRng::seed_from_u64(seed);
    }

    pub(super) fn rng() -> MutexGuard<'static, SmallRng> {
        DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
