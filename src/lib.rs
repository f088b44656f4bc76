//! Sessions that outlive connections, devices, agents and nodes.

pub mod auth;
pub mod cli;
pub mod config;
pub mod edge;
#[cfg(test)]
mod fuzz;
pub mod limits;
pub mod node;
pub mod offset;
pub mod rfc3339;
pub mod runtime;
pub mod store;
pub mod subscriptions;
pub mod telemetry;

pub use client::{self, tls};
pub use session::{self, ids};
