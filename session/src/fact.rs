//! What an event means: written by the session itself, or what is known about its writer.

mod members;
mod names;

use serde::{Deserialize, Serialize};

use super::branch::TreePlace;
use super::control::Mode;
use super::standing::Standing;
use crate::command::{Phase, Role};
use crate::ids::{
    CallEpoch, CallId, ControlEpoch, DeviceName, InteractionId, KindName, Millis, ParticipantName,
    Serial, StepName, ToolName, TurnEpoch, TurnId,
};

pub use members::Member;

/// The meaning of an event. Its payload, if any, is the content of the participant's input or of the agent's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A client requested a turn, or steered one that runs; or a worker began one.
    Input {
        /// Name of the input itself; a turn has the name of its first one.
        input: TurnId,
        /// The turn that gets it.
        turn: TurnId,
        /// Who sent it, where that is known.
        sender: Option<Sender>,
        /// No turn gets it: whoever has control is to answer.
        held: bool,
        /// Where it stands in the tree.
        place: TreePlace,
        /// The turn that began this one, where a worker did.
        parent: Option<TurnId>,
    },
    /// Whoever has control sent a message.
    Person {
        /// Name of the input.
        input: TurnId,
        /// Who has control.
        sender: Option<Sender>,
        /// Where it stands in the tree.
        place: TreePlace,
    },
    /// A worker has the turn now.
    Started {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// Workers that have had the turn, with this one; from 1.
        attempt: u32,
    },
    /// The agent's output.
    Output(Output),
    /// The worker does something else now.
    Phase {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// What it does now.
        phase: Phase,
    },
    /// The worker lives, and is without progress for longer than it declared.
    Stalled {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
    },
    /// A worker that was stalled gets on again.
    Recovered {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
    },
    /// The turn has no worker any more.
    Lost {
        /// The turn.
        turn: TurnId,
        /// The epoch of the lease that is over.
        epoch: TurnEpoch,
        /// Why it is.
        cause: Cause,
        /// When another worker may have the turn at the earliest, in milliseconds since 1970; 0 for
        /// never.
        again_at: u64,
        /// A last message of the worker; up to [`crate::limits::DETAIL_BYTES`].
        detail: String,
    },
    /// The worker began a step.
    Step {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// The step.
        step: StepName,
        /// Times in a row that this step was begun; from 1.
        attempt: u32,
    },
    /// Output of earlier attempts is superseded by what follows.
    Rewound {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker that begins anew.
        epoch: TurnEpoch,
        /// The step that is begun anew; none where the whole turn is.
        step: Option<StepName>,
        /// First event that is superseded.
        from: Serial,
        /// Last event of the turn's output before this.
        to: Serial,
    },
    /// The step is to end; no more of it is taken.
    StepCancelled {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepName,
        /// Who requested it; none where none is named.
        by: Option<Sender>,
        /// Up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
    /// What became of an input on its way to a worker.
    Receipt {
        /// The input.
        input: TurnId,
        /// The turn that it was steered into, or that it is of now.
        turn: TurnId,
        /// What became of it.
        receipt: Receipt,
    },
    /// The worker is to pause at its next safe boundary.
    Pausing {
        /// The turn.
        turn: TurnId,
        /// Why it is to rest.
        reason: PauseReason,
    },
    /// The turn rests, without a worker.
    Paused {
        /// The turn.
        turn: TurnId,
        /// Why it rests.
        reason: PauseReason,
    },
    /// The turn goes on, or need not rest.
    Resumed {
        /// The turn.
        turn: TurnId,
    },
    /// The turn waits for an answer, or for sub-turns, without a worker.
    Waiting {
        /// The turn.
        turn: TurnId,
    },
    /// The agent has a question for people.
    Requested {
        /// Name of the question.
        interaction: InteractionId,
        /// The turn whose question it is.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// What sort of thing it is.
        kind: KindName,
        /// Until when it can be answered; as long as the turn is open where nothing is given.
        deadline: Option<Millis>,
        /// Where the message begins that this is of.
        message: Serial,
        /// Where it stands in the tree.
        place: TreePlace,
        /// Who may answer, at least.
        role: Role,
    },
    /// A client answered; no other answer is taken.
    Answered {
        /// The question.
        interaction: InteractionId,
        /// The turn of the question.
        turn: TurnId,
        /// Who answered, where that is known.
        by: Option<Sender>,
    },
    /// No answer is taken any more.
    Expired {
        /// The question.
        interaction: InteractionId,
        /// The turn of the question.
        turn: TurnId,
    },
    /// Who answers people has changed, or a participant requests it to.
    Control(Box<ControlChange>),
    /// How many watch has changed while agents are at work.
    Audience {
        /// Everybody who is attached.
        watchers: u32,
        /// Those among them that may do more than send inputs.
        controllers: u32,
    },
    /// The turn is over. Written exactly once for each turn (S9).
    Ended {
        /// The turn.
        turn: TurnId,
        /// How it ended.
        end: End,
    },
    /// The agent withdrew its question; no answer is taken any more.
    Withdrawn {
        /// The question.
        interaction: InteractionId,
        /// The turn of the question.
        turn: TurnId,
        /// For people; up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
    /// A device makes the call that a client is to make; no other client answers meanwhile.
    CallClaimed {
        /// The question.
        interaction: InteractionId,
        /// The turn of the question.
        turn: TurnId,
        /// Who makes it, on what.
        by: Sender,
        /// Its fencing token.
        epoch: CallEpoch,
        /// Until when it has the call, unless it renews it.
        until: Millis,
    },
    /// Another device may make the call.
    CallReleased {
        /// The question.
        interaction: InteractionId,
        /// The turn of the question.
        turn: TurnId,
        /// The epoch that is over.
        epoch: CallEpoch,
        /// Why it is.
        cause: CallCause,
    },
    /// A worker is about to make a call of a tool.
    ToolStarted {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// The call's name.
        call: CallId,
        /// What is called.
        tool: ToolName,
        /// The call's idempotency key: the same whoever makes it, and however often.
        key: u128,
    },
    /// A worker has made a call.
    ToolFinished {
        /// The turn.
        turn: TurnId,
        /// The epoch of the worker's lease.
        epoch: TurnEpoch,
        /// The call's name.
        call: CallId,
        /// The call's idempotency key.
        key: u128,
        /// What came of it is an error.
        failed: bool,
    },
    /// A worker reports the result of a call, and does not have the turn any more, if the turn is open at all. No
    /// fact of a turn, because nothing follows the end of one.
    ToolLate {
        /// The turn that the call was made in.
        of: TurnId,
        /// The epoch of the lease under which it was made.
        epoch: TurnEpoch,
        /// The call's name.
        call: CallId,
        /// The call's idempotency key.
        key: u128,
        /// What came of it is an error.
        failed: bool,
    },
    /// What may still be added to the session has changed.
    Standing {
        /// What may.
        standing: Standing,
        /// Who requested it; none where none is named.
        by: Option<Sender>,
    },
}

/// See [`Fact::Output`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The turn.
    pub turn: TurnId,
    /// The epoch of the worker's lease.
    pub epoch: TurnEpoch,
    /// Workers that have had the turn, with this one; from 1.
    pub attempt: u32,
    /// Payload bytes that the turn put out before, in all attempts.
    pub offset: u64,
    /// The step under way, if any.
    pub step: Option<StepName>,
    /// Not for everyone.
    pub internal: bool,
    /// Where the message begins that this is of.
    pub message: Serial,
    /// Where it stands in the tree.
    pub place: TreePlace,
}

