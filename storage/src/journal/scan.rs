//! What a directory holds, read without changing anything: the first half of every start.
//!
//! Below the highest `synced_upto` of the commits that belong everything was durable: damage there
//! is rot, an error, never cut. All above it is tail: it ends at the first thing that does not
//! belong.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    commit::{CommitRef, Header, Mismatch},
    file::{FileInfo, JournalFile},
    layout::{BLOCK, narrow, wide},
    names,
    newest::Newest,
    position::{Chain, Incarnation, JournalId, Position},
    preamble::{Preamble, PreambleError},
    walk::Walk,
};
use crate::disk::{Disk, DiskFile};

/// At most this much of a cut tail is kept, in bytes.
pub const CUT_KEPT_MAX: u64 = 64 << 20;

/// A journal's directory as it was found. [`Scan::replay`] it, then [`Scan::start`].
#[derive(Debug)]
pub struct Scan {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Vec<ScannedFile>,
    pub(crate) snapshot: Vec<u8>,
    pub(crate) tail: Tail,
    pub(crate) others: Others,
    /// By start, the end: files that are gone and not needed.
    holes: BTreeMap<Position, Position>,
}

/// A journal file that counts.
#[derive(Debug)]
pub(crate) struct ScannedFile {
    pub(crate) preamble: Preamble,
    pub(crate) file: Arc<JournalFile>,
    pub(crate) end: Position,
    /// The next file in the list is the one that follows it in the journal.
    pub(crate) linked: bool,
}

/// The other files of the journal's.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Unfinished, or empty and superseded: to be deleted.
    pub(crate) strays: Vec<String>,
    pub(crate) superseded: Vec<String>,
    pub(crate) spares: Vec<(u64, u64)>,
    pub(crate) reserve: Vec<usize>,
    pub(crate) newest: Newest,
}

/// What the newest file says of the journal's end.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) synced_upto: Position,
    pub(crate) end: Position,
    pub(crate) headers: Vec<Header>,
    pub(crate) rot: Option<Rot>,
    pub(crate) cut: Option<CutTail>,
}

/// Damage below what is known to have been durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the journal is damaged at position {position} ({file} at offset {offset}), below {durable}, \
     up to where it was durable: nothing is cut there. Restore this file from the peer or backup \
     that has it, or start an empty node and let it fetch what its upstream holds"
)]
pub struct Rot {
    /// The first commit that does not belong.
    pub position: Position,
    /// The file's name.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What was durable (exclusive).
    pub durable: Position,
}

/// What was behind the journal's end and was never acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutTail {
    /// Where it began.
    pub position: Position,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The file that keeps it; `None` before the start, and where keeping it failed.
    pub kept_in: Option<String>,
}

/// Why a directory could not be read as a journal.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The directory holds none: create one.
    #[error("there is no journal")]
    NoJournal,
    /// A journal file's preamble does not verify. It may hold acknowledged commits: it is neither
    /// used nor deleted.
    #[error(
        "{file}: {source}; restore it from a backup; nothing is read around it, since it may hold acknowledged events"
    )]
    Preamble {
        /// The file's name.
        file: String,
        /// What is wrong.
        source: PreambleError,
    },
    /// The newest file is gone, and nothing in the journal names it.
    #[error(
        "{file} is missing: it was the journal's newest file and may hold records that were \
         acknowledged; restore it from a backup, or begin anew in an empty directory"
    )]
    NewestMissing {
        /// The file's name.
        file: String,
    },
    /// A file of another journal is among them.
    #[error("{file} belongs to journal {found}, not to {expected}")]
    OtherJournal {
        /// The file's name.
        file: String,
        /// Its journal.
        found: JournalId,
        /// The oldest file's journal.
        expected: JournalId,
    },
    /// A file of a later incarnation starts before one of an earlier one: files were mixed.
    #[error("{file} does not fit the files before it")]
    Order {
        /// The file's name.
        file: String,
    },
    /// The disk failed.
    #[error("reading the journal's directory failed ({file})")]
    Io {
        /// The file's name, or what was done.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
}

/// Why the journal could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Damage below what was durable.
    #[error(transparent)]
    Rot(#[from] Rot),
    /// Files are missing between two positions.
    #[error("the journal has no file for {from}..{to}")]
    Missing {
        /// Inclusive.
        from: Position,
        /// Exclusive.
        to: Position,
    },
    /// The disk failed.
    #[error("reading {file} failed")]
    Io {
        /// The file's name.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
}

/// How far a replay came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayEnd {
    /// Exclusive.
    pub end: Position,
    /// Over all before the end.
    pub chain: Chain,
    /// How many commits were given out.
    pub commits: u64,
}

