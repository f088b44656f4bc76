//! Tickets: what a page puts into the address of an EventSource or a WebSocket, which can carry no header.
//!
//! A ticket is `olt_` and, in base64url, a grant that is a part of its owner's, under a MAC (HMAC-SHA-256) by a secret
//! of the cluster. It is to be used within a minute; once it was, it carries the reconnects to that path, until its
//! grant ends, and nothing else. That it was used is kept by the cluster, since a page may come back at any node.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use session::ids::{Millis, TenantName};
use session::{Config, Grant, Retention};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::Refused;
use super::caller::{Caller, Ended};
use super::cookie::Cookies;
use super::key::Secret;
use super::keyring::{Key, Keyring};
use super::log::{Log, Sum};
use crate::limits;
use crate::runtime::Sessions;

/// What every ticket begins with.
const PREFIX: &str = "olt_";
/// The session that holds the secret and the tickets that were used.
const NAME: &str = "__outlive/tickets";
/// How long a ticket waits for its first use, in milliseconds.
const FIRST_USE_MS: u64 = 60_000;
/// A secret is good for this long after its last ticket, in milliseconds: it is drawn anew every such time.
const KEPT_MS: u64 = 2 * limits::TICKET_MS_MAX;

/// The claims of a ticket or a cookie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TicketClaims {
    pub(super) id: u64,
    pub(super) grant: Grant,
    /// When it must have been used; a cookie's is its end.
    pub(super) by: Millis,
    /// Who has it, for the audit log.
    pub(super) name: String,
    /// The key with which it ends, if it was made under one.
    pub(super) key: Option<String>,
}

impl TicketClaims {
    /// Whose tickets it is counted with: an issuer's subject may be known in two tenants.
    fn owner(&self) -> String {
        match &self.grant.tenant {
            None => self.name.clone(),
            Some(tenant) => format!("{tenant} {}", self.name),
        }
    }
}

/// One change of the tickets. Kept: none changes its name.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Secret {
        secret: String,
        drawn: Millis,
    },
    /// By whom, and for which path, as a hash.
    Used {
        id: u64,
        until: Millis,
        name: String,
        path: u64,
    },
    /// A cookie that opens nothing any more, and whose it was.
    Out {
        id: u64,
        until: Millis,
        tenant: Option<TenantName>,
    },
}

/// What the log of the tickets adds up to.
#[derive(Default)]
pub(super) struct Known {
    /// And when each was drawn; tickets are made with the newest.
    secrets: Vec<(Vec<u8>, Millis)>,
    used: HashMap<u64, Used>,
    /// How many of them each has.
    owned: HashMap<String, usize>,
    /// The cookies that were given back.
    pub(super) cookies: Cookies,
}

struct Used {
    until: Millis,
    path: u64,
    name: String,
}

impl Known {
    fn prune(&mut self, time: Millis) {
        self.used.retain(|_, used| time < used.until);
        self.owned.clear();
        for used in self.used.values() {
            *self.owned.entry(used.name.clone()).or_default() += 1;
        }
    }
}

impl Sum for Known {
    fn take(&mut self, payload: &[u8], time: Millis) {
        match serde_json::from_slice(payload) {
            Ok(Change::Secret { secret, drawn }) => {
                if let Ok(secret) = URL_SAFE_NO_PAD.decode(secret) {
                    self.secrets.push((secret, drawn));
                }
                self.secrets.retain(|(_, earlier)| drawn.0 < earlier.0 + KEPT_MS);
            }
            Ok(Change::Used { id, until, name, path }) => {
                let owned = self.owned.get(&name).copied().unwrap_or_default();
                if limits::TICKETS <= self.used.len() || limits::TICKETS_OF_ONE <= owned {
                    self.prune(time);
                }
                // The first use is the one that counts.
                if !self.used.contains_key(&id) {
                    *self.owned.entry(name.clone()).or_default() += 1;
                    self.used.insert(id, Used { until, path, name });
                }
            }
            Ok(Change::Out { id, until, tenant }) => self.cookies.out(id, until, tenant, time),
            Err(_) => tracing::error!("a change in {NAME} is unreadable"),
        }
    }

