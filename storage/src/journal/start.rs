//! The second half of every start, and the making of a new journal.
//!
//! Every start goes on in a new file of a new incarnation, full of fresh zeros. Valid commits above
//! what was proved durable are copied into it at their own positions, because after a failed sync
//! the page cache may show what the disk does not have. Only when the file, its content and its
//! name are durable is anything else done.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    commit::{Header, body_hash},
    file::{CommitError, JournalFile, Shared},
    layout::{BLOCK, SNAPSHOT_MAX, narrow, padded, wide},
    names,
    options::{Entropy, JournalOptions},
    position::{Chain, Identity, Incarnation, JournalId, Position, Salt},
    preamble::{Draft, Preamble},
    scan::{CutTail, Others, Rot, Scan},
    spare::{SLICE_BYTES, SpareFile, SpareWork, remove_if_there, write_zeros},
    walk::Walk,
    writer::Journal,
};
use crate::disk::{Disk, DiskFile, is_full};

/// What a start did.
#[derive(Debug)]
pub struct StartReport {
    /// Where the new file starts.
    pub start: Position,
    /// How many commits were copied into it, marks among them included.
    pub copied_commits: u64,
    /// Their length in bytes.
    pub copied_bytes: u64,
    /// What was cut off behind the end.
    pub cut: Option<CutTail>,
    /// The disk was full: the new file is a chunk of the reserve.
    pub used_reserve: bool,
    /// Spare files of the run before, for [`Journal::roll`].
    pub spares: Vec<SpareFile>,
    /// What an earlier attempt left, or what became empty: deleted.
    pub deleted: Vec<String>,
}

/// Why a journal could not be started or made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options do not fit each other.
    #[error("the journal's sizes do not fit each other")]
    Options,
    /// There is a journal already: scan it.
    #[error("the directory holds a journal already ({0})")]
    Exists(String),
    /// Damage below what was durable.
    #[error(transparent)]
    Rot(#[from] Rot),
    /// The snapshot is longer than a preamble can hold.
    #[error("a snapshot of {0} bytes is too long")]
    SnapshotTooLong(usize),
    /// Neither the disk nor the reserve has room for the new file.
    #[error("the disk is full: free {to_free_bytes} bytes")]
    DiskFull {
        /// How much more is needed than is free.
        to_free_bytes: u64,
    },
    /// The mark behind the copies is not durable.
    #[error("the mark behind the copied commits failed")]
    Mark(#[from] CommitError),
    /// The disk failed.
    #[error("starting the journal failed ({step})")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the disk said.
        source: io::Error,
    },
}

fn at(step: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Io { step, source }
}

/// The new file's content up to its free space.
struct Image<'a> {
    draft: Draft<'a>,
    commits: Vec<u8>,
    position: Position,
    chain: Chain,
}

impl<'a> Image<'a> {
    fn new(draft: Draft<'a>) -> Self {
        Self { draft, commits: Vec::new(), position: draft.start, chain: draft.chain }
    }

    fn len_min(&self, options: &JournalOptions) -> u64 {
        let preamble_len = BLOCK + padded(self.draft.snapshot.len());
        wide(preamble_len + self.commits.len() + options.commit_bytes_max + 2 * BLOCK)
    }

    /// Writes preamble and commits for a file of `len_bytes`; returns where its free space begins.
    fn write(&self, file: &dyn DiskFile, len_bytes: u64) -> io::Result<(Preamble, u64)> {
        let (preamble, bytes) = Preamble::encode(&Draft { file_len: len_bytes, ..self.draft });
        file.write_at(0, &bytes)?;
        if !self.commits.is_empty() {
            file.write_at(wide(bytes.len()), &self.commits)?;
        }
        Ok((preamble, wide(bytes.len() + self.commits.len())))
    }

    /// Appends a commit whose entries are in `commit`, with a new header.
    fn append(&mut self, mut commit: Vec<u8>, body_len: usize, entry_count: u32, synced: Position) {
        let header = Header {
            position: self.position,
            synced_upto: synced,
            chain: self.chain,
            entry_count,
            body_len,
            body_hash: body_hash(&commit),
        };
        header.encode(&self.draft.identity, &mut commit);
        self.commits.extend_from_slice(&commit);
        self.position = header.end();
        self.chain = header.chain_after();
    }
}

