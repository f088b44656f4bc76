//! Every limit of this crate, with its unit. Queues, frames and tables take their bound from here.

use std::time::Duration;

/// Number of slots; fixed for ever, because it decides where a key lives.
pub const SLOTS: u16 = 1024;
/// Replicas of one group where the cluster has that many nodes.
pub const REPLICATION: usize = 3;
/// Groups that carry slots, when the founding of the cluster names no number.
pub const DEFAULT_GROUPS: u32 = 12;

/// Election times without a message after which a member counts as out of touch: a leader whom no majority
/// acknowledged, a follower that received from no leader.
pub const OUT_OF_TOUCH_ELECTIONS: u32 = 2;
/// Election times for which a leader out of touch is silent: the leases of those that received from it last, and an
/// election or two, must fit in.
pub const SILENT_ELECTIONS: u32 = 4;
/// Election times for which it sends again in between.
pub const PROBE_ELECTIONS: u32 = 1;

/// Largest encoded record or message this crate decodes, in bytes.
pub const DECODE_BYTES: usize = 16 << 20;

/// Bytes after a small batch that the journal writes zeros to, once for many batches.
pub const JOURNAL_AHEAD_BYTES: usize = 256 << 10;
/// Batches up to this size are small, in bytes.
pub const JOURNAL_SMALL_BYTES: usize = 16 << 10;
/// Size of one journal segment, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Largest journal record, in bytes.
pub const RECORD_BYTES: usize = 8 << 20;
/// Bytes of recent entries that the journal keeps in memory for each group.
pub const JOURNAL_TAIL_BYTES: usize = 4 << 20;
/// Bytes that may wait for the journal's writer on one node.
pub const JOURNAL_QUEUE_BYTES: usize = 64 << 20;

