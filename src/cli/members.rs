//! `outlive cluster join | replace | leave`: changes of the members, watched until every shard has followed.
//!
//! Each may be repeated: what is done stays done, and the rest is waited for.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Target;
use crate::client::Client;

/// Pause between two looks at the progress.
const LOOK: Duration = Duration::from_millis(300);
/// What has not changed for so long is printed again.
const REMIND: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Join {
    /// Number of the node that comes
    #[arg(value_name = "NODE")]
    node: u64,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Replace {
    /// Number of the node that goes, for ever
    #[arg(value_name = "NODE")]
    node: u64,
    /// Number of the node that takes its place
    #[arg(long, value_name = "NODE")]
    with: u64,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Number of the node that goes, for ever
    #[arg(value_name = "NODE")]
    node: u64,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Newcomer {
    /// Where peers reach the node that comes [default: as it reports itself]
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// Where clients reach the node that comes [default: as it reports itself]
    #[arg(long, value_name = "URL")]
    http: Option<String>,
}

#[derive(Debug, Args)]
struct Wait {
    /// Return as soon as the change is agreed on; the shards follow by themselves
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the shards, in seconds
    #[arg(long, value_name = "S", default_value = "600")]
    timeout_s: u64,
}

impl Join {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let body = json!({
            "node": self.node, "peer": self.newcomer.peer, "http": self.newcomer.http,
        });
        let what = format!("node {} joins the cluster", self.node);
        change(&self.target, "join", &body, &what, &self.wait, out).await
    }
}

impl Replace {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let body = json!({
            "node": self.node, "with": self.with,
            "peer": self.newcomer.peer, "http": self.newcomer.http,
        });
        let what = format!("node {} takes the place of node {}", self.with, self.node);
        change(&self.target, "replace", &body, &what, &self.wait, out).await
    }
}

impl Leave {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let what = format!("node {} leaves the cluster", self.node);
        let body = json!({ "node": self.node });
        change(&self.target, "leave", &body, &what, &self.wait, out).await
    }
}

/// Requests the change and prints how it goes.
async fn change(
    target: &Target,
    verb: &str,
    body: &Value,
    what: &str,
    wait: &Wait,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let client = target.client()?;
    let agreed = client.change_members(verb, body).await?;
    let (map, again) = (agreed["epoch"].as_u64().unwrap_or(0), agreed["changed"] == false);
    let done = if again { ": that was agreed on before" } else { "" };
    writeln!(out, "{what}{done}; map {map}, members {}", list(&agreed["members"]))?;
    if wait.no_wait {
        return Ok(());
    }
    watch(&client, map, agreed, Duration::from_secs(wait.timeout_s), out).await?;
    writeln!(out, "done: every shard has the voters of map {map}")?;
    if let Some(members) = agreed_members(&client).await?.filter(|members| *members < 3) {
        writeln!(out, "note: with {members} members no node may fail; three bear one failure")?;
    }
    Ok(())
}

async fn agreed_members(client: &Client) -> anyhow::Result<Option<usize>> {
    Ok(client.progress().await?["members"].as_array().map(Vec::len))
}

/// Prints every change until all shards are done.
async fn watch(
    client: &Client,
    map: u64,
    agreed: Value,
    patience: Duration,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut shown: BTreeMap<u64, (String, Instant)> = BTreeMap::new();
    let mut progress = agreed;
    loop {
        // A node without the changed map yet knows nothing of its progress.
        if map <= progress["epoch"].as_u64().unwrap_or(0) {
            for shard in progress["shards"].as_array().into_iter().flatten() {
                let number = shard["shard"].as_u64().unwrap_or(0);
                let (line, is_done) = (line(shard), shard["stage"] == "done");
                let is_news = shown.get(&number).is_none_or(|(last, at)| {
                    *last != line && (is_done || !is_count(last, &line) || REMIND < at.elapsed())
                        || !is_done && REMIND < at.elapsed()
                });
                if is_news {
                    writeln!(out, "{line}")?;
                    shown.insert(number, (line, Instant::now()));
                }
            }
            if progress["settled"] == true {
                return Ok(());
            }
        }
        if patience <= begun.elapsed() {
            bail!(
                "not every shard is done after {} s; they go on by themselves, and the same command \
                 watches on",
                patience.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
        progress = client.progress().await?;
    }
}

/// Whether two lines differ in their numbers of entries alone.
fn is_count(a: &str, b: &str) -> bool {
    let head = |line: &str| line.split(" lacks ").next().map(str::to_owned);
    a.contains(" lacks ") && b.contains(" lacks ") && head(a) == head(b)
}

/// How one shard is, in one line.
fn line(shard: &Value) -> String {
    let number = shard["shard"].as_u64().unwrap_or(0);
    let name = if number == 0 { "system group".to_owned() } else { format!("shard {number}") };
    let newcomer = |newcomer: &Value| {
        let node = &newcomer["node"];
        match newcomer["lag"].as_u64() {
            Some(lag) => format!("node {node} lacks {lag} entries"),
            None => format!("node {node} lacks everything"),
        }
    };
    let newcomers: Vec<String> =
        shard["newcomers"].as_array().into_iter().flatten().map(newcomer).collect();
    let (voters, wanted) = (list(&shard["voters"]), list(&shard["wanted"]));
    let shown = match shard["stage"].as_str().unwrap_or_default() {
        "no_leader" => "has no leader now".to_owned(),
        "waiting" => format!("voters {voters}; {wanted} are to vote"),
        "catching_up" => format!("voters {voters}; catching up: {}", newcomers.join(", ")),
        "changing" if voters == wanted => format!("voters {voters}, about to be committed"),
        "changing" => format!("voters change from {voters} to {wanted}"),
        _ => format!("done, voters {voters}"),
    };
    format!("{name:<12}  {shown}")
}

fn list(numbers: &Value) -> String {
    let numbers = numbers.as_array().into_iter().flatten();
    numbers.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(shard: Value, expected: Expect) {
        expected.assert_eq(&line(&shard));
    }

    #[test]
    fn each_stage_of_a_shard_has_its_line() {
        let shard = |stage: &str, voters: &[u64], lag: Option<u64>| {
            json!({
                "shard": 7, "leader": 1, "stage": stage, "wanted": [1, 3, 4], "voters": voters,
                "newcomers": [{ "node": 4, "lag": lag }],
            })
        };
        check(shard("no_leader", &[], None), expect!["shard 7       has no leader now"]);
        check(
            shard("waiting", &[1, 2, 3], None),
            expect!["shard 7       voters 1, 2, 3; 1, 3, 4 are to vote"],
        );
        check(
            shard("catching_up", &[1, 2, 3], Some(12)),
            expect!["shard 7       voters 1, 2, 3; catching up: node 4 lacks 12 entries"],
        );
        check(
            shard("changing", &[1, 2, 3, 4], None),
            expect!["shard 7       voters change from 1, 2, 3, 4 to 1, 3, 4"],
        );
        check(
            json!({ "shard": 0, "stage": "done", "voters": [1, 3, 4] }),
            expect!["system group  done, voters 1, 3, 4"],
        );
    }

    #[test]
    fn a_falling_count_is_no_news() {
        let lacks = |count| format!("shard 1  voters 1; catching up: node 4 lacks {count} entries");
        assert!(is_count(&lacks(9), &lacks(8)));
        assert!(!is_count(&lacks(9), "shard 1  done, voters 1"));
    }
}
