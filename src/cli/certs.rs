//! `outlive dev-certs`: a certificate authority and certificates for a cluster on one machine.

use std::path::PathBuf;

use clap::Args;
use cluster::ids::NodeId;
use cluster::transport::{make_dev_ca, make_node_cert};

#[derive(Debug, Args)]
pub(super) struct DevCerts {
    /// Where to put them: ca.pem, and node-N.pem with node-N.key for each node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "outlive")]
    cluster: String,
    /// How many nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    nodes: u64,
}

pub(super) fn run(command: &DevCerts) -> anyhow::Result<()> {
    make_dev_ca(&command.dir)?;
    for node in 1..=command.nodes {
        make_node_cert(&command.dir, &command.cluster, NodeId(node))?;
    }
    Ok(())
}

