//! Whom a command is counted for where a group has too much to do: its tenant, and within it its session.

use cluster::group::Flow;
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::SessionId;

/// The owner of keys and the like, which the cluster keeps for itself.
const OWN: u64 = 1;
/// The owner of all sessions of the default tenant.
const DEFAULT: u64 = 2;

/// The flow of a session's commands. Two names may share a number, and then a share.
pub(super) fn of(id: &SessionId) -> Flow {
    let owner = match id.tenant() {
        _ if id.is_the_clusters() => OWN,
        None => DEFAULT,
        Some(tenant) => xxh3_64(tenant.as_str().as_bytes()),
    };
    Flow { owner, part: xxh3_64(id.full().as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantName;

    #[test]
    fn sessions_of_a_tenant_have_one_owner_and_parts_of_their_own() {
        let acme = TenantName::parse("acme").unwrap();
        let of = |tenant, name| super::of(&SessionId::of(tenant, name).unwrap());
        let (a, b) = (of(Some(&acme), "a"), of(Some(&acme), "b"));
        assert_eq!(a.owner, b.owner);
        assert_ne!(a.part, b.part);
        let plain = of(None, "a");
        assert_ne!((a.owner, a.part), (plain.owner, plain.part));
        assert_ne!(plain.owner, a.owner);
        assert_eq!(of(None, "__outlive/keys").owner, OWN);
    }
}
