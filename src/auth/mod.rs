//! Who sends a request, and what they may do: a credential that comes with a request becomes a [`Caller`].
//!
//! A node requires credentials where it was given a root key or an issuer of tokens, or its cluster has keys; else
//! every client that reaches it may do everything, which it allows on loopback alone. Three kinds of credentials are
//! known: the root key of the configuration, keys that the cluster keeps ([`Keyring`]), and tokens of an issuer
//! ([`issuer`]); of each of them tickets and cookies can be made.
//! Nothing of a request is decompressed, parsed as JSON or kept before its credential is known.

mod audit;
mod caller;
mod claims;
mod cookie;
mod crypto;
mod fetch;
pub mod issuer;
mod key;
mod keyring;
mod log;
pub mod quota;
mod record;
mod signing;
mod switch;
mod ticket;

use std::path::Path;
use std::sync::Arc;

use session::{Command, Denied, Grant, Right, ids::Millis};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use audit::{audit, turned_away};
pub use caller::{Caller, Denial, Ended, Ending, Part};
pub use cookie::NewCookie;
pub use key::{KeyText, Secret};
pub use keyring::{Key, Keyring, KeyringError};
pub use log::LogError;
pub use quota::{Cost, Exceeded, Quotas, StreamSlot};
pub use signing::SigningSecret;
pub use ticket::Ticket;

use crate::limits;
use crate::runtime::Sessions;
use issuer::{Issuer, IssuerConfig};
use switch::Switch;
use ticket::Tickets;

/// Longest credential that is looked at, in bytes.
const CREDENTIAL_BYTES: usize = 8 << 10;

/// What a node knows of those who have access to it.
pub struct Auth {
    switch: Switch,
    root: Option<Secret>,
    /// What the root key allows.
    all: Arc<Grant>,
    keyring: Keyring,
    tickets: Tickets,
    issuers: Vec<Issuer>,
    quotas: Quotas,
}

/// What is configured at a node of who has access to it.
pub struct Settings<'s> {
    /// With it everything may be done.
    pub root_key: Option<Secret>,
    /// Whose tokens are taken.
    pub issuers: Vec<IssuerConfig>,
    /// No credentials are required though the cluster has keys, where neither is given.
    pub insecure: bool,
    /// The node's directory.
    pub dir: &'s Path,
    /// How much each tenant and each key may do.
    pub quotas: Quotas,
}

/// Why a request is not let in with what it brought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It brought no credential.
    #[error("send a key or a token as authorization: Bearer")]
    Missing,
    /// It is none that this cluster knows.
    #[error("{0}")]
    Unknown(&'static str),
    /// It was known, and means nothing any more.
    #[error("{0}")]
    Ended(Ended),
    /// Whether it is known cannot be decided now.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a ticket opens nothing, or it or a cookie is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketError {
    /// It is more than the caller may do.
    Denied(Denial),
    /// It is not known, or cannot be made now.
    Refused(Refused),
    /// It would have more than can stand in an address, or than a browser keeps.
    TooLong,
}

impl From<Denial> for TicketError {
    fn from(why: Denial) -> TicketError {
        TicketError::Denied(why)
    }
}

impl From<Refused> for TicketError {
    fn from(why: Refused) -> TicketError {
        TicketError::Refused(why)
    }
}

impl From<LogError> for Refused {
    fn from(why: LogError) -> Refused {
        Refused::Unavailable(why.to_string())
    }
}

impl Auth {
    /// As configured, over the keys of the cluster.
    ///
    /// # Errors
    /// The node's directory cannot be used.
    pub fn new(sessions: &Arc<Sessions>, settings: Settings<'_>) -> anyhow::Result<Auth> {
        let Settings { root_key: root, issuers, insecure, dir, quotas } = settings;
        let switch = Switch::new(root.is_some() || !issuers.is_empty(), insecure, dir)?;
        let issuers = issuers.into_iter().map(Issuer::new).collect();
        let keyring = Keyring::new(sessions.clone());
        let tickets = Tickets::new(sessions.clone(), root.clone());
        let all = Arc::new(Grant::all());
        Ok(Auth { switch, root, all, keyring, tickets, issuers, quotas })
    }

    /// Whether requests need a credential.
    pub fn is_on(&self) -> bool {
        self.switch.is_on()
    }

    /// The keys of the cluster.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// What tenants and keys may do.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Takes from the caller's quotas what a command costs.
    ///
    /// # Errors
    /// One of them is used up; the command must not be submitted.
    pub fn spend(&self, caller: &Caller, command: &Command) -> Result<(), Exceeded> {
        self.quotas.take(caller, &Cost::of(command))
    }

    /// Takes from the caller's quotas what a message costs that is sent on and not kept.
    ///
    /// # Errors
    /// One of them is used up; it is to reach no reader.
    pub fn spend_on_bytes(&self, caller: &Caller, bytes: usize) -> Result<(), Exceeded> {
        self.quotas.take(caller, &Cost::of_bytes(bytes))
    }

