//! Rows about people: on one device, on two, on none, and in the agent's place.

use anyhow::ensure;
use serde_json::json;
use tokio::time::Instant;

use super::device::Who;
use super::record::Record;
use super::seconds;
use super::stage::Stage;

pub(super) const LAPTOP: Who = Who { participant: "ada", device: "laptop", role: "controller" };
pub(super) const PHONE: Who = Who { participant: "ada", device: "phone", role: "controller" };
pub(super) const SAM: Who = Who { participant: "sam", device: "desk", role: "supervisor" };
const STORY: &str = "Tell me the long story";
const UNWATCHED_MS: u64 = 30_000;

/// A window that is loaded again has the whole sentence at once, and goes on typing it.
pub(super) async fn refresh(stage: &Stage) -> anyhow::Result<String> {
    let session = "refresh";
    stage.session(session, UNWATCHED_MS).await?;
    let before = stage.device(1, session, LAPTOP);
    let turn = stage.emit(session, "story", STORY, LAPTOP).await?;
    before.hears(&turn, 10).await?;
    stage.story_of(&before.record(), &turn, STORY)?;
    let had = before.record().text(&turn);
    stage.count(&before.record());
    drop(before);
    let closed = Instant::now();
    let after = stage.device(2, session, LAPTOP);
    after.sees("attached", |record| record.snapshot.clone()).await?;
    let whole = closed.elapsed();
    let at_once = after.record().text(&turn);
    ensure!(at_once.starts_with(&had), "the new window has {at_once:?}, the old one had {had:?}");
    after.hears(&turn, 10).await?;
    let words = stage.story_of(&after.record(), &turn, STORY)?;
    stage.count(&after.record());
    Ok(format!(
        "whole again after {}, in one frame; {words} words in order across both windows",
        seconds(whole)
    ))
}

/// Two devices at two nodes see the same events, and each sees that the other is there.
pub(super) async fn second_device(stage: &Stage) -> anyhow::Result<String> {
    let session = "two-devices";
    stage.session(session, UNWATCHED_MS).await?;
    let laptop = stage.device(1, session, LAPTOP);
    let turn = stage.emit(session, "story", STORY, LAPTOP).await?;
    laptop.hears(&turn, 5).await?;
    let phone = stage.device(2, session, PHONE);
    let opened = Instant::now();
    let both = |record: &Record| {
        let story_of = record.presence.clone()?.to_string();
        ["laptop", "phone"].iter().all(|device| story_of.contains(device)).then(Instant::now)
    };
    let seen = laptop.sees("the laptop sees both devices", both).await?;
    phone.sees("the phone sees both devices", both).await?;
    phone.hears(&turn, 10).await?;
    let last = phone.record().events.last().map_or(0, super::record::Seen::serial);
    let reached =
        |record: &Record| record.events.iter().any(|seen| last <= seen.serial()).then_some(());
    laptop.sees("the laptop is as far as the phone", reached).await?;
    let apart = compare(&laptop.record(), &phone.record())?;
    let words = stage.story_of(&phone.record(), &turn, STORY)?;
    stage.count(&laptop.record());
    stage.count(&phone.record());
    Ok(format!(
        "in step, at most {} apart; each sees the other after {}; {words} words in order",
        seconds(apart),
        seconds(seen - opened)
    ))
}

/// Every event that both saw is the same at both; the longest time between them.
fn compare(one: &Record, other: &Record) -> anyhow::Result<std::time::Duration> {
    let mut apart = std::time::Duration::ZERO;
    for seen in &other.events {
        let same = one.events.iter().find(|known| known.serial() == seen.serial());
        let Some(same) = same else { continue };
        ensure!(same.event == seen.event, "two devices saw {} and {}", same.event, seen.event);
        let (first, second) = (same.at.min(seen.at), same.at.max(seen.at));
        apart = apart.max(second - first);
    }
    Ok(apart)
}