impl Scan {
    /// Goes on with the journal in a new incarnation. `snapshot` is the state at
    /// [`Scan::synced_upto`], neither earlier nor later.
    ///
    /// After an error nothing is lost and the same can be tried again: what an attempt leaves is
    /// not used.
    ///
    /// # Errors
    /// [`StartError::Rot`] if the newest file is damaged; [`StartError::DiskFull`] if there is no
    /// space and no chunk of the reserve.
    pub fn start(
        mut self,
        snapshot: &[u8],
        options: &JournalOptions,
        entropy: &mut dyn Entropy,
    ) -> Result<(Journal, StartReport), StartError> {
        check(options, snapshot)?;
        if let Some(rot) = self.tail.rot.take() {
            return Err(rot.into());
        }
        let mut deleted = std::mem::take(&mut self.others.strays);
        for stray in &deleted {
            remove_if_there(&*self.disk, stray).map_err(at("deleting strays"))?;
        }
        let cut = self.keep_cut();
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("tail_not_copied") {
            self.tail.end = self.tail.synced_upto;
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("old_file_deleted_first") {
            if self.last().preamble.start == self.tail.synced_upto {
                let name = self.last().file.name();
                remove_if_there(&*self.disk, &name).map_err(at("deleting what became empty"))?;
                self.disk.sync_dir().map_err(at("deleting what became empty"))?;
            }
        }
        let (image, copied_commits) = self.image(snapshot, entropy).map_err(at("copying"))?;
        let (file, used_reserve) = self.place(&image, options)?;
        let named = self.others.newest.move_to(&*self.disk, file.start, file.identity.incarnation);
        named.map_err(at("naming the newest file"))?;

        let mut superseded = std::mem::take(&mut self.others.superseded);
        let start = self.tail.synced_upto;
        if self.last().preamble.start == start {
            superseded.push(self.last().file.name());
            self.files.pop();
        } else {
            let last = self.files.last_mut().expect("a scan has a file");
            last.end = start;
        }
        for name in &superseded {
            remove_if_there(&*self.disk, name).map_err(at("deleting what became empty"))?;
        }
        deleted.append(&mut superseded);

        let copied_bytes = wide(image.commits.len());
        let spares = self.adopt_spares(options).map_err(at("opening spares"))?;
        let mut journal = self.into_journal(&image, file, options);
        if copied_commits > 0 {
            journal.witness_copies()?;
        }
        let report =
            StartReport { start, copied_commits, copied_bytes, cut, used_reserve, spares, deleted };
        Ok((journal, report))
    }

    /// Lays out preamble and copies of all commits above what was proved durable. They prove
    /// nothing of each other: if the page cache shows this file after a failed sync of its name, the
    /// next start copies them again.
    fn image<'a>(
        &self,
        snapshot: &'a [u8],
        entropy: &mut dyn Entropy,
    ) -> io::Result<(Image<'a>, u64)> {
        let last = self.last();
        let start = self.tail.synced_upto;
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let identity =
            Identity { id: self.id(), incarnation: self.incarnation().next(), salt: Salt(salt) };
        #[cfg(takt_planted)]
        let identity = if takt_protocol::planted::is("incarnation_reused") {
            last.preamble.identity
        } else {
            identity
        };
        let previous = if last.preamble.start == start {
            last.preamble.previous
        } else {
            Some((last.preamble.start, self.incarnation()))
        };
        let chain = self.tail.chain_at(&last.preamble, start);
        let mut image = Image::new(Draft {
            identity,
            start,
            previous,
            chain,
            recycled: false,
            file_len: 0,
            snapshot,
        });
        let mut walk = Walk::new(&last.file);
        let mut copied = 0;
        while image.position < self.tail.end {
            let position = image.position;
            let commit = walk.commit(position)?.map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{position} changed"))
            })?;
            let (body_len, count) = (commit.header.body_len, commit.header.entry_count);
            image.append(commit.bytes.to_vec(), body_len, count, start);
            copied += 1;
        }
        Ok((image, copied))
    }

    /// Makes the image durable under its name: in a new file, or on a full disk in place of a
    /// spare, or in a chunk of the reserve.
    fn place(
        &mut self,
        image: &Image,
        options: &JournalOptions,
    ) -> Result<(Arc<JournalFile>, bool), StartError> {
        let len_bytes = options.first_bytes().max(image.len_min(options));
        loop {
            match place_fresh(&*self.disk, image, len_bytes) {
                Ok(file) => return Ok((file, false)),
                Err(error) if is_full(&error) => {
                    // A file that was not made durable is gone; nothing is synced twice.
                    let _ = remove_if_there(&*self.disk, names::STARTING);
                }
                Err(error) => return Err(at("making the new file")(error)),
            }
            let Some((number, _)) = self.others.spares.pop() else { break };
            remove_if_there(&*self.disk, &names::spare(number)).map_err(at("freeing a spare"))?;
        }
        while let Some(chunk) = self.others.reserve.pop() {
            let placed = place_reserve(&*self.disk, image, chunk, image.len_min(options));
            if let Some(file) = placed.map_err(at("using the reserve"))? {
                return Ok((file, true));
            }
        }
        let free = self.disk.free_bytes().unwrap_or(0);
        Err(StartError::DiskFull { to_free_bytes: len_bytes.saturating_sub(free).max(1) })
    }

    /// Copies the cut tail aside. It was never acknowledged: that this fails stops nothing.
    fn keep_cut(&self) -> Option<CutTail> {
        let mut cut = self.tail.cut.clone()?;
        let last = self.last();
        let name = names::cut(cut.position, last.preamble.identity.incarnation);
        let copy = || -> io::Result<()> {
            let mut bytes = vec![0; cut.kept_len()];
            last.file.file.read_at(last.file.offset(cut.position), &mut bytes)?;
            let temporary = names::temporary(&name);
            remove_if_there(&*self.disk, &temporary)?;
            let file = self.disk.create(&temporary)?;
            let written = file.write_at(0, &bytes).and_then(|()| file.sync_all());
            if written.is_err() {
                remove_if_there(&*self.disk, &temporary)?;
            }
            written?;
            self.disk.rename(&temporary, &name)
        };
        if copy().is_ok() {
            cut.kept_in = Some(name);
        }
        Some(cut)
    }

    /// The zeroed spares of the run before. One that holds a journal file's content was recycled,
    /// and whether it still has its old name on the disk is unknown after a sync that failed: new
    /// content must not come to stand under that. It is deleted, and made anew.
    fn adopt_spares(&self, options: &JournalOptions) -> io::Result<Vec<SpareFile>> {
        let mut spares = Vec::new();
        for &(number, len_bytes) in &self.others.spares {
            let name = names::spare(number);
            if (options.first_bytes()..=options.file_bytes).contains(&len_bytes) {
                let spare = SpareFile::reopen(&*self.disk, name.clone())?;
                let mut block = [0; BLOCK];
                spare.file.read_at(0, &mut block)?;
                if block.iter().all(|&byte| byte == 0) {
                    spares.push(spare);
                    continue;
                }
            }
            remove_if_there(&*self.disk, &name)?;
        }
        Ok(spares)
    }

    fn into_journal(
        self,
        image: &Image,
        file: Arc<JournalFile>,
        options: &JournalOptions,
    ) -> Journal {
        let number = self.others.spares.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let mut files = Vec::with_capacity(self.files.len() + 1);
        for scanned in self.files {
            scanned.file.close(scanned.end);
            files.push(scanned.file);
        }
        files.push(file);
        journal(self.disk, options, image, files, self.others, number)
    }
}

