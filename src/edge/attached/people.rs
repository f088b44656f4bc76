//! Who is there and who has control, as clients see it.

use serde_json::{Value, json};

use super::super::wire;
use crate::runtime::presence::{Device, PresenceSnapshot};
use crate::session::{AudienceStatus, ControlStatus, Sender};

/// Everybody who is attached.
pub(in crate::edge) fn company(company: &PresenceSnapshot) -> Value {
    let device = |device: &Device| {
        json!({
            "device": device.device.as_ref().map(|name| name.as_str()),
            "links": device.links,
            "since": device.since.0,
            "role": device.role.name(),
        })
    };
    let people = company.people.iter().map(|(participant, devices)| {
        let devices: Vec<_> = devices.iter().map(device).collect();
        json!({ "participant": participant.as_str(), "devices": devices })
    });
    json!({
        "people": people.collect::<Vec<_>>(),
        "watchers": company.watchers,
        "controllers": company.controllers,
    })
}

/// How many are attached.
pub(in crate::edge) fn audience(watchers: u32, controllers: u32) -> Value {
    json!({ "watchers": watchers, "controllers": controllers })
}

/// How many are attached, as the session knows it; `null` before it does.
pub(in crate::edge) fn counted(status: Option<&AudienceStatus>) -> Value {
    let Some(AudienceStatus { watchers, controllers, since }) = status else { return Value::Null };
    json!({ "watchers": watchers, "controllers": controllers, "since": since.0 })
}

/// Who answers people.
pub(in crate::edge) fn control(status: &ControlStatus) -> Value {
    json!({
        "mode": status.mode.name(),
        "holder": sender(status.holder.as_ref()),
        "epoch": status.epoch,
        "until": wire::millis(status.until),
        "requested": sender(status.requested.as_ref()),
        "held": status.held,
        "note": status.note,
    })
}

/// A sender, or `null`.
fn sender(sender: Option<&Sender>) -> Value {
    let Some(Sender { participant, device }) = sender else { return Value::Null };
    let device = device.as_ref().map(|device| device.as_str());
    json!({ "participant": participant.as_str(), "device": device })
}
