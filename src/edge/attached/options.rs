//! The options of an attachment, parsed once and strictly.

use super::super::error::Problem;
use super::super::headers::strict_number;
use super::super::history::Pin;
use crate::auth::Caller;
use crate::ids::{BadId, DeviceName, ParticipantName, SessionId};
use crate::limits::MESSAGES_PAGE_MAX;
use crate::runtime::presence::Attendee;
use crate::session::{Role, Sender};

/// The names of all options.
pub(in crate::edge) const PARAMETERS: [&str; 10] = [
    "participant",
    "device",
    "role",
    "snapshot",
    "on_gap",
    "fold",
    "visibility",
    "ephemeral",
    "branch",
    "leaf",
];

/// The options of an attachment beside where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::edge) struct AttachOptions {
    /// Counted as present.
    pub(in crate::edge) who: Option<Attendee>,
    /// Begins with what there is, and goes on after the tail.
    pub(in crate::edge) snapshot: bool,
    /// How many messages a snapshot has, where it is given.
    pub(in crate::edge) messages: Option<usize>,
    /// After a gap or a reset it begins again with what there is.
    pub(in crate::edge) again: bool,
    /// Output that is caught up on comes in few pieces.
    pub(in crate::edge) fold: bool,
    pub(in crate::edge) visibility: Visibility,
    /// Whether it is sent ephemeral messages.
    pub(in crate::edge) ephemeral: bool,
    /// The path through the conversation that it is sent.
    pub(in crate::edge) pin: Pin,
    /// Whether it is sent how the agents are, also where no participant is named and no snapshot wanted.
    pub(in crate::edge) pings: bool,
}

/// Which events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::edge) enum Visibility {
    #[default]
    All,
    /// Without what is internal.
    Public,
}

impl AttachOptions {
    /// Takes what is given under the names of [`PARAMETERS`].
    ///
    /// # Errors
    /// Names what cannot be understood.
    pub(in crate::edge) fn parse<'t>(
        given: impl Fn(&str) -> Option<&'t str>,
    ) -> Result<AttachOptions, String> {
        let who = match (given("participant"), given("device"), given("role")) {
            (Some(participant), device, role) => Some(attendee(participant, device, role)?),
            (None, None, None) => None,
            (None, ..) => return Err("a device or a role is a participant's".into()),
        };
        Ok(AttachOptions {
            who,
            snapshot: given("snapshot").is_some_and(|text| text != "0"),
            messages: count(given("snapshot"))?,
            again: match given("on_gap") {
                None | Some("events") => false,
                Some("snapshot") => true,
                Some(_) => return Err("on_gap is events or snapshot".into()),
            },
            fold: flag("fold", given("fold"))?,
            visibility: visibility(given("visibility"))?,
            ephemeral: flag("ephemeral", given("ephemeral"))?,
            pin: Pin::parse(given("branch"), given("leaf"))?,
            pings: false,
        })
    }
}

impl AttachOptions {
    /// The same, as the caller may have it: present in its own name, and in no greater role than is granted.
    ///
    /// # Errors
    /// It may not be present, or not in this name.
    pub(in crate::edge) fn of(
        mut self,
        caller: &Caller,
        session: &SessionId,
    ) -> Result<AttachOptions, Problem> {
        if let Some(who) = &mut self.who {
            let (participant, device) = (who.participant.clone(), who.device.clone());
            let mut sender = Sender { participant, device };
            caller.present(session, &mut sender, &mut who.role)?;
            who.device = sender.device;
        }
        Ok(self)
    }
}

/// Takes `all` or `public`; all where nothing is given.
pub(in crate::edge) fn visibility(given: Option<&str>) -> Result<Visibility, String> {
    match given {
        None | Some("all") => Ok(Visibility::All),
        Some("public") => Ok(Visibility::Public),
        Some(_) => Err("visibility is all or public".into()),
    }
}

fn attendee(
    participant: &str,
    device: Option<&str>,
    role: Option<&str>,
) -> Result<Attendee, String> {
    let named = |what: &'static str| move |why: BadId| format!("{what}: {why}");
    let known = || "role is observer, participant, controller or supervisor".to_string();
    Ok(Attendee {
        participant: ParticipantName::parse(participant).map_err(named("participant"))?,
        device: device.map(DeviceName::parse).transpose().map_err(named("device"))?,
        role: role.map_or(Ok(Role::default()), |name| Role::parse(name).ok_or_else(known))?,
    })
}

/// How many messages a snapshot is to have: 1 is as many as a page has, as it was before there was a number.
fn count(given: Option<&str>) -> Result<Option<usize>, String> {
    let most = MESSAGES_PAGE_MAX;
    match given {
        None | Some("0" | "1") => Ok(None),
        Some(text) => match strict_number(text).and_then(|number| usize::try_from(number).ok()) {
            Some(number) if number <= most => Ok(Some(number)),
            _ => Err(format!("snapshot is 0, 1 or how many messages are wanted, up to {most}")),
        },
    }
}

fn flag(name: &str, given: Option<&str>) -> Result<bool, String> {
    match given {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(format!("{name} is 0 or 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &'static str)]) -> Result<AttachOptions, String> {
        AttachOptions::parse(|name| {
            given.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
        })
    }

    #[test]
    fn what_is_asked_is_understood_whole_or_refused() {
        assert_eq!(parse(&[]).unwrap(), AttachOptions::default());
        let given = [
            ("participant", "ada"),
            ("device", "phone"),
            ("role", "observer"),
            ("snapshot", "1"),
            ("fold", "1"),
            ("visibility", "public"),
        ];
        let request = parse(&given).unwrap();
        let who = request.who.unwrap();
        assert_eq!((who.participant.as_str(), who.role), ("ada", Role::Observer));
        assert_eq!(
            (request.snapshot, request.fold, request.visibility),
            (true, true, Visibility::Public)
        );
        assert_eq!(parse(&given[..1]).unwrap().who.unwrap().role, Role::Controller);
        for (name, text) in [
            ("participant", ""),
            ("device", "phone"),
            ("role", "observer"),
            ("snapshot", "true"),
            ("fold", ""),
            ("visibility", "private"),
            ("ephemeral", "yes"),
            ("branch", "main"),
            ("leaf", "-1"),
        ] {
            assert!(parse(&[(name, text)]).is_err(), "{name}={text}");
        }
        assert!(parse(&[("participant", "ada"), ("role", "king")]).is_err());
    }
}
