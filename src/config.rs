//! The configuration of one node when it starts: by flag, else environment, else file, else default.
//!
//! An unknown key is an error in every one of them, because a misspelt limit is no limit.
//! All of it is checked before a port is bound.

mod access;
mod agents;
mod door;
mod endpoints;
mod members;
mod public;
mod quotas;
mod service;
#[cfg(test)]
mod tests;
mod variables;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;

pub use access::{CertificateFiles, GivenIssuer, secret};
pub use agents::{AgentConfig, BodyConfig, GivenAgent, Protocol, RestartConfig};
pub use door::{AllowedHost, AllowedOrigin};
pub use members::Member;
pub use public::PublicConfig;
pub use quotas::{GivenQuotas, QuotaConfig, QuotaLimits};
pub use words::{LogFormat, WebhookReach};

use crate::auth::Secret;
use crate::auth::issuer::IssuerConfig;
use crate::limits;

/// A node's configuration, whole and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// This node, from 1; one of `members` where there are any.
    pub node_id: u64,
    /// Name of the cluster; nodes of another one are refused.
    pub cluster: String,
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where peers are served (UDP); none for a single node.
    pub peer_listen: Option<SocketAddr>,
    /// Directory that holds everything this node knows.
    pub data_dir: PathBuf,
    /// All nodes at the cluster's bootstrap, this one included, in order of their ids. Empty for a single
    /// node.
    pub members: Vec<Member>,
    /// Whether the node is added to a cluster that lives already: it founds nothing and waits to be taken in.
    pub join: bool,
    /// Directory with `ca.pem`, and `CLUSTER-node-ID.pem` with its `.key` for this node; there whenever
    /// `members` are.
    pub tls_dir: Option<PathBuf>,
    /// Raft groups at the cluster's bootstrap; 1 to [`GROUPS_MAX`].
    pub groups: u32,
    /// Pause between two heartbeats of a leader, in milliseconds.
    pub heartbeat_ms: u64,
    /// Least silence after which a follower stands for election, in milliseconds.
    pub election_min_ms: u64,
    /// Most silence after which it does, in milliseconds.
    pub election_max_ms: u64,
    /// Entries that a group applies between two checkpoints; half as many are kept before one.
    pub checkpoint_entries: u64,
    /// How long a long poll waits that does not set it itself, in milliseconds; 0 to
    /// [`limits::POLL_MS_MAX`].
    pub long_poll_ms: u64,
    /// How long a file is kept to which nothing comes, or no event refers, in milliseconds; within
    /// [`limits::FILE_KEEP_MS_RANGE`].
    pub file_keep_ms: u64,
    /// Most time that what was deleted lies on this node's disk, in milliseconds; 0 for no end, or 1 s to
    /// 366 days.
    pub erase_within_ms: u64,
    /// Where webhooks of subscriptions may go.
    pub webhook_reach: WebhookReach,
    /// Names under which clients may call this node, beside its own.
    pub allow_hosts: Vec<AllowedHost>,
    /// Origins of pages that may send requests to this node, beside its own.
    pub allow_origins: Vec<AllowedOrigin>,
    /// Where clients reach this node.
    pub public: PublicConfig,
    /// Where operators are served, apart from clients; at the same place, where none is given.
    pub admin_listen: Option<SocketAddr>,
    /// The key that may do everything; where there is none, and no issuer, requests need no credentials.
    pub root_key: Option<Secret>,
    /// Requests need no credentials, where there is neither a root key nor an issuer.
    pub insecure: bool,
    /// Certificate and key for clients; none, where they are served without TLS.
    pub client_tls: Option<CertificateFiles>,
    /// Issuers whose tokens are taken.
    pub issuers: Vec<IssuerConfig>,
    /// How logs are written to standard error.
    pub log: LogFormat,
    /// Agents that this node runs by itself, in order of their names.
    pub agents: Vec<AgentConfig>,
    /// How much each tenant and each key may do; as much as it likes, where none are given.
    pub quotas: Option<QuotaConfig>,
}

/// Raft groups that a cluster may be bootstrapped with.
pub const GROUPS_MAX: u32 = 64;
const GROUPS: u32 = 12;
const HEARTBEAT_MS: u64 = 100;
const ELECTION_MIN_MS: u64 = 300;
const ELECTION_MAX_MS: u64 = 600;
const CHECKPOINT_ENTRIES: u64 = 8192;
/// Checkpoints closer than that cost more than they save.
const CHECKPOINT_ENTRIES_MIN: u64 = 16;
/// Most times that may be set; beyond it a dead leader is not missed in any useful time.
const ELECTION_MS_LIMIT: u64 = 60_000;
/// A week.
const ERASE_WITHIN_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const ERASE_WITHIN_MS_RANGE: RangeInclusive<u64> = 1_000..=366 * 24 * 60 * 60 * 1000;
const CLUSTER_NAME_BYTES: usize = 64;

