//! What the manifest says at the journal's end, and the runs that it names: they are opened, or made
//! again from their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::OpenError;
use super::files::Unwritten;
use crate::catalog::Catalog;
use crate::disk::Disk;
use crate::entry::{Entry, SealedFile};
use crate::journal::{JournalId, Position, Scan};
use crate::runs::{KeyRun, RunError, RunInfo, RunReader};
use crate::state::{Manifest, State};

pub(super) type SealedFiles = BTreeMap<Position, SealedFile>;

/// The manifest as the journal's end knows it: that of the snapshot, and what entries behind it
/// add and drop.
pub(super) struct AtEnd {
    pub(super) manifest: Manifest,
    /// With the files that were dropped behind the snapshot.
    pub(super) all: SealedFiles,
}

/// Reads the manifest as of the journal's end; `state` is the snapshot's, taken at `at`.
pub(super) fn manifest_at_end(
    scan: &Scan,
    state: &State,
    at: Position,
) -> Result<AtEnd, OpenError> {
    let mut manifest = state.control.manifest.clone();
    let mut all = manifest.files.clone();
    let mut failed = None;
    let mut each = |kind: u8, bytes: &[u8]| {
        if !Entry::is_of_manifest(kind) {
            return Ok(());
        }
        match Entry::decode(kind, &Bytes::copy_from_slice(bytes))? {
            Entry::RunAdded { file } => {
                // What does not fit is refused when it is applied.
                manifest.seal(&file);
                all.insert(file.start, file);
            }
            Entry::FileDropped { start } => {
                if let Some(file) = manifest.files.get_mut(&start) {
                    file.slots.clear();
                    manifest.release(start);
                    manifest.release_packs();
                }
            }
            Entry::ConflictsKept { side } => {
                manifest.sides.insert(side.start, side);
            }
            Entry::SlotsTrimmed { start, slots } => drop(manifest.trim(start, &slots)),
            Entry::PackAdded { pack } => drop(manifest.pack(&pack)),
            Entry::KeysMerged { run } => drop(manifest.merge(&run)),
            Entry::KeysDropped { upto } => drop(manifest.forget(upto)),
            Entry::TopicCreated { .. }
            | Entry::RetentionSet { .. }
            | Entry::CompactionSet { .. }
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
        None => Ok(AtEnd { manifest, all }),
    }
}

/// Every file that holds records must be there, unless a pack has them.
pub(super) fn check_files(scan: &Scan, manifest: &Manifest) -> Result<(), OpenError> {
    let there: Vec<Position> = scan.files().iter().map(|file| file.start).collect();
    for file in manifest.files.values().filter(|file| !file.slots.is_empty()) {
        let is_there = there.binary_search(&file.start).is_ok();
        if !is_there && manifest.pack_of(file.start).is_none() {
            let name = format!("journal-{:016x}", file.start.get());
            return Err(OpenError::FileMissing { name });
        }
    }
    Ok(())
}

pub(super) struct Loaded {
    /// Of the files that are not dropped.
    pub(super) readers: Vec<RunReader>,
    /// The runs that were opened hold all below it.
    pub(super) upto: Position,
    pub(super) rebuilt: usize,
    /// What replay from there need not find: see [`holes`].
    pub(super) holes: BTreeMap<Position, Position>,
}

/// Opens the runs, oldest first, up to the first that is damaged: what it covers, and all behind, is
/// replayed. That takes no time that grows with what they hold, but for their filters.
pub(super) fn open_runs(
    disk: &dyn Disk,
    scan: &Scan,
    state: &mut State,
    manifest: &Manifest,
) -> Result<Loaded, OpenError> {
    let Manifest { files, merged, runs_upto, keys_from, .. } = manifest;
    let upto = *runs_upto;
    state.tables.forget(*keys_from);
    let mut loaded = Loaded { readers: Vec::new(), upto, rebuilt: 0, holes: BTreeMap::new() };
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
    let unmerged = of_files.filter(|run| {
        run.end > *keys_from && !merged.values().any(|merged| merged.run.covers(run))
    });
    let merged = merged.values().map(|merged| (&merged.run, true));
    let runs = merged.chain(unmerged.map(|run| (run, false)));
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
            Err(error) if holes(manifest, info.start).is_some() => {
                damage = Some((info.start, error));
            }
            Err(error) => return Err(OpenError::Run(error)),
        }
    }
    let Some((from, error)) = damage else { return Ok(loaded) };
    tracing::warn!(%from, %error, "runs are made again from their files");
    let Some(holes) = holes(manifest, from) else { return Err(OpenError::Run(error)) };
    loaded.holes = holes;
    loaded.rebuilt = files.range(from..).filter(|(_, file)| file.run.is_some()).count();
    loaded.readers.retain(|reader| reader.info().start < from);
    loaded.upto = from;
    Ok(loaded)
}

/// The files that are not dropped and have a run, oldest first.
pub(super) fn kept_runs(files: &SealedFiles) -> impl Iterator<Item = (&SealedFile, &RunInfo)> {
    let kept = files.values().filter(|file| !file.is_dropped());
    kept.filter_map(|file| Some((file, file.run.as_ref()?)))
}

/// Where replay from `from` on finds no file and needs none, up to the end of all runs: the starts and
/// ends. `None` where a file is gone that it needs.
///
/// A file that was dropped stays in the manifest as long as its run is the only one with its keys. What
/// has left it had nothing for a run, such as one of cursors alone, which may go before older ones; its
/// keys are forgotten; or they are in a merged run. That one helps if it begins before `from`, where
/// replay does not make it again.
pub(super) fn holes(manifest: &Manifest, from: Position) -> Option<BTreeMap<Position, Position>> {
    let Manifest { files, merged, runs_upto, keys_from, .. } = manifest;
    let merged_upto = manifest.merged_upto();
    let is_needless = |start: Position, end: Position| {
        let start = start.max(*keys_from);
        let covers = |run: &RunInfo| run.start <= start && end <= run.end;
        start >= merged_upto
            || end <= start
            || merged.values().any(|merged| merged.run.start < from && covers(&merged.run))
    };
    let behind = || files.range(from..).map(|(_, file)| file);
    if behind().any(|file| file.is_dropped() || manifest.pack_of(file.start).is_some()) {
        return None;
    }
    let starts = behind().map(|file| file.start).chain([*runs_upto]);
    let ends = std::iter::once(from).chain(behind().map(|file| file.end));
    let holes: BTreeMap<Position, Position> =
        ends.zip(starts).filter(|(end, start)| end != start).collect();
    holes.iter().all(|(start, end)| is_needless(*start, *end)).then_some(holes)
}

/// Runs of replayed files that the manifest names: they are there, or are made again. Those behind
/// one that is made again are made again too: the catalog wants them in their order.
pub(super) fn name_known(
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
        let whole = open_whole(&**disk, file.work.journal, info)
            .and_then(|(reader, keys)| Ok((reader, KeyRun::count_orders(keys, tables.runs())?)));
        match whole {
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
    journal: JournalId,
    info: &RunInfo,
) -> Result<(RunReader, Arc<KeyRun>), RunError> {
    let reader = RunReader::open(disk, journal, info)?;
    reader.verify()?;
    let keys = Arc::new(KeyRun::open(disk, journal, info)?);
    keys.verify()?;
    Ok((reader, keys))
}
