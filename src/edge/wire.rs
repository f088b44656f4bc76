//! The JSON that clients read. Nothing inside the program derives for JSON; it is converted here.
//!
//! A payload stands in exactly one member and comes back byte for byte: `data` is its own JSON text,
//! `text` a string of it, `base64` its bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::content::raw::Json;
use super::json;
use crate::ids::{AgentName, Cursor, Millis, Serial, SessionId};
use crate::runtime::{
    ClusterReport, Home, MemberReport, NotReady, Progress, ReplicaReport, ShardProgress,
    ShardReport, Stage, Summary,
};
use crate::session::{
    Branch, Branches, Config, Event, Fact, Format, Member, Policy, Standing, Status, Unwatched,
    View,
};

/// Writes an event that stands for all from `from` on.
pub(super) fn folded(out: &mut Vec<u8>, folded: &Event, from: Serial) {
    let mut whole = Vec::new();
    event(&mut whole, folded, None);
    let head = format!("{{\"serial\":{},", folded.serial.0);
    let rest = whole.strip_prefix(head.as_bytes()).expect("an event begins with its serial");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(format!("\"from\":{},", from.0).as_bytes());
    out.extend_from_slice(rest);
}

/// Writes one event as one line of JSON. The cursor is left out where the frame around it has it.
pub(super) fn event(out: &mut Vec<u8>, event: &Event, cursor: Option<Cursor>) {
    out.extend_from_slice(b"{\"serial\":");
    number(out, event.serial.0);
    if let Some(cursor) = cursor {
        out.extend_from_slice(b",\"cursor\":\"");
        out.extend_from_slice(cursor.to_string().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"time\":");
    number(out, event.time.0);
    out.extend_from_slice(b",\"format\":");
    string(out, event.format.as_str());
    payload(out, &event.format, &event.payload);
    if let Some(about) = &event.fact {
        fact(out, event.agent.as_ref(), about);
    }
    if let Some(origin) = &event.origin {
        out.extend_from_slice(b",\"producer\":{\"id\":");
        string(out, origin.producer.as_str());
        out.extend_from_slice(b",\"epoch\":");
        number(out, origin.epoch.0);
        out.extend_from_slice(b",\"seq\":");
        number(out, origin.seq);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"chain\":\"");
    out.extend_from_slice(chain(event.chain).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes what an event means.
fn fact(out: &mut Vec<u8>, agent: Option<&AgentName>, fact: &Fact) {
    part(out, "type", Member::Text(fact.name()));
    if let Some(turn) = fact.turn() {
        part(out, "turn", Member::Text(turn.as_str()));
    }
    if let Some(agent) = agent {
        part(out, "agent", Member::Text(agent.as_str()));
    }
    fact.members(&mut |name, value| part(out, name, value));
}

fn part(out: &mut Vec<u8>, name: &str, value: Member<'_>) {
    out.push(b',');
    string(out, name);
    out.push(b':');
    match value {
        Member::Text(text) => string(out, text),
        Member::Number(value) => number(out, value),
        Member::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
    }
}

fn payload(out: &mut Vec<u8>, format: &Format, payload: &[u8]) {
    if *format == Format::JSON
        && let Some(value) = json::as_value(payload)
    {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(value.as_bytes());
        return;
    }
    match str::from_utf8(payload) {
        Ok(text) if *format != Format::RAW => {
            out.extend_from_slice(b",\"text\":");
            string(out, text);
        }
        _ => {
            out.extend_from_slice(b",\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.push(b'"');
        }
    }
}

/// The content of an input, an answer or an output, with its format: an object with the members that an event has for
/// its payload.
pub(super) fn content(format: &Format, payload: &[u8]) -> Json {
    let mut out = b"{\"format\":".to_vec();
    string(&mut out, format.as_str());
    self::payload(&mut out, format, payload);
    out.push(b'}');
    Json::raw(&String::from_utf8(out).expect("JSON is text"))
}

fn number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("a vector takes every byte");
}

/// Writes a string. Some clients take more letters for line ends than the standard does, so those are
/// escaped too.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    const LINE_ENDS: [(char, &str); 3] =
        [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    if !text.contains(LINE_ENDS.map(|(letter, _)| letter)) {
        return serde_json::to_writer(out, text).expect("a vector takes every byte");
    }
    let mut json = serde_json::to_string(text).expect("a text is a JSON string");
    for (letter, escaped) in LINE_ENDS {
        json = json.replace(letter, escaped);
    }
    out.extend_from_slice(json.as_bytes());
}

/// A chain hash as text: JSON numbers do not hold it.
pub(super) fn chain(chain: u64) -> String {
    format!("{chain:016x}")
}

/// A session as it is now.
pub(super) fn status(id: &SessionId, status: &Status) -> Value {
    let cursor = Cursor { incarnation: status.incarnation, serial: status.tail };
    let mut body = json!({
        "session": id.name(),
        "incarnation": status.incarnation.0,
        "first": status.first.0,
        "tail": status.tail.0,
        "cursor": cursor.to_string(),
        "closed": status.closed,
        "chain": chain(status.chain),
        "bytes": status.bytes,
        "created_at": status.created_at.0,
        "updated_at": status.updated_at.0,
        "expires_at": millis(status.expires_at),
        "producers": status.producers,
    });
    if let (Value::Object(body), Value::Object(config)) = (&mut body, config(&status.config)) {
        body.extend(config);
    }
    if status.standing != Standing::Active {
        body["state"] = status.standing.name().into();
    }
    if let Some(fork) = status.fork.as_ref().filter(|_| status.config.content_type.is_none()) {
        body["fork"] = json!({ "source": fork.source.name(), "at": fork.at.0 });
    }
    if let Some(all) = branches(&status.branches) {
        body["branch"] = status.branches.current.0.into();
        body["branches"] = all;
    }
    body
}

/// The branches of a conversation that has more than one.
pub(super) fn branches(branches: &Branches) -> Option<Value> {
    let branch = |branch: &Branch| {
        json!({
            "branch": branch.begin.0,
            "parent": (branch.parent != Serial::ZERO).then_some(branch.parent.0),
            "of": branch.of.0,
            "newest": (branch.leaf != Serial::ZERO).then_some(branch.leaf.0),
            "again": branch.again,
        })
    };
    branches.is_tree().then(|| {
        let root = branches.find(Serial::ZERO);
        root.iter().chain(&branches.all).map(branch).collect::<Vec<_>>().into()
    })
}

/// Adds to a body which path its messages are of, in a conversation that has more than one.
pub(super) fn with_view(body: Json, status: &Status, view: &View) -> Json {
    if !status.branches.is_tree() {
        return body;
    }
    body.with("branch", if view.is_whole() { "all".into() } else { Json::from(view.branch().0) })
}

pub(super) fn config(config: &Config) -> Value {
    json!({
        "retention": {
            "max_age_ms": config.retention.max_age_ms,
            "max_bytes": config.retention.max_bytes,
        },
        "ttl_ms": config.ttl_ms,
        "labels": config.labels,
        "policy": policy(&config.policy),
    })
}

fn policy(policy: &Policy) -> Value {
    let unwatched = match policy.unwatched {
        Unwatched::Continue => "continue".into(),
        Unwatched::Pause { after_ms } => json!({ "pause_after_ms": after_ms }),
        Unwatched::Cancel { after_ms } => json!({ "cancel_after_ms": after_ms }),
    };
    json!({
        "when_busy": policy.when_busy.name(),
        "unwatched": unwatched,
        "attempts": policy.attempts,
        "escalate": policy.escalate,
        "wait_ms": policy.wait_ms,
        "merge_ms": policy.merge_ms,
    })
}

/// A moment, or `null`.
pub(super) fn millis(at: Option<Millis>) -> Value {
    at.map_or(Value::Null, |at| at.0.into())
}

/// One line of a list.
pub(super) fn summary(summary: &Summary) -> Value {
    let mut line = json!({
        "session": summary.id.name(),
        "incarnation": summary.incarnation.0,
        "tail": summary.tail.0,
        "closed": summary.closed,
        "created_at": summary.created_at.0,
        "updated_at": summary.updated_at.0,
    });
    if summary.standing != Standing::Active {
        line["state"] = summary.standing.name().into();
    }
    line
}

/// Where a session lives.
pub(super) fn home(home: &Home) -> Value {
    json!({ "shard": home.shard, "leader": home.leader, "replicas": home.replicas })
}

/// Why a node is not ready: the code, and what else is known.
pub(super) fn not_ready(why: &NotReady) -> Value {
    let code = why.code();
    match why {
        NotReady::NoLeader { shard } | NotReady::NoQuorum { shard } => {
            json!({ "reason": code, "shard": shard })
        }
        NotReady::Lagging { shard, entries } => {
            json!({ "reason": code, "shard": shard, "entries": entries })
        }
        NotReady::ClockSkewed { skew_ms } => json!({ "reason": code, "skew_ms": skew_ms }),
        NotReady::NoMap
        | NotReady::DiskFull
        | NotReady::StoreFailed
        | NotReady::Draining
        | NotReady::Stopping => {
            json!({ "reason": code })
        }
        NotReady::Broken { shard } => json!({ "reason": code, "shard": shard }),
        NotReady::ReplicasDiffer { sessions } => json!({ "reason": code, "sessions": sessions }),
    }
}

/// The cluster as one node gathered it.
pub(super) fn cluster(report: &ClusterReport) -> Value {
    json!({
        "cluster": report.cluster,
        "node": report.node,
        "epoch": report.version,
        "members": report.members.iter().map(member).collect::<Vec<_>>(),
        "shards": report.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

/// How far the shards are on their way to the members of the map.
pub(super) fn progress(progress: &Progress) -> Value {
    json!({
        "epoch": progress.version,
        "members": progress.members,
        "settled": progress.is_settled(),
        "shards": progress.shards.iter().map(shard_progress).collect::<Vec<_>>(),
    })
}

fn shard_progress(shard: &ShardProgress) -> Value {
    let newcomer = |(node, lag): &(u64, Option<u64>)| json!({ "node": node, "lag": lag });
    json!({
        "shard": shard.shard,
        "leader": shard.leader,
        "stage": match shard.stage {
            Stage::NoLeader => "no_leader",
            Stage::Waiting => "waiting",
            Stage::CatchingUp => "catching_up",
            Stage::Changing => "changing",
            Stage::Done => "done",
        },
        "wanted": shard.wanted,
        "voters": shard.voters,
        "newcomers": shard.newcomers.iter().map(newcomer).collect::<Vec<_>>(),
    })
}

fn member(member: &MemberReport) -> Value {
    json!({
        "node": member.node,
        "peer": member.peer,
        "http": member.http,
        "reachable": member.reachable,
        "leads": member.leads,
        "replicates": member.replicates,
        "sessions_in_memory": member.sessions_in_memory,
        "readers": member.readers,
        "draining": member.draining,
    })
}

fn shard(shard: &ShardReport) -> Value {
    json!({
        "shard": shard.shard,
        "leader": shard.leader,
        "term": shard.term,
        "replicas": shard.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

fn replica(replica: &ReplicaReport) -> Value {
    json!({
        "node": replica.node,
        "voter": replica.voter,
        "last": replica.last,
        "applied": replica.applied,
        "lag": replica.lag,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ids::{Incarnation, ProducerEpoch, ProducerId, Serial};
    use crate::session::Origin;

    /// An event with this payload, and nothing else worth looking at.
    pub(in crate::edge) fn sample(format: &str, payload: &[u8]) -> Event {
        Event {
            serial: Serial(7),
            time: Millis(1_700_000_000_000),
            format: Format::parse(format).unwrap(),
            payload: Bytes::copy_from_slice(payload),
            chain: 0xabc,
            origin: None,
            agent: None,
            fact: None,
        }
    }

    fn check(format: &str, payload: &[u8], expected: Expect) {
        let mut out = Vec::new();
        event(&mut out, &sample(format, payload), None);
        let text = String::from_utf8(out).unwrap();
        let payload = text
            .strip_prefix("{\"serial\":7,\"time\":1700000000000,")
            .and_then(|text| text.strip_suffix(",\"chain\":\"0000000000000abc\"}"));
        expected.assert_eq(payload.expect("the rest is the same for all"));
    }

    #[test]
    fn a_payload_is_shown_so_that_it_comes_back_byte_for_byte() {
        check("text", b"Hel", expect![[r#""format":"text","text":"Hel""#]]);
        check("text", b"", expect![[r#""format":"text","text":"""#]]);
        check(
            "text",
            "\n\nevent: x\r\nid: 9\0\u{2028}\u{1b}[31m".as_bytes(),
            expect![[r#""format":"text","text":"\n\nevent: x\r\nid: 9\u0000\u2028\u001b[31m""#]],
        );
        check("text", b"\xff\xfe", expect![[r#""format":"text","base64":"//4=""#]]);
        check("raw", b"Hel", expect![[r#""format":"raw","base64":"SGVs""#]]);
        check(
            "json",
            br#"{"b":1,"a":[1.0]}"#,
            expect![[r#""format":"json","data":{"b":1,"a":[1.0]}"#]],
        );
        check("json", b"[1,\n2]", expect![[r#""format":"json","text":"[1,\n2]""#]]);
        check("json", b"{", expect![[r#""format":"json","text":"{""#]]);
        check("text/html", b"<b>", expect![[r#""format":"text/html","text":"<b>""#]]);
        check("a\"b", b"", expect![[r#""format":"a\"b","text":"""#]]);
    }

    #[test]
    fn an_event_shows_its_writer_and_its_cursor() {
        let mut given = sample("text", b"a");
        let producer = ProducerId::parse("p\"1").unwrap();
        given.origin = Some(Origin { producer, epoch: ProducerEpoch(1), seq: 2 });
        let cursor = Cursor { incarnation: Incarnation(1), serial: Serial(7) };
        let mut out = Vec::new();
        event(&mut out, &given, Some(cursor));
        expect![[r#"{"serial":7,"cursor":"0000000001_00000000000000000007","time":1700000000000,"format":"text","text":"a","producer":{"id":"p\"1","epoch":1,"seq":2},"chain":"0000000000000abc"}"#]]
            .assert_eq(str::from_utf8(&out).unwrap());
    }

    #[test]
    fn each_reason_against_traffic_is_explained_in_operations() {
        let operations = include_str!("../../docs/OPERATIONS.md");
        let reasons = [
            NotReady::NoMap,
            NotReady::NoLeader { shard: 1 },
            NotReady::NoQuorum { shard: 1 },
            NotReady::Lagging { shard: 1, entries: 2 },
            NotReady::DiskFull,
            NotReady::Draining,
            NotReady::Stopping,
        ];
        for reason in reasons {
            let code = reason.code();
            assert_eq!(not_ready(&reason)["reason"], code);
            assert!(operations.contains(&format!("| `{code}` |")), "{code} is not explained");
        }
    }
}
