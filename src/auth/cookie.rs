//! Cookies: what a browser keeps for the pages of a person, out of reach of their scripts.
//!
//! A cookie is `olc_` and a part of its owner's grant under the MAC of tickets (see [`super::ticket`]), so that every
//! node knows it and nothing is kept of it. It opens every path that its grant does, until that ends; what is kept, by
//! the cluster, is which were given back before. From which pages it is taken, judges [`crate::edge`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use session::Grant;
use session::ids::{Millis, TenantName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::keyring::Keyring;
use super::ticket::{Change, TicketClaims, Tickets, key_of};
use super::{Ended, Refused};
use crate::limits;

/// What every cookie begins with.
const PREFIX: &str = "olc_";
/// Tokens of live cookies beyond which those that no caller has are looked for first.
const SWEEP: usize = 1024;

/// What a caller has who came with a cookie.
#[derive(Debug)]
pub(super) struct Cookie {
    id: u64,
    until: Millis,
    /// Cancelled when it is given back.
    pub(super) ended: CancellationToken,
}

/// A cookie that was made.
pub struct NewCookie {
    /// For its owner's browser alone.
    pub text: String,
    /// The first moment at which it opens nothing any more.
    pub until: Millis,
    /// How long that is from now, in milliseconds.
    pub lasts_ms: u64,
}

/// The cookies that were given back, and those that are in use at this node.
#[derive(Default)]
pub(super) struct Cookies {
    out: HashMap<u64, (Millis, Option<TenantName>)>,
    /// How many of them are of each tenant.
    of_tenant: HashMap<Option<TenantName>, usize>,
    live: Mutex<LiveCookies>,
}

#[derive(Default)]
struct LiveCookies {
    by_id: HashMap<u64, Weak<Cookie>>,
    /// How many there may be before those are looked for that no caller has any more.
    sweep_at: usize,
}

impl Cookies {
    /// A cookie is given back.
    pub(super) fn out(&mut self, id: u64, until: Millis, tenant: Option<TenantName>, time: Millis) {
        if self.is_full(tenant.as_ref()) {
            self.out.retain(|_, (until, _)| time < *until);
            self.of_tenant.clear();
            for (_, tenant) in self.out.values() {
                *self.of_tenant.entry(tenant.clone()).or_default() += 1;
            }
        }
        if self.out.insert(id, (until, tenant.clone())).is_none() {
            *self.of_tenant.entry(tenant).or_default() += 1;
        }
        if let Some(cookie) = self.live().by_id.remove(&id).and_then(|cookie| cookie.upgrade()) {
            cookie.ended.cancel();
        }
    }

    /// The log is another one: nothing that it held means anything.
    pub(super) fn forget(&mut self) {
        for (_, cookie) in self.live().by_id.drain() {
            cookie.upgrade().inspect(|cookie| cookie.ended.cancel());
        }
        *self = Cookies::default();
    }

    fn is_full(&self, tenant: Option<&TenantName>) -> bool {
        // One tenant cannot leave the others without.
        let own = self.of_tenant.get(&tenant.cloned()).copied().unwrap_or_default();
        limits::COOKIES_OUT <= self.out.len() || limits::COOKIES_OUT_OF_TENANT <= own
    }

    /// Whether there is no room for one more that is given back, even where those are forgotten that ended.
    fn is_crowded(&self, tenant: Option<&TenantName>, now: Millis) -> bool {
        if !self.is_full(tenant) {
            return false;
        }
        let in_force = || self.out.values().filter(|(until, _)| now < *until);
        let own = in_force().filter(|(_, of)| of.as_ref() == tenant).count();
        limits::COOKIES_OUT <= in_force().count() || limits::COOKIES_OUT_OF_TENANT <= own
    }

    /// The cookie as all callers here share it, so that all of them get the signal of its end; none that was given
    /// back.
    fn shared(&self, claims: &TicketClaims) -> Option<Arc<Cookie>> {
        let mut live = self.live();
        if self.out.contains_key(&claims.id) {
            return None;
        }
        if let Some(cookie) = live.by_id.get(&claims.id).and_then(Weak::upgrade) {
            return Some(cookie);
        }
        if live.sweep_at.max(SWEEP) <= live.by_id.len() {
            live.by_id.retain(|_, cookie| 0 < cookie.strong_count());
            live.sweep_at = 2 * live.by_id.len();
        }
        let (id, until) = (claims.id, claims.by);
        let cookie = Arc::new(Cookie { id, until, ended: CancellationToken::new() });
        live.by_id.insert(id, Arc::downgrade(&cookie));
        Some(cookie)
    }

    fn live(&self) -> std::sync::MutexGuard<'_, LiveCookies> {
        self.live.lock().expect("no panic under this lock")
    }
}

