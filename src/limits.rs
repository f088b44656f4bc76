//! Every limit of this crate, with its unit. What a session may hold is bounded here (S10).

// Sessions. A change of these changes what `apply` answers, so all nodes of a cluster need the same.

/// Length of a session's name, in bytes.
pub const SESSION_ID_BYTES: usize = 256;
/// Length of a producer's name, in bytes.
pub const PRODUCER_ID_BYTES: usize = 256;
/// Length of a format tag, in bytes.
pub const FORMAT_BYTES: usize = 128;
/// Labels of one session.
pub const LABELS: usize = 16;
/// Length of one label's name and of its value, in bytes each.
pub const LABEL_BYTES: usize = 256;

/// Events that one append carries at most.
pub const APPEND_EVENTS: usize = 1000;
/// Payload of one event, in bytes.
pub const EVENT_BYTES: usize = 256 << 10;
/// Payloads and format tags of one append together, in bytes; leaves room in a 1 MiB journal entry.
pub const APPEND_BYTES: usize = (1 << 20) - (64 << 10);

/// Producers that one session remembers.
pub const PRODUCERS: usize = 1024;
/// Time after which a producer may be forgotten to make room for another, in milliseconds.
pub const PRODUCER_IDLE_MS: u64 = 24 * 60 * 60 * 1000;
/// Runs of requests whose place one session remembers for each producer.
pub const PRODUCER_RUNS: usize = 64;

/// Marks in the log of a session with retention; it keeps at most 2/64 more than asked.
pub const MARKS: usize = 64;
/// Marks in the log of a session without retention, where they only serve the account of bytes.
pub const MARKS_PLAIN: usize = 8;

/// Events that a reader gets at once.
pub const DELIVERY_EVENTS: usize = 256;
/// Payload bytes that a reader gets at once, unless one event is larger.
pub const DELIVERY_BYTES: usize = 256 << 10;
