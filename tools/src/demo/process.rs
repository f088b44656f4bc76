//! Processes as the kernel lists them: who was started by whom, and whether they run.
//!
//! A process id is given again; together with the moment of its start it is one process.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    parent: u32,
    /// Stopped by a signal: it lives and does nothing.
    pub(super) is_stopped: bool,
    has_ended: bool,
    /// When it began, in ticks since the machine did.
    began: u64,
}

/// What can be done to a process from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    Kill,
    Stop,
    Continue,
}

impl Blow {
    /// As it is typed into a shell.
    pub(super) fn command(self, pid: u32) -> String {
        match self {
            Blow::Kill => format!("kill -9 {pid}"),
            Blow::Stop => format!("kill -STOP {pid}"),
            Blow::Continue => format!("kill -CONT {pid}"),
        }
    }

    fn signal(self) -> Signal {
        match self {
            Blow::Kill => Signal::KILL,
            Blow::Stop => Signal::STOP,
            Blow::Continue => Signal::CONT,
        }
    }
}

impl Process {
    /// Takes a line of `/proc/PID/stat`; the name in it may hold anything, brackets included.
    fn parse(line: &str) -> Option<Process> {
        let pid = line.split(' ').next()?.parse().ok()?;
        let (_, rest) = line.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // The 22nd field of proc_pid_stat(5); the first two and these two are behind us.
        let began = fields.nth(17)?.parse().ok()?;
        let (is_stopped, has_ended) =
            (matches!(state, "T" | "t"), matches!(state, "Z" | "X" | "x"));
        Some(Process { pid, parent, is_stopped, has_ended, began })
    }

    /// How the process with this id is now.
    fn look(pid: u32) -> Option<Process> {
        Process::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether it is still the one that was seen, and has not ended.
    pub(super) fn lives(&self) -> bool {
        Process::look(self.pid).is_some_and(|now| now.began == self.began && !now.has_ended)
    }

    /// Sends the signal; returns whether there was a process to get it.
    pub(super) fn strike(&self, blow: Blow) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        self.lives() && pid.is_some_and(|pid| kill_process(pid, blow.signal()).is_ok())
    }
}

/// The processes that `ancestor` started, and those that they did, in order of their start.
pub(super) fn descendants(ancestor: u32) -> Vec<Process> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::look)
        .filter(|process| !process.has_ended)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            if !found.iter().any(|known| known.pid == child.pid) {
                found.push(*child);
                parents.push(child.pid);
            }
        }
    }
    found.sort_by_key(|process| (process.began, process.pid));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        let line = "71 (a) T 1 (b) T 9 71 71 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let process = Process::parse(line).unwrap();
        assert_eq!((process.pid, process.parent, process.began), (71, 9, 4242));
        assert!(process.is_stopped && !process.has_ended);
        assert_eq!(Process::parse("71 (a"), None);
    }

    #[test]
    fn this_process_lives_and_began_when_it_did() {
        let own = Process::look(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!Process { began: own.began + 1, ..own }.lives());
    }
}
