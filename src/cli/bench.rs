//! `outlive bench …`: load on a running cluster, and what came of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use tools::bench::catch_up::{self, CatchUp};
use tools::bench::closed::{self, Closed};
use tools::bench::fair::{self, Fair};
use tools::bench::idle::{self, Idle};
use tools::bench::open::{self, Open};
use tools::bench::turns::{self, Turns};
use tools::bench::{Dialect, Report, Servers, Target, disk, raise_limits};

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Events that are due by the clock, and live readers at another node than the writer
    Open(OpenArgs),
    /// One session with many live readers: as `open`, with other defaults
    Fanout(FanoutArgs),
    /// Writers that send the next request when the last one is acknowledged
    Closed(ClosedArgs),
    /// Live readers that receive no events: the memory that each costs
    Idle(IdleArgs),
    /// A long log, and readers that come late
    CatchUp(CatchUpArgs),
    /// One quiet writer alone, and beside a flood in the same shard
    Fair(FairArgs),
    /// How soon an interrupt is with its worker, and a silent worker is replaced
    Turns(TurnsArgs),
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    #[arg(long, default_value_t = 50)]
    sessions: usize,
    /// Events of each session in a second
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Live readers of each session
    #[arg(long, default_value_t = 1)]
    readers: usize,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Size of one payload
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct FanoutArgs {
    #[arg(long, default_value_t = 1000)]
    readers: usize,
    /// Events in a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Size of one payload
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ClosedArgs {
    /// Each has a session of its own
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Requests that each writer has under way, by producers of their own
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Events of one request
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// One endless request for each writer, with so many events `--in-flight` (Durable Streams only)
    #[arg(long, requires = "dialect")]
    streaming: bool,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Size of one payload
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct IdleArgs {
    #[arg(long, default_value_t = 2000)]
    readers: usize,
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct CatchUpArgs {
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Size of one payload
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct TurnsArgs {
    /// Turns that are cancelled in the middle: in peace, and again in the flood
    #[arg(long, default_value_t = 300)]
    interrupts: usize,
    /// Workers that fall silent
    #[arg(long, default_value_t = 20)]
    losses: usize,
    /// Events in a second that flood the same shard, in all
    #[arg(long, default_value_t = 2000.0)]
    flood: f64,
    /// Sessions that they are spread over
    #[arg(long, default_value_t = 8)]
    flooded: usize,
    /// Size of one payload of the flood
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct FairArgs {
    /// Writers that flood
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Sessions that they are spread over
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// Events of one of their requests
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Size of one of their payloads
    #[arg(long, default_value_t = 10_000)]
    bytes: usize,
    /// How long the quiet writer rests after each answer
    #[arg(long, default_value_t = 10)]
    pause_ms: u64,
    /// The key of the quiet writer, for example of another tenant; else the same
    #[arg(long, value_name = "KEY")]
    quiet_key: Option<String>,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The API in which the service is used
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,
    #[command(flatten)]
    target: super::Target,
    /// Processes of the servers, whose time and memory are reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Directory of `scripts/cluster.sh`, which knows the processes
    #[arg(long, value_name = "DIR", conflicts_with = "pid")]
    cluster_dir: Option<PathBuf>,
    /// Directory on the servers' disk, whose raw sync rate is reported
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long the disk is measured before the load and after it.
const DISK_TIME: Duration = Duration::from_secs(2);

pub(super) async fn run(command: Bench) -> anyhow::Result<()> {
    let common = match &command {
        Bench::Open(args) => &args.common,
        Bench::Fanout(args) => &args.common,
        Bench::Closed(args) => &args.common,
        Bench::Idle(args) => &args.common,
        Bench::CatchUp(args) => &args.common,
        Bench::Turns(args) => &args.common,
        Bench::Fair(args) => &args.common,
    };
    raise_limits();
    let target = Target::new(&common.target.url, common.target.key.as_deref(), common.dialect)?;
    let servers = match &common.cluster_dir {
        Some(dir) => Servers::of_cluster(dir)?,
        None => Servers::new(common.pid.clone()),
    };
    let mut report = Report::default();
    report.tell("load average before", load_average(), "");
    let mut syncs = Vec::new();
    syncs.extend(sync_rate(common, "before", &mut report).await?);
    match &command {
        Bench::Open(OpenArgs { sessions, rate, readers, seconds, bytes, .. }) => {
            let time = Duration::from_secs(*seconds);
            let (sessions, rate, readers, bytes) = (*sessions, *rate, *readers, *bytes);
            let plan = Open { sessions, rate, readers, time, bytes };
            open::run(&plan, &target, &servers, &mut report).await?;
        }
        Bench::Fanout(FanoutArgs { readers, rate, seconds, bytes, .. }) => {
            let time = Duration::from_secs(*seconds);
            let (rate, readers, bytes) = (*rate, *readers, *bytes);
            let plan = Open { sessions: 1, rate, readers, time, bytes };
            open::run(&plan, &target, &servers, &mut report).await?;
        }
        Bench::Closed(args) => {
            let ClosedArgs { writers, in_flight, batch, streaming, seconds, bytes, .. } = *args;
            let time = Duration::from_secs(seconds);
            let plan = Closed { writers, in_flight, batch, streaming, time, bytes };
            closed::run(&plan, &target, &servers, &mut report).await?;
        }
        Bench::Idle(IdleArgs { readers, sessions, .. }) => {
            let plan = Idle { readers: *readers, sessions: *sessions };
            idle::run(&plan, &target, &servers, &mut report).await?;
        }
        Bench::CatchUp(CatchUpArgs { events, bytes, .. }) => {
            let plan = CatchUp { events: *events, bytes: *bytes };
            catch_up::run(&plan, &target, &servers, &mut report).await?;
        }
        Bench::Turns(args) => {
            let TurnsArgs { interrupts, losses, flood, flooded, bytes, .. } = *args;
            let plan = Turns { interrupts, losses, flood, flooded, bytes };
            turns::run(&plan, &target, &mut report).await?;
        }
        Bench::Fair(args) => run_fair(args, &target, &mut report).await?,
    }
    syncs.extend(sync_rate(common, "after", &mut report).await?);
    if let (Some(ack), false) = (report.figure("ack p50"), syncs.is_empty()) {
        let sync = syncs.iter().sum::<f64>() / syncs.len() as f64;
        report.tell("ack p50 / fdatasync p50", ack / sync, "");
    }
    report.tell("load average after", load_average(), "");
    if common.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn run_fair(args: &FairArgs, flooding: &Target, report: &mut Report) -> anyhow::Result<()> {
    let FairArgs { writers, sessions, batch, bytes, pause_ms, seconds, .. } = *args;
    let (pause, time) = (Duration::from_millis(pause_ms), Duration::from_secs(seconds));
    let plan = Fair { writers, sessions: sessions.max(1), batch, bytes, pause, time };
    let common = &args.common;
    let key = args.quiet_key.as_deref().or(common.target.key.as_deref());
    let quiet = Target::new(&common.target.url, key, common.dialect)?;
    fair::run(&plan, flooding, &quiet, report).await
}

/// Reports how fast the disk syncs now; returns the median in milliseconds.
async fn sync_rate(
    common: &Common,
    when: &str,
    report: &mut Report,
) -> anyhow::Result<Option<f64>> {
    let Some(dir) = &common.disk else { return Ok(None) };
    let (latency, rate) = disk::measure(dir, DISK_TIME).await?;
    let median_ms = latency.percentile_ms(50.0);
    report.tell(format!("fdatasync rate {when}"), rate, "/s");
    report.tell(format!("fdatasync p50 {when}"), median_ms, "ms");
    report.tell(format!("fdatasync p99 {when}"), latency.percentile_ms(99.0), "ms");
    Ok(Some(median_ms))
}

/// How busy the machine was in the last minute.
fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(f64::NAN)
}
