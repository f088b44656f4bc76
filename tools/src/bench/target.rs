//! The cluster under load: its addresses, and the sessions that belong to one run.

use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Dialect;
use super::connection::Connection;

/// Connections that are opened at the same time: a listener's backlog is finite.
const OPENING: usize = 128;

/// The nodes, in the order in which they were named.
#[derive(Clone)]
pub struct Target {
    addresses: Arc<[String]>,
    /// The head lines of every request, which name its receiver and its sender.
    head: Arc<str>,
    /// Of all names of this run.
    prefix: Arc<str>,
    opening: Arc<Semaphore>,
    dialect: Dialect,
}

impl Target {
    /// Takes URLs of the form `http://host:port`, and the key that is shown with each request, where one is needed.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(urls: &[String], key: Option<&str>, dialect: Dialect) -> anyhow::Result<Target> {
        let address = |url: &String| {
            let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
            let rest = rest.filter(|rest| rest.contains(':') && !rest.contains('/'));
            rest.map(str::to_owned).with_context(|| format!("{url:?} is not http://host:port"))
        };
        let addresses: Vec<_> = urls.iter().map(address).collect::<anyhow::Result<_>>()?;
        ensure!(!addresses.is_empty(), "no node is named");
        let prefix = format!("bench-{:08x}", rand::random::<u32>()).into();
        let opening = Arc::new(Semaphore::new(OPENING));
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!("host: bench\r\n{key}").into();
        Ok(Target { addresses: addresses.into(), head, prefix, opening, dialect })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn nodes(&self) -> usize {
        self.addresses.len()
    }

    /// The node for writers of this session.
    pub(super) fn of_writer(&self, session: usize) -> usize {
        session % self.nodes()
    }

    /// A node for this reader of a session: another one than its writer's, where there is one.
    pub(super) fn of_reader(&self, session: usize, reader: usize) -> usize {
        let others = (self.nodes() - 1).max(1);
        (session + 1 + reader % others) % self.nodes()
    }

    pub(super) fn session(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    pub(super) async fn connect(&self, node: usize) -> std::io::Result<Connection> {
        let _permit = self.opening.acquire().await.map_err(std::io::Error::other)?;
        let address = &self.addresses[node % self.nodes()];
        Connection::open(address, self.head.clone()).await
    }

    /// The head lines of every request.
    pub(super) fn head(&self) -> &str {
        &self.head
    }

    /// Creates the sessions of this run.
    pub(super) async fn create(&self, sessions: usize) -> anyhow::Result<()> {
        self.each(sessions, "PUT").await
    }

    /// Creates the session of this number.
    pub(super) async fn create_one(&self, number: usize) -> anyhow::Result<()> {
        self.ask(number, "PUT").await
    }

    /// Deletes it again.
    pub(super) async fn delete_one(&self, number: usize) -> anyhow::Result<()> {
        self.ask(number, "DELETE").await
    }

    async fn ask(&self, number: usize, method: &str) -> anyhow::Result<()> {
        let path = self.dialect.session(&self.session(number));
        let answer = self.connect(number).await?.ask(method, &path).await?;
        ensure!(answer.status / 100 == 2, "{method} {path}: {}", answer.text());
        Ok(())
    }

    /// Deletes them again.
    pub(super) async fn delete(&self, sessions: usize) -> anyhow::Result<()> {
        self.each(sessions, "DELETE").await
    }

    async fn each(&self, sessions: usize, method: &'static str) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let lanes = sessions.min(16);
        for lane in 0..lanes {
            let target = self.clone();
            tasks.spawn(async move {
                let mut connection = target.connect(lane).await?;
                for number in (lane..sessions).step_by(lanes) {
                    let path = target.dialect.session(&target.session(number));
                    let answer = connection.ask(method, &path).await?;
                    ensure!(answer.status / 100 == 2, "{method} {path}: {}", answer.text());
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// The sum over all nodes of each metric.
    pub(super) async fn metrics(&self) -> anyhow::Result<std::collections::BTreeMap<String, f64>> {
        let mut sums = std::collections::BTreeMap::new();
        for node in 0..self.nodes() {
            let mut connection = self.connect(node).await?;
            let text = connection.ask("GET", "/metrics").await?.text();
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                if let Some((name, value)) = line.rsplit_once(' ')
                    && let Ok(value) = value.parse::<f64>()
                {
                    *sums.entry(name.to_owned()).or_default() += value;
                }
            }
        }
        Ok(sums)
    }
}
