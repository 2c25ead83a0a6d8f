//! The command line, from outside: real processes, their answers and their exit codes.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod bench;
mod import;
mod operate;
mod site;
