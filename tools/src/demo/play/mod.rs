//! The script: does by itself what the page offers, against the real processes and as a client of the
//! public API, and judges each row by what devices saw. Nothing is waited for by time alone.

mod conversation;
mod device;
mod people;
mod record;
mod score;
mod stage;
mod story;
mod trouble;

use std::io::Write;
use std::pin::Pin;

use anyhow::bail;
use tokio::time::{Duration, Instant, timeout};

use self::stage::Stage;
use super::stop_signal;

/// A row that takes longer has failed, whatever it waits for.
const ROW: Duration = Duration::from_secs(300);

/// What a row found, in short and with its times.
type Found<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + 'a>>;

struct Row {
    name: &'static str,
    play: for<'a> fn(&'a Stage) -> Found<'a>,
}

/// The rows, in the order in which a person would try them.
const ROWS: &[Row] = &[
    Row { name: "leader killed mid-token", play: |stage| Box::pin(trouble::leader_killed(stage)) },
    Row { name: "refresh mid-stream", play: |stage| Box::pin(people::refresh(stage)) },
    Row { name: "second device", play: |stage| Box::pin(people::second_device(stage)) },
    Row { name: "stop from the phone", play: |stage| Box::pin(people::stop(stage)) },
    Row { name: "steer", play: |stage| Box::pin(people::steer(stage)) },
    Row { name: "a question, answered once", play: |stage| Box::pin(people::question(stage)) },
    Row { name: "agent killed, respawned", play: |stage| Box::pin(trouble::agent_killed(stage)) },
    Row { name: "agent frozen, noticed", play: |stage| Box::pin(trouble::agent_frozen(stage)) },
    Row { name: "taken over, handed back", play: |stage| Box::pin(people::take_over(stage)) },
    Row { name: "a whole conversation", play: |stage| Box::pin(conversation::whole(stage)) },
    Row { name: "nobody watches, paused", play: |stage| Box::pin(people::nobody(stage)) },
];

/// Plays all rows, or those whose names contain `only`, and prints what came of each.
///
/// # Errors
/// A row failed, or the score is not clean. Nothing is left behind.
pub async fn play(only: Option<&str>) -> anyhow::Result<()> {
    let request = stop_signal()?;
    tokio::select! {
        played = play_rows(only) => played,
        () = request => bail!("ended before the last row"),
    }
}

async fn play_rows(only: Option<&str>) -> anyhow::Result<()> {
    let rows = ROWS.iter().filter(|row| only.is_none_or(|only| row.name.contains(only)));
    let rows: Vec<&Row> = rows.collect();
    if rows.is_empty() {
        bail!("no row has such a name");
    }
    let begun = Instant::now();
    let stage = Stage::set().await?;
    tell(&format!("three nodes are ready after {}", seconds(begun.elapsed())))?;
    let mut failed = 0;
    for row in &rows {
        let begun = Instant::now();
        let found = timeout(ROW, (row.play)(&stage)).await;
        let took = seconds(begun.elapsed());
        let line = match found {
            Ok(Ok(found)) => format!("PASS {:26} {took:>7}  {found}", row.name),
            Ok(Err(why)) => format!("FAIL {:26} {took:>7}  {why:#}", row.name),
            Err(_) => format!("FAIL {:26} {took:>7}  it does not come to an end", row.name),
        };
        tell(&line)?;
        if line.starts_with("FAIL") {
            failed += 1;
            stage.tell_why();
        }
        stage.clear().await?;
    }
    let score = stage.score.lock().expect("no holder panics").clone();
    tell(&format!("\n{score}"))?;
    tell(&format!(
        "{} of {} rows passed in {}",
        rows.len() - failed,
        rows.len(),
        seconds(begun.elapsed())
    ))?;
    if 0 < failed {
        bail!("{failed} of {} rows failed", rows.len());
    }
    if !score.is_clean() {
        bail!("something was lost, doubled or out of order");
    }
    Ok(())
}

/// Prints a line at once: whoever reads may be waiting for it.
fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
