//! What bodies ask of whole sessions: how one is created, and where its log is to begin.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::error::{self, Problem};
use super::turns::{self, json};
use crate::ids::Serial;
use crate::session::{Command, Config, Policy, Refusal, Retention};

/// The body of a create; all of it may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CreateBody {
    retention: RetentionBody,
    ttl_ms: Option<u64>,
    labels: BTreeMap<String, String>,
    policy: Option<turns::PolicyBody>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetentionBody {
    max_age_ms: Option<u64>,
    max_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrimBody {
    before: u64,
}

pub(super) fn create(body: &[u8]) -> Result<Command, Problem> {
    let request: CreateBody = if body.is_empty() { CreateBody::default() } else { json(body)? };
    let config = Config {
        retention: Retention {
            max_age_ms: request.retention.max_age_ms,
            max_bytes: request.retention.max_bytes,
        },
        ttl_ms: request.ttl_ms,
        expires_at: None,
        content_type: None,
        labels: request.labels,
        policy: request.policy.map_or(Ok(Policy::default()), turns::policy)?,
    };
    config.check().map_err(Refusal::BadConfig)?;
    Ok(config.into())
}

pub(super) fn trim(body: &[u8]) -> Result<Command, Problem> {
    if body.is_empty() {
        return Err(Problem::new(&error::BAD_JSON, "the body names the serial `before`"));
    }
    let TrimBody { before } = json(body)?;
    Ok(Command::Trim { before: Serial(before) })
}