/// Largest frame between two nodes, in bytes.
pub const FRAME_BYTES: usize = 12 << 20;
/// Frames that may wait in one lane of one link.
pub const LANE_QUEUE_FRAMES: usize = 1024;
/// Calls of one lane of one link that may be unanswered.
pub const LANE_CALLS: usize = 4096;
/// Streams that one peer may have open towards us.
pub const PEER_STREAMS: u32 = 4096;
/// UDP socket buffer that a link requests from the kernel, in bytes.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Commands that one entry carries at most.
pub const ENTRY_COMMANDS: usize = 1024;
/// Bytes of commands that one entry carries at most.
pub const ENTRY_BYTES: usize = 1 << 20;
/// Bytes of commands that may wait in one group, ordinary work.
pub const GROUP_QUEUE_BYTES: usize = 16 << 20;
/// Bytes kept free in one group for control commands.
pub const GROUP_RESERVE_BYTES: usize = 1 << 20;
/// Bytes that each who has commands waiting in a group gets in one round of its queues.
pub const FAIR_QUANTUM_BYTES: usize = 16 << 10;
/// Rounds of owners that one entry takes while there are several.
pub const FAIR_OWNER_ROUNDS: usize = 4;
/// Rounds of parts that it takes of each owner while there are several.
pub const FAIR_PART_ROUNDS: usize = 1;
/// Bytes up to which an entry takes more rounds than those, where something still waits: it costs a sync and little
/// more, however small it is.
pub const FAIR_ENTRY_BYTES: usize = 64 << 10;
/// Entries for which a group remembers that there are others.
pub const FAIR_MEMORY_ENTRIES: u64 = 1024;
/// Bytes of entries that one read of the journal gives, unless a single entry is larger.
pub const READ_BYTES: usize = 4 << 20;
/// Pause before a failed checkpoint is tried again.
pub const CHECKPOINT_RETRY: std::time::Duration = std::time::Duration::from_millis(500);
/// Appends to one member that may be unanswered.
pub const APPEND_WINDOW: usize = 32;
/// Chunks of a snapshot that are read ahead.
pub const SNAPSHOT_CHUNKS: usize = 4;
/// Entries before the last checkpoint that a group keeps, so that a member that was away for a moment
/// catches up from the log.
pub const KEPT_ENTRIES: u64 = 4096;
/// Entries that a member may lack before it is sent a snapshot in place of the log.
pub const LAG_ENTRIES: u64 = 50_000;
/// Commands that may wait in one group, in each class.
pub const GROUP_QUEUE_COMMANDS: usize = 65_536;
/// Reads of one group that may wait for the next read index.
pub const READS_WAITING: usize = 16_384;
/// Entries applied since the last checkpoint that trigger the next one.
pub const CHECKPOINT_ENTRIES: u64 = 8192;
/// Pause before a group that stopped is reopened, at first.
pub const REOPEN_MIN: std::time::Duration = std::time::Duration::from_millis(100);
/// The same at most.
pub const REOPEN_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Pause between two reports of one group.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);
/// Voters of the system group; further members only learn.
pub const SYSTEM_VOTERS: usize = 5;
/// Pause between two rounds of the reconciler.
pub const CARE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
/// Pause between two looks at the clocks of the other nodes.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while a node does not know what time it is.
pub const CLOCK_FIRST_INTERVAL: Duration = Duration::from_millis(50);
/// A reading of a clock that takes longer, in milliseconds, is too inexact to count.
pub const CLOCK_ROUND_TRIP_MS: u64 = 1000;
/// What a clock showed this long ago, in milliseconds, counts no more.
pub const CLOCK_AGE_MS: u64 = 15_000;
/// How far a clock may be from those of a majority, in milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 10_000;
/// How long a majority must show a much later time, in milliseconds, before time jumps there.
pub const CLOCK_PATIENCE_MS: u64 = 60_000;
/// The same where the majority is a single node.
pub const CLOCK_ALONE_PATIENCE_MS: u64 = 600_000;
/// Time runs faster or slower by at most one part of this many.
pub const CLOCK_SLEW_PART: u64 = 8;
/// Entries at the end of a log among which a group looks for the last time; terms begin with some that
/// have none.
pub const TIME_ENTRIES: u64 = 256;
/// How long the first entry of a new group waits until its leader has met a majority's clocks.
pub const FIRST_TIME_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks at whether a peer must be sent how far this node is, just after its start.
pub const ANNOUNCE_SOON: std::time::Duration = std::time::Duration::from_millis(50);
/// How long that pause holds.
pub const ANNOUNCE_FIRST: std::time::Duration = std::time::Duration::from_secs(5);
/// The pause later.
pub const ANNOUNCE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
/// How long a peer may take to answer that.
pub const ANNOUNCE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);
/// Pause between two writes of what peers acknowledged.
pub const ACKNOWLEDGED_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);
/// Pause between two attempts to hand over what a drained node still leads.
pub const DRAIN_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
/// Rounds that each further replica waits before it founds a group in place of those before it.
pub const FOUND_PATIENCE_ROUNDS: u32 = 8;
/// How long a node must be without trouble before it is given leads back.
pub const STEADY_MIN: std::time::Duration = std::time::Duration::from_secs(10);
/// The same at most, where it fails again and again soon after.
pub const STEADY_MAX: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// Rounds of the reconciler in a row in which a peer must be too far for the timers before a warning is logged.
pub const FAR_PATIENCE_ROUNDS: u32 = 6;
/// The pause before that warning is logged again.
pub const FAR_REPEAT: std::time::Duration = std::time::Duration::from_secs(60);
/// Entries that a newcomer may lack and still be given a vote.
pub const PROMOTION_LAG: u64 = 64;
/// How long one step of a change of members may take before the group is looked at anew.
pub const MEMBER_STEP: std::time::Duration = std::time::Duration::from_secs(5);
/// Entries that a member may lack and still be handed the lead.
pub const TRANSFER_LAG: u64 = 64;
/// Bytes that the journal writes in one batch.
pub const JOURNAL_BATCH_BYTES: usize = 16 << 20;
/// How long a full journal waits before it tries to get space again, in milliseconds.
pub const JOURNAL_RETRY_MS: u64 = 100;

/// Replication lanes of one link; groups are striped over them.
pub const REPLICATION_STRIPES: u8 = 2;
/// Bytes of requests that may wait in one lane of one link.
pub const LANE_QUEUE_BYTES: usize = 64 << 20;
/// Frames that one write of a lane takes at most.
pub const LANE_BATCH_FRAMES: usize = 256;
/// Unread bytes that one stream of a link may hold.
///
/// A link's own window is this times all streams it may have, so readers that stall never hold back
/// the lanes. Divided by the round trip it is also the most that one stream carries per second.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of the first frame, which names what a stream is for.
pub const STREAM_HELLO_BYTES: usize = 64 << 10;
/// First congestion window of a link, in bytes.
pub const CONGESTION_WINDOW_BYTES: u64 = 256 << 10;
/// Incoming links that may be shaking hands at once.
pub const HANDSHAKES: usize = 64;
/// Bytes of the text with the reason why a link was refused.
pub const REASON_BYTES: usize = 512;
/// Messages that one stream of the memory network holds.
pub const MEMORY_STREAM_MESSAGES: usize = 16;
