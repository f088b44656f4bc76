//! Works for one subscription while this node leads it (S8).
//!
//! It derives from the state what the world is owed: a wake where there is news and no worker is awake, and
//! sending a wake that did not arrive. It queues nothing: whoever leads next derives the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::change::Change;
use super::ledger::{Committed, Ledger};
use super::place::LogPosition;
use super::scan::{self, Tails};
use super::state::{Deliver, State, Wake};
use super::{Fault, Named, Subscriptions, glob, shown, wake};
use crate::ids::{Millis, ProducerEpoch, ProducerId, SessionId};
use crate::limits;
use crate::runtime::SubmitError;
use crate::session::{Append, Command, ContentType, Format, NewEvent, Origin, Refusal};

/// What a worker is notified of about streams, without a request.
#[derive(Default)]
pub(super) struct Inbox {
    chosen: RwLock<Chosen>,
    news: Mutex<News>,
    pub(super) came: Notify,
}

/// The streams that a worker wants to be notified of.
#[derive(Default)]
struct Chosen {
    pattern: Option<String>,
    links: BTreeSet<String>,
}

#[derive(Default)]
struct News {
    tails: Tails,
    /// Something was missed, or is gone: look at all.
    survey: bool,
}

impl Inbox {
    /// Takes a stream's tail, if it matters here; none where the stream ended.
    pub(super) fn hear(&self, path: &str, tail: Option<LogPosition>) {
        {
            let chosen = self.chosen.read().expect("no panic under this lock");
            let pattern = chosen.pattern.as_deref();
            if !chosen.links.contains(path) && !pattern.is_some_and(|p| glob::matches(p, path)) {
                return;
            }
        }
        let mut news = self.news.lock().expect("no panic under this lock");
        match tail {
            Some(tail) if news.tails.len() < limits::SUBSCRIPTION_STREAMS => {
                news.tails.insert(path.to_owned(), tail);
            }
            _ => news.survey = true,
        }
        drop(news);
        self.came.notify_one();
    }

    /// Notes that something may have been missed.
    pub(super) fn missed(&self) {
        self.news.lock().expect("no panic under this lock").survey = true;
        self.came.notify_one();
    }

    /// Takes what came; returns whether all streams are to be looked at.
    fn take(&self, tails: &mut Tails) -> bool {
        let news = std::mem::take(&mut *self.news.lock().expect("no panic under this lock"));
        for (path, tail) in news.tails {
            let known = tails.entry(path).or_default();
            *known = tail.max(*known);
        }
        news.survey
    }

    /// Chooses what the subscription needs; returns whether that is another choice.
    fn choose(&self, state: &State) -> bool {
        let mut chosen = self.chosen.write().expect("no panic under this lock");
        let same = chosen.pattern == state.plan.pattern
            && chosen.links.len() == state.links.len()
            && state.links.keys().all(|path| chosen.links.contains(path));
        if !same {
            chosen.pattern.clone_from(&state.plan.pattern);
            chosen.links = state.links.keys().cloned().collect();
        }
        !same
    }
}

/// One subscription, as its worker sees it.
pub(super) struct Worker {
    pub(super) shared: Arc<Subscriptions>,
    pub(super) named: Named,
    pub(super) session: SessionId,
    pub(super) inbox: Arc<Inbox>,
}

/// What is to be done next.
enum Next {
    /// Something was done: look again.
    Again,
    /// Nothing before this time.
    At(Option<Millis>),
}

impl Worker {
    /// Works until the subscription is gone or is led elsewhere.
    pub(super) async fn run(self) {
        while self.leads() {
            match self.work().await {
                Ok(()) | Err(Fault::Gone) => return,
                Err(why) => {
                    tracing::debug!(
                        session = self.session.for_operators(),
                        ?why,
                        "a worker begins anew"
                    );
                    sleep(limits::SUBSCRIPTION_TICK).await;
                }
            }
        }
    }

    fn leads(&self) -> bool {
        self.shared.sessions.leads(&self.session)
    }

    async fn work(&self) -> Result<(), Fault> {
        let sessions = &self.shared.sessions;
        let Some(mut ledger) = Ledger::open(sessions, &self.named, soon()).await? else {
            return Ok(());
        };
        let (mut tails, mut survey_at) = (Tails::new(), Instant::now());
        while self.leads() {
            let state = ledger.state().ok_or(Fault::Gone)?;
            let missed = self.inbox.take(&mut tails);
            // Of a stream that a client named, no change may have come yet.
            let missed = missed
                | (self.inbox.choose(state)
                    && state.links.keys().any(|path| !tails.contains_key(path)));
            if missed || survey_at <= Instant::now() {
                tails =
                    scan::streams(sessions, &self.named, &state.plan, Some(state), soon()).await?;
                let whole = sessions.sees_all();
                let pause = if whole { limits::SCAN_PAUSE_WHOLE } else { limits::SCAN_PAUSE };
                survey_at = Instant::now() + pause;
                if self.drop_ended(&mut ledger, &tails).await? {
                    continue;
                }
            }
            let next = self.step(&mut ledger, &tails).await?;
            ledger.compact(soon()).await?;
            let Next::At(at) = next else { continue };
            let wait = at.map(|at| Duration::from_millis(at.since(ledger.now()).max(10)));
            let until = wait.map_or(survey_at, |wait| survey_at.min(Instant::now() + wait));
            tokio::select! {
                followed = ledger.follow() => followed?,
                () = self.inbox.came.notified() => {}
                () = sleep_until(until) => {}
            }
        }
        Ok(())
    }

