//! What goes wrong, as clients see it: `application/problem+json` with a stable code.
//!
//! Every answer that is no success states whether the request may have taken effect. Texts name what the
//! client sent, never a path, a peer or another's session.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{files, headers, quota};
use crate::auth::Denial;
use crate::runtime::{AttachError, MembersError, SubmitError, Unavailable};
use crate::session::Refusal;

/// One kind of problem; there is one entry for each in `docs/OPERATIONS.md`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Stable name for programs.
    pub code: &'static str,
    pub status: u16,
    /// One line for people.
    pub title: &'static str,
}

/// Each kind with its status, code and title, and the refusals that are returned as it.
macro_rules! kinds {
    ($($name:ident $status:literal $code:literal $title:literal $([$($refusal:ident)*])?)*) => {
        $(pub(super) const $name: Kind = Kind { code: $code, status: $status, title: $title };)*
        /// Every kind there is.
        pub const KINDS: &[&Kind] = &[$(&$name),*];

        fn kind_of(refusal: &Refusal) -> &'static Kind {
            match refusal {
                $($($(Refusal::$refusal { .. } => &$name,)*)?)*
            }
        }
    };
}

kinds! {
    BAD_QUERY 400 "bad_query" "A query parameter cannot be understood"
    BAD_HEADER 400 "bad_header" "A header cannot be understood"
    BAD_JSON 400 "bad_json" "The JSON cannot be understood"
    BAD_BODY 400 "bad_body" "The body cannot be read"
    BAD_SESSION_ID 400 "bad_session_id" "The path names no possible session"
    BAD_NAME 400 "bad_name" "The path names no possible agent or turn"
    BAD_CURSOR 400 "bad_cursor" "The cursor was not made by this service"
    BAD_FORMAT 400 "bad_format" "The format tag cannot be kept"
    BAD_FRAME 400 "bad_frame" "The frame cannot be understood"
    BAD_PRODUCER 400 "bad_producer" "The producer headers cannot be understood"
    BAD_CONFIG 400 "bad_config" "The configuration cannot be kept" [BadConfig]
    CURSOR_OUT_OF_RANGE 400 "cursor_out_of_range" "The cursor lies beyond the end of the log"
    NO_EVENTS 400 "no_events" "The append carries no event" [NoEvents]
    STREAM_SEQ_TOO_LONG 400 "stream_seq_too_long" "The value of Stream-Seq is too long" [StreamSeqTooLong]
    BAD_IMPORT 400 "bad_import" "What is imported is no session" [BadImport]
    FORK_OFFSET_OUT_OF_RANGE 400 "fork_offset_out_of_range" "The log cannot be forked beyond its end" [ForkOffsetOutOfRange]
    BAD_QUESTION 400 "bad_question" "The question has not the shape of its kind"
    BAD_ANSWER 400 "bad_answer" "The answer does not fit its question"
    BAD_FILE 400 "bad_file" "The file cannot be kept" [BadFile]
    EPOCH_MUST_START_AT_ZERO 400 "epoch_must_start_at_zero" "A new producer epoch begins with seq 0" [EpochMustStartAtZero]
    UNAUTHENTICATED 401 "unauthenticated" "The service does not know who asks"
    TOKEN_EXPIRED 401 "token_expired" "The time of the token, ticket or cookie is over"
    KEY_EXPIRED 401 "key_expired" "The time of the key is over"
    KEY_REVOKED 401 "key_revoked" "The key was revoked"
    LOGGED_OUT 401 "logged_out" "The cookie was given back"
    FORBIDDEN 403 "forbidden" "The credential does not allow this"
    QUOTA_REACHED 403 "quota_reached" "The tenant has as much of it as it may" [TenantFull]
    STALE_EPOCH 403 "stale_epoch" "A newer epoch of this producer has written" [StaleEpoch]
    FENCED 403 "fenced" "The turn, or the call, was given to somebody else" [Fenced CallFenced]
    INSUFFICIENT_ROLE 403 "insufficient_role" "The role may not do this" [InsufficientRole]
    ORIGIN_NOT_ALLOWED 403 "origin_not_allowed" "Pages of this origin may not ask this node"
    HOST_NOT_ALLOWED 403 "host_not_allowed" "This node does not go by this name"
    NOT_FOUND 404 "not_found" "The session does not exist" [NotFound]
    NO_SUCH_KEY 404 "no_such_key" "The key does not exist"
    NO_SUCH_TURN 404 "no_such_turn" "The turn does not exist" [NoSuchTurn]
    NOT_ATTACHED 404 "not_attached" "The session is not attached on this connection"
    NO_SUCH_MESSAGE 404 "no_such_message" "The message does not exist" [NoSuchMessage]
    NO_SUCH_BRANCH 404 "no_such_branch" "The conversation has no such branch"
    NO_SUCH_INTERACTION 404 "no_such_interaction" "The interaction does not exist" [NoSuchInteraction]
    NO_SUCH_TOOL_CALL 404 "no_such_tool_call" "No call of the turn has this name and this key" [NoSuchToolCall]
    NO_SUCH_FILE 404 "no_such_file" "The file does not exist" [NoSuchFile]
    UNKNOWN_PATH 404 "unknown_path" "There is nothing at this path"
    METHOD_NOT_ALLOWED 405 "method_not_allowed" "The path does not know this method"
    SLOW_BODY 408 "slow_body" "The body did not arrive in time"
    CONFIG_DIFFERS 409 "config_differs" "The session exists with another configuration" [ConfigDiffers]
    SESSION_EXISTS 409 "session_exists" "Another session has this name" [SessionExists]
    IMPORTING 409 "importing" "A session of this name is being imported" [Importing]
    IMPORT_OVER 409 "import_over" "The import was given up, or another one took its place" [ImportOver]
    CLOSED 409 "closed" "The session takes no more events" [Closed]
    FROZEN 409 "frozen" "The session is frozen or archived" [ReadOnly]
    SERIAL_MISMATCH 409 "serial_mismatch" "The log does not end where it was expected to" [SerialMismatch]
    SEQUENCE_GAP 409 "sequence_gap" "A request of this producer is missing" [SequenceGap]
    OTHER_INCARNATION 409 "other_incarnation" "The session was deleted and lives again" [OtherIncarnation]
    INCARNATIONS_EXHAUSTED 409 "incarnations_exhausted" "The session was created too often" [IncarnationsExhausted]
    TOO_MANY_PRODUCERS 409 "too_many_producers" "The session remembers as many producers as it may" [TooManyProducers]
    OTHER_CONTENT_TYPE 409 "other_content_type" "The log is made of something else" [OtherContentType]
    STREAM_SEQ_CONFLICT 409 "stream_seq_conflict" "The value of Stream-Seq does not come after the last one" [StreamSeqConflict]
    TOO_MANY_FORKS 409 "too_many_forks" "The log has as many forks as it may" [TooManyForks]
    FORK_EXPIRED 409 "fork_expired" "The fork took too long to begin" [ForkExpired]
    BUSY 409 "busy" "The agent has an open turn" [Busy]
    TOO_MANY_TURNS 409 "too_many_turns" "The session has as many open turns as it may" [TooManyTurns]
    TOO_MANY_SUBTURNS 409 "too_many_subturns" "A turn begins no more turns, or none so deep" [TooManySubTurns]
    TURN_ALREADY_CLAIMED 409 "turn_already_claimed" "The turn is not to be had now" [TurnAlreadyClaimed]
    ALREADY_ATTACHED 409 "already_attached" "The session is attached on this connection"
    TOO_MANY_SESSIONS 409 "too_many_sessions" "The connection has as many sessions as it may"
    CONFLICT 409 "conflict" "Something else came first under this name" [InputDiffers QuestionDiffers]
    INTERACTION_ALREADY_ANSWERED 409 "interaction_already_answered" "Somebody else answered first" [InteractionAlreadyAnswered]
    TOO_MANY_BRANCHES 409 "too_many_branches" "The conversation has as many branches as it may" [TooManyBranches]
    INTERACTION_EXISTS 409 "interaction_exists" "Another turn has an interaction of this name" [InteractionExists]
    TOO_MANY_INTERACTIONS 409 "too_many_interactions" "The session has as many open interactions as it may" [TooManyInteractions]
    CALL_CLAIMED 409 "call_claimed" "Another device makes the call" [CallClaimed]
    NO_CLIENT_TOOL 409 "no_client_tool" "The question is no call for a client to make" [NoClientTool]
    TOO_MANY_TOOL_CALLS 409 "too_many_tool_calls" "The turn has as many calls of tools under way as it may" [TooManyToolCalls]
    MAILBOX_FULL 409 "mailbox_full" "As many inputs wait for workers as may" [MailboxFull]
    STEP_CANCELLED 409 "step_cancelled" "The step was cancelled" [StepCancelled]
    CONTROLLED_BY_OTHER 409 "controlled_by_other" "Somebody else has control" [ControlledByOther]
    FILE_DIFFERS 409 "file_differs" "A file of this name is another one" [FileDiffers]
    FILE_OFFSET 409 "file_offset" "The file goes on at another byte" [FileOffset]
    FILE_INCOMPLETE 409 "file_incomplete" "Not all bytes of the file have come"
    FILE_IN_USE 409 "file_in_use" "An event refers to the file" [FileInUse]
    TOO_MANY_FILES 409 "too_many_files" "The session has as many files as it may" [TooManyFiles]
    NAME_RESERVED 409 "name_reserved" "The name belongs to a deleted session that has forks"
    SOURCE_DELETED 409 "source_deleted" "The source of the fork was deleted"
    KEYS_OFF 409 "keys_off" "This node asks nobody who they are"
    TOO_MANY_KEYS 409 "too_many_keys" "The cluster has as many keys as it may"
    MEMBERS_REFUSED 409 "members_refused" "The members of the cluster cannot be changed so"
    GONE 410 "gone" "The session was deleted; its log is kept for its forks alone" [Gone]
    CURSOR_GONE 410 "cursor_gone" "What lies after the cursor is no more"
    TURN_ENDED 410 "turn_ended" "The turn is over" [TurnEnded]
    INTERACTION_CLOSED 410 "interaction_closed" "The interaction is over" [InteractionClosed]
    BODY_TOO_LARGE 413 "body_too_large" "The body is too large"
    EVENT_TOO_LARGE 413 "event_too_large" "An event is too large" [EventTooLarge]
    APPEND_TOO_LARGE 413 "append_too_large" "The append is too large" [AppendTooLarge]
    CHECKPOINT_TOO_LARGE 413 "checkpoint_too_large" "The checkpoint is too large" [CheckpointTooLarge]
    TOO_MANY_EVENTS 413 "too_many_events" "The append carries too many events" [TooManyEvents]
    FILE_TOO_LARGE 413 "file_too_large" "The file is too large" [FileTooLarge]
    FRAME_TOO_LARGE 413 "frame_too_large" "The frame is too large"
    UNSUPPORTED_TYPE 415 "unsupported_type" "The content type is not taken here"
    UNSUPPORTED_ENCODING 415 "unsupported_encoding" "Compressed bodies are not taken"
    RANGE_BEYOND 416 "range_beyond" "The file has no such bytes"
    HASH_MISMATCH 422 "hash_mismatch" "The bytes are not those that were announced" [HashMismatch]
    UPGRADE_REQUIRED 426 "upgrade_required" "The path is for WebSockets"
    QUOTA_EXCEEDED 429 "quota_exceeded" "More than the quota of the tenant or of the key allows" [TenantBusy]
    OVERLOADED 429 "overloaded" "Too much work waits on this node"
    AGENT_FAILED 502 "agent_failed" "The agent did not answer to its end"
    TOO_MANY_READERS 503 "too_many_readers" "This node serves as many readers as it may"
    TOO_MANY_CONNECTIONS 503 "too_many_connections" "This node serves as many connections as it may"
    NO_QUORUM 503 "no_quorum" "No leader with a majority answered in time"
    DETACHED 503 "detached" "This node cannot serve the reader any more"
    OUTCOME_UNKNOWN 504 "outcome_unknown" "The request may or may not have taken effect" [OutcomeForgotten]
    DISK_FULL 507 "disk_full" "The disk of the leading node is full"
}

