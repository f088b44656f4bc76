//! Secrets with which requests to endpoints are signed, so that a route can verify who calls.
//!
//! As Standard Webhooks 1.0 specifies: HMAC-SHA-256 over `id.timestamp.body`, in base64 after `v1,`; one signature
//! for each secret, with a space between them, so that a secret can be changed without a gap.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::hmac;

/// What a secret in its usual spelling begins with.
const PREFIX: &str = "whsec_";
/// How long a secret is, in bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One secret; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Takes `text` as a secret: 24 to 64 bytes in base64, after `whsec_` or not.
    pub fn parse(text: &str) -> Option<SigningSecret> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        // With padding or without.
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        BYTES.contains(&bytes.len()).then_some(SigningSecret(bytes))
    }

    /// The value of `webhook-signature` for a body that goes out at `timestamp_s`, in seconds since 1970.
    pub fn signatures(
        secrets: &[SigningSecret],
        id: &str,
        timestamp_s: u64,
        body: &[u8],
    ) -> String {
        let signature = |SigningSecret(secret): &SigningSecret| {
            let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
            mac.update(format!("{id}.{timestamp_s}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.sign()))
        };
        secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_the_standard_has_it() {
        // The example of the reference libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let signed = |secrets: &[_]| SigningSecret::signatures(secrets, id, 1_614_265_330, body);
        assert_eq!(signed(std::slice::from_ref(&secret)), one);
        assert_eq!(signed(&[secret.clone(), secret.clone()]), format!("{one} {one}"));
        let odd = "A".repeat(43);
        assert_eq!(SigningSecret::parse(&odd), SigningSecret::parse(&format!("{odd}=")));
        assert!(SigningSecret::parse(&odd).is_some());
        assert_eq!(format!("{secret:?}"), "SigningSecret(***)");
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all, but long enough for one"] {
            assert!(SigningSecret::parse(text).is_none(), "{text:?}");
        }
    }
}
