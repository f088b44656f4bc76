//! Keys of the cluster: made, listed and revoked by operators for any tenant, and by whoever may administer a tenant
//! for that one.

use std::num::NonZeroU32;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::error::{self, Problem};
use super::gate::By;
use super::query::Query;
use super::verbs::turns::{bad, json};
use super::{Edge, body, headers};
use crate::auth::{Caller, Key, KeyText, Keyring, KeyringError, LogError, audit};
use crate::config::QuotaLimits;
use crate::edge::State;
use crate::ids::{DeviceName, ParticipantName, TenantName};
use crate::limits;
use crate::session::{Grant, Pattern, Right, Role};

/// Seconds for which a key may be good; beyond it, it is good for ever.
const TTL_S_MAX: u64 = 100 * 366 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    /// The maker's own, where none is given.
    tenant: Option<String>,
    /// Drawn by the client, so that it may repeat the request; else by the node.
    key: Option<String>,
    rights: Vec<String>,
    sessions: Option<Vec<String>>,
    agents: Option<Vec<String>>,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
    ttl_s: Option<u64>,
    quotas: Option<QuotaBody>,
}

/// What a key may do at most at each node; each is a number from 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaBody {
    appends_per_s: Option<NonZeroU32>,
    bytes_per_s: Option<NonZeroU32>,
    inputs_per_s: Option<NonZeroU32>,
    controls_per_s: Option<NonZeroU32>,
    live_streams: Option<NonZeroU32>,
}

impl QuotaBody {
    /// None where nothing is limited.
    fn limits(self) -> Option<QuotaLimits> {
        let limits = QuotaLimits {
            appends_per_s: self.appends_per_s.map(NonZeroU32::get),
            bytes_per_s: self.bytes_per_s.map(NonZeroU32::get),
            inputs_per_s: self.inputs_per_s.map(NonZeroU32::get),
            controls_per_s: self.controls_per_s.map(NonZeroU32::get),
            live_streams: self.live_streams.map(NonZeroU32::get),
            ..QuotaLimits::default()
        };
        (limits != QuotaLimits::default()).then_some(limits)
    }
}

/// `POST /v1/keys`: the one time that the key itself is returned.
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let request: KeyBody = json(&held.bytes)?;
    let length = 1..=limits::KEY_NAME_BYTES;
    if !length.contains(&request.name.len()) || request.name.chars().any(char::is_control) {
        let detail = format!("name has 1 to {} bytes, and no control characters", length.end());
        return Err(bad(&detail));
    }
    let name = request.name.clone();
    let text = match &request.key {
        Some(text) => KeyText::parse(text).ok_or_else(|| {
            bad("key is olk_, 16 hexadecimal digits, _ and 32 bytes in base64url")
        })?,
        None => KeyText::draw(),
    };
    let tenant = tenant(&caller, request.tenant.as_deref())?;
    let quotas = request.quotas.and_then(QuotaBody::limits);
    let grant = Grant { tenant, ..grant(request, edge.runtime.sessions.now().0)? };
    let key = (name, grant, quotas);
    let key = keyring(&edge)?.create(&text, key, caller.name(), deadline).await?;
    audit(&caller, "key.create", &key.id);
    let mut shown = shown(&key);
    shown["key"] = text.reveal().into();
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `GET /v1/keys`
pub(super) async fn list(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let keys = keyring(&edge)?.all(caller.tenant(), headers::deadline(&headers)?).await?;
    let keys: Vec<_> = keys.iter().map(|key| shown(key)).collect();
    Ok(Json(serde_json::json!({ "keys": keys })).into_response())
}

