//! Every limit of this crate, with its unit. What a session may hold is bounded in its own crate, and is here, too.

use std::ops::RangeInclusive;
use std::time::Duration;

pub use session::limits::*;

/// Events that a reader gets at once.
pub const DELIVERY_EVENTS: usize = 256;
/// Payload bytes that a reader gets at once, unless one event is larger.
pub const DELIVERY_BYTES: usize = 256 << 10;
/// Bytes of a file that are read at once.
pub const FILE_READ_BYTES: usize = PIECE_BYTES;
/// How long the next bytes of a file are looked for before an answer breaks off, in milliseconds.
pub const FILE_READ_MS: u64 = 10_000;
/// Pause between two looks at all replicas for bytes of a file.
pub const FILE_LOOK_WAIT: Duration = Duration::from_millis(100);
/// Memory that the store uses to keep parts of its files, in bytes.
pub const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Time after which a write to the store that did not end counts as failed.
pub const STORE_STALL: Duration = Duration::from_secs(60);
/// Events that the hot tail of one session keeps, beyond those in no block yet.
pub const TAIL_EVENTS: usize = 256;
/// Payload bytes that the hot tail of one session keeps, beyond those in no block yet.
pub const TAIL_BYTES: usize = 256 << 10;
/// Events in no block that are sealed into one.
pub const BLOCK_EVENTS: usize = 32;
/// Payload bytes in no block that are sealed into one.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Entries of one shard that may be handed out and not yet applied by every actor.
pub const UNSETTLED_ENTRIES: usize = 64;
/// Pause between two looks for what is due: how late a worker that is silent may be missed.
pub const DUE_INTERVAL: Duration = Duration::from_millis(250);
/// By how much heartbeats and elections of a node that is alone are slower than configured.
pub const ALONE_SLOWER: u64 = 5;
/// Pause between two looks for nodes that are gone.
pub const GONE_INTERVAL: Duration = Duration::from_millis(100);
/// Heartbeats that the leader before does not acknowledge, and is gone; and after how many looks that is judged.
pub const GONE_HEARTBEATS: u32 = 2;
pub const GONE_LOOKS: u32 = 3;
/// Pause after which sessions are notified again of a node that is gone, and for how long they are.
pub const GONE_AGAIN: Duration = Duration::from_secs(1);
pub const GONE_REPORT: Duration = Duration::from_secs(5);
/// Pause between two sweeps for what is idle or was not reported again.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long a session that is not used keeps its actor.
pub const IDLE: Duration = Duration::from_secs(60);
/// The same, once a node has many.
pub const IDLE_CROWDED: Duration = Duration::from_secs(5);
/// Live actors that count as many.
pub const SESSIONS_CROWDED: usize = 50_000;
/// Sessions of one shard whose deadlines are looked at in one sweep.
pub const DUE_AT_ONCE: usize = 1000;
/// Pause before a session whose actor failed twice is rebuilt again; it doubles with each further failure.
pub const REBUILD_WAIT: Duration = Duration::from_millis(100);
/// The longest such pause.
pub const REBUILD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes of the journal that are read at once to rebuild a session.
pub const REBUILD_BYTES: usize = 4 << 20;
/// Time for which checkpoints of a shard may fail before the node ends, to come back from its journal.
pub const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(60);
/// Actors of one shard that a start may wake at once as it applies the journal again.
pub const REPLAY_ACTORS: usize = 512;
/// Pause after which it goes on all the same: some of them may be in use.
pub const REPLAY_WAIT: Duration = Duration::from_millis(100);
/// Changes that a listener on this node may be behind, before it must look for itself.
pub const CHANGES: usize = 1024;
/// How long a request lives that sets no deadline itself.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Time for which an agent counts as having workers when the last one is gone: those that claim by HTTP claim anew.
pub const SERVED_LINGER: Duration = Duration::from_secs(30);
/// How long the answers of other nodes about their workers are trusted, and how long such an answer may take.
pub const SERVED_FRESH: Duration = Duration::from_secs(2);
pub const SERVED_WAIT: Duration = Duration::from_millis(500);
/// Agents of which one node remembers the answers of the others.
pub const SERVED_AGENTS: usize = 10_000;
/// Turns that one node offers at once; others are offered when these are taken.
pub const OFFERS: usize = 10_000;
/// Time in which whoever was handed an offer must have claimed it; then it is handed out again.
pub const OFFER_AGAIN: Duration = Duration::from_secs(2);
/// How long a node waits for a turn on behalf of another node's worker.
pub const OFFER_WAIT: Duration = Duration::from_secs(1);
/// Workers of one node for whom all other nodes get requests at the same time; others wait at their own node.
pub const CLAIMERS: usize = 256;
/// Effects of sessions on one node that wait to be begun; more are tried again at the next sweep.
pub const ACTIONS: usize = 1024;
/// How many of them are done at once.
pub const ACTIONS_AT_ONCE: usize = 256;
/// How long one attempt at an effect may take.
pub const EFFECT_DEADLINE: Duration = Duration::from_secs(10);
/// Pause before a request looks for a leader again.
pub const LEADER_WAIT: Duration = Duration::from_millis(50);
/// Live readers of one node.
pub const READERS: usize = 100_000;
/// Nodes that a request is sent on to before it waits.
pub const HOPS: u32 = 2;
/// How long a replica on another node may take, before the next one gets the request.
pub const PEER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a node that is to come in may take to meet the one that leads the change.
pub const NEWCOMER_WAIT: Duration = Duration::from_millis(3000);
/// How long a node may take to report about itself.
pub const REPORT_WAIT: Duration = Duration::from_millis(1000);
/// Pause between two sessions that a node compares with their other replicas, and how long one may take.
pub const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
pub const COMPARE_DEADLINE: Duration = Duration::from_secs(5);
/// Sessions that a node remembers to differ between replicas.
pub const DIFFERING_SESSIONS: usize = 1_000;
/// Entries that a shard may be behind while its node still counts as ready.
pub const READY_LAG: u64 = 10_000;