/// Stop on the phone ends the answer at the same event everywhere, and nothing of it follows.
pub(super) async fn stop(stage: &Stage) -> anyhow::Result<String> {
    let session = "stop";
    stage.session(session, UNWATCHED_MS).await?;
    let (laptop, phone) = (stage.device(1, session, LAPTOP), stage.device(2, session, PHONE));
    let turn = stage.emit(session, "story", STORY, LAPTOP).await?;
    laptop.hears(&turn, 10).await?;
    let body = json!({ "turn": turn, "participant": PHONE.participant, "device": PHONE.device,
        "role": PHONE.role, "reason": "enough" });
    let pressed = Instant::now();
    stage.post(session, "cancel", body).await?;
    let answered = pressed.elapsed();
    let stopped = |record: &Record| {
        let seen = record.in_turn("turn.cancelled", &turn)?;
        Some((seen.at, seen.serial(), seen.event.clone()))
    };
    let (at, serial, event) = laptop.sees("the laptop stops", stopped).await?;
    let (_, other, _) = phone.sees("the phone stops", stopped).await?;
    ensure!(serial == other, "they stopped at {serial} and {other}");
    ensure!(event["device"] == PHONE.device, "it does not say who stopped it: {event}");
    // The agent is free again: a second answer runs, and after the first one's end nothing of it came.
    let next = stage.emit(session, "again", STORY, LAPTOP).await?;
    ensure!(next != turn, "the new message went to the old turn");
    laptop.hears(&next, 5).await?;
    phone.hears(&next, 5).await?;
    for device in [&laptop, &phone] {
        let late = device
            .record()
            .events
            .iter()
            .any(|seen| serial < seen.serial() && seen.speaks_in(&turn));
        ensure!(!late, "output came after the end");
        stage.story_of(&device.record(), &turn, STORY)?;
    }
    stage.count(&laptop.record());
    stage.count(&phone.record());
    Ok(format!(
        "answered after {}, seen by the laptop after {}, both at serial {serial}",
        seconds(answered),
        seconds(at.saturating_duration_since(pressed))
    ))
}

/// A correction reaches the agent during its output, with a receipt, and it obeys.
pub(super) async fn steer(stage: &Stage) -> anyhow::Result<String> {
    let session = "steer";
    stage.session(session, UNWATCHED_MS).await?;
    let laptop = stage.device(1, session, LAPTOP);
    let turn = stage.emit(session, "story", STORY, LAPTOP).await?;
    laptop.hears(&turn, 10).await?;
    let content = Instant::now();
    let same = stage.emit(session, "correction", STEER, LAPTOP).await?;
    ensure!(same == turn, "the correction began a turn of its own: {same}");
    let receipt = |kind: &'static str| {
        move |record: &Record| {
            let mut found = record.of(kind);
            found.find(|seen| seen.event["input"] == "correction").map(|seen| seen.at)
        }
    };
    let delivered = laptop.sees("input.delivered", receipt("input.delivered")).await?;
    let consumed = laptop.sees("input.consumed", receipt("input.consumed")).await?;
    let received =
        laptop.sees("the answer obeys", |record| record.text(&turn).contains(OBEYED).then_some(()));
    received.await?;
    let obeyed = content.elapsed();
    stage.count(&laptop.record());
    Ok(format!(
        "delivered after {}, consumed after {}, obeyed after {}, in the same turn",
        seconds(delivered.saturating_duration_since(content)),
        seconds(consumed.saturating_duration_since(content)),
        seconds(obeyed)
    ))
}

const STEER: &str = "make it rain";
/// What the scripted agent emits when it has consumed a correction.
const OBEYED: &str = STEER;

/// The agent asks; the answer of the first device holds, wherever it is, and the other is notified.
pub(super) async fn question(stage: &Stage) -> anyhow::Result<String> {
    let session = "question";
    stage.session(session, UNWATCHED_MS).await?;
    let (laptop, phone) = (stage.device(1, session, LAPTOP), stage.device(2, session, PHONE));
    let request = "Ask me before you go on /ask";
    let turn = stage.emit(session, "story", request, LAPTOP).await?;
    let open = phone.sees("interaction.requested", |record| {
        let seen = record.in_turn("interaction.requested", &turn)?;
        Some(seen.event["interaction"].as_str()?.to_owned())
    });
    let path = format!("interactions/{}", open.await?.replace(' ', "%20"));
    let answer = |who: Who, text: &str| {
        json!({ "answer": { "text": text }, "participant": who.participant, "device": who.device,
            "role": who.role })
    };
    let answered = Instant::now();
    stage.post(session, &path, answer(PHONE, "yes")).await?;
    let late = stage.post(session, &path, answer(LAPTOP, "no")).await;
    let late = late.err().map(|why| why.to_string()).unwrap_or_default();
    ensure!(late.contains("409"), "a second answer is to be a conflict: {late:?}");
    let resolved = laptop.sees("interaction.resolved", |record| {
        let seen = record.in_turn("interaction.resolved", &turn)?;
        Some((seen.at, seen.event["device"].clone()))
    });
    let (resolved, by) = resolved.await?;
    ensure!(by == PHONE.device, "it was answered on {by}");
    let received = |record: &Record| record.text(&turn).contains("[answer] yes").then_some(());
    laptop.sees("the agent goes on", received).await?;
    let goes_on = answered.elapsed();
    let pieces = laptop.record().pieces(&turn);
    laptop.hears(&turn, pieces + 5).await?;
    let words = stage.story_of(&laptop.record(), &turn, request)?;
    stage.count(&laptop.record());
    stage.count(&phone.record());
    Ok(format!(
        "answered on the phone, seen by the laptop after {}, consumed after {}; the laptop's answer was \
         late; {words} words in order",
        seconds(resolved.saturating_duration_since(answered)),
        seconds(goes_on)
    ))
}

