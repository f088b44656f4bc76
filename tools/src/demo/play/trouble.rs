//! Rows in which something dies: a node, an agent, an agent that only seems to live.

use anyhow::ensure;
use tokio::time::Instant;

use super::device::Who;
use super::seconds;
use super::stage::{Stage, others};
use crate::demo::process::Blow;

const ADA: Who = Who { participant: "ada", device: "laptop", role: "controller" };
const STORY: &str = "Tell me the long story";
const UNWATCHED_MS: u64 = 30_000;

/// The node that leads the conversation dies in the middle of a word, and the reader's node with it:
/// they are the same. The answer goes on with the next word.
pub(super) async fn leader_killed(stage: &Stage) -> anyhow::Result<String> {
    let session = "leader";
    stage.session(session, UNWATCHED_MS).await?;
    let leader = stage.leader(session).await?;
    let device = stage.device(leader, session, ADA);
    device.sees("attached", |record| record.snapshot.clone()).await?;
    let turn = stage.emit(session, "story", STORY, ADA).await?;
    device.hears(&turn, 10).await?;
    let pid = stage.kill(leader)?;
    let killed = Instant::now();
    let next = device.sees("the next word", |record| record.piece_after(&turn, killed)).await?;
    let pieces = device.record().pieces(&turn);
    device.hears(&turn, pieces + 10).await?;
    let lost = |record: &super::record::Record| {
        let mut found = record.of("agent.lost").filter(|seen| seen.event["turn"] == turn.as_str());
        found.find(|seen| killed < seen.at).map(|seen| seen.at)
    };
    let lost = lost(&device.record());
    let lost =
        lost.map_or(String::new(), |lost| format!(", agent lost after {}", seconds(lost - killed)));
    let heir = stage.leader(session).await?;
    ensure!(others(leader).contains(&heir), "node {heir} leads, which is dead");
    let pause = longest_pause(&device.record(), &turn, killed);
    let words = stage.story_of(&device.record(), &turn, STORY)?;
    {
        let mut score = stage.score.lock().expect("no holder panics");
        score.pause = score.pause.max(pause);
    }
    stage.count(&device.record());
    stage.mend(leader).await?;
    Ok(format!(
        "kill -9 {pid}{lost}: next word after {}, longest pause {}, {words} words in order; node {heir} leads",
        seconds(next - killed),
        seconds(pause)
    ))
}

/// The longest silence between two pieces from just before a moment on.
fn longest_pause(record: &super::record::Record, turn: &str, from: Instant) -> std::time::Duration {
    let pieces: Vec<Instant> =
        record.events.iter().filter(|seen| seen.speaks_in(turn)).map(|seen| seen.at).collect();
    let pauses = pieces.windows(2).filter(|pair| from <= pair[1]).map(|pair| pair[1] - pair[0]);
    pauses.max().unwrap_or_default()
}

/// kill -9 hits the agent in the middle of a sentence; another one is started and finds the place.
pub(super) async fn agent_killed(stage: &Stage) -> anyhow::Result<String> {
    let session = "agent-killed";
    stage.session(session, UNWATCHED_MS).await?;
    let device = stage.device(1, session, ADA);
    let turn = stage.emit(session, "story", STORY, ADA).await?;
    device.hears(&turn, 10).await?;
    let pid = stage.speaker(session, &turn).await?;
    stage.strike(pid, Blow::Kill)?;
    let killed = Instant::now();
    let after = |kind: &'static str| {
        let turn = turn.clone();
        move |record: &super::record::Record| {
            let mut found = record.of(kind).filter(|seen| seen.event["turn"] == turn.as_str());
            found.find(|seen| killed < seen.at).map(|seen| (seen.at, seen.event.clone()))
        }
    };
    let (dead, _) = device.sees("agent.lost", after("agent.lost")).await?;
    let (again, started) = device.sees("turn.started again", after("turn.started")).await?;
    ensure!(1 < started["attempt"].as_u64().unwrap_or_default(), "no further attempt: {started}");
    let speaks = device.sees("it speaks", |record| record.piece_after(&turn, again)).await?;
    let pieces = device.record().pieces(&turn);
    device.hears(&turn, pieces + 5).await?;
    let words = stage.story_of(&device.record(), &turn, STORY)?;
    stage.count(&device.record());
    Ok(format!(
        "kill -9 {pid}: seen dead after {}, speaking after {} as attempt {}, {words} words in order",
        seconds(dead - killed),
        seconds(speaks - killed),
        started["attempt"]
    ))
}

/// A frozen agent keeps its connection and sends nothing: the session reports so, and goes on when it does.
pub(super) async fn agent_frozen(stage: &Stage) -> anyhow::Result<String> {
    let session = "agent-frozen";
    stage.session(session, UNWATCHED_MS).await?;
    let device = stage.device(1, session, ADA);
    let turn = stage.emit(session, "story", STORY, ADA).await?;
    device.hears(&turn, 10).await?;
    let pid = stage.speaker(session, &turn).await?;
    stage.strike(pid, Blow::Stop)?;
    let frozen = Instant::now();
    let noticed = stage.shows(session, "suspect or stalled", |status| {
        let health = status["turns"].as_array()?.first()?["health"].as_str()?;
        let is_noticed = matches!(health, "suspect" | "stalled" | "dead" | "recovering");
        is_noticed.then(|| health.to_owned())
    });
    let noticed = noticed.await;
    let after = frozen.elapsed();
    // Whatever was seen: no process stays frozen. It may have been replaced already.
    let _ = stage.strike(pid, Blow::Continue);
    let noticed = noticed?;
    let thawed = Instant::now();
    let speaks = device.sees("it speaks again", |record| record.piece_after(&turn, thawed)).await?;
    let pieces = device.record().pieces(&turn);
    device.hears(&turn, pieces + 5).await?;
    let words = stage.story_of(&device.record(), &turn, STORY)?;
    stage.count(&device.record());
    Ok(format!(
        "kill -STOP {pid}: {noticed} after {}; thawed, it speaks after {}, {words} words in order",
        seconds(after),
        seconds(speaks - thawed)
    ))
}
