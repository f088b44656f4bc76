//! The keys of the cluster: made, listed, revoked, and looked up in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use session::ids::{Millis, TenantName};
use session::{Config, Grant};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Refused;
use super::caller::Ended;
use super::key::{KeyText, Secret};
use super::log::{Log, LogError, Sum};
use super::record::{Change, Record, RootPrint};
use crate::config::QuotaLimits;
use crate::limits;
use crate::runtime::Sessions;

/// The session that holds the keys.
const NAME: &str = limits::KEYS_SESSION;

/// Pause before what could not be kept is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// One key that is in force.
#[derive(Debug)]
pub struct Key {
    /// Names it; no secret.
    pub id: String,
    /// What its maker calls it.
    pub name: String,
    /// What its owner may do.
    pub grant: Arc<Grant>,
    /// What is written of its owner in the audit log.
    pub(super) owner: Arc<str>,
    /// When it was made.
    pub created: Millis,
    /// Who made it.
    pub by: String,
    /// What it may do at most at each node, where it has quotas of its own.
    pub quotas: Option<QuotaLimits>,
    secret: Secret,
    /// Cancelled when it is revoked.
    pub(super) ended: CancellationToken,
}

impl Key {
    /// Whether a caller of this tenant may know of it: the default tenant's operators may know of all.
    fn is_known_to(&self, tenant: Option<&TenantName>) -> bool {
        tenant.is_none_or(|tenant| self.grant.tenant.as_ref() == Some(tenant))
    }
}

/// What a node knows of the cluster's keys.
pub struct Keyring(Log<Keys>);

#[derive(Default)]
struct Keys {
    held: HashMap<String, Arc<Key>>,
    /// The secrets of those that were revoked, by their ids: making one of them again makes no key.
    revoked: HashMap<String, Option<Secret>>,
    /// Of the root key that the node had which started last with another one than before.
    root: Option<RootPrint>,
}

/// Why a change of the keys came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is no such key, or it was revoked before.
    #[error("there is no such key")]
    NoSuchKey,
    /// There is another key of this name; nothing was changed.
    #[error("there is another key with this id")]
    Exists,
    /// The cluster has as many keys as it may; nothing was changed.
    #[error("the cluster has {} keys, as many as it may", limits::KEYS)]
    TooMany,
    /// The tenant has as many keys as one may; nothing was changed.
    #[error("the tenant has {} keys, as many as one may", limits::KEYS_OF_TENANT)]
    TooManyOfTenant,
    /// The log of the keys could not be written or read.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Sum for Keys {
    fn take(&mut self, payload: &[u8], _: Millis) {
        match Change::read(payload) {
            Some(Change::Created(record)) => {
                let Some(secret) = record.secret() else {
                    tracing::error!(key = record.id, "a key in {NAME} is unreadable");
                    return;
                };
                let Record { id, name, grant, created, by, quotas, .. } = *record;
                // A request that was sent again, or comes late.
                if self.held.contains_key(&id) || self.revoked.contains_key(&id) {
                    return;
                }
                let ended = CancellationToken::new();
                let (grant, owner) = (Arc::new(grant), format!("key:{id}").into());
                let key_id = id.clone();
                let key =
                    Key { id: key_id, name, grant, owner, created, by, quotas, secret, ended };
                self.held.insert(id, Arc::new(key));
            }
            Some(Change::Revoked { id }) => {
                let key = self.held.remove(&id);
                if let Some(key) = &key {
                    key.ended.cancel();
                }
                let secret = key.map(|key| key.secret.clone());
                self.revoked.entry(id).or_insert(secret);
            }
            Some(Change::Root(print)) => self.root = Some(print),
            // A newer version of this program may know more; what this one does not know lets no caller in.
            None => tracing::error!("a change in {NAME} is unreadable"),
        }
    }

    fn forget(&mut self) {
        for (_, key) in self.held.drain() {
            key.ended.cancel();
        }
        self.revoked.clear();
        self.root = None;
    }
}

impl Keyring {
    pub(super) fn new(sessions: Arc<Sessions>) -> Keyring {
        Keyring(Log::new(sessions, NAME, Config::default()))
    }

    /// Follows the log of the keys for ever.
    pub(super) async fn follow(&self) {
        self.0.follow().await;
    }

    /// Waits until the cluster has a log of keys.
    pub(super) async fn begun(&self) {
        self.0.begun().await;
    }

    /// Keeps which root key this node has, and warns while the nodes have different ones. Never returns.
    pub(super) async fn name_root(&self, root: &Secret) {
        let mut read = self.0.changes();
        let mut warned = None;
        self.keep_root(root).await;
        loop {
            let print = self.0.sum().root.clone();
            if let Some(other) = print.filter(|print| !print.is_of(root)) {
                if warned.as_ref() != Some(&other) {
                    tracing::warn!(
                        "another node has another root_key: this one refuses the other's key and tickets, and the \
                         other this one's"
                    );
                }
                warned = Some(other);
            }
            // The sender lives as long as this.
            let _ = read.changed().await;
        }
    }