/// Links of participants that one leader keeps in mind, of all sessions that it leads; others attach and
/// are not counted.
pub const ATTENDANCE_LINKS: usize = 200_000;
/// Links of participants that one message between nodes carries.
pub const ATTENDANCE_REPORT: usize = 2_000;
/// Pause after which a node reports again who is attached to it.
pub const ATTENDANCE_REFRESH: Duration = Duration::from_secs(3);
/// Time after which a participant is gone that was not reported again.
pub const ATTENDANCE_EXPIRY: Duration = Duration::from_secs(8);
/// Time in which a new leader gets reports of who is there before it publishes them.
pub const ATTENDANCE_HUSH: Duration = Duration::from_secs(1);
/// Shortest and longest pause between two rounds of gossip about who is there.
pub const ATTENDANCE_ROUND: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(250));
/// Payload of a message that is not kept, in bytes.
pub const EPHEMERAL_BYTES: usize = 4 << 10;
/// Such messages of one session, and their payload bytes, that one node takes in one window.
pub const EPHEMERAL_PER_SECOND: usize = 100;
pub const EPHEMERAL_PER_SECOND_BYTES: usize = 128 << 10;
pub const EPHEMERAL_WINDOW: Duration = Duration::from_secs(1);
/// Sessions whose messages one node counts.
pub const EPHEMERAL_SESSIONS: usize = 10_000;
/// Such messages that wait for one reader, and their bytes.
pub const EPHEMERAL_WAITING: usize = 64;
pub const EPHEMERAL_WAITING_BYTES: usize = 64 << 10;
/// Bytes of those that a reader gets at once, and the pause after that.
pub const EPHEMERAL_FRAME_BYTES: usize = 16 << 10;
pub const EPHEMERAL_PACE: Duration = Duration::from_millis(50);
/// Such messages that wait for another node, and their bytes; bytes of those that it gets at once, and the pause
/// after that.
pub const EPHEMERAL_OUTGOING: usize = 1024;
pub const EPHEMERAL_OUTGOING_BYTES: usize = 512 << 10;
pub const EPHEMERAL_CARRIED_BYTES: usize = 64 << 10;
pub const EPHEMERAL_ROUND: Duration = Duration::from_millis(20);
/// Such a message is carried to other nodes so long after it was sent, in milliseconds.
pub const EPHEMERAL_AGE_MS: u64 = 5_000;
/// Devices that are listed when it is reported who is there; all are counted.
pub const COMPANY_DEVICES: usize = 256;
/// Time after which a session whose last watcher left is not watched: a page that is loaded again takes
/// less.
pub const AUDIENCE_GRACE: Duration = Duration::from_secs(5);

