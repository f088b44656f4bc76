//! `outlive session export` and `import`: whole sessions through standard output and input, their files in a directory.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures::stream;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Misuse, Target, file};
use crate::ids::FileId;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A file's line is shorter, in bytes.
const FILE_LINE_BYTES: usize = 4096;

/// A session that moves.
#[derive(Debug, Args)]
pub(super) struct Moving {
    /// Name that the session has here, or is to have
    #[arg(value_parser = super::session_name)]
    id: String,
    /// Directory for the bytes of its files; an export makes it where it is missing
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// The lines of files among those that pass.
#[derive(Default)]
struct Named {
    /// The beginning of the line under way.
    line: Vec<u8>,
    files: Vec<Value>,
}

impl Named {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = FILE_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = serde_json::from_slice(&self.line);
                self.line.clear();
                self.files.extend(line.ok().filter(|line: &Value| line["line"] == "file"));
            }
        }
    }

    /// Each file: what announces it, and its name.
    fn each(&self) -> impl Iterator<Item = (Value, &str)> {
        self.files.iter().filter_map(|line| {
            let mut body = line.clone();
            body.as_object_mut()?.remove("line");
            // No other name is one of a file here.
            let file = line["file"].as_str().filter(|file| FileId::parse(file).is_ok())?;
            Some((body, file))
        })
    }

    /// Says that the bytes were left out, where there are any.
    fn left_out(&self, how: &str) {
        if !self.files.is_empty() {
            eprintln!("its files ({}) go by themselves: {how}", self.files.len());
        }
    }
}

pub(super) async fn export(Moving { id, files, target }: Moving) -> anyhow::Result<()> {
    let (client, mut named) = (target.client()?, Named::default());
    let mut out = io::stdout();
    let taken = |piece: &[u8]| {
        named.take(piece);
        out.write_all(piece)
    };
    client.export(&id, taken).await?;
    out.flush()?;
    let Some(dir) = files else {
        named.left_out("add --files DIR, or see outlive session get-file");
        return Ok(());
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for (_, file) in named.each() {
        file::fetch(&client, &id, file, Some(&dir.join(file))).await?;
    }
    Ok(())
}

pub(super) async fn import(Moving { id, files, target }: Moving) -> anyhow::Result<()> {
    let client = target.client()?;
    let named = Arc::new(Mutex::new(Named::default()));
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
    let passing = named.clone();
    let lines = stream::unfold((receiver, passing), |(mut receiver, passing)| async {
        let piece: io::Result<Bytes> = receiver.recv().await?;
        if let Ok(piece) = &piece {
            passing.lock().expect("no panic happens under this lock").take(piece);
        }
        Some((piece, (receiver, passing)))
    });
    let answer = client.import(&id, lines).await?;
    let named = std::mem::take(&mut *named.lock().expect("no panic happens under this lock"));
    match files {
        None => {
            named.left_out("add --files DIR and import the same again, or bring each by put-file")
        }
        Some(dir) => {
            for (body, file) in named.each() {
                file::bring(&client, &id, &body, &dir.join(file)).await?;
            }
        }
    }
    Ok(writeln!(io::stdout(), "{answer}")?)
}
