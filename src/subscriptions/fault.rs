//! What goes wrong with a request about a subscription. Nothing was done, unless the text states otherwise.

use std::fmt::Display;

use super::state::Refused;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The request can never be carried out.
    #[error("{0}")]
    Invalid(String),
    /// No token, or one that opens nothing.
    #[error("{0}")]
    NoToken(&'static str),
    #[error("the subscription exists with another configuration")]
    Exists,
    #[error("the tenant has as many subscriptions as it may")]
    TooMany,
    /// The subscription is no more.
    #[error("no such subscription")]
    Gone,
    #[error("the subscription has no pending work")]
    NoPendingWork,
    /// Webhooks are not called there.
    #[error("{0}")]
    Url(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It may have been done; the same request may be sent again.
    #[error("nobody answered in time; try again")]
    Unavailable,
    #[error("the change cannot be kept")]
    Internal,
}

impl Fault {
    /// The answer to a token that opens nothing.
    pub const UNKNOWN_TOKEN: Fault = Fault::NoToken("the token is not known");

    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::Invalid(message.into())
    }

    /// The text of why is for operators.
    pub(super) fn unavailable(why: &dyn Display) -> Fault {
        tracing::debug!(%why, "a subscription is out of reach");
        Fault::Unavailable
    }
}
