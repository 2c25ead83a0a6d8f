//! Opening: from a directory to a store, the same after a clean stop and after a power cut.
//!
//! 1. Scan the directory; restore the newest snapshot.
//! 2. Find the manifest as of the journal's end: runs may have been named behind the snapshot,
//!    and what they cover may be gone from the journal.
//! 3. Load the runs into the tables; one that is damaged, and all behind it, are made again from
//!    their files.
//! 4. Replay: the tables from where the runs end, the control part from the snapshot on.
//! 5. Start the journal in a fresh file, with the state at what was proved durable as its
//!    snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::words::{JournalId, Timestamp};

use super::commit::News;
use super::files::{Files, Unwritten};
use super::job::RunWork;
use super::listing::Listings;
use super::{OpenError, OpenReport, Store, StoreOptions};
use crate::catalog::Catalog;
use crate::disk::Disk;
use crate::entry::{Entry, SealedFile, SideFile};
use crate::index::Stamp;
use crate::journal::{CommitRef, Entropy, FileInfo, Journal, Position, Scan, ScanError, SpareFile};
use crate::keys::{KeyHasher, KeyHashes};
use crate::runs::{KeyRun, RunError, RunInfo, RunReader};
use crate::sequencer::Scratch;
use crate::state::{Effects, State};
use crate::view::{Counters, Directory, View};

