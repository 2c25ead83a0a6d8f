//! Journal files that are gone from the journal's end, where nothing in the journal names them, and the
//! name of the newest is not there or behind: an older node left the directory, or the disk was full. A run,
//! a side file and a pack are made of files that were closed, when the next one was there for good: so there
//! is always a journal file behind what they were made of.

use std::sync::Arc;

use super::OpenError;
use crate::disk::Disk;
use crate::journal::{Position, Scan, ScanError};
use crate::kept::{parse_pack, parse_side};
use crate::runs::RunInfo;

/// Scans the directory, and looks whether its newest journal files are missing.
///
/// # Errors
/// [`OpenError`]; [`ScanError::NoJournal`] only where nothing says that there was one.
pub(super) fn scan(disk: &Arc<dyn Disk>) -> Result<Scan, OpenError> {
    let scan = Scan::open(Arc::clone(disk));
    let newest = match &scan {
        Ok(scan) => scan.files().last().map(|file| file.start),
        Err(ScanError::NoJournal) => None,
        Err(_) => return Ok(scan?),
    };
    for (name, _) in disk.list().map_err(OpenError::List)? {
        let Some(least) = newest_at_least(&name) else { continue };
        if newest.is_none_or(|newest| newest < least) {
            return Err(OpenError::NewestMissing { witness: name });
        }
    }
    Ok(scan?)
}

/// Where the newest journal file begins at the earliest, if a file of this name is there.
fn newest_at_least(name: &str) -> Option<Position> {
    let of_file = RunInfo::parse_name(name).map(|(start, _)| start).or_else(|| parse_side(name));
    let behind = |start: Position| Position::new(start.get().saturating_add(1));
    let to_end = RunInfo::parse_merged_name(name).or_else(|| parse_pack(name));
    of_file.map(behind).or_else(|| to_end.map(|(_, end)| end))
}
