//! Talks: HTTP/1.1 and HTTP/2 on one port, with TLS or without, the native API of `docs/PROTOCOL.md`.
//!
//! What comes in is parsed here, once and strictly; what goes out is rendered here. Everything
//! between is the runtime's. `openapi.json` describes the API; a test holds it against the routes
//! and codes.

mod admin;
mod attached;
mod body;
pub mod certificate;
mod changes;
mod chat;
mod connection;
mod content;
mod cookies;
mod cursor;
mod delivery;
mod door;
mod durable;
mod ephemeral;
pub mod error;
mod events;
mod files;
mod fork;
mod frame;
#[cfg(test)]
mod fuzz;
mod gate;
mod headers;
mod history;
mod interactions;
mod json;
mod keys;
mod lines;
mod live;
mod moves;
mod name;
mod page;
mod people;
mod public;
pub mod push;
mod query;
mod quota;
mod room;
mod routes;
mod server;
mod sessions;
mod slots;
mod stream;
mod takeover;
mod telling;
mod tickets;
mod turns;
mod verbs;
pub(crate) mod waiting;
mod wire;
pub mod worker;
mod ws;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::certificate::Certificate;
pub use self::door::Door;
use self::error::Problem;
use self::query::Query;
use self::room::Room;
use crate::auth::{Auth, Caller};
use crate::config::PublicConfig;
use crate::runtime::{Asking, Freshness, Runtime};
use crate::session::Grant;
use crate::subscriptions::Subscriptions;
use crate::telemetry::Metrics;
use crate::tls;

/// Makes nginx and its kin pass on what they get.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What the operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a long poll waits that sets no time itself.
    pub long_poll: Duration,
    /// How long a file is kept to which nothing comes, or no event refers, in milliseconds.
    pub file_keep_ms: u64,
    /// Who may come in.
    pub door: Door,
    /// Where clients reach this node.
    pub public: PublicConfig,
    /// The certificate under which clients are served; without TLS, where there is none.
    pub certificate: Option<Certificate>,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    /// Where all are served.
    All,
    /// Where clients are, and operators are not.
    Clients,
    /// Where operators are, and clients are not.
    Operators,
}

/// Serves clients on `listener`, and operators on `admin`, or where there is none with the clients, until
/// `shutdown`, and returns when the last connection is gone.
///
/// Then no more connections are taken, live streams break off (their readers go on at another node),
/// and running requests get [`crate::limits::DRAIN_MS`] to finish.
pub async fn serve(
    (listener, admin): (TcpListener, Option<TcpListener>),
    runtime: Arc<Runtime>,
    auth: Auth,
    subscriptions: Arc<Subscriptions>,
    metrics: Arc<Metrics>,
    settings: Settings,
    shutdown: CancellationToken,
) {
    let edge = Edge::new(runtime, auth, subscriptions, metrics, settings, shutdown);
    let auth = edge.clone();
    let knowing = async move { auth.auth.run(auth.stop.clone()).await };
    let (certificate, stop) = (edge.settings.certificate.clone(), edge.stop.clone());
    let renewing = async move {
        if let Some(certificate) = certificate {
            tokio::select! { () = certificate.renew() => {} () = stop.cancelled() => {} }
        }
    };
    let entrance = if admin.is_some() { Entrance::Clients } else { Entrance::All };
    let operators = edge.clone();
    let operating = async move {
        if let Some(admin) = admin {
            server::run(admin, operators, Entrance::Operators).await;
        }
    };
    let serving = server::run(listener, edge, entrance);
    tokio::join!(serving, operating, knowing, renewing);
}

/// What every request can reach.
#[derive(Clone)]
struct Edge {
    shared: Arc<Shared>,
    /// The grant of the requester, once that is known: it goes with requests to other nodes.
    asker: Option<Arc<Grant>>,
}

/// The edge as a handler has it: for who sent the request.
struct State<E>(E);

impl FromRequestParts<Edge> for State<Edge> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        Ok(State(edge.for_caller(&gate::sender(parts)?)))
    }
}

struct Shared {
    runtime: Arc<Runtime>,
    auth: Auth,
    metrics: Arc<Metrics>,
    /// For what is on its way.
    room: Arc<Room>,
    /// Places for appends without an end.
    windows: Arc<Semaphore>,
    /// Places for WebSockets.
    sockets: Arc<Semaphore>,
    settings: Settings,
    subscriptions: Arc<Subscriptions>,
    stop: CancellationToken,
}

impl Edge {
    fn new(
        runtime: Arc<Runtime>,
        auth: Auth,
        subscriptions: Arc<Subscriptions>,
        metrics: Arc<Metrics>,
        settings: Settings,
        stop: CancellationToken,
    ) -> Edge {
        let room = Room::new(room::size(room::memory()), &metrics);
        let windows = Arc::new(Semaphore::new(crate::limits::WINDOWS));
        let sockets = Arc::new(Semaphore::new(crate::limits::SOCKETS));
        let shared = Shared {
            runtime,
            auth,
            metrics,
            room,
            windows,
            sockets,
            settings,
            subscriptions,
            stop,
        };
        Edge { shared: Arc::new(shared), asker: None }
    }

    /// The same for requests of this caller.
    fn for_caller(&self, caller: &Caller) -> Edge {
        Edge { shared: self.shared.clone(), asker: caller.judged().cloned() }
    }

    /// Sessions as the requester may look at them.
    fn sessions(&self) -> Asking<'_> {
        self.runtime.sessions.by(self.asker.as_deref())
    }
}

impl Deref for Edge {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Marks a response that is not to be sent: the connection breaks instead.
#[derive(Clone, Copy)]
struct HangUp;

impl IntoResponse for HangUp {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(HangUp);
        response
    }
}

/// How fresh a read must be.
fn freshness(query: &Query) -> Result<Freshness, Problem> {
    let words = [("local", Freshness::Local), ("linearizable", Freshness::Linearizable)];
    Ok(query.word("read", &words)?.unwrap_or_default())
}
