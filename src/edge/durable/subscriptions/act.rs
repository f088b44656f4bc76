//! What requests do: each reads the subscription's log, decides, and appends by compare-and-swap.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::super::error::Problem;
use super::super::super::{Edge, body, headers};
use super::asked::{self, Report};
use super::change::Change;
use super::ledger::{Committed, Ledger};
use super::place::Place;
use super::state::{Deliver, Plan, State};
use super::{Fault, Named, Subscriptions, scan, secret, shown, signing_keys, wake};
use crate::ids::TenantName;
use crate::limits;
use crate::runtime::SubmitError;
use crate::session::{Applied, Command, Create, Refusal};

/// One request.
pub(super) struct Request {
    edge: Edge,
    base: Option<String>,
    uri: Uri,
    headers: HeaderMap,
    held: body::Held,
    deadline: Instant,
}

/// What a request that was done answers.
pub(super) enum Done {
    Empty,
    Json(StatusCode, Value),
}

impl Request {
    pub(super) async fn read(
        edge: Edge,
        base: Option<String>,
        uri: Uri,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Request, Fault> {
        let deadline = headers::deadline(&headers)?;
        let held = body::read(&edge, &headers, body, limits::SUBSCRIPTION_BODY_BYTES).await?;
        Ok(Request { edge, base, uri, headers, held, deadline })
    }

    fn subscriptions(&self) -> Arc<Subscriptions> {
        self.edge.subscriptions.clone()
    }

    async fn open(&self, id: &Named) -> Result<Ledger, Fault> {
        let opened = Ledger::open(&self.edge.runtime.sessions, id, self.deadline).await?;
        opened.ok_or(Fault::Gone)
    }

    /// The URL at which the client reaches this service.
    fn base(&self) -> Result<String, Fault> {
        self.base.clone().ok_or_else(|| Fault::invalid("the header host is needed"))
    }

    pub(super) fn token(&self) -> Result<&str, Fault> {
        let given = headers::one(&self.headers, &header::AUTHORIZATION)?;
        let token = given.and_then(|given| given.strip_prefix("Bearer "));
        token.ok_or_else(|| Fault::new(401, "TOKEN_INVALID", "a bearer token is needed"))
    }
}

/// The answer to a token that opens nothing.
pub(super) fn no_token() -> Fault {
    Fault::new(401, "TOKEN_INVALID", "the token is not known")
}

pub(super) async fn jwks(request: Request) -> Result<Response, Fault> {
    // A key for each possible name: which tenants there are is not told.
    let pairs = request.uri.query().unwrap_or_default().split('&');
    let tenant = pairs.filter_map(|pair| pair.strip_prefix("tenant=")).next();
    let tenant = tenant.map(TenantName::parse).transpose();
    let tenant = tenant.map_err(|why| Fault::invalid(why.to_string()))?;
    let subscriptions = request.subscriptions();
    let jwks = subscriptions.keys(tenant.as_ref(), request.deadline).await?.jwks();
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    Ok((headers, jwks.to_string()).into_response())
}

pub(super) async fn show(request: Request, id: &Named) -> Result<Response, Fault> {
    let ledger = request.open(id).await?;
    shown(&request, id, &ledger, StatusCode::OK).await
}

async fn shown(
    request: &Request,
    id: &Named,
    ledger: &Ledger,
    status: StatusCode,
) -> Result<Response, Fault> {
    let subscriptions = request.subscriptions();
    let keys = subscriptions.keys(id.tenant.as_ref(), request.deadline).await?;
    let state = ledger.state().ok_or(Fault::Gone)?;
    Ok(Done::Json(status, shown::subscription(id, state, &keys)).into_response())
}

pub(super) async fn delete(request: Request, id: &Named) -> Result<Response, Fault> {
    let name = id.session().map_err(|why| Fault::invalid(why.to_string()))?;
    let delete = Command::Delete { incarnation: None };
    match request.edge.runtime.sessions.submit(&name, delete, request.deadline).await {
        Ok(_) => {}
        Err(SubmitError::Refused { refusal: Refusal::NotFound, .. }) => {}
        Err(why) => return Err(Fault::unavailable(&why)),
    }
    Ok(Done::Empty.into_response())
}

pub(super) async fn create(request: Request, id: &Named) -> Result<Response, Fault> {
    let plan = asked::plan(&asked::json(&request.held.bytes)?)?;
    let base = request.base()?;
    let (sessions, deadline) = (request.edge.runtime.sessions.clone(), request.deadline);
    let name = id.session().map_err(|why| Fault::invalid(why.to_string()))?;
    let mut created = false;
    loop {
        if let Some(ledger) = Ledger::open(&sessions, id, deadline).await? {
            if ledger.state().is_none_or(|state| state.plan != plan) {
                let message = "the subscription exists with another configuration";
                return Err(Fault::new(409, "SUBSCRIPTION_ALREADY_EXISTS", message));
            }
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            return shown(&request, id, &ledger, status).await;
        }
        if deadline <= Instant::now() {
            return Err(Fault::unavailable(&"it is created and deleted all the time"));
        }
        if let Deliver::Webhook(url) = &plan.deliver {
            request.edge.subscriptions.caller.check(url).await?;
        }
        within_quota(&request, id).await?;
        let tails = scan::streams(&sessions, id, &plan, None, deadline).await?;
        let events = beginning(&plan, &base, &tails)?;
        let events = events.iter().map(|change| change.event(None)).collect();
        let create = Create { config: signing_keys::config(), events, ..Create::default() };
        match sessions.submit(&name, create.into(), deadline).await {
            Ok(reply) => created = matches!(reply.applied, Applied::Created { created: true, .. }),
            Err(why) => return Err(Fault::unavailable(&why)),
        }
    }
}

/// Whether the tenant may have one more. Those that are created at the same moment do not see each other.
async fn within_quota(request: &Request, id: &Named) -> Result<(), Fault> {
    let (sessions, tenant) = (&request.edge.runtime.sessions, id.tenant.as_ref());
    let quotas = request.edge.auth.quotas();
    let limited = quotas.and_then(|quotas| Some((quotas, quotas.subscriptions(tenant)?)));
    let Some((quotas, limit)) = limited else { return Ok(()) };
    let there = scan::subscriptions(sessions, tenant, limit as usize, request.deadline).await?;
    if there < limit as usize {
        return Ok(());
    }
    Err(Problem::from(quotas.too_many_subscriptions(tenant, limit)).into())
}

/// The first changes of a subscription: what is there already is no news.
fn beginning(plan: &Plan, base: &str, tails: &scan::Tails) -> Result<Vec<Change>, Fault> {
    let named = plan.streams.iter().cloned();
    let explicit: Vec<_> = named
        .map(|path| (path.clone(), Some(tails.get(&path).copied().unwrap_or_default())))
        .collect();
    let others = tails.iter().filter(|(path, _)| plan.streams.binary_search(path).is_err());
    let meant: Vec<_> = others.map(|(path, tail)| (path.clone(), Some(*tail))).collect();
    if limits::SUBSCRIPTION_STREAMS < explicit.len() + meant.len() {
        let message = format!(
            "a subscription has at most {} streams; {} are there",
            limits::SUBSCRIPTION_STREAMS,
            explicit.len() + meant.len()
        );
        return Err(Fault::invalid(message));
    }
    let mut changes = vec![Change::Created { plan: plan.clone(), base: base.to_owned() }];
    for (explicit, streams) in [(true, explicit), (false, meant)] {
        let pieces = streams.chunks(limits::WAKE_STREAMS);
        changes.extend(pieces.map(|piece| Change::Linked { explicit, streams: piece.to_vec() }));
    }
    Ok(changes)
}

pub(super) async fn link(request: Request, id: &Named) -> Result<Response, Fault> {
    let streams = asked::streams(&asked::json(&request.held.bytes)?)?;
    let mut ledger = request.open(id).await?;
    loop {
        let state = ledger.state().ok_or(Fault::Gone)?;
        if streams.iter().all(|path| state.links.get(path).is_some_and(|link| link.explicit)) {
            return Ok(Done::Empty.into_response());
        }
        let fresh = streams.iter().filter(|path| !state.links.contains_key(*path)).count();
        if limits::SUBSCRIPTION_STREAMS < state.links.len() + fresh {
            let limit = limits::SUBSCRIPTION_STREAMS;
            return Err(Fault::invalid(format!("a subscription has at most {limit} streams")));
        }
        let sessions = &request.edge.runtime.sessions;
        let tails = scan::named_streams(sessions, id, streams.clone(), request.deadline).await?;
        let at = |path: &String| Some(tails.get(path).copied().unwrap_or_default());
        let streams = streams.iter().map(|path| (path.clone(), at(path))).collect();
        let change = Change::Linked { explicit: true, streams };
        if settled(&mut ledger, &[change], request.deadline).await? {
            return Ok(Done::Empty.into_response());
        }
    }
}

pub(super) async fn unlink(
    request: Request,
    id: &Named,
    stream: String,
) -> Result<Response, Fault> {
    let mut ledger = request.open(id).await?;
    let change = Change::Unlinked { streams: vec![stream] };
    while !settled(&mut ledger, std::slice::from_ref(&change), request.deadline).await? {}
    Ok(Done::Empty.into_response())
}

pub(super) async fn claim(request: Request, id: &Named) -> Result<Response, Fault> {
    let holder = asked::worker(&asked::json(&request.held.bytes)?)?;
    let subscriptions = request.subscriptions();
    let keys = subscriptions.keys(id.tenant.as_ref(), request.deadline).await?;
    let mut ledger = request.open(id).await?;
    let secret = secret::draw(id.tenant.as_ref());
    loop {
        let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
        pulls(state)?;
        let mut changes = Vec::new();
        if state.current(now).is_none() {
            let sessions = &request.edge.runtime.sessions;
            let tails =
                scan::streams(sessions, id, &state.plan, Some(state), request.deadline).await?;
            changes = wake::awaken(id, state, &tails, &keys);
            if !changes.iter().any(|change| matches!(change, Change::Woken { .. })) {
                let message = "the subscription has no pending work";
                return Err(Fault::new(409, "NO_PENDING_WORK", message));
            }
        }
        let generation = state.generation + u64::from(!changes.is_empty());
        let (holder, token) = (holder.clone(), secret::hash(&secret));
        changes.push(Change::Claimed { generation, holder, token });
        tried(state, now, &changes)?;
        if !settled(&mut ledger, &changes, request.deadline).await? {
            continue;
        }
        let state = ledger.state().ok_or(Fault::Gone)?;
        // Whoever comes later has another generation.
        let wake = state.wake.as_ref().filter(|_| state.generation == generation);
        let wake = wake.ok_or(super::state::Refused::Fenced)?;
        let answer = json!({
            "wake_id": wake.id,
            "generation": generation,
            "token": secret,
            "streams": shown::streams(state, wake),
            "lease_ttl_ms": state.plan.lease_ttl_ms,
        });
        return Ok(Done::Json(StatusCode::OK, answer).into_response());
    }
}

/// A callback, or the acknowledgement of who pulls.
pub(super) async fn acknowledge(
    request: Request,
    id: &Named,
    pull: bool,
) -> Result<Response, Fault> {
    let token = request.token()?.to_owned();
    let report = Report::read(&request.held.bytes)?;
    let acks = report.acks()?;
    let subscriptions = request.subscriptions();
    let keys = subscriptions.keys(id.tenant.as_ref(), request.deadline).await?;
    let mut ledger = request.open(id).await?;
    loop {
        let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
        let generation = fence(state, &token, &report)?;
        if pull {
            pulls(state)?;
        }
        within(&request, id, state, &acks).await?;
        let (acks, done) = (acks.clone(), report.done);
        let mut changes = vec![Change::Acked { generation, acks, done }];
        let after = tried(state, now, &changes)?;
        if done {
            let sessions = &request.edge.runtime.sessions;
            let tails =
                scan::streams(sessions, id, &after.plan, Some(&after), request.deadline).await?;
            changes.extend(wake::awaken(id, &after, &tails, &keys));
        }
        let next_wake = changes.iter().any(|change| matches!(change, Change::Woken { .. }));
        if settled(&mut ledger, &changes, request.deadline).await? {
            let answer = json!({ "ok": true, "next_wake": next_wake });
            return Ok(Done::Json(StatusCode::OK, answer).into_response());
        }
    }
}

pub(super) async fn release(request: Request, id: &Named) -> Result<Response, Fault> {
    let token = request.token()?.to_owned();
    let report = Report::read(&request.held.bytes)?;
    let mut ledger = request.open(id).await?;
    loop {
        let (state, now) = (ledger.state().ok_or(Fault::Gone)?, ledger.now());
        let generation = fence(state, &token, &report)?;
        pulls(state)?;
        let changes = [Change::Released { generation }];
        tried(state, now, &changes)?;
        if settled(&mut ledger, &changes, request.deadline).await? {
            return Ok(Done::Empty.into_response());
        }
    }
}

fn pulls(state: &State) -> Result<(), Fault> {
    match state.plan.deliver {
        Deliver::Pull(_) => Ok(()),
        Deliver::Webhook(_) => Err(Fault::invalid("the subscription is not pull-wake")),
    }
}

/// The present generation, if it is the one that is spoken of.
fn fence(state: &State, token: &str, report: &Report) -> Result<u64, Fault> {
    let wake = state.wake.as_ref();
    let current = wake.and_then(|wake| wake.token.as_ref());
    let current = current.is_some_and(|kept| secret::is(token, kept));
    if !current && !state.past.iter().any(|kept| secret::is(token, kept)) {
        return Err(no_token());
    }
    let spoken = wake.is_some_and(|wake| report.wake_id.as_ref() == Some(&wake.id));
    if !current || !spoken || report.generation != Some(state.generation) {
        return Err(super::state::Refused::Fenced.into());
    }
    Ok(state.generation)
}

/// Refuses acknowledgements of what is not there.
async fn within(
    request: &Request,
    id: &Named,
    state: &State,
    acks: &[(String, Place)],
) -> Result<(), Fault> {
    let woken = |path: &String| state.wake.as_ref()?.streams.get(path).copied();
    let beyond = acks.iter().filter(|(path, place)| woken(path) < Some(*place));
    let beyond: Vec<_> = beyond.map(|(path, _)| path.clone()).collect();
    let tails =
        scan::named_streams(&request.edge.runtime.sessions, id, beyond, request.deadline).await?;
    for (path, place) in acks {
        let tail = woken(path).max(tails.get(path).copied()).unwrap_or_default();
        if tail < *place {
            let message = "the offset lies beyond the stream's tail";
            return Err(Fault::new(409, "INVALID_OFFSET", message));
        }
    }
    Ok(())
}

/// The state after these changes, were they made now.
fn tried(state: &State, now: crate::ids::Millis, changes: &[Change]) -> Result<State, Fault> {
    let mut after = state.clone();
    changes.iter().try_for_each(|change| after.apply(now, change))?;
    Ok(after)
}

/// Whether the changes are made; otherwise it has to be thought over.
async fn settled(
    ledger: &mut Ledger,
    changes: &[Change],
    deadline: Instant,
) -> Result<bool, Fault> {
    let committed = ledger.commit(changes, deadline).await?;
    match committed {
        Committed::Done(Ok(())) => Ok(true),
        _ if deadline <= Instant::now() => Err(Fault::unavailable(&"others are always first")),
        Committed::Done(Err(_)) | Committed::Overtaken => Ok(false),
    }
}
