//! Reads all runs, side files and packs in full: what `takt verify` prints beside the journal's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manifest::{AtEnd, SealedFiles, check_files, manifest_at_end, open_whole};
use super::{OpenError, witness};
use crate::disk::Disk;
use crate::entry::{PackFile, SideFile};
use crate::journal::{self, Position, Scan, ScanError};
use crate::kept::{KeptError, PackReader, SideReader};
use crate::runs::{KeyRun, RunError, RunInfo, RunReader};
use crate::state::{Manifest, State, TableLimits};

/// A file that the manifest names beside the journal's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFile {
    /// The run of a journal file.
    Run(RunInfo),
    /// A run that was merged from others.
    Keys(RunInfo),
    /// The open conflicts of a journal file.
    Side(SideFile),
    /// What several journal files still held.
    Pack(PackFile),
}

impl KeptFile {
    /// The file's name.
    pub fn name(&self) -> String {
        match self {
            Self::Run(info) => info.name(),
            Self::Keys(info) => info.merged_name(),
            Self::Side(side) => side.name(),
            Self::Pack(pack) => pack.name(),
        }
    }
}

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error)]
pub enum KeptDamage {
    /// A run is damaged.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A side file or a pack is damaged.
    #[error(transparent)]
    Kept(#[from] KeptError),
}

/// What was found of one file.
#[derive(Debug)]
pub struct RunReport {
    /// What the manifest says of it.
    pub info: KeptFile,
    /// What is wrong; `None` if it is whole.
    pub damage: Option<KeptDamage>,
}

/// Why a look through the journal did not find it whole.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file is damaged that no other start would read.
    #[error(
        "{file}: {what}; restore it from a backup, or set journal.check_at_start = \"tail\" to go on: \
         all else is served then, and reads of what is damaged fail"
    )]
    Damaged {
        /// The first file that is, oldest first.
        file: String,
        /// What is wrong, with the position.
        what: String,
    },
    /// Damage that stops every start.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Reads all journal files, packs and side files to their ends, and the runs of files that are packed; of
/// the others, which can be made again from their journal files, none. Takes time that grows with what is kept; a directory without a journal is whole.
///
/// # Errors
/// [`CheckError`]. Nothing was changed.
pub fn check(disk: &Arc<dyn Disk>) -> Result<(), CheckError> {
    let (scan, AtEnd { manifest, all }) = match at_end(disk) {
        Err(OpenError::Scan(ScanError::NoJournal)) => return Ok(()),
        read => read?,
    };
    check_files(&scan, &manifest)?;
    let damaged = |file, what| Err(CheckError::Damaged { file, what });
    for report in journal::verify(disk, &ends_of(&all)).map_err(OpenError::from)? {
        if let Some(damage) = report.damage {
            return damaged(report.name, damage.to_string());
        }
    }
    for side in manifest.sides.values() {
        if let Some(damage) = side_damage(&**disk, &scan, side) {
            return damaged(side.name(), damage.to_string());
        }
    }
    for pack in manifest.packs.values() {
        let pack = PackReader::open(&**disk, scan.id(), pack).map_err(OpenError::Pack)?;
        if let Err(damage) = pack.verify() {
            return damaged(pack.info().name(), damage.to_string());
        }
    }
    // No start makes these again.
    let packed = manifest.files.values().filter(|file| manifest.pack_of(file.start).is_some());
    for info in packed.filter_map(|file| file.run.as_ref()) {
        let run = RunReader::open(&**disk, scan.id(), info).map_err(OpenError::Run)?;
        let keys = KeyRun::open(&**disk, scan.id(), info).map(Arc::new).map_err(OpenError::Run)?;
        if let Err(damage) = run.verify().and_then(|()| keys.verify()) {
            return damaged(info.name(), damage.to_string());
        }
    }
    Ok(())
}

fn side_damage(disk: &dyn Disk, scan: &Scan, info: &SideFile) -> Option<KeptError> {
    SideReader::open(disk, scan.id(), info).and_then(|side| side.verify()).err()
}

fn pack_damage(disk: &dyn Disk, scan: &Scan, info: &PackFile) -> Option<KeptError> {
    PackReader::open(disk, scan.id(), info).and_then(|pack| pack.verify()).err()
}

const NO_TABLES: TableLimits = TableLimits { keys_max: 1, heads_recent: 1 };

/// What the journal's end says that there must be.
fn at_end(disk: &Arc<dyn Disk>) -> Result<(Scan, AtEnd), OpenError> {
    let scan = witness::scan(disk)?;
    let (snapshot, at) = scan.newest_snapshot();
    let state = State::restore(snapshot, at, NO_TABLES)?;
    let found = manifest_at_end(&scan, &state, at)?;
    Ok((scan, found))
}

fn ends_of(all: &SealedFiles) -> BTreeMap<Position, Position> {
    all.values().map(|file| (file.start, file.end)).collect()
}

/// Where the journal's files end, by their starts, as the manifest says: what
/// [`crate::journal::verify`] needs where the file behind one was dropped.
///
/// # Errors
/// [`OpenError`] where the journal's end cannot be read.
pub fn sealed_ends(disk: &Arc<dyn Disk>) -> Result<BTreeMap<Position, Position>, OpenError> {
    Ok(ends_of(&at_end(disk)?.1.all))
}

/// Reads every run, side file and pack that the manifest names, oldest first, and reports on each.
/// Changes nothing.
///
/// # Errors
/// [`OpenError`] where the journal cannot say which runs and files there must be, or one of its
/// files is missing.
pub fn verify_runs(disk: &Arc<dyn Disk>) -> Result<Vec<RunReport>, OpenError> {
    let (scan, AtEnd { manifest, .. }) = at_end(disk)?;
    check_files(&scan, &manifest)?;
    let Manifest { files, merged, sides, packs, .. } = manifest;
    let runs = files.values().filter_map(|file| file.run).map(|info| {
        let run = open_whole(&**disk, scan.id(), &info);
        RunReport { info: KeptFile::Run(info), damage: run.err().map(KeptDamage::from) }
    });
    let merged = merged.values().map(|merged| {
        let run = KeyRun::open_merged(&**disk, scan.id(), &merged.run).map(Arc::new);
        let damage = run.and_then(|run| run.verify()).err().map(KeptDamage::from);
        RunReport { info: KeptFile::Keys(merged.run), damage }
    });
    let sides = sides.values().map(|info| {
        let damage = side_damage(&**disk, &scan, info).map(KeptDamage::from);
        RunReport { info: KeptFile::Side(*info), damage }
    });
    let packs = packs.values().map(|info| {
        let damage = pack_damage(&**disk, &scan, info).map(KeptDamage::from);
        RunReport { info: KeptFile::Pack(*info), damage }
    });
    Ok(runs.chain(merged).chain(sides).chain(packs).collect())
}
