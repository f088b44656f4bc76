//! Subscriptions and wakes as clients see them.

use serde_json::{Value, json};

use super::place::{LogPosition, acked};
use super::state::{Deliver, State, StreamLink, Wake};
use super::{Named, ROOT, secret::Keys};
use crate::rfc3339;

/// The whole subscription.
pub(super) fn subscription(named: &Named, state: &State, keys: &Keys) -> Value {
    let stream = |(path, link): (&String, &StreamLink)| json!({ "path": path, "link_type": kind(link), "acked_offset": acked(link.acked) });
    let streams: Vec<_> = state.links.iter().map(stream).collect();
    let mut shown = json!({
        "id": named.id,
        "subscription_id": named.id,
        "streams": streams,
        "lease_ttl_ms": state.plan.lease_ttl_ms,
        "created_at": rfc3339::format(state.created_at),
        "status": if state.failures == 0 { "active" } else { "failed" },
        "generation": state.generation,
    });
    match &state.plan.deliver {
        Deliver::Webhook(url) => {
            let tenant = named.tenant.as_ref().map(|tenant| format!("?tenant={tenant}"));
            let jwks_url = format!("{}{ROOT}/jwks.json{}", state.base, tenant.unwrap_or_default());
            let signing = json!({ "alg": "ed25519", "kid": keys.kid(), "jwks_url": jwks_url });
            shown["type"] = "webhook".into();
            shown["webhook"] = json!({ "url": url, "signing": signing });
        }
        Deliver::Pull(stream) => {
            shown["type"] = "pull-wake".into();
            shown["wake_stream"] = stream.as_str().into();
        }
    }
    for (name, text) in [("pattern", &state.plan.pattern), ("description", &state.plan.description)]
    {
        if let Some(text) = text {
            shown[name] = text.as_str().into();
        }
    }
    shown
}

/// The streams of a wake, and all others of the subscription.
pub(super) fn streams(state: &State, wake: &Wake) -> Value {
    let stream = |(path, link): (&String, &StreamLink)| {
        let tail = wake.streams.get(path).copied().max(link.acked).unwrap_or_default();
        json!({
            "path": path,
            "link_type": kind(link),
            "acked_offset": acked(link.acked),
            "tail_offset": tail.to_string(),
            "has_pending": tail.is_news(link.acked),
        })
    };
    state.links.iter().map(stream).collect()
}

/// What a webhook is sent. The same wake is the same text, however often it is sent.
pub(super) fn call(id: &str, state: &State, wake: &Wake, token: &str) -> Value {
    json!({
        "subscription_id": id,
        "wake_id": wake.id,
        "generation": state.generation,
        "streams": streams(state, wake),
        "callback_url": format!("{}{ROOT}/subscriptions/{}/callback", state.base, encoded(id)),
        "callback_token": token,
    })
}

/// The event in a wake stream.
pub(super) fn event(id: &str, state: &State, wake: &Wake, ts: u64) -> Value {
    let first: Option<(&String, &LogPosition)> = wake.streams.first_key_value();
    json!({
        "type": "wake",
        "subscription_id": id,
        "stream": first.map(|(path, _)| path),
        "generation": state.generation,
        "ts": ts,
    })
}

fn kind(link: &StreamLink) -> &'static str {
    if link.explicit { "explicit" } else { "glob" }
}

/// The text as one segment of a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}