impl<T> Store<T> {
    /// Opens the store in `disk`'s directory; makes it where the directory is empty.
    ///
    /// # Errors
    /// [`OpenError`]; what was acknowledged is never cut or skipped to open.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        entropy: &mut dyn Entropy,
        now: Timestamp,
    ) -> Result<(Self, OpenReport), OpenError> {
        match Scan::open(Arc::clone(&disk)) {
            Ok(scan) => Self::recover(disk, scan, options, entropy, now),
            Err(ScanError::NoJournal) => Self::create(disk, options, entropy),
            Err(error) => Err(error.into()),
        }
    }

    fn create(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, OpenReport), OpenError> {
        let mut secret = [0; 16];
        entropy.fill(&mut secret);
        let state = State::new(options.node.clone(), secret, options.table_limits());
        let snapshot = state.snapshot();
        let journal = Journal::create(Arc::clone(&disk), &options.journal, entropy, &snapshot)?;
        let report = OpenReport {
            created: true,
            incarnation: journal.incarnation(),
            synced_upto: journal.position(),
            end: journal.position(),
            replayed_commits: 0,
            copied_bytes: 0,
            cut: None,
            used_reserve: false,
            runs_merged: 0,
            runs_rebuilt: 0,
        };
        let catalog = Catalog::new(journal.position());
        let end = journal.position();
        let parts = Parts { disk, options, journal, state, catalog, spares: Vec::new(), end };
        Ok((parts.into_store(Vec::new()), report))
    }

    fn recover(
        disk: Arc<dyn Disk>,
        mut scan: Scan,
        options: StoreOptions,
        entropy: &mut dyn Entropy,
        now: Timestamp,
    ) -> Result<(Self, OpenReport), OpenError> {
        let (snapshot, at) = scan.newest_snapshot();
        let mut state = State::restore(snapshot, at, options.table_limits())?;
        if state.control.node != options.node {
            let (found, expected) = (state.control.node.to_string(), options.node.to_string());
            return Err(OpenError::OtherNode { found, expected });
        }
        let manifest = manifest_at_end(&scan, &state, at)?;
        check_files(&scan, &manifest.files)?;
        let ends = &manifest.all;
        scan.know_ends(ends.values().map(|file| (file.start, file.end)));
        let Loaded { readers, upto, rebuilt } = open_runs(&*disk, &scan, &mut state, &manifest)?;
        let from = state.begin_replay(upto, ends.values().filter(|file| file.end <= upto));

        let catalog = Catalog::new(upto);
        for reader in readers {
            catalog.sealed(reader);
        }
        let mut replay = Replay::new(&scan, &disk, state, catalog, upto);
        let mut failed = None;
        let end = scan.replay(from, &mut |commit| {
            #[cfg(takt_planted)]
            let before = replay.state.control.partitions.clone();
            if failed.is_none() {
                failed = replay.commit(commit).err();
            }
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("mirror_end_apart") && commit.end() == scan.end() {
                let partitions = replay.state.control.partitions.iter_mut().zip(before);
                for (partition, before) in partitions.filter(|(now, _)| now.mirror_of.is_some()) {
                    partition.end = before.end;
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        replay.pass(scan.end());
        let Replay { mut state, catalog, snapshot, mut unwritten, .. } = replay;
        let snapshot = snapshot.unwrap_or_else(|| state.snapshot());
        let stamp = Stamp { journal: scan.id(), end: scan.end() };
        let (journal, started) = scan.start(&snapshot, &options.journal, entropy)?;

        name_known(&disk, &mut state, &catalog, &mut unwritten);
        let report = OpenReport {
            created: false,
            incarnation: journal.incarnation(),
            synced_upto: started.start,
            end: journal.position(),
            replayed_commits: end.commits,
            copied_bytes: started.copied_bytes,
            cut: started.cut,
            used_reserve: started.used_reserve,
            runs_merged: state.control.manifest.merged.len(),
            runs_rebuilt: rebuilt,
        };
        let (spares, end) = (started.spares, stamp.end);
        let parts = Parts { disk, options, journal, state, catalog, spares, end };
        let mut store = parts.into_store(unwritten);
        store.listings = Listings::new(Some(stamp));
        store.open_sides()?;
        store.end_sessions(now);
        store.drop_leftovers();
        Ok((store, report))
    }

    /// After a start no session is open.
    fn end_sessions(&mut self, now: Timestamp) {
        let transient = self.state.control.producers.iter().filter(|(_, known)| known.transient);
        let now = now.max(self.state.control.append_time);
        self.ended = transient.map(|(key, _)| (key.clone(), now)).collect();
    }

    /// Files whose dropping is durable, and that were not removed before the stop.
    fn drop_leftovers(&mut self) {
        let upto = self.state.control.manifest.runs_upto;
        let current = self.journal.files().last().map(|file| file.start);
        for file in self.journal.files() {
            let known = self.state.control.manifest.files.get(&file.start);
            let sealed = file.end <= upto && Some(file.start) != current;
            if sealed && known.is_none_or(SealedFile::is_dropped) {
                self.view.catalog().drop_file(file.start);
                self.drop_file(file.start);
            }
        }
        self.remove_unnamed_runs();
        self.show_files();
    }

    /// Runs that nothing names: of merges that were not finished, and what was merged since.
    fn remove_unnamed_runs(&self) {
        let manifest = &self.state.control.manifest;
        let of_files = manifest.files.values().filter_map(|file| file.run.as_ref());
        let mut named: BTreeSet<String> = of_files.map(RunInfo::name).collect();
        named.extend(manifest.merged.values().map(RunInfo::merged_name));
        let names = match self.disk.list() {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "the directory could not be listed");
                return;
            }
        };
        for (name, _) in names {
            let whole = name.strip_suffix(".tmp").unwrap_or(&name);
            let is_run = RunInfo::is_merged_name(whole) || RunInfo::parse_name(whole).is_some();
            let unnamed = is_run && !named.contains(&name);
            if let Some(error) = unnamed.then(|| self.disk.remove(&name).err()).flatten() {
                tracing::warn!(name, %error, "an unfinished run could not be removed");
            }
        }
    }
}

/// What a store is put together from.
struct Parts {
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    journal: Journal,
    state: State,
    catalog: Catalog,
    spares: Vec<SpareFile>,
    /// Where the last commit that is no mark ends.
    end: Position,
}

impl Parts {
    fn into_store<T>(self, unwritten: Vec<Unwritten>) -> Store<T> {
        let Self { disk, options, journal, state, catalog, spares, end } = self;
        let view = View::new(
            options.node.clone(),
            JournalId::new(journal.id().bytes()),
            KeyHasher::new(state.control.secret),
            catalog,
            journal.reader(),
            Directory::default(),
        );
        let news = News::of_all(&state);
        let current = journal.files().last().map_or(journal.position(), |file| file.start);
        let files = Files::new(current, unwritten.into());
        let mut store = Store {
            options,
            disk,
            journal,
            state,
            view,
            scratch: Scratch::default(),
            entry_bytes: Vec::new(),
            filling: None,
            held: Vec::new(),
            effects: Effects::default(),
            waiting: std::collections::VecDeque::new(),
            in_flight: false,
            roll: None,
            spares,
            used_buffer: None,
            files,
            sides: super::side::Sides::default(),
            listings: Listings::new(None),
            data_end: end,
            full: false,
            failed: false,
            broken: None,
            ended: BTreeMap::new(),
            uplink_needs: None,
            uplink_topics: None,
            age_time_max: None,
            counters: Counters::default(),
        };
        store.publish(news);
        store.show_files();
        store
    }
}

pub(super) type SealedFiles = BTreeMap<Position, SealedFile>;

/// The manifest as the journal's end knows it: that of the snapshot, and what entries behind it
/// add and drop.
pub(super) struct AtEnd {
    pub(super) files: SealedFiles,
    /// With those that were dropped behind the snapshot.
    pub(super) all: SealedFiles,
    pub(super) merged: BTreeMap<Position, RunInfo>,
    pub(super) sides: BTreeMap<Position, SideFile>,
}

/// Reads the manifest as of the journal's end; `state` is the snapshot's, taken at `at`.
pub(super) fn manifest_at_end(
    scan: &Scan,
    state: &State,
    at: Position,
) -> Result<AtEnd, OpenError> {
    let mut files = state.control.manifest.files.clone();
    let mut merged = state.control.manifest.merged.clone();
    let mut sides = state.control.manifest.sides.clone();
    let mut all = files.clone();
    let mut failed = None;
    let mut each = |kind: u8, bytes: &[u8]| {
        if !Entry::is_of_manifest(kind) {
            return Ok(());
        }
        match Entry::decode(kind, &Bytes::copy_from_slice(bytes))? {
            Entry::RunAdded { file } => {
                all.insert(file.start, file.clone());
                files.insert(file.start, file);
            }
            Entry::FileDropped { start } => {
                if let Some(file) = files.get_mut(&start) {
                    file.slots.clear();
                    let merged = |run: &RunInfo| merged.values().any(|merged| merged.covers(run));
                    if file.run.as_ref().is_none_or(merged) {
                        files.remove(&start);
                    }
                }
            }
            Entry::ConflictsKept { side } => {
                sides.insert(side.start, side);
            }
            Entry::KeysMerged { run } => {
                merged.retain(|_, old: &mut RunInfo| !run.covers(old));
                files.retain(|_, file| {
                    !(file.is_dropped() && file.run.is_some_and(|old| run.covers(&old)))
                });
                merged.insert(run.start, run);
            }
            Entry::TopicCreated { .. }
            | Entry::MirrorBegun { .. }
            | Entry::MirrorStarted { .. }
            | Entry::Batch { .. }
            | Entry::MirrorBatch { .. }
            | Entry::SequenceAdvanced { .. }
            | Entry::ProducerOpened { .. }
            | Entry::ProducerDropped { .. }
            | Entry::CursorSet { .. }
            | Entry::CursorRemoved { .. } => {}
        }
        Ok::<(), crate::entry::EntryError>(())
    };
    scan.replay(at, &mut |commit| {
        for entry in commit.entries() {
            if let Err(error) = each(entry.kind, entry.bytes) {
                failed.get_or_insert(error);
            }
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(AtEnd { files, all, merged, sides }),
    }
}

/// Every file that holds records must be there.
pub(super) fn check_files(scan: &Scan, manifest: &SealedFiles) -> Result<(), OpenError> {
    let there: Vec<Position> = scan.files().iter().map(|file| file.start).collect();
    for file in manifest.values().filter(|file| !file.slots.is_empty()) {
        if there.binary_search(&file.start).is_err() {
            let name = format!("journal-{:016x}", file.start.get());
            return Err(OpenError::FileMissing { name });
        }
    }
    Ok(())
}

struct Loaded {
    /// Of the files that are not dropped.
    readers: Vec<RunReader>,
    /// The runs that were opened hold all below it.
    upto: Position,
    rebuilt: usize,
}

/// Opens the runs, oldest first, up to the first that is damaged: what it covers, and all behind, is
/// replayed. That takes no time that grows with what they hold, but for their filters.
fn open_runs(
    disk: &dyn Disk,
    scan: &Scan,
    state: &mut State,
    manifest: &AtEnd,
) -> Result<Loaded, OpenError> {
    let AtEnd { files, all, merged, .. } = manifest;
    let runs_upto = all.values().map(|file| file.end).max().unwrap_or_default();
    let mut loaded = Loaded {
        readers: Vec::new(),
        upto: runs_upto.max(state.control.manifest.runs_upto),
        rebuilt: 0,
    };
    let mut damage = None;
    for (file, info) in kept_runs(files) {
        match RunReader::open(disk, scan.id(), info) {
            Ok(reader) => loaded.readers.push(reader),
            Err(error) => {
                damage = Some((file.start, error));
                break;
            }
        }
    }
    let of_files = files.values().filter_map(|file| file.run.as_ref());
    let unmerged = of_files.filter(|run| !merged.values().any(|merged| merged.covers(run)));
    let runs = merged.values().map(|run| (run, true)).chain(unmerged.map(|run| (run, false)));
    for (info, is_merged) in runs {
        if damage.as_ref().is_some_and(|(from, _)| *from <= info.start) {
            break;
        }
        let run = if is_merged {
            KeyRun::open_merged(disk, scan.id(), info)
        } else {
            KeyRun::open(disk, scan.id(), info)
        };
        let run = run.and_then(|run| KeyRun::count_orders(Arc::new(run), state.tables.runs()));
        match run {
            Ok(run) => state.tables.add(run),
            Err(error) if can_be_made_again(files, info) => damage = Some((info.start, error)),
            Err(error) => return Err(OpenError::Run(error)),
        }
    }
    let Some((from, error)) = damage else { return Ok(loaded) };
    tracing::warn!(%from, %error, "runs are made again from their files");
    if let Some(lost) = files.values().find(|file| file.start >= from && file.is_dropped()) {
        tracing::error!(start = %lost.start, "a dropped file lies behind it");
        return Err(OpenError::Run(error));
    }
    loaded.rebuilt = files.range(from..).filter(|(_, file)| file.run.is_some()).count();
    loaded.readers.retain(|reader| reader.info().start < from);
    loaded.upto = from;
    Ok(loaded)
}

/// The files that are not dropped and have a run, oldest first.
fn kept_runs(files: &SealedFiles) -> impl Iterator<Item = (&SealedFile, &RunInfo)> {
    let kept = files.values().filter(|file| !file.is_dropped());
    kept.filter_map(|file| Some((file, file.run.as_ref()?)))
}

/// Whether the files of the manifest hold all that a run covers. Those that were dropped, and whose
/// keys were merged, are not among them.
pub(super) fn can_be_made_again(files: &SealedFiles, run: &RunInfo) -> bool {
    let mut upto = run.start;
    for file in files.range(run.start..run.end).map(|(_, file)| file) {
        if file.start != upto || file.is_dropped() {
            return false;
        }
        upto = file.end;
    }
    upto == run.end
}

/// Replays into a state, and closes each file where it ends.
struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    journal: crate::journal::JournalId,
    hasher: KeyHasher,
    keys: KeyHashes,
    state: State,
    catalog: Catalog,
    /// Files to be closed, oldest first; the last ends where the journal goes on.
    files: std::collections::VecDeque<FileInfo>,
    synced_upto: Position,
    /// The state at `synced_upto`.
    snapshot: Option<Vec<u8>>,
    unwritten: Vec<Unwritten>,
}

impl<'a> Replay<'a> {
    fn new(
        scan: &Scan,
        disk: &'a Arc<dyn Disk>,
        state: State,
        catalog: Catalog,
        upto: Position,
    ) -> Self {
        let synced_upto = scan.synced_upto();
        let files = scan.files().into_iter().filter_map(|mut file| {
            file.end = file.end.min(synced_upto);
            (file.start >= upto && file.start < file.end).then_some(file)
        });
        Self {
            disk,
            journal: scan.id(),
            hasher: KeyHasher::new(state.control.secret),
            keys: KeyHashes::default(),
            files: files.collect(),
            state,
            catalog,
            synced_upto,
            snapshot: None,
            unwritten: Vec::new(),
        }
    }

    fn commit(&mut self, commit: &CommitRef<'_>) -> Result<(), OpenError> {
        self.pass(commit.position());
        let mut effects = Effects::default();
        for found in commit.entries() {
            let entry = Entry::decode(found.kind, &Bytes::copy_from_slice(found.bytes))?;
            let keys = self.keys_of(&entry)?;
            let keys = keys.then_some(&self.keys);
            #[cfg(takt_planted)]
            let keys = keys.filter(|_| !takt_protocol::planted::is("replayed_keys_forgotten"));
            #[cfg(takt_planted)]
            let entry = self.judge_again(entry);
            self.state.apply(found.position, &entry, keys, &mut effects)?;
        }
        self.catalog.publish(effects.batches, effects.orders);
        Ok(())
    }

    #[cfg(takt_planted)]
    fn judge_again(&self, entry: Entry) -> Entry {
        let Entry::Batch { slot, batch } = &entry else { return entry };
        let Some(partition) = self.state.partition(*slot) else { return entry };
        if !takt_protocol::planted::is("replay_judges_again") {
            return entry;
        }
        let header = batch.header();
        let publication = crate::sequencer::Publication {
            producer: &header.producer,
            topic: &partition.id.topic,
            epoch: header.epoch,
            batch: batch.batch(),
            keys: &self.keys,
        };
        // The clock has gone on since.
        let now = Timestamp::from_micros(header.append_time.as_micros() + 1);
        match self.state.judge(&publication, now, &mut Scratch::default()) {
            crate::sequencer::Judged::Fresh { entry, .. } => entry,
            // Below the snapshot: it is applied already.
            crate::sequencer::Judged::Known(_)
            | crate::sequencer::Judged::Refused(_)
            | crate::sequencer::Judged::Unreadable(_) => entry,
        }
    }

    /// Hashes the keys of the entry's batch; false where it has none.
    fn keys_of(&mut self, entry: &Entry) -> Result<bool, OpenError> {
        let (Entry::Batch { slot, batch } | Entry::MirrorBatch { slot, batch }) = entry else {
            return Ok(false);
        };
        let Some(partition) = self.state.partition(*slot) else { return Ok(false) };
        self.hasher
            .hash_batch(&partition.id.topic, batch.batch(), &mut self.keys)
            .map_err(|error| crate::entry::EntryError::Batch(error.into()))?;
        Ok(true)
    }

    /// Closes the files that end at `position` or before.
    fn pass(&mut self, position: Position) {
        while let Some(file) = self.files.pop_front_if(|file| file.end <= position) {
            let slots = 0..u32::try_from(self.state.control.partitions.len()).unwrap_or(u32::MAX);
            let ends = slots.map(|slot| {
                self.state.edge(crate::runs::Slot::new(slot), file.end).unwrap_or_default()
            });
            let ends = ends.collect();
            let work = RunWork {
                disk: Arc::clone(self.disk),
                journal: self.journal,
                live: self.catalog.freeze(file.end),
                frozen: Arc::new(self.state.tables.freeze(file.start)),
                file,
            };
            self.unwritten.push(Unwritten { work, ends, named: false });
        }
        if position >= self.synced_upto && self.snapshot.is_none() {
            self.snapshot = Some(self.state.snapshot());
        }
    }
}

/// Runs of replayed files that the manifest names: they are there, or are made again. Those behind
/// one that is made again are made again too: the catalog wants them in their order.
fn name_known(
    disk: &Arc<dyn Disk>,
    state: &mut State,
    catalog: &Catalog,
    unwritten: &mut Vec<Unwritten>,
) {
    let mut behind = false;
    unwritten.retain_mut(|file| {
        let State { control, tables, .. } = state;
        let start = file.work.file.start;
        let Some(known) = control.manifest.files.get(&start) else {
            // One that was sealed and is not named was dropped for good; its file is just not gone.
            let dropped = file.work.file.end <= control.manifest.runs_upto;
            if dropped {
                catalog.drop_file(start);
                tables.sealed(start, None);
            }
            return !dropped;
        };
        let Some(info) = &known.run else {
            catalog.drop_file(start);
            tables.sealed(start, None);
            return false;
        };
        match open_whole(&**disk, file.work.journal, info) {
            Ok((reader, keys)) if !behind => {
                catalog.sealed(reader);
                tables.sealed(start, Some(keys));
            }
            Ok(_) | Err(_) => behind = true,
        }
        file.named = behind;
        behind
    });
}

/// A run of which every byte was read.
pub(super) fn open_whole(
    disk: &dyn Disk,
    journal: crate::journal::JournalId,
    info: &RunInfo,
) -> Result<(RunReader, Arc<KeyRun>), RunError> {
    let reader = RunReader::open(disk, journal, info)?;
    reader.verify()?;
    let keys = Arc::new(KeyRun::open(disk, journal, info)?);
    keys.verify()?;
    Ok((reader, keys))
}