    /// Follows the keys of the cluster, and those of the issuers, until it is stopped.
    pub async fn run(&self, stop: CancellationToken) {
        let follow = async {
            if self.switch.waits_for_keys() {
                self.keyring.begun().await;
                self.switch.found_keys();
            }
            if !self.is_on() {
                return;
            }
            let issuers = futures::future::join_all(self.issuers.iter().map(Issuer::run));
            let root = async {
                if let Some(root) = &self.root {
                    self.keyring.name_root(root).await;
                }
            };
            tokio::join!(self.keyring.follow(), self.tickets.follow(), root, issuers);
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    /// A caller without a credential, as long as none is required.
    pub fn anybody(&self) -> Caller {
        Caller::anybody_until(self.switch.closed())
    }

    /// Who brings this credential. It may look in the cluster whether a key is new, until `deadline`.
    ///
    /// # Errors
    /// This node lets no caller in with it; nothing is to happen then.
    pub async fn caller(
        &self,
        credential: Option<&str>,
        now: Millis,
        deadline: Instant,
    ) -> Result<Caller, Refused> {
        if !self.is_on() {
            return Ok(self.anybody());
        }
        let credential = credential.ok_or(Refused::Missing)?;
        if CREDENTIAL_BYTES < credential.len() {
            return Err(Refused::Unknown("the credential is too long"));
        }
        if self.root.as_ref().is_some_and(|root| root.is(credential)) {
            return Caller::of(self.all.clone(), caller::ROOT.into(), None, now);
        }
        if let Some(text) = KeyText::parse(credential) {
            let key = self.keyring.find(&text, deadline).await?;
            return Caller::of(key.grant.clone(), key.owner.clone(), Some(key), now);
        }
        if credential.bytes().filter(|byte| *byte == b'.').count() == 2 {
            return issuer::caller(&self.issuers, credential, now).await;
        }
        Err(Refused::Unknown("this is no key of this cluster, and no token"))
    }

    /// Who comes with this ticket to this path, with the right that the path needs.
    ///
    /// # Errors
    /// This node lets no caller in with it; nothing is to happen then.
    pub async fn bearer_of(
        &self,
        ticket: &str,
        (path, right): (&str, Option<Right>),
        now: Millis,
        deadline: Instant,
    ) -> Result<Caller, TicketError> {
        if !self.is_on() {
            return Ok(self.anybody());
        }
        if CREDENTIAL_BYTES < ticket.len() {
            return Err(Refused::Unknown("the ticket is too long").into());
        }
        let bearer = self.tickets.bearer(&self.keyring, ticket, now, deadline).await?;
        if let Some(right) = right {
            bearer.caller.may(right, None)?;
        }
        self.tickets.admit(&bearer, path, now, deadline).await?;
        Ok(bearer.caller)
    }

    /// Makes a ticket for a part of what the caller may do; none at a node that requires no credentials.
    ///
    /// # Errors
    /// It is more than the caller may do, or cannot be made now; there is no ticket then.
    pub async fn ticket(
        &self,
        caller: &Caller,
        part: &Part,
        deadline: Instant,
    ) -> Result<Option<Ticket>, TicketError> {
        let Some(grant) = caller.part(part, self.keyring.now())? else { return Ok(None) };
        let made = self.tickets.make(grant, caller.owner(), deadline).await?;
        if CREDENTIAL_BYTES < made.text.len() {
            return Err(TicketError::TooLong);
        }
        Ok(Some(made))
    }

    /// Who comes with this cookie, from a page whose it may be.
    ///
    /// # Errors
    /// This node lets no caller in with it; nothing is to happen then.
    pub async fn of_cookie(
        &self,
        cookie: &str,
        now: Millis,
        deadline: Instant,
    ) -> Result<Caller, Refused> {
        if !self.is_on() {
            return Ok(self.anybody());
        }
        if limits::COOKIE_BYTES < cookie.len() {
            return Err(Refused::Unknown("the cookie is too long"));
        }
        self.tickets.of_cookie(&self.keyring, cookie, now, deadline).await
    }

    /// Makes a cookie for a part of what the caller may do, which is never to administer; none at a node that
    /// requires no credentials.
    ///
    /// # Errors
    /// It is more than the caller may do, or cannot be made now; there is no cookie then.
    pub async fn cookie(
        &self,
        caller: &Caller,
        part: &Part,
        deadline: Instant,
    ) -> Result<Option<NewCookie>, TicketError> {
        let Some(mut grant) = caller.part(part, self.keyring.now())? else { return Ok(None) };
        match &part.rights {
            Some(rights) if rights.contains(&Right::Admin) => {
                return Err(Denial::from(Denied::Right(Right::Admin)).into());
            }
            _ => grant.rights.retain(|right| *right != Right::Admin),
        }
        let made = self.tickets.make_cookie(grant, caller.owner(), deadline).await?;
        if limits::COOKIE_BYTES < made.text.len() {
            return Err(TicketError::TooLong);
        }
        Ok(Some(made))
    }

    /// Gives the caller's cookie back, where it came with one. Safe to repeat.
    ///
    /// # Errors
    /// It is not known whether it was given back.
    pub async fn log_out(&self, caller: &Caller, deadline: Instant) -> Result<(), Refused> {
        match caller.cookie() {
            Some(cookie) => self.tickets.log_out(cookie, caller.tenant(), deadline).await,
            None => Ok(()),
        }
    }
}
