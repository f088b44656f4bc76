//! Beginning a session as another one was: the source holds its log, then the fork is created.
//!
//! The two may live in different shards. Whoever dies in between leaves a hold that the source checks later
//! and lets go (see [`crate::session::fork`]).

use tokio::time::Instant;

use super::chance;
use super::reader::{AttachError, Delivery, Start};
use super::sessions::Sessions;
use super::{Freshness, Reply, SubmitError, Unavailable};
use crate::ids::{Cursor, Incarnation, Millis, Serial, SessionId};
use crate::limits::DELIVERY_EVENTS;
use crate::session::{
    Applied, Command, Config, ContentType, Create, Cut, Event, Fork, ForkRequest, Grant, NewEvent,
    Refusal, Status,
};

/// A fork as it is requested.
#[derive(Clone, Debug)]
pub struct Wish {
    pub source: SessionId,
    /// Last event to be inherited; the source's tail where none is given.
    pub anchor: Option<Serial>,
    /// The root that the anchor is of, where the asker knows; that of no other log will do.
    pub root: Option<Incarnation>,
    /// How far after the anchor it begins: events where the log is JSON, else payload bytes.
    pub sub: u64,
    /// Where it names no content type or no end of life, the source's count.
    pub config: Config,
    pub events: Vec<NewEvent>,
    pub close: bool,
    /// The branch on which it goes on; that of the last message, where none is given.
    pub branch: Option<Serial>,
}

