//! Consensus: the only place that knows openraft.
//!
//! One [`Replica`] is one member of one group. It keeps S3 (nothing is applied before a majority has it
//! on disk) and hands committed entries to the group's machine in journal order.

mod apply;
mod inbound;
mod log;
mod outbound;
mod replica;
mod types;
mod wire;

pub(crate) use replica::Opening;
pub use replica::{Replica, ReplicaError, Report, Timers};
pub(crate) use wire::{ReadIndexAnswer, Rpc, RpcKind, VERSION as READ_INDEX_VERSION, decode_entry};
