//! `takt-tests simulate`: lives through seeds of the simulated world and says what it found.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "takt-tests", about = "Tests of Takt that run for as long as they are told to")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lives through seeds of the simulated world.
    Simulate(takt_tests::simulate::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Simulate(args) => takt_tests::simulate::run(&args),
    }
}
