//! The name of a session: what clients call it, within the tenant that it belongs to.
//!
//! Two tenants may use the same name. Inside, and on disk, a session has one *full name*: the name alone in the default
//! tenant, and in any other one U+001F, the tenant, U+001F and the name. No name has a control character, so no client
//! can write the full name of another session, and all sessions of a tenant lie together in the order of full names,
//! after none and before all of the default tenant. Clients see [`SessionId::name`] and nothing else: as JSON a session
//! is its name, and it has no `Display`, so that code which shows one must decide to whom.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BadId, check_name};
use crate::limits;
use crate::stored::{Text, kept_as_text};

/// Stands in front of a tenant and after it, where a full name has one.
const SEPARATOR: char = '\u{1f}';
/// After the full names of all tenants, and before all those of the default tenant.
const AFTER_TENANTS: &str = " ";
/// First segments of the names that are kept for the program itself.
const RESERVED: [&str; 2] = ["__ds", "__outlive"];

/// Name of a tenant: whoever belongs to one sees its sessions, its agents and its keys, and no others.
///
/// 1 to [`limits::TENANT_BYTES`] letters (a to z, upper or lower case), digits, `-`, `_` and `.`. Everything that names
/// no tenant belongs to the default one, which has no name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

/// Why a text is no tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant's name has 1 to {} letters, digits, -, _ and .", limits::TENANT_BYTES)]
pub struct BadTenant;

impl TenantName {
    /// Takes `text` as a name.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<TenantName, BadTenant> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = (1..=limits::TENANT_BYTES).contains(&text.len()) && text.bytes().all(known);
        if is_name { Ok(TenantName(text.into())) } else { Err(BadTenant) }
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

kept_as_text!(TenantName);

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantName({:?})", &*self.0)
    }
}

/// Name of one session, compared by its exact bytes, within its tenant.
///
/// 1 to [`limits::SESSION_ID_BYTES`] bytes of UTF-8 without control characters and without white
/// space at either end. A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The session of this name in the default tenant.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(name: &str) -> Result<SessionId, BadId> {
        SessionId::of(None, name)
    }

    /// The session of this name in a tenant; in the default one, where none is given.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn of(tenant: Option<&TenantName>, name: &str) -> Result<SessionId, BadId> {
        check_name(name, limits::SESSION_ID_BYTES)?;
        Ok(SessionId(full(tenant, name).into()))
    }

    /// The session that holds what the program keeps for one thing of a tenant, named by `id`: below `place` in the
    /// default tenant, below `places` in all others, both of which are reserved.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn reserved(
        (place, places): (&str, &str),
        tenant: Option<&TenantName>,
        id: &str,
    ) -> Result<SessionId, BadId> {
        let plain = SessionId::parse(&format!("{place}{id}"))?;
        match tenant {
            None => Ok(plain),
            Some(tenant) => Ok(SessionId(format!("{places}{tenant}/{id}").into())),
        }
    }

    /// Takes back a [`Self::full`] name, which the program itself wrote.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn read(full: &str) -> Result<SessionId, BadId> {
        let at = SEPARATOR.len_utf8();
        match full.strip_prefix(SEPARATOR).map(|rest| rest.split_once(SEPARATOR)) {
            None => check_name(full, limits::SESSION_ID_BYTES + limits::TENANT_BYTES)?,
            Some(Some((tenant, name))) if TenantName::parse(tenant).is_ok() => {
                check_name(name, limits::SESSION_ID_BYTES)?;
            }
            Some(_) => return Err(BadId::Control { at: at - 1 }),
        }
        Ok(SessionId(full.into()))
    }

    /// What the program itself calls it: unique in the cluster. It is for no client.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// What clients of its tenant call it.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// Its tenant; none for the default one.
    pub fn tenant(&self) -> Option<TenantName> {
        self.parts().0.map(|tenant| TenantName(tenant.into()))
    }

    /// Whether it belongs to this tenant.
    pub fn is_of(&self, tenant: Option<&TenantName>) -> bool {
        self.parts().0 == tenant.map(TenantName::as_str)
    }

    /// Whether the cluster keeps there what it needs itself: small changes.
    pub fn is_the_clusters(&self) -> bool {
        self.0.starts_with("__outlive/")
    }

    /// Whether the name is kept for the program itself: no client writes or reads such a session.
    pub fn is_reserved(&self) -> bool {
        let rest = |reserved: &str| self.name().strip_prefix(reserved);
        let mut rests = RESERVED.into_iter().filter_map(rest);
        rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Its name with its tenant, for the logs that operators read.
    pub fn for_operators(&self) -> String {
        match self.parts() {
            (None, name) => name.to_owned(),
            (Some(tenant), name) => format!("{tenant}:{name}"),
        }
    }

    fn parts(&self) -> (Option<&str>, &str) {
        let inner = self.0.strip_prefix(SEPARATOR).and_then(|rest| rest.split_once(SEPARATOR));
        inner.map_or((None, &*self.0), |(tenant, name)| (Some(tenant), name))
    }
}

