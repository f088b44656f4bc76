//! What a session may hold, and how long it waits; each with its unit (S10).
//!
//! A change of these changes what `apply` answers, so all nodes of a cluster need the same.

/// Length of a session's name, in bytes.
pub const SESSION_ID_BYTES: usize = 256;
/// Length of a tenant's name, in bytes.
pub const TENANT_BYTES: usize = 64;
/// Length of a producer's name, in bytes.
pub const PRODUCER_ID_BYTES: usize = 256;
/// Length of the name of a turn, an agent, a worker, a participant or a device, in bytes.
pub const NAME_BYTES: usize = 128;
/// Turns of one session that are not over.
pub const TURNS: usize = 64;
/// Turns that one turn begins, over its whole life.
pub const SUB_TURNS: usize = 32;
/// How deep turns begin turns.
pub const SUB_TURN_DEPTH: usize = 4;
/// Inputs whose names one session remembers, so that a retry has the effect of one.
pub const INPUTS: usize = 1024;
/// Turns that were cancelled before they were requested, and are remembered until they are.
pub const CANCELS: usize = 256;
/// Length of the reason for which a turn ended, in bytes.
pub const REASON_BYTES: usize = 1024;
/// Length of what a worker may leave for its successor, in bytes.
pub const CHECKPOINT_BYTES: usize = 64 << 10;
/// Times in a row that a turn may lose its worker without output that stays, before it fails.
pub const ATTEMPTS: u32 = 10;
/// Pause before a turn that lost its worker again is given away, doubled each time, in milliseconds.
pub const BACK_OFF_MS: u64 = 1_000;
/// The longest such pause, in milliseconds; a worker that had the turn for as long begins the doubling anew.
pub const BACK_OFF_MS_MAX: u64 = 60_000;

/// The longest wait that a worker can request on behalf of the next one, in milliseconds.
pub const RETRY_AFTER_MS_MAX: u64 = 10 * 60_000;
/// Time for which a worker has a turn without a heartbeat, unless it requests another, in milliseconds.
pub const LEASE_MS: u64 = 15_000;
/// Shortest and longest lease that a worker may request, in milliseconds.
pub const LEASE_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=10 * 60 * 1000;
/// Time that a worker may be without output before it counts as stalled, unless it declares another, in
/// milliseconds; after twice that time it is replaced.
pub const PROGRESS_TIMEOUT_MS: u64 = 90_000;
/// Longest time without output that a worker may declare, in milliseconds.
pub const PROGRESS_TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Calls of tools of one turn that were begun and have no result.
pub const TOOL_CALLS: usize = 64;
/// Results of calls that one session remembers, so that the same again has the effect of one.
pub const TOOL_RESULTS: usize = 256;
/// Inputs to open turns that no worker has taken in yet, of one session.
pub const MAILBOX: usize = 256;
/// Open interactions of one session.
pub const INTERACTIONS: usize = 64;
/// Interactions that are over and remembered, so that the refusal of a late answer names who was faster.
pub const ANSWERS: usize = 256;
/// How long an interaction may stay open, where it has a deadline, in milliseconds.
pub const INTERACTION_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// How long a device has a call without renewing it, unless it requests another time, in milliseconds.
pub const CALL_MS: u64 = 30_000;
/// Shortest and longest time for which a device may have a call without renewing it, in milliseconds.
pub const CALL_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=60 * 60 * 1000;
/// Time in which a device that left may come back to its call, in milliseconds.
pub const CALL_GRACE_MS: u64 = 3_000;
/// How long control is held while its holder does not act, if the holder names no time, in milliseconds.
pub const CONTROL_MS: u64 = 60 * 60 * 1000;
/// How long control may be held while its holder does not act, in milliseconds.
pub const CONTROL_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// A last message of a worker, in bytes.
pub const DETAIL_BYTES: usize = 4096;
/// How long a session may be unwatched before a policy acts, in milliseconds.
pub const UNWATCHED_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// Workers in a row that a policy may let a turn lose.
pub const ATTEMPTS_MAX: u32 = 1000;
/// Shortest pause before a session that is owed something is looked at again, in milliseconds.
pub const AGAIN_MS: u64 = 1_000;
/// The longest such pause, in milliseconds.
pub const AGAIN_MS_MAX: u64 = 60_000;
/// Time that a turn waits for a worker before it fails, where its session sets none, in milliseconds.
pub const WAIT_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a session may let its turns wait, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// Time that a turn which merges inputs waits for more of them, where its session sets none, in milliseconds.
pub const MERGE_MS: u64 = 1_000;
/// How long a session may let such a turn wait, in milliseconds.
pub const MERGE_MS_MAX: u64 = 60_000;

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

