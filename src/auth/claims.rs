//! What a token claims about its bearer (RFC 7519, 4), and the grant that follows from it.
//!
//! `sub` is the participant. `tenant`, `rights`, `sessions`, `agents`, `role` and `device` stand in the claim
//! `outlive`, or beside the others; lists are JSON arrays, or texts with spaces in between. What a token does not give
//! is not granted.

use serde::Deserialize;
use session::ids::{DeviceName, Millis, ParticipantName, TenantName};
use session::{Grant, Pattern, Right, Role};

/// The claims that mean something here.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: Option<String>,
    pub(super) exp: Option<f64>,
    pub(super) iat: Option<f64>,
    #[serde(flatten)]
    beside: Own,
    outlive: Option<Own>,
}

#[derive(Debug, Default, Deserialize)]
struct Own {
    tenant: Option<String>,
    rights: Option<Words>,
    sessions: Option<Words>,
    agents: Option<Words>,
    role: Option<String>,
    device: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    Text(String),
}

impl Words {
    fn all(self) -> Vec<String> {
        match self {
            Words::List(list) => list,
            Words::Text(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        }
    }
}

impl Claims {
    /// The grant that the claims give until `until`, in the tenant that their issuer is bound to, where it is to one.
    ///
    /// # Errors
    /// Names the claim that cannot be understood; the token lets no caller in then.
    pub(super) fn grant(
        self,
        bound: Option<&TenantName>,
        until: Millis,
    ) -> Result<Grant, &'static str> {
        let Claims { sub, beside, outlive, .. } = self;
        // A token whose issuer names the tenant in either place is never one of the default tenant by mistake.
        let named = [outlive.as_ref().and_then(|own| own.tenant.clone()), beside.tenant.clone()];
        let own = outlive.unwrap_or(beside);
        let sub = sub.ok_or("the token has no sub")?;
        let participant = ParticipantName::parse(&sub).map_err(|_| "sub is no possible name")?;
        let right = |name: String| Right::parse(&name).ok_or("rights has one that is not known");
        let words = |words: Option<Words>| words.map(Words::all).unwrap_or_default();
        let mut rights = words(own.rights).into_iter().map(right).collect::<Result<Vec<_>, _>>()?;
        rights.sort();
        rights.dedup();
        let tenant = tenant(bound, named)?;
        let device = own.device.as_deref().map(DeviceName::parse).transpose();
        let role = own.role.as_deref().unwrap_or(Role::Participant.name());
        Ok(Grant {
            tenant,
            rights,
            sessions: patterns(words(own.sessions))?,
            agents: patterns(words(own.agents))?,
            participant: Some(participant),
            device: device.map_err(|_| "device is no possible name")?,
            role: Role::parse(role).ok_or("role is none that is known")?,
            until: Some(until),
        })
    }
}

/// The one tenant that the claims and the issuer's configuration name; the default one, where neither does.
fn tenant(
    bound: Option<&TenantName>,
    named: [Option<String>; 2],
) -> Result<Option<TenantName>, &'static str> {
    let mut tenant = bound.cloned();
    for name in named.into_iter().flatten() {
        let name = TenantName::parse(&name).map_err(|_| "tenant is no possible name")?;
        if *tenant.get_or_insert_with(|| name.clone()) != name {
            return Err("the token is for another tenant than its issuer, or for two");
        }
    }
    Ok(tenant)
}

fn patterns(texts: Vec<String>) -> Result<Vec<Pattern>, &'static str> {
    if session::limits::GRANT_PATTERNS < texts.len() {
        return Err("the token has more patterns than a grant may");
    }
    let parsed = texts.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>();
    parsed.map_err(|_| "the token has a pattern that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(claims: &str) -> Result<Grant, &'static str> {
        serde_json::from_str::<Claims>(claims).unwrap().grant(None, Millis(9))
    }

    #[test]
    fn a_token_is_of_the_tenant_that_it_names_or_its_issuer_is_for() {
        let (acme, beta) = (TenantName::parse("acme").ok(), TenantName::parse("beta").ok());
        let of = |bound: &Option<TenantName>, claims: &str| {
            let claims = serde_json::from_str::<Claims>(claims).unwrap();
            claims.grant(bound.as_ref(), Millis(9)).map(|grant| grant.tenant)
        };
        for claims in
            [r#"{"sub":"a","tenant":"acme"}"#, r#"{"sub":"a","outlive":{"tenant":"acme"}}"#]
        {
            assert_eq!(of(&None, claims), Ok(acme.clone()));
            assert_eq!(of(&acme, claims), Ok(acme.clone()));
            assert!(of(&beta, claims).is_err());
        }
        assert_eq!(of(&None, r#"{"sub":"a"}"#), Ok(None));
        assert_eq!(of(&beta, r#"{"sub":"a"}"#), Ok(beta.clone()));
        assert_eq!(of(&None, r#"{"sub":"a","tenant":"acme","outlive":{}}"#), Ok(acme));
        let two = r#"{"sub":"a","tenant":"acme","outlive":{"tenant":"beta"}}"#;
        for claims in [two, r#"{"sub":"a","tenant":""}"#, r#"{"sub":"a","tenant":"a\u001fb"}"#] {
            assert!(of(&None, claims).is_err(), "{claims}");
        }
    }

    #[test]
    fn a_token_grants_what_it_says_and_nothing_else() {
        let given = grant(
            r#"{"sub":"ada","rights":"read send","sessions":["chat:*"],"agents":[],"x":{"y":1}}"#,
        );
        let given = given.unwrap();
        assert_eq!(given.rights, [Right::Read, Right::Send]);
        assert_eq!((given.role, given.until), (Role::Participant, Some(Millis(9))));
        let own = grant(
            r#"{"sub":"ada","rights":["admin"],
                "outlive":{"rights":["read"],"sessions":"a b","role":"observer","device":"tv"}}"#,
        );
        let own = own.unwrap();
        assert_eq!(
            (own.rights, own.sessions.len(), own.role),
            (vec![Right::Read], 2, Role::Observer)
        );
        let nothing = grant(r#"{"sub":"ada"}"#).unwrap();
        assert!(nothing.rights.is_empty() && nothing.sessions.is_empty());
        for claims in [
            r#"{}"#,
            r#"{"sub":" "}"#,
            r#"{"sub":"ada","rights":["root"]}"#,
            r#"{"sub":"ada","sessions":["a*b"]}"#,
            r#"{"sub":"ada","role":"king"}"#,
        ] {
            assert!(grant(claims).is_err(), "{claims}");
        }
    }
}
