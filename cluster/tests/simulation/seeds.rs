//! The runner: one process for each seed, two at a time; some seeds twice, to see that they repeat.

use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::run;

/// Seeds of a run that nobody asked more of.
const SEEDS: u64 = 200;
/// Of these many seeds one is run twice.
const TWICE_EVERY: u64 = 10;
/// A seed that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = given("--seed") {
        run::one(seed, args.iter().any(|arg| arg == "--trace"));
        return ExitCode::SUCCESS;
    }
    let environment = std::env::var("OUTLIVE_SEEDS").ok().and_then(|text| text.parse().ok());
    let count = given("--seeds").or(environment).unwrap_or(SEEDS);
    many(given("--from").unwrap_or(1), count)
}

fn many(from: u64, count: u64) -> ExitCode {
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let repeated = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if from + count <= seed {
                        return;
                    }
                    if let Err(text) = check(seed, seed % TWICE_EVERY == 0, &repeated) {
                        println!("seed {seed} FAILED\n{text}");
                        println!("repeat it with: {} {seed}\n", run::REPEAT);
                        failed.lock().expect("no panic under this lock").push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("no panic under this lock");
    failed.sort_unstable();
    let repeated = repeated.into_inner();
    println!("simulation: {count} seeds, {} failed {failed:?}, {repeated} repeated", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(seed: u64, twice: bool, repeated: &AtomicUsize) -> Result<(), String> {
    let first = child(seed)?;
    println!("{}", first.trim_end());
    if twice {
        let second = child(seed)?;
        let hash = |text: &str| text.split(" cpu").next().unwrap_or_default().to_string();
        if hash(&first) != hash(&second) {
            return Err(format!("two runs differ:\n{first}{second}"));
        }
        repeated.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn child(seed: u64) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let patience = PATIENCE.as_secs().to_string();
    let mut command = Command::new("timeout");
    command.arg(patience).arg(program).arg("--seed").arg(seed.to_string());
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() {
        return Ok(out.into_owned());
    }
    let lines: Vec<&str> = err.lines().collect();
    let first = lines.iter().position(|line| line.contains("panicked")).unwrap_or(0);
    Err(format!("{status}\n{out}{}", lines[first..lines.len().min(first + 40)].join("\n")))
}
