//! The command `takt`, built with the tests that run it as a process; with its allocator, since what
//! memory it takes is tested.

use std::process::ExitCode;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    takt_broker::cli::main()
}
