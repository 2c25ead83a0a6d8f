//! One life of a node, for system calls to fail in. See `takt_tests::script`.

use std::process::ExitCode;

fn main() -> ExitCode {
    takt_tests::script::main()
}
