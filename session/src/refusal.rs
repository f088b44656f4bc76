//! Why a command changed nothing.

use serde::{Deserialize, Serialize};

use super::bounds::Held;
use super::command::Role;
use super::config::BadConfig;
use super::files::BadFile;
use super::standing::Standing;
use crate::ids::{
    CallEpoch, Incarnation, Millis, ProducerEpoch, ProducerId, Serial, StepName, TurnEpoch, TurnId,
};

/// Why a committed command changed nothing. Final: the session is exactly as it was (S1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No client created the session, or it was deleted, or its time to live is over.
    #[error("the session does not exist")]
    NotFound,
    /// The session was deleted, and its name is not free before its last fork has let go.
    #[error("the session was deleted; its log is kept for its forks alone")]
    Gone,
    /// The session lives and was created with something else.
    #[error("the session exists with another configuration")]
    ConfigDiffers,
    /// A number or a label is out of its range; the session was not created.
    #[error("the configuration cannot be kept: {0}")]
    BadConfig(BadConfig),
    /// The life that was to be deleted is over, or never was.
    #[error("the session is in its incarnation {current}; {given} was meant")]
    OtherIncarnation {
        /// The life that was meant.
        given: Incarnation,
        /// The present one.
        current: Incarnation,
    },
    /// The name has had 2^32 - 1 lives; it can have no other.
    #[error("the session was created too often")]
    IncarnationsExhausted,
    /// The producer has started anew since, or wrote in this epoch in an earlier life of the
    /// session.
    #[error("{}", stale(producer, *given, *held))]
    StaleEpoch {
        /// Who wrote.
        producer: ProducerId,
        /// The epoch of the request.
        given: ProducerEpoch,
        /// The newest epoch that the session knows; in an earlier life's, a greater one is next.
        held: ProducerEpoch,
    },
    /// The epoch is new, and its first request is missing.
    #[error("a new epoch begins with seq 0, not {received}")]
    EpochMustStartAtZero {
        /// The seq of the request.
        received: u64,
    },
    /// A request of this producer, or of this worker, is missing before this one.
    #[error("seq {expected} comes next, not {received}")]
    SequenceGap {
        /// The seq that comes next.
        expected: u64,
        /// The seq of the request.
        received: u64,
    },
    /// The session takes no more events.
    #[error("the session was closed at {tail}")]
    Closed {
        /// Its last event.
        tail: Serial,
    },
    /// Another client appended first, or the requester expects events that there never were.
    #[error("the log ends at {tail}, not at {expected}")]
    SerialMismatch {
        /// Where the log was to end.
        expected: Serial,
        /// Where it ends.
        tail: Serial,
    },
    /// An append that closes nothing needs an event.
    #[error("the append carries no event")]
    NoEvents,
    /// More events than [`crate::limits::APPEND_EVENTS`] at once; none of them is in the log.
    #[error("the append carries {count} events; the limit is {limit}")]
    TooManyEvents {
        /// How many were given.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A payload beyond [`crate::limits::EVENT_BYTES`]; no event of its request is in the log.
    #[error("an event has {bytes} bytes; the limit is {limit}")]
    EventTooLarge {
        /// Length of the payload, in bytes.
        bytes: usize,
        /// Greatest length, in bytes.
        limit: usize,
    },
    /// More than [`crate::limits::APPEND_BYTES`] at once; none of it is in the log.
    #[error("the append has {bytes} bytes; the limit is {limit}")]
    AppendTooLarge {
        /// Payloads and format tags together, in bytes.
        bytes: usize,
        /// How many there may be, in bytes.
        limit: usize,
    },
    /// A producer is new, and all that are remembered wrote within
    /// [`crate::limits::PRODUCER_IDLE_MS`].
    #[error("the session remembers {limit} producers, all in use")]
    TooManyProducers {
        /// How many are remembered.
        limit: usize,
    },
    /// The log has a content type: events of another one, and turns, have no place in it.
    #[error("the log is made of {held}")]
    OtherContentType {
        /// What the creator set.
        held: String,
    },
    /// An append with a stream seq came after one with a mark that is greater or the same.
    #[error("the stream seq does not come after {last:?}")]
    StreamSeqConflict {
        /// The mark of the last one that was taken.
        last: String,
    },
    /// The stream seq is longer than [`crate::limits::ORDER_BYTES`].
    #[error("the stream seq has {bytes} bytes; the limit is {limit}")]
    StreamSeqTooLong {
        /// Its length, in bytes.
        bytes: usize,
        /// Greatest length, in bytes.
        limit: usize,
    },
    /// A fork was to begin where the log has not come yet.
    #[error("the log ends at {tail}; it cannot be forked at {at}")]
    ForkOffsetOutOfRange {
        /// Last event that was to be inherited.
        at: Serial,
        /// Last event that there is.
        tail: Serial,
    },
    /// The source has [`crate::limits::FORKS`] forks, or [`crate::limits::PENDING_RELEASES`] earlier
    /// forks of this name have not been let go yet.
    #[error("the log has as many forks as it may: {limit}")]
    TooManyForks {
        /// How many there may be.
        limit: usize,
    },
    /// The source may have let go before the fork began: it must take a new hold.
    #[error("the hold on the source ended before the fork began")]
    ForkExpired,
    /// The input was to be refused where its agent is at work, and it is.
    #[error("turn {turn} is open")]
    Busy {
        /// The agent's open turn.
        turn: TurnId,
    },
    /// The input would begin one turn more than [`crate::limits::TURNS`].
    #[error("the session has {limit} open turns, as many as it may")]
    TooManyTurns {
        /// How many may be open.
        limit: usize,
    },
    /// The turn would begin more turns than [`crate::limits::SUB_TURNS`], or deeper than
    /// [`crate::limits::SUB_TURN_DEPTH`].
    #[error("a turn begins up to {limit} turns, and they begin others up to {depth} deep")]
    TooManySubTurns {
        /// How many one turn may begin.
        limit: usize,
        /// How deep.
        depth: usize,
    },
    /// No client requested this turn in this life of the session, or it is forgotten.
    #[error("the turn does not exist")]
    NoSuchTurn,
    /// The turn has ended, or was cancelled before it began.
    #[error("the turn is over")]
    TurnEnded,
    /// Another worker has the turn, or it waits for something else than a worker.
    #[error("the turn is not to be had now")]
    TurnAlreadyClaimed,
    /// The worker's lease is over: nothing more that it puts out is taken (S4).
    #[error("epoch {given} does not have the turn; the last one was {held}")]
    Fenced {
        /// The epoch of the request.
        given: TurnEpoch,
        /// The epoch of the turn's lease; the session's newest where no worker has the turn.
        held: TurnEpoch,
    },
    /// A checkpoint beyond [`crate::limits::CHECKPOINT_BYTES`]; nothing that came with it is taken.
    #[error("the checkpoint has {bytes} bytes; the limit is {limit}")]
    CheckpointTooLarge {
        /// Its length, in bytes.
        bytes: usize,
        /// Greatest length, in bytes.
        limit: usize,
    },
    /// The requester may not do this.
    #[error("this needs the role {}", needs.name())]
    InsufficientRole {
        /// The least role that may.
        needs: Role,
    },
    /// As many inputs as [`crate::limits::MAILBOX`] wait to be taken in by the workers of open
    /// turns.
    #[error("{limit} inputs wait for workers, as many as may")]
    MailboxFull {
        /// How many may wait.
        limit: usize,
    },
    /// Nothing more of the step is taken; the worker may begin another one, or end the turn.
    #[error("the step {step} was cancelled")]
    StepCancelled {
        /// The step.
        step: StepName,
    },
    /// No turn of this life of the session has this question, or it is forgotten.
    #[error("the interaction does not exist")]
    NoSuchInteraction,
    /// No answer came in time, or the turn of the question is over.
    #[error("the interaction is over")]
    InteractionClosed,
    /// Another participant's answer holds.
    #[error("{by} was faster")]
    InteractionAlreadyAnswered {
        /// Who answered; `somebody` where none was named.
        by: String,
        /// The answer's place in the log.
        at: Serial,
    },
    /// The name was given before to an input with other content or for another agent, which stays.
    #[error("an input of this name had other content, or was for another agent")]
    InputDiffers,
    /// The name of an interaction is another turn's; nothing that came with it is taken.
    #[error("another turn has an interaction of this name")]
    InteractionExists,
    /// More than [`crate::limits::INTERACTIONS`] would be open; nothing that came with them is
    /// taken.
    #[error("the session has {limit} open interactions, as many as it may")]
    TooManyInteractions {
        /// How many may be open.
        limit: usize,
    },
    /// Control is another participant's, and only a [`Role::Supervisor`] may take it.
    #[error("{by} has control")]
    ControlledByOther {
        /// Who has it.
        by: String,
    },
    /// Another device makes the call.
    #[error("{by} makes this call")]
    CallClaimed {
        /// Who; `somebody` where none is named.
        by: String,
        /// Until when, unless the holder acts.
        until: Millis,
    },
    /// Another device has claimed the call since.
    #[error("epoch {given} of the call is over; it is at {held}")]
    CallFenced {
        /// The epoch of the request.
        given: CallEpoch,
        /// The newest one.
        held: CallEpoch,
    },
    /// Only a call that a client is to make can be claimed.
    #[error("the question is no call for a client to make")]
    NoClientTool,
    /// More calls than [`crate::limits::TOOL_CALLS`] would be under way in the turn; nothing that came with them is
    /// taken.
    #[error("the turn has {limit} calls of tools under way, as many as it may")]
    TooManyToolCalls {
        /// How many may be.
        limit: usize,
    },
    /// The idempotency key is not that of a call of this name in this turn.
    #[error("no call of this turn has this name and this key")]
    NoSuchToolCall,
    /// The answer was judged by a question that is not the open one of this name.
    #[error("another question is open under this name by now")]
    QuestionDiffers,
    /// The one refusal that is not final: nothing happened now, but an earlier try may have taken
    /// effect.
    #[error("too much happened since to tell whether an earlier try took effect")]
    OutcomeForgotten,
    /// The tenant has as much of something as it may; waiting does not help, giving something up does.
    #[error("the tenant may have {limit} {}", what.name())]
    TenantFull {
        /// Of what.
        what: Held,
        /// How much it may have.
        limit: u64,
    },
    /// The tenant has as many open turns as it may; one of them has to end.
    #[error("the tenant may have {limit} open turns")]
    TenantBusy {
        /// How many may be open.
        limit: u64,
    },
    /// The input names a message that this life of the session does not have, or has no more.
    #[error("there is no message {message} that it could follow or answer again")]
    NoSuchMessage {
        /// The message that was named.
        message: Serial,
    },
    /// The input would begin one branch more than [`crate::limits::BRANCHES`].
    #[error("the conversation has {limit} branches, as many as it may")]
    TooManyBranches {
        /// How many there may be.
        limit: usize,
    },
    /// The session was frozen or archived: it takes nothing more until it is restored.
    #[error("the session is {}", standing.name())]
    ReadOnly {
        /// Which of the two.
        standing: Standing,
    },
    /// The session has no file of this name, or has it no more.
    #[error("the session has no file of this name")]
    NoSuchFile,
    /// The name was given before to a file of another size or hash, which stays.
    #[error("a file of this name has another size, hash or type")]
    FileDiffers,
    /// A file cannot be so; none of it is kept.
    #[error("the file cannot be kept: {0}")]
    BadFile(BadFile),
    /// Bytes are missing before this piece.
    #[error("the byte {expected} of the file comes next, not {given}")]
    FileOffset {
        /// The byte that comes next, from 0.
        expected: u64,
        /// Where the piece begins.
        given: u64,
    },
    /// The piece would be beyond the file's end, or the file is larger than [`crate::limits::FILE_BYTES`].
    #[error("the file would have {bytes} bytes; it may have {limit}")]
    FileTooLarge {
        /// How many it would have.
        bytes: u64,
        /// How many it may have.
        limit: u64,
    },
    /// The bytes that came are not those that were announced: the last piece is not taken, and no other can end it.
    #[error("the file's bytes have another SHA-256 than was announced")]
    HashMismatch,
    /// The session has as many files, or as many that are still coming, as it may.
    #[error("the session has {limit} {}, as many as it may", if *coming { "uploads" } else { "files" })]
    TooManyFiles {
        /// How many there may be.
        limit: usize,
        /// Whether it is about those that are still coming.
        coming: bool,
    },
    /// An event refers to the file, which stays for as long as the event does.
    #[error("the event {at} refers to the file")]
    FileInUse {
        /// The last event that does.
        at: Serial,
    },
    /// What is imported is no session as it can be; nothing of this step is taken.
    #[error("the import is no session: {why}")]
    BadImport {
        /// What is wrong with it.
        why: String,
    },
    /// The import was given up, or another one has taken its place.
    #[error("the import is over: begin it again")]
    ImportOver,
    /// Another session has the name; an import never changes one.
    #[error("the session exists, and is not what this import brings")]
    SessionExists,
    /// A session of this name is being imported.
    #[error("a session of this name is being imported")]
    Importing,
}

