//! Reads all runs and side files in full: what `takt verify` prints beside the journal's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::OpenError;
use super::manifest::{AtEnd, check_files, manifest_at_end, open_whole};
use crate::disk::Disk;
use crate::entry::SideFile;
use crate::journal::{Position, Scan};
use crate::runs::{KeyRun, RunError, RunInfo};
use crate::state::{Manifest, State, TableLimits};
use crate::view::{SideError, SideReader};

/// A file that the manifest names beside the journal's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFile {
    /// The run of a journal file.
    Run(RunInfo),
    /// A run that was merged from others.
    Keys(RunInfo),
    /// The open conflicts of a journal file.
    Side(SideFile),
}

impl KeptFile {
    /// The file's name.
    pub fn name(&self) -> String {
        match self {
            Self::Run(info) => info.name(),
            Self::Keys(info) => info.merged_name(),
            Self::Side(side) => side.name(),
        }
    }
}

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error)]
pub enum KeptDamage {
    /// A run is damaged.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A side file is damaged.
    #[error(transparent)]
    Side(#[from] SideError),
}

/// What was found of one file.
#[derive(Debug)]
pub struct RunReport {
    /// What the manifest says of it.
    pub info: KeptFile,
    /// What is wrong; `None` if it is whole.
    pub damage: Option<KeptDamage>,
}

const NO_TABLES: TableLimits = TableLimits { keys_max: 1, heads_recent: 1 };

/// Where the journal's files end, by their starts, as the manifest says: what
/// [`crate::journal::verify`] needs where the file behind one was dropped.
///
/// # Errors
/// [`OpenError`] where the journal's end cannot be read.
pub fn sealed_ends(disk: &Arc<dyn Disk>) -> Result<BTreeMap<Position, Position>, OpenError> {
    let scan = Scan::open(Arc::clone(disk))?;
    let (snapshot, at) = scan.newest_snapshot();
    let state = State::restore(snapshot, at, NO_TABLES)?;
    let AtEnd { all, .. } = manifest_at_end(&scan, &state, at)?;
    Ok(all.values().map(|file| (file.start, file.end)).collect())
}

/// Reads every run and every side file that the manifest names, oldest first, and reports on each.
/// Changes nothing.
///
/// # Errors
/// [`OpenError`] where the journal cannot say which runs and files there must be, or one of its
/// files is missing.
pub fn verify_runs(disk: &Arc<dyn Disk>) -> Result<Vec<RunReport>, OpenError> {
    let scan = Scan::open(Arc::clone(disk))?;
    let (snapshot, at) = scan.newest_snapshot();
    let state = State::restore(snapshot, at, NO_TABLES)?;
    let Manifest { files, merged, sides, .. } = manifest_at_end(&scan, &state, at)?.manifest;
    check_files(&scan, &files)?;
    let runs = files.values().filter_map(|file| file.run).map(|info| {
        let run = open_whole(&**disk, scan.id(), &info);
        RunReport { info: KeptFile::Run(info), damage: run.err().map(KeptDamage::from) }
    });
    let merged = merged.values().map(|info| {
        let run = KeyRun::open_merged(&**disk, scan.id(), info).map(Arc::new);
        let damage = run.and_then(|run| run.verify()).err().map(KeptDamage::from);
        RunReport { info: KeptFile::Keys(*info), damage }
    });
    let sides = sides.values().map(|info| {
        let side = SideReader::open(&**disk, scan.id(), info);
        let damage = side.and_then(|side| side.verify()).err().map(KeptDamage::from);
        RunReport { info: KeptFile::Side(*info), damage }
    });
    Ok(runs.chain(merged).chain(sides).collect())
}
