//! Sessions that outlive connections, devices, agents and nodes.

pub mod ids;
pub mod limits;
pub mod runtime;
pub mod session;
pub mod store;