/// Which tries of a request came to nothing, as its refusal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tries {
    /// This one and every earlier one did, but for [`Refusal::OutcomeForgotten`], which is looked at
    /// by name.
    OfAll,
    /// An earlier one may have taken effect, in a life, an epoch or a turn that is over.
    OfThis,
}

impl Refusal {
    /// Whether it shows nothing of an earlier try of a request whose key is not kept over all lives: the life, the
    /// epoch or the turn in which that one may have taken effect is over. All others mean that no try took effect.
    #[must_use]
    pub fn tells_of_another_time(&self) -> bool {
        self.row().1 == Tries::OfThis
    }

    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// All that is known of it beside its text; the compiler requires the row of a new one.
    fn row(&self) -> (&'static str, Tries) {
        use Tries::{OfAll, OfThis};
        match self {
            Refusal::NotFound => ("not_found", OfThis),
            Refusal::Gone => ("gone", OfThis),
            Refusal::ConfigDiffers => ("config_differs", OfAll),
            Refusal::BadConfig(_) => ("bad_config", OfAll),
            Refusal::OtherIncarnation { .. } => ("other_incarnation", OfThis),
            Refusal::IncarnationsExhausted => ("incarnations_exhausted", OfAll),
            Refusal::StaleEpoch { .. } => ("stale_epoch", OfThis),
            Refusal::EpochMustStartAtZero { .. } => ("epoch_must_start_at_zero", OfAll),
            Refusal::SequenceGap { .. } => ("sequence_gap", OfAll),
            Refusal::Closed { .. } => ("closed", OfAll),
            Refusal::SerialMismatch { .. } => ("serial_mismatch", OfAll),
            Refusal::NoEvents => ("no_events", OfAll),
            Refusal::TooManyEvents { .. } => ("too_many_events", OfAll),
            Refusal::EventTooLarge { .. } => ("event_too_large", OfAll),
            Refusal::AppendTooLarge { .. } => ("append_too_large", OfAll),
            Refusal::TooManyProducers { .. } => ("too_many_producers", OfAll),
            Refusal::OtherContentType { .. } => ("other_content_type", OfAll),
            Refusal::StreamSeqConflict { .. } => ("stream_seq_conflict", OfAll),
            Refusal::StreamSeqTooLong { .. } => ("stream_seq_too_long", OfAll),
            Refusal::ForkOffsetOutOfRange { .. } => ("fork_offset_out_of_range", OfAll),
            Refusal::TooManyForks { .. } => ("too_many_forks", OfAll),
            Refusal::ForkExpired => ("fork_expired", OfThis),
            Refusal::Busy { .. } => ("busy", OfAll),
            Refusal::TooManyTurns { .. } => ("too_many_turns", OfAll),
            Refusal::TooManySubTurns { .. } => ("too_many_subturns", OfThis),
            Refusal::NoSuchTurn => ("no_such_turn", OfThis),
            Refusal::TurnEnded => ("turn_ended", OfThis),
            Refusal::TurnAlreadyClaimed => ("turn_already_claimed", OfThis),
            Refusal::Fenced { .. } => ("fenced", OfThis),
            Refusal::CheckpointTooLarge { .. } => ("checkpoint_too_large", OfAll),
            Refusal::InsufficientRole { .. } => ("insufficient_role", OfAll),
            Refusal::MailboxFull { .. } => ("mailbox_full", OfAll),
            Refusal::StepCancelled { .. } => ("step_cancelled", OfAll),
            Refusal::NoSuchInteraction => ("no_such_interaction", OfThis),
            Refusal::InteractionClosed => ("interaction_closed", OfAll),
            Refusal::InteractionAlreadyAnswered { .. } => ("interaction_already_answered", OfAll),
            Refusal::InputDiffers => ("conflict", OfAll),
            Refusal::InteractionExists => ("interaction_exists", OfAll),
            Refusal::TooManyInteractions { .. } => ("too_many_interactions", OfAll),
            Refusal::ControlledByOther { .. } => ("controlled_by_other", OfAll),
            Refusal::CallClaimed { .. } => ("call_claimed", OfAll),
            Refusal::CallFenced { .. } => ("fenced", OfThis),
            Refusal::NoClientTool => ("no_client_tool", OfAll),
            Refusal::TooManyToolCalls { .. } => ("too_many_tool_calls", OfAll),
            Refusal::NoSuchToolCall => ("no_such_tool_call", OfThis),
            Refusal::QuestionDiffers => ("conflict", OfAll),
            Refusal::OutcomeForgotten => ("outcome_unknown", OfAll),
            Refusal::TenantFull { .. } => ("quota_reached", OfAll),
            Refusal::TenantBusy { .. } => ("quota_exceeded", OfAll),
            Refusal::NoSuchMessage { .. } => ("no_such_message", OfThis),
            Refusal::TooManyBranches { .. } => ("too_many_branches", OfAll),
            Refusal::ReadOnly { .. } => ("frozen", OfAll),
            Refusal::NoSuchFile => ("no_such_file", OfThis),
            Refusal::FileDiffers => ("file_differs", OfAll),
            Refusal::BadFile(_) => ("bad_file", OfAll),
            Refusal::FileOffset { .. } => ("file_offset", OfAll),
            Refusal::FileTooLarge { .. } => ("file_too_large", OfAll),
            Refusal::HashMismatch => ("hash_mismatch", OfAll),
            Refusal::TooManyFiles { .. } => ("too_many_files", OfAll),
            Refusal::FileInUse { .. } => ("file_in_use", OfThis),
            Refusal::BadImport { .. } => ("bad_import", OfAll),
            Refusal::ImportOver => ("import_over", OfThis),
            Refusal::SessionExists => ("session_exists", OfAll),
            Refusal::Importing => ("importing", OfAll),
        }
    }
}

fn stale(producer: &ProducerId, given: ProducerEpoch, held: ProducerEpoch) -> String {
    if given == held {
        format!(
            "producer {producer} wrote in epoch {held} in an earlier life of the session; a greater one is next"
        )
    } else {
        format!("producer {producer} is at epoch {held}; {given} is stale")
    }
}
