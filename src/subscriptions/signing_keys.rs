//! The cluster's signing key: drawn once by whoever needs it first, kept in the session `__ds/keys`.
//!
//! Whoever reads the disk of a node reads it; no route of any node does.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Fault;
use super::secret::{self, Keys};
use crate::ids::SessionId;
use crate::runtime::{Delivery, Freshness, Sessions, Start};
use crate::session::{Config, ContentType, Create, Format, NewEvent};

const NAME: &str = "__ds/keys";

/// Creates the key if there is none, and reads it.
pub(super) async fn load(sessions: &Arc<Sessions>, deadline: Instant) -> Result<Keys, Fault> {
    let id = SessionId::parse(NAME).expect("the name is possible");
    let pkcs8 = STANDARD.encode(secret::generate());
    let event = json!({ "v": 1, "ed25519_pkcs8": pkcs8 });
    let create = Create {
        config: config(),
        // Where the session lives already, this is not looked at.
        events: vec![NewEvent { format: Format::JSON, payload: event.to_string().into() }],
        ..Create::default()
    };
    let created = sessions.submit(&id, create.into(), deadline).await;
    created.map_err(|why| Fault::unavailable(&why))?;
    let start = (Start::Beginning, Freshness::Linearizable);
    let reader = sessions.attach(&id, start.0, start.1, deadline).await;
    let mut reader = reader.map_err(|why| Fault::unavailable(&why))?;
    let first = timeout_at(deadline, reader.next()).await;
    let Ok(Delivery::Events(events)) = first else {
        return Err(Fault::unavailable(&"the key is not here"));
    };
    let pkcs8 = events.first().and_then(|shown| {
        let event: Value = serde_json::from_slice(&shown.event.payload).ok()?;
        STANDARD.decode(event["ed25519_pkcs8"].as_str()?).ok()
    });
    pkcs8.and_then(|pkcs8| Keys::read(&pkcs8)).ok_or_else(|| {
        tracing::error!("the key in {NAME} is unreadable");
        Fault::Internal
    })
}

/// What reserved sessions are created with.
pub(super) fn config() -> Config {
    let json = ContentType::parse("application/json").expect("it is a content type");
    Config { content_type: Some(json), ..Config::default() }
}
