//! Work that a node cannot be without. Should it panic, the process ends and comes back from the journal,
//! rather than going on half alive.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// Runs `work`; its panic is the end of the process.
pub async fn essential<F: Future>(name: &'static str, work: F) -> F::Output {
    guarded(name, work, || std::process::abort()).await
}

async fn guarded<F: Future>(
    name: &'static str,
    work: F,
    end: impl FnOnce() -> F::Output,
) -> F::Output {
    // Nothing looks at what a panic left behind: the process ends.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(output) => output,
        Err(_) => {
            tracing::error!(name, "a part of the node panicked; the process ends");
            end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_ends_the_process_and_other_work_does_not() {
        assert_eq!(guarded("good", async { 1 }, || 2).await, 1);
        let bad = async {
            tokio::task::yield_now().await;
            panic!("it fails, as it should")
        };
        assert_eq!(guarded("bad", bad, || 2).await, 2);
    }
}
