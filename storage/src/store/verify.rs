//! Reads all runs in full: what `takt verify` prints beside the journal's files.

use std::sync::Arc;

use super::OpenError;
use super::open::{check_files, manifest_at_end};
use crate::disk::Disk;
use crate::journal::Scan;
use crate::runs::{RunError, RunInfo, RunReader};
use crate::state::State;

/// What was found of one run.
#[derive(Debug)]
pub struct RunReport {
    /// What the manifest says of it.
    pub info: RunInfo,
    /// What is wrong; `None` if it is whole.
    pub damage: Option<RunError>,
}

/// Reads every run that the manifest names, oldest first, and reports on each. Changes nothing.
///
/// # Errors
/// [`OpenError`] where the journal cannot say which runs and files there must be, or one of its
/// files is missing.
pub fn verify_runs(disk: &Arc<dyn Disk>) -> Result<Vec<RunReport>, OpenError> {
    let scan = Scan::open(Arc::clone(disk))?;
    let (snapshot, at) = scan.newest_snapshot();
    // The tables stay empty.
    let state = State::restore(snapshot, at, 1)?;
    let (manifest, _) = manifest_at_end(&scan, &state, at)?;
    check_files(&scan, &manifest)?;
    let infos = manifest.values().filter_map(|file| file.run);
    let report = |info: RunInfo| {
        let run = RunReader::open(&**disk, scan.id(), &info);
        RunReport { info, damage: run.and_then(|run| run.verify()).err() }
    };
    Ok(infos.map(report).collect())
}