/// What is wrong with a configuration; the text names the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadServeConfig(String);

/// The keys as they are given; the same names as flags, in the file and after `OUTLIVE_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// Number of this node, from 1 [default: 1]
    #[arg(long, env = "OUTLIVE_NODE_ID", value_name = "N")]
    pub node_id: Option<u64>,
    /// Where clients are served [default: 127.0.0.1:4437]
    #[arg(long, env = "OUTLIVE_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where peers are served [default: this node's address in --member]
    #[arg(long, env = "OUTLIVE_PEER_LISTEN", value_name = "ADDR")]
    pub peer_listen: Option<SocketAddr>,
    /// Directory of this node's data [default: ./outlive-data]
    #[arg(long, env = "OUTLIVE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of the cluster [default: outlive]
    #[arg(long, env = "OUTLIVE_CLUSTER", value_name = "NAME")]
    pub cluster: Option<String>,
    /// A node of the cluster; once for each, this one included
    #[arg(
        long = "member",
        env = "OUTLIVE_MEMBER",
        value_name = "ID=HOST:PORT@HTTPURL",
        value_delimiter = ','
    )]
    pub member: Vec<String>,
    /// The node is added to a cluster that lives already: see outlive cluster join and replace
    #[arg(
        long,
        env = "OUTLIVE_JOIN",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub join: Option<bool>,
    /// Directory of certificates for peers; needed with --member
    #[arg(long, env = "OUTLIVE_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Raft groups, fixed at the cluster's bootstrap [default: 12]
    #[arg(long, env = "OUTLIVE_GROUPS", value_name = "N")]
    pub groups: Option<u32>,
    /// Pause between a leader's heartbeats [default: 100]
    #[arg(long, env = "OUTLIVE_HEARTBEAT_MS", value_name = "MS")]
    pub heartbeat_ms: Option<u64>,
    /// Least silence before an election [default: 300]
    #[arg(long, env = "OUTLIVE_ELECTION_MIN_MS", value_name = "MS")]
    pub election_min_ms: Option<u64>,
    /// Most silence before an election [default: 600]
    #[arg(long, env = "OUTLIVE_ELECTION_MAX_MS", value_name = "MS")]
    pub election_max_ms: Option<u64>,
    /// Entries between two checkpoints of a group [default: 8192]
    #[arg(long, env = "OUTLIVE_CHECKPOINT_ENTRIES", value_name = "N")]
    pub checkpoint_entries: Option<u64>,
    /// How long a long poll waits [default: 20000]
    #[arg(long, env = "OUTLIVE_LONG_POLL_MS", value_name = "MS")]
    pub long_poll_ms: Option<u64>,
    /// How long a file is kept to which nothing comes, or no event refers [default: 86400000]
    #[arg(long, env = "OUTLIVE_FILE_KEEP_MS", value_name = "MS")]
    pub file_keep_ms: Option<u64>,
    /// Most time that what was deleted lies on this node's disk; 0: no end [default: 604800000]
    #[arg(long, env = "OUTLIVE_ERASE_WITHIN_MS", value_name = "MS")]
    pub erase_within_ms: Option<u64>,
    /// Where webhooks may go [default: public]
    #[arg(long, env = "OUTLIVE_WEBHOOK_REACH", value_name = "REACH")]
    pub webhook_reach: Option<WebhookReach>,
    /// A name under which clients may call this node beside its own: NAME, *.NAME or *; once for each
    #[arg(
        long = "allow-host",
        env = "OUTLIVE_ALLOW_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub allow_host: Vec<String>,
    /// An origin whose pages may send requests to this node: http://NAME:PORT, null or *; once for each
    #[arg(
        long = "allow-origin",
        env = "OUTLIVE_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub allow_origin: Vec<String>,
    /// Where clients reach this node, if something stands before it: http://NAME or https://NAME
    #[arg(long, env = "OUTLIVE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// A proxy whose Forwarded headers are believed, or a network of them; once for each [default: loopback]
    #[arg(
        long = "trust-proxy",
        env = "OUTLIVE_TRUST_PROXY",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    pub trust_proxy: Vec<String>,
    /// Where operators are served: keys, the cluster, metrics, and no longer at --listen
    #[arg(long, env = "OUTLIVE_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Where the key is that may do everything: a file, or env:NAME; with it, requests need a key
    #[arg(long, env = "OUTLIVE_ROOT_KEY", value_name = "PLACE")]
    pub root_key: Option<String>,
    /// Certificate for clients, in PEM: they are served by TLS; read again when it changes
    #[arg(long, env = "OUTLIVE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate, in PEM
    #[arg(long, env = "OUTLIVE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listens beyond this machine though requests need no credentials
    #[arg(
        long,
        env = "OUTLIVE_INSECURE",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub insecure: Option<bool>,
    /// How logs are written to standard error [default: text]
    #[arg(long, env = "OUTLIVE_LOG", value_name = "FORMAT")]
    pub log: Option<LogFormat>,
    /// An agent that this node runs: a command that exchanges a worker's lines on its stdio; once for each
    #[arg(
        long = "agent",
        env = "OUTLIVE_AGENT",
        value_name = "NAME=COMMAND",
        value_delimiter = '\n'
    )]
    pub agent: Vec<String>,
    /// The same with budgets, in the file alone.
    #[arg(skip)]
    pub agents: BTreeMap<String, GivenAgent>,
    /// Issuers of tokens, in the file alone.
    #[arg(skip)]
    pub issuers: Vec<GivenIssuer>,
    /// How much each tenant and each key may do, in the file alone.
    #[arg(skip)]
    pub quotas: Option<GivenQuotas>,
}

