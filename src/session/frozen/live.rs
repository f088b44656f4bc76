//! A living session as plain data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::FrozenWork;
use super::{
    FrozenConfig, FrozenFork, FrozenProducer, SERIAL_MAX, ThawError, ensure, thaw_incarnation,
};
use crate::ids::{Millis, ProducerId, Serial, SessionId};
use crate::limits;
use crate::session::config::Config;
use crate::session::fork::{Fork, Hold, Holds};
use crate::session::live::{End, Live};
use crate::session::log::{Log, Mark};
use crate::session::outcome::DeleteReason;
use crate::session::producers::Producers;
use crate::session::work::Work;

/// See [`super::Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenLive<'a> {
    pub incarnation: u32,
    pub config: FrozenConfig<'a>,
    pub created_at: u64,
    pub updated_at: u64,
    pub touched_at: u64,
    pub clock: u64,
    pub first: u64,
    pub tail: u64,
    pub chain: u64,
    pub total: u64,
    /// First serial, bytes before it, newest time.
    pub marks: Vec<(u64, u64, u64)>,
    pub closed: bool,
    pub closed_by: Option<Cow<'a, str>>,
    pub producers: Vec<FrozenProducer<'a>>,
    pub order: Option<Cow<'a, str>>,
    pub fork: Option<FrozenFork<'a>>,
    /// Fork, key, until.
    pub holds: Vec<(Cow<'a, str>, u64, Option<u64>)>,
    /// Whether it had expired.
    pub hidden: Option<bool>,
    pub work: FrozenWork<'a>,
}

impl Live {
    pub(super) fn freeze(&self) -> FrozenLive<'_> {
        let Live {
            incarnation,
            config,
            created_at,
            updated_at,
            touched_at,
            clock,
            log,
            end,
            producers,
            order,
            fork,
            holds,
            hidden,
            work,
        } = self;
        let Log { first, tail, chain, total, marks } = log;
        let closed_by = match end {
            End::Open => None,
            End::Closed { by } => by.as_ref().map(|by| by.as_str().into()),
        };
        FrozenLive {
            incarnation: incarnation.0,
            config: config.freeze(),
            created_at: created_at.0,
            updated_at: updated_at.0,
            touched_at: touched_at.0,
            clock: clock.0,
            first: first.0,
            tail: tail.0,
            chain: *chain,
            total: *total,
            marks: marks.iter().map(|mark| (mark.first.0, mark.before, mark.newest.0)).collect(),
            closed: self.is_closed(),
            closed_by,
            producers: producers.freeze(),
            order: order.as_deref().map(Into::into),
            fork: fork.as_deref().map(Fork::freeze),
            holds: holds
                .all
                .iter()
                .map(|hold| (hold.fork.as_str().into(), hold.key, hold.until.map(|at| at.0)))
                .collect(),
            hidden: hidden.map(|reason| reason == DeleteReason::Expired),
            work: work.freeze(),
        }
    }

    pub(super) fn thaw(frozen: FrozenLive<'_>) -> Result<Live, ThawError> {
        let clock = Millis(frozen.clock);
        let past = [frozen.created_at, frozen.updated_at, frozen.touched_at];
        ensure(past.into_iter().all(|time| time <= clock.0), "a time of the session")?;
        ensure(frozen.closed || frozen.closed_by.is_none(), "the end of the log")?;
        let config = Config::thaw(frozen.config.clone())?;
        config.check()?;
        let log = Log::thaw(&frozen)?;
        let fork = frozen.fork.map(Fork::thaw).transpose()?;
        let inherited = fork.as_ref().map_or(Serial::ZERO, |fork| fork.at);
        ensure(inherited < log.first, "the beginning of a fork")?;
        ensure(frozen.holds.len() <= limits::FORKS, "the number of forks")?;
        let holds = frozen.holds.into_iter().map(|(fork, key, until)| {
            Ok(Hold { fork: SessionId::parse(&fork)?, key, until: until.map(Millis) })
        });
        let holds = holds.collect::<Result<_, ThawError>>()?;
        let end = match (frozen.closed, frozen.closed_by) {
            (false, _) => End::Open,
            (true, by) => End::Closed { by: by.map(|name| ProducerId::parse(&name)).transpose()? },
        };
        Ok(Live {
            incarnation: thaw_incarnation(frozen.incarnation)?,
            config,
            created_at: Millis(frozen.created_at),
            updated_at: Millis(frozen.updated_at),
            touched_at: Millis(frozen.touched_at),
            clock,
            end,
            producers: Producers::thaw(frozen.producers, log.tail, clock)?,
            order: frozen.order.map(Cow::into_owned),
            fork: fork.map(Box::new),
            holds: Holds { all: holds },
            hidden: frozen.hidden.map(|expired| match expired {
                true => DeleteReason::Expired,
                false => DeleteReason::Asked,
            }),
            work: Work::thaw(frozen.work, log.tail)?,
            log,
        })
    }
}

impl Log {
    fn thaw(frozen: &FrozenLive<'_>) -> Result<Log, ThawError> {
        let log = Log {
            first: Serial(frozen.first),
            tail: Serial(frozen.tail),
            chain: frozen.chain,
            total: frozen.total,
            marks: frozen
                .marks
                .iter()
                .map(|&(first, before, newest)| Mark {
                    first: Serial(first),
                    before,
                    newest: Millis(newest),
                })
                .collect(),
        };
        ensure(frozen.tail <= SERIAL_MAX, "the tail")?;
        ensure(1 <= frozen.first && log.first <= log.tail.next(), "the first serial")?;
        ensure(log.total <= SERIAL_MAX, "the byte count")?;
        ensure(log.marks.len() <= limits::MARKS, "the number of marks")?;
        let in_order = log.marks.windows(2).all(|pair| {
            pair[0].first < pair[1].first
                && pair[0].before <= pair[1].before
                && pair[0].newest <= pair[1].newest
        });
        ensure(in_order, "the order of the marks")?;
        let ends_fit = match (log.marks.first(), log.marks.last()) {
            (Some(oldest), Some(last)) => {
                let next = log.marks.get(1).map_or(log.tail.next(), |mark| mark.first);
                Serial::ZERO < oldest.first
                    && oldest.first <= log.first
                    && log.first < next
                    && last.first <= log.tail
                    && last.before <= log.total
                    && last.newest.0 <= frozen.clock
            }
            _ => log.first == log.tail.next(),
        };
        ensure(ends_fit, "a mark")?;
        Ok(log)
    }
}