impl Tickets {
    /// Makes a cookie with this grant, which has an end.
    ///
    /// # Errors
    /// The cluster's secret is not to be had now; there is no cookie then.
    pub(super) async fn make_cookie(
        &self,
        grant: Grant,
        (name, key): (String, Option<String>),
        deadline: Instant,
    ) -> Result<NewCookie, Refused> {
        let now = self.log.now();
        let until = grant.until.unwrap_or(now);
        let claims = TicketClaims { id: rand::random(), grant, by: until, name, key };
        let text = self.seal(PREFIX, &claims, now, deadline).await?;
        Ok(NewCookie { text, until, lasts_ms: until.0.saturating_sub(now.0) })
    }

    /// Who comes with this cookie.
    ///
    /// # Errors
    /// It lets no caller in, or that cannot be known now.
    pub(super) async fn of_cookie(
        &self,
        keyring: &Keyring,
        text: &str,
        now: Millis,
        deadline: Instant,
    ) -> Result<Caller, Refused> {
        let claims = self.read(PREFIX, text, deadline).await?;
        let key = key_of(keyring, &claims, deadline).await?;
        let cookie = self.log.sum().cookies.shared(&claims);
        let cookie = cookie.ok_or(Refused::Ended(Ended::LoggedOut))?;
        let name = claims.name.as_str().into();
        Caller::with_cookie(Arc::new(claims.grant), name, key, Some(cookie), now)
    }

    /// Gives a cookie back: it opens nothing any more, at any node. Doing it twice is as doing it once.
    ///
    /// # Errors
    /// It is not known whether it was given back.
    pub(super) async fn log_out(
        &self,
        cookie: &Cookie,
        tenant: Option<&TenantName>,
        deadline: Instant,
    ) -> Result<(), Refused> {
        if self.log.sum().cookies.is_crowded(tenant, self.log.now()) {
            return Err(Refused::Unavailable("too many cookies were given back".into()));
        }
        let Cookie { id, until, .. } = *cookie;
        self.append(&Change::Out { id, until, tenant: tenant.cloned() }, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(id: u64) -> TicketClaims {
        let (by, name) = (Millis(1_000), "key:a".to_owned());
        TicketClaims { id, grant: Grant::all(), by, name, key: None }
    }

    #[test]
    fn whoever_has_a_cookie_is_told_when_it_is_given_back_and_nobody_is_let_in_after() {
        let mut cookies = Cookies::default();
        let (first, second) = (cookies.shared(&claims(1)).unwrap(), cookies.shared(&claims(1)));
        assert!(Arc::ptr_eq(&first, &second.unwrap()));
        let other = cookies.shared(&claims(2)).unwrap();
        cookies.out(1, Millis(1_000), None, Millis(10));
        assert!(first.ended.is_cancelled() && !other.ended.is_cancelled());
        assert!(cookies.shared(&claims(1)).is_none());
        cookies.forget();
        assert!(other.ended.is_cancelled());
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let cookies = Cookies::default();
        let kept = cookies.shared(&claims(0)).unwrap();
        for id in 1..10 * SWEEP as u64 {
            cookies.shared(&claims(id)).unwrap();
        }
        assert!(cookies.live().by_id.len() <= 2 * SWEEP, "{}", cookies.live().by_id.len());
        assert!(Arc::ptr_eq(&kept, &cookies.shared(&claims(0)).unwrap()));
    }

    #[test]
    fn one_tenant_leaves_room_for_the_others_and_time_makes_room() {
        let mut cookies = Cookies::default();
        let acme = TenantName::parse("acme").ok();
        for id in 0..limits::COOKIES_OUT_OF_TENANT as u64 {
            cookies.out(id, Millis(1_000), acme.clone(), Millis(10));
        }
        assert!(cookies.is_crowded(acme.as_ref(), Millis(999)));
        assert!(!cookies.is_crowded(None, Millis(999)));
        assert!(!cookies.is_crowded(acme.as_ref(), Millis(1_000)));
        cookies.out(u64::MAX, Millis(2_000), acme.clone(), Millis(1_000));
        assert_eq!(cookies.out.len(), 1, "what ended is forgotten");
        assert!(!cookies.is_crowded(acme.as_ref(), Millis(1_000)));
    }
}
