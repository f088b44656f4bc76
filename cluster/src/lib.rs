//! Agrees on one order of opaque commands per shard, keeps them on disk, and carries bytes between nodes.
//!
//! This crate does not know what a command means. Its one promise: a command is applied, in the
//! same order on every replica, only after a majority has it on disk.

#![warn(missing_docs)]

mod blocking;
pub mod clock;
pub mod codec;
pub mod essential;
pub mod group;
pub mod home;
pub mod host;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod membership;
pub mod raft;
mod relay;
pub mod removed;
pub mod replay;
pub mod ring;
mod seal;
pub mod settled;
pub mod time;
pub mod transport;