// Talking to clients. These may differ between nodes.

/// Connections that one node serves at once, where it may open files enough.
pub const CONNECTIONS: usize = 100_000;
/// Connections beyond them that get that answer, or that are an operator's.
pub const CONNECTIONS_SPARE: usize = 16;
/// How long such a connection may take, in milliseconds.
pub const CONNECTION_SPARE_MS: u64 = 2_000;
/// Files that are left to the rest of the node: its journal and store, its links, what its agents and webhooks
/// need, and those connections.
pub const FILES_KEPT: u64 = 512;
/// HTTP/2 connections that one node serves at once; each may be sent [`HTTP2_BYTES`] that the client does not read.
pub const HTTP2_CONNECTIONS: usize = 1024;
/// Requests that one HTTP/2 connection has open at once.
pub const CONNECTION_STREAMS: u32 = 128;
/// Bytes that an HTTP/2 client may send ahead on one stream, and on all streams of a connection.
pub const HTTP2_STREAM_BYTES: u32 = 32 << 10;
pub const HTTP2_BYTES: u32 = 512 << 10;
/// Request line and headers of one request, in bytes.
pub const HEAD_BYTES: usize = 16 << 10;
/// Headers of one request.
pub const HEADERS: usize = 64;
/// Time in which the head of a request must arrive, in milliseconds.
pub const HEAD_MS: u64 = 10_000;
/// Body of one request, in bytes: the largest append as JSON, where each byte may take more than one.
pub const BODY_BYTES: usize = 2 << 20;
/// Appends without an end that one node serves at once.
pub const WINDOWS: usize = 10_000;
/// Bodies, frames, lines and answers on their way on one node, in bytes; less in a small machine.
pub const TRANSIT_BYTES: usize = 256 << 20;
/// Part of the machine's memory that they take at most: one of so many.
pub const TRANSIT_MEMORY_SHARE: u64 = 4;
/// Part of their room that is kept for what is small: one of so many.
pub const TRANSIT_RESERVE_SHARE: usize = 8;
/// What counts as small, in bytes.
pub const TRANSIT_SMALL_BYTES: usize = 16 << 10;
/// Bytes of a streaming append that are not acknowledged; beyond them its body is not read.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Lines of a streaming append that are not acknowledged: what one command takes, and as many that gather.
pub const WINDOW_LINES: usize = 2 * APPEND_EVENTS;
/// Bytes of a body that is too large that are read and thrown away, so that the client gets the reason.
pub const DISCARD_BYTES: usize = 16 << 20;
/// Time for that, in milliseconds.
pub const DISCARD_MS: u64 = 5_000;
/// Silence within a body after which it is given up, in milliseconds.
pub const BODY_IDLE_MS: u64 = 10_000;
/// Time in which a body must arrive whole, in milliseconds.
pub const BODY_MS: u64 = 60_000;
/// What of a body must arrive each second on average, beyond [`BODY_IDLE_MS`], in bytes.
pub const BODY_RATE_BYTES: u64 = 1 << 10;
/// A file that comes in one request, in bytes.
pub const FILE_AT_ONCE_BYTES: usize = 1 << 20;
/// One line of an imported session, in bytes: an event whose bytes each take six as JSON, and what it means.
pub const IMPORT_LINE_BYTES: usize = 2 << 20;
/// The history of a chat that is imported, in bytes.
pub const IMPORT_HISTORY_BYTES: usize = 8 << 20;
/// Messages that it has, at most.
pub const IMPORT_HISTORY_MESSAGES: usize = 10_000;
/// Events that it becomes, at most.
pub const IMPORT_HISTORY_EVENTS: usize = 50_000;
/// Least bytes of a history that make an event, and what an event takes in memory beside its payload, at most.
pub const HISTORY_EVENT_BYTES: usize = 24;
pub const EVENT_OVERHEAD_BYTES: usize = 512;
/// The state of an imported session, in bytes.
pub const IMPORT_STATE_BYTES: usize = 8 << 20;
/// Sessions of one shard of which a node knows in memory that they changed last.
pub const CHANGED_RECENTLY: usize = 1024;
/// Heads that are read at once for who follows the changes.
pub const CHANGES_SCANNED: usize = 10_000;
/// Sessions that one page of changes has, unless the request sets another number, and at most.
pub const CHANGES_PAGE: usize = 100;
pub const CHANGES_MAX: usize = 1000;
/// Shards that a place in the changes may name.
pub const SHARDS: usize = 1024;
/// Nesting of a JSON payload.
pub const JSON_DEPTH: usize = 128;

