//! Seals: by them a node recognises its own announcements, whoever shows them to it.
//!
//! A seal is an HMAC-SHA256 under a random secret of the node's disk, which never leaves it. An older copy
//! of the disk has the same secret.

use std::fmt;

use ::ring::hmac;
use serde::{Deserialize, Serialize};

/// Of some bytes, by one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal([u8; 32]);

/// Makes the seals of one disk, and knows them again.
pub(crate) struct Sealer(hmac::Key);

impl Sealer {
    pub(crate) fn new(secret: u128) -> Sealer {
        Sealer(hmac::Key::new(hmac::HMAC_SHA256, &secret.to_le_bytes()))
    }

    pub(crate) fn seal(&self, words: &[u8]) -> Seal {
        let tag = hmac::sign(&self.0, words);
        Seal(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    pub(crate) fn is_ours(&self, words: &[u8], seal: &Seal) -> bool {
        hmac::verify(&self.0, words, &seal.0).is_ok()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}
