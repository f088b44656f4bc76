//! How much each tenant and each key may do: `[quotas]` in the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BadServeConfig, bad};
use crate::ids::TenantName;
use crate::limits;

/// What a node allows each tenant and each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Of each tenant that has no quotas of its own.
    pub tenant: QuotaLimits,
    /// Of each key, and of each subject of a token.
    pub key: QuotaLimits,
    /// Of tenants that have quotas of their own; none stands for the default tenant. Up to
    /// [`limits::QUOTA_NAMED_TENANTS`].
    pub tenants: BTreeMap<Option<TenantName>, QuotaLimits>,
}

/// How much one tenant or one key may do at one node; without bounds, where nothing is given. Kept with keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaLimits {
    /// Commands per second that bring something: appends, inputs, output, creates.
    pub appends_per_s: Option<u32>,
    /// Payload bytes of commands per second.
    pub bytes_per_s: Option<u32>,
    /// Inputs per second; each is an append, too.
    pub inputs_per_s: Option<u32>,
    /// Commands per second that end something or make room: cancels, pauses, control, small answers, ends of turns,
    /// closes, deletes.
    pub controls_per_s: Option<u32>,
    /// Requests and sessions on WebSockets that stay open, at once.
    pub live_streams: Option<u32>,
    /// Subscriptions of a tenant, in the whole cluster.
    pub subscriptions: Option<u32>,
    /// Sessions of a tenant, in the whole cluster.
    pub sessions: Option<u32>,
    /// Turns of a tenant that are not over, in the whole cluster.
    pub open_turns: Option<u32>,
    /// Payload bytes of the events that a tenant's sessions keep, in the whole cluster.
    pub stored_bytes: Option<u64>,
}

impl QuotaLimits {
    /// What both allow.
    #[must_use]
    pub fn within(self, other: QuotaLimits) -> QuotaLimits {
        fn least<N: Ord>(one: Option<N>, other: Option<N>) -> Option<N> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        QuotaLimits {
            appends_per_s: least(self.appends_per_s, other.appends_per_s),
            bytes_per_s: least(self.bytes_per_s, other.bytes_per_s),
            inputs_per_s: least(self.inputs_per_s, other.inputs_per_s),
            controls_per_s: least(self.controls_per_s, other.controls_per_s),
            live_streams: least(self.live_streams, other.live_streams),
            subscriptions: least(self.subscriptions, other.subscriptions),
            sessions: least(self.sessions, other.sessions),
            open_turns: least(self.open_turns, other.open_turns),
            stored_bytes: least(self.stored_bytes, other.stored_bytes),
        }
    }
}

/// The keys as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GivenQuotas {
    appends_per_s: Option<Bound>,
    bytes_per_s: Option<Bound>,
    inputs_per_s: Option<Bound>,
    controls_per_s: Option<Bound>,
    live_streams: Option<Bound>,
    subscriptions: Option<Bound>,
    sessions: Option<Bound>,
    open_turns: Option<Bound>,
    stored_bytes: Option<Bound>,
    key: GivenLimits,
    tenants: BTreeMap<String, GivenLimits>,
}

/// The keys of one tenant, or of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GivenLimits {
    appends_per_s: Option<Bound>,
    bytes_per_s: Option<Bound>,
    inputs_per_s: Option<Bound>,
    controls_per_s: Option<Bound>,
    live_streams: Option<Bound>,
    subscriptions: Option<Bound>,
    sessions: Option<Bound>,
    open_turns: Option<Bound>,
    stored_bytes: Option<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a quota is a number from 1, or \"unlimited\"")]
enum Bound {
    Most(u64),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Unlimited,
}

/// The quotas of a node; none where the file has none.
pub(super) fn check(given: Option<GivenQuotas>) -> Result<Option<QuotaConfig>, BadServeConfig> {
    let Some(given) = given else { return Ok(None) };
    let GivenQuotas { key, tenants, .. } = &given;
    for (name, given) in [
        ("subscriptions", key.subscriptions),
        ("sessions", key.sessions),
        ("open_turns", key.open_turns),
        ("stored_bytes", key.stored_bytes),
    ] {
        if given.is_some() {
            return bad(format!("quotas.key.{name}: {name} are counted by tenant"));
        }
    }
    if limits::QUOTA_NAMED_TENANTS < tenants.len() {
        return bad(format!("quotas.tenants are at most {}", limits::QUOTA_NAMED_TENANTS));
    }
    let none = QuotaLimits::default();
    let tenant = limits_of("quotas", given.of_all(), none)?;
    let key = limits_of("quotas.key", *key, none)?;
    let named = tenants.iter().map(|(name, given)| {
        let place = format!("quotas.tenants.{name}");
        let parsed = if name.is_empty() { Ok(None) } else { TenantName::parse(name).map(Some) };
        let parsed = parsed.or_else(|why| bad(format!("{place}: {why}")))?;
        Ok((parsed, limits_of(&place, *given, tenant)?))
    });
    let tenants = named.collect::<Result<_, _>>()?;
    Ok(Some(QuotaConfig { tenant, key, tenants }))
}

