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
use super::manifest::{AtEnd, Loaded, check_files, manifest_at_end, name_known, open_runs};
use super::remake::remake_runs;
use super::{Ended, OpenError, OpenReport, Store, StoreOptions, witness};
use crate::catalog::Catalog;
use crate::disk::Disk;
use crate::entry::{Entry, SealedFile};
use crate::index::Stamp;
use crate::journal::{CommitRef, Entropy, FileInfo, Journal, Position, Scan, ScanError, SpareFile};
use crate::keys::{KeyHasher, KeyHashes};
use crate::runs::RunInfo;
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
        match witness::scan(&disk) {
            Ok(scan) => Self::recover(disk, scan, options, entropy, now),
            Err(OpenError::Scan(ScanError::NoJournal)) => Self::create(disk, options, entropy),
            Err(error) => Err(error),
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
            packs: 0,
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
        let AtEnd { mut manifest, all: ends } = manifest_at_end(&scan, &state, at)?;
        check_files(&scan, &manifest)?;
        scan.know_ends(ends.values().map(|file| (file.start, file.end)));
        let mut remade = Vec::new();
        let loaded = match open_runs(&*disk, &scan, &mut state, &manifest) {
            Err(OpenError::Run(error)) => {
                remade = remake_runs(&disk, &scan, (&manifest, &ends), options.table_limits())?;
                if remade.is_empty() {
                    return Err(OpenError::Run(error));
                }
                for file in &remade {
                    manifest.seal(file);
                }
                state = State::restore(scan.newest_snapshot().0, at, options.table_limits())?;
                open_runs(&*disk, &scan, &mut state, &manifest)
            }
            loaded => loaded,
        };
        let Loaded { readers, upto, rebuilt, holes } = loaded?;
        let rebuilt = rebuilt + remade.len();
        scan.know_holes(holes);
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
            packs: state.control.manifest.packs.len(),
            runs_rebuilt: rebuilt,
        };
        let (spares, end) = (started.spares, stamp.end);
        let parts = Parts { disk, options, journal, state, catalog, spares, end };
        let mut store = parts.into_store(unwritten);
        store.listings = Listings::new(Some(stamp));
        store.open_sides()?;
        store.open_packs()?;
        store.end_sessions(now);
        store.drop_leftovers();
        let named = &store.state.control.manifest.files;
        remade.retain(|file| named.get(&file.start).is_some_and(|known| known.run != file.run));
        store.waiting.extend(remade.into_iter().map(|file| Entry::RunAdded { file }));
        Ok((store, report))
    }

    /// After a start no session is open.
    fn end_sessions(&mut self, now: Timestamp) {
        let transient = self.state.control.producers.iter().filter(|(_, known)| known.transient);
        let now = now.max(self.state.control.append_time);
        let ended = Ended { at: now, lost: false };
        self.ended = transient.map(|(key, _)| (key.clone(), ended)).collect();
    }

    /// Files that are dropped or packed, and were not removed before the stop.
    fn drop_leftovers(&mut self) {
        let upto = self.state.control.manifest.runs_upto;
        let current = self.journal.files().last().map(|file| file.start);
        for file in self.journal.files() {
            let known = self.state.control.manifest.files.get(&file.start);
            let sealed = file.end <= upto && Some(file.start) != current;
            let packed = self.state.control.manifest.pack_of(file.start).is_some();
            if sealed && known.is_none_or(SealedFile::is_dropped) {
                self.view.catalog().drop_file(file.start);
                self.drop_file(file.start);
            } else if packed {
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
        named.extend(manifest.merged.values().map(|merged| merged.run.merged_name()));
        let names = match self.disk.list() {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "the directory could not be listed");
                return;
            }
        };
        for (name, _) in names {
            let whole = name.strip_suffix(".tmp").unwrap_or(&name);
            let is_merged = RunInfo::parse_merged_name(whole).is_some();
            let is_run = is_merged || RunInfo::parse_name(whole).is_some();
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
        let files = Files::new(current, options.journal.file_bytes, unwritten.into());
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
            packing: super::packing::Packing::default(),
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
        store.show_keys();
        store
    }
}

/// Replays into a state, and closes each file where it ends.
pub(super) struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    journal: crate::journal::JournalId,
    hasher: KeyHasher,
    keys: KeyHashes,
    state: State,
    catalog: Catalog,
    /// Files to be closed, oldest first; the last ends where the journal goes on.
    pub(super) files: std::collections::VecDeque<FileInfo>,
    synced_upto: Position,
    /// The state at `synced_upto`.
    snapshot: Option<Vec<u8>>,
    pub(super) unwritten: Vec<Unwritten>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
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

    pub(super) fn commit(&mut self, commit: &CommitRef<'_>) -> Result<(), OpenError> {
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
        let now = crate::sequencer::Now { wall: now, of_ages: now };
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
            .hash_stored(&partition.id.topic, batch, &mut self.keys)
            .map_err(crate::entry::EntryError::Batch)?;
        Ok(true)
    }

    /// Closes the files that end at `position` or before.
    pub(super) fn pass(&mut self, position: Position) {
        while let Some(file) = self.files.pop_front_if(|file| file.end <= position) {
            let slots = 0..u32::try_from(self.state.control.partitions.len()).unwrap_or(u32::MAX);
            let ends = slots.map(|slot| {
                self.state.edge(crate::runs::Slot::new(slot), file.end).unwrap_or_default()
            });
            let ends = ends.collect();
            // Not where this one ends: there may be a hole between them.
            let next = self.files.front().map_or(self.synced_upto, |next| next.start);
            let work = RunWork {
                young: None,
                disk: Arc::clone(self.disk),
                journal: self.journal,
                live: self.catalog.freeze(next),
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
