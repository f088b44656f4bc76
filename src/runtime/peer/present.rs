//! Who is attached where, as one node tells another. A promise, like all of [`super::wire`].

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceName, Millis, ParticipantName, SessionId};
use crate::runtime::presence::roll::News;
use crate::runtime::presence::{Attendee, Attending, Company, Device, Link, Stamp};
use crate::session::Role;

/// [`Attending`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldAttending {
    pub(in crate::runtime) session: String,
    pub(in crate::runtime) links: Vec<ToldLink>,
    pub(in crate::runtime) has: (u64, u64),
}

/// [`Link`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldLink {
    pub(in crate::runtime) number: u64,
    pub(in crate::runtime) participant: String,
    pub(in crate::runtime) device: Option<String>,
    pub(in crate::runtime) role: u8,
    pub(in crate::runtime) since: u64,
}

/// [`News`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldNews {
    pub(in crate::runtime) session: String,
    pub(in crate::runtime) stamp: (u64, u64),
    pub(in crate::runtime) company: ToldCompany,
}

/// [`Company`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldCompany {
    pub(in crate::runtime) people: Vec<(String, Vec<ToldDevice>)>,
    pub(in crate::runtime) watchers: u32,
    pub(in crate::runtime) controllers: u32,
}

/// [`Device`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldDevice {
    pub(in crate::runtime) device: Option<String>,
    pub(in crate::runtime) links: u32,
    pub(in crate::runtime) since: u64,
    pub(in crate::runtime) role: u8,
}

impl From<&Attending> for ToldAttending {
    fn from(attending: &Attending) -> ToldAttending {
        let link = |link: &Link| ToldLink {
            number: link.number,
            participant: link.attendee.participant.as_str().into(),
            device: link.attendee.device.as_ref().map(|device| device.as_str().into()),
            role: number(link.attendee.role),
            since: link.since.0,
        };
        ToldAttending {
            session: attending.id.as_str().into(),
            links: attending.links.iter().map(link).collect(),
            has: (attending.has.term, attending.has.number),
        }
    }
}

impl ToldAttending {
    /// The session, the links and what the node has; none where the peer says what cannot be.
    pub(in crate::runtime) fn thaw(self) -> Option<(SessionId, Vec<Link>, Stamp)> {
        let (term, number) = self.has;
        let links = self.links.into_iter().map(ToldLink::thaw).collect::<Option<_>>()?;
        Some((SessionId::parse(&self.session).ok()?, links, Stamp { term, number }))
    }
}

impl ToldLink {
    fn thaw(self) -> Option<Link> {
        let attendee = Attendee {
            participant: ParticipantName::parse(&self.participant).ok()?,
            device: device(self.device)?,
            role: role(self.role)?,
        };
        Some(Link { number: self.number, attendee, since: Millis(self.since) })
    }
}

impl From<&News> for ToldNews {
    fn from(news: &News) -> ToldNews {
        ToldNews {
            session: news.id.as_str().into(),
            stamp: (news.stamp.term, news.stamp.number),
            company: (&news.company).into(),
        }
    }
}

impl ToldNews {
    /// The news; none where the peer says what cannot be.
    pub(in crate::runtime) fn thaw(self) -> Option<News> {
        let (term, number) = self.stamp;
        let (id, company) = (SessionId::parse(&self.session).ok()?, self.company.thaw()?);
        Some(News { id, stamp: Stamp { term, number }, company })
    }
}

impl From<&Company> for ToldCompany {
    fn from(company: &Company) -> ToldCompany {
        let device = |device: &Device| ToldDevice {
            device: device.device.as_ref().map(|device| device.as_str().into()),
            links: device.links,
            since: device.since.0,
            role: number(device.role),
        };
        let people = company.people.iter();
        ToldCompany {
            people: people
                .map(|(name, devices)| (name.as_str().into(), devices.iter().map(device).collect()))
                .collect(),
            watchers: company.watchers,
            controllers: company.controllers,
        }
    }
}

impl ToldCompany {
    /// The company; none where the peer says what cannot be.
    pub(in crate::runtime) fn thaw(self) -> Option<Company> {
        let person = |(name, devices): (String, Vec<ToldDevice>)| {
            let devices = devices.into_iter().map(ToldDevice::thaw).collect::<Option<_>>()?;
            Some((ParticipantName::parse(&name).ok()?, devices))
        };
        let people = self.people.into_iter().map(person).collect::<Option<_>>()?;
        Some(Company { people, watchers: self.watchers, controllers: self.controllers })
    }
}

impl ToldDevice {
    fn thaw(self) -> Option<Device> {
        let (links, since) = (self.links, Millis(self.since));
        Some(Device { device: device(self.device)?, links, since, role: role(self.role)? })
    }
}

/// A device that may be absent; none where it cannot be.
fn device(told: Option<String>) -> Option<Option<DeviceName>> {
    match told {
        Some(text) => DeviceName::parse(&text).ok().map(Some),
        None => Some(None),
    }
}

fn number(role: Role) -> u8 {
    let place = Role::ALL.iter().position(|known| *known == role);
    place.and_then(|place| u8::try_from(place).ok()).expect("all roles are known, and few")
}

fn role(number: u8) -> Option<Role> {
    Role::ALL.get(usize::from(number)).copied()
}
