//! `outlive session put-file` and `get-file`: a file into a session and out of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use client::Client;
use client::file::PIECE_BYTES;
use ring::digest::{self, SHA256};
use serde_json::{Value, json};

use super::Target;
use crate::ids::FileId;

#[derive(Debug, Args)]
pub(super) struct PutFile {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// The file to bring
    path: PathBuf,
    /// What it is, such as image/png
    #[arg(long = "type", value_name = "MEDIA_TYPE")]
    media_type: Option<String>,
    /// Its name in the session, to go on with an upload that broke off; drawn at random unless given
    #[arg(long, value_name = "FILE", value_parser = file_name)]
    file: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct GetFile {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// Name of the file in the session
    #[arg(value_parser = file_name)]
    file: String,
    /// Where to write it; standard output unless given
    #[arg(long, short)]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

fn file_name(text: &str) -> Result<String, String> {
    FileId::parse(text).map(|id| id.as_str().to_owned()).map_err(|why| why.to_string())
}

impl PutFile {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let PutFile { id, path, media_type, file, target } = self;
        let file = file.unwrap_or_else(|| format!("file_{:032x}", rand::random::<u128>()));
        let (mut hash, mut size) = (digest::Context::new(&SHA256), 0_u64);
        let mut content = open(&path)?;
        while let Some(piece) = next(&mut content)? {
            hash.update(&piece);
            size += piece.len() as u64;
        }
        let hash = hash.finish();
        let sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let mut body = json!({ "file": file, "size": size, "sha256": sha256.collect::<String>() });
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            body["name"] = name.into();
        }
        if let Some(media_type) = media_type {
            body["media_type"] = media_type.into();
        }
        bring(&target.client()?, &id, &body, &path).await?;
        Ok(writeln!(io::stdout(), "{file}")?)
    }
}

/// Brings the file at `path` as `body` announces it; what the session has already is not sent again.
pub(super) async fn bring(
    client: &Client,
    id: &str,
    body: &Value,
    path: &Path,
) -> anyhow::Result<()> {
    let mut content = open(path)?;
    let begun = client.begin_file(id, body).await?;
    let file = begun["file"].as_str().unwrap_or_default();
    let (known, mut offset) = (begun["offset"].as_u64().unwrap_or(0), 0);
    while let Some(piece) = next(&mut content)? {
        let end = offset + piece.len() as u64;
        if known < end {
            client.put_piece((id, file), offset, &piece).await?;
        }
        offset = end;
    }
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("open {}", path.display()))
}

impl GetFile {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let GetFile { id, file, output, target } = self;
        fetch(&target.client()?, &id, &file, output.as_deref()).await
    }
}

/// Reads a file of a session into the one at `path`, or to standard output.
pub(super) async fn fetch(
    client: &Client,
    id: &str,
    file: &str,
    path: Option<&Path>,
) -> anyhow::Result<()> {
    // Before a file is made for it.
    let mut piece = client.read_piece((id, file), 0).await?;
    let mut out: Box<dyn Write> = match path {
        Some(path) => {
            let made = File::create(path);
            Box::new(made.with_context(|| format!("create {}", path.display()))?)
        }
        None => Box::new(io::stdout()),
    };
    let mut offset = 0;
    while !piece.is_empty() {
        out.write_all(&piece)?;
        offset += piece.len() as u64;
        if piece.len() < PIECE_BYTES {
            break;
        }
        piece = client.read_piece((id, file), offset).await?;
    }
    Ok(out.flush()?)
}

/// The next bytes of a file on the disk; none at its end.
fn next(content: &mut File) -> io::Result<Option<Bytes>> {
    let mut piece = Vec::new();
    content.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    Ok((!piece.is_empty()).then(|| piece.into()))
}