impl ServeConfig {
    /// Puts together what was given by flag or environment and, after it, in the file.
    ///
    /// # Errors
    /// Names the key that is not known or not possible.
    pub fn load(
        given: Given,
        file: Option<&Path>,
        environment: impl Iterator<Item = OsString>,
    ) -> Result<ServeConfig, BadServeConfig> {
        variables::check(environment)?;
        let from_file = match file {
            None => Given::default(),
            Some(path) => read(path)?,
        };
        check(given.over(from_file))
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, BadServeConfig> {
    Err(BadServeConfig(text.into()))
}

fn read(path: &Path) -> Result<Given, BadServeConfig> {
    let text = std::fs::read_to_string(path)
        .or_else(|why| bad(format!("{} cannot be read: {why}", path.display())))?;
    toml::from_str(&text)
        .or_else(|why| bad(format!("{}: {}", path.display(), why.to_string().trim_end())))
}

impl Given {
    fn over(self, below: Given) -> Given {
        Given {
            node_id: self.node_id.or(below.node_id),
            listen: self.listen.or(below.listen),
            peer_listen: self.peer_listen.or(below.peer_listen),
            data_dir: self.data_dir.or(below.data_dir),
            cluster: self.cluster.or(below.cluster),
            member: either(self.member, below.member),
            join: self.join.or(below.join),
            tls_dir: self.tls_dir.or(below.tls_dir),
            groups: self.groups.or(below.groups),
            heartbeat_ms: self.heartbeat_ms.or(below.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(below.election_min_ms),
            election_max_ms: self.election_max_ms.or(below.election_max_ms),
            checkpoint_entries: self.checkpoint_entries.or(below.checkpoint_entries),
            long_poll_ms: self.long_poll_ms.or(below.long_poll_ms),
            file_keep_ms: self.file_keep_ms.or(below.file_keep_ms),
            erase_within_ms: self.erase_within_ms.or(below.erase_within_ms),
            webhook_reach: self.webhook_reach.or(below.webhook_reach),
            allow_host: either(self.allow_host, below.allow_host),
            allow_origin: either(self.allow_origin, below.allow_origin),
            public_url: self.public_url.or(below.public_url),
            trust_proxy: either(self.trust_proxy, below.trust_proxy),
            admin_listen: self.admin_listen.or(below.admin_listen),
            root_key: self.root_key.or(below.root_key),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            insecure: self.insecure.or(below.insecure),
            log: self.log.or(below.log),
            agent: [below.agent, self.agent].concat(),
            agents: below.agents,
            issuers: below.issuers,
            quotas: below.quotas,
        }
    }
}

fn either(given: Vec<String>, below: Vec<String>) -> Vec<String> {
    if given.is_empty() { below } else { given }
}

fn check(given: Given) -> Result<ServeConfig, BadServeConfig> {
    let members = members::members(&given.member)?;
    let (node_id, peer_listen) = place(&given, &members)?;
    let join = given.join.unwrap_or_default();
    if join && members.len() < 2 {
        return bad("join needs the members: this node, and one or more of the cluster");
    }
    let mut allow_hosts = all(&given.allow_host)?;
    let mut allow_origins = all(&given.allow_origin)?;
    let called = (&mut allow_hosts, &mut allow_origins);
    let public = public::check(given.public_url.as_deref(), &given.trust_proxy, called)?;
    let listen = given.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4437)));
    let config = ServeConfig {
        node_id,
        cluster: given.cluster.unwrap_or_else(|| "outlive".to_owned()),
        listen,
        peer_listen,
        data_dir: given.data_dir.unwrap_or_else(|| PathBuf::from("./outlive-data")),
        members,
        join,
        tls_dir: given.tls_dir,
        groups: given.groups.unwrap_or(GROUPS),
        checkpoint_entries: given.checkpoint_entries.unwrap_or(CHECKPOINT_ENTRIES),
        heartbeat_ms: given.heartbeat_ms.unwrap_or(HEARTBEAT_MS),
        election_min_ms: given.election_min_ms.unwrap_or(ELECTION_MIN_MS),
        election_max_ms: given.election_max_ms.unwrap_or(ELECTION_MAX_MS),
        long_poll_ms: given.long_poll_ms.unwrap_or(limits::POLL_MS),
        file_keep_ms: given.file_keep_ms.unwrap_or(limits::FILE_KEEP_MS),
        erase_within_ms: given.erase_within_ms.unwrap_or(ERASE_WITHIN_MS),
        webhook_reach: given.webhook_reach.unwrap_or_default(),
        allow_hosts,
        allow_origins,
        public,
        admin_listen: given.admin_listen,
        root_key: access::root_key(given.root_key.as_deref())?,
        insecure: given.insecure.unwrap_or_default(),
        client_tls: access::client_tls(given.tls_cert, given.tls_key)?,
        issuers: access::issuers(given.issuers)?,
        log: given.log.unwrap_or_default(),
        agents: agents::check(given.agents, &given.agent)?,
        quotas: quotas::check(given.quotas)?,
    };
    let asks_who = config.root_key.is_some() || !config.issuers.is_empty();
    for listen in [Some(config.listen), config.admin_listen].into_iter().flatten() {
        access::check(listen, asks_who, config.insecure)?;
    }
    check_cluster(&config.cluster)?;
    check_numbers(&config)?;
    Ok(config)
}