    /// Forgets streams that are no more; names that a client gave stay.
    async fn drop_ended(&self, ledger: &mut Ledger, tails: &Tails) -> Result<bool, Fault> {
        let state = ledger.state().ok_or(Fault::Gone)?;
        let links =
            state.links.iter().filter(|(path, link)| !link.explicit && !tails.contains_key(*path));
        let ended: Vec<_> =
            links.map(|(path, _)| path.clone()).take(limits::WAKE_STREAMS).collect();
        if ended.is_empty() {
            return Ok(false);
        }
        ledger.commit(&[Change::Dropped { streams: ended }], soon()).await?;
        Ok(true)
    }

    async fn step(&self, ledger: &mut Ledger, tails: &Tails) -> Result<Next, Fault> {
        let (state, now) = (ledger.state().ok_or(Fault::Gone)?.clone(), ledger.now());
        let Some(current) = state.current(now) else {
            let keys = self.shared.keys(self.named.tenant.as_ref(), soon()).await?;
            let changes = wake::awaken(&self.named, &state, tails, &keys);
            if changes.is_empty() {
                return Ok(Next::At(None));
            }
            if let Committed::Done(Err(why)) = ledger.commit(&changes, soon()).await? {
                tracing::debug!(session = self.session.for_operators(), %why, "a wake came too early");
                sleep(limits::SUBSCRIPTION_TICK).await;
            }
            return Ok(Next::Again);
        };
        if current.delivered {
            return Ok(Next::At(current.until));
        }
        if let Some(at) = state.retry_at.filter(|at| now < *at) {
            return Ok(Next::At(Some(at)));
        }
        let change = match &state.plan.deliver {
            Deliver::Webhook(url) => self.call(url, &state, current).await?,
            Deliver::Pull(stream) => self.announce(stream, &state, current).await?,
        };
        if let Some(change) = change {
            ledger.commit(&[change], soon()).await?;
        }
        if matches!(ledger.state(), Some(after) if state.failures < after.failures) {
            // Many that fail at once must not come back at once.
            sleep(Duration::from_millis(rand::random_range(0..limits::WEBHOOK_RETRY_MS / 5))).await;
        }
        Ok(Next::Again)
    }

    /// Calls the webhook, and returns the result.
    async fn call(&self, url: &str, state: &State, wake: &Wake) -> Result<Option<Change>, Fault> {
        let keys = self.shared.keys(self.named.tenant.as_ref(), soon()).await?;
        let token = keys.token(&self.named, &wake.id);
        let body = shown::call(&self.named.id, state, wake, &token).to_string();
        let signature = keys.sign(self.shared.sessions.now().0 / 1000, body.as_bytes());
        let generation = state.generation;
        Ok(Some(match self.shared.caller.post(url, signature, body.into()).await {
            Ok(done) => Change::Delivered { generation, done },
            Err(why) => {
                tracing::info!(session = self.session.for_operators(), generation, %why, "a webhook was not delivered");
                Change::Failed { generation }
            }
        }))
    }

    /// Writes the event of the wake, once however often it is tried.
    async fn announce(
        &self,
        stream: &str,
        state: &State,
        wake: &Wake,
    ) -> Result<Option<Change>, Fault> {
        let generation = state.generation;
        let (Ok(id), Ok(producer)) =
            (self.named.stream(stream), ProducerId::parse(&self.named.producer()))
        else {
            return Ok(Some(Change::Failed { generation }));
        };
        let event = shown::event(&self.named.id, state, wake, self.shared.sessions.now().0);
        // Each wake is an epoch of its own: one that comes late is stale, and no number is left out.
        let origin = Origin { producer, epoch: epoch(state, generation), seq: 0 };
        let append = Append {
            events: vec![NewEvent { format: Format::JSON, payload: event.to_string().into() }],
            producer: Some(origin),
            content_type: ContentType::parse("application/json").ok(),
            ..Append::default()
        };
        match self.shared.sessions.submit(&id, Command::Append(append), soon()).await {
            Ok(_) => Ok(Some(Change::Announced { generation })),
            Err(SubmitError::Refused { refusal: Refusal::StaleEpoch { .. }, .. }) => {
                Ok(Some(Change::Announced { generation }))
            }
            Err(SubmitError::Refused { refusal, .. }) => {
                tracing::info!(session = self.session.for_operators(), stream, %refusal, "a wake was not delivered");
                Ok(Some(Change::Failed { generation }))
            }
            Err(why) => Err(Fault::unavailable(&why)),
        }
    }
}

/// A number that grows with each wake, and with each life of the subscription.
fn epoch(state: &State, generation: u64) -> ProducerEpoch {
    // A later life began later; no subscription makes a thousand wakes a second for long.
    ProducerEpoch(state.created_at.0.saturating_mul(1000).saturating_add(generation))
}

fn soon() -> Instant {
    Instant::now() + limits::REQUEST_DEADLINE
}
