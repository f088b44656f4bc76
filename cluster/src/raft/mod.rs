//! Consensus: the only place that knows openraft.
//!
//! One [`Replica`] is one member of one group. It keeps S3 (nothing is applied before a majority has it
//! on disk) and hands committed entries to the group's machine in journal order.

mod apply;
#[cfg(test)]
mod golden;
mod inbound;
mod log;
mod outbound;
mod replica;
#[cfg(test)]
mod suite;
mod types;
mod wire;

pub(crate) use replica::Opening;
pub use replica::{Checkpoints, Replica, ReplicaError, Report, Timers};
#[cfg(tokio_unstable)]
pub use types::seed;
pub(crate) use types::with_random;
pub(crate) use wire::{ReadIndexAnswer, Rpc, RpcKind, VERSION as READ_INDEX_VERSION, decode_entry};
