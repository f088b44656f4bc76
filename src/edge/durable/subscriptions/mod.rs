//! The subscriptions of [`crate::subscriptions`] by HTTP: paths, bodies and answers as the dialect has them.

mod failure;
mod parse;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::public::Reached;
use super::super::routes::Route;
use super::super::{Edge, body, headers, name};
use crate::ids::TenantName;
use crate::limits;
use crate::subscriptions::{Acked, Fault, Lease, Named, ROOT, tenant_of};
use failure::Failure;
use parse::Report;

/// The paths of the subscriptions.
pub(super) fn routes() -> Vec<Route> {
    let path = |path| (path, "subscriptions", any(serve));
    vec![path("/v1/stream/__ds"), path("/v1/stream/__ds/{*rest}")]
}

/// What a path requests.
enum Path {
    Jwks,
    Subscription(String),
    Streams(String),
    Stream(String, String),
    Action(String, String),
}

/// One request.
struct Request {
    edge: Edge,
    base: Option<String>,
    uri: Uri,
    headers: HeaderMap,
    held: body::Held,
    deadline: Instant,
}

/// What a request that was done answers.
enum Done {
    Empty,
    Json(StatusCode, Value),
}

impl Request {
    /// The URL at which the client reaches this service.
    fn base(&self) -> Result<String, Failure> {
        Ok(self.base.clone().ok_or_else(|| Fault::invalid("the header host is needed"))?)
    }

    fn token(&self) -> Result<&str, Failure> {
        let given = headers::one(&self.headers, &header::AUTHORIZATION)?;
        let token = given.and_then(|given| given.strip_prefix("Bearer "));
        Ok(token.ok_or(Fault::NoToken("a bearer token is needed"))?)
    }

    fn json(&self) -> Result<Value, Fault> {
        parse::json(&self.held.bytes)
    }

    /// The tenant that a client names because no credentials are required.
    fn tenant(&self) -> Result<Option<TenantName>, Fault> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let tenant = pairs.filter_map(|pair| pair.strip_prefix("tenant=")).next();
        tenant.map(TenantName::parse).transpose().map_err(|why| Fault::invalid(why.to_string()))
    }
}

async fn serve(
    Extract(edge): Extract<Edge>,
    By(caller): By,
    Reached(base): Reached,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::SUBSCRIPTION_BODY_BYTES).await?;
    let path = path(uri.path())?;
    let request = Request { edge, base, uri, headers, held, deadline };
    let named = |id: &String| Named { tenant: caller.tenant().cloned(), id: id.clone() };
    let done = match (&path, method.as_str()) {
        (Path::Jwks, "GET" | "HEAD") => return jwks(&request).await,
        (Path::Subscription(id), _) => whole(&request, &named(id), &method).await?,
        (Path::Streams(id), "POST") => {
            let streams = parse::streams(&request.json()?)?;
            request.edge.subscriptions.link(&named(id), &streams, deadline).await?;
            Some(Done::Empty)
        }
        (Path::Stream(id, stream), "DELETE") => {
            request.edge.subscriptions.unlink(&named(id), stream.clone(), deadline).await?;
            Some(Done::Empty)
        }
        (Path::Action(id, action), "POST") if action == "claim" => {
            let worker = parse::worker(&request.json()?)?;
            let wake = request.edge.subscriptions.claim(&named(id), &worker, deadline).await?;
            Some(Done::Json(StatusCode::OK, wake))
        }
        (Path::Action(id, action), "POST") => Some(held_by_token(&request, id, action).await?),
        _ => None,
    };
    Ok(done.map_or_else(|| not_allowed(&path), IntoResponse::into_response))
}

/// A request about a whole subscription; none for a method that there is not.
async fn whole(request: &Request, id: &Named, method: &Method) -> Result<Option<Done>, Failure> {
    let (subscriptions, deadline) = (&request.edge.subscriptions, request.deadline);
    Ok(Some(match method.as_str() {
        "PUT" => {
            let (plan, base) = (parse::plan(&request.json()?)?, request.base()?);
            let quotas = request.edge.auth.quotas();
            let tenant = id.tenant.as_ref();
            let limit = quotas.subscriptions(tenant);
            let most = limit.map(|limit| limit as usize);
            let created = subscriptions.create(id, plan, base, most, deadline).await;
            if let (Err(Fault::TooMany), Some(limit)) = (&created, limit) {
                return Err(Problem::from(quotas.too_many_subscriptions(tenant, limit)).into());
            }
            let (created, shown) = created?;
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Done::Json(status, shown)
        }
        "GET" | "HEAD" => Done::Json(StatusCode::OK, subscriptions.show(id, deadline).await?),
        "DELETE" => {
            subscriptions.delete(id, deadline).await?;
            Done::Empty
        }
        _ => return Ok(None),
    }))
}

