//! `takt-tests`: what runs for as long as it is told to, and says what it found.

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
    /// Kills a node at random instants under load.
    Kills(takt_tests::kills::Args),
    /// Cuts the power of a node's disk under load.
    Cuts(takt_tests::cuts::Args),
    /// Puts a fault into each system call of a node's scripted life.
    Faults(takt_tests::faults::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Simulate(args) => takt_tests::simulate::run(&args),
        Command::Cuts(args) => takt_tests::cuts::run(&args),
        Command::Faults(args) => takt_tests::faults::run(&args),
        Command::Kills(args) => takt_tests::kills::run(&args),
    }
}
