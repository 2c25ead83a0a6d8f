//! The journal while a node runs: it seals commits one behind the other and goes from file to file.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    builder::CommitBuilder,
    commit::{Header, body_hash},
    file::{FileInfo, JournalFile, SealedCommit, Shared},
    layout::{BLOCK, SNAPSHOT_MAX, padded, wide},
    names,
    newest::Newest,
    options::JournalOptions,
    position::{Chain, Identity, Incarnation, JournalId, Position},
    preamble::{Draft, Preamble},
    reader::Reader,
    spare::{SpareFile, SpareMaker},
};
use crate::disk::{AlignedBuf, Disk};

/// The writer's side of a journal.
///
/// [`Journal::begin`] gives a commit to fill, [`Journal::seal`] lays it out at
/// [`Journal::position`], [`SealedCommit::write_and_sync`] makes it durable on any thread, and
/// [`Journal::on_synced`] says so here. start <= durable <= position, always.
#[derive(Debug)]
pub struct Journal {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: JournalOptions,
    pub(crate) identity: Identity,
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: Arc<JournalFile>,
    pub(crate) position: Position,
    pub(crate) chain: Chain,
    /// Nothing was sealed since the start, a roll or the last mark: a mark would witness nothing.
    pub(crate) witnessed: bool,
    /// The reserve chunks that are there.
    pub(crate) reserve: Vec<usize>,
    pub(crate) newest: Newest,
    pub(crate) spare_numbers: Arc<AtomicU64>,
}

/// Why a commit could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A write or sync failed; the node must stop.
    #[error("an earlier write or sync of the journal failed")]
    Poisoned,
    /// The file has no room for it; roll first.
    #[error("the journal file is full")]
    FileFull,
}

/// Why the journal did not go on to the next file.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// A write or sync failed; the node must stop.
    #[error("an earlier write or sync of the journal failed")]
    Poisoned,
    /// What was sealed is not durable yet.
    #[error("the journal is durable up to {durable}, but sealed up to {position}")]
    NotDurable {
        /// Exclusive.
        durable: Position,
        /// Exclusive.
        position: Position,
    },
    /// The current file holds no commit: there is no reason to leave it.
    #[error("the journal file is empty")]
    Empty,
    /// The spare file cannot hold the preamble and one commit.
    #[error("a spare file of {len_bytes} bytes is too small, {needed_bytes} are needed")]
    SpareTooSmall {
        /// Its length.
        len_bytes: u64,
        /// As [`Journal::spare_bytes_min`].
        needed_bytes: u64,
    },
    /// The snapshot is longer than a preamble can hold.
    #[error("a snapshot of {0} bytes is too long")]
    SnapshotTooLong(usize),
    /// The disk failed; the journal is poisoned.
    #[error("making the next journal file failed")]
    Io(#[from] io::Error),
}

/// Why a file was not dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// There is no file that starts there.
    #[error("no journal file starts at {0}")]
    NoFile(Position),
    /// It is the file that is written.
    #[error("the journal file at {0} is in use")]
    Current(Position),
    /// The disk failed. The file is not listed any more; it may come back at the next start.
    #[error("dropping a journal file failed")]
    Io(#[from] io::Error),
}

impl Journal {
    /// Which journal.
    pub const fn id(&self) -> JournalId {
        self.identity.id
    }

    /// Which start of the node.
    pub const fn incarnation(&self) -> Incarnation {
        self.identity.incarnation
    }

    /// Where the next commit begins: known before it is sealed.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// What is durable (exclusive).
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// The chain over all commits before [`Journal::position`].
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// Whether a write or sync failed: nothing is taken any more.
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// A new commit to fill.
    pub fn begin(&self) -> CommitBuilder {
        self.begin_in(AlignedBuf::default())
    }

    /// A new commit to fill, in the buffer of one that nobody reads any more.
    pub fn begin_again(&self, used: Bytes) -> CommitBuilder {
        self.begin_in(AlignedBuf::reuse(used))
    }

    fn begin_in(&self, buffer: AlignedBuf) -> CommitBuilder {
        CommitBuilder::new(self.options.commit_bytes_max, buffer)
    }

    /// Whether a commit of `padded_len` bytes does not fit the current file. One block is kept for
    /// a mark.
    pub fn needs_roll(&self, padded_len: usize) -> bool {
        !self.fits(padded_len + BLOCK)
    }

    fn fits(&self, len: usize) -> bool {
        self.position.plus(wide(padded(len))) <= self.current.limit()
    }

