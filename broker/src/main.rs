//! The command `takt`.

use std::process::ExitCode;

/// Events are made on one thread and freed on another, and a node runs for months.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    takt_broker::cli::main()
}