/// A request by the token of a wake. Whose the subscription is stands in the token, since no other credentials are
/// required.
async fn held_by_token(request: &Request, id: &str, action: &str) -> Result<Done, Failure> {
    let token = request.token()?.to_owned();
    let named = Named { tenant: tenant_of(&token), id: id.to_owned() };
    let report = Report::read(&request.held.bytes)?;
    let lease = Lease { token, wake_id: report.wake_id.clone(), generation: report.generation };
    let (subscriptions, deadline) = (&request.edge.subscriptions, request.deadline);
    let done = if action == "release" {
        subscriptions.release(&named, &lease, deadline).await.map(|()| Done::Empty)
    } else {
        let pull = action != "callback";
        let acked = Acked { acks: report.acks()?, done: report.done, pull };
        let next_wake = subscriptions.acknowledge(&named, &lease, acked, deadline).await;
        let answer = |next_wake| json!({ "ok": true, "next_wake": next_wake });
        next_wake.map(|next_wake| Done::Json(StatusCode::OK, answer(next_wake)))
    };
    match done {
        // No client learns by guessing which subscriptions there are.
        Err(Fault::Gone) if request.edge.auth.is_on() => Err(Fault::UNKNOWN_TOKEN.into()),
        done => Ok(done?),
    }
}

async fn jwks(request: &Request) -> Result<Response, Failure> {
    let tenant = request.tenant()?;
    let jwks = request.edge.subscriptions.jwks(tenant.as_ref(), request.deadline).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    Ok((headers, jwks.to_string()).into_response())
}

fn not_allowed(path: &Path) -> Response {
    let allow = match path {
        Path::Jwks => "GET",
        Path::Subscription(_) => "PUT, GET, DELETE",
        Path::Stream(..) => "DELETE",
        Path::Streams(_) | Path::Action(..) => "POST",
    };
    let problem = Problem::new(&error::METHOD_NOT_ALLOWED, "see the header allow");
    ([(header::ALLOW, allow)], problem).into_response()
}

/// Whether a request brings the token that its subscription gave with a wake, or requests what all clients may have:
/// the keys that its webhooks are signed with.
pub(in crate::edge) fn brings_token(method: &Method, wanted: &str) -> bool {
    match path(wanted) {
        Ok(Path::Jwks) => true,
        Ok(Path::Action(_, action)) => *method == Method::POST && action != "claim",
        _ => false,
    }
}

fn path(path: &str) -> Result<Path, Fault> {
    let segment = |text: &str| {
        let name = name::parse(text).map_err(Fault::invalid)?;
        // The session's name is longer than that, and no longer than any.
        let named = Named { tenant: None, id: name };
        named.session().map_err(|why| Fault::invalid(why.to_string()))?;
        Ok::<_, Fault>(named.id)
    };
    let rest = path.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.ok_or(Fault::Gone)?;
    if rest == "jwks.json" {
        return Ok(Path::Jwks);
    }
    let parts: Vec<_> =
        rest.strip_prefix("subscriptions/").ok_or(Fault::Gone)?.split('/').collect();
    match parts[..] {
        [""] => Err(Fault::Gone),
        [id] => Ok(Path::Subscription(segment(id)?)),
        [id, "streams"] => Ok(Path::Streams(segment(id)?)),
        [id, "streams", ..] => {
            let stream = name::parse(&parts[2..].join("/")).map_err(Fault::invalid)?;
            Ok(Path::Stream(segment(id)?, parse::normal(&stream).to_owned()))
        }
        [id, action @ ("callback" | "claim" | "ack" | "release")] => {
            Ok(Path::Action(segment(id)?, action.to_owned()))
        }
        _ => Err(Fault::Gone),
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        match self {
            Done::Empty => StatusCode::NO_CONTENT.into_response(),
            Done::Json(status, value) => (status, Json(value)).into_response(),
        }
    }
}