/// Time that a request may take unless it sets another, in milliseconds.
pub const REQUEST_MS: u64 = 5_000;
/// Time that a request may set at most, in milliseconds.
pub const REQUEST_MS_MAX: u64 = 60_000;
/// Time for which a long poll waits unless it sets another, in milliseconds.
pub const POLL_MS: u64 = 20_000;
/// Time for which a long poll may wait at most, in milliseconds.
pub const POLL_MS_MAX: u64 = 60_000;
/// Events of one page unless the request sets another number.
pub const PAGE_EVENTS: usize = 1000;
/// Events of one page at most.
pub const PAGE_EVENTS_MAX: usize = 10_000;
/// Payload bytes after which a page ends.
pub const PAGE_BYTES: usize = 1 << 20;
/// Sessions of one list unless the request sets another number.
pub const LIST_SESSIONS: usize = 100;
/// Sessions of one list at most.
pub const LIST_SESSIONS_MAX: usize = 1000;

/// Silence on a live stream after which a heartbeat is sent, in milliseconds.
pub const HEARTBEAT_MS: u64 = 15_000;
/// Pause between two pings to an attachment that has a name or began with a snapshot, in milliseconds.
pub const PING_MS: u64 = 5_000;
/// Payload bytes of the messages that are returned of one session; the newest.
pub const MESSAGES_BYTES: usize = 256 << 10;
/// Messages of one page, or of a snapshot, unless the request sets another number, and at most.
pub const MESSAGES_PAGE: usize = 100;
pub const MESSAGES_PAGE_MAX: usize = 500;
/// Turns that are over of one page, unless the request sets another number, and at most.
pub const TURNS_PAGE: usize = 100;
pub const TURNS_PAGE_MAX: usize = 500;
/// Bytes of open questions that one ping carries; of the others it gives the places.
pub const PING_QUESTIONS_BYTES: usize = 16 << 10;
/// The schema of a form, in bytes; what it comes to with all that it refers to, in parts; and how deep it is.
pub const SCHEMA_BYTES: usize = 32 << 10;
pub const SCHEMA_NODES: usize = 1024;
pub const SCHEMA_DEPTH: usize = 32;
/// What a pattern of such a schema may come to once it is compiled, in bytes.
pub const PATTERN_BYTES: usize = 256 << 10;
/// How many parts of such a schema a pattern counts for: compiling it takes as long.
pub const PATTERN_NODES: usize = 32;
/// Parts of a schema times values of an answer, up to which all is reported that is wrong with it; beyond, the first.
pub const SCHEMA_JUDGEMENTS: usize = 200_000;
/// The answer to a form, in bytes; and how many places are reported where it does not fit.
pub const FORM_BYTES: usize = 32 << 10;
pub const FORM_ERRORS: usize = 8;
/// What one question offers to choose among.
pub const CHOICES: usize = 256;
/// Questions to people that are known with them.
pub const MESSAGES_QUESTIONS: usize = 1024;
/// Events that are looked at for these messages, and more where an open turn began before, up to a bound.
pub const MESSAGES_EVENTS: usize = 20_000;
pub const MESSAGES_EVENTS_MAX: usize = 200_000;
/// Payload bytes that are read for one page of messages; of a longer message the end is returned.
pub const MESSAGES_READ_BYTES: usize = 32 << 20;
/// Payload bytes of that end that are read where they come last.
pub const MESSAGES_LAST_BYTES: usize = 4 << 20;
/// Body of a chat client's message, in bytes: it sends the whole chat each time.
pub const CHAT_BODY_BYTES: usize = 8 << 20;
/// Parts of one answer that a chat client is sent.
pub const ANSWER_PARTS: usize = 4096;
/// Arguments of the open calls of one answer that are kept for it, in bytes.
pub const ANSWER_CALLS_BYTES: usize = 1 << 20;
/// Output of one response of OpenAI's dialect, in bytes: it is sent once more, whole, when it ends.
pub const RESPONSE_BYTES: usize = 4 << 20;
/// Times that an answer began anew which are known to those who read it from its beginning.
pub const ANSWER_REWINDS: usize = 1024;
/// Time for which a chat client's connection is kept while no node serves its session.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Time that a chat client's message may take unless its request sets another, in milliseconds.
pub const ANSWER_HOLD_MS: u64 = 30_000;
/// Time after a question to people from which an agent without further output waits for the answer, in milliseconds.
pub const ASK_GRACE_MS: u64 = 1_000;
/// Bytes of a live stream that are handed to the connection at once, unless one event is larger.
pub const LIVE_BYTES: usize = 16 << 10;
/// Time without progress after which a connection that does not read is cut, in milliseconds.
pub const STALL_MS: u64 = 30_000;
/// Time that running requests get when the node stops, in milliseconds.
pub const DRAIN_MS: u64 = 10_000;

