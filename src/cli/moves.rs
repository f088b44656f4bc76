//! `outlive session export` and `import`: whole sessions through standard output and input.

use std::io::{self, Read, Write};

use bytes::Bytes;
use clap::Args;
use futures::stream;
use tokio::sync::mpsc;

use super::session::One;
use super::{Misuse, Target};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Name that the session is to have
    #[arg(value_parser = super::session_name)]
    id: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn export(One { id, target }: One) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    target.client()?.export(&id, |piece| out.write_all(piece)).await?;
    Ok(out.flush()?)
}

pub(super) async fn import(Import { id, target }: Import) -> anyhow::Result<()> {
    let client = target.client()?;
    if io::IsTerminal::is_terminal(&io::stdin()) {
        let why =
            "an exported session is read from standard input: outlive session import NAME < FILE";
        return Err(Misuse(why.into()).into());
    }
    let (sender, receiver) = mpsc::channel(4);
    // It ends with the input, or with the process: nothing stops a read of a pipe.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE];
            let read = input.read(&mut piece).map(|bytes| {
                piece.truncate(bytes);
                Bytes::from(piece)
            });
            let is_last = read.as_ref().map_or(true, Bytes::is_empty);
            if read.as_ref().is_ok_and(Bytes::is_empty)
                || sender.blocking_send(read).is_err()
                || is_last
            {
                return;
            }
        }
    });
    let lines =
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let answer = client.import(&id, lines).await?;
    Ok(writeln!(io::stdout(), "{answer}")?)
}