impl Journal {
    /// Makes a journal in a directory without one, with its reserve; `snapshot` is the state at
    /// [`Position::ZERO`].
    ///
    /// # Errors
    /// [`StartError::Exists`] if there is a journal file.
    pub fn create(
        disk: Arc<dyn Disk>,
        options: &JournalOptions,
        entropy: &mut dyn Entropy,
        snapshot: &[u8],
    ) -> Result<Self, StartError> {
        check(options, snapshot)?;
        for (name, _) in disk.list().map_err(at("listing"))? {
            if names::parse_journal(&name).is_some() {
                return Err(StartError::Exists(name));
            }
            if names::is_ours_unfinished(&name) || names::parse_spare(&name).is_some() {
                disk.remove(&name).map_err(at("deleting strays"))?;
            }
        }
        for chunk in 0..options.reserve_chunks {
            let len_bytes = options.reserve_chunk_bytes;
            SpareWork::begin(Arc::clone(&disk), names::reserve(chunk), len_bytes)
                .and_then(SpareWork::finish)
                .map_err(|source| full_or(&*disk, source, len_bytes, "making the reserve"))?;
        }
        let (mut id, mut salt) = ([0; 16], [0; 16]);
        entropy.fill(&mut id);
        entropy.fill(&mut salt);
        let identity =
            Identity { id: JournalId::new(id), incarnation: Incarnation::FIRST, salt: Salt(salt) };
        let image = Image::new(Draft {
            identity,
            start: Position::ZERO,
            previous: None,
            chain: Chain::EMPTY,
            recycled: false,
            file_len: 0,
            snapshot,
        });
        let len_bytes = options.first_bytes().max(image.len_min(options));
        let file = place_fresh(&*disk, &image, len_bytes)
            .map_err(|source| full_or(&*disk, source, len_bytes, "making the first file"))?;
        let mut others =
            Others { reserve: (0..options.reserve_chunks).collect(), ..Others::default() };
        let named = others.newest.move_to(&*disk, file.start, file.identity.incarnation);
        named.map_err(at("naming the newest file"))?;
        Ok(journal(disk, options, &image, vec![file], others, 0))
    }
}

