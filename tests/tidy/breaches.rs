//! Each law is broken once, and seen; and what only looks like a breach is free.

use super::judge;

fn check(path: &str, text: &str, wanted: &[(usize, &str)]) {
    let found = judge(path, text);
    let same = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(f, w)| f.0 == w.0 && f.1.contains(w.1));
    assert!(same, "{path}\n{text}\nfound {found:?}\nwanted {wanted:?}");
}

#[test]
fn each_law_is_broken_by_its_breach() {
    for (path, text, wanted) in [
        ("src/a.rs", "use x;\n", "opens with"),
        ("src/runtime/a.rs", "//! A.\nuse openraft::Raft;\n", "`openraft`"),
        ("cluster/src/group.rs", "//! A.\nuse openraft_rt::X;\n", "`openraft_rt`"),
        ("cluster/src/raft2.rs", "//! A.\nuse openraft::X;\n", "`openraft`"),
        ("src/edge/a.rs", "//! A.\nlet x = quinn::x();\n", "`quinn`"),
        ("cluster/src/raft/a.rs", "//! A.\nuse bincode as b;\n", "`bincode`"),
        ("src/edge/a.rs", "//! A.\nuse ractor::Actor;\n", "`ractor`"),
        ("src/runtime/a.rs", "//! A.\nuse axum::Router;\n", "`axum`"),
        ("src/runtime/a.rs", "//! A.\nuse fjall::Keyspace;\n", "`fjall`"),
        ("src/store.rs", "//! A.\nuse fjall::Keyspace;\n", "`fjall`"),
        ("cluster/src/a.rs", "//! A.\nstruct SessionId;\n", "`SessionId`"),
        ("cluster/src/a.rs", "//! A.\nfn agents() {}\n", "`agents`"),
        ("cluster/src/a.rs", "//! A.\nlet turn_count = 0;\n", "`turn_count`"),
        ("cluster/src/a.rs", "//! A.\nlet token = 0;\n", "`token`"),
        ("cluster/src/a.rs", "//! A.\nuse http::Uri;\n", "`http`"),
        ("src/a.rs", "//! A.\nstruct Seat;\n", "`Seat` is gone"),
        ("src/a.rs", &format!("//! A.\n// {}\n", "x".repeat(118)), "120 columns"),
        ("src/a.rs", &format!("//! A.\nfn x() {{\n{}}}\n", "    y();\n".repeat(69)), "of 71 lines"),
        ("session/src/a.rs", "//! A.\nasync fn x() {}\n", "`async`"),
        ("session/src/a.rs", "//! A.\nlet m: HashMap<u8, u8>;\n", "`HashMap`"),
        ("session/src/a.rs", "//! A.\nuse rand::Rng;\n", "`rand`"),
        ("session/src/a.rs", "//! A.\nuse std::time::Duration;\n", "`std::time`"),
        ("session/src/a.rs", "//! A.\nuse std::{fmt, time::Duration};\n", "`std::time`"),
        ("src/runtime/a.rs", "//! A.\nuse crate::{ids::X, edge::Y};\n", "`crate::edge`"),
        ("src/runtime/a.rs", "//! A.\nuse super::Runtime;\n", "`Runtime`"),
        ("src/runtime/peer/mod.rs", "//! A.\nuse super::Runtime;\n", "`Runtime`"),
        ("src/runtime/session/mod.rs", "//! A.\nfn x(d: &Directory) {}\n", "`Directory`"),
        ("src/runtime/status.rs", "//! A.\nfn x(w: &Workers) {}\n", "`Workers`"),
        ("src/runtime/members.rs", "//! A.\nfn x(p: &Presence) {}\n", "`Presence`"),
        ("src/edge/a.rs", "//! A.\nlet id = SessionId::parse(x);\n", "client's tenant"),
        ("src/edge/a.rs", "//! A.\nuse axum::extract::{Request, State};\n", "`extract::State`"),
        ("src/edge/name2.rs", "//! A.\nlet id = SessionId::of(None, x);\n", "client's tenant"),
        ("src/edge/name.rs", "//! A.\nlet text = id.full();\n", "not its full name"),
        ("src/a.rs", "//! A.\nstruct X(OnceLock<Weak<Y>>);\n", "built first"),
        ("src/a.rs", "//! A.\n#[allow(clippy::disallowed_methods)]\n", "is lifted"),
        ("src/a.rs", "//! A.\n#[ignore]\n", "ignored"),
        ("tests/a.rs", "//! A.\ntokio::time::sleep(x);\n", "for a fact"),
        ("cluster/tests/a.rs", "//! A.\nsleep (x);\n", "for a fact"),
        ("tests/a.rs", "//! A.\nimpl A for B { fn x() { sleep(x); } }\n", "for a fact"),
    ] {
        let line = if text.starts_with("//!") { 2 } else { 1 };
        check(path, text, &[(line, wanted)]);
    }
    let long = format!("//! A.\n{}", "fn x() {}\n".repeat(500));
    check("src/a.rs", &long, &[(500, "501 lines")]);
    check("tests/a.rs", &long, &[]);
    let tested = long.replacen("fn x() {}\n", "#[cfg(test)]\nmod tests {}\n", 1);
    check("src/a.rs", &tested, &[]);
}

#[test]
fn words_in_prose_and_in_their_home_are_free() {
    for (path, text) in [
        ("cluster/src/raft/core.rs", "//! A.\nuse openraft::Raft;\n"),
        ("cluster/src/raft.rs", "//! A.\nuse openraft::Raft;\n"),
        ("cluster/src/codec.rs", "//! A.\nuse bincode::serde;\n"),
        ("cluster/src/transport/quic.rs", "//! A.\nuse quinn::Endpoint;\n"),
        ("src/node.rs", "//! A.\nuse ractor::Actor;\n"),
        ("src/store/lsm.rs", "//! A.\nuse fjall::Keyspace;\n"),
        ("cluster/src/a.rs", "//! Knows no session.\n/* no /* agent */ turn */ fn x() {}\n"),
        ("cluster/src/a.rs", "//! A.\nlet a = \"a \\\" session\"; return a; // turn\n"),
        ("cluster/src/a.rs", "//! A.\nlet a = r#\"say \"agent\" \"#; let b = b\"http\";\n"),
        ("cluster/src/a.rs", "//! A.\nlet a: CancellationToken = b.child_token();\n"),
        ("cluster/src/a.rs", "//! A.\nlet q = '\"'; let turned: &'static str = \"turn\";\n"),
        ("session/src/a.rs", "//! A.\nlet operand = std::mem::take(&mut x.time);\n"),
        ("src/runtime/a.rs", "//! A.\nuse crate::{session::edge, ids};\n"),
        ("src/runtime/agent/a.rs", "//! A.\nfn x(s: &Sessions, w: &Workers, d: &Directory) {}\n"),
        ("src/edge/name.rs", "//! A.\nlet id = SessionId::of(tenant, x);\n"),
        ("src/edge/a.rs", "//! A.\n#[cfg(test)]\nmod tests { let x = SessionId::parse(y); }\n"),
        ("src/runtime/wiring.rs", "//! A.\nfn x(s: &Sessions) -> Runtime {}\n"),
        ("tests/a.rs", "//! A.\nwhile !done() { if x { y(); } sleep(short); }\n"),
        ("tests/a.rs", "//! A.\nlet sleep = 1; let x = \"sleep(\"; // #[ignore]\n"),
    ] {
        check(path, text, &[]);
    }
}
