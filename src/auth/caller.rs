//! The sender of a request: a grant, and how long it lasts.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use session::ids::{AgentName, Millis, ParticipantName, SessionId, TenantName};
use session::{Command, Denied, Grant, Pattern, Right, Role, Sender};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cookie::Cookie;
use super::quota::Accounts;
use super::{Key, Refused, StreamSlot};
use crate::config::QuotaLimits;

/// What the root key is called.
pub(super) const ROOT: &str = "root";

/// Whoever a request is from. A clone is the same.
#[derive(Clone, Debug)]
pub struct Caller {
    /// None for a caller that needed no credential.
    known: Option<Arc<Known>>,
    /// Cancelled when no caller is let in any more without a credential.
    closed: Option<Arc<CancellationToken>>,
    /// What its request takes of its quotas, as long as a clone of it is held.
    place: Option<Arc<StreamSlot>>,
}

#[derive(Debug)]
struct Known {
    grant: Arc<Grant>,
    /// For the audit log: the key's name, or the token's subject.
    name: Arc<str>,
    /// The key with which it ends, if it does.
    key: Option<Arc<Key>>,
    expires: Option<Instant>,
    /// The cookie that it showed, if it did.
    cookie: Option<Arc<Cookie>>,
    /// Whose quotas it uses, once that was looked up.
    accounts: OnceLock<Accounts>,
}

/// A part of a grant, for a ticket or a cookie.
#[derive(Clone, Debug)]
pub struct Part {
    /// All that the caller has, where none are given.
    pub rights: Option<Vec<Right>>,
    /// Likewise.
    pub sessions: Option<Vec<Pattern>>,
    /// In whose name it acts; the caller's, where none is given.
    pub participant: Option<ParticipantName>,
    /// The greatest role; no greater than the caller's.
    pub role: Option<Role>,
    /// How long it lasts, in milliseconds; no longer than the caller's.
    pub for_ms: u64,
}

/// Why a grant means nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time is over: a token's, or a ticket's.
    Expired,
    /// The key's time is over.
    KeyExpired,
    /// It was revoked.
    Revoked,
    /// Its cookie was given back.
    LoggedOut,
    /// It was none: the node required no credentials then, and does now.
    Closed,
}

/// Why a caller may not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Its grant means nothing any more.
    Ended(Ended),
    /// Its grant does not allow it.
    Denied(Denied),
    /// Whoever has a cookie makes nothing of it that lasts without it.
    Cookie,
}

impl Ended {
    /// A stable name for programs.
    pub fn code(self) -> &'static str {
        match self {
            Ended::Expired => "token_expired",
            Ended::KeyExpired => "key_expired",
            Ended::Revoked => "key_revoked",
            Ended::LoggedOut => "logged_out",
            Ended::Closed => "unauthenticated",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Expired => "the credential's time is over",
            Ended::KeyExpired => "the key's time is over",
            Ended::Revoked => "the key was revoked",
            Ended::LoggedOut => "the cookie was given back",
            Ended::Closed => "this node asks for keys now",
        })
    }
}

impl From<Denied> for Denial {
    fn from(why: Denied) -> Denial {
        Denial::Denied(why)
    }
}

impl Caller {
    /// A caller at a node that requires no credentials.
    pub fn anybody() -> Caller {
        Caller { known: None, closed: None, place: None }
    }

    /// The same, until the node begins to require credentials.
    pub(super) fn anybody_until(closed: &Arc<CancellationToken>) -> Caller {
        Caller { known: None, closed: Some(closed.clone()), place: None }
    }

    /// A caller with this grant, as long as it lasts, and as the key with which it ends, if there is one.
    ///
    /// # Errors
    /// It means nothing any more.
    pub(super) fn of(
        grant: Arc<Grant>,
        name: Arc<str>,
        key: Option<Arc<Key>>,
        now: Millis,
    ) -> Result<Caller, Refused> {
        Caller::with_cookie(grant, name, key, None, now)
    }

    /// The same, as long as its cookie was not given back, where it showed one.
    pub(super) fn with_cookie(
        grant: Arc<Grant>,
        name: Arc<str>,
        key: Option<Arc<Key>>,
        cookie: Option<Arc<Cookie>>,
        now: Millis,
    ) -> Result<Caller, Refused> {
        let left = |until: Millis| Duration::from_millis(until.0.saturating_sub(now.0));
        // What lasts longer than the clock can count lasts for ever.
        let expires = grant.until.and_then(|until| Instant::now().checked_add(left(until)));
        let accounts = OnceLock::new();
        let known = Some(Arc::new(Known { grant, name, key, expires, cookie, accounts }));
        let caller = Caller { known, closed: None, place: None };
        caller.lasts().map_err(Refused::Ended)?;
        Ok(caller)
    }

