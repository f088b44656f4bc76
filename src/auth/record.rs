//! What the cluster's log of keys is made of: one event for each change, in JSON.
//!
//! The key of a tenant has version 2, and one with quotas of its own version 3: a node whose program does not
//! have that version does not know it, and lets no caller in with it.

use serde::{Deserialize, Serialize};
use session::Grant;
use session::ids::Millis;

use super::key::Secret;
use crate::config::QuotaLimits;

/// One change of the keys. Kept: new kinds go to the end, and none changes its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Created(Box<Record>),
    Revoked {
        id: String,
    },
    /// By which root key a node is administered, see [`RootPrint`].
    Root(RootPrint),
}

/// By what one root key is distinguished from another: a hash over it, with a salt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootPrint {
    salt: u64,
    sha256: String,
}

impl RootPrint {
    pub(super) fn of(root: &Secret) -> RootPrint {
        RootPrint::salted(root, rand::random())
    }

    pub(super) fn is_of(&self, root: &Secret) -> bool {
        *self == RootPrint::salted(root, self.salt)
    }

    fn salted(root: &Secret, salt: u64) -> RootPrint {
        let sha256 = Secret::of(&format!("{salt}.{}", root.kept())).kept();
        RootPrint { salt, sha256 }
    }
}

/// A key as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    /// What its maker calls it.
    pub(super) name: String,
    /// See [`Secret::kept`].
    pub(super) sha256: String,
    pub(super) grant: Grant,
    pub(super) created: Millis,
    /// Who made it.
    pub(super) by: String,
    /// What it may do at most at each node, where it has quotas of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quotas: Option<QuotaLimits>,
}

/// An event of the log, under the version of its shape.
#[derive(Serialize, Deserialize)]
struct Versioned {
    v: u32,
    #[serde(flatten)]
    change: Change,
}

impl Change {
    pub(super) fn payload(self) -> Vec<u8> {
        let v = match &self {
            Change::Created(record) if record.quotas.is_some() => 3,
            Change::Created(record) if record.grant.tenant.is_some() => 2,
            _ => 1,
        };
        serde_json::to_vec(&Versioned { v, change: self }).expect("it is made of plain JSON")
    }

    /// Takes back what [`Self::payload`] wrote.
    pub(super) fn read(payload: &[u8]) -> Option<Change> {
        let versioned: Versioned = serde_json::from_slice(payload).ok()?;
        matches!(versioned.v, 1..=3).then_some(versioned.change)
    }
}

impl Record {
    pub(super) fn secret(&self) -> Option<Secret> {
        Secret::read(&self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use session::ids::TenantName;

    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let record = Record {
            id: "0123456789abcdef".into(),
            name: "ci".into(),
            sha256: Secret::of("secret").kept(),
            grant: Grant::all(),
            created: Millis(7),
            by: "root".into(),
            quotas: Some(QuotaLimits { inputs_per_s: Some(2), ..QuotaLimits::default() }),
        };
        let quotas = record.quotas;
        let payload = Change::Created(Box::new(record)).payload();
        let Some(Change::Created(read)) = Change::read(&payload) else {
            panic!("{}", String::from_utf8_lossy(&payload))
        };
        assert_eq!((read.grant, read.created.0, read.quotas), (Grant::all(), 7, quotas));
        assert!(payload.starts_with(br#"{"v":3,"#));
        assert!(Change::read(br#"{"v":4,"revoked":{"id":"a"}}"#).is_none());
        assert!(Change::read(br#"{"v":1,"revoked":{"id":"a"}}"#).is_some());
        let print = RootPrint::of(&Secret::of("root"));
        let Some(Change::Root(read)) = Change::read(&Change::Root(print).payload()) else {
            panic!("it is one");
        };
        assert!(read.is_of(&Secret::of("root")) && !read.is_of(&Secret::of("boot")));
    }

    #[test]
    fn a_key_that_was_made_before_there_were_tenants_is_of_the_default_one() {
        let old = br#"{"v":1,"created":{"id":"0123456789abcdef","name":"ci","sha256":"","grant":
            {"rights":["read"],"sessions":["*"],"agents":[],"participant":null,"device":null,
            "role":"Controller","until":null},"created":7,"by":"root"}}"#;
        let Some(Change::Created(read)) = Change::read(old) else { panic!("it is unreadable") };
        assert_eq!((&read.grant.tenant, read.grant.rights.len()), (&None, 1));
        let (tenant, text) = (TenantName::parse("acme").ok(), |change: Change| {
            String::from_utf8(change.payload()).unwrap()
        });
        let grant = Grant { tenant: tenant.clone(), ..read.grant };
        let theirs = text(Change::Created(Box::new(Record { grant, ..*read })));
        assert!(theirs.contains("\"v\":2") && theirs.contains("\"tenant\":\"acme\""), "{theirs}");
        let Some(Change::Created(read)) = Change::read(theirs.as_bytes()) else {
            panic!("it is unreadable")
        };
        assert_eq!(read.grant.tenant, tenant);
    }
}
