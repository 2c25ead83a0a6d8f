//! `takt verify`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::journal::verify;
use takt_storage::store::{sealed_ends, verify_runs};

use super::outcome::{Failure, Outcome, with_causes};
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
    /// Of a file of the journal.
    commits: Option<u64>,
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
    // Where the journal's end is damaged, that is what will be reported.
    let ends = sealed_ends(&disk).unwrap_or_default();
    let reports = verify(&disk, &ends).map_err(|error| failed(&with_causes(&error)))?;
    let mut found: Vec<Found> = reports
        .into_iter()
        .map(|report| Found {
            file: report.name,
            commits: Some(report.commits),
            bytes: report.bytes,
            damage: report.damage.map(|damage| damage.to_string()),
        })
        .collect();
    let is_damaged = |found: &[Found]| found.iter().any(|file| file.damage.is_some());
    // Which runs there must be is known from a journal that is whole.
    if is_damaged(&found) {
        eprintln!("takt: the journal is damaged, so runs are not looked at");
    } else {
        match runs(&disk) {
            Ok(runs) => found.extend(runs),
            // Such as a file of the journal that is missing.
            Err(error) => found.push(Found {
                file: "journal".to_owned(),
                commits: None,
                bytes: 0,
                damage: Some(error),
            }),
        }
    }
    show(&found, output)?;
    Ok(if is_damaged(&found) { Outcome::Look } else { Outcome::Done })
}

/// The runs that the journal names.
fn runs(disk: &Arc<dyn Disk>) -> Result<Vec<Found>, String> {
    let reports = verify_runs(disk).map_err(|error| with_causes(&error))?;
    let lens: BTreeMap<String, u64> =
        disk.list().map_err(|error| error.to_string())?.into_iter().collect();
    let found = reports.into_iter().map(|report| {
        let file = report.info.name();
        Found {
            commits: None,
            bytes: lens.get(&file).copied().unwrap_or(0),
            damage: report.damage.map(|damage| with_causes(&damage)),
            file,
        }
    });
    Ok(found.collect())
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
        let commits = file.commits.map_or(String::new(), count);
        let bytes = size(file.bytes);
        table.push([file.file.as_str().into(), commits.into(), bytes.into(), state]);
    }
    table.write(&mut out, Style::stdout())?;
    out.flush()
}
