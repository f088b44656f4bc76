//! Whole clusters by seed: real groups, journals and Raft, a lying disk, a bad network and one clock.
//!
//! The same seed gives the same run, bit by bit, so that what one seed finds can be looked at as often
//! as one likes. It needs `--cfg tokio_unstable` (a seeded scheduler); `scripts/simulate.sh` sees to it.

#[cfg(tokio_unstable)]
mod nemesis;
#[cfg(tokio_unstable)]
mod record;
#[cfg(tokio_unstable)]
mod run;
#[cfg(tokio_unstable)]
mod seeds;
#[cfg(tokio_unstable)]
#[path = "../support/mod.rs"]
mod support;

#[cfg(tokio_unstable)]
fn main() -> std::process::ExitCode {
    seeds::main()
}

#[cfg(not(tokio_unstable))]
const _: () = assert!(
    option_env!("OUTLIVE_SIMULATE").is_none(),
    "the simulation needs RUSTFLAGS=\"--cfg tokio_unstable\"; scripts/simulate.sh sets it"
);

#[cfg(not(tokio_unstable))]
fn main() {
    eprintln!("\n*** SKIPPED: the simulation was built without its seeded scheduler.");
    eprintln!("*** Run it with: scripts/simulate.sh [SEEDS]\n");
}
