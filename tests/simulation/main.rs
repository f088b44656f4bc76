//! Whole nodes by seed: the real sessions, actors and stores on the real groups and journals, with disks
//! that fail, clocks that jump, actors that die and a bad network.
//!
//! The same seed gives the same run, bit by bit. It needs `--cfg tokio_unstable` (a seeded scheduler);
//! `scripts/simulate.sh --sessions` sees to it. The runner of the seeds is that of the cluster's simulation.

#[cfg(tokio_unstable)]
mod clients;
#[cfg(tokio_unstable)]
mod clock;
#[cfg(tokio_unstable)]
mod judge;
#[cfg(tokio_unstable)]
mod nemesis;
#[cfg(tokio_unstable)]
mod readers;
#[cfg(tokio_unstable)]
mod run;
#[cfg(tokio_unstable)]
#[path = "../../cluster/tests/simulation/seeds.rs"]
mod seeds;
#[cfg(tokio_unstable)]
mod turns;
#[cfg(tokio_unstable)]
mod world;

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
    eprintln!("\n*** SKIPPED: the simulation of sessions was built without its seeded scheduler.");
    eprintln!("*** Run it with: scripts/simulate.sh --sessions\n");
}
