//! The one binary, and the allocator that all of it uses.

use std::process::ExitCode;

/// Every entry is dozens of small pieces that are made on one thread and dropped on another, which costs
/// the system's allocator twice the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outlive::cli::main()
}