/// Why there is no fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The source refused. Nothing happened.
    #[error("the source: {0}")]
    Source(Refusal),
    /// The anchor is of another log than the source's. Nothing happened.
    #[error("the place of the fork is not from the source's log")]
    OtherRoot,
    /// The log does not go as far as the fork is to begin. Nothing happened.
    #[error("the log ends before the place of the fork")]
    Short,
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl Sessions {
    /// Creates `id` as a fork; repeating it is no change.
    pub(super) async fn fork_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        wish: Wish,
        deadline: Instant,
    ) -> Result<Reply, ForkError> {
        if let Some(reply) = self.known_fork(grant, id, &wish, deadline).await? {
            return Ok(reply);
        }
        // The hold is the node's own; that its asker may know of the source, and create the fork, is judged there.
        let by = self.by(grant);
        let source = by.status(&wish.source, Freshness::Linearizable, deadline).await;
        let source = source.map_err(SubmitError::from)?;
        let source = source.ok_or(ForkError::Source(Refusal::NotFound))?;
        if wish.root.is_some_and(|root| root != source.root) {
            return Err(ForkError::OtherRoot);
        }
        let key = chance::draw();
        let hold = Command::Hold {
            fork: id.clone(),
            key,
            at: wish.anchor,
            content_type: wish.config.content_type.clone(),
        };
        let held = match self.submit(&wish.source, hold, deadline).await {
            Ok(held) => held,
            Err(SubmitError::Refused { refusal, .. }) => return Err(ForkError::Source(refusal)),
            Err(error) => return Err(error.into()),
        };
        let begun = self.begin(grant, id, &wish, (&source, &held), key, deadline).await;
        let needed = match &begun {
            Ok(Reply { applied: Applied::Created { created: true, .. }, .. }) => true,
            // An earlier try of this very create may have begun the fork that was found.
            Ok(_) => self.has_fork(id, key, deadline).await.unwrap_or(true),
            Err(error) => matches!(error, ForkError::Submit(SubmitError::Unknown(_))),
        };
        if !needed {
            let release = Command::Release { fork: id.clone(), key };
            if let Err(error) = self.submit(&wish.source, release, deadline).await {
                tracing::debug!(source = wish.source.for_operators(), %error, "a hold ends by itself");
            }
        }
        begun
    }

    /// The answer to a repeated request.
    async fn known_fork(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        wish: &Wish,
        deadline: Instant,
    ) -> Result<Option<Reply>, SubmitError> {
        let status = self.status(id, Freshness::Linearizable, deadline).await?;
        let Some(Status { fork: Some(fork), config, hidden: false, .. }) = status else {
            return Ok(None);
        };
        if wish.root.is_some_and(|root| root != fork.root) {
            return Ok(None);
        }
        let anchor = wish.anchor.unwrap_or(fork.anchor);
        let at = fork.at.max(anchor);
        let fork = Fork { source: wish.source.clone(), at, anchor, sub: wish.sub, ..fork };
        // Should the session end this moment, this hold is over: it is refused then, and made anew.
        let anchored = wish.anchor.is_some();
        let request = ForkRequest { fork, anchored, until: Millis(0), inherited: None };
        let config = inherited(&wish.config, &config);
        let create = Create { config, fork: Some(request), ..Create::default() };
        match self.submit_for(grant, id, create.into(), deadline).await {
            Ok(reply) => Ok(Some(reply)),
            Err(SubmitError::Refused { refusal: Refusal::ForkExpired, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the fork, now that its source holds the log.
    async fn begin(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        wish: &Wish,
        (source, held): (&Status, &Reply),
        key: u64,
        deadline: Instant,
    ) -> Result<Reply, ForkError> {
        let Applied::Held { at: anchor, until, inherited: known } = &held.applied else {
            return Err(SubmitError::Unknown("the source answered something else".into()).into());
        };
        let (anchor, until) = (*anchor, *until);
        if held.incarnation != source.incarnation {
            return Err(unavailable("the source was created anew meanwhile").into());
        }
        let config = inherited(&wish.config, &source.config);
        let json = config.content_type.as_ref().is_some_and(ContentType::is_json);
        let after = Cursor { incarnation: held.incarnation, serial: anchor };
        let (at, piece) = self.walk(&wish.source, after, wish.sub, json, deadline).await?;
        let fork = Fork {
            source: wish.source.clone(),
            incarnation: held.incarnation,
            root: held.root,
            at,
            anchor,
            sub: wish.sub,
            key,
        };
        let mut known = known.clone();
        // A log that is made of something has no turns.
        let is_plain = config.content_type.is_some();
        if !(is_plain || known.is_exact && at == anchor) {
            let cut = self.cut(&wish.source, Cursor { serial: at, ..after }, deadline).await?;
            *known = known.with(cut, wish.branch);
        }
        let known = Box::new(known.on(wish.branch));
        let (anchored, inherited) = (wish.anchor.is_some(), Some(known));
        let fork = Some(ForkRequest { fork, anchored, until, inherited });
        let events = piece.into_iter().chain(wish.events.iter().cloned()).collect();
        let create = Create { config, fork, events, close: wish.close };
        Ok(self.submit_for(grant, id, create.into(), deadline).await?)
    }

    /// Whether a session lives, or is kept, as the fork with this key.
    pub(super) async fn has_fork(
        &self,
        fork: &SessionId,
        key: u64,
        deadline: Instant,
    ) -> Result<bool, Unavailable> {
        let status = self.status(fork, Freshness::Linearizable, deadline).await?;
        let held = status.and_then(|status| status.fork);
        Ok(held.is_some_and(|held| held.key == key))
    }

    /// What is open at a place of a log: read from where the message before it shows that something was open.
    async fn cut(
        &self,
        source: &SessionId,
        at: Cursor,
        deadline: Instant,
    ) -> Result<Cut, ForkError> {
        let (mut from, upto) = (at.serial, at.serial);
        let mut begun = None;
        while begun.is_none() && Serial::ZERO < from {
            let end = from;
            from = Serial(from.0.saturating_sub(DELIVERY_EVENTS as u64));
            let each = |event: &Event| {
                if let Some(place) = event.begins() {
                    let open = if place.open == Serial::ZERO { event.serial } else { place.open };
                    begun = Some(open.min(event.serial));
                }
            };
            let before = Cursor { serial: from, ..at };
            self.each(source, (before, end), deadline, each).await?;
        }
        let mut cut = Cut::default();
        if let Some(begun) = begun {
            let before = Cursor { serial: Serial(begun.0 - 1), ..at };
            self.each(source, (before, upto), deadline, |event| cut.take(event)).await?;
        }
        Ok(cut)
    }

    /// Looks at each event after a cursor up to a serial, as far as they are there.
    async fn each(
        &self,
        source: &SessionId,
        (after, upto): (Cursor, Serial),
        deadline: Instant,
        mut look: impl FnMut(&Event),
    ) -> Result<(), ForkError> {
        let attached = self.attach(source, Start::After(after), Freshness::Linearizable, deadline);
        let mut reader = attached.await.map_err(from_attach)?;
        while reader.cursor().serial < upto {
            let delivery = tokio::time::timeout_at(deadline, reader.next()).await;
            let late = |_| unavailable("the source's log did not come in time");
            match delivery.map_err(late)? {
                Delivery::Events(events) => {
                    let meant = events.iter().map(|shown| &shown.event);
                    meant.take_while(|event| event.serial <= upto).for_each(&mut look);
                }
                Delivery::Gap { .. } => {}
                Delivery::CaughtUp { .. } | Delivery::End { .. } => return Ok(()),
                _ => return Err(unavailable("the source's log is not here").into()),
            }
        }
        Ok(())
    }

    /// Goes `sub` units after a cursor: the last event that is inherited whole, and the piece of the next.
    async fn walk(
        &self,
        source: &SessionId,
        after: Cursor,
        sub: u64,
        json: bool,
        deadline: Instant,
    ) -> Result<(Serial, Option<NewEvent>), ForkError> {
        let (mut at, mut left) = (after.serial, sub);
        if left == 0 {
            return Ok((at, None));
        }
        let attached = self.attach(source, Start::After(after), Freshness::Linearizable, deadline);
        let mut reader = attached.await.map_err(from_attach)?;
        loop {
            let delivery = tokio::time::timeout_at(deadline, reader.next()).await;
            let late = |_| unavailable("the source's log did not come in time");
            let events = match delivery.map_err(late)? {
                Delivery::Events(events) => events,
                Delivery::CaughtUp { .. } | Delivery::End { .. } => return Err(ForkError::Short),
                _ => return Err(unavailable("the source's log is not here").into()),
            };
            for shown in events {
                let event = &shown.event;
                let size = if json { 1 } else { event.payload.len() as u64 };
                if left < size {
                    let end = usize::try_from(left).expect("a piece of an event is small");
                    let (format, payload) = (event.format.clone(), event.payload.slice(..end));
                    return Ok((at, Some(NewEvent { format, payload })));
                }
                at = event.serial;
                left -= size;
                if left == 0 {
                    return Ok((at, None));
                }
            }
        }
    }
}

/// The settings of a fork's creator, with the source's where none were given.
fn inherited(config: &Config, source: &Config) -> Config {
    let mut config = config.clone();
    if config.content_type.is_none() {
        config.content_type.clone_from(&source.content_type);
    }
    if config.ttl_ms.is_none() && config.expires_at.is_none() {
        config.ttl_ms = source.ttl_ms;
        config.expires_at = source.expires_at;
    }
    config
}

fn unavailable(text: &str) -> SubmitError {
    Unavailable::NoQuorum(text.into()).into()
}

fn from_attach(error: AttachError) -> ForkError {
    match error {
        AttachError::NotFound => ForkError::Source(Refusal::NotFound),
        AttachError::Gone | AttachError::OtherRoot => ForkError::Source(Refusal::Gone),
        AttachError::Ahead { .. } => ForkError::Short,
        AttachError::TooManyReaders => SubmitError::from(Unavailable::Overloaded).into(),
        AttachError::Unavailable(error) => SubmitError::from(error).into(),
        AttachError::Denied(why) => SubmitError::Denied(why).into(),
    }
}