/// Time that a node whose store failed takes to hand over what it leads, before it begins again.
pub const ABANDON_WAIT: Duration = Duration::from_secs(8);

/// Time that a node which stops takes to bring its store up to date.
pub const STOP_CHECKPOINT: Duration = Duration::from_secs(10);

/// Free space of the disk below which appends are refused, in bytes.
pub const SPACE_RESERVE_BYTES: u64 = 256 << 20;
/// On a small disk the reserve is this part of it: one in so many bytes.
pub const SPACE_RESERVE_SHARE: u64 = 4;
/// Below this part of the reserve nothing is taken but what ends something or makes room: one in so many bytes.
pub const SPACE_LAST: u64 = 2;
/// What a node needs to start, as such a part of the reserve.
pub const SPACE_START: u64 = 4;
/// Parts of a disk, one in so many bytes, that a segment of the journal and the store's writes in memory have at
/// most: the reserve is several of them.
pub const SPACE_PIECE: u64 = 16;
/// The least that both are, in bytes.
pub const SPACE_PIECE_MIN: u64 = 16 << 20;
/// Pause between two rounds of giving disk space back.
pub const RECLAIM_INTERVAL: Duration = Duration::from_secs(5);
/// Rounds after something was freed: readers may hold it still, and the engine gives it back in steps.
pub const RECLAIM_ROUNDS: u32 = 3;
/// Pause after an attempt to take what was deleted off the disk that did not end.
pub const ERASE_RETRY: Duration = Duration::from_secs(10 * 60);
/// Pause between two looks at the free space.
pub const SPACE_INTERVAL: Duration = Duration::from_millis(500);

// Subscriptions. A change of the first four changes what a log of changes adds up to: all nodes need the same.

