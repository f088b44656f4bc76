//! How fast the disk syncs by itself: 4 KiB after each other in a file that is already there.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::Latency;

/// Bytes of one write.
const BLOCK: usize = 4096;
/// Blocks of the file; then it begins anew.
const BLOCKS: u64 = 4096;

/// Syncs for so long and returns how long each took, and how many there were in a second.
///
/// # Errors
/// The directory cannot be written.
pub async fn measure(dir: &Path, time: Duration) -> anyhow::Result<(Latency, f64)> {
    let path = dir.join(format!(".outlive-bench-{}", std::process::id()));
    let work = move || {
        let outcome = sync_for(&path, time);
        // A file that was never made is gone already.
        let _ = fs::remove_file(&path);
        outcome.with_context(|| format!("{} cannot be measured", path.display()))
    };
    tokio::task::spawn_blocking(work).await?
}

fn sync_for(path: &Path, time: Duration) -> std::io::Result<(Latency, f64)> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let block = [0x55; BLOCK];
    for number in 0..BLOCKS {
        file.write_all_at(&block, number * BLOCK as u64)?;
    }
    file.sync_all()?;
    let (latency, begun) = (Latency::default(), Instant::now());
    let mut count = 0;
    while begun.elapsed() < time {
        let one = Instant::now();
        file.write_all_at(&block, count % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
        latency.record(u64::try_from(one.elapsed().as_micros()).unwrap_or(u64::MAX), 1);
        count += 1;
    }
    Ok((latency, count as f64 / begun.elapsed().as_secs_f64()))
}
