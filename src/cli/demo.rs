//! `outlive demo`: three nodes and an agent on this machine, for people to look at or for CI to judge.

use clap::Args;

use tools::demo;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Play the whole script without a page, print PASS or FAIL for each row, and fail if one does
    #[arg(long, conflicts_with = "port")]
    headless: bool,
    /// With --headless: only the rows whose names contain this
    #[arg(long, value_name = "TEXT", requires = "headless")]
    row: Option<String>,
    /// Port of the page on 127.0.0.1 [default: 4400, or a free one where that is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

pub(super) async fn run(command: Demo) -> anyhow::Result<()> {
    if command.headless {
        demo::play(command.row.as_deref()).await
    } else {
        demo::show(command.port).await
    }
}