    /// The cookie that it showed.
    pub(super) fn cookie(&self) -> Option<&Cookie> {
        self.known.as_ref()?.cookie.as_deref()
    }

    /// Name of the caller, and id of its key, for a ticket.
    pub(super) fn owner(&self) -> (String, Option<String>) {
        let key = self.known.as_ref().and_then(|known| known.key.as_ref());
        (self.name().to_owned(), key.map(|key| key.id.clone()))
    }

    /// A part of its grant, which has an end; none for a caller that needs none.
    pub(super) fn part(&self, part: &Part, now: Millis) -> Result<Option<Grant>, Denial> {
        let Some(grant) = self.grant()? else { return Ok(None) };
        if self.cookie().is_some() {
            // It would not end when the cookie is given back.
            return Err(Denial::Cookie);
        }
        let rights = part.rights.clone().unwrap_or_else(|| grant.rights.clone());
        if let Some(right) = rights.iter().find(|right| !grant.rights.contains(right)) {
            return Err(Denied::Right(*right).into());
        }
        let sessions = part.sessions.clone().unwrap_or_else(|| grant.sessions.clone());
        let within = |inner: &Pattern| grant.sessions.iter().any(|outer| outer.contains(inner));
        if !sessions.iter().all(within) {
            return Err(Denied::Session.into());
        }
        let participant = match (&grant.participant, &part.participant) {
            (Some(own), Some(other)) if own != other => return Err(Denied::Name.into()),
            (own, other) => own.clone().or_else(|| other.clone()),
        };
        let role = part.role.map_or(grant.role, |role| role.min(grant.role));
        let until = Millis(now.0 + part.for_ms).min(grant.until.unwrap_or(Millis(u64::MAX)));
        Ok(Some(Grant { rights, sessions, participant, role, until: Some(until), ..grant.clone() }))
    }

    fn lasts(&self) -> Result<(), Ended> {
        match &self.known {
            Some(known) if known.key.as_ref().is_some_and(|key| key.ended.is_cancelled()) => {
                Err(Ended::Revoked)
            }
            Some(known) if known.cookie.as_ref().is_some_and(|one| one.ended.is_cancelled()) => {
                Err(Ended::LoggedOut)
            }
            Some(known) if known.expires.is_some_and(|at| at <= Instant::now()) => {
                Err(known.expired())
            }
            None if self.closed.as_ref().is_some_and(|closed| closed.is_cancelled()) => {
                Err(Ended::Closed)
            }
            _ => Ok(()),
        }
    }

    /// Its name in the audit log.
    pub fn name(&self) -> &str {
        self.known.as_ref().map_or("anybody", |known| &known.name)
    }

    /// Its name where it showed a key, a token or a ticket that has a quota: all but the root key.
    pub(super) fn key_name(&self) -> Option<&str> {
        self.known.as_ref().map(|known| &*known.name).filter(|name| *name != ROOT)
    }

    /// The quotas of its key, where it has some of its own.
    pub(super) fn own_quotas(&self) -> Option<&QuotaLimits> {
        self.known.as_ref()?.key.as_ref()?.quotas.as_ref()
    }

