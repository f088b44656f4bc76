//! Settings that are one word of a few.

use clap::ValueEnum;
use serde::Deserialize;

/// Which addresses webhooks may go to. Link-local ones, where clouds keep their metadata, never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookReach {
    /// Public addresses.
    #[default]
    Public,
    /// Those, and this machine.
    Loopback,
    /// Those, and private networks.
    Private,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
