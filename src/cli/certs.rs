//! `outlive dev-certs`: a certificate authority and certificates for a cluster on one machine.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use cluster::ids::NodeId;
use cluster::transport::make_node_cert;

#[derive(Debug, Args)]
pub(super) struct DevCerts {
    /// Where to put them: ca.pem, and NAME-node-N.pem with its .key for each node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "outlive")]
    cluster: String,
    /// How many nodes, from 1 on
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=64),
        required_unless_present = "node"
    )]
    nodes: Option<u64>,
    /// One node more, by its number; what is there stays as it is
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: Vec<u64>,
}

pub(super) fn run(command: &DevCerts) -> anyhow::Result<()> {
    let first = 1..=command.nodes.unwrap_or(0);
    for node in first.chain(command.node.iter().copied()) {
        let files = make_node_cert(&command.dir, &command.cluster, NodeId(node))
            .with_context(|| format!("the certificate of node {node} cannot be made"))?;
        println!("{}", files.cert.display());
    }
    Ok(())
}
