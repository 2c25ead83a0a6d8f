//! `takt verify`

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::journal::verify;

use super::outcome::{Failure, Outcome};
use super::output::{Cell, Column, Output, Style, Table, Tone, count, json_line, size};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The data directory of a node (`data_dir` in its configuration).
    dir: PathBuf,
}

/// What was found of a file.
#[derive(Serialize)]
struct Found {
    file: String,
    commits: u64,
    bytes: u64,
    damage: Option<String>,
}

pub(super) fn run(args: &VerifyArgs, output: Output) -> Result<Outcome, Failure> {
    let dir = args.dir.display();
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{dir}: {error}"));
    // Opening a disk makes its directory, and this command makes nothing.
    if !args.dir.is_dir() {
        return Err(failed(&"there is no such directory"));
    }
    let disk = RealDisk::open(&args.dir).map_err(|error| failed(&error))?;
    let _lock = disk.lock().map_err(|error| failed(&error).hint("stop the node first"))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let reports = verify(&disk).map_err(|error| failed(&super::outcome::with_causes(&error)))?;
    let found: Vec<Found> = reports
        .into_iter()
        .map(|report| Found {
            file: report.name,
            commits: report.commits,
            bytes: report.bytes,
            damage: report.damage.map(|damage| damage.to_string()),
        })
        .collect();
    show(&found, output)?;
    let damaged = found.iter().any(|file| file.damage.is_some());
    Ok(if damaged { Outcome::Look } else { Outcome::Done })
}

fn show(found: &[Found], output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        return found.iter().try_for_each(|file| json_line(&mut out, file));
    }
    let mut table = Table::new([
        Column::left("FILE"),
        Column::right("COMMITS"),
        Column::right("SIZE"),
        Column::left("STATE"),
    ]);
    for file in found {
        let state = match &file.damage {
            None => Cell::from("whole").tone(Tone::Good),
            Some(damage) => Cell::from(damage.as_str()).tone(Tone::Bad),
        };
        let [commits, bytes] = [count(file.commits), size(file.bytes)];
        table.push([file.file.as_str().into(), commits.into(), bytes.into(), state]);
    }
    table.write(&mut out, Style::stdout())?;
    out.flush()
}