/// One problem with one request.
#[derive(Debug)]
pub(super) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: &'static Kind,
    detail: String,
    /// Whether the client gave the request no key: sent again, it may be done twice.
    keyless: bool,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            kind,
            detail: detail.into(),
            keyless: false,
            members: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// The same for a request to which the client gave no key, so that it must not simply send it again.
    pub(super) fn of_keyless(mut self) -> Problem {
        if *self.0.kind == OUTCOME_UNKNOWN {
            self.0.keyless = true;
            self.0.detail = "look before it is sent again, or name a producer".into();
        }
        self
    }

    /// Adds a member of the body for programs.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header of the answer.
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Problem {
        self.0.headers.push((name, value.into()));
        self
    }

    /// Its stable name, for answers that are no HTTP.
    pub(super) fn code(&self) -> &'static str {
        self.0.kind.code
    }

    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// When the same may succeed, where that is known, in milliseconds.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        self.0.members.get("retry_after_ms").and_then(Value::as_u64)
    }

    pub(super) fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    /// Whether the same request may succeed later: nothing is wrong with it.
    pub(super) fn is_passing(&self) -> bool {
        !self.0.keyless && matches!(self.0.kind.status, 408 | 429 | 503 | 504 | 507)
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("/errors/{}", self.0.kind.code),
            "title": self.0.kind.title,
            "status": self.0.kind.status,
            "code": self.0.kind.code,
            "detail": self.0.detail,
            "outcome": self.outcome(),
            "retryable": self.is_passing(),
        });
        if let Value::Object(body) = &mut body {
            body.extend(self.0.members.clone());
        }
        body
    }

    fn outcome(&self) -> &'static str {
        if *self.0.kind == OUTCOME_UNKNOWN { "unknown" } else { "refused" }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status).expect("the table has real codes");
        let (body, passing) = (self.body(), self.is_passing());
        let Parts { kind, headers, .. } = *self.0;
        let mut response = (status, body.to_string()).into_response();
        response.headers_mut().extend(headers);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if passing {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(soon);
        }
        response.extensions_mut().insert(Code(kind.code));
        response
    }
}

