//! Work that a background thread does for the store: nothing in it decides anything.

use std::io;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::listing::{IndexDone, IndexWork};
use super::pack_work::{PackError, PackStep, PackTask};
use super::side::{SideJobError, SideWork};
use crate::catalog::LiveFile;
use crate::disk::Disk;
use crate::entry::SideFile;
use crate::index::IndexError;
use crate::journal::{FileInfo, JournalId, Position, SpareFile, SpareMaker, SpareWork};
use crate::kept::SideReader;
use crate::ledger::LedgerEntry;
use crate::runs::{
    KeyRun, MergeError, MergePlan, MergeStep, MergeWork, RunError, RunInfo, RunInput, RunReader,
    RunWriteError, RunWriter,
};
use crate::state::{Frozen, YoungPlace};

/// What is written at a time of a file that nobody waits for, in bytes: a commit waits behind it.
const POOL_SLICE_BYTES: usize = 1 << 20;

/// Work to be done on any thread, one at a time.
#[derive(Debug)]
pub struct Job(pub(super) Work);

#[derive(Debug)]
pub(super) enum Work {
    Spare(SpareTask),
    Pool(SpareTask),
    Reserve { maker: SpareMaker, chunk: usize, len_bytes: u64 },
    Run(Box<RunWork>),
    Merge(Box<MergeTask>),
    Side(Box<SideWork>),
    Pack(PackTask),
    Index(Box<IndexWork>),
}

/// What a run is made from.
#[derive(Debug, Clone)]
pub(super) struct RunWork {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) journal: JournalId,
    pub(super) file: FileInfo,
    pub(super) live: Arc<LiveFile>,
    pub(super) frozen: Arc<Frozen>,
    /// Where its keys go that a look-up asks first.
    pub(super) young: Option<YoungPlace>,
}

/// What a job came to; to be handed back to the store.
#[derive(Debug)]
pub struct JobDone(pub(super) Done);

#[derive(Debug)]
pub(super) enum Done {
    Spare(io::Result<SpareFile>),
    Pool(io::Result<PoolStep>),
    Reserve(io::Result<SpareFile>),
    Run { start: Position, young: Option<YoungPlace>, result: Result<Box<WrittenRun>, RunJobError> },
    Merge(Box<Result<MergeStep, MergeError>>),
    Side { start: Position, result: Result<Box<(SideFile, SideReader)>, SideJobError> },
    Pack(Box<Result<PackStep, PackError>>),
    Index(Box<Result<IndexDone, IndexError>>),
}

/// A run that is durable and not named yet.
#[derive(Debug)]
pub(super) struct WrittenRun {
    pub(super) info: RunInfo,
    pub(super) reader: RunReader,
    pub(super) keys: Arc<KeyRun>,
    pub(super) young: Option<YoungPlace>,
}

/// A spare file that is begun or goes on.
#[derive(Debug)]
pub(super) enum SpareTask {
    /// If as much as `margin_bytes` stays free beside it.
    Begin {
        maker: SpareMaker,
        disk: Arc<dyn Disk>,
        len_bytes: u64,
        margin_bytes: u64,
    },
    GoOn(Box<SpareWork>),
}

/// Where a file of the pool stands.
#[derive(Debug)]
pub(super) enum PoolStep {
    More(Box<SpareWork>),
    Done(SpareFile),
}

impl SpareTask {
    fn work(self) -> io::Result<SpareWork> {
        match self {
            Self::GoOn(work) => Ok(*work),
            Self::Begin { maker, disk, len_bytes, margin_bytes } => {
                if disk.free_bytes()? < len_bytes.saturating_add(margin_bytes) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                maker.begin(len_bytes)
            }
        }
    }

    /// All of it: somebody waits.
    fn finish(self) -> io::Result<SpareFile> {
        self.work()?.finish()
    }

    /// A little of it.
    fn step(self) -> io::Result<PoolStep> {
        let mut work = self.work()?;
        Ok(match work.step_of(POOL_SLICE_BYTES)? {
            Some(spare) => PoolStep::Done(spare),
            None => PoolStep::More(Box::new(work)),
        })
    }
}

/// A merge that is begun or goes on.
#[derive(Debug)]
pub(super) enum MergeTask {
    Begin(MergePlan),
    GoOn(Box<MergeWork>),
}

impl MergeTask {
    fn run(self) -> Result<MergeStep, MergeError> {
        match self {
            Self::GoOn(work) => work.step(),
            Self::Begin(plan) => plan.begin().map(Box::new).map(MergeStep::More),
        }
    }
}

