//! What shows and measures a cluster from outside, as its clients see it.

pub mod bench;
pub mod demo;
pub mod demo_agent;