/// Which full names a list of a tenant's sessions has: those that begin with the first text, after the second one.
/// None where nothing can be meant, since the text has what no name has.
pub fn listed(
    tenant: Option<&TenantName>,
    prefix: &str,
    after: Option<&str>,
) -> Option<(String, Option<String>)> {
    if prefix.chars().any(char::is_control) {
        return None;
    }
    let after = match tenant {
        Some(_) => after.map(|after| full(tenant, after)),
        None => Some(after.unwrap_or_default().max(AFTER_TENANTS).to_owned()),
    };
    Some((full(tenant, prefix), after))
}

fn full(tenant: Option<&TenantName>, name: &str) -> String {
    match tenant {
        None => name.to_owned(),
        Some(tenant) => format!("{SEPARATOR}{tenant}{SEPARATOR}{name}"),
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (None, name) => write!(f, "SessionId({name:?})"),
            (Some(tenant), name) => write!(f, "SessionId({tenant}:{name:?})"),
        }
    }
}

/// As JSON, which clients may read, it is its name; stored, and sent between nodes, its full name.
impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = if to.is_human_readable() { self.name() } else { self.full() };
        to.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SessionId, D::Error> {
        let parse = if from.is_human_readable() { SessionId::parse } else { SessionId::read };
        from.deserialize_str(Text(parse))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> TenantName {
        TenantName::parse(name).unwrap()
    }

    #[test]
    fn a_tenant_has_a_plain_name() {
        for name in ["a", "acme", "A-b_c.9", &"x".repeat(64)] {
            assert_eq!(TenantName::parse(name).unwrap().as_str(), name);
        }
        for text in ["", " a", "a b", "a/b", "a:b", "a\u{1f}b", "ä", "*", &"x".repeat(65)] {
            assert_eq!(TenantName::parse(text), Err(BadTenant), "{text:?}");
        }
    }

    #[test]
    fn two_tenants_may_use_the_same_name() {
        let (acme, beta) = (tenant("acme"), tenant("beta"));
        let of = |tenant: Option<&TenantName>| SessionId::of(tenant, "chat").unwrap();
        let all = [of(None), of(Some(&acme)), of(Some(&beta))];
        assert!(all.iter().all(|id| id.name() == "chat"));
        assert_eq!(all.each_ref().map(SessionId::tenant), [None, Some(acme.clone()), Some(beta)]);
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
        assert!(all[1].is_of(Some(&acme)) && !all[1].is_of(None) && !all[0].is_of(Some(&acme)));
        assert_eq!(all[1].for_operators(), "acme:chat");
        assert!(SessionId::of(Some(&acme), "__ds/x").unwrap().is_reserved());
    }

    #[test]
    fn no_client_can_write_the_full_name_of_a_session_of_others() {
        let theirs = SessionId::of(Some(&tenant("acme")), "chat").unwrap();
        for tenant in [None, Some(tenant("beta"))] {
            assert!(SessionId::of(tenant.as_ref(), theirs.full()).is_err());
            assert_eq!(listed(tenant.as_ref(), theirs.full(), None), None);
        }
        for text in ["\u{1f}", "\u{1f}acme", "\u{1f}\u{1f}a", "\u{1f}a b\u{1f}c", "a\u{1f}b\u{1f}c"]
        {
            assert!(SessionId::read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_session_is_stored_under_its_full_name_and_shown_under_its_name() {
        let id = SessionId::of(Some(&tenant("acme")), "chat").unwrap();
        assert_eq!(crate::stored::read_back(&id), id);
        let longest = SessionId::of(Some(&tenant(&"t".repeat(64))), &"x".repeat(256)).unwrap();
        assert_eq!(SessionId::read(longest.full()), Ok(longest.clone()));
        assert!(SessionId::of(None, &"x".repeat(257)).is_err());
        let own = SessionId::reserved(("__ds/a/", "__ds/b/"), id.tenant().as_ref(), "s").unwrap();
        assert_eq!((own.full(), own.tenant()), ("__ds/b/acme/s", None));
        assert!(own.is_reserved());
    }

    proptest! {
        #[test]
        fn a_list_of_one_tenant_has_none_of_another(
            name in "[!-~äß]{1,8}", prefix in "[!-~]{0,3}", after in "\\PC{0,4}",
        ) {
            let (acme, beta) = (tenant("acme"), tenant("acme.b"));
            let tenants = [None, Some(&acme), Some(&beta)];
            for listing in tenants {
                let (begins, after) = listed(listing, &prefix, Some(&after)).unwrap();
                for owner in tenants {
                    let id = SessionId::of(owner, &name).unwrap();
                    let full = id.full();
                    let is_in = full.starts_with(&begins) && after.as_deref().is_none_or(|at| at < full);
                    prop_assert!(!is_in || id.is_of(listing), "{:?} in {:?}", id, listing);
                    prop_assert_eq!(SessionId::read(full), Ok(id));
                }
            }
        }
    }
}