/// `DELETE /v1/keys/{key}`
pub(super) async fn revoke(
    State(edge): State<Edge>,
    By(caller): By,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    keyring(&edge)?.revoke(caller.tenant(), &id, deadline).await?;
    audit(&caller, "key.revoke", &id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The tenant of a key that the caller makes.
fn tenant(caller: &Caller, request: Option<&str>) -> Result<Option<TenantName>, Problem> {
    let request = request.map(TenantName::parse).transpose();
    let request = request.map_err(|why| bad(&format!("tenant: {why}")))?;
    if request.as_ref() == caller.tenant() || request.is_none() {
        return Ok(caller.tenant().cloned());
    }
    // Whoever is of one tenant knows of no other.
    caller.may_operate()?;
    Ok(request)
}

fn keyring(edge: &Edge) -> Result<&Keyring, Problem> {
    if edge.auth.is_on() {
        return Ok(edge.auth.keyring());
    }
    let detail = "this node asks nobody who they are: start it with a root key";
    Err(Problem::new(&error::KEYS_OFF, detail))
}

fn grant(request: KeyBody, now_ms: u64) -> Result<Grant, Problem> {
    let rights = rights(&request.rights)?;
    if rights.is_empty() {
        return Err(bad("a key without rights opens nothing: name some"));
    }
    if rights.contains(&Right::Claim) && request.agents.is_none() {
        return Err(bad("a key with the right claim names its agents"));
    }
    if request.device.is_some() && request.participant.is_none() {
        return Err(bad("a device is a participant's: name that too"));
    }
    if request.ttl_s.is_some_and(|ttl_s| !(1..=TTL_S_MAX).contains(&ttl_s)) {
        return Err(bad(&format!("ttl_s must be 1 to {TTL_S_MAX}")));
    }
    let participant = request.participant.as_deref().map(ParticipantName::parse).transpose();
    let device = request.device.as_deref().map(DeviceName::parse).transpose();
    let role = role(request.role.as_deref().unwrap_or(Role::default().name()))?;
    Ok(Grant {
        tenant: None,
        rights,
        sessions: patterns("sessions", request.sessions)?,
        agents: request.agents.map_or(Ok(Vec::new()), |texts| patterns("agents", Some(texts)))?,
        participant: participant.map_err(|why| bad(&format!("participant: {why}")))?,
        device: device.map_err(|why| bad(&format!("device: {why}")))?,
        role,
        until: request.ttl_s.map(|ttl_s| crate::ids::Millis(now_ms + ttl_s * 1000)),
    })
}

/// The rights of these names.
pub(super) fn rights(names: &[String]) -> Result<Vec<Right>, Problem> {
    let right = |name: &String| {
        let known = || Right::ALL.map(Right::name).join(", ");
        Right::parse(name)
            .ok_or_else(|| bad(&format!("there is no right {name:?}; there are {}", known())))
    };
    let mut rights = names.iter().map(right).collect::<Result<Vec<_>, _>>()?;
    rights.sort();
    rights.dedup();
    Ok(rights)
}

/// The role of this name.
pub(super) fn role(name: &str) -> Result<Role, Problem> {
    Role::parse(name).ok_or_else(|| bad("role is observer, participant, controller or supervisor"))
}

/// All names, where none is given.
pub(super) fn patterns(field: &str, texts: Option<Vec<String>>) -> Result<Vec<Pattern>, Problem> {
    let Some(texts) = texts else { return Ok(vec![Pattern::all()]) };
    let most = crate::session::limits::GRANT_PATTERNS;
    if most < texts.len() {
        return Err(bad(&format!("{field} has at most {most} patterns")));
    }
    let parse = |text: &String| {
        Pattern::parse(text).map_err(|why| bad(&format!("{field}: {text:?}: {why}")))
    };
    texts.iter().map(parse).collect()
}

fn shown(key: &Key) -> Value {
    let Grant { tenant, rights, sessions, agents, participant, device, role, until } = &*key.grant;
    let names = |patterns: &[Pattern]| -> Vec<Value> {
        patterns.iter().map(|pattern| pattern.as_str().into()).collect()
    };
    serde_json::json!({
        "id": key.id,
        "name": key.name,
        "tenant": tenant.as_ref().map(|name| name.as_str()),
        "rights": rights.iter().map(|right| right.name()).collect::<Vec<_>>(),
        "sessions": names(sessions),
        "agents": names(agents),
        "participant": participant.as_ref().map(|name| name.as_str()),
        "device": device.as_ref().map(|name| name.as_str()),
        "role": role.name(),
        "created_at": key.created.0,
        "created_by": key.by,
        "expires_at": until.map(|until| until.0),
        "quotas": key.quotas.map(shown_quotas),
    })
}

/// Those that there are.
fn shown_quotas(quotas: QuotaLimits) -> Value {
    let all = [
        ("appends_per_s", quotas.appends_per_s),
        ("bytes_per_s", quotas.bytes_per_s),
        ("inputs_per_s", quotas.inputs_per_s),
        ("controls_per_s", quotas.controls_per_s),
        ("live_streams", quotas.live_streams),
    ];
    all.into_iter().filter_map(|(name, most)| Some((name, most?))).collect()
}

impl From<KeyringError> for Problem {
    fn from(why: KeyringError) -> Problem {
        match why {
            KeyringError::NoSuchKey => Problem::new(&error::NO_SUCH_KEY, why.to_string()),
            KeyringError::Exists => Problem::new(&error::CONFLICT, why.to_string()),
            KeyringError::TooMany | KeyringError::TooManyOfTenant => {
                Problem::new(&error::TOO_MANY_KEYS, why.to_string())
            }
            KeyringError::Log(LogError::Submit(why)) => why.into(),
            KeyringError::Log(LogError::Unavailable(text)) => {
                tracing::debug!(text, "the keys cannot be read");
                Problem::new(&error::NO_QUORUM, "nothing happened; try again")
            }
        }
    }
}
