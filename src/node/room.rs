//! Whether the disks under a node take what it writes, looked at before it starts.
//!
//! A node whose disk is full ends (see [`super::restart`]) and must not come back before there is room: it
//! would end again. Meanwhile it answers at its own address what it waits for.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::restart;
use crate::edge;
use crate::runtime::space;

/// Pause between two looks at a disk that takes nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// What is written for a trial, in bytes.
const TRIAL_BYTES: usize = 64 << 10;

/// A directory and what it is called towards people.
pub(super) type Named = (&'static str, PathBuf);

/// Returns once all `dirs` take writes. Until then whoever connects to `listener` gets the answer that the node waits.
///
/// # Errors
/// A directory cannot be used at all, now or later: it may not be written to, or is none.
pub(super) async fn wait_for(dirs: &[Named], listener: &TcpListener) -> io::Result<()> {
    let Some(first) = look(dirs).await? else { return Ok(()) };
    tracing::error!(why = %first, "the node waits until its disks take what it writes");
    let (reason, reasons) = watch::channel(first);
    let waiting = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            match look(dirs).await? {
                None => return Ok::<(), io::Error>(()),
                Some(why) => drop(reason.send_replace(why)),
            }
        }
    };
    tokio::select! {
        waited = waiting => waited?,
        () = edge::waiting::serve(listener, reasons) => {}
    }
    tracing::info!("the disks take writes again");
    Ok(())
}

/// What the disks lack now, if it may come back.
async fn look(dirs: &[Named]) -> io::Result<Option<String>> {
    let dirs = dirs.to_vec();
    let looked = tokio::task::spawn_blocking(move || {
        for (name, dir) in &dirs {
            if let Some(why) = lacks(dir)? {
                return Ok(Some(format!("the disk of the {name}: {why}")));
            }
        }
        Ok(None)
    });
    looked.await.map_err(io::Error::other)?
}

/// Makes a directory that no other user reads, also where it exists already, or the one around it is open.
fn own(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // One that is another user's, as where a disk is mounted, is closed by whoever mounted it.
    if let Err(error) = std::fs::set_permissions(dir, Permissions::from_mode(0o700)) {
        tracing::warn!(dir = %dir.display(), %error, "others may be able to read this directory");
    }
    Ok(())
}

fn lacks(dir: &Path) -> io::Result<Option<String>> {
    let tried = own(dir).and_then(|()| {
        let room = space::look(dir)?;
        let needed = room.to_start(restart::follows_a_failure());
        if room.free < needed {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} bytes are free, {needed} are needed to start", room.free),
            ));
        }
        write_trial(dir)
    });
    match tried {
        Ok(()) => Ok(None),
        Err(error) if is_for_good(&error) => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
        }
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// Writes a file of our own, syncs it and removes it.
fn write_trial(dir: &Path) -> io::Result<()> {
    let path = dir.join("trial");
    let written = (|| {
        let mut file: File =
            OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        file.write_all(&[0; TRIAL_BYTES])?;
        file.sync_all()
    })();
    match std::fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

/// Whether waiting cannot help.
fn is_for_good(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    let kinds = [AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_takes_writes_lacks_nothing_and_a_file_is_none_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("data/store");
        assert_eq!(lacks(&store).unwrap(), None);
        assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0, "nothing is left of the trial");
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert!(lacks(&dir.path().join("file")).is_err());
    }
}
