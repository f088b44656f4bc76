//! Consensus: the only place that knows openraft.
//!
//! One [`Replica`] is one member of one group. It keeps S3 (nothing is applied before a majority has it
//! on disk) and hands committed entries to the group's machine in journal order.

mod apply;
mod contact;
#[cfg(test)]
mod golden;
mod history;
mod inbound;
mod log;
mod outbound;
mod position;
mod replica;
#[cfg(not(tokio_unstable))]
mod runtime;
#[cfg(test)]
mod suite;
mod types;
mod wire;

pub(crate) use history::Broken;
pub(crate) use position::{Ballot, Position};
pub(crate) use replica::Opening;
pub use replica::{Checkpoints, Replica, ReplicaError, Report, Timers};
#[cfg(tokio_unstable)]
pub use types::seed;
pub(crate) use types::with_random;
pub(crate) use wire::{ReadIndexAnswer, Rpc, RpcKind, VERSION as WIRE_VERSION, decode_entry};