/// Streams of one subscription.
pub const SUBSCRIPTION_STREAMS: usize = 1000;
/// Tokens of ended wakes that one subscription remembers.
pub const SUBSCRIPTION_TOKENS: usize = 8;
/// Pause after the first failure to deliver a wake, in milliseconds; it doubles with each further one.
pub const WEBHOOK_RETRY_MS: u64 = 1000;
/// The longest such pause, in milliseconds.
pub const WEBHOOK_RETRY_MS_MAX: u64 = 60_000;
/// Streams of one wake, and of one change; what is left comes with the next.
pub const WAKE_STREAMS: usize = 256;
/// Least and most time for which a wake may be leased, and the usual one, in milliseconds.
pub const SUBSCRIPTION_LEASE_MS: (u64, u64, u64) = (1000, 600_000, 30_000);
/// Body of a request about a subscription, in bytes.
pub const SUBSCRIPTION_BODY_BYTES: usize = 256 << 10;
/// Pattern, URL, description and name of a worker, in bytes each.
pub const SUBSCRIPTION_TEXT_BYTES: usize = 2048;
/// Names that a pattern's prefix may have, to be looked through at once.
pub const SCAN_NAMES: usize = 50_000;
/// Streams whose tails are queried at once.
pub const SCAN_AT_ONCE: usize = 16;
/// Changes after which the log of a subscription begins anew.
pub const SUBSCRIPTION_CHANGES: usize = 256;
/// Subscriptions that one node works for at once.
pub const SUBSCRIPTION_WORKERS: usize = 1000;
/// Pause between two looks for subscriptions without a worker.
pub const SUBSCRIPTION_SWEEP: Duration = Duration::from_secs(5);
/// Pause between two looks for what is to be done at leads.
pub const SUBSCRIPTION_TICK: Duration = Duration::from_millis(200);
/// Pause between two surveys where the node does not see the changes of every stream.
pub const SCAN_PAUSE: Duration = Duration::from_secs(1);
/// The same where it does: only what was missed is found so.
pub const SCAN_PAUSE_WHOLE: Duration = Duration::from_secs(15);
/// Time that a webhook has to answer, in milliseconds.
pub const WEBHOOK_MS: u64 = 15_000;
/// Body of a webhook's answer that is read, in bytes.
pub const WEBHOOK_ANSWER_BYTES: usize = 64 << 10;

// WebSockets. These may differ between nodes.

/// WebSockets that one node serves at once.
pub const SOCKETS: usize = 20_000;
/// Sessions that are attached on one WebSocket at once.
pub const SOCKET_SESSIONS: usize = 64;
/// Requests of one WebSocket that are not answered, and answers that wait for the client to read; beyond
/// them nothing more is read from it.
pub const SOCKET_REQUESTS: usize = 64;
/// One frame of a client, in bytes.
pub const SOCKET_FRAME_BYTES: usize = 256 << 10;
/// One frame of a worker that has not registered, in bytes.
pub const STRANGER_FRAME_BYTES: usize = 16 << 10;
/// One frame of a worker, in bytes: the largest report as JSON, where each byte may take more than one.
pub const WORKER_FRAME_BYTES: usize = 2 << 20;
/// Events that a session may be ahead of the client's credit, unless it sets another number, and at most.
pub const SOCKET_CREDIT: u32 = 1024;
pub const SOCKET_CREDIT_MAX: u32 = 65_536;
/// Pause between two pings of a WebSocket and of each session on it, in milliseconds.
pub const SOCKET_PING_MS: u64 = 5_000;
/// Time without any sign of life, pongs included, after which a WebSocket is closed, in milliseconds.
pub const SOCKET_SILENCE_MS: u64 = 20_000;
/// Time for the last frames of a WebSocket to leave and the client to close it too, in milliseconds.
pub const SOCKET_PARTING_MS: u64 = 1_000;

// Links of workers. These may differ between nodes.

/// Turns that one link works on at once.
pub const LINK_TURNS: usize = 1024;
/// Outputs of one link that are not answered; beyond them nothing is read from its worker.
pub const LINK_REPORTS: usize = 256;
/// Bytes of such outputs.
pub const LINK_BYTES: usize = 2 << 20;
/// Outputs of one turn that were refused and may be sent again; of older ones the outcome is not known.
pub const LINK_REFUSED: usize = 256;
/// Frames that a worker is sent and has not read; beyond them its feeds wait.
pub const LINK_SIGNALS: usize = 64;
/// How long a link waits for a turn before it claims anew.
pub const LINK_CLAIM: Duration = Duration::from_secs(10);
/// Pause before a feed or an output that found no leader is tried again.
pub const FEED_WAIT: Duration = Duration::from_millis(100);
/// Payload bytes that a token of a conversation is counted as. Most texts have four in a token.
pub const TOKEN_BYTES: usize = 3;
/// Tokens of a conversation that a request to an endpoint may have at most.
pub const CONTEXT_TOKENS_RANGE: RangeInclusive<usize> = 256..=MESSAGES_BYTES / TOKEN_BYTES;
/// Tokens that one answer of a model may have where its API requires a number and none is configured.
pub const MODEL_TOKENS: u64 = 8_192;
/// How long the end of a stream is waited for after its answer has finished.
pub const FINISH_GRACE: Duration = Duration::from_secs(1);
/// Time that a worker has to stop a turn that was cancelled or taken from it.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// Time in which a worker's output from before it left must be committed.
pub const FLUSH_WAIT: Duration = Duration::from_secs(5);