impl Journal {
    /// Only now, with file and name durable, a mark may say so of the copies.
    fn witness_copies(&mut self) -> Result<(), CommitError> {
        let mark = self.mark().expect("a new file has room for a mark");
        mark.write_and_sync()?;
        self.on_synced(mark.end());
        Ok(())
    }
}

fn check(options: &JournalOptions, snapshot: &[u8]) -> Result<(), StartError> {
    if !options.is_valid() {
        return Err(StartError::Options);
    }
    if snapshot.len() > SNAPSHOT_MAX {
        return Err(StartError::SnapshotTooLong(snapshot.len()));
    }
    Ok(())
}

fn full_or(disk: &dyn Disk, source: io::Error, needed: u64, step: &'static str) -> StartError {
    if !is_full(&source) {
        return StartError::Io { step, source };
    }
    let free = disk.free_bytes().unwrap_or(0);
    StartError::DiskFull { to_free_bytes: needed.saturating_sub(free).max(1) }
}

fn journal(
    disk: Arc<dyn Disk>,
    options: &JournalOptions,
    image: &Image,
    files: Vec<Arc<JournalFile>>,
    others: Others,
    spare_number: u64,
) -> Journal {
    let current = Arc::clone(files.last().expect("a journal has a file"));
    current.set_written(image.position);
    Journal {
        disk,
        options: options.clone(),
        identity: image.draft.identity,
        shared: Arc::new(Shared::new(image.position, files)),
        current,
        position: image.position,
        chain: image.chain,
        witnessed: true,
        reserve: others.reserve,
        newest: others.newest,
        spare_numbers: Arc::new(AtomicU64::new(spare_number)),
    }
}

fn place_fresh(disk: &dyn Disk, image: &Image, len_bytes: u64) -> io::Result<Arc<JournalFile>> {
    remove_if_there(disk, names::STARTING)?;
    let file: Arc<dyn DiskFile> = disk.create(names::STARTING)?.into();
    let (preamble, free_from) = image.write(&*file, len_bytes)?;
    write_zeros(&*file, free_from, len_bytes)?;
    publish(disk, &preamble, names::STARTING, file)
}

/// `None` if the chunk is too small. What an earlier attempt wrote into it is zeroed first.
fn place_reserve(
    disk: &dyn Disk,
    image: &Image,
    chunk: usize,
    len_min: u64,
) -> io::Result<Option<Arc<JournalFile>>> {
    let name = names::reserve(chunk);
    let SpareFile { file, len_bytes, .. } = SpareFile::reopen(disk, name.clone())?;
    if len_bytes < len_min {
        return Ok(None);
    }
    let mut slice = Vec::new();
    let mut at = 0;
    while at < len_bytes {
        slice.resize(narrow((len_bytes - at).min(wide(SLICE_BYTES))), 0);
        file.read_at(at, &mut slice)?;
        let end = at + wide(slice.len());
        if slice.iter().any(|&byte| byte != 0) {
            write_zeros(&*file, at, end)?;
        }
        at = end;
    }
    let (preamble, _) = image.write(&*file, len_bytes)?;
    publish(disk, &preamble, &name, file).map(Some)
}

/// Content first, then the name: a file with a journal's name is whole.
fn publish(
    disk: &dyn Disk,
    preamble: &Preamble,
    name: &str,
    file: Arc<dyn DiskFile>,
) -> io::Result<Arc<JournalFile>> {
    file.sync_all()?;
    disk.rename(name, &names::journal(preamble.start, preamble.identity.incarnation))?;
    disk.sync_dir()?;
    Ok(Arc::new(JournalFile::new(preamble, file, preamble.file_len)))
}
