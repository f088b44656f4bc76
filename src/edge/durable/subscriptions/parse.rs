//! The bodies of requests about subscriptions, taken strictly where it matters.

use serde::Deserialize;
use serde_json::Value;

use crate::limits;
use crate::subscriptions::{Deliver, Fault, LogPosition, Named, Plan, Refused};

/// The body of a callback, an acknowledgement or a release.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) wake_id: Option<String>,
    pub(super) generation: Option<u64>,
    acks: Vec<Ack>,
    pub(super) done: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ack {
    stream: Option<String>,
    path: Option<String>,
    offset: String,
}

/// The body as JSON; none at all is an empty object.
pub(super) fn json(body: &[u8]) -> Result<Value, Fault> {
    let body = if body.is_empty() { b"{}" } else { body };
    let value = serde_json::from_slice(body).map_err(|why| Fault::invalid(why.to_string()))?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(Fault::invalid("the body must be a JSON object")),
    }
}

impl Report {
    pub(super) fn read(body: &[u8]) -> Result<Report, Fault> {
        serde_json::from_value(json(body)?).map_err(|why| Fault::invalid(why.to_string()))
    }

    /// What is acknowledged, by stream.
    pub(super) fn acks(&self) -> Result<Vec<(String, LogPosition)>, Fault> {
        if limits::WAKE_STREAMS < self.acks.len() {
            let message = format!("at most {} streams at once", limits::WAKE_STREAMS);
            return Err(Fault::invalid(message));
        }
        let ack = |ack: &Ack| {
            let path = ack.stream.as_deref().or(ack.path.as_deref()).unwrap_or_default();
            let place = LogPosition::parse(&ack.offset);
            let place = place.ok_or(Refused::Offset("the offset was not made by this service"))?;
            Ok((normal(path).to_owned(), place))
        };
        self.acks.iter().map(ack).collect()
    }
}

/// A stream's name without the slashes around it.
pub(super) fn normal(path: &str) -> &str {
    path.trim_matches('/')
}

/// The streams that a body names.
pub(super) fn streams(body: &Value) -> Result<Vec<String>, Fault> {
    let Some(list) = body["streams"].as_array().filter(|list| !list.is_empty()) else {
        return Err(Fault::invalid("streams must be a list of names"));
    };
    if limits::WAKE_STREAMS < list.len() {
        let message = format!("streams must have at most {} names", limits::WAKE_STREAMS);
        return Err(Fault::invalid(message));
    }
    let mut streams = list.iter().map(stream).collect::<Result<Vec<_>, _>>()?;
    streams.sort();
    streams.dedup();
    Ok(streams)
}

fn stream(value: &Value) -> Result<String, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::invalid("streams must contain strings only"))?;
    let id = Named::stream_of(None, normal(text)).map_err(|why| Fault::invalid(why.to_string()))?;
    if id.is_reserved() {
        return Err(Fault::invalid("names below __ds and __outlive are reserved"));
    }
    Ok(id.name().to_owned())
}

/// The name of a worker.
pub(super) fn worker(body: &Value) -> Result<String, Fault> {
    match text(body, "worker")? {
        Some(worker) => Ok(worker),
        None => Err(Fault::invalid("worker must be a string that is not empty")),
    }
}

/// What a subscription is to be.
pub(super) fn plan(body: &Value) -> Result<Plan, Fault> {
    let deliver = match body["type"].as_str() {
        Some("webhook") => {
            let url = text(&body["webhook"], "url")?;
            Deliver::Webhook(url.ok_or_else(|| Fault::invalid("webhook.url is needed"))?)
        }
        Some("pull-wake") => match &body["wake_stream"] {
            Value::Null => return Err(Fault::invalid("wake_stream is needed")),
            named => Deliver::Pull(stream(named)?),
        },
        _ => return Err(Fault::invalid("type must be \"webhook\" or \"pull-wake\"")),
    };
    let pattern = text(body, "pattern")?.map(|text| normal(&text).to_owned());
    let streams = match &body["streams"] {
        Value::Null => Vec::new(),
        Value::Array(list) if list.is_empty() => Vec::new(),
        _ => streams(body)?,
    };
    if pattern.as_deref().unwrap_or_default().is_empty() && streams.is_empty() {
        return Err(Fault::invalid("pattern or streams is needed"));
    }
    let (least, most, usual) = limits::SUBSCRIPTION_LEASE_MS;
    let lease_ttl_ms = match &body["lease_ttl_ms"] {
        Value::Null => usual,
        given => given.as_u64().filter(|ms| (least..=most).contains(ms)).ok_or_else(|| {
            Fault::invalid(format!("lease_ttl_ms must be an integer from {least} to {most}"))
        })?,
    };
    let pattern = pattern.filter(|pattern| !pattern.is_empty());
    let description = text(body, "description")?;
    Ok(Plan { deliver, pattern, streams, lease_ttl_ms, description })
}

/// A text that is not empty.
fn text(body: &Value, name: &str) -> Result<Option<String>, Fault> {
    match &body[name] {
        Value::String(text) if limits::SUBSCRIPTION_TEXT_BYTES < text.len() => {
            let limit = limits::SUBSCRIPTION_TEXT_BYTES;
            Err(Fault::invalid(format!("{name} must have at most {limit} bytes")))
        }
        Value::String(text) if !text.is_empty() => Ok(Some(text.clone())),
        Value::Null | Value::String(_) => Ok(None),
        _ => Err(Fault::invalid(format!("{name} must be a string"))),
    }
}
