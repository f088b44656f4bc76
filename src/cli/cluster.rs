//! `outlive cluster …`: what the nodes report about the cluster.

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::{Target, members};

#[derive(Debug, Subcommand)]
pub(super) enum Cluster {
    /// Print members, shards, leaders and positions
    Status(Status),
    /// Print where a session lives
    Home(Home),
    /// Add a node that was started with --join, and wait until it carries its share
    Join(members::Join),
    /// Let a node that was started with --join take the place of another, dead or alive
    Replace(members::Replace),
    /// Remove a node; others take over what it carries
    Leave(members::Leave),
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: StatusAs,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusAs {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Home {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "json")]
    output: HomeAs,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HomeAs {
    Json,
    /// Only the number of the node that leads
    Node,
}

pub(super) async fn run(command: Cluster) -> anyhow::Result<()> {
    let mut out = io::stdout();
    match command {
        Cluster::Join(join) => join.run(&mut out).await?,
        Cluster::Replace(replace) => replace.run(&mut out).await?,
        Cluster::Leave(leave) => leave.run(&mut out).await?,
        Cluster::Status(Status { output, target }) => {
            let report = target.client()?.cluster().await?;
            match output {
                StatusAs::Json => writeln!(out, "{report:#}")?,
                StatusAs::Table => write!(out, "{}", tables(&report))?,
            }
            out.flush()?;
            return working(&report);
        }
        Cluster::Home(Home { id, output, target }) => {
            let home = target.client()?.home(&id).await?;
            match output {
                HomeAs::Json => writeln!(out, "{home:#}")?,
                HomeAs::Node => {
                    let leader = home["leader"].as_u64();
                    writeln!(out, "{}", leader.context("no node leads the session now")?)?;
                }
            }
        }
    }
    Ok(())
}

/// Fails and names the shards that no node leads with a majority behind it, if there are any.
fn working(report: &Value) -> anyhow::Result<()> {
    let shards = report["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
    anyhow::ensure!(!shards.is_empty(), "the cluster is not bootstrapped yet: it has no shards");
    let silent = shards.iter().filter(|shard| shard["leader"].is_null());
    let silent: Vec<String> = silent.map(|shard| shard["shard"].to_string()).collect();
    let (node, all) = (&report["node"], shards.len());
    anyhow::ensure!(
        silent.is_empty(),
        "no leader that a majority follows, as node {node} sees it, in {} of {all} shards: {}",
        silent.len(),
        silent.join(", ")
    );
    Ok(())
}

fn tables(report: &Value) -> String {
    let none = Vec::new();
    let list = |of: &Value, name: &str| of[name].as_array().unwrap_or(&none).clone();
    let text = |of: &Value, name: &str| match &of[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut members = vec![cells(&[
        "NODE",
        "STATE",
        "LEADS",
        "REPLICATES",
        "IN MEMORY",
        "READERS",
        "HTTP",
        "PEER",
    ])];
    for member in list(report, "members") {
        let state = match (member["reachable"].as_bool(), member["draining"].as_bool()) {
            (Some(true), Some(true)) => "draining",
            (Some(true), _) => "up",
            _ => "down",
        };
        let mut row = vec![text(&member, "node"), state.to_owned()];
        let names = ["leads", "replicates", "sessions_in_memory", "readers", "http", "peer"];
        row.extend(names.map(|name| text(&member, name)));
        members.push(row);
    }
    let mut shards = vec![cells(&["SHARD", "LEADER", "TERM", "APPLIED", "REPLICAS (LAG)"])];
    for shard in list(report, "shards") {
        let replicas = list(&shard, "replicas");
        let applied = replicas.iter().filter_map(|replica| replica["applied"].as_u64()).max();
        let of = |replica: &Value| {
            let learner = if replica["voter"] == Value::Bool(false) { "*" } else { "" };
            format!("{}{learner} ({})", text(replica, "node"), text(replica, "lag"))
        };
        let mut row = ["shard", "leader", "term"].map(|name| text(&shard, name)).to_vec();
        row.push(applied.map_or("-".to_owned(), |applied| applied.to_string()));
        row.push(replicas.iter().map(of).collect::<Vec<_>>().join("  "));
        shards.push(row);
    }
    let head = format!(
        "cluster {}, map {}, as node {} sees it\n\n",
        text(report, "cluster"),
        text(report, "epoch"),
        text(report, "node"),
    );
    head + &table(&members) + "\n" + &table(&shards)
}

fn cells(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Rows with columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:<width$}  ");
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_shown_in_aligned_tables() {
        let member = |node: u64, reachable: bool| {
            json!({
                "node": node, "peer": "127.0.0.1:5437", "http": "http://127.0.0.1:4437",
                "reachable": reachable, "leads": 6, "replicates": 12,
                "sessions_in_memory": 1000, "readers": 3, "draining": false,
            })
        };
        let report = json!({
            "cluster": "dev", "node": 1, "epoch": 4,
            "members": [member(1, true), member(2, false)],
            "shards": [
                { "shard": 0, "leader": 1, "term": 2, "replicas": [
                    { "node": 1, "voter": true, "last": 9, "applied": 9, "lag": 0 },
                    { "node": 2, "voter": false, "last": 7, "applied": 6, "lag": 2 },
                ] },
                { "shard": 11, "leader": null, "term": 2, "replicas": [] },
            ],
        });
        expect![[r#"
            cluster dev, map 4, as node 1 sees it

            NODE  STATE  LEADS  REPLICATES  IN MEMORY  READERS  HTTP                   PEER
            1     up     6      12          1000       3        http://127.0.0.1:4437  127.0.0.1:5437
            2     down   6      12          1000       3        http://127.0.0.1:4437  127.0.0.1:5437

            SHARD  LEADER  TERM  APPLIED  REPLICAS (LAG)
            0      1       2     9        1 (0)  2* (2)
            11     -       2     -
        "#]]
        .assert_eq(&tables(&report));
    }

    #[test]
    fn a_status_fails_where_a_shard_has_no_working_leader() {
        let shard = |shard: u64, leader: Option<u64>| json!({ "shard": shard, "leader": leader });
        let printed = |shards: Vec<Value>| {
            let report = json!({ "node": 2, "shards": shards });
            working(&report).err().map_or_else(String::new, |error| error.to_string())
        };
        assert_eq!(printed(vec![shard(1, Some(2)), shard(2, Some(1))]), "");
        expect!["no leader that a majority follows, as node 2 sees it, in 2 of 3 shards: 2, 3"]
            .assert_eq(&printed(vec![shard(1, Some(2)), shard(2, None), shard(3, None)]));
        expect!["the cluster is not bootstrapped yet: it has no shards"]
            .assert_eq(&printed(Vec::new()));
    }
}
