//! How a session treats its turns.

use serde::Deserialize;

use super::turns::{bad, when_busy};
use crate::edge::error::Problem;
use crate::session::{Policy, Unwatched};

/// How a session treats its turns, as JSON.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::edge) struct PolicyBody {
    when_busy: Option<String>,
    unwatched: Option<UnwatchedBody>,
    attempts: Option<u32>,
    escalate: bool,
    wait_ms: Option<u64>,
    merge_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UnwatchedBody {
    Name(String),
    After(AfterBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AfterBody {
    pause_after_ms: Option<u64>,
    cancel_after_ms: Option<u64>,
}

pub(in crate::edge) fn policy(request: PolicyBody) -> Result<Policy, Problem> {
    let unwatched = match request.unwatched {
        None => Unwatched::Continue,
        Some(UnwatchedBody::Name(name)) if name == "continue" => Unwatched::Continue,
        Some(UnwatchedBody::After(AfterBody {
            pause_after_ms: Some(after_ms),
            cancel_after_ms: None,
        })) => Unwatched::Pause { after_ms },
        Some(UnwatchedBody::After(AfterBody {
            pause_after_ms: None,
            cancel_after_ms: Some(after_ms),
        })) => Unwatched::Cancel { after_ms },
        Some(_) => {
            let how =
                "unwatched is \"continue\", {\"pause_after_ms\":n} or {\"cancel_after_ms\":n}";
            return Err(bad(how));
        }
    };
    Ok(Policy {
        when_busy: when_busy(request.when_busy.as_deref())?.unwrap_or_default(),
        unwatched,
        attempts: request.attempts,
        escalate: request.escalate,
        wait_ms: request.wait_ms,
        merge_ms: request.merge_ms,
    })
}
