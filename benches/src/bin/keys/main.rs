//! What a ledger of many live keys takes in memory and on the disk, and what judging costs beside it.
//!
//! Events with a dedup key each are published through a store that syncs nothing, until so many
//! keys are in runs; it writes and merges these as a node does. Then all is measured in one go. It
//! runs in a process of its own, so that its directory is removed however it ends. `TMPDIR`, or
//! `--dir`, says on which disk.

mod filled;
mod repeats;
mod report;
mod rounds;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use takt_benches::cache;
use takt_storage::disk::{Disk, RealDisk};

use report::Report;

/// What a key takes on the disk while its run is merged: in the old run and in the new one.
const KEY_BYTES: u64 = 2 * 52;
/// Journal files, and room to spare.
const OTHER_BYTES: u64 = 4 << 30;

/// Measures a ledger of many live keys: memory, disk, and what judging costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Live keys in runs, in millions, at least: 100 take 15 GiB of disk for a while.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    millions: u64,
    /// Rounds in which fresh keys are judged, beside all those and beside none.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=12))]
    rounds: u16,
    /// Old keys that are repeated, each once cold and once warm.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// It is given up where the keys are not there by then.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes_max: u64,
    /// Where the store is, in a directory that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// The directory that the process in front has made.
    #[arg(long, hide = true)]
    within: Option<PathBuf>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum MeasureError {
    #[error("{what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("{free_bytes} bytes are free on the disk; {needed_bytes} are needed")]
    NoRoom { free_bytes: u64, needed_bytes: u64 },
    #[error(
        "after {minutes_max} minutes {keys} keys are in runs; let it take longer (--minutes-max)"
    )]
    TooSlow { minutes_max: u64, keys: u64 },
    #[error("the process that measures has failed")]
    Failed,
}

fn io(what: &'static str) -> impl Fn(io::Error) -> MeasureError {
    move |source| MeasureError::Io { what, source }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.within {
        None => in_front(&arguments),
        Some(home) => measure(home, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(MeasureError::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the directory, has a process measure in it, and removes it.
fn in_front(arguments: &Arguments) -> Result<(), MeasureError> {
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let home = tempfile::tempdir_in(parent).map_err(io("making a directory"))?;
    let program = std::env::current_exe().map_err(io("finding this program"))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg("--within").arg(home.path());
    let status = command.status().map_err(io("starting a process"))?;
    home.close().map_err(io("removing the directory"))?;
    if status.success() { Ok(()) } else { Err(MeasureError::Failed) }
}

fn measure(home: &Path, arguments: &Arguments) -> Result<(), MeasureError> {
    let keys = arguments.millions * 1_000_000;
    let disk = RealDisk::open(home).map_err(io("opening the directory"))?;
    let free_bytes = disk.free_bytes().map_err(io("asking for free space"))?;
    let needed_bytes = keys * KEY_BYTES + OTHER_BYTES;
    if free_bytes < needed_bytes {
        return Err(MeasureError::NoRoom { free_bytes, needed_bytes });
    }
    let (full_dir, empty_dir) = (home.join("full"), home.join("empty"));
    let started = Instant::now();
    let ends = started + Duration::from_mins(arguments.minutes_max);
    let mut full = filled::fill(&full_dir, keys, ends)
        .map_err(|keys| MeasureError::TooSlow { minutes_max: arguments.minutes_max, keys })?;
    let fill_seconds = started.elapsed().as_secs_f64();
    cache::settle(&full_dir).map_err(io("syncing the store"))?;
    let sizes = full.sizes(&full_dir).map_err(io("asking for the length of a run"))?;
    eprintln!("{} keys are in runs; measuring", sizes.keys);
    let false_per_million = rounds::false_per_million(&full);
    let mut empty = filled::empty(&empty_dir);
    let rounds = rounds::judge(&mut full, &mut empty, arguments.rounds);
    let repeats = repeats::judge(&mut full, &full_dir, arguments.repeats)
        .map_err(io("emptying the page cache"))?;
    let load = cache::load().map_err(io("reading the load"))?;
    let report = Report { sizes, fill_seconds, false_per_million, rounds, repeats, load };
    let out = &mut io::stdout().lock();
    let written = if arguments.json { report.json(out) } else { report.table(out) };
    written.map_err(io("printing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_ledger_is_measured() {
        let home = tempfile::tempdir().unwrap();
        let (full_dir, empty_dir) = (home.path().join("full"), home.path().join("empty"));
        let ends = Instant::now() + Duration::from_mins(10);
        let mut full = filled::fill(&full_dir, 1, ends).unwrap();
        let sizes = full.sizes(&full_dir).unwrap();
        assert!(sizes.keys > 0 && sizes.runs == 1, "{sizes:?}");
        assert!(sizes.memory_bytes > 2 * sizes.keys && sizes.disk_bytes > 48 * sizes.keys);
        let mut empty = filled::empty(&empty_dir);
        assert_eq!(rounds::judge(&mut full, &mut empty, 1).len(), 1);
        // It panics where a verdict is not the right one.
        repeats::judge(&mut full, &full_dir, 5).unwrap();
    }
}
