//! The hot end of a log, shared by all its readers.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::session::Event;

/// A committed event as readers share it: encoded at most once, however many read it.
#[derive(Debug)]
pub struct Shown {
    pub event: Event,
    /// The edge's rendering of the event for a live stream, made by the first reader that needs it.
    pub rendered: OnceLock<Bytes>,
}