/// Which node it is, and where its peers reach it.
fn place(given: &Given, members: &[Member]) -> Result<(u64, Option<SocketAddr>), BadServeConfig> {
    let node_id = match given.node_id {
        Some(0) => return bad("node_id begins at 1"),
        Some(id) => id,
        None if members.is_empty() => 1,
        None => return bad("node_id is needed where there are members"),
    };
    let mut peer_listen = given.peer_listen;
    if !members.is_empty() {
        let Some(own) = members.iter().find(|member| member.id == node_id) else {
            return bad(format!("node_id {node_id} is not among the members"));
        };
        if given.tls_dir.is_none() {
            return bad("tls_dir is needed where there are members: see outlive dev-certs");
        }
        if peer_listen.is_none() {
            peer_listen = Some(own.peer.parse().or_else(|_| {
                bad(format!("peer_listen is needed: {:?} is no address to listen on", own.peer))
            })?);
        }
    } else if peer_listen.is_some() {
        return bad("peer_listen is given, but no member");
    }
    Ok((node_id, peer_listen))
}

fn all<T: FromStr<Err = BadServeConfig>>(texts: &[String]) -> Result<Vec<T>, BadServeConfig> {
    texts.iter().map(|text| text.parse()).collect()
}

fn check_cluster(name: &str) -> Result<(), BadServeConfig> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let length = 1..=CLUSTER_NAME_BYTES;
    if !length.contains(&name.len()) || !name.bytes().all(plain) {
        return bad(format!(
            "cluster must have 1 to {CLUSTER_NAME_BYTES} letters, digits, '-', '_' or '.'"
        ));
    }
    Ok(())
}

fn check_numbers(config: &ServeConfig) -> Result<(), BadServeConfig> {
    if config.checkpoint_entries < CHECKPOINT_ENTRIES_MIN {
        return bad(format!("checkpoint_entries must be at least {CHECKPOINT_ENTRIES_MIN}"));
    }
    if !(1..=GROUPS_MAX).contains(&config.groups) {
        return bad(format!("groups must be 1 to {GROUPS_MAX}"));
    }
    if config.heartbeat_ms == 0 {
        return bad("heartbeat_ms must be at least 1");
    }
    if config.election_min_ms < config.heartbeat_ms.saturating_mul(2) {
        return bad("election_min_ms must be at least twice heartbeat_ms");
    }
    if config.election_max_ms <= config.election_min_ms {
        return bad("election_max_ms must be more than election_min_ms");
    }
    if limits::POLL_MS_MAX < config.long_poll_ms {
        return bad(format!("long_poll_ms must be at most {}", limits::POLL_MS_MAX));
    }
    let keep = limits::FILE_KEEP_MS_RANGE;
    if !keep.contains(&config.file_keep_ms) {
        let (least, most) = (keep.start(), keep.end());
        return bad(format!("file_keep_ms must be {least} to {most}"));
    }
    let erase = ERASE_WITHIN_MS_RANGE;
    if config.erase_within_ms != 0 && !erase.contains(&config.erase_within_ms) {
        let (least, most) = (erase.start(), erase.end());
        return bad(format!("erase_within_ms must be 0, or {least} to {most}"));
    }
    if ELECTION_MS_LIMIT < config.election_max_ms {
        return bad(format!("election_max_ms must be at most {ELECTION_MS_LIMIT}"));
    }
    Ok(())
}
