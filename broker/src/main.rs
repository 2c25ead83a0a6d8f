//! The command `takt`.

use std::process::ExitCode;

fn main() -> ExitCode {
    takt_broker::cli::main()
}
