//! The same workload against Takt, NATS JetStream and Redis Streams.
//!
//! - [`contender`]: the systems, with what each promises: whether an acknowledgement means synced,
//!   and whether a repeat is known. Rates without that say nothing.
//! - [`workload`]: what is asked of all of them, and the loop of a producer.
//! - [`run`]: a system that is started anew in an empty directory, one workload, and the check that
//!   it holds exactly as many events as it has acknowledged.
//! - [`rounds`]: all runs, interleaved, with what the [`machine`] itself can do at that time.
//! - [`results`], [`markdown`], [`plot`]: what it comes to.
//!
//! Servers listen on loopback, at ports that the system chooses, and end with this program.

mod args;
mod contender;
mod event;
mod machine;
mod markdown;
mod plot;
mod results;
mod rounds;
mod run;
mod server;
mod stats;
mod workload;

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use args::Args;
use contender::ProgramsError;
use results::{Line, ReadError, Results};
use rounds::{Plan, RoundsError};

/// For the clients of all systems: what they allocate is not what is compared.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    #[error(transparent)]
    Rounds(#[from] RoundsError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot print the results: {0}")]
    Print(io::Error),
    #[error("cannot start the runtime, or wait for signals: {0}")]
    Runtime(io::Error),
    #[error("interrupted")]
    Interrupted,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match compare(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("takt-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<(), CompareError> {
    let results = match &args.from {
        Some(path) => Results::read(BufReader::new(at(path, File::open(path))?))?,
        None => measure(args, &args.plan()?)?,
    };
    if let Some(path) = &args.plot {
        at(path, std::fs::write(path, plot::svg(&results)))?;
    }
    let tables = markdown::markdown(&results);
    if let Some(path) = &args.markdown {
        at(path, std::fs::write(path, &tables))?;
    }
    if args.json {
        return Ok(());
    }
    io::stdout().write_all(tables.as_bytes()).map_err(CompareError::Print)
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, CompareError> {
    result.map_err(|source| CompareError::File { path: path.to_owned(), source })
}

/// Runs the plan until it is done or somebody ends it. Either way no server is left.
fn measure(args: &Args, plan: &Plan) -> Result<Results, CompareError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(CompareError::Runtime)?.block_on(async {
        let mut results = Results::default();
        let mut term = signal(SignalKind::terminate()).map_err(CompareError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CompareError::Runtime)?;
        tokio::select! {
            done = rounds::all(plan, |line| tell(line, args.json, &mut results)) => done?,
            _ = term.recv() => return Err(CompareError::Interrupted),
            _ = interrupt.recv() => return Err(CompareError::Interrupted),
        }
        Ok(results)
    })
}

/// Says what was found: on standard error for whoever waits, and as JSON where that was asked for.
fn tell(line: Line, json: bool, results: &mut Results) -> io::Result<()> {
    match &line {
        Line::About(about) => eprintln!("{}; {}", about.machine, about.versions.join("; ")),
        Line::Skipped(skipped) => {
            eprintln!("SKIPPED {}: {}", skipped.contender.title(), skipped.reason);
        }
        Line::Limits(limits) => eprintln!("round {}: limits measured", limits.round),
        Line::Run(run) => eprintln!(
            "round {}: {}, {}: {} events a second, p50 {}",
            run.round,
            run.workload.title(),
            run.contender.title(),
            markdown::count(run.events_per_s),
            markdown::ms(results::micros(run.p50_us)),
        ),
    }
    if json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    results.add(line);
    Ok(())
}