// Agents that a node runs by itself.

/// Bodies of one agent that one node runs at once.
pub const BODIES: usize = 256;
/// Tenants whose turns one agent takes that a node runs.
pub const AGENT_TENANTS: usize = 64;
/// Failures of one body within [`RESTARTS_WITHIN_MS`] after which it rests, and the most that may be set.
pub const RESTARTS: u32 = 5;
pub const RESTARTS_MAX: u32 = 10_000;
/// Time in which failures count, in milliseconds.
pub const RESTARTS_WITHIN_MS: u64 = 60_000;
/// How long a body rests that failed too often.
pub const RESTARTS_REST: Duration = Duration::from_secs(60);
/// Pause before a body that failed a second time begins again; it doubles with each further failure.
pub const RESTART_WAIT: Duration = Duration::from_millis(200);
/// The longest such pause.
pub const RESTART_WAIT_MAX: Duration = Duration::from_secs(10);
/// Lease of a worker on a link, which is sent pings, if it requests none, in milliseconds.
pub const LINK_LEASE_MS: u64 = 5_000;
/// Time in which a process must register after its start.
pub const REGISTER_WAIT: Duration = Duration::from_secs(30);
/// One line of a worker, in bytes.
pub const LINE_BYTES: usize = BODY_BYTES;
/// What a process wrote to its standard error last, in bytes; its status stands before them in a detail.
pub const LAST_WORDS_BYTES: usize = DETAIL_BYTES - 256;
/// Time that turns of a node's own agents get to end when the node stops.
pub const AGENT_DRAIN: Duration = Duration::from_secs(5);
/// Time that a process gets to end before it is killed.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
/// Time in which what a process wrote before its end is read.
pub const LAST_LINES_WAIT: Duration = Duration::from_millis(500);
/// Keys of one cluster that are in force.
pub const KEYS: usize = 10_000;
/// Keys of one tenant that are in force, so that one cannot leave the others without.
pub const KEYS_OF_TENANT: usize = 1_000;
/// What the maker of a key may call it, in bytes.
pub const KEY_NAME_BYTES: usize = 128;
/// Tickets that were used and have not ended.
pub const TICKETS: usize = 100_000;
/// Those of one key or one participant.
pub const TICKETS_OF_ONE: usize = 1_000;
/// Cookies that were given back and would not have ended yet.
pub const COOKIES_OUT: usize = 100_000;
/// Those of one tenant.
pub const COOKIES_OUT_OF_TENANT: usize = 20_000;
/// Longest cookie, in bytes: browsers keep 4,096 of its name, itself and what it is bound to together (RFC 6265, 6.1).
pub const COOKIE_BYTES: usize = 3_840;
/// How long a ticket or a cookie lasts at most, in milliseconds.
pub const TICKET_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Secrets at once with which requests to one endpoint are signed.
pub const SIGNING_SECRETS: usize = 4;

/// The session that holds the keys of the cluster.
pub const KEYS_SESSION: &str = "__outlive/keys";

/// Tenants whose use of their quotas a node remembers; those that were used least lately are forgotten.
pub const QUOTA_TENANTS: usize = 10_000;
/// Keys, and subjects of tokens, of which it does.
pub const QUOTA_KEYS: usize = 50_000;
/// Pause between two looks at what tenants hold: how late a node without a replica may learn of it.
pub const ALLOWANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its last request a node goes on to query what a tenant holds elsewhere.
pub const ALLOWANCE_KEPT: Duration = Duration::from_secs(60);
/// Tenants for which a node queries that at once.
pub const ALLOWANCE_TENANTS: usize = 4096;
/// Tenants that may have quotas of their own.
pub const QUOTA_NAMED_TENANTS: usize = 1_000;
