//! `docs/examples/follow.py` keeps a table of a real PostgreSQL up to date, where that is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::api::{PATIENCE, claim, create, post};
use harness::cluster::client;
use harness::load::eventually;
use harness::node::{TestNode, start_single};
use serde_json::{Value, json};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Where the programs of the newest PostgreSQL are.
fn programs() -> Option<PathBuf> {
    let mut all: Vec<_> = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().collect();
    all.sort_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let bin = all.pop()?.path().join("bin");
    bin.join("initdb").exists().then_some(bin)
}

/// A program as somebody who is not root, which PostgreSQL refuses.
fn humble(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// A database of its own, in a new directory.
struct Postgres {
    _server: Running,
    dir: tempfile::TempDir,
}

impl Postgres {
    async fn start(bin: &Path) -> Option<Postgres> {
        let dir = tempfile::Builder::new().prefix("outlive-pg-").tempdir().expect("a directory");
        // Its socket must be found by those who are somebody else.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let data = dir.path().join("data");
        let mut initdb = humble(&bin.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "outlive", "-N"]);
        let made = initdb.stdout(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut server = humble(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=off"]).stderr(Stdio::null());
        let server = Running(server.spawn().ok()?);
        let postgres = Postgres { _server: server, dir };
        eventually("the database answers", async || postgres.ask("select 1").is_some()).await;
        Some(postgres)
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let host = self.dir.path().to_string_lossy().into_owned();
        [("PGHOST", host), ("PGUSER", "outlive".into()), ("PGDATABASE", "postgres".into())]
    }

    fn ask(&self, query: &str) -> Option<String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-c", query]).envs(self.variables());
        let done = psql.stderr(Stdio::null()).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    fn follow(&self, node: &TestNode) -> Running {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/follow.py");
        let mut python = Command::new("python3");
        python.arg(example).arg(&node.url).envs(self.variables());
        Running(python.spawn().expect("Python is there"))
    }

    /// The table, as the messages of each session.
    fn table(&self) -> Option<Value> {
        let rows = "select coalesce(json_agg(json_build_array(session, id, role, text, complete) \
                    order by session, id), '[]') from outlive_messages";
        serde_json::from_str(&self.ask(rows)?).ok()
    }
}

/// The same as the service has it.
async fn expected(node: &TestNode, sessions: &[&str]) -> Value {
    let mut rows = Vec::new();
    for session in sessions {
        let url = format!("{}/v1/sessions/{session}/messages", node.url);
        let page = client().get(url).timeout(PATIENCE).send().await.expect("an answer");
        let page: Value = page.json().await.expect("JSON");
        for message in page["messages"].as_array().expect("messages") {
            let [id, role] = [&message["id"], &message["role"]];
            rows.push(json!([session, id, role, message["text"], message["complete"]]));
        }
    }
    rows.into()
}

async fn talk(node: &TestNode, session: &str, turn: &str, words: &str) {
    let body = json!({ "id": turn, "agent": "poet", "content": { "text": words } });
    let path = format!("/v1/sessions/{session}");
    assert_eq!(post(&node.url, &format!("{path}/inputs"), body).await.0, 200);
    let taken = claim(&node.url).await;
    let body = json!({
        "epoch": taken["epoch"], "seq": 0, "events": [{ "text": format!("'{words}' \\ $$;") }],
        "then": "complete",
    });
    assert_eq!(post(&node.url, &format!("{path}/turns/{turn}/output"), body).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_follows_the_messages_of_all_sessions() {
    let postgres = match programs() {
        Some(bin) => Postgres::start(&bin).await,
        None => None,
    };
    let Some(postgres) = postgres else {
        eprintln!("SKIPPED: no PostgreSQL can be run here; its example was not");
        return;
    };
    let mut node = start_single().await;
    for session in ["a", "b", "c"] {
        create(&node.url, session).await;
        talk(&node, session, "t1", "hello").await;
    }
    let same = async |node: &TestNode, sessions: &[&str]| {
        let wanted = expected(node, sessions).await;
        eventually("the table is as the sessions are", async || {
            postgres.table().is_some_and(|table| table == wanted)
        })
        .await;
    };
    let follower = postgres.follow(&node);
    same(&node, &["a", "b", "c"]).await;
    talk(&node, "b", "t2", "more \u{1f600}").await;
    same(&node, &["a", "b", "c"]).await;
    // It is killed, and so is the node; meanwhile the sessions go on.
    drop(follower);
    talk(&node, "a", "t2", "again").await;
    let deleted = client().delete(format!("{}/v1/sessions/c", node.url)).send().await;
    assert_eq!(deleted.expect("an answer").status(), 204);
    node = node.restart().await;
    let _follower = postgres.follow(&node);
    same(&node, &["a", "b"]).await;
    talk(&node, "a", "t3", "the end").await;
    same(&node, &["a", "b"]).await;
}
