//! Bodies of people's verbs, parsed once and strictly.

use serde::Deserialize;

use super::super::error::Problem;
use super::Item;
use super::turns::{bad, json, name, reason, role, scope, sender};
use crate::ids::{CallEpoch, InteractionId};
use crate::limits;
use crate::session::{
    Answer, ClaimCall, ControlRequest, ControlVerb, Mode, Pause, ReleaseCall, Resume, Sender,
    Shelve, Standing,
};

/// The body of what freezes, archives or restores; all of it may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShelveBody {
    participant: Option<String>,
    device: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerBody<'b> {
    interaction: Option<String>,
    #[serde(borrow)]
    answer: Item<'b>,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
    epoch: Option<CallEpoch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimCallBody {
    interaction: Option<String>,
    participant: String,
    device: String,
    lease_ms: Option<u64>,
    epoch: Option<CallEpoch>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseCallBody {
    interaction: Option<String>,
    participant: String,
    device: String,
    epoch: CallEpoch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlBody {
    verb: String,
    mode: Option<String>,
    to: Option<ToBody>,
    for_ms: Option<u64>,
    #[serde(default)]
    note: String,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
}

/// Who is given control: a participant, on one device or on any.
#[derive(Deserialize)]
#[serde(untagged)]
enum ToBody {
    Name(String),
    Sender(SenderBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderBody {
    participant: String,
    device: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestBody {
    turn: Option<String>,
    agent: Option<String>,
    #[serde(default)]
    all: bool,
    participant: Option<String>,
    device: Option<String>,
    role: Option<String>,
}

/// An answer to the interaction that the path names, or else the body.
pub(super) fn answer(path: Option<InteractionId>, body: &[u8]) -> Result<Answer, Problem> {
    let request: AnswerBody<'_> = json(body)?;
    Ok(Answer {
        interaction: interaction(path, request.interaction.as_deref())?,
        content: request.answer.event()?,
        sender: sender(request.participant.as_deref(), request.device.as_deref())?,
        role: role(request.role.as_deref())?,
        judged: None,
        epoch: request.epoch,
    })
}

/// The interaction that the path names, or else the body.
fn interaction(path: Option<InteractionId>, given: Option<&str>) -> Result<InteractionId, Problem> {
    let given = given.map(|given| name("interaction", given, InteractionId::parse)).transpose()?;
    match (path, given) {
        (Some(path), None) => Ok(path),
        (None, Some(given)) => Ok(given),
        (Some(path), Some(given)) if path == given => Ok(path),
        (Some(_), Some(_)) => Err(bad("the path names another interaction")),
        (None, None) => Err(bad("name the interaction")),
    }
}

/// A device that is to make a call, as of the interaction that the path names, or else the body.
pub(super) fn claim_call(path: Option<InteractionId>, body: &[u8]) -> Result<ClaimCall, Problem> {
    let request: ClaimCallBody = json(body)?;
    let by = sender(Some(&request.participant), Some(&request.device))?;
    let (lease_ms, range) = (request.lease_ms.unwrap_or(limits::CALL_MS), limits::CALL_MS_RANGE);
    if !range.contains(&lease_ms) {
        return Err(bad(&format!("lease_ms must be {} to {}", range.start(), range.end())));
    }
    Ok(ClaimCall {
        interaction: interaction(path, request.interaction.as_deref())?,
        by: by.ok_or_else(|| bad("a call is somebody's: name a participant and a device"))?,
        lease_ms,
        epoch: request.epoch,
        role: role(request.role.as_deref())?,
    })
}

pub(super) fn release_call(
    path: Option<InteractionId>,
    body: &[u8],
) -> Result<ReleaseCall, Problem> {
    let request: ReleaseCallBody = json(body)?;
    let by = sender(Some(&request.participant), Some(&request.device))?;
    let interaction = interaction(path, request.interaction.as_deref())?;
    Ok(ReleaseCall { interaction, epoch: request.epoch, by, left: false })
}

pub(super) fn control(body: &[u8]) -> Result<ControlRequest, Problem> {
    let request: ControlBody = json(body)?;
    let known = |mode: &str| Mode::parse(mode).ok_or_else(|| bad("mode is auto, assist or manual"));
    let mode = request.mode.as_deref().map(known).transpose()?;
    let to = request.to.map(to).transpose()?;
    // Who takes over answers by himself, unless the request names another mode.
    let usual = mode.unwrap_or(Mode::Manual);
    let verb = match (request.verb.as_str(), to) {
        ("request", None) if mode.is_none() => ControlVerb::Request,
        ("release", None) if mode.is_none() && request.for_ms.is_none() => ControlVerb::Release,
        ("take", None) => ControlVerb::Take { mode: usual },
        ("grant", Some(to)) => ControlVerb::Grant { to, mode: usual },
        ("grant", None) => return Err(bad("control is granted to somebody: name to")),
        ("request" | "release" | "take", Some(_)) => return Err(bad("to goes with grant")),
        ("request" | "release", _) => {
            return Err(bad("mode goes with take and grant, and for_ms not with release"));
        }
        _ => return Err(bad("verb is request, grant, take or release")),
    };
    let for_ms = request.for_ms.unwrap_or(limits::CONTROL_MS);
    if !(1..=limits::CONTROL_MS_MAX).contains(&for_ms) {
        return Err(bad(&format!("for_ms must be 1 to {}", limits::CONTROL_MS_MAX)));
    }
    let by = sender(request.participant.as_deref(), request.device.as_deref())?;
    Ok(ControlRequest {
        verb,
        by: by.ok_or_else(|| bad("control is somebody's: name a participant"))?,
        for_ms,
        note: reason(request.note)?,
        role: role(request.role.as_deref())?,
    })
}

pub(super) fn shelve(standing: Standing, body: &[u8]) -> Result<Shelve, Problem> {
    let request: ShelveBody = if body.is_empty() { ShelveBody::default() } else { json(body)? };
    let by = sender(request.participant.as_deref(), request.device.as_deref())?;
    Ok(Shelve { standing, by })
}

fn to(request: ToBody) -> Result<Sender, Problem> {
    let (participant, device) = match request {
        ToBody::Name(participant) => (participant, None),
        ToBody::Sender(SenderBody { participant, device }) => (participant, device),
    };
    let to = sender(Some(&participant), device.as_deref())?;
    to.ok_or_else(|| bad("control is granted to a participant"))
}

pub(super) fn pause(body: &[u8]) -> Result<Pause, Problem> {
    let request: RestBody = json(body)?;
    Ok(Pause {
        scope: scope(request.turn.as_deref(), request.agent.as_deref(), request.all)?,
        by: sender(request.participant.as_deref(), request.device.as_deref())?,
        role: role(request.role.as_deref())?,
    })
}

pub(super) fn resume(body: &[u8]) -> Result<Resume, Problem> {
    let Pause { scope, by, role } = pause(body)?;
    Ok(Resume { scope, by, role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Role, Scope};

    #[test]
    fn an_answer_is_to_one_interaction() {
        let path = || InteractionId::parse("i").ok();
        let body = br#"{"answer":{"data":true},"participant":"ada","device":"phone"}"#;
        let request = answer(path(), body).unwrap();
        assert_eq!((request.interaction, request.role), (path().unwrap(), Role::Controller));
        let inside = br#"{"interaction":"i","answer":{"text":"yes"}}"#;
        assert_eq!(answer(None, inside).unwrap().interaction, path().unwrap());
        assert!(answer(path(), inside).is_ok() && answer(None, body).is_err());
        for body in [
            &b"{}"[..],
            br#"{"interaction":"j","answer":{"text":"yes"}}"#,
            br#"{"answer":{}}"#,
            br#"{"answer":{"text":"yes"},"device":"phone"}"#,
            br#"{"answer":{"text":"yes"},"role":"king"}"#,
            br#"{"answer":{"text":"yes"},"x":1}"#,
        ] {
            assert!(answer(path(), body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn control_is_taken_given_and_let_go_by_somebody() {
        let request =
            control(br#"{"verb":"take","participant":"sue","role":"supervisor"}"#).unwrap();
        assert_eq!(
            (request.verb, request.role),
            (ControlVerb::Take { mode: Mode::Manual }, Role::Supervisor)
        );
        let grant = |to: &str| {
            let body = format!(
                r#"{{"verb":"grant","to":{to},"mode":"assist","for_ms":9,"participant":"sue"}}"#
            );
            control(body.as_bytes()).unwrap().verb
        };
        let to = sender(Some("bob"), None).unwrap().unwrap();
        assert_eq!(grant(r#""bob""#), ControlVerb::Grant { to: to.clone(), mode: Mode::Assist });
        assert_eq!(
            grant(r#"{"participant":"bob"}"#),
            ControlVerb::Grant { to, mode: Mode::Assist }
        );
        assert!(control(br#"{"verb":"request","note":"x","participant":"bob"}"#).is_ok());
        assert!(control(br#"{"verb":"release","participant":"bob"}"#).is_ok());
        for body in [
            &br#"{"verb":"take"}"#[..],
            br#"{"verb":"seize","participant":"bob"}"#,
            br#"{"verb":"take","mode":"king","participant":"bob"}"#,
            br#"{"verb":"take","to":"bob","participant":"bob"}"#,
            br#"{"verb":"take","for_ms":0,"participant":"bob"}"#,
            br#"{"verb":"grant","participant":"bob"}"#,
            br#"{"verb":"grant","to":{"device":"d"},"participant":"bob"}"#,
            br#"{"verb":"release","mode":"manual","participant":"bob"}"#,
            br#"{"verb":"release","for_ms":9,"participant":"bob"}"#,
        ] {
            assert!(control(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn rest_is_for_one_kind_of_turns() {
        assert_eq!(pause(br#"{"all":true}"#).unwrap().scope, Scope::All);
        assert!(resume(br#"{"agent":"poet","participant":"ada"}"#).is_ok());
        for body in [&b"{}"[..], br#"{"turn":"t","all":true}"#, br#"{"all":true,"reason":"x"}"#] {
            assert!(pause(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
