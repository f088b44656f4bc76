//! Agents that get their requests by HTTP: an operator's endpoint, and models behind the two APIs that most of them
//! have.

use std::collections::BTreeMap;

use super::agents::{BodyConfig, GivenAgent, Protocol};
use crate::auth::SigningSecret;
use crate::limits;

/// Headers that a request to an endpoint has by itself.
const OWN_HEADERS: [&str; 7] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te"];
/// Names the version of the Messages API that a request is for.
const VERSION_HEADER: &str = "anthropic-version";
const KEY_VERSION: &str = "2023-06-01";
const TOKEN_VERSION: &str = "2026-10-21";

/// An operator's endpoint, as it was given.
pub(super) fn endpoint(given: &GivenAgent) -> Result<BodyConfig, String> {
    let url =
        given.url.clone().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let url = url.ok_or("url is needed, and begins with http:// or https://")?;
    let protocol = protocol(given)?.ok_or("protocol is ai-sdk, ag-ui, openai or anthropic")?;
    let mut headers = headers(given)?;
    if protocol == Protocol::Anthropic {
        add(&mut headers, VERSION_HEADER, KEY_VERSION);
    }
    body(given, (url, protocol), headers, given.model.clone())
}

/// What is the same for all that get their requests by HTTP.
fn body(
    given: &GivenAgent,
    (url, protocol): (String, Protocol),
    headers: BTreeMap<String, String>,
    model: Option<String>,
) -> Result<BodyConfig, String> {
    Ok(BodyConfig::Endpoint {
        url,
        protocol,
        headers,
        model,
        signing: signing(given)?,
        max_tokens: max_tokens(given, protocol)?,
        context_tokens: given.context_tokens,
        call_ms: given.call_ms,
    })
}

/// The protocol that is named, if it is a known one.
fn protocol(given: &GivenAgent) -> Result<Option<Protocol>, String> {
    let Some(named) = given.protocol.as_deref() else { return Ok(None) };
    let known = Protocol::ALL.into_iter().find(|protocol| protocol.name() == named);
    known.map(Some).ok_or_else(|| "protocol is ai-sdk, ag-ui, openai or anthropic".into())
}

fn max_tokens(given: &GivenAgent, protocol: Protocol) -> Result<Option<u64>, String> {
    match given.max_tokens {
        Some(_) if protocol != Protocol::Anthropic => {
            Err("max_tokens is for the protocol anthropic".into())
        }
        Some(0) => Err("max_tokens must be at least 1".into()),
        given => Ok(given),
    }
}

/// Adds a header where none of its name is given.
fn add(headers: &mut BTreeMap<String, String>, name: &str, value: &str) {
    if !has(headers, name) {
        headers.insert(name.to_owned(), value.to_owned());
    }
}

fn has(headers: &BTreeMap<String, String>, name: &str) -> bool {
    headers.keys().any(|given| given.eq_ignore_ascii_case(name))
}

/// Headers as they go out: one that is `env:NAME` is what the environment has there.
fn headers(given: &GivenAgent) -> Result<BTreeMap<String, String>, String> {
    let value = |(name, value): (&String, &String)| {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!("headers.{name}: requests have one of their own"));
        }
        let value = match value.strip_prefix("env:") {
            None => value.clone(),
            Some(place) => std::env::var(place)
                .map_err(|_| format!("headers.{name}: the environment has no {place}"))?,
        };
        Ok((name.clone(), value))
    };
    given.headers.iter().map(value).collect()
}

fn signing(given: &GivenAgent) -> Result<Vec<SigningSecret>, String> {
    if limits::SIGNING_SECRETS < given.signing_secrets.len() {
        return Err(format!("signing_secrets are at most {}", limits::SIGNING_SECRETS));
    }
    let read = |place: &String| {
        let text = super::secret("signing_secrets", place).map_err(|why| why.to_string())?;
        let shape = "signing_secrets are 24 to 64 bytes in base64, after whsec_ or not";
        SigningSecret::parse(&text).ok_or_else(|| format!("{place}: {shape}"))
    };
    given.signing_secrets.iter().map(read).collect()
}

/// A model behind an API like OpenAI's, as the environment names it where the file does not.
pub(super) fn model(
    given: &GivenAgent,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<BodyConfig, String> {
    match protocol(given)? {
        None | Some(Protocol::OpenAi) => {}
        Some(Protocol::Anthropic) => return anthropic(given, variable),
        Some(_) => return Err("the protocol of a model is openai or anthropic".into()),
    }
    let base = given.url.clone().or_else(|| variable("OPENAI_BASE_URL"));
    let base = base.unwrap_or_else(|| "https://api.openai.com/v1".into());
    let model = given.model.clone().or_else(|| variable("OPENAI_MODEL"));
    let model = Some(model.ok_or("model is needed, here or as OPENAI_MODEL")?);
    let mut headers = headers(given)?;
    if let Some(key) = variable("OPENAI_API_KEY").filter(|key| !key.is_empty()) {
        add(&mut headers, "authorization", &format!("Bearer {key}"));
    }
    let url = format!("{}/chat/completions", base.trim_end_matches('/'));
    body(given, (url, Protocol::OpenAi), headers, model)
}

/// A model behind the Messages API, likewise. A key goes with the version of the API that takes keys, a token with the
/// one whose clients send it.
fn anthropic(
    given: &GivenAgent,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<BodyConfig, String> {
    let some = |name: &str| variable(name).filter(|value| !value.is_empty());
    let base = given.url.clone().or_else(|| some("ANTHROPIC_BASE_URL"));
    let base = base.unwrap_or_else(|| "https://api.anthropic.com".into());
    let model = given.model.clone().or_else(|| some("ANTHROPIC_MODEL"));
    let model = Some(model.ok_or("model is needed, here or as ANTHROPIC_MODEL")?);
    let mut headers = headers(given)?;
    if !has(&headers, "x-api-key") && !has(&headers, "authorization") {
        match (some("ANTHROPIC_API_KEY"), some("ANTHROPIC_AUTH_TOKEN")) {
            (Some(key), _) => add(&mut headers, "x-api-key", &key),
            (None, Some(token)) => add(&mut headers, "authorization", &format!("Bearer {token}")),
            (None, None) => {}
        }
    }
    let by_token = has(&headers, "authorization");
    add(&mut headers, VERSION_HEADER, if by_token { TOKEN_VERSION } else { KEY_VERSION });
    let url = format!("{}/v1/messages", base.trim_end_matches('/'));
    body(given, (url, Protocol::Anthropic), headers, model)
}
