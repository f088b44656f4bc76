//! A client of the service: any node will do, and when one fails the next one goes on.
//!
//! Nothing in here trusts that the service is right: a tail checks that serials are dense (S7), and
//! an append repeats one key until it knows what became of it (S11).
#![warn(missing_docs)]

pub mod append;
pub mod event;
pub mod file;
mod moves;
pub mod nodes;
pub mod sse;
pub mod tail;
pub mod tls;

pub use append::{Appended, Appender, Body};
pub use event::Event;
pub use nodes::{ClientError, Nodes, Problem};
pub use tail::{From, Item, Tail};

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Sends requests about sessions and the cluster to the service.
#[derive(Clone, Debug)]
pub struct Client {
    nodes: Nodes,
}

/// One page of a list of sessions.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct List {
    /// The sessions, in byte order of their names, as the protocol has them.
    pub sessions: Vec<Value>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl Client {
    /// A client of the cluster behind these URLs.
    ///
    /// # Errors
    /// No URL is given, or one of them is none.
    pub fn new(urls: &[String]) -> Result<Client, ClientError> {
        Ok(Client { nodes: Nodes::new(urls)? })
    }

    /// The same client, which shows this key or token with each request.
    ///
    /// # Errors
    /// The key has characters that no header can carry.
    pub fn with_key(mut self, key: &str) -> Result<Client, ClientError> {
        self.nodes = self.nodes.with_key(key)?;
        Ok(self)
    }

    /// The same client, which calls `notice` with what it waits for where an answer takes longer than a moment.
    pub fn with_notice(mut self, notice: nodes::Notice) -> Client {
        self.nodes.notice = Some(notice);
        self
    }

    /// Makes the session live; returns whether it was not before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create(&self, session: &str) -> Result<bool, ClientError> {
        let answer = self.ask(Method::PUT, &["v1", "sessions", session], &[]).await?;
        Ok(answer.0 == StatusCode::CREATED)
    }

    /// What the session is now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn show(&self, session: &str) -> Result<Value, ClientError> {
        Ok(self.ask(Method::GET, &["v1", "sessions", session], &[]).await?.1)
    }

    /// Where the session lives.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn home(&self, session: &str) -> Result<Value, ClientError> {
        Ok(self.ask(Method::GET, &["v1", "sessions", session, "home"], &[]).await?.1)
    }

    /// Ends the session and frees its log.
    ///
    /// # Errors
    /// See [`ClientError`]; a repeat after an unknown outcome may answer that it does not exist.
    pub async fn delete(&self, session: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &["v1", "sessions", session], &[]).await.map(drop)
    }

    /// Changes a session: `verb` is `fork`, `freeze`, `archive` or `restore`. Repeating it is harmless.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change(
        &self,
        session: &str,
        verb: &str,
        body: &Value,
    ) -> Result<Value, ClientError> {
        let path = ["v1", "sessions", session, verb];
        path.iter().try_for_each(|segment| nodes::check_name(segment))?;
        let mut nodes = self.nodes.clone();
        let answer = nodes.ask(|http, base| http.post(nodes::url(base, &path)).json(body)).await;
        Ok(answer?.1)
    }

    /// One page of the live sessions whose names begin with `prefix`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<List, ClientError> {
        let mut query = vec![("prefix", prefix), ("limit", "1000")];
        query.extend(after.map(|after| ("after", after)));
        let (_, answer) = self.ask(Method::GET, &["v1", "sessions"], &query).await?;
        serde_json::from_value(answer).map_err(|why| ClientError::Broken(why.to_string()))
    }

    /// Members, shards, leaders and positions.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster(&self) -> Result<Value, ClientError> {
        Ok(self.ask(Method::GET, &["v1", "cluster"], &[]).await?.1)
    }

    /// How far the shards are on their way to the agreed members.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn progress(&self) -> Result<Value, ClientError> {
        Ok(self.ask(Method::GET, &["v1", "cluster", "progress"], &[]).await?.1)
    }

    /// Changes the members of the cluster: `verb` is `join`, `replace` or `leave`. Repeating it is harmless.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change_members(&self, verb: &str, body: &Value) -> Result<Value, ClientError> {
        let mut nodes = self.nodes.clone();
        let path = ["v1", "cluster", verb];
        let answer = nodes.ask(|http, base| http.post(nodes::url(base, &path)).json(body)).await;
        Ok(answer?.1)
    }

    /// Makes a key of the cluster; it is in this answer and never again.
    ///
    /// # Errors
    /// See [`ClientError`]; after an unknown outcome there may be a key that no client got.
    pub async fn create_key(&self, body: &Value) -> Result<Value, ClientError> {
        let mut nodes = self.nodes.clone();
        let path = ["v1", "keys"];
        let answer = nodes.ask(|http, base| http.post(nodes::url(base, &path)).json(body)).await;
        Ok(answer?.1)
    }

    /// The keys of the cluster that are in force.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keys(&self) -> Result<Value, ClientError> {
        Ok(self.ask(Method::GET, &["v1", "keys"], &[]).await?.1)
    }

    /// Takes a key back.
    ///
    /// # Errors
    /// See [`ClientError`]; a repeat after an unknown outcome may answer that there is no such key.
    pub async fn revoke_key(&self, id: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &["v1", "keys", id], &[]).await.map(drop)
    }

    /// A writer to `session` with a name of its own.
    pub fn appender(&self, session: &str) -> Appender {
        Appender::new(self.nodes.clone(), session)
    }

    /// A reader of `session`.
    pub fn tail(&self, session: &str, from: From) -> Tail {
        Tail::new(self.nodes.clone(), session, from)
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(StatusCode, Value), ClientError> {
        path.iter().try_for_each(|segment| nodes::check_name(segment))?;
        let mut nodes = self.nodes.clone();
        nodes
            .ask(|http, base| {
                let mut url = nodes::url(base, path);
                if !query.is_empty() {
                    url.query_pairs_mut().extend_pairs(query);
                }
                http.request(method.clone(), url)
            })
            .await
    }
}
