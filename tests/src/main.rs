//! `takt-tests`: what runs for as long as it is told to, and says what it found.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use takt_tests::{cuts, faults, images, kills, simulate};

#[derive(Debug, Parser)]
#[command(name = "takt-tests", about = "Tests of Takt that run for as long as they are told to")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lives through seeds of the simulated world.
    Simulate(simulate::Args),
    /// Sees that each defect on purpose is caught by the simulated world.
    #[cfg(takt_planted)]
    Planted(takt_tests::planted::Args),
    /// Opens all that a power cut can leave of a recorded run.
    Images(images::run::Args),
    /// The same for every short sequence of operations.
    Scope(images::scope::Args),
    /// Fails every call of a run to the disk, once.
    Errors(images::errors::Args),
    /// Turns the bits of what lies still.
    Flips(images::flips::Args),
    /// Kills a node at random instants under load.
    Kills(kills::Args),
    /// Cuts the power of a node's disk under load.
    Cuts(cuts::Args),
    /// Puts a fault into each system call of a node's scripted life.
    Faults(faults::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Simulate(args) => simulate::run(&args),
        #[cfg(takt_planted)]
        Command::Planted(args) => takt_tests::planted::run(&args),
        Command::Images(args) => images::run::run(&args),
        Command::Scope(args) => images::scope::run(&args),
        Command::Errors(args) => images::errors::run(&args),
        Command::Flips(args) => images::flips::run(&args),
        Command::Kills(args) => kills::run(&args),
        Command::Cuts(args) => cuts::run(&args),
        Command::Faults(args) => faults::run(&args),
    }
}
