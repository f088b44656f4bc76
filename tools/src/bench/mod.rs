//! A load generator: real sockets against a running cluster, and what the servers paid for it.
//!
//! It shares the machine with the servers it measures, so its HTTP/1.1 is written by hand and parses as
//! little as it can. Latencies count from when an event was due, not from when it was sent, so a
//! stall is measured by every reader that waited for it.

pub mod catch_up;
mod chunks;
pub mod closed;
mod connection;
mod dialect;
pub mod disk;
pub mod fair;
pub mod idle;
mod latency;
mod link;
pub mod open;
mod reader;
pub mod report;
pub mod servers;
mod stream;
mod target;
pub mod turns;
mod writer;

pub use dialect::Dialect;
pub use latency::Latency;
pub use report::Report;
pub use servers::Servers;
pub use target::Target;

/// What the generator needs of the system, above all a socket for each reader and writer.
pub fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where this is not allowed opening connections fails.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
