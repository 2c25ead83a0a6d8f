//! How long a start takes after `kill -9`, by how much journal there is and by how much of it lies
//! behind the last checkpoint.
//!
//! A program of its own and no criterion benchmark: one sample is a whole directory, each opening
//! must be in a new process (its memory is measured too), and criterion wants ten samples at least.
//!
//! For each size and tail one process writes a journal and is killed. What it left is opened again
//! and again, from links to its files: first with none of them in memory, then with what the
//! opening before has read. `TMPDIR`, or `--dir`, says on which disk.

mod history;
mod image;
mod opening;
mod report;

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;
use takt_benches::cache;

use history::{Left, Tail};
use opening::{Opening, What};
use report::Series;

/// Measures how long a start takes after kill -9.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    step: Option<Step>,
    #[command(flatten)]
    plan: Plan,
}

/// What is measured.
#[derive(Debug, Args)]
struct Plan {
    /// Journal before the last checkpoint, in MiB: 10240 is 10 GiB, which takes 14 GiB of disk.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1024])]
    mib: Vec<u64>,
    /// Journal behind the last checkpoint.
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["short", "half", "full", "two"])]
    tail: Vec<Tail>,
    /// What is opened.
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["store", "node", "whole"])]
    what: Vec<What>,
    /// Openings of each kind.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Where journals are written, in a directory that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// JSON lines instead of a table.
    #[arg(long)]
    json: bool,
}

/// What this program does in processes of its own.
#[derive(Debug, Subcommand)]
enum Step {
    /// Writes a journal, says what there is, and waits to be killed.
    #[command(hide = true)]
    Write { dir: PathBuf, mib: u64, tail: Tail },
    /// Opens a directory and says how long it took.
    #[command(hide = true)]
    Open { dir: PathBuf, what: What },
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum MeasureError {
    #[error("{what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("a process of this program did not say what it found: {0}")]
    Step(#[from] serde_json::Error),
    #[error("the store knows {found} keys after the start; {expected} events were acknowledged")]
    KeysLost { found: usize, expected: usize },
}

fn io(what: &'static str) -> impl Fn(io::Error) -> MeasureError {
    move |source| MeasureError::Io { what, source }
}

fn main() -> ExitCode {
    let Arguments { step, plan } = Arguments::parse();
    let done = match step {
        None => measure(&plan),
        Some(Step::Write { dir, mib, tail }) => {
            // It lives until the process is killed.
            let (_feed, left) = history::write(&dir, mib << 20, tail);
            say(&left).and_then(|()| {
                io::stdin().read_line(&mut String::new()).map(drop).map_err(io("waiting"))
            })
        }
        Some(Step::Open { dir, what }) => say(&opening::open(&dir, what)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: &Plan) -> Result<(), MeasureError> {
    let parent = plan.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut all = Vec::new();
    for &mib in &plan.mib {
        for &tail in &plan.tail {
            let home = tempfile::tempdir_in(&parent).map_err(io("making a directory"))?;
            let made = home.path().join("left");
            let left = write_and_kill(&made, mib, tail)?;
            cache::settle(&made).map_err(io("syncing what was left"))?;
            for &what in &plan.what {
                for cold in [true, false] {
                    let openings = (0..plan.runs).map(|_| sample(&made, left, what, cold));
                    let openings = openings.collect::<Result<_, _>>()?;
                    all.push(Series {
                        tail,
                        left,
                        what,
                        cold,
                        load: cache::load().map_err(io("reading the load"))?,
                        openings,
                    });
                    eprintln!("{} of {mib} MiB, tail {tail:?}", all.len());
                }
            }
        }
    }
    let out = &mut io::stdout().lock();
    let written = if plan.json { report::json(out, &all) } else { report::table(out, &all) };
    written.map_err(io("printing"))
}

/// Has a process write a journal, and kills it.
fn write_and_kill(dir: &Path, mib: u64, tail: Tail) -> Result<Left, MeasureError> {
    let tail = clap::ValueEnum::to_possible_value(&tail).expect("no tail is hidden");
    let mib = mib.to_string();
    let mut command = this_program()?;
    command.arg("write").arg(dir).args([&mib, tail.get_name()]).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(io("starting a process"))?;
    let left = said(&mut child);
    child.kill().map_err(io("killing the writer"))?;
    child.wait().map_err(io("waiting for the writer's end"))?;
    left
}

/// Has a process open what was left.
fn sample(left_in: &Path, left: Left, what: What, cold: bool) -> Result<Opening, MeasureError> {
    let dir = left_in.with_file_name("opened");
    image::link(left_in, &dir).map_err(io("linking what was left"))?;
    if cold {
        cache::evict(&dir).map_err(io("emptying the page cache"))?;
    }
    let what = clap::ValueEnum::to_possible_value(&what).expect("nothing is hidden");
    let mut command = this_program()?;
    command.arg("open").arg(&dir).arg(what.get_name());
    let mut child = command.spawn().map_err(io("starting a process"))?;
    let opening: Result<Opening, _> = said(&mut child);
    child.wait().map_err(io("waiting for an opening's end"))?;
    std::fs::remove_dir_all(&dir).map_err(io("removing what was opened"))?;
    let opening = opening?;
    if opening.keys != left.events {
        return Err(MeasureError::KeysLost { found: opening.keys, expected: left.events });
    }
    Ok(opening)
}

fn this_program() -> Result<Command, MeasureError> {
    let mut command = Command::new(std::env::current_exe().map_err(io("finding this program"))?);
    command.stdout(Stdio::piped());
    Ok(command)
}

/// The line that a process says.
fn said<T: DeserializeOwned>(child: &mut Child) -> Result<T, MeasureError> {
    let mut line = String::new();
    let out = child.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).map_err(io("listening to a process"))?;
    Ok(serde_json::from_str(&line)?)
}

fn say(value: &impl serde::Serialize) -> Result<(), MeasureError> {
    takt_broker::cli::output::json_line(&mut io::stdout(), value).map_err(io("printing"))?;
    io::stdout().flush().map_err(io("printing"))
}
