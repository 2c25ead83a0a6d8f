//! The command line `takt`: what it is told and how it answers.
//!
//! Each command has a file with its arguments and what it does. Answers go to standard output, as a
//! table or as JSON lines; everything else goes to standard error. How a command ended is an
//! [`Outcome`] or a [`Failure`], and these are the only exit codes.

mod conflict;
mod connection;
mod cursor;
mod event_line;
mod import;
mod init;
mod order;
mod outcome;
pub mod output;
mod progress;
mod publish;
mod serve;
mod start;
mod status;
mod stop;
mod subscribe;
mod topic;
mod verify;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bench;
pub use outcome::{Failure, Outcome};
use output::Output;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but with conflicts \
    or damage to look at.";

/// Message broker and store for manufacturing events.
#[derive(Debug, Parser)]
#[command(name = "takt", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all commands take.
#[derive(Debug, Clone, Args)]
struct Common {
    /// The form of the answer; json is one value per line.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    /// Whom to talk to, and as whom: a client.toml or operator.toml of `takt init`. Else the file
    /// that TAKT_CONTEXT names, else ./client.toml.
    #[arg(long, global = true, value_name = "FILE")]
    context: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make certificates and configurations for a hub and its plants.
    #[command(after_help = EXIT_CODES)]
    Init(init::InitArgs),
    /// Run a node until SIGTERM or SIGINT.
    #[command(after_help = EXIT_CODES)]
    Serve(serve::ServeArgs),
    #[command(flatten)]
    Online(Online),
    /// Read a data directory in full and report damage. The node must not run.
    #[command(after_help = EXIT_CODES)]
    Verify(verify::VerifyArgs),
    /// Show a hub and two plants through cuts, kills and repeats, and count what arrived.
    #[command(after_help = EXIT_CODES)]
    Demo(crate::demo::DemoArgs),
    /// Measure a node on this machine.
    #[command(after_help = EXIT_CODES)]
    Bench(bench::BenchArgs),
}

/// What needs a node to talk to.
#[derive(Debug, Subcommand)]
enum Online {
    /// Make and show topics.
    #[command(subcommand, after_help = EXIT_CODES)]
    Topic(topic::TopicCommand),
    /// Publish CloudEvents, one JSON object per line.
    #[command(after_help = EXIT_CODES)]
    Pub(publish::PubArgs),
    /// Print the events of a topic as CloudEvents, one JSON object per line.
    #[command(after_help = EXIT_CODES)]
    Sub(subscribe::SubArgs),
    /// Show the history of an order.
    #[command(after_help = EXIT_CODES)]
    Order(order::OrderArgs),
    /// List, set and remove cursors, the durable positions of consumers.
    #[command(subcommand, after_help = EXIT_CODES)]
    Cursor(cursor::CursorCommand),
    /// Show events that were set aside: a known key with other content.
    #[command(subcommand, after_help = EXIT_CODES)]
    Conflict(conflict::ConflictCommand),
    /// Show how a node stands; exit code 3 where its disk is full, a link has diverged, or a read has
    /// met damage.
    #[command(after_help = EXIT_CODES)]
    Status,
    /// Publish the rows of a file.
    #[command(subcommand, after_help = EXIT_CODES)]
    Import(import::ImportCommand),
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return outcome::exit(Err(error.into())),
    };
    let code = runtime.block_on(run(common, command));
    // What still blocks, such as a read from a terminal, ends with the process.
    runtime.shutdown_background();
    code
}

async fn run(common: Common, command: Command) -> ExitCode {
    let Common { output, context } = common;
    outcome::exit(match command {
        Command::Init(args) => init::run(&args, output),
        Command::Serve(args) => serve::run(args, output).await,
        Command::Online(command) => online(command, output, context).await,
        Command::Verify(args) => verify::run(&args, output),
        Command::Demo(args) => return crate::demo::run(args).await,
        Command::Bench(args) => {
            bench::run(args, output).await.map(|()| Outcome::Done).map_err(|error| {
                if error.is_usage() {
                    Failure::usage(error.to_string())
                } else {
                    Failure::from(error)
                }
            })
        }
    })
}

async fn online(
    command: Online,
    output: Output,
    context: Option<PathBuf>,
) -> Result<Outcome, Failure> {
    connection::log_to_stderr();
    let client = connection::connect(context).await?;
    let result = match command {
        Online::Topic(command) => topic::run(&client, command, output).await,
        Online::Pub(args) => publish::run(&client, args, output).await,
        Online::Sub(args) => subscribe::run(&client, args).await,
        Online::Order(args) => order::run(&client, args, output).await,
        Online::Cursor(command) => cursor::run(&client, command, output).await,
        Online::Conflict(command) => conflict::run(&client, command, output).await,
        Online::Status => status::run(&client, output).await,
        Online::Import(command) => import::run(&client, command, output).await,
    };
    client.close().await;
    result
}
