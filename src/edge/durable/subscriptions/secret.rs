//! Keys, tokens and their hashes: the one place that speaks to ring.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::change::Token;

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
        let own = digest::digest(&digest::SHA256, &[b"outlive tokens".as_slice(), pkcs8].concat());
        let x = BASE64.encode(pair.public_key());
        // The thumbprint of RFC 7638: members in the order of their names, no space.
        let print = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = format!("ds_{}", hash(&print).0);
        Some(Keys { pair, tokens: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()), kid })
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

    /// The token of a wake: the same at every node that has to tell of it again, and 256 bits to guess
    /// for everyone else.
    pub(super) fn token(&self, subscription: &str, wake: &str) -> String {
        let named = format!("{}:{subscription}:{wake}", subscription.len());
        BASE64.encode(hmac::sign(&self.tokens, named.as_bytes()))
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
        let token = keys.token("s", "w");
        assert_eq!(token, keys.token("s", "w"));
        assert_ne!(token, keys.token("s", "x"));
        assert!(is(&token, &hash(&token)) && !is("other", &hash(&token)));
        assert_ne!(random::<32>(), random::<32>());
    }
}
