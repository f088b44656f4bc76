//! Which subscription: a name within a tenant, and the session that holds it.

use crate::ids::{BadId, SessionId, TenantName};

/// What the names of the sessions begin with: of the default tenant, and of all others.
const PLACES: (&str, &str) = ("__ds/subscriptions/", "__ds/tenants/");
/// Both of them, to be listed.
pub(super) const PREFIXES: [&str; 2] = [PLACES.0, PLACES.1];

/// A subscription of a tenant. Its pattern, its streams and its wake stream are the tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// None for the default tenant.
    pub tenant: Option<TenantName>,
    /// What its tenant calls it.
    pub id: String,
}

impl Named {
    /// What the names of the sessions of a tenant's subscriptions begin with, and those of no other tenant's.
    pub(super) fn prefix(tenant: Option<&TenantName>) -> String {
        tenant.map_or_else(|| PLACES.0.to_owned(), |name| format!("{}{}/", PLACES.1, name.as_str()))
    }

    /// The session that holds it.
    ///
    /// # Errors
    /// The name is longer than it may be.
    pub fn session(&self) -> Result<SessionId, BadId> {
        SessionId::reserved(PLACES, self.tenant.as_ref(), &self.id)
    }

    /// Takes back what [`Self::session`] made.
    pub(super) fn of(session: &SessionId) -> Option<Named> {
        if let Some(id) = session.name().strip_prefix(PLACES.0) {
            return Some(Named { tenant: None, id: id.to_owned() });
        }
        let (tenant, id) = session.name().strip_prefix(PLACES.1)?.split_once('/')?;
        Some(Named { tenant: Some(TenantName::parse(tenant).ok()?), id: id.to_owned() })
    }

    /// The stream of its tenant with this name.
    ///
    /// # Errors
    /// It is no name of a stream.
    pub(super) fn stream(&self, name: &str) -> Result<SessionId, BadId> {
        Named::stream_of(self.tenant.as_ref(), name)
    }

    /// The stream of this tenant with this name.
    ///
    /// # Errors
    /// It is no name of a stream.
    pub fn stream_of(tenant: Option<&TenantName>, name: &str) -> Result<SessionId, BadId> {
        SessionId::of(tenant, name)
    }

    /// The name under which it writes into its wake stream, which is its tenant's own.
    pub(super) fn producer(&self) -> String {
        format!("{}{}", PLACES.0, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_a_session_of_its_own_in_each_tenant() {
        let of = |tenant: Option<&str>, id: &str| {
            let tenant = tenant.map(|name| TenantName::parse(name).unwrap());
            Named { tenant, id: id.to_owned() }
        };
        let all = [of(None, "a/b"), of(Some("acme"), "a/b"), of(Some("a"), "b"), of(None, "a")];
        let mut sessions: Vec<_> = all.iter().map(|named| named.session().unwrap()).collect();
        for (named, session) in all.iter().zip(&sessions) {
            assert_eq!(Named::of(session).as_ref(), Some(named));
            assert!(session.is_reserved());
            assert!(session.name().starts_with(&Named::prefix(named.tenant.as_ref())));
        }
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions.len(), all.len());
        let longest = of(Some(&"t".repeat(64)), &"x".repeat(237));
        let session = longest.session().unwrap();
        assert_eq!(SessionId::read(session.full()), Ok(session));
        assert!(of(None, &"x".repeat(238)).session().is_err());
        assert!(crate::ids::ProducerId::parse(&longest.producer()).is_ok());
    }
}