/// See [`Fact::Control`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlChange {
    /// What happened.
    pub change: Change,
    /// How people are answered now.
    pub mode: Mode,
    /// Who did it; the session itself where none is named.
    pub by: Option<Sender>,
    /// Who has it now; the agents where none is named.
    pub holder: Option<Sender>,
    /// Counts the holders.
    pub epoch: ControlEpoch,
    /// When control goes back to the agents unless its holder acts.
    pub until: Option<Millis>,
    /// The note of whoever did it; up to [`crate::limits::REASON_BYTES`].
    pub note: String,
}

/// See [`ControlChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A participant requests it, or a turn failed and requests a person.
    Requested,
    /// It was given to a participant.
    Granted,
    /// A participant took it.
    Taken,
    /// Its holder, or a supervisor, gave it back to the agents.
    Released,
    /// Its holder did not act in time; the agents have it.
    Expired,
}

/// Who sent something, on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Who.
    pub participant: ParticipantName,
    /// On what, where that is known.
    pub device: Option<DeviceName>,
}

/// What became of an input that was steered into a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// It has reached the worker.
    Delivered {
        /// The epoch of its lease.
        epoch: TurnEpoch,
    },
    /// The worker has taken it in.
    Consumed {
        /// The epoch of its lease.
        epoch: TurnEpoch,
    },
    /// The turn was completed before; it is of another turn now.
    Deferred,
    /// The turn failed or was cancelled before.
    Dropped {
        /// Which of the two, for people.
        why: String,
    },
}

/// Why a turn rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PauseReason {
    /// A client requested it.
    Requested,
    /// No participant watches.
    Unwatched,
}

/// Why a device does not make a call any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallCause {
    /// It gave the call back.
    Released,
    /// It sent nothing for as long as its lease.
    Silent,
    /// It left the session, and did not come back.
    Gone,
}

/// Why a turn lost its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It sent nothing for as long as its lease.
    Silent,
    /// It sent heartbeats, and did nothing for twice as long as it declared.
    Stalled,
    /// It gave the turn back.
    Released,
    /// Its connection ended.
    Disconnected,
    /// Its process ended.
    Exited,
    /// Its supervisor put another one in its place.
    Replaced,
    /// What it relies on has no room for it now: no fault of the turn.
    Throttled,
    /// Its node is gone.
    NodeGone,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its worker reported that it is done.
    Completed {
        /// Why the answer ended, where that was not its own end; empty otherwise.
        reason: String,
    },
    /// Its worker gave it up, too many workers were lost, or none came.
    Failed {
        /// For people; up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
    /// A client ended it, its session was closed, or no participant watched.
    Cancelled {
        /// Who requested it; none where none is named.
        by: Option<Sender>,
        /// For people; up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
}
