//! Workers that are processes: stopped by SIGSTOP in the middle of a turn, left asleep until the turn is
//! another's, and woken by SIGCONT, upon which they go on as if nothing had been.
//!
//! A process requests permission before each request and reports its outcome over its pipes, so that the history has
//! its calls at moments that enclose the real ones.

use std::io::{BufRead, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::super::history::{Answer, Call, OpId, Taken};
use super::super::load::PATIENCE;
use super::super::recorder::Recorder;
use super::board::Board;
use super::worker::{Manner, NotOk, Tape, Worker, is_gone};

/// Names the manner of a process that is a worker.
const MANNER: &str = "CHAOS_WORKER";
/// Its own lines begin so; the test harness prints others.
const MARK: &str = "@";

#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Ask { node: String, session: String, call: Call },
    Done { op: OpId, outcome: Result<Answer, NotOk> },
}

/// Is the worker that this process was started as, if it was: the test that is started must call it.
pub fn be_worker() {
    let Ok(manner) = std::env::var(MANNER) else { return };
    let manner: Manner = serde_json::from_str(&manner).expect("our own manner");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(Worker::new(manner, Pipe).run());
}

/// The process's end.
struct Pipe;

impl Pipe {
    fn write(line: &Line) -> bool {
        let text = serde_json::to_string(line).expect("plain data");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{MARK}{text}").and_then(|()| out.flush()).is_ok()
    }
}

impl Tape for Pipe {
    async fn invoke(&mut self, node: &str, session: &str, call: Call) -> Option<OpId> {
        let (node, session) = (node.to_owned(), session.to_owned());
        if !Pipe::write(&Line::Ask { node, session, call }) {
            return None;
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).ok()?;
        line.trim().parse().ok().map(OpId)
    }

    fn received(&mut self, op: OpId, outcome: Result<Answer, NotOk>) {
        Pipe::write(&Line::Done { op, outcome });
    }
}

/// What came of all processes.
#[derive(Default)]
pub struct Tally {
    /// Zombies that were woken and refused when their turn was another worker's.
    pub takeovers: AtomicUsize,
    /// The same, where the turn was over.
    pub ended: AtomicUsize,
}

/// A process that is put to sleep in each of its turns.
pub struct Sleeper {
    pub client: u32,
    pub recorder: Arc<Recorder>,
    pub board: Arc<Board>,
    pub stop: Arc<AtomicBool>,
    /// Whether it may be put to sleep still.
    pub calm: Arc<AtomicBool>,
    pub tally: Arc<Tally>,
}

struct Open {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sleeper {
    /// Starts the process, as `test` of this executable, and disturbs it until it is to stop.
    pub async fn run(self, manner: Manner, test: &'static str) {
        let name = manner.name.clone();
        let mut rng = StdRng::seed_from_u64(manner.seed);
        let mut child = Command::new(std::env::current_exe().expect("this executable"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(MANNER, serde_json::to_string(&manner).expect("plain data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this executable starts");
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut open = Open { child, input, lines };
        let mut lease: Option<Taken> = None;
        // Outputs that it may still send before it is put to sleep.
        let mut left = 0;
        let mut zombie: Option<Taken> = None;
        while let Some(line) = open.next().await {
            match line {
                Line::Ask { node, session, call } => {
                    if self.stop.load(Ordering::Acquire) {
                        open.input = None;
                        continue;
                    }
                    let op = self.recorder.invoke(self.client, &node, &session, None, call);
                    open.go_on(op).await;
                }
                Line::Done { op, outcome } => {
                    match &outcome {
                        Ok(Answer::Claimed { taken: Some(taken) }) => {
                            lease = Some(taken.clone());
                            left = rng.random_range(0..4);
                        }
                        Ok(Answer::OutputAccepted { over: true, .. }) => lease = None,
                        Ok(Answer::OutputAccepted { .. }) => left -= 1,
                        Err(NotOk::No(text)) if is_gone(text) => {
                            lease = None;
                            self.woke(zombie.take());
                        }
                        _ => {}
                    }
                    self.write_down(op, outcome);
                }
            }
            if let Some(taken) = &lease
                && left <= 0
                && zombie.is_none()
                && !self.calm.load(Ordering::Acquire)
            {
                zombie = Some(taken.clone());
                self.freeze(&open, &name, taken).await;
            }
        }
        let status = timeout(PATIENCE, open.child.wait()).await.expect("it ends");
        assert!(status.is_ok_and(|status| status.success()), "{name} failed");
    }

    /// Until its turn is another's, or over.
    async fn freeze(&self, open: &Open, name: &str, taken: &Taken) {
        let Taken { session, turn, epoch } = taken;
        open.signal(Signal::STOP);
        open.is_stopped().await;
        self.recorder.nemesis("pause worker", name);
        let superseded = |board: &Board| {
            let seen = board.seen(session, turn);
            seen.over || *epoch < seen.epoch
        };
        let waited = timeout(PATIENCE, self.board.until(superseded)).await;
        assert!(waited.is_ok(), "{turn} of {session} is never taken from {name}");
        open.signal(Signal::CONT);
        self.recorder.nemesis("resume worker", name);
    }

    /// A zombie was refused.
    fn woke(&self, zombie: Option<Taken>) {
        let Some(Taken { session, turn, epoch }) = zombie else { return };
        let seen = self.board.seen(&session, &turn);
        let count = if epoch < seen.epoch { &self.tally.takeovers } else { &self.tally.ended };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn write_down(&self, op: OpId, outcome: Result<Answer, NotOk>) {
        match outcome {
            Ok(answer) => self.recorder.ok(op, answer),
            Err(NotOk::No(text)) => self.recorder.fail(op, &text),
            Err(NotOk::Unknown(text)) => self.recorder.unknown(op, &text),
        }
    }
}

impl Open {
    async fn next(&mut self) -> Option<Line> {
        loop {
            let line = self.lines.next_line().await.expect("the pipe is ours")?;
            if let Some(text) = line.strip_prefix(MARK) {
                return Some(serde_json::from_str(text).expect("our own line"));
            }
        }
    }

    async fn go_on(&mut self, op: OpId) {
        let Some(input) = &mut self.input else { return };
        let line = format!("{}\n", op.0);
        input.write_all(line.as_bytes()).await.expect("the process listens");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our own child");
    }

    fn pid(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id")
    }

    /// Whether the fault is really in place.
    async fn is_stopped(&self) {
        let path = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        while let Ok(text) = std::fs::read_to_string(&path)
            && !text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
