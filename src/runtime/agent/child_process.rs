//! An agent that is a child process: one that this node spawns, and that exchanges a worker's lines on its stdio.
//!
//! Its first line registers it. Its end is seen at once; its silence by the pings that it does not answer. Its
//! standard error is kept, its end alone, for reports. It has a process group of its own, so that nothing of it stays
//! behind; where the node itself is killed, it sees the end of its standard input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::body::{Body, BodyContext, Ended, Restart};
use super::lines::{BadLine, LastWords, Lines};
use super::{
    Codec, Frame, FromWorker, Leave, LinkEnd, Listener, Refused, Register, Registration, Speaker,
    ToWorker,
};
use crate::ids::{AgentId, WorkerName};
use crate::limits::{
    AGENT_DRAIN, KILL_GRACE, LAST_LINES_WAIT, LINK_LEASE_MS, PROGRESS_TIMEOUT_MS, REGISTER_WAIT,
};

/// A command that is an agent.
pub struct ProcessAgent {
    pub agent: AgentId,
    /// Program and arguments; `outlive` is this very program.
    pub command: Vec<String>,
    /// Its environment, beside what every process needs to find its way ([`PLAIN_ENV`]): with these values, and with
    /// the node's own values of these names. Nothing else of the node's environment, where its secrets lie.
    pub env: BTreeMap<String, String>,
    pub pass_env: Vec<String>,
    /// Where nothing is given, what the process requests.
    pub lease_ms: Option<u64>,
    pub progress_timeout_ms: Option<u64>,
    pub restart: Restart,
    pub cancel_grace: Duration,
    pub codec: Arc<dyn Codec>,
}

impl Body for ProcessAgent {
    fn agent(&self) -> &AgentId {
        &self.agent
    }

    fn restart(&self) -> Restart {
        self.restart
    }

    fn live(self: Arc<Self>, place: BodyContext) -> BoxFuture<'static, Ended> {
        async move {
            match self.spawn() {
                Ok(process) => process.live(&self, &place).await,
                Err(why) => Ended::Failed(format!("cannot start {:?}: {why}", self.command[0])),
            }
        }
        .boxed()
    }
}

/// What a process is given of the node's environment: where things lie, who it is, and how people there write.
pub const PLAIN_ENV: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
];
const LOCALE_ENV: &str = "LC_";
/// The variable that names the tenant of a process, where it is not the default one.
const TENANT_ENV: &str = "OUTLIVE_TENANT";

/// A process that runs.
struct Process {
    child: Child,
    group: Option<Pid>,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    last_words: Arc<Mutex<LastWords>>,
    /// Collects the end of its standard error.
    listening: Fuse<BoxFuture<'static, ()>>,
}

/// Why a process is served no more.
enum Served {
    /// Its process ended.
    Exited(Option<ExitStatus>),
    /// It wrote something that cannot be a line, or closed its standard output.
    Mute(String),
    Link(LinkEnd),
    /// The node is ending, and the time for that is over.
    Stopped,
}