/// The code of a problem, left in its response for the metrics.
#[derive(Clone, Copy)]
pub(super) struct Code(pub(super) &'static str);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let kind = kind_of(&refusal);
        debug_assert_eq!(kind.code, refusal.code(), "both tables have the same code");
        let problem = Problem::new(kind, refusal.to_string());
        match refusal {
            Refusal::OtherIncarnation { current, .. } => problem.with("incarnation", current.0),
            Refusal::Busy { ref turn } => {
                let turn = turn.as_str().to_owned();
                problem.with("turn", turn)
            }
            Refusal::InteractionAlreadyAnswered { by, at } => {
                problem.with("by", by).with("answered", at.0)
            }
            Refusal::Fenced { held, .. } => problem.with("epoch", held.0),
            Refusal::CallFenced { held, .. } => problem.with("epoch", held.0),
            Refusal::CallClaimed { by, until } => problem.with("by", by).with("until", until.0),
            Refusal::StaleEpoch { held, .. } => {
                problem.with("epoch", held.0).header(headers::PRODUCER_EPOCH, held.0)
            }
            Refusal::SequenceGap { expected, received } => problem
                .with("expected", expected)
                .with("received", received)
                .header(headers::PRODUCER_EXPECTED_SEQ, expected)
                .header(headers::PRODUCER_RECEIVED_SEQ, received),
            Refusal::Closed { tail } | Refusal::SerialMismatch { tail, .. } => {
                problem.with("tail", tail.0).header(headers::OUTLIVE_SERIAL, tail.0)
            }
            Refusal::FileOffset { expected, .. } => {
                problem.with("offset", expected).header(files::UPLOAD_OFFSET, expected)
            }
            Refusal::FileInUse { at } => problem.with("serial", at.0),
            Refusal::TenantFull { what, limit } => quota::held(problem, what.name(), limit),
            Refusal::TenantBusy { limit } => {
                quota::held(problem, "open-turns", limit).with("retry_after_ms", 1_000_u64)
            }
            _ => problem,
        }
    }
}