    fn forget(&mut self) {
        self.cookies.forget();
        *self = Known::default();
    }
}

/// The tickets of the cluster, as far as a node knows them.
pub(super) struct Tickets {
    pub(super) log: Log<Known>,
    /// Without it, whoever reads the log cannot make tickets; with another one, all of them end.
    root: Option<Secret>,
}

/// A caller that shows a valid ticket.
pub(super) struct Bearer {
    pub(super) caller: Caller,
    claims: TicketClaims,
}

/// A ticket that was made.
pub struct Ticket {
    /// For its owner alone.
    pub text: String,
    /// When it must have been used, and when it ends.
    pub by: Millis,
    /// The first moment at which it opens nothing any more.
    pub until: Millis,
}

impl Tickets {
    pub(super) fn new(sessions: Arc<Sessions>, root: Option<Secret>) -> Tickets {
        let retention = Retention { max_age_ms: Some(2 * KEPT_MS), ..Retention::default() };
        let log = Log::new(sessions, NAME, Config { retention, ..Config::default() });
        Tickets { log, root }
    }

    /// Follows the log of the tickets for ever.
    pub(super) async fn follow(&self) {
        self.log.follow().await;
    }

    /// Makes a ticket with this grant, which has an end.
    ///
    /// # Errors
    /// The cluster's secret is not to be had now; there is no ticket then.
    pub(super) async fn make(
        &self,
        grant: Grant,
        (name, key): (String, Option<String>),
        deadline: Instant,
    ) -> Result<Ticket, Refused> {
        let now = self.log.now();
        let until = grant.until.unwrap_or(now);
        let by = Millis(until.0.min(now.0 + FIRST_USE_MS));
        let claims = TicketClaims { id: rand::random(), grant, by, name, key };
        Ok(Ticket { text: self.seal(PREFIX, &claims, now, deadline).await?, by, until })
    }