impl Scan {
    /// Reads the directory: all preambles, the newest snapshot, the newest file's commits. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`ScanError`]; [`ScanError::NoJournal`] if there is no journal file.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, ScanError> {
        let in_list = |source| ScanError::Io { file: "list".to_owned(), source };
        let mut files = Vec::new();
        let mut others = Others::default();
        let mut newest = None;
        for (name, len_bytes) in disk.list().map_err(in_list)? {
            if let Some(named) = names::parse_journal(&name) {
                files.push(open_file(&*disk, &name, named, len_bytes)?);
            } else if names::is_ours_unfinished(&name) {
                others.strays.push(name);
            } else if let Some(number) = names::parse_spare(&name) {
                others.spares.push((number, len_bytes));
            } else if let Some(chunk) = names::parse_reserve(&name) {
                others.reserve.push(chunk);
            } else if let Some(named) = names::parse_newest(&name) {
                newest = newest.max(Some(named));
            }
        }
        files.sort_by_key(|file| (file.preamble.identity.incarnation, file.preamble.start));
        check_order(&files)?;
        drop_superseded(&mut files, &mut others);
        let last = files.last();
        let found = last.map(|last| (last.preamble.identity.incarnation, last.preamble.start));
        if let Some((incarnation, start)) = newest.filter(|_| found < newest) {
            return Err(ScanError::NewestMissing { file: names::journal(start, incarnation) });
        }
        others.newest =
            Newest(newest.map(|(incarnation, start)| names::newest(start, incarnation)));
        let Some(last) = last else { return Err(ScanError::NoJournal) };

