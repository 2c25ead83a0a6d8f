//! Walks all files of a journal and says what is wrong with each: what `takt verify` prints.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use super::{
    layout::{BLOCK, wide},
    names,
    position::{Chain, Position},
    preamble::{Preamble, PreambleError},
    scan::{Scan, ScanError, ScannedFile},
    walk::Walk,
};
use crate::disk::Disk;

/// What was found of one file.
#[derive(Debug)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// How many commits are good from its start on.
    pub commits: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// What is wrong; `None` if it is whole.
    pub damage: Option<FileDamage>,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum FileDamage {
    /// The preamble or its snapshot.
    Preamble(PreambleError),
    /// The commit at this position; the file should go on.
    Commit(Position),
    /// All commits are good, but the next file says that they are not these.
    Chain(Chain),
    /// The disk failed.
    Io(io::Error),
}

impl fmt::Display for FileDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preamble(error) => error.fmt(f),
            Self::Commit(position) => write!(f, "damaged at position {position}"),
            Self::Chain(_) => f.write_str("its content is not what the next file continues"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Reads all journal files, each up to its end, and reports on every one, oldest first. A file
/// whose first block is damaged makes the others be checked one by one all the same. `ends` says
/// where files end whose next one is gone, by their starts: [`crate::store::sealed_ends`].
///
/// # Errors
/// [`ScanError`] if the directory cannot be read as a journal for another reason than the damage
/// of a preamble.
pub fn verify(
    disk: &Arc<dyn Disk>,
    ends: &BTreeMap<Position, Position>,
) -> Result<Vec<FileReport>, ScanError> {
    match Scan::open(Arc::clone(disk)) {
        Ok(mut scan) => {
            scan.know_ends(ends.iter().map(|(start, end)| (*start, *end)));
            Ok((0..scan.files.len()).map(|index| check(&scan, index)).collect())
        }
        Err(ScanError::Preamble { .. }) => preambles(&**disk),
        Err(error) => Err(error),
    }
}

fn check(scan: &Scan, index: usize) -> FileReport {
    let file = &scan.files[index];
    let mut report = FileReport { name: file.file.name(), commits: 0, bytes: 0, damage: None };
    let checked = walk(scan, file, &mut report);
    report.damage = checked.unwrap_or_else(|error| Some(FileDamage::Io(error)));
    if let Some(next) = scan.files.get(index + 1)
        && report.damage.is_none()
        && file.linked
    {
        let chain = chain_at_end(file).unwrap_or(Chain::EMPTY);
        report.damage = (chain != next.preamble.chain).then_some(FileDamage::Chain(chain));
    }
    report
}

fn walk(
    scan: &Scan,
    file: &ScannedFile,
    report: &mut FileReport,
) -> io::Result<Option<FileDamage>> {
    if let Some(damage) = snapshot_damage(&file.preamble, file)? {
        return Ok(Some(damage));
    }
    let end = good_commits(file, file.end, report)?;
    if end < file.end {
        return Ok(Some(FileDamage::Commit(end)));
    }
    let rot = scan.tail.rot.as_ref().filter(|rot| rot.file == report.name);
    Ok(rot.map(|rot| FileDamage::Commit(rot.position)))
}

fn walk_alone(file: &ScannedFile, report: &mut FileReport) -> io::Result<Option<FileDamage>> {
    let damage = snapshot_damage(&file.preamble, file)?;
    if damage.is_none() {
        good_commits(file, Position::MAX, report)?;
    }
    Ok(damage)
}

/// Reads the commits that belong to a file, up to `upto`; where they end.
fn good_commits(
    file: &ScannedFile,
    upto: Position,
    report: &mut FileReport,
) -> io::Result<Position> {
    let mut walk = Walk::new(&file.file);
    let (mut position, mut chain) = (file.preamble.start, file.preamble.chain);
    while position < upto {
        match walk.commit(position)? {
            Ok(commit) if commit.chain() == chain && commit.end() <= upto => {
                position = commit.end();
                chain = commit.header.chain_after();
                report.commits += 1;
                report.bytes = position.since(file.preamble.start);
            }
            Ok(_) | Err(_) => break,
        }
    }
    Ok(position)
}

fn chain_at_end(file: &ScannedFile) -> io::Result<Chain> {
    let mut walk = Walk::new(&file.file);
    let (mut position, mut chain) = (file.preamble.start, file.preamble.chain);
    while position < file.end {
        let Ok(header) = walk.header(position)? else { break };
        (position, chain) = (header.end(), header.chain_after());
    }
    Ok(chain)
}

fn snapshot_damage(preamble: &Preamble, file: &ScannedFile) -> io::Result<Option<FileDamage>> {
    let mut rest = vec![0; preamble.len() - BLOCK];
    file.file.file.read_at(wide(BLOCK), &mut rest)?;
    Ok(preamble.snapshot(rest).err().map(FileDamage::Preamble))
}

/// Where the files cannot be put in order, each is checked alone: its first block, its snapshot, and
/// how many good commits follow. Where it should end nobody knows.
fn preambles(disk: &dyn Disk) -> Result<Vec<FileReport>, ScanError> {
    let io = |source| ScanError::Io { file: "list".to_owned(), source };
    let mut reports = Vec::new();
    for (name, len_bytes) in disk.list().map_err(io)? {
        let Some(named) = names::parse_journal(&name) else { continue };
        let mut report = FileReport { name, commits: 0, bytes: 0, damage: None };
        report.damage = match super::scan::open_file(disk, &report.name, named, len_bytes) {
            Ok(file) => {
                walk_alone(&file, &mut report).unwrap_or_else(|error| Some(FileDamage::Io(error)))
            }
            Err(ScanError::Preamble { source, .. }) => Some(FileDamage::Preamble(source)),
            Err(ScanError::Io { source, .. }) => Some(FileDamage::Io(source)),
            Err(error) => return Err(error),
        };
        reports.push(report);
    }
    Ok(reports)
}
