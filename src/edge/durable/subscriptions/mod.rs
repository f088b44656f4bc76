//! Subscriptions of the dialect: somebody is woken when streams have news, by webhook or by an event on
//! another stream, and works under a lease that is fenced by generations.
//!
//! A subscription belongs to a tenant, as its streams do. It is a session of its own (`named`), whose log holds what
//! happened to it (`change`); what it is, is the sum of that (`state`). Any node changes it by compare-and-swap
//! (`ledger`); the node that leads it does what the world is owed (`worker`, S8), and derives that from
//! the state alone, so a crash loses nothing. The folder can be deleted as a whole.

mod act;
mod asked;
mod change;
mod fault;
mod glob;
mod ledger;
mod named;
mod place;
mod scan;
mod secret;
mod shown;
mod signing_keys;
mod state;
mod target;
#[cfg(test)]
mod tests;
mod trigger;
mod wake;
mod webhook;
mod worker;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::public::Reached;
use super::super::routes::Route;
use super::super::{Edge, name};
use crate::config::WebhookReach;
use crate::ids::TenantName;
use crate::runtime::Sessions;
use fault::Fault;
use named::Named;
use secret::Keys;

/// Where all of it is served.
const ROOT: &str = "/v1/stream/__ds";

/// What requests and workers of one node share.
pub(in crate::edge) struct Subscriptions {
    sessions: Arc<Sessions>,
    keys: OnceCell<Arc<Keys>>,
    caller: webhook::Caller,
}

impl Subscriptions {
    pub(in crate::edge) fn new(sessions: Arc<Sessions>, reach: WebhookReach) -> Subscriptions {
        Subscriptions { sessions, keys: OnceCell::new(), caller: webhook::Caller::new(reach) }
    }

    /// Works for the subscriptions that this node leads, until it is stopped.
    pub(in crate::edge) async fn run(self: Arc<Self>, stop: CancellationToken) {
        trigger::run(self, stop).await;
    }

    /// The keys of a tenant.
    async fn keys(
        &self,
        tenant: Option<&TenantName>,
        deadline: Instant,
    ) -> Result<Arc<Keys>, Fault> {
        let load = || async { signing_keys::load(&self.sessions, deadline).await.map(Arc::new) };
        let keys = self.keys.get_or_try_init(load).await?;
        Ok(tenant.map_or_else(|| keys.clone(), |tenant| Arc::new(keys.of(tenant))))
    }
}

/// The paths of the subscriptions.
pub(super) fn routes() -> Vec<Route> {
    let path = |path| (path, "subscriptions", any(serve));
    vec![path("/v1/stream/__ds"), path("/v1/stream/__ds/{*rest}")]
}

/// What a path asks for.
enum Path {
    Jwks,
    Subscription(String),
    Streams(String),
    Stream(String, String),
    Action(String, String),
}

async fn serve(
    Extract(edge): Extract<Edge>,
    By(caller): By,
    Reached(base): Reached,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let asks_who = edge.auth.is_on();
    let request = act::Request::read(edge, base, uri.clone(), headers, body).await?;
    let ours = |id: String| Named { tenant: caller.tenant().cloned(), id };
    match (path(uri.path())?, method.as_str()) {
        (Path::Jwks, "GET" | "HEAD") => act::jwks(request).await,
        (Path::Subscription(id), "PUT") => act::create(request, &ours(id)).await,
        (Path::Subscription(id), "GET" | "HEAD") => act::show(request, &ours(id)).await,
        (Path::Subscription(id), "DELETE") => act::delete(request, &ours(id)).await,
        (Path::Streams(id), "POST") => act::link(request, &ours(id)).await,
        (Path::Stream(id, stream), "DELETE") => act::unlink(request, &ours(id), stream).await,
        (Path::Action(id, action), "POST") if action == "claim" => {
            act::claim(request, &ours(id)).await
        }
        (Path::Action(id, action), "POST") => {
            // Whose it is stands in the token, since nobody is asked who they are.
            let named = Named { tenant: secret::tenant_of(request.token()?), id };
            let done = match action.as_str() {
                "release" => act::release(request, &named).await,
                "callback" => act::acknowledge(request, &named, false).await,
                _ => act::acknowledge(request, &named, true).await,
            };
            match done {
                // Nobody learns by guessing which subscriptions there are.
                Err(Fault::Gone) if asks_who => Err(act::no_token()),
                done => done,
            }
        }
        (path, _) => {
            let allow = match path {
                Path::Jwks => "GET",
                Path::Subscription(_) => "PUT, GET, DELETE",
                Path::Stream(..) => "DELETE",
                Path::Streams(_) | Path::Action(..) => "POST",
            };
            let problem = Problem::new(&error::METHOD_NOT_ALLOWED, "see the header allow");
            Ok(([(header::ALLOW, allow)], problem).into_response())
        }
    }
}

/// Whether a request brings the token that its subscription gave with a wake, or asks for what everybody may have: the
/// keys that its webhooks are signed with.
pub(in crate::edge) fn brings_token(method: &Method, asked: &str) -> bool {
    match path(asked) {
        Ok(Path::Jwks) => true,
        Ok(Path::Action(_, action)) => *method == Method::POST && action != "claim",
        _ => false,
    }
}

fn path(path: &str) -> Result<Path, Fault> {
    let unknown = || Fault::new(404, "SUBSCRIPTION_NOT_FOUND", "there is nothing at this path");
    let segment = |text: &str| {
        let name = name::parse(text).map_err(Fault::invalid)?;
        // The session's name is longer than that, and no longer than any.
        let named = Named { tenant: None, id: name };
        named.session().map_err(|why| Fault::invalid(why.to_string()))?;
        Ok::<_, Fault>(named.id)
    };
    let rest = path.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.ok_or_else(unknown)?;
    if rest == "jwks.json" {
        return Ok(Path::Jwks);
    }
    let parts: Vec<_> =
        rest.strip_prefix("subscriptions/").ok_or_else(unknown)?.split('/').collect();
    match parts[..] {
        [""] => Err(unknown()),
        [id] => Ok(Path::Subscription(segment(id)?)),
        [id, "streams"] => Ok(Path::Streams(segment(id)?)),
        [id, "streams", ..] => {
            let stream = name::parse(&parts[2..].join("/")).map_err(Fault::invalid)?;
            Ok(Path::Stream(segment(id)?, asked::normal(&stream).to_owned()))
        }
        [id, action @ ("callback" | "claim" | "ack" | "release")] => {
            Ok(Path::Action(segment(id)?, action.to_owned()))
        }
        _ => Err(unknown()),
    }
}

impl IntoResponse for act::Done {
    fn into_response(self) -> Response {
        match self {
            act::Done::Empty => StatusCode::NO_CONTENT.into_response(),
            act::Done::Json(status, value) => (status, axum::Json(value)).into_response(),
        }
    }
}
