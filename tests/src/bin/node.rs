//! The command `takt`, built with the tests that run it as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    takt_broker::cli::main()
}