fn limits_of(
    place: &str,
    given: GivenLimits,
    below: QuotaLimits,
) -> Result<QuotaLimits, BadServeConfig> {
    let large = |name: &str, given: Option<Bound>, below: Option<u64>| match given {
        None => Ok(below),
        Some(Bound::Word(Word::Unlimited)) => Ok(None),
        Some(Bound::Most(0)) => bad(format!("{place}.{name} must be 1 or more, or \"unlimited\"")),
        Some(Bound::Most(most)) => Ok(Some(most)),
    };
    let one = |name: &str, given: Option<Bound>, below: Option<u32>| {
        let bound = large(name, given, below.map(u64::from))?.map(u32::try_from).transpose();
        bound.or_else(|_| bad(format!("{place}.{name} must be at most {}", u32::MAX)))
    };
    Ok(QuotaLimits {
        appends_per_s: one("appends_per_s", given.appends_per_s, below.appends_per_s)?,
        bytes_per_s: one("bytes_per_s", given.bytes_per_s, below.bytes_per_s)?,
        inputs_per_s: one("inputs_per_s", given.inputs_per_s, below.inputs_per_s)?,
        controls_per_s: one("controls_per_s", given.controls_per_s, below.controls_per_s)?,
        live_streams: one("live_streams", given.live_streams, below.live_streams)?,
        subscriptions: one("subscriptions", given.subscriptions, below.subscriptions)?,
        sessions: one("sessions", given.sessions, below.sessions)?,
        open_turns: one("open_turns", given.open_turns, below.open_turns)?,
        stored_bytes: large("stored_bytes", given.stored_bytes, below.stored_bytes)?,
    })
}

impl GivenQuotas {
    fn of_all(&self) -> GivenLimits {
        GivenLimits {
            appends_per_s: self.appends_per_s,
            bytes_per_s: self.bytes_per_s,
            inputs_per_s: self.inputs_per_s,
            controls_per_s: self.controls_per_s,
            live_streams: self.live_streams,
            subscriptions: self.subscriptions,
            sessions: self.sessions,
            open_turns: self.open_turns,
            stored_bytes: self.stored_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str) -> Result<QuotaConfig, String> {
        let given: GivenQuotas = toml::from_str(file).map_err(|why| why.message().to_owned())?;
        Ok(check(Some(given)).map_err(|why| why.to_string())?.unwrap())
    }

    #[test]
    fn a_tenant_has_the_quotas_of_all_but_for_those_of_its_own() {
        let file = "appends_per_s = 10\nlive_streams = 5\n[key]\ninputs_per_s = 2\n\
                    [tenants.acme]\nappends_per_s = 99\nlive_streams = \"unlimited\"\n[tenants.\"\"]\n";
        let quotas = load(file).unwrap();
        let all = QuotaLimits {
            appends_per_s: Some(10),
            live_streams: Some(5),
            ..QuotaLimits::default()
        };
        assert_eq!(quotas.tenant, all);
        assert_eq!(quotas.key, QuotaLimits { inputs_per_s: Some(2), ..QuotaLimits::default() });
        let acme = Some(TenantName::parse("acme").unwrap());
        let own = QuotaLimits { appends_per_s: Some(99), ..QuotaLimits::default() };
        assert_eq!((quotas.tenants[&acme], quotas.tenants[&None]), (own, all));
        assert_eq!(check(None), Ok(None));
        let file = "stored_bytes = 10000000000\n[tenants.acme]\nsessions = 3\nopen_turns = 2\n";
        let quotas = load(file).unwrap();
        let all = QuotaLimits { stored_bytes: Some(10_000_000_000), ..QuotaLimits::default() };
        let own = QuotaLimits { sessions: Some(3), open_turns: Some(2), ..all };
        assert_eq!((quotas.tenant, quotas.tenants[&acme]), (all, own));
    }

    #[test]
    fn what_is_no_quota_is_named() {
        for (file, why) in [
            ("bytes_per_s = 0", "quotas.bytes_per_s must be 1 or more, or \"unlimited\""),
            (
                "[tenants.a]\ninputs_per_s = 0",
                "quotas.tenants.a.inputs_per_s must be 1 or more, or \"unlimited\"",
            ),
            (
                "[key]\nsubscriptions = 1",
                "quotas.key.subscriptions: subscriptions are counted by tenant",
            ),
            (
                "[key]\nstored_bytes = 1",
                "quotas.key.stored_bytes: stored_bytes are counted by tenant",
            ),
            ("sessions = 4294967296", "quotas.sessions must be at most 4294967295"),
            ("bytes_per_s = -1", "a quota is a number from 1, or \"unlimited\""),
            ("bytes_per_s = \"many\"", "a quota is a number from 1, or \"unlimited\""),
        ] {
            assert_eq!(load(file).unwrap_err(), why, "{file}");
        }
        assert!(load("append_per_s = 1").is_err());
        assert!(load("[tenants.\"a b\"]").is_err());
    }
}