/// Why a run was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunJobError {
    #[error(transparent)]
    Write(#[from] RunWriteError),
    #[error(transparent)]
    Read(#[from] RunError),
}

impl Job {
    /// Does the work.
    pub fn run(self) -> JobDone {
        JobDone(match self.0 {
            Work::Spare(task) => Done::Spare(task.finish()),
            Work::Pool(task) => Done::Pool(task.step()),
            Work::Reserve { maker, chunk, len_bytes } => Done::Reserve(
                maker.begin_reserve(chunk, len_bytes).and_then(crate::journal::SpareWork::finish),
            ),
            Work::Run(work) => {
                let result = work.write();
                Done::Run { start: work.file.start, young: work.young, result }
            }
            Work::Merge(task) => Done::Merge(Box::new(task.run())),
            Work::Side(work) => Done::Side { start: work.start(), result: work.write() },
            Work::Pack(task) => Done::Pack(Box::new(task.run())),
            Work::Index(work) => Done::Index(Box::new(work.run())),
        })
    }
}

impl JobDone {
    /// What it was to make, for the log; `None` where the store itself logs what came of it.
    pub const fn what(&self) -> Option<&'static str> {
        match &self.0 {
            Done::Spare(_) | Done::Pool(_) => Some("spare journal file"),
            Done::Reserve(_) => Some("chunk of the reserve"),
            Done::Run { .. } => Some("run of a journal file"),
            Done::Merge(_) => Some("merged run"),
            Done::Pack(_) => Some("pack"),
            Done::Side { .. } | Done::Index(_) => None,
        }
    }

    /// Why it failed, for the log; the store tries again later.
    pub fn error(&self) -> Option<String> {
        match &self.0 {
            Done::Spare(result) | Done::Reserve(result) => {
                result.as_ref().err().map(ToString::to_string)
            }
            Done::Pool(result) => result.as_ref().err().map(ToString::to_string),
            Done::Run { result, .. } => result.as_ref().err().map(ToString::to_string),
            Done::Merge(result) => result.as_ref().as_ref().err().map(ToString::to_string),
            Done::Side { result, .. } => result.as_ref().err().map(ToString::to_string),
            Done::Pack(result) => result.as_ref().as_ref().err().map(ToString::to_string),
            Done::Index(result) => result.as_ref().as_ref().err().map(ToString::to_string),
        }
    }
}

impl RunWork {
    /// Whether the file holds nothing that a run would keep.
    pub(super) fn is_empty(&self) -> bool {
        self.live.extents().next().is_none()
            && self.frozen.ledger.is_empty()
            && self.frozen.heads.is_empty()
    }

    /// Of all batches in the file, own and mirrored: no record in it is younger.
    pub(super) fn newest_append_time(&self) -> Timestamp {
        self.live.extents().map(|extent| extent.append_time).max().unwrap_or_default()
    }

    pub(super) fn write(&self) -> Result<Box<WrittenRun>, RunJobError> {
        let mut ledger = Vec::with_capacity(self.frozen.ledger.len());
        ledger.extend(self.frozen.ledger.nearly_sorted().copied());
        let mut input = RunInput {
            journal: self.journal,
            start: self.file.start,
            end: self.file.end,
            incarnation: self.file.incarnation,
            ledger,
            heads: self.frozen.heads.clone(),
            new_orders: self.frozen.new_orders,
            extents: self.live.extents().copied().collect(),
            chains: self.live.chains().collect(),
            orders: self.live.orders().iter().copied().collect(),
            conflicts: self.frozen.conflicts.clone(),
        };
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("run_keys_forgotten") {
            input.ledger = input.ledger.split_off(input.ledger.len().min(8));
        }
        let info = RunWriter::write(&*self.disk, &mut input)?;
        // Of all that was sorted for it, no more is needed than the keys.
        let RunInput { ledger, .. } = input;
        if let Some(place) = &self.young {
            place.table.add(place.number, ledger.iter().map(LedgerEntry::hash));
        }
        drop(ledger);
        let reader = RunReader::open(&*self.disk, self.journal, &info)?;
        let keys = match &self.young {
            None => KeyRun::open(&*self.disk, self.journal, &info)?,
            Some(_) => KeyRun::open_young(&*self.disk, self.journal, &info)?,
        };
        let (keys, young) = (Arc::new(keys), self.young.clone());
        Ok(Box::new(WrittenRun { info, reader, keys, young }))
    }
}
