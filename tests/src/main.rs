//! Tests that run for as long as they are told to, and say what they found.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use takt_tests::{images, simulate};

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
    /// Opens all that a power cut can leave of a recorded run.
    Images(images::run::Args),
    /// The same for every short sequence of operations.
    Scope(images::scope::Args),
    /// Fails every call of a run to the disk, once.
    Errors(images::errors::Args),
    /// Turns the bits of what lies still.
    Flips(images::flips::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Simulate(args) => simulate::run(&args),
        Command::Images(args) => images::run::run(&args),
        Command::Scope(args) => images::scope::run(&args),
        Command::Errors(args) => images::errors::run(&args),
        Command::Flips(args) => images::flips::run(&args),
    }
}
