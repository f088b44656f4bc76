//! What a session was created with. It does not change while the session lives.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::content_type::ContentType;
use super::policy::Policy;
use crate::ids::Millis;
use crate::limits;

/// The settings of a session. Creating it again needs the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How much of the log is kept.
    pub retention: Retention,
    /// The session is deleted when no client created, appended, closed or touched for that long,
    /// in milliseconds; from 1.
    pub ttl_ms: Option<u64>,
    /// What the creator wants to find again; up to [`limits::LABELS`].
    pub labels: BTreeMap<String, String>,
    /// The session is deleted at this time, whatever happens; never beside `ttl_ms`.
    pub expires_at: Option<Millis>,
    /// What all events of the log are, where the creator set it.
    pub content_type: Option<ContentType>,
    /// How turns are treated where an input does not decide.
    pub policy: Policy,
}

/// How much of its log a session keeps; without limits, all of it.
///
/// Whatever lies within a limit is kept, and up to 1/32 beyond it. Of two limits the stricter rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Age up to which an event is kept, in milliseconds; from 1.
    pub max_age_ms: Option<u64>,
    /// Newest payload bytes that are kept; from 1.
    pub max_bytes: Option<u64>,
}

/// A number of a configuration that has a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// [`Retention::max_age_ms`].
    MaxAgeMs,
    /// [`Retention::max_bytes`].
    MaxBytes,
    /// [`Config::ttl_ms`].
    TtlMs,
    /// [`Policy::attempts`].
    Attempts,
    /// The span of [`Policy::unwatched`].
    Unwatched,
    /// [`Policy::wait_ms`].
    WaitMs,
    /// See [`crate::Policy::merge_ms`].
    MergeMs,
}

/// Why a configuration cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BadConfig {
    /// A number is 0 that counts from 1.
    #[error("{field} must be at least 1")]
    Zero {
        /// Which one.
        field: Field,
    },
    /// A number is greater than it may be.
    #[error("{field} must be at most {limit}")]
    TooMuch {
        /// Which one.
        field: Field,
        /// Its greatest value, in its own unit.
        limit: u64,
    },
    /// Both a time to live and a time of expiry are given.
    #[error("a time to live and a time of expiry exclude each other")]
    TwoEnds,
    /// There are more labels than [`limits::LABELS`].
    #[error("the session has {count} labels; the limit is {limit}")]
    TooManyLabels {
        /// How many were given.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The name or the value of a label is longer than [`limits::LABEL_BYTES`].
    #[error("a label has {bytes} bytes; the limit is {limit}")]
    LabelTooLong {
        /// Length of the longer of the two, in bytes.
        bytes: usize,
        /// Greatest length of either, in bytes.
        limit: usize,
    },
    /// A label has an empty name.
    #[error("a label has no name")]
    LabelUnnamed,
}

impl Config {
    /// Checks whether a session can be kept so.
    ///
    /// # Errors
    /// Names the first thing that is out of range.
    pub fn check(&self) -> Result<(), BadConfig> {
        let spans = [
            (Field::MaxAgeMs, self.retention.max_age_ms),
            (Field::MaxBytes, self.retention.max_bytes),
            (Field::TtlMs, self.ttl_ms),
        ];
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| *span == Some(0)) {
            return Err(BadConfig::Zero { field });
        }
        self.policy.check()?;
        if self.ttl_ms.is_some() && self.expires_at.is_some() {
            return Err(BadConfig::TwoEnds);
        }
        if limits::LABELS < self.labels.len() {
            return Err(BadConfig::TooManyLabels {
                count: self.labels.len(),
                limit: limits::LABELS,
            });
        }
        for (name, value) in &self.labels {
            let bytes = name.len().max(value.len());
            if limits::LABEL_BYTES < bytes {
                return Err(BadConfig::LabelTooLong { bytes, limit: limits::LABEL_BYTES });
            }
            if name.is_empty() {
                return Err(BadConfig::LabelUnnamed);
            }
        }
        Ok(())
    }
}

impl Retention {
    /// Whether the log is kept for ever.
    pub fn is_unlimited(&self) -> bool {
        self.max_age_ms.is_none() && self.max_bytes.is_none()
    }
}

impl Field {
    /// The name under which clients give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::MaxAgeMs => "max_age_ms",
            Field::MaxBytes => "max_bytes",
            Field::TtlMs => "ttl_ms",
            Field::Attempts => "attempts",
            Field::Unwatched => "unwatched",
            Field::WaitMs => "wait_ms",
            Field::MergeMs => "merge_ms",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