// The texts inside these errors are for operators; clients get the title only.

impl From<Unavailable> for Problem {
    fn from(why: Unavailable) -> Problem {
        tracing::debug!(%why, "a request found nobody to serve it");
        match why {
            Unavailable::NoQuorum(_) => Problem::new(&NO_QUORUM, "nothing happened; try again"),
            Unavailable::Overloaded => Problem::new(&OVERLOADED, "nothing happened; try later"),
            Unavailable::Denied(why) => Denial::Denied(why).into(),
            Unavailable::DiskFull => Problem::new(&DISK_FULL, "nothing happened; reads still work"),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(why: SubmitError) -> Problem {
        match why {
            SubmitError::Refused { refusal, .. } => refusal.into(),
            SubmitError::Denied(why) => Denial::Denied(why).into(),
            SubmitError::Unavailable(why) => why.into(),
            SubmitError::Unknown(why) => {
                tracing::debug!(why, "the outcome of a request is unknown");
                let detail = "repeat it with the same producer headers to find out";
                Problem::new(&OUTCOME_UNKNOWN, detail)
            }
        }
    }
}

/// What a stream of lines gets that ends because its node stops. `under_way`: a line of it may take effect yet.
pub(super) fn of_stop(under_way: bool) -> Problem {
    let kind = if under_way { &OUTCOME_UNKNOWN } else { &DETACHED };
    Problem::new(kind, "this node stops; go on at another from this line")
}

impl From<MembersError> for Problem {
    fn from(why: MembersError) -> Problem {
        match why {
            // The requester of this is an operator, and needs the whole sentence.
            MembersError::Refused(text) => Problem::new(&MEMBERS_REFUSED, text),
            MembersError::Unavailable(why) => why.into(),
            MembersError::Unknown(why) => {
                tracing::debug!(why, "the outcome of a change of members is unknown");
                Problem::new(&OUTCOME_UNKNOWN, "repeat it to find out; that is harmless")
            }
        }
    }
}

impl From<AttachError> for Problem {
    fn from(why: AttachError) -> Problem {
        match why {
            AttachError::NotFound => Refusal::NotFound.into(),
            AttachError::Gone => Refusal::Gone.into(),
            AttachError::OtherRoot => Problem::new(&CURSOR_GONE, why.to_string()),
            AttachError::Ahead { given, tail } => Problem::new(
                &CURSOR_OUT_OF_RANGE,
                format!("the cursor is at {given}, beyond the tail at {tail}"),
            )
            .with("tail", tail.0),
            AttachError::TooManyReaders => Problem::new(&TOO_MANY_READERS, why.to_string()),
            AttachError::Unavailable(why) => why.into(),
            AttachError::Denied(why) => Denial::Denied(why).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::ids::{Incarnation, ProducerEpoch, ProducerId, Serial};

    /// Status, our headers and body of a problem.
    async fn check(problem: impl Into<Problem>, expected: Expect) {
        let response = problem.into().into_response();
        let status = response.status().as_u16();
        let headers: Vec<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| *name != header::CONTENT_TYPE)
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
            .collect();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        expected.assert_eq(&format!("{status}\n{}{body}", headers.concat()));
    }

    #[test]
    fn a_line_under_way_when_a_node_stops_is_not_called_refused() {
        for (under_way, outcome) in [(true, "unknown"), (false, "refused")] {
            assert_eq!(of_stop(under_way).body()["outcome"], outcome);
        }
    }

    #[tokio::test]
    async fn a_problem_says_what_happened_and_whether_to_repeat() {
        check(
            Refusal::SequenceGap { expected: 3, received: 5 },
            expect![[r#"
                409
                producer-expected-seq: 3
                producer-received-seq: 5
                {"code":"sequence_gap","detail":"seq 3 comes next, not 5","expected":3,"outcome":"refused","received":5,"retryable":false,"status":409,"title":"A request of this producer is missing","type":"/errors/sequence_gap"}"#]],
        )
        .await;
        check(
            Refusal::StaleEpoch { producer: ProducerId::parse("p").unwrap(), given: ProducerEpoch(1), held: ProducerEpoch(2) },
            expect![[r#"
                403
                producer-epoch: 2
                {"code":"stale_epoch","detail":"producer p is at epoch 2; 1 is stale","epoch":2,"outcome":"refused","retryable":false,"status":403,"title":"A newer epoch of this producer has written","type":"/errors/stale_epoch"}"#]],
        )
        .await;
        check(
            SubmitError::Unknown("10.0.0.7:9 went away".into()),
            expect![[r#"
                504
                retry-after: 1
                {"code":"outcome_unknown","detail":"repeat it with the same producer headers to find out","outcome":"unknown","retryable":true,"status":504,"title":"The request may or may not have taken effect","type":"/errors/outcome_unknown"}"#]],
        )
        .await;
        check(
            Problem::from(SubmitError::Unknown("no answer".into())).of_keyless(),
            expect![[r#"
                504
                {"code":"outcome_unknown","detail":"look before it is sent again, or name a producer","outcome":"unknown","retryable":false,"status":504,"title":"The request may or may not have taken effect","type":"/errors/outcome_unknown"}"#]],
        )
        .await;
        check(
            SubmitError::Unavailable(Unavailable::NoQuorum("peer 10.0.0.7:9".into())),
            expect![[r#"
                503
                retry-after: 1
                {"code":"no_quorum","detail":"nothing happened; try again","outcome":"refused","retryable":true,"status":503,"title":"No leader with a majority answered in time","type":"/errors/no_quorum"}"#]],
        )
        .await;
        check(
            AttachError::Ahead { given: Serial(9), tail: Serial(3) },
            expect![[r##"
                400
                {"code":"cursor_out_of_range","detail":"the cursor is at #9, beyond the tail at #3","outcome":"refused","retryable":false,"status":400,"tail":3,"title":"The cursor lies beyond the end of the log","type":"/errors/cursor_out_of_range"}"##]],
        )
        .await;
    }

    #[test]
    fn a_refusal_keeps_its_name_on_the_way_out() {
        for refusal in [
            Refusal::NotFound,
            Refusal::ConfigDiffers,
            Refusal::OtherIncarnation { given: Incarnation(1), current: Incarnation(2) },
            Refusal::IncarnationsExhausted,
            Refusal::EpochMustStartAtZero { received: 1 },
            Refusal::Closed { tail: Serial(1) },
            Refusal::SerialMismatch { expected: Serial(1), tail: Serial(2) },
            Refusal::NoEvents,
            Refusal::TooManyEvents { count: 2, limit: 1 },
            Refusal::EventTooLarge { bytes: 2, limit: 1 },
            Refusal::AppendTooLarge { bytes: 2, limit: 1 },
            Refusal::TooManyProducers { limit: 1 },
        ] {
            let code = refusal.code();
            assert_eq!(Problem::from(refusal).kind().code, code);
        }
    }

    #[test]
    fn codes_are_unique_and_each_is_explained_to_operators() {
        let unique: BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
        assert_eq!(unique.len(), KINDS.len());
        let manual = include_str!("../../docs/OPERATIONS.md");
        for kind in KINDS {
            let entry = format!("### `{}` ({})", kind.code, kind.status);
            assert!(manual.contains(&entry), "docs/OPERATIONS.md has no entry {entry:?}");
        }
    }
}