    /// Lays the commit out at [`Journal::position`] and checksums it. It is to be written next.
    ///
    /// # Errors
    /// [`SealError::FileFull`] if [`Journal::needs_roll`] was not asked; the entries are lost then.
    pub fn seal(&mut self, builder: CommitBuilder) -> Result<SealedCommit, SealError> {
        if self.is_poisoned() {
            return Err(SealError::Poisoned);
        }
        if !self.fits(builder.padded_len()) {
            return Err(SealError::FileFull);
        }
        let (mut bytes, body_len, entry_count) = builder.finish();
        let header = Header {
            position: self.position,
            synced_upto: self.shared.durable(),
            chain: self.chain,
            entry_count,
            body_len,
            body_hash: body_hash(&bytes),
        };
        header.encode(&self.identity, bytes.as_mut_slice());
        self.position = header.end();
        self.chain = header.chain_after();
        self.witnessed = header.is_mark();
        Ok(SealedCommit {
            position: header.position,
            mark: header.is_mark(),
            bytes: bytes.freeze(),
            file: Arc::clone(&self.current),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Whether the last acknowledged commit still lacks its witness: a mark is due after a while
    /// of quiet and at a clean stop.
    pub fn needs_mark(&self) -> bool {
        self.lacks_mark() && self.durable() == self.position
    }

    fn lacks_mark(&self) -> bool {
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("mark_omitted") {
            return false;
        }
        !self.witnessed
    }

    /// Where the next file begins, if this one is left with a mark behind its last commit.
    pub fn next_start(&self) -> Position {
        self.position.plus(if self.lacks_mark() { wide(BLOCK) } else { 0 })
    }

    /// Seals a mark: a commit without entries that proves what is durable now.
    ///
    /// # Errors
    /// As [`Journal::seal`]; there is always room for one after another commit.
    pub fn mark(&mut self) -> Result<SealedCommit, SealError> {
        self.seal(CommitBuilder::new(BLOCK, AlignedBuf::default()))
    }

    /// Takes note that all commits up to `end` are durable.
    ///
    /// # Panics
    /// If `end` is not between what was durable and what was sealed.
    pub fn on_synced(&mut self, end: Position) {
        assert!(self.durable() <= end && end <= self.position, "durable <= position");
        assert!(!self.is_poisoned(), "nothing is durable after a failed sync");
        self.shared.set_durable(end);
    }

    /// The least length of a spare file that can follow with a snapshot of this length, in bytes.
    pub fn spare_bytes_min(&self, snapshot_len: usize) -> u64 {
        wide(BLOCK + padded(snapshot_len) + self.options.commit_bytes_max + BLOCK)
    }

    /// Goes on in `spare`, whose preamble takes the snapshot of the state at
    /// [`Journal::position`]. All that was sealed must be durable. When this returns, preamble and
    /// name are durable, and the file before is sealed.
    ///
    /// # Errors
    /// [`RollError`]. The spare file is not used any more after an error.
    pub fn roll(&mut self, spare: SpareFile, snapshot: &[u8]) -> Result<FileInfo, RollError> {
        if self.is_poisoned() {
            return Err(RollError::Poisoned);
        }
        let durable = self.durable();
        if durable != self.position {
            return Err(RollError::NotDurable { durable, position: self.position });
        }
        if self.position == self.current.start {
            return Err(RollError::Empty);
        }
        if snapshot.len() > SNAPSHOT_MAX {
            return Err(RollError::SnapshotTooLong(snapshot.len()));
        }
        let (len_bytes, needed_bytes) = (spare.len_bytes, self.spare_bytes_min(snapshot.len()));
        if len_bytes < needed_bytes {
            return Err(RollError::SpareTooSmall { len_bytes, needed_bytes });
        }
        let next = self.write_next(spare, snapshot);
        let next = next.inspect_err(|_| self.shared.poison())?;
        self.current.close(self.position);
        self.current.file.end_writing();
        let sealed = self.current.info(self.position);
        self.current = Arc::clone(&next);
        self.witnessed = true;
        self.shared.files.write().unwrap_or_else(PoisonError::into_inner).push(next);
        Ok(sealed)
    }

    /// The name comes last: a file with a journal's name always has a good preamble.
    fn write_next(&mut self, spare: SpareFile, snapshot: &[u8]) -> io::Result<Arc<JournalFile>> {
        let previous = (self.current.start, self.identity.incarnation);
        let (preamble, bytes) = Preamble::encode(&Draft {
            identity: self.identity,
            start: self.position,
            previous: Some(previous),
            chain: self.chain,
            recycled: spare.recycled,
            file_len: spare.len_bytes,
            snapshot,
        });
        spare.file.write_at(0, &bytes)?;
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("no_preamble_sync") {
            let name = names::journal(self.position, self.identity.incarnation);
            self.disk.rename(&spare.name, &name)?;
            self.disk.sync_dir()?;
            return Ok(Arc::new(JournalFile::new(&preamble, spare.file, spare.len_bytes)));
        }
        spare.file.sync_all()?;
        let name = names::journal(self.position, self.identity.incarnation);
        self.disk.rename(&spare.name, &name)?;
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("no_directory_sync") {
            return Ok(Arc::new(JournalFile::new(&preamble, spare.file, spare.len_bytes)));
        }
        self.disk.sync_dir()?;
        self.newest.move_to(&*self.disk, self.position, self.identity.incarnation)?;
        Ok(Arc::new(JournalFile::new(&preamble, spare.file, spare.len_bytes)))
    }

    /// All files, from the oldest to the one that is written.
    pub fn files(&self) -> Vec<FileInfo> {
        let files = self.shared.files.read().unwrap_or_else(PoisonError::into_inner);
        files.iter().map(|file| file.info(self.position)).collect()
    }

    /// Forgets the file that starts at `start`: the entry that drops it must be durable. Readers
    /// get `Gone`. With `recycle` a file of that length in bytes or more that no reader has open becomes
    /// a spare; otherwise it is deleted.
    ///
    /// # Errors
    /// [`DropError`]; the file that is written is refused.
    pub fn drop_file(
        &mut self,
        start: Position,
        recycle: Option<u64>,
    ) -> Result<Option<SpareFile>, DropError> {
        let file = {
            let mut files = self.shared.files.write().unwrap_or_else(PoisonError::into_inner);
            let found = files.iter().position(|file| file.start == start);
            let index = found.ok_or(DropError::NoFile(start))?;
            if index + 1 == files.len() {
                return Err(DropError::Current(start));
            }
            files.remove(index)
        };
        let unread = Arc::strong_count(&file) == 1;
        let lengths = recycle.map(|least| least..=self.options.file_bytes.max(least));
        let fits = lengths.is_some_and(|lengths| lengths.contains(&file.len_bytes));
        if !(fits && unread) {
            self.disk.remove(&file.name())?;
            return Ok(None);
        }
        let name = names::spare(self.spare_numbers.fetch_add(1, Ordering::Relaxed));
        self.disk.rename(&file.name(), &name)?;
        // Before anything is written over it: else a crash could leave the old name on new content.
        self.disk.sync_dir()?;
        Ok(Some(SpareFile::reopen(&*self.disk, name)?))
    }

    /// What makes spare files, also on another thread.
    pub fn spare_maker(&self) -> SpareMaker {
        SpareMaker::new(Arc::clone(&self.disk), Arc::clone(&self.spare_numbers))
    }

    /// How many reserve chunks are there.
    pub fn reserve_left(&self) -> usize {
        self.reserve.len()
    }

    /// The reserve chunks to be made again: by [`SpareMaker::begin_reserve`], each with
    /// [`JournalOptions::reserve_chunk_bytes`].
    pub fn reserve_missing(&self) -> Vec<usize> {
        (0..self.options.reserve_chunks).filter(|chunk| !self.reserve.contains(chunk)).collect()
    }

    /// Takes one reserve chunk as a spare if more than `left_min` are there: on a full disk, for
    /// cursors, marks, trims and a start only.
    ///
    /// # Errors
    /// What the disk says when it is opened.
    pub fn take_reserve(&mut self, left_min: usize) -> io::Result<Option<SpareFile>> {
        if self.reserve.len() <= left_min {
            return Ok(None);
        }
        let Some(&chunk) = self.reserve.last() else { return Ok(None) };
        let spare = SpareFile::reopen(&*self.disk, names::reserve(chunk))?;
        self.reserve.pop();
        Ok(Some(spare))
    }

    /// Takes note of a reserve chunk that was made again.
    ///
    /// # Panics
    /// If it is no reserve chunk.
    pub fn add_reserve(&mut self, made: &SpareFile) {
        let chunk = names::parse_reserve(&made.name).expect("a reserve chunk");
        if !self.reserve.contains(&chunk) {
            self.reserve.push(chunk);
        }
    }

    /// A reader of what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }
}
