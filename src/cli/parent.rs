//! Ending with the process that started this one, however that happens.

/// Has the kernel kill this process when the one that started it ends; where it is known which that
/// must be, and it has ended already, fails.
///
/// # Errors
/// The parent has ended, or this system cannot do it.
#[cfg(target_os = "linux")]
pub(super) fn end_with_it(parent: Option<u32>) -> anyhow::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before it was watched.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    let is_there = parent.is_none() || parent == now;
    anyhow::ensure!(is_there, "the process that was to start this one did not, or has ended");
    Ok(())
}

/// See the other one.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_with_it(_parent: Option<u32>) -> anyhow::Result<()> {
    anyhow::bail!("a process ends with its parent on Linux only")
}