/// Requests without a producer that one session remembers, so that nodes may repeat them.
pub const KEYS: usize = 512;
/// How many of them are kept once the session is deleted.
pub const KEYS_OF_DELETED: usize = 16;
/// Longest time after its first try for which such a request may be repeated, in milliseconds.
pub const KEY_MS: u32 = 2 * 60 * 1000;
/// Time for which it is remembered beyond that, in milliseconds: clocks differ, and tries come late.
pub const KEY_GRACE_MS: u64 = 30_000;
/// How far the clocks of two leaders are believed to differ at most, where one stamped the first try and the
/// other judges whether it was forgotten, in milliseconds.
pub const KEY_SKEW_MS: u64 = 5_000;

/// Branches of one session's conversation beside the first one.
pub const BRANCHES: usize = 512;

/// Size of one file, in bytes.
pub const FILE_BYTES: u64 = 64 << 20;
/// Bytes of a file that one command brings; a multiple of [`FILE_UNIT`].
pub const PIECE_BYTES: usize = 256 << 10;
/// Every piece of a file but the last is a multiple of so many bytes: what the hash takes at once.
pub const FILE_UNIT: usize = 64;
/// Files of one session, those that are still coming included.
pub const FILES: usize = 1024;
/// Files of one session that are still coming.
pub const UPLOADS: usize = 16;
/// Files of one session that events refer to and that are not there: their references are remembered. As many as there
/// may be, since those of a session that was moved are brought after its events.
pub const FILES_AHEAD: usize = FILES;
/// Length of the name that a file has for people, in bytes.
pub const FILE_NAME_BYTES: usize = 255;
/// How long a file is kept to which nothing comes, or no event refers, if the client names no time, in milliseconds.
pub const FILE_KEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// Shortest and longest such time, in milliseconds.
pub const FILE_KEEP_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 60 * 60 * 1000;

/// Inputs of its source whose names a fork remembers.
pub const FORK_INPUTS: usize = 256;
/// Sources of sources of a fork: so deep a file is looked for, and so often the chain of an imported log begins anew.
pub const FORK_DEPTH: usize = 64;
/// Forks of one session that live at once.
pub const FORKS: usize = 1024;
/// Ended forks of one session's name whose sources have not let go yet.
pub const PENDING_RELEASES: usize = 64;
/// Time in which a fork must have begun after its source took the hold, in milliseconds.
pub const HOLD_MS: u64 = 2 * 60 * 1000;
/// Time after which an import is given up of which nothing more comes, in milliseconds.
pub const IMPORT_MS: u64 = 10 * 60 * 1000;
/// How far imported events may lie ahead of this cluster's time, in milliseconds: clocks differ.
pub const IMPORT_AHEAD_MS: u64 = 60_000;
/// Length of a writer's stream seq, in bytes.
pub const ORDER_BYTES: usize = 256;

/// Marks in the log of a session with retention; it keeps at most 2/64 more than configured.
pub const MARKS: usize = 64;
/// Marks in the log of a session without retention, where they only serve the account of bytes.
pub const MARKS_PLAIN: usize = 8;
/// Patterns of sessions, and of agents, in one grant.
pub const GRANT_PATTERNS: usize = 32;
