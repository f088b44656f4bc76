//! The text of a key, and what is kept of it.
//!
//! A key is `olk_ID_SECRET`: 16 hexadecimal digits that name it, and 32 random bytes in base64url (RFC 4648, 5).
//! What is kept is the SHA-256 of the secret: it has 256 bits of chance, so that nothing slower is needed against
//! guessing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// What every key begins with, so that scanners for secrets find it.
const PREFIX: &str = "olk_";
const ID_DIGITS: usize = 16;
const SECRET_BYTES: usize = 32;

/// The hash of a secret; it is never shown, and compared in a time that tells nothing of it.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Secret {
    /// What is kept of this text.
    pub fn of(text: &str) -> Secret {
        let hash = digest(&SHA256, text.as_bytes());
        Secret(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Takes back what [`Self::kept`] wrote.
    pub(super) fn read(text: &str) -> Option<Secret> {
        Some(Secret(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// The hash as text, to be kept.
    pub(super) fn kept(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether `text` is the secret. It takes as long for a wrong one.
    pub fn is(&self, text: &str) -> bool {
        *self == Secret::of(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A key as its owner has it.
pub struct KeyText {
    /// Its name, which is no secret.
    pub id: String,
    pub(super) secret: String,
}

impl KeyText {
    /// A new key, drawn at random.
    pub fn draw() -> KeyText {
        let id = format!("{:016x}", rand::random::<u64>());
        KeyText { id, secret: URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>()) }
    }

    /// Takes `text` as a key, if it has the shape of one.
    pub fn parse(text: &str) -> Option<KeyText> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == ID_DIGITS
            && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_secret = secret.len() == SECRET_BYTES.div_ceil(3) * 4 - 1;
        (is_id && is_secret).then(|| KeyText { id: id.into(), secret: secret.into() })
    }

    /// The whole text, for its owner alone.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_is_kept_as_a_hash() {
        let key = KeyText::draw();
        let read = KeyText::parse(&key.reveal()).expect("it is a key");
        assert_eq!((&read.id, &read.secret), (&key.id, &key.secret));
        let kept = Secret::of(&key.secret);
        assert!(kept.is(&read.secret) && !kept.is(&KeyText::draw().secret));
        assert_eq!(Secret::read(&kept.kept()), Some(kept.clone()));
        assert_eq!(format!("{kept:?}"), "Secret(***)");
        for text in ["", "olk_", "olk_0123456789abcdef_short", "olk_0123456789ABCDEF_", "sk_1_2"] {
            assert!(KeyText::parse(text).is_none(), "{text:?}");
        }
    }
}