    /// Puts claims under a MAC. The prefix is under it, too: no ticket can be made a cookie.
    pub(super) async fn seal(
        &self,
        prefix: &str,
        claims: &TicketClaims,
        now: Millis,
        deadline: Instant,
    ) -> Result<String, Refused> {
        let mac = self.secret(now, deadline).await?;
        let claims = serde_json::to_vec(claims).expect("it is made of plain JSON");
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(claims));
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&mac, text.as_bytes()));
        Ok(format!("{text}.{tag}"))
    }

    /// The newest secret; where there is none, or it grows old, one is drawn.
    async fn secret(&self, now: Millis, deadline: Instant) -> Result<hmac::Key, Refused> {
        let fresh = || {
            let known = self.log.sum();
            let is_fresh = |drawn: Millis| now.0 < drawn.0 + limits::TICKET_MS_MAX;
            let (secret, _) = known.secrets.iter().rev().find(|(_, drawn)| is_fresh(*drawn))?;
            Some(self.mac(secret))
        };
        if let Some(found) = fresh() {
            return Ok(found);
        }
        self.log.catch_up(deadline).await?;
        if let Some(found) = fresh() {
            return Ok(found);
        }
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let change = Change::Secret { secret, drawn: now };
        self.append(&change, deadline).await?;
        fresh().ok_or_else(|| Refused::Unavailable("the secret of tickets is not here".into()))
    }

    /// What tickets are signed with under this secret of the log.
    fn mac(&self, secret: &[u8]) -> hmac::Key {
        match &self.root {
            None => hmac::Key::new(hmac::HMAC_SHA256, secret),
            Some(root) => {
                let root = hmac::Key::new(hmac::HMAC_SHA256, root.kept().as_bytes());
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, secret).as_ref())
            }
        }
    }

    /// Who comes with this ticket; whether it may, [`Self::admit`] decides.
    ///
    /// # Errors
    /// It lets no caller in, or that cannot be known now.
    pub(super) async fn bearer(
        &self,
        keyring: &Keyring,
        text: &str,
        now: Millis,
        deadline: Instant,
    ) -> Result<Bearer, Refused> {
        let claims = self.read(PREFIX, text, deadline).await?;
        let key = key_of(keyring, &claims, deadline).await?;
        let caller =
            Caller::of(Arc::new(claims.grant.clone()), claims.name.as_str().into(), key, now)?;
        Ok(Bearer { caller, claims })
    }

    /// Lets a bearer in to this path: for the first time within a minute, and then as often as it comes back there.
    ///
    /// # Errors
    /// It is too late, or the ticket is for another path; or that cannot be known now.
    pub(super) async fn admit(
        &self,
        bearer: &Bearer,
        path: &str,
        now: Millis,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let (claims, path) = (&bearer.claims, xxh3_64(path.as_bytes()));
        let other = Refused::Unknown("the ticket was used for another address");
        let used_for = || self.log.sum().used.get(&claims.id).map(|used| used.path);
        if let Some(used) = used_for() {
            return if used == path { Ok(()) } else { Err(other) };
        }
        if claims.by <= now {
            self.log.catch_up(deadline).await?;
            return match used_for() {
                Some(used) if used == path => Ok(()),
                Some(_) => Err(other),
                None => Err(Refused::Unknown("the ticket was not used within a minute")),
            };
        }
        let name = claims.owner();
        let crowded = {
            let known = self.log.sum();
            let owned = known.owned.get(&name).copied().unwrap_or_default();
            let over = |most: usize, mine: bool| {
                let in_force = |used: &&Used| now < used.until && (!mine || used.name == name);
                most <= known.used.values().filter(in_force).count()
            };
            (limits::TICKETS <= known.used.len() && over(limits::TICKETS, false))
                || (limits::TICKETS_OF_ONE <= owned && over(limits::TICKETS_OF_ONE, true))
        };
        if crowded {
            return Err(Refused::Unavailable("there are too many tickets in use".into()));
        }
        let id = claims.id;
        let until = claims.grant.until.unwrap_or(now);
        self.append(&Change::Used { id, until, name, path }, deadline).await?;
        match used_for() {
            // Two came at once, to different addresses.
            Some(used) if used != path => Err(other),
            _ => Ok(()),
        }
    }

    /// What was sealed under this prefix, if it was.
    pub(super) async fn read(
        &self,
        prefix: &str,
        text: &str,
        deadline: Instant,
    ) -> Result<TicketClaims, Refused> {
        let bad = || Refused::Unknown("this is no ticket or cookie of this cluster");
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad());
        let (sealed, tag) = text.rsplit_once('.').ok_or_else(bad)?;
        let claims = decoded(sealed.strip_prefix(prefix).ok_or_else(bad)?)?;
        let tag = decoded(tag)?;
        let holds = |known: &Known| {
            let is_by = |secret: &[u8]| hmac::verify(&self.mac(secret), sealed.as_bytes(), &tag);
            known.secrets.iter().any(|(secret, _)| is_by(secret).is_ok())
        };
        if !holds(&self.log.sum()) {
            self.log.catch_up(deadline).await?;
            if !holds(&self.log.sum()) {
                return Err(bad());
            }
        }
        serde_json::from_slice(&claims).map_err(|_| bad())
    }

    pub(super) async fn append(&self, change: &Change, deadline: Instant) -> Result<(), Refused> {
        let payload = serde_json::to_vec(change).expect("it is made of plain JSON");
        Ok(self.log.append(payload, deadline).await?)
    }
}

/// The key with which a ticket or a cookie ends, if it does.
///
/// # Errors
/// It was revoked, or that cannot be known now.
pub(super) async fn key_of(
    keyring: &Keyring,
    claims: &TicketClaims,
    deadline: Instant,
) -> Result<Option<Arc<Key>>, Refused> {
    let Some(id) = &claims.key else { return Ok(None) };
    let key = keyring.named(id, deadline).await?;
    Ok(Some(key.ok_or(Refused::Ended(Ended::Revoked))?))
}
