//! Keys, tokens and their hashes: the one place that calls ring.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::Named;
use super::change::Token;
use crate::ids::TenantName;

/// The cluster's signing key, and what tokens are made with.
pub(super) struct Keys {
    pair: Ed25519KeyPair,
    tokens: hmac::Key,
    kid: String,
}

/// A key pair as PKCS#8.
pub(super) fn generate() -> Vec<u8> {
    let drawn = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    drawn.expect("the machine has random numbers").as_ref().to_vec()
}

/// Random bytes as base64url.
pub(super) fn random<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the machine has random numbers");
    BASE64.encode(bytes)
}

/// A token for a client of this tenant.
pub(super) fn draw(tenant: Option<&TenantName>) -> String {
    of_tenant(tenant, random::<32>())
}

/// The token with its tenant in front, where it has one: whoever brings it brings nothing else that names the tenant.
fn of_tenant(tenant: Option<&TenantName>, token: String) -> String {
    tenant.map_or(token.clone(), |tenant| format!("{tenant}.{token}"))
}

/// The tenant that a token names. Tokens are base64url, which has no dot.
pub fn tenant_of(token: &str) -> Option<TenantName> {
    token.rsplit_once('.').and_then(|(tenant, _)| TenantName::parse(tenant).ok())
}

/// The hash under which a token is kept.
pub(super) fn hash(token: &str) -> Token {
    Token(BASE64.encode(digest::digest(&digest::SHA256, token.as_bytes())))
}

/// Whether this is the token, in a time that does not depend on where they differ.
pub(super) fn is(token: &str, kept: &Token) -> bool {
    let given = hash(token);
    let pairs = given.0.bytes().zip(kept.0.bytes());
    given.0.len() == kept.0.len() && pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Keys {
    /// Takes back a generated pair.
    pub(super) fn read(pkcs8: &[u8]) -> Option<Keys> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        Some(Keys::new(pair, pkcs8))
    }

    /// The keys of a tenant, which follow from those of the default one: what one tenant lets be signed proves nothing
    /// to whoever trusts the key of another.
    pub(super) fn of(&self, tenant: &TenantName) -> Keys {
        let secret = hmac::sign(&self.tokens, format!("tenant {tenant}").as_bytes());
        let pair = Ed25519KeyPair::from_seed_unchecked(secret.as_ref());
        Keys::new(pair.expect("it has 32 bytes"), secret.as_ref())
    }

    fn new(pair: Ed25519KeyPair, secret: &[u8]) -> Keys {
        let own = digest::digest(&digest::SHA256, &[b"outlive tokens".as_slice(), secret].concat());
        let x = BASE64.encode(pair.public_key());
        // The thumbprint of RFC 7638: members in the order of their names, no space.
        let print = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = format!("ds_{}", hash(&print).0);
        Keys { pair, tokens: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()), kid }
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// What verifiers need (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        let x = BASE64.encode(self.pair.public_key());
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA",
        }] })
    }

    /// The value of `Webhook-Signature` for a body at a time, in seconds since 1970.
    pub(super) fn sign(&self, second: u64, body: &[u8]) -> String {
        let signed = [second.to_string().as_bytes(), b".", body].concat();
        let signature = BASE64.encode(self.pair.sign(&signed));
        format!("t={second},kid={},ed25519={signature}", self.kid)
    }

    /// The token of a wake: the same at every node that has to send it again, and 256 bits to guess
    /// for everyone else.
    pub(super) fn token(&self, subscription: &Named, wake: &str) -> String {
        let Named { tenant, id } = subscription;
        let named = format!("{}:{id}:{wake}", id.len());
        of_tenant(tenant.as_ref(), BASE64.encode(hmac::sign(&self.tokens, named.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_signature_is_verified_with_what_is_published() {
        let keys = Keys::read(&generate()).unwrap();
        let header = keys.sign(7, b"{}");
        let (start, signature) = header.rsplit_once("ed25519=").unwrap();
        assert_eq!(start, format!("t=7,kid={},", keys.kid()));
        let jwks = keys.jwks();
        let x = BASE64.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let signature = BASE64.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, x).verify(b"7.{}", &signature).unwrap();
    }

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let keys = Keys::read(&generate()).unwrap();
        let named = Named { tenant: None, id: "s".into() };
        let token = keys.token(&named, "w");
        assert_eq!((&token, tenant_of(&token)), (&keys.token(&named, "w"), None));
        assert_ne!(token, keys.token(&named, "x"));
        let (acme, beta) = (TenantName::parse("acme.x"), TenantName::parse("beta"));
        let (acme, beta) = (acme.unwrap(), beta.unwrap());
        let named = Named { tenant: Some(acme.clone()), ..named };
        let theirs = keys.of(&acme).token(&named, "w");
        assert_eq!(tenant_of(&theirs), Some(acme.clone()));
        assert!(!theirs.ends_with(&token));
        assert_eq!(keys.of(&acme).kid(), keys.of(&acme).kid());
        assert_ne!(keys.of(&acme).kid(), keys.of(&beta).kid());
        assert_ne!(keys.of(&acme).kid(), keys.kid());
        assert!(is(&token, &hash(&token)) && !is("other", &hash(&token)));
        assert_ne!(random::<32>(), random::<32>());
    }
}
