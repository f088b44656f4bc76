//! How far the streams of a subscription go: looked up wherever they live.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::place::LogPosition;
use super::state::{Plan, State};
use super::{Fault, Named, glob};
use crate::ids::{SessionId, TenantName};
use crate::limits;
use crate::runtime::{Freshness, Sessions};

/// Streams that exist, and their tails.
pub(super) type Tails = BTreeMap<String, LogPosition>;

/// Looks at every stream of the subscription's tenant that the plan may mean or that is linked; linearizable.
pub(super) async fn streams(
    sessions: &Arc<Sessions>,
    of: &Named,
    plan: &Plan,
    state: Option<&State>,
    deadline: Instant,
) -> Result<Tails, Fault> {
    let mut tails = match &plan.pattern {
        Some(pattern) => matching(sessions, of, pattern, deadline).await?,
        None => Tails::new(),
    };
    let linked = state.into_iter().flat_map(|state| state.links.keys());
    let named = plan.streams.iter().filter(|_| state.is_none());
    // What a wide pattern did not get to is looked at by its name.
    let others = linked.chain(named).filter(|path| !tails.contains_key(*path)).cloned().collect();
    tails.extend(named_streams(sessions, of, others, deadline).await?);
    Ok(tails)
}

/// How many subscriptions a tenant has in the cluster; not counted beyond `most`.
pub(super) async fn subscriptions(
    sessions: &Arc<Sessions>,
    tenant: Option<&TenantName>,
    most: usize,
    deadline: Instant,
) -> Result<usize, Fault> {
    let (prefix, mut after, mut count) = (Named::prefix(tenant), None::<SessionId>, 0);
    while count < most {
        let page = limits::LIST_SESSIONS_MAX.min(most - count);
        let place = (prefix.as_str(), after.as_ref().map(SessionId::name));
        // All of them are sessions of the default tenant, whosever they are.
        let listed = sessions.list(None, place, page, deadline).await;
        let listed = listed.map_err(|why| Fault::unavailable(&why))?;
        count += listed.len();
        if listed.len() < page {
            break;
        }
        after = listed.into_iter().last().map(|line| line.id);
    }
    Ok(count)
}

/// Looks at these streams of the subscription's tenant.
pub(super) async fn named_streams(
    sessions: &Arc<Sessions>,
    of: &Named,
    paths: Vec<String>,
    deadline: Instant,
) -> Result<Tails, Fault> {
    let look = |path: String| async move {
        let Ok(id) = of.stream(&path) else { return Ok::<_, Fault>(None) };
        let status = sessions.status(&id, Freshness::Linearizable, deadline).await;
        let status = status.map_err(|why| Fault::unavailable(&why))?;
        let status = status.filter(|status| !status.hidden);
        Ok(status.map(|status| (path, LogPosition::new(status.root, status.tail))))
    };
    let mut looking = stream::iter(paths).map(look).buffer_unordered(limits::SCAN_AT_ONCE);
    let mut tails = Tails::new();
    while let Some(found) = looking.next().await {
        tails.extend(found?);
    }
    Ok(tails)
}

async fn matching(
    sessions: &Arc<Sessions>,
    of: &Named,
    pattern: &str,
    deadline: Instant,
) -> Result<Tails, Fault> {
    let (prefix, page) = (glob::prefix(pattern), limits::LIST_SESSIONS_MAX);
    let (mut tails, mut after, mut seen) = (Tails::new(), None, 0);
    loop {
        let place = (prefix.as_str(), after.as_ref().map(SessionId::name));
        let listed = sessions.list(of.tenant.as_ref(), place, page, deadline).await;
        let listed = listed.map_err(|why| Fault::unavailable(&why))?;
        seen += listed.len();
        let last = (listed.len() == page).then(|| listed.last().map(|line| line.id.clone()));
        for line in listed {
            if !line.id.is_reserved() && glob::matches(pattern, line.id.name()) {
                tails.insert(line.id.name().to_owned(), LogPosition::new(line.root, line.tail));
            }
        }
        after = last.flatten();
        if after.is_none() {
            return Ok(tails);
        }
        if limits::SCAN_NAMES <= seen {
            tracing::warn!(pattern, "a pattern is too wide to look at all names");
            return Ok(tails);
        }
    }
}
