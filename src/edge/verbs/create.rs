//! Bodies of requests about whole sessions: how one is created, and where its log is to begin.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::error::{self, Problem};
use super::policy;
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
    policy: Option<policy::PolicyBody>,
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
        policy: request.policy.map_or(Ok(Policy::default()), policy::policy)?,
    };
    config.check().map_err(Refusal::BadConfig)?;
    Ok(config.into())
}

/// How a fork is to differ from its source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForkBody {
    session: String,
    at: Option<u64>,
    message: Option<u64>,
    retention: Option<RetentionBody>,
    ttl_ms: Option<u64>,
    labels: Option<BTreeMap<String, String>>,
    policy: Option<policy::PolicyBody>,
}

/// Where a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum ForkAt {
    Tail,
    Serial(Serial),
    Message(Serial),
}

/// The name of a fork, where it begins, and its configuration, from its source's.
type Forked<F> = (String, ForkAt, F);

/// A fork as its body describes it.
pub(in crate::edge) fn fork(
    body: &[u8],
) -> Result<Forked<impl FnOnce(&Config) -> Result<Config, Problem>>, Problem> {
    let request: ForkBody = json(body)?;
    let at = match (request.at, request.message) {
        (None, None) => ForkAt::Tail,
        (Some(at), None) => ForkAt::Serial(Serial(at)),
        (None, Some(message)) => ForkAt::Message(Serial(message)),
        (Some(_), Some(_)) => return Err(turns::bad("a fork begins at a serial or at a message")),
    };
    let policy = request.policy.map(policy::policy).transpose()?;
    let config = move |source: &Config| {
        let retention = request
            .retention
            .map(|given| Retention { max_age_ms: given.max_age_ms, max_bytes: given.max_bytes });
        let config = Config {
            retention: retention.unwrap_or(source.retention),
            ttl_ms: request.ttl_ms.or(source.ttl_ms),
            expires_at: source.expires_at.filter(|_| request.ttl_ms.is_none()),
            labels: request.labels.unwrap_or_else(|| source.labels.clone()),
            content_type: source.content_type.clone(),
            policy: policy.unwrap_or(source.policy),
        };
        config.check().map_err(Refusal::BadConfig)?;
        Ok(config)
    };
    Ok((request.session, at, config))
}

pub(super) fn trim(body: &[u8]) -> Result<Command, Problem> {
    if body.is_empty() {
        return Err(Problem::new(&error::BAD_JSON, "the body names the serial `before`"));
    }
    let TrimBody { before } = json(body)?;
    Ok(Command::Trim { before: Serial(before) })
}