impl ProcessAgent {
    fn spawn(&self) -> std::io::Result<Process> {
        let program = match self.command[0].as_str() {
            "outlive" => std::env::current_exe()?,
            program => program.into(),
        };
        let mut child = Command::new(program)
            .args(&self.command[1..])
            .env_clear()
            .envs(self.environment(std::env::vars_os()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let group = pid.and_then(Pid::from_raw);
        let last_words = Arc::new(Mutex::new(LastWords::default()));
        let listening = listen(stderr, last_words.clone()).boxed().fuse();
        let lines = Lines::new(BufReader::new(stdout));
        Ok(Process { child, group, stdin, lines, last_words, listening })
    }

    /// What the process is given of this environment, and beside it.
    fn environment(
        &self,
        of_node: impl Iterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<OsString, OsString> {
        let is_passed = |name: &OsString| {
            let Some(name) = name.to_str() else { return false };
            let plain = PLAIN_ENV.contains(&name) || name.starts_with(LOCALE_ENV);
            plain || self.pass_env.iter().any(|passed| passed == name)
        };
        let mut all: BTreeMap<_, _> = of_node.filter(|(name, _)| is_passed(name)).collect();
        all.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        // Whose sessions it works for: two tenants may use the same name.
        all.extend(self.agent.tenant.iter().map(|name| (TENANT_ENV.into(), name.as_str().into())));
        all
    }

    fn register(&self, place: &BodyContext, pid: Option<Pid>, request: Registration) -> Register {
        let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let node = place.workers.node();
        let worker = WorkerName::parse(&format!("node {node} process {pid}"));
        Register {
            agent: self.agent.clone(),
            worker: worker.expect("it is short and plain"),
            capacity: request.capacity.unwrap_or(1),
            lease_ms: self.lease_ms.or(request.lease_ms).unwrap_or(LINK_LEASE_MS),
            progress_timeout_ms: self
                .progress_timeout_ms
                .or(request.progress_timeout_ms)
                .unwrap_or(PROGRESS_TIMEOUT_MS),
            cancel_grace: self.cancel_grace,
            grant: None,
        }
    }
}

impl Process {
    async fn live(mut self, child: &ProcessAgent, place: &BodyContext) -> Ended {
        let opened = tokio::select! {
            opened = timeout(REGISTER_WAIT, self.open(child, place)) => {
                opened.unwrap_or_else(|_| Err("it did not register in time".into()))
            }
            () = place.stop.cancelled() => {
                self.end(Signal::TERM).await;
                return Ended::Stopped;
            }
        };
        let (speaker, listener) = match opened {
            Ok(link) => link,
            Err(why) => {
                let status = self.end(Signal::TERM).await;
                return Ended::Failed(format!("{why}; {}", self.last_words(status)));
            }
        };
        let served = self.serve(child, place, &speaker, listener).await;
        // A stopped process takes no signal but this.
        let signal = match served {
            Served::Link(LinkEnd::Silent) => Signal::KILL,
            _ => Signal::TERM,
        };
        match served {
            Served::Stopped | Served::Link(LinkEnd::Stopping) => {
                speaker.close(Leave::Released);
                self.end(signal).await;
                Ended::Stopped
            }
            Served::Exited(status) => {
                if !self.listening.is_terminated() {
                    drop(timeout(LAST_LINES_WAIT, &mut self.listening).await);
                }
                let last_words = self.last_words(status);
                speaker.close(Leave::Exited(last_words.clone()));
                self.end(Signal::KILL).await;
                Ended::Failed(last_words)
            }
            Served::Mute(why) => {
                speaker.close(Leave::Replaced(format!("{why}; {}", self.last_words(None))));
                let status = self.end(signal).await;
                Ended::Failed(format!("{why}; {}", self.last_words(status)))
            }
            Served::Link(end) => {
                drop(speaker);
                let status = self.end(signal).await;
                Ended::Failed(format!("{end}; {}", self.last_words(status)))
            }
        }
    }

    /// Waits for the first line and registers the worker.
    async fn open(
        &mut self,
        child: &ProcessAgent,
        place: &BodyContext,
    ) -> Result<(Speaker, Listener), String> {
        let hearing = async {
            (&mut self.listening).await;
            std::future::pending().await
        };
        let line = tokio::select! {
            line = self.lines.next() => line.map_err(|why| why.to_string())?.to_vec(),
            () = hearing => unreachable!("it waits for ever"),
        };
        let request = match child.codec.read(&line) {
            Ok(Frame::Register(request)) => request,
            Ok(Frame::FromWorker(_)) => return Err("its first line does not register it".into()),
            Err(refused) => return Err(format!("its first line: {}", refused.detail)),
        };
        if request.agent.as_ref().is_some_and(|agent| *agent != child.agent.name) {
            return Err("it registers as another agent".into());
        }
        let register = child.register(place, self.group, request);
        tracing::info!(agent = %register.agent, worker = %register.worker, "an agent registers");
        let answer = child.codec.registered(place.workers.node());
        write_line(&mut self.stdin, answer).await.map_err(|why| why.to_string())?;
        place.workers.link(register).ok_or_else(|| "this node is ending".to_string())
    }

    async fn serve(
        &mut self,
        child: &ProcessAgent,
        place: &BodyContext,
        speaker: &Speaker,
        mut listener: Listener,
    ) -> Served {
        let (refuse, mut refused) = mpsc::channel(REFUSALS);
        let codec = &*child.codec;
        let Process { child, stdin, lines, listening, .. } = self;
        let reading = read_all(lines, codec, speaker, refuse);
        let writing = write_all(&mut listener, &mut refused, codec, stdin);
        tokio::pin!(reading, writing);
        // Until when the turns must be over, once the node is ending.
        let mut until = None;
        let mut stops = true;
        loop {
            let late = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                why = &mut reading => {
                    let exited = timeout(LAST_LINES_WAIT, child.wait()).await;
                    return exited.map_or(Served::Mute(why), |status| Served::Exited(status.ok()));
                }
                end = &mut writing => match end {
                    Some(LinkEnd::Drained) if until.is_some() => return Served::Stopped,
                    Some(end) => return Served::Link(end),
                    // It reads no more; its output has the reason, or its end has.
                    None => {
                        let rest = timeout(LAST_LINES_WAIT, &mut reading).await;
                        let exited = timeout(LAST_LINES_WAIT, child.wait()).await;
                        let mute = || Served::Mute(rest.unwrap_or_else(|_| "it reads no more".into()));
                        return exited.map_or_else(|_| mute(), |status| Served::Exited(status.ok()));
                    }
                },
                status = child.wait() => {
                    // What it wrote before it ended is still in the pipe.
                    drop(timeout(LAST_LINES_WAIT, &mut reading).await);
                    return Served::Exited(status.ok());
                }
                () = &mut *listening, if !listening.is_terminated() => {}
                () = place.stop.cancelled(), if stops => {
                    stops = false;
                    until = Some(Instant::now() + AGENT_DRAIN);
                    let _drains = speaker.hear(FromWorker::Drain).await;
                }
                () = late => return Served::Stopped,
            }
        }
    }

    /// Ends the process, if it still runs, and whatever it has begun.
    async fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        self.kill(signal);
        if signal == Signal::TERM {
            let ended = tokio::select! {
                ended = timeout(KILL_GRACE, self.child.wait()) => ended.ok(),
                // Its pipe must not fill up while it ends.
                () = async { (&mut self.listening).await; std::future::pending().await } => None,
            };
            // What it has begun goes with it.
            self.kill(Signal::KILL);
            if let Some(ended) = ended {
                return ended.ok();
            }
        }
        self.child.wait().await.ok()
    }

    fn kill(&self, signal: Signal) {
        // There may be no process left.
        let _gone = self.group.map(|group| kill_process_group(group, signal));
    }

    fn last_words(&self, status: Option<ExitStatus>) -> String {
        let words = self.last_words.lock().expect("no panic happens under this lock").text();
        let status = status.map_or_else(|| "it runs".into(), |status| status.to_string());
        if words.is_empty() { status } else { format!("{status}; its last words: {words}") }
    }
}

/// Passes on what the process writes until it writes no more; then why.
async fn read_all(
    lines: &mut Lines<BufReader<ChildStdout>>,
    codec: &dyn Codec,
    speaker: &Speaker,
    refuse: mpsc::Sender<Box<Refused>>,
) -> String {
    loop {
        let line = match lines.next().await {
            Ok(line) => line,
            Err(BadLine::End) => return "it closed its standard output".into(),
            Err(why) => return why.to_string(),
        };
        let refused = match codec.read(line) {
            Ok(Frame::FromWorker(frame)) => match speaker.hear(frame).await {
                Ok(()) => continue,
                // The listener has the reason.
                Err(_) => return std::future::pending().await,
            },
            Ok(Frame::Register(_)) => {
                let detail = "it is registered".into();
                Box::new(Refused {
                    key: None,
                    seq: None,
                    code: "bad_json",
                    detail,
                    retry_after_ms: None,
                })
            }
            Err(refused) => refused,
        };
        tracing::debug!(detail = refused.detail, "an agent wrote a line that means nothing");
        // Who writes much of that and reads nothing misses some of it.
        drop(refuse.try_send(refused));
    }
}

/// Writes to the process what it is to know; why the link has ended, or none where the process reads no more.
async fn write_all(
    listener: &mut Listener,
    refused: &mut mpsc::Receiver<Box<Refused>>,
    codec: &dyn Codec,
    stdin: &mut ChildStdin,
) -> Option<LinkEnd> {
    loop {
        let message = tokio::select! {
            message = listener.next() => match message {
                Ok(message) => message,
                Err(end) => return Some(end),
            },
            Some(refused) = refused.recv() => ToWorker::Refused(refused),
        };
        write_line(stdin, codec.write(&message)).await.ok()?;
    }
}

async fn write_line(stdin: &mut ChildStdin, mut line: Vec<u8>) -> std::io::Result<()> {
    line.push(b'\n');
    stdin.write_all(&line).await
}

/// Keeps the last of what comes.
async fn listen(mut stderr: impl AsyncRead + Unpin, last_words: Arc<Mutex<LastWords>>) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        last_words.lock().expect("no panic happens under this lock").hear(&bytes[..count]);
    }
}