    /// Whose quotas it uses: looked up once for all its requests.
    pub(super) fn accounts(&self, find: impl FnOnce() -> Accounts) -> Cow<'_, Accounts> {
        match &self.known {
            Some(known) => Cow::Borrowed(known.accounts.get_or_init(find)),
            None => Cow::Owned(find()),
        }
    }

    /// The same in a stream that has this place, until the last of its clones and of their [`Ending`]s is gone.
    pub fn in_place(self, place: StreamSlot) -> Caller {
        Caller { place: Some(Arc::new(place)), ..self }
    }

    /// Goes on in the stream of another one.
    pub fn in_place_of(self, other: &Caller) -> Caller {
        Caller { place: other.place.clone(), ..self }
    }

    fn grant(&self) -> Result<Option<&Grant>, Denial> {
        self.lasts().map_err(Denial::Ended)?;
        Ok(self.known.as_ref().map(|known| &*known.grant))
    }

    /// The grant by which it was judged; none for a caller that needed no credential.
    pub fn judged(&self) -> Option<&Arc<Grant>> {
        self.known.as_ref().map(|known| &known.grant)
    }

    /// Whether it has the right, in this session where one is named.
    ///
    /// # Errors
    /// It has not; nothing is to happen.
    pub fn may(&self, right: Right, session: Option<&SessionId>) -> Result<(), Denial> {
        self.grant()?.map_or(Ok(()), |grant| Ok(grant.allows(right, session)?))
    }

    /// Whose sessions, agents and keys it may use; none for the default tenant.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.known.as_ref()?.grant.tenant.as_ref()
    }

    /// Whether it may use what concerns all tenants.
    ///
    /// # Errors
    /// It may not; nothing is to happen.
    pub fn may_operate(&self) -> Result<(), Denial> {
        self.grant()?.map_or(Ok(()), |grant| Ok(grant.allows_operating()?))
    }

    /// The beginnings of all names below `prefix` that it may list, see [`Grant::beginnings`].
    pub fn beginnings(&self, prefix: &str) -> Vec<(String, bool)> {
        match &self.known {
            None => vec![(prefix.to_owned(), false)],
            Some(known) => known.grant.beginnings(prefix),
        }
    }

    /// Whether its rights are for this session.
    pub fn is_for(&self, session: &SessionId) -> bool {
        match &self.known {
            None => session.is_of(None),
            Some(known) => known.grant.is_for(session),
        }
    }

    /// Whether it may take the turns of this agent.
    ///
    /// # Errors
    /// It may not; nothing is to happen.
    pub fn may_claim(&self, agent: &AgentName) -> Result<(), Denial> {
        self.grant()?.map_or(Ok(()), |grant| Ok(grant.allows_agent(agent)?))
    }

    /// Takes from a command what the grant does not give, see [`Grant::narrow`].
    ///
    /// # Errors
    /// The caller may not send it; it must not be submitted then.
    pub fn narrow(&self, session: &SessionId, command: &mut Command) -> Result<(), Denial> {
        self.grant()?.map_or(Ok(()), |grant| Ok(grant.narrow(session, command)?))
    }

    /// Puts the name of its grant where none is given.
    ///
    /// # Errors
    /// It acts in another name.
    pub fn sign(&self, sender: &mut Option<Sender>) -> Result<(), Denial> {
        let Some(grant) = self.grant()? else { return Ok(()) };
        Ok(grant.name(sender)?)
    }

    /// Whom it is present as, where it names itself.
    ///
    /// # Errors
    /// It may not be present, or not in this name.
    pub fn present(
        &self,
        session: &SessionId,
        who: &mut Sender,
        role: &mut Role,
    ) -> Result<(), Denial> {
        let Some(grant) = self.grant()? else { return Ok(()) };
        grant.allows(Right::Presence, Some(session))?;
        let mut named = Some(who.clone());
        grant.name(&mut named)?;
        if let Some(named) = named {
            *who = named;
        }
        *role = grant.role.min(*role);
        Ok(())
    }

    /// Waits until the grant means nothing any more; for ever, where it does not end.
    pub fn ending(&self) -> Ending {
        let Caller { known, closed, place } = self.clone();
        let closed = closed.map(|closed| {
            async move {
                closed.cancelled().await;
                Ended::Closed
            }
            .boxed()
        });
        let ended = known.map(|known| async move { known.ended().await }.boxed()).or(closed);
        Ending { ended, _place: place }
    }
}

impl Known {
    /// How its end by time is called: a ticket ends in its own time, and no later than the key that it was made with.
    fn expired(&self) -> Ended {
        match &self.key {
            Some(key) if Arc::ptr_eq(&key.grant, &self.grant) => Ended::KeyExpired,
            _ => Ended::Expired,
        }
    }

    async fn ended(&self) -> Ended {
        let expired = async {
            match self.expires {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            match &self.key {
                Some(key) => key.ended.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let logged_out = async {
            match &self.cookie {
                Some(cookie) => cookie.ended.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revoked => Ended::Revoked,
            () = logged_out => Ended::LoggedOut,
            () = expired => self.expired(),
        }
    }
}

/// The end of a grant, to be waited for beside other things.
///
/// Whatever lives for long has one, so it also holds the place of its stream.
pub struct Ending {
    ended: Option<BoxFuture<'static, Ended>>,
    _place: Option<Arc<StreamSlot>>,
}

impl Ending {
    /// Waits for it. Cancel safe; once it came it must not be waited for again.
    pub async fn came(&mut self) -> Ended {
        match &mut self.ended {
            Some(ending) => ending.await,
            None => std::future::pending().await,
        }
    }
}