        let in_last = |source| ScanError::Io { file: last.file.name(), source };
        let mut rest = vec![0; last.preamble.len() - BLOCK];
        last.file.file.read_at(wide(BLOCK), &mut rest).map_err(in_last)?;
        let snapshot = last
            .preamble
            .snapshot(rest)
            .map_err(|source| ScanError::Preamble { file: last.file.name(), source })?;
        let tail = read_tail(&last.preamble, &last.file).map_err(in_last)?;
        let mut scan = Self { disk, files, snapshot, tail, others, holes: BTreeMap::new() };
        scan.find_ends()?;
        Ok(scan)
    }

    /// Takes note of where files end, by their starts, as the entries that sealed them say. The
    /// file behind one may be gone, and then only they know: damage is no end, and what a start has
    /// copied away lies behind one.
    pub fn know_ends(&mut self, ends: impl IntoIterator<Item = (Position, Position)>) {
        let ends: BTreeMap<Position, Position> = ends.into_iter().collect();
        // The last one ends where its commits do.
        let sealed = self.files.len().saturating_sub(1);
        for file in self.files[..sealed].iter_mut().filter(|file| !file.linked) {
            if let Some(end) = ends.get(&file.preamble.start) {
                file.end = *end;
            }
        }
    }

    /// Takes note of ranges, by their starts, whose files are gone and held nothing that a replay
    /// needs: it goes on behind them.
    pub fn know_holes(&mut self, holes: BTreeMap<Position, Position>) {
        self.holes = holes;
    }

    /// Which journal.
    pub fn id(&self) -> JournalId {
        self.last().preamble.identity.id
    }

    /// The start of the node that wrote last.
    pub fn incarnation(&self) -> Incarnation {
        self.last().preamble.identity.incarnation
    }

    /// The newest snapshot, and the position at which it was taken.
    pub fn newest_snapshot(&self) -> (&[u8], Position) {
        (&self.snapshot, self.last().preamble.start)
    }

    /// What was proved durable (exclusive). The next file starts here: [`Scan::start`] wants the
    /// state at this position.
    pub const fn synced_upto(&self) -> Position {
        self.tail.synced_upto
    }

    /// Where the valid commits end (exclusive), without marks at the end.
    pub const fn end(&self) -> Position {
        self.tail.end
    }

    /// What lies behind the end and will be cut.
    pub const fn cut(&self) -> Option<&CutTail> {
        self.tail.cut.as_ref()
    }

    /// The files that count, oldest first.
    pub fn files(&self) -> Vec<FileInfo> {
        self.files.iter().map(|file| file.file.info(file.end)).collect()
    }

    /// Gives out all commits that end behind `from`, in order, marks too, up to [`Scan::end`].
    ///
    /// # Errors
    /// [`ReplayError::Rot`] at the first damage below what was durable;
    /// [`ReplayError::Missing`] if files are missing behind `from`.
    pub fn replay(
        &self,
        from: Position,
        each: &mut dyn FnMut(&CommitRef<'_>),
    ) -> Result<ReplayEnd, ReplayError> {
        let oldest = self.files[0].preamble.start;
        if from < oldest {
            return Err(ReplayError::Missing { from, to: oldest });
        }
        let behind = self.files.partition_point(|file| file.preamble.start <= from);
        let mut commits = 0;
        let mut chain = Chain::EMPTY;
        for (index, file) in self.files.iter().enumerate().skip(behind - 1) {
            chain = self.replay_file(file, &mut |commit| {
                if commit.end() > from {
                    commits += 1;
                    each(commit);
                }
            })?;
            let next = self.files.get(index + 1);
            if let Some(next) = next.filter(|next| from < next.preamble.start) {
                if !file.linked {
                    let (from, to) = (file.end, next.preamble.start);
                    if self.holes.get(&from) == Some(&to) {
                        continue;
                    }
                    return Err(ReplayError::Missing { from, to });
                }
                if chain != next.preamble.chain {
                    return Err(self.rot(file, file.end).into());
                }
            }
        }
        if let Some(rot) = &self.tail.rot {
            return Err(rot.clone().into());
        }
        Ok(ReplayEnd { end: self.end(), chain, commits })
    }

    /// Gives out all commits of the file that starts at `start`, in order, marks too. Says whether it
    /// is there.
    ///
    /// # Errors
    /// [`ReplayError::Rot`] at the first damage.
    pub fn replay_one(
        &self,
        start: Position,
        each: &mut dyn FnMut(&CommitRef<'_>),
    ) -> Result<bool, ReplayError> {
        let Some(file) = self.files.iter().find(|file| file.preamble.start == start) else {
            return Ok(false);
        };
        self.replay_file(file, each).map(|_| true)
    }

    fn replay_file(
        &self,
        file: &ScannedFile,
        each: &mut dyn FnMut(&CommitRef<'_>),
    ) -> Result<Chain, ReplayError> {
        let mut walk = Walk::new(&file.file);
        let mut position = file.preamble.start;
        let mut chain = file.preamble.chain;
        while position < file.end {
            let commit = walk
                .commit(position)
                .map_err(|source| ReplayError::Io { file: file.file.name(), source })?;
            match commit {
                Ok(commit) if commit.chain() == chain && commit.end() <= file.end => {
                    each(&commit);
                    position = commit.end();
                    chain = commit.header.chain_after();
                }
                Ok(_) | Err(_) => return Err(self.rot(file, position).into()),
            }
        }
        Ok(chain)
    }

    pub(crate) fn rot(&self, file: &ScannedFile, position: Position) -> Rot {
        let offset = file.file.offset(position);
        Rot { position, file: file.file.name(), offset, durable: self.tail.synced_upto }
    }

    pub(crate) fn last(&self) -> &ScannedFile {
        self.files.last().expect("a scan has a file")
    }

    /// A file ends where the next one starts; where that one is missing, at its last commit.
    fn find_ends(&mut self) -> Result<(), ScanError> {
        for index in 0..self.files.len() {
            let next = self.files.get(index + 1).map(|next| next.preamble.clone());
            let file = &mut self.files[index];
            let this = (file.preamble.start, file.preamble.identity.incarnation);
            file.end = match next {
                None => self.tail.end,
                Some(next) if next.previous == Some(this) => {
                    file.linked = true;
                    next.start
                }
                Some(_) => last_commit_end(&file.file)
                    .map_err(|source| ScanError::Io { file: file.file.name(), source })?,
            };
        }
        Ok(())
    }
}

impl Tail {
    /// The chain at a commit's beginning or at the end of the last one.
    pub(crate) fn chain_at(&self, preamble: &Preamble, position: Position) -> Chain {
        match self.headers.iter().find(|header| header.position == position) {
            Some(header) => header.chain,
            None => self.headers.last().map_or(preamble.chain, Header::chain_after),
        }
    }
}

pub(crate) fn open_file(
    disk: &dyn Disk,
    name: &str,
    named: (Position, Incarnation),
    len_bytes: u64,
) -> Result<ScannedFile, ScanError> {
    let io = |source| ScanError::Io { file: name.to_owned(), source };
    let bad = |source| ScanError::Preamble { file: name.to_owned(), source };
    if len_bytes < wide(BLOCK) {
        return Err(bad(PreambleError::Short));
    }
    let file: Arc<dyn DiskFile> = disk.open(name, true).map_err(io)?.into();
    let mut block = [0; BLOCK];
    file.read_at(0, &mut block).map_err(io)?;
    let preamble = Preamble::decode(&block).map_err(bad)?;
    if (preamble.start, preamble.identity.incarnation) != named {
        return Err(bad(PreambleError::Misnamed));
    }
    if len_bytes < preamble.file_len.max(wide(preamble.len())) {
        return Err(bad(PreambleError::Short));
    }
    let file = Arc::new(JournalFile::new(&preamble, file, len_bytes));
    Ok(ScannedFile { end: preamble.start, preamble, file, linked: false })
}

/// Files sorted by incarnation must be sorted by start too: a start never goes back behind what was
/// durable.
fn check_order(files: &[ScannedFile]) -> Result<(), ScanError> {
    for (before, file) in files.iter().zip(files.iter().skip(1)) {
        let (found, expected) = (file.preamble.identity.id, before.preamble.identity.id);
        if found != expected {
            return Err(ScanError::OtherJournal { file: file.file.name(), found, expected });
        }
        if file.preamble.start < before.preamble.start {
            return Err(ScanError::Order { file: file.file.name() });
        }
    }
    Ok(())
}

fn drop_superseded(files: &mut Vec<ScannedFile>, others: &mut Others) {
    let starts: Vec<Position> = files.iter().skip(1).map(|file| file.preamble.start).collect();
    let mut next = starts.into_iter();
    files.retain(|file| {
        let counts = next.next() != Some(file.preamble.start);
        if !counts {
            others.superseded.push(file.file.name());
        }
        counts
    });
}

fn last_commit_end(file: &JournalFile) -> io::Result<Position> {
    let mut walk = Walk::new(file);
    let mut position = file.start;
    while let Ok(header) = walk.header(position)? {
        position = header.end();
    }
    Ok(position)
}

fn read_tail(preamble: &Preamble, file: &JournalFile) -> io::Result<Tail> {
    let mut walk = Walk::new(file);
    let mut headers: Vec<Header> = Vec::new();
    let mut position = preamble.start;
    let mut chain = preamble.chain;
    // The file's existence proves all before its start.
    let mut witness = preamble.start;
    while let Ok(commit) = walk.commit(position)? {
        let header = commit.header;
        if header.chain != chain {
            break;
        }
        witness = witness.max(header.synced_upto);
        position = header.end();
        chain = header.chain_after();
        headers.push(header);
    }

    let behind = look_behind(&mut walk, preamble, position, file.limit())?;
    let durable = witness.max(behind.witness);
    #[cfg(takt_planted)]
    let durable = if takt_protocol::planted::is("cut_at_any_damage") {
        durable.min(position)
    } else {
        durable
    };
    let at_boundary = durable == position || headers.iter().any(|h| h.position == durable);
    let rot = (durable > position || !at_boundary).then(|| {
        let position = position.min(durable);
        Rot { position, file: file.name(), offset: file.offset(position), durable }
    });
    let mut end = position;
    if rot.is_none() {
        let marks = headers.iter().rev().take_while(|h| h.is_mark() && h.position >= durable);
        end = marks.last().map_or(end, |mark| mark.position);
    }
    let cut = (rot.is_none() && behind.end > position).then(|| CutTail {
        position,
        len_bytes: behind.end.since(position),
        kept_in: None,
    });
    Ok(Tail { synced_upto: durable, end, headers, rot, cut })
}

struct Behind {
    /// The highest `synced_upto` of a commit that belongs.
    witness: Position,
    /// Where the last thing ends that is worth keeping.
    end: Position,
}

/// Looks at every block behind the first that does not belong: a commit of this file behind it may
/// prove that it was durable.
fn look_behind(
    walk: &mut Walk<'_>,
    preamble: &Preamble,
    from: Position,
    limit: Position,
) -> io::Result<Behind> {
    let mut behind = Behind { witness: preamble.start, end: from };
    let mut position = from;
    while position < limit {
        let block_end = position.plus(wide(BLOCK));
        match walk.header(position)? {
            Ok(header) => {
                behind.witness = behind.witness.max(header.synced_upto);
                behind.end = behind.end.max(header.end().min(limit));
            }
            Err(Mismatch::Header | Mismatch::Body) => behind.end = behind.end.max(block_end),
            // Old content of a recycled file is not the tail's.
            Err(Mismatch::Foreign) if preamble.recycled => {}
            Err(Mismatch::Foreign) => {
                let block = walk.block(position)?;
                if block.is_some_and(|block| block.iter().any(|&byte| byte != 0)) {
                    behind.end = behind.end.max(block_end);
                }
            }
        }
        position = block_end;
    }
    Ok(behind)
}

impl CutTail {
    /// How much of it is kept, in bytes.
    pub(crate) fn kept_len(&self) -> usize {
        narrow(self.len_bytes.min(CUT_KEPT_MAX))
    }
}