/// Refusals of lines that a process has not read.
const REFUSALS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    struct Mute;

    impl Codec for Mute {
        fn read(&self, _frame: &[u8]) -> Result<Frame, Box<Refused>> {
            unreachable!("nothing is read")
        }

        fn write(&self, _told: &ToWorker) -> Vec<u8> {
            Vec::new()
        }

        fn registered(&self, _node: u64) -> Vec<u8> {
            Vec::new()
        }
    }

    fn child(pass_env: &[&str]) -> ProcessAgent {
        ProcessAgent {
            agent: crate::ids::AgentName::parse("a").unwrap().into(),
            command: ["sh", "-c", "env"].map(str::to_owned).into(),
            env: [("GIVEN".to_owned(), "given".to_owned())].into(),
            pass_env: pass_env.iter().map(|name| (*name).to_owned()).collect(),
            lease_ms: None,
            progress_timeout_ms: None,
            restart: Restart { intensity: 1, within: Duration::from_secs(1) },
            cancel_grace: Duration::from_secs(1),
            codec: Arc::new(Mute),
        }
    }

    /// The names of the variables that a process finds.
    async fn found(child: &ProcessAgent) -> Vec<String> {
        let mut process = child.spawn().unwrap();
        let mut names = Vec::new();
        while let Ok(line) = process.lines.next().await {
            let line = String::from_utf8_lossy(line).into_owned();
            names.extend(line.split_once('=').map(|(name, _)| name.to_owned()));
        }
        names
    }

    #[tokio::test]
    async fn a_process_finds_its_way_and_none_of_the_nodes_secrets() {
        // Cargo gives its tests a variable that no agent has a use for.
        let secret = "CARGO_MANIFEST_DIR";
        assert!(std::env::var_os(secret).is_some());
        let names = found(&child(&[])).await;
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        assert!(has(&names, "PATH") && has(&names, "GIVEN") && !has(&names, secret), "{names:?}");
        assert!(has(&found(&child(&[secret])).await, secret));
    }

    #[test]
    fn what_the_configuration_says_wins() {
        let of_node = [("PATH", "/bin"), ("LC_ALL", "C"), ("TOKEN", "t"), ("GIVEN", "node's")];
        let of_node = of_node.map(|(name, value)| (name.into(), value.into()));
        let all = child(&["GIVEN"]).environment(of_node.into_iter());
        let all: Vec<_> = all.iter().map(|(name, value)| format!("{name:?}={value:?}")).collect();
        assert_eq!(all, [r#""GIVEN"="given""#, r#""LC_ALL"="C""#, r#""PATH"="/bin""#]);
        let mut theirs = child(&[]);
        theirs.agent.tenant = crate::ids::TenantName::parse("acme").ok();
        let all = theirs.environment([].into_iter());
        assert_eq!(all.get(&OsString::from(TENANT_ENV)), Some(&OsString::from("acme")));
    }
}
