//! Runs that are made again at a start from their journal file alone: where retention by topic has
//! dropped a newer file, the journal cannot be replayed from the damaged run on.

use std::sync::Arc;

use super::OpenError;
use super::manifest::{SealedFiles, kept_runs};
use super::open::Replay;
use crate::catalog::Catalog;
use crate::disk::Disk;
use crate::entry::SealedFile;
use crate::journal::Scan;
use crate::runs::{KeyRun, RunError, RunInfo, RunReader};
use crate::state::{Manifest, State, TableLimits};

/// Makes the runs again that do not open and whose files are there. Returns what the manifest is to
/// say of these files: a run that leaves out what was trimmed is another one. Until an entry says so,
/// each start makes them again.
pub(super) fn remake_runs(
    disk: &Arc<dyn Disk>,
    scan: &Scan,
    at_end: (&Manifest, &SealedFiles),
    limits: TableLimits,
) -> Result<Vec<SealedFile>, OpenError> {
    let mut made = Vec::new();
    let (manifest, all) = at_end;
    for (file, info) in kept_runs(&manifest.files) {
        let Err(damage) = open_both(&**disk, scan, info) else { continue };
        tracing::warn!(start = %file.start, error = %damage, "a run is made again from its file");
        match remake(disk, scan, all, limits, file)? {
            Some(run) => made.push(SealedFile { run: Some(run), ..file.clone() }),
            None => return Err(OpenError::Run(damage)),
        }
    }
    Ok(made)
}

fn open_both(disk: &dyn Disk, scan: &Scan, info: &RunInfo) -> Result<(), RunError> {
    RunReader::open(disk, scan.id(), info)?;
    KeyRun::open(disk, scan.id(), info).map(drop)
}

/// A file's run holds what the file alone has taught, but for where its partitions begin, which `all`
/// that was ever sealed says.
fn remake(
    disk: &Arc<dyn Disk>,
    scan: &Scan,
    all: &SealedFiles,
    limits: TableLimits,
    file: &SealedFile,
) -> Result<Option<RunInfo>, OpenError> {
    let (snapshot, at) = scan.newest_snapshot();
    let mut state = State::restore(snapshot, at, limits)?;
    state.begin_replay(file.start, all.values().filter(|old| old.end <= file.start));
    let mut replay = Replay::new(scan, disk, state, Catalog::new(file.start), file.start);
    replay.files.retain(|info| info.start == file.start);
    let mut failed = None;
    let is_there = scan.replay_one(file.start, &mut |commit| {
        if failed.is_none() {
            failed = replay.commit(commit).err();
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    replay.pass(file.end);
    let Some(whole) = replay.unwritten.pop().filter(|_| is_there) else { return Ok(None) };
    match whole.work.write() {
        Ok(written) => Ok(Some(written.info)),
        Err(error) => {
            tracing::warn!(start = %file.start, %error, "a run could not be made again");
            Ok(None)
        }
    }
}
