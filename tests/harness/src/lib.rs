//! What the tests share: recording what clients saw, and judging it against the promises.
//!
//! A test records every call and every frame with a [`recorder::Recorder`], then gives the history
//! to [`checker::check`]. The checker trusts nothing of the system under test: it knows only what
//! clients requested, what they were answered, and when.

pub mod api;
pub mod browser;
pub mod brute;
pub mod checker;
pub mod cluster;
pub mod endpoint;
pub mod generate;
pub mod history;
pub mod load;
pub mod mutate;
pub mod node;
pub mod recorder;
pub mod report;
pub mod socket;
pub mod turn;
pub mod turns;