    /// Keeps which root key this node has, unless that is known.
    async fn keep_root(&self, root: &Secret) {
        loop {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            let kept = async {
                self.0.catch_up(deadline).await?;
                if self.0.sum().root.as_ref().is_some_and(|print| print.is_of(root)) {
                    return Ok(());
                }
                self.0.append(Change::Root(RootPrint::of(root)).payload(), deadline).await
            };
            match kept.await {
                Ok(()) => return,
                Err(why) => tracing::debug!(%why, "the root key is not known to the cluster yet"),
            }
            sleep(AGAIN).await;
        }
    }

    /// All keys that are in force and that a caller of this tenant may know: its own, or of the default one all,
    /// oldest first.
    ///
    /// # Errors
    /// They cannot be known now.
    pub async fn all(
        &self,
        tenant: Option<&TenantName>,
        deadline: Instant,
    ) -> Result<Vec<Arc<Key>>, KeyringError> {
        self.0.catch_up(deadline).await?;
        let now = self.now();
        let lasts = |key: &&Arc<Key>| key.grant.until.is_none_or(|until| now < until);
        let known = |key: &&Arc<Key>| key.is_known_to(tenant) && lasts(key);
        let mut all: Vec<_> = self.0.sum().held.values().filter(known).cloned().collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(all)
    }

    /// Makes a key; its text is for its owner alone, and is kept nowhere. Making the same one again is no change.
    ///
    /// # Errors
    /// See [`KeyringError`]. Where the outcome is unknown, making the same key again is safe.
    pub async fn create(
        &self,
        text: &KeyText,
        (name, grant, quotas): (String, Grant, Option<QuotaLimits>),
        by: &str,
        deadline: Instant,
    ) -> Result<Arc<Key>, KeyringError> {
        let tenant = grant.tenant.clone();
        let all = self.all(None, deadline).await?;
        let theirs = all.iter().filter(|key| key.grant.tenant == tenant).count();
        if let Some(key) = self.held(&text.id) {
            // A repeated request does not change its end.
            let grant = Grant { until: key.grant.until, ..grant };
            let same = key.secret.is(&text.secret)
                && (&key.name, &*key.grant, key.quotas) == (&name, &grant, quotas);
            return if same { Ok(key) } else { Err(KeyringError::Exists) };
        }
        if limits::KEYS <= all.len() {
            return Err(KeyringError::TooMany);
        }
        if tenant.is_some() && limits::KEYS_OF_TENANT <= theirs {
            return Err(KeyringError::TooManyOfTenant);
        }
        let created = self.now();
        let (id, sha256) = (text.id.clone(), Secret::of(&text.secret).kept());
        let by = by.to_owned();
        let record = Record { id, name, sha256, grant, created, by, quotas };
        self.0.append(Change::Created(Box::new(record)).payload(), deadline).await?;
        // Revoked before, the id is spent.
        self.held(&text.id).ok_or(KeyringError::Exists)
    }

    /// Revokes a key that a caller of this tenant may know. Its streams end at every node that reads of it.
    ///
    /// # Errors
    /// See [`KeyringError`]; doing it again is harmless.
    pub async fn revoke(
        &self,
        tenant: Option<&TenantName>,
        id: &str,
        deadline: Instant,
    ) -> Result<(), KeyringError> {
        self.0.catch_up(deadline).await?;
        let key = self.held(id).filter(|key| key.is_known_to(tenant));
        key.ok_or(KeyringError::NoSuchKey)?;
        self.0.append(Change::Revoked { id: id.to_owned() }.payload(), deadline).await?;
        Ok(())
    }

    /// The key with this text.
    ///
    /// # Errors
    /// There is none, or it cannot be known now. Only who has the secret learns that it was revoked.
    pub(super) async fn find(
        &self,
        text: &KeyText,
        deadline: Instant,
    ) -> Result<Arc<Key>, Refused> {
        let key = self.named(&text.id, deadline).await?;
        if let Some(key) = key.filter(|key| key.secret.is(&text.secret)) {
            let is_over = key.ended.is_cancelled();
            return if is_over { Err(Refused::Ended(Ended::Revoked)) } else { Ok(key) };
        }
        let revoked = self.0.sum().revoked.get(&text.id).cloned().flatten();
        Err(match revoked.filter(|secret| secret.is(&text.secret)) {
            Some(_) => Refused::Ended(Ended::Revoked),
            None => Refused::Unknown("this is no key of this cluster"),
        })
    }

    /// The key with this id, if it is in force.
    ///
    /// # Errors
    /// It cannot be known now.
    pub(super) async fn named(
        &self,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<Key>>, Refused> {
        if let Some(key) = self.held(id) {
            return Ok(Some(key));
        }
        // What was revoked stays so: the cluster has nothing newer.
        if self.0.sum().revoked.contains_key(id) {
            return Ok(None);
        }
        self.0.catch_up(deadline).await?;
        Ok(self.held(id))
    }

    /// The time by which keys end.
    pub(super) fn now(&self) -> Millis {
        self.0.now()
    }

    fn held(&self, id: &str) -> Option<Arc<Key>> {
        self.0.sum().held.get(id).cloned()
    }
}