/// A person answers in the agent's place, and the agent gets everything that was sent meanwhile.
pub(super) async fn take_over(stage: &Stage) -> anyhow::Result<String> {
    let session = "take-over";
    stage.session(session, UNWATCHED_MS).await?;
    let (ada, sam) = (stage.device(1, session, LAPTOP), stage.device(2, session, SAM));
    let control = |verb: &str, mode: Option<&str>| {
        json!({ "verb": verb, "mode": mode, "participant": SAM.participant, "device": SAM.device,
            "role": SAM.role, "note": "let me" })
    };
    for device in [&ada, &sam] {
        device.sees("attached", |record| record.snapshot.clone()).await?;
    }
    let request = Instant::now();
    stage.post(session, "control", control("take", Some("manual"))).await?;
    let taken = ada.sees("control.taken", |record| record.of("control.taken").next().map(|s| s.at));
    let taken = taken.await?;
    stage.emit(session, "question", "Where is my parcel?", LAPTOP).await?;
    let held = sam.sees("the question is held for sam", |record| {
        let mut found = record.of("input.accepted");
        found.find(|seen| seen.event["input"] == "question").map(|seen| seen.event.clone())
    });
    let held = held.await?;
    ensure!(held["held"] == true, "the question is not held: {held}");
    stage.emit(session, "answer", "It is on its way.", SAM).await?;
    let content =
        |record: &Record| record.of("person.message").next().map(|seen| seen.event.clone());
    let content = ada.sees("ada hears sam", content).await?;
    ensure!(content["participant"] == "sam" && content["text"] == "It is on its way.", "{content}");
    let outputs = ada.record().of("turn.output").count();
    ensure!(outputs == 0, "the agent had output while a person had the word");
    let back = Instant::now();
    stage.post(session, "control", control("release", None)).await?;
    let released = |record: &Record| record.of("control.released").next().map(|seen| seen.at);
    ada.sees("control.released", released).await?;
    let speaks =
        ada.sees("the agent speaks", |record| record.of("turn.output").next().map(|s| s.at));
    let speaks = speaks.await?;
    stage.count(&ada.record());
    stage.count(&sam.record());
    Ok(format!(
        "taken after {}, a question held and answered by sam; handed back, the agent speaks after {}",
        seconds(taken.saturating_duration_since(request)),
        seconds(speaks.saturating_duration_since(back))
    ))
}

/// No device watches: the agent pauses at a safe place, and goes on when one comes.
pub(super) async fn nobody(stage: &Stage) -> anyhow::Result<String> {
    let session = "nobody";
    stage.session(session, 500).await?;
    let laptop = stage.device(1, session, LAPTOP);
    let turn = stage.emit(session, "story", STORY, LAPTOP).await?;
    laptop.hears(&turn, 10).await?;
    stage.count(&laptop.record());
    drop(laptop);
    let left = Instant::now();
    let paused = stage.shows(session, "the turn is paused", |status| {
        let turns = status["turns"].as_array()?;
        turns
            .iter()
            .any(|open| open["turn"] == turn.as_str() && open["state"] == "paused")
            .then_some(())
    });
    paused.await?;
    let paused = left.elapsed();
    let laptop = stage.device(2, session, LAPTOP);
    let back = Instant::now();
    laptop.sees("attached", |record| record.snapshot.clone()).await?;
    let had = laptop.record().text(&turn);
    let speaks = laptop.sees("it goes on", |record| record.piece_after(&turn, back)).await?;
    laptop.hears(&turn, 5).await?;
    let words = stage.story_of(&laptop.record(), &turn, STORY)?;
    ensure!(!had.is_empty(), "the answer so far is gone");
    stage.count(&laptop.record());
    Ok(format!(
        "paused {} after the last one left; resumed {} after one came back, {words} words in order",
        seconds(paused),
        seconds(speaks - back)
    ))
}
