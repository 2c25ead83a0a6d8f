//! Journal files: leaving the full one, keeping a spare ahead, and the runs of those left.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::job::{Done, Job, JobDone, PoolStep, RunWork, SpareTask, Work, WrittenRun};
use super::{Store, StoreError};
use crate::disk::is_full;
use crate::entry::{Entry, SealedFile, SlotEnd};
use crate::journal::{DropError, FileInfo, Position, SpareFile, SpareWork};
use crate::runs::{KeyRun, MergeWork, RunInfo, Slot};
use crate::state::{Edge, Frozen};

/// How many chunks of the reserve are left for starts.
const RESERVE_FOR_STARTS: usize = 2;
/// No file is made shorter than this part of what it may be.
const SHORTER_MAX: u64 = 16;
/// After how long a job that failed is tried again, in microseconds.
pub(super) const RETRY_US: i64 = 1_000_000;
/// The pause between two steps of a file that nobody waits for, in microseconds.
pub(super) const POOL_PAUSE_US: i64 = 5_000;
/// No pause before another attempt is longer than this, in microseconds.
pub(super) const RETRY_MAX_US: i64 = 60 * 1_000_000;

/// The state where the current file is left: taken before anything of the next file is judged.
#[derive(Debug)]
pub(super) struct RollPlan {
    snapshot: Vec<u8>,
    frozen: Frozen,
    ends: Vec<Edge>,
}

/// A file that was left, and whose run is not written yet.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) work: RunWork,
    /// Where the partitions stood at the end of the file, by slot.
    pub(super) ends: Vec<Edge>,
    /// The manifest names the run already; it was damaged and is made again.
    pub(super) named: bool,
}

/// How far the merging of runs has come.
#[derive(Debug, Default)]
pub(super) enum Merging {
    /// Nothing is merged.
    #[default]
    None,
    /// A step of it is out as a job.
    Out,
    /// It waits for its next step.
    Paused(Box<MergeWork>),
    /// It is done, and the entry of the merged run is not durable yet.
    Unnamed(Arc<KeyRun>),
}

/// The making of a spare file that nobody waits for.
#[derive(Debug, Default)]
enum Pool {
    #[default]
    Idle,
    /// A step of it is out as a job.
    Out,
    /// It goes on at this time, or when there is nothing to be written.
    Paused(Box<SpareWork>, Timestamp),
}

/// What goes on around the journal's files.
#[derive(Debug)]
pub(super) struct Files {
    /// Where the file that is written starts.
    pub(super) current: Position,
    /// The file that was written when a job was last asked for, and when that was seen first.
    pub(super) last_left: (Position, Timestamp),
    /// How long the next files are to be, in bytes.
    wanted_bytes: u64,
    pub(super) unwritten: VecDeque<Unwritten>,
    /// Runs whose entry is not durable yet.
    pub(super) written: BTreeMap<Position, WrittenRun>,
    pub(super) merging: Merging,
    pool: Pool,
    job_out: bool,
    /// Why the last spare was not made.
    no_spare: Option<io::Error>,
    /// Where neither a spare nor a chunk of the reserve is to be had: what is staged waits, and
    /// everything else is refused.
    pub(super) stuck: bool,
    /// Whether a chunk of the reserve is tried again: once for each spare that was not made.
    try_reserve: bool,
    retry_spare_at: Option<Timestamp>,
    retry_pool_at: Option<Timestamp>,
    pub(super) retry_run_at: Option<Timestamp>,
    pub(super) retry_merge_at: Option<Timestamp>,
    /// The last pause before another merge.
    pub(super) merge_pause_us: i64,
    retry_reserve_at: Option<Timestamp>,
}

impl Files {
    pub(super) fn new(
        current: Position,
        wanted_bytes: u64,
        unwritten: VecDeque<Unwritten>,
    ) -> Self {
        Self {
            current,
            last_left: (current, Timestamp::from_micros(i64::MIN)),
            wanted_bytes,
            unwritten,
            written: BTreeMap::new(),
            merging: Merging::None,
            pool: Pool::Idle,
            job_out: false,
            no_spare: None,
            stuck: false,
            try_reserve: false,
            retry_spare_at: None,
            retry_pool_at: None,
            retry_run_at: None,
            retry_merge_at: None,
            merge_pause_us: 0,
            retry_reserve_at: None,
        }
    }
}

impl Files {
    /// Whether the run of the file that begins at `start` is still to be written.
    pub(super) fn is_unwritten(&self, start: Position) -> bool {
        self.unwritten.iter().any(|file| file.work.file.start == start)
    }
}

impl Unwritten {
    /// What the manifest says of the file.
    fn sealed(&self, run: Option<RunInfo>) -> SealedFile {
        let slots = self.work.live.chains().map(|(slot, _)| self.slot_end(slot));
        SealedFile {
            start: self.work.file.start,
            end: self.work.file.end,
            append_time: self.work.newest_append_time(),
            slots: slots.collect(),
            run,
        }
    }

    fn slot_end(&self, slot: Slot) -> SlotEnd {
        let edge = self.ends[slot.get() as usize];
        SlotEnd {
            slot,
            next_offset: edge.offset,
            next_batch: edge.batch,
            chain: edge.chain,
            appended_bytes: edge.bytes,
        }
    }
}

impl<T> Store<T> {
    /// Work for a background thread, `None` where there is none or some is under way. Hand what it
    /// comes to to [`Store::on_job_done`].
    pub fn poll_job(&mut self, now: Timestamp) -> Option<Job> {
        if self.files.job_out || self.failed {
            return None;
        }
        self.see_room();
        self.seal_empty_files();
        if self.sides.take_retain_again() {
            self.retain(now);
            self.flush_waiting();
        }
        let work = self.next_work(now)?;
        self.files.job_out = true;
        Some(Job(work))
    }

    /// On a full disk, what frees space or keeps cursors going comes first.
    fn next_work(&mut self, now: Timestamp) -> Option<Work> {
        if self.full {
            let work = self.run_work(now).or_else(|| self.kept_work(now));
            let work = work.or_else(|| self.merge_work_when_full(now));
            let work = work.or_else(|| self.reserve_work(now)).or_else(|| self.spare_work(now));
            work.or_else(|| self.pack_work(now))
        } else {
            let work = self.spare_work(now).or_else(|| self.run_work(now));
            let work = work.or_else(|| self.kept_work(now)).or_else(|| self.reserve_work(now));
            let work = work.or_else(|| self.merge_work(now));
            let work = work.or_else(|| self.pool_work(now)).or_else(|| self.pack_work(now));
            work.or_else(|| self.index_work(now).map(|work| Work::Index(Box::new(work))))
        }
    }

    /// The next file, where there is none: all else waits for it.
    fn spare_work(&mut self, now: Timestamp) -> Option<Work> {
        if self.has_spare() {
            return None;
        }
        let len_bytes = self.spare_len();
        match std::mem::take(&mut self.files.pool) {
            Pool::Paused(work, _) if work.len_bytes() >= len_bytes => {
                return Some(Work::Spare(SpareTask::GoOn(work)));
            }
            Pool::Paused(work, _) => work.abandon(),
            Pool::Idle | Pool::Out => {}
        }
        is_due(self.files.retry_spare_at, now).then(|| Work::Spare(self.another_spare()))
    }

    /// One more file for the pool, where nothing else is to be done: a little at a time, with pauses
    /// while there are commits.
    fn pool_work(&mut self, now: Timestamp) -> Option<Work> {
        let task = match std::mem::take(&mut self.files.pool) {
            Pool::Paused(work, at) if self.in_flight && !is_due(Some(at), now) => {
                self.files.pool = Pool::Paused(work, at);
                return None;
            }
            Pool::Paused(work, _) => SpareTask::GoOn(work),
            Pool::Idle | Pool::Out => {
                // The first of all somebody waits for.
                let wanted = (1..self.options.spare_files).contains(&self.spares_ready());
                if !wanted || !is_due(self.files.retry_pool_at, now) {
                    return None;
                }
                self.another_spare()
            }
        };
        self.files.pool = Pool::Out;
        Some(Work::Pool(task))
    }

    fn another_spare(&self) -> SpareTask {
        let len_bytes = self.spare_len();
        let files = 1 + self.files.unwritten.len() + self.spares_ready();
        SpareTask::Begin {
            maker: self.journal.spare_maker(),
            disk: Arc::clone(&self.disk),
            len_bytes,
            // A file's run may become as long as the file: the full disk is found before that.
            margin_bytes: len_bytes.saturating_mul(files as u64),
        }
    }

    /// Whether the next file is there.
    fn has_spare(&self) -> bool {
        self.spares_ready() > 0
    }

    fn spares_ready(&self) -> usize {
        let len_bytes = self.spare_len();
        self.spares.iter().filter(|spare| spare.len_bytes() >= len_bytes).count()
    }

    fn run_work(&mut self, now: Timestamp) -> Option<Work> {
        let unwritten = self.files.unwritten.front()?;
        if self.must_merge_first() || !is_due(self.files.retry_run_at, now) {
            return None;
        }
        let mut work = unwritten.work.clone();
        // One that is made again stands where it stood.
        if self.options.generation_runs > 1 && !unwritten.named {
            let keys = work.frozen.ledger.len();
            let window = self.window_of(work.newest_append_time());
            let runs_max = self.options.generation_runs;
            work.young = Some(self.state.tables.place(keys, window, runs_max));
        }
        Some(Work::Run(Box::new(work)))
    }

    fn kept_work(&self, now: Timestamp) -> Option<Work> {
        self.side_work(now).map(|work| Work::Side(Box::new(work)))
    }

    fn reserve_work(&self, now: Timestamp) -> Option<Work> {
        let chunk = *self.journal.reserve_missing().first()?;
        is_due(self.files.retry_reserve_at, now).then(|| Work::Reserve {
            maker: self.journal.spare_maker(),
            chunk,
            len_bytes: self.options.journal.reserve_chunk_bytes,
        })
    }

    /// Takes back what a job came to.
    ///
    /// # Panics
    /// If no job of this store is out.
    pub fn on_job_done(&mut self, done: JobDone, now: Timestamp) {
        assert!(self.files.job_out, "a job is out");
        self.files.job_out = false;
        let retry_at = Timestamp::from_micros(now.as_micros().saturating_add(RETRY_US));
        match done.0 {
            Done::Spare(Ok(spare)) => {
                self.files.retry_spare_at = None;
                self.add_spare(spare);
            }
            Done::Spare(Err(error)) => {
                // A dropped file may have become a spare meanwhile: then nothing else would be
                // made, and nothing would ever say that there is room. Another failure than a full
                // disk counts only once a commit waits for the file: it may pass before that.
                self.full |= (is_full(&error) || self.roll.is_some()) && !self.has_spare();
                self.files.no_spare = Some(error);
                self.files.try_reserve = true;
                self.files.retry_spare_at = Some(retry_at);
            }
            Done::Pool(step) => {
                self.files.pool = Pool::Idle;
                match step {
                    Ok(PoolStep::Done(spare)) => self.add_spare(spare),
                    Ok(PoolStep::More(work)) => {
                        let at = now.as_micros().saturating_add(POOL_PAUSE_US);
                        self.files.pool = Pool::Paused(work, Timestamp::from_micros(at));
                    }
                    // Whoever waits for a file tries at once.
                    Err(_) => self.files.retry_pool_at = Some(retry_at),
                }
            }
            Done::Reserve(Ok(chunk)) => self.journal.add_reserve(&chunk),
            Done::Reserve(Err(_)) => self.files.retry_reserve_at = Some(retry_at),
            Done::Run { start, result: Ok(run), .. } => {
                let file = self.files.unwritten.pop_front().expect("the run's file waits");
                assert_eq!(file.work.file.start, start, "runs are written oldest first");
                self.files.retry_run_at = None;
                self.name_run(&file, *run);
            }
            Done::Run { young, result: Err(_), .. } => {
                self.files.retry_run_at = Some(retry_at);
                if let Some(place) = young {
                    self.state.tables.give_back(&place);
                }
            }
            Done::Merge(result) => self.on_merge_step(*result, now),
            Done::Side { start, result } => self.on_side_done(start, result, now),
            Done::Pack(result) => self.on_pack_step(*result, now),
            Done::Index(result) => self.on_index_done(*result, now),
        }
        self.flush_waiting();
        self.show_status();
    }

    fn name_run(&mut self, file: &Unwritten, run: WrittenRun) {
        let known = self.state.control.manifest.files.get(&run.info.start);
        // One that was made again may be of a newer format than it was.
        let known = known.filter(|_| file.named);
        if known.is_some_and(|known| known.run == Some(run.info)) {
            self.show_run(run);
            self.listings.go_stale();
        } else {
            let run_info = Some(run.info);
            let file = match known {
                Some(known) => SealedFile { run: run_info, ..known.clone() },
                None => file.sealed(run_info),
            };
            self.waiting.push_back(Entry::RunAdded { file });
            self.files.written.insert(run.info.start, run);
        }
    }

    /// From now on, look-ups of batches and of keys go to the run of a file.
    pub(super) fn show_run(&mut self, run: WrittenRun) {
        let WrittenRun { info, reader, keys, young } = run;
        self.view.catalog().sealed(reader);
        match &young {
            Some(place) => self.state.tables.sealed_young(info.start, keys, place),
            None => self.state.tables.sealed(info.start, Some(keys)),
        }
    }

    /// Files without anything for a run go into the manifest without one.
    fn seal_empty_files(&mut self) {
        while let Some(front) = self.files.unwritten.pop_front_if(|front| front.work.is_empty()) {
            self.view.catalog().drop_file(front.work.file.start);
            self.state.tables.sealed(front.work.file.start, None);
            self.waiting.push_back(Entry::RunAdded { file: front.sealed(None) });
        }
        self.flush_waiting();
    }

    pub(super) fn add_spare(&mut self, spare: SpareFile) {
        self.spares.push(spare);
        self.see_room();
    }

    /// The disk is full no more as soon as the next file is there, however it came.
    fn see_room(&mut self) {
        if self.full && self.has_spare() {
            self.full = false;
            self.files.stuck = false;
            self.files.no_spare = None;
            self.show_status();
        }
    }

    /// Why no journal file can be made, for whoever is refused for that.
    pub(super) fn why_no_spare(&self) -> String {
        let why = self.files.no_spare.as_ref().map(|error| format!(": {error}"));
        format!("no journal file can be made{}", why.unwrap_or_default())
    }

    /// Why what is staged cannot be sealed until that changes: there is no next file, and none can
    /// be made.
    pub fn stuck(&self) -> Option<String> {
        self.files.stuck.then(|| self.why_no_spare())
    }

    /// Removes a dropped file, or makes a spare of it. What fails is done at the next start.
    pub(super) fn drop_file(&mut self, start: Position) {
        let recycle = (self.spares_ready() < self.options.spare_files).then(|| self.spare_len());
        match self.journal.drop_file(start, recycle) {
            Ok(Some(spare)) => self.add_spare(spare),
            // Where there is none, a pack had what it held.
            Ok(None) | Err(DropError::NoFile(_)) => {}
            Err(error) => {
                tracing::warn!(%start, %error, "a journal file could not be removed");
            }
        }
    }

    /// Begins a commit; where it might not fit the current file, that is left here.
    pub(super) fn begin_commit(&mut self) {
        if self.roll.is_none() && self.must_roll() {
            self.want_length();
            let partitions = self.state.control.partitions.iter();
            let ends = partitions.map(|partition| partition.end).collect();
            let snapshot = self.state.snapshot();
            let frozen = self.state.tables.freeze(self.files.current);
            self.roll = Some(RollPlan { snapshot, frozen, ends });
        }
        self.filling = Some(match self.used_buffer.take() {
            Some(used) => self.journal.begin_again(used),
            None => self.journal.begin(),
        });
    }

    fn must_roll(&self) -> bool {
        let begun = self.files.current < self.journal.position();
        let commit_max = self.options.journal.commit_bytes_max;
        begun && (self.journal.needs_roll(commit_max) || self.has_many_keys())
    }

    /// Whether the file is left early. On a full disk none is: there may be no other.
    fn has_many_keys(&self) -> bool {
        !self.full && self.state.tables.live_keys() >= self.options.file_keys_max
    }

    /// The next files are as long as it took for many keys; where this one was full before, twice as
    /// long again.
    fn want_length(&mut self) {
        let file_bytes = self.options.journal.file_bytes;
        self.files.wanted_bytes = if self.has_many_keys() {
            let used = self.journal.position().get() - self.files.current.get();
            // And a little more, or as many keys would be found too long for it.
            let with_ends = used + used / 8 + self.journal.spare_bytes_min(0);
            let block = crate::journal::layout::BLOCK as u64;
            with_ends.next_multiple_of(block).max(file_bytes / SHORTER_MAX).min(file_bytes)
        } else {
            self.files.wanted_bytes.saturating_mul(2).min(file_bytes)
        };
    }

    /// Whether a fresh commit will find a place: on a full disk only while the reserve lasts.
    pub(super) fn can_begin(&self) -> bool {
        let rolls = self.roll.is_some() || self.must_roll();
        !rolls
            || !self.full
            || !self.spares.is_empty()
            || self.journal.reserve_left() > RESERVE_FOR_STARTS
    }

    /// Goes on in the next file, as planned. False where the spare file is still being made.
    pub(super) fn go_to_next_file(&mut self) -> Result<bool, StoreError> {
        let Some(plan) = &self.roll else { return Ok(true) };
        if self.must_wait_for_runs() {
            return Ok(false);
        }
        let len_min = self.journal.spare_bytes_min(plan.snapshot.len());
        let Some(spare) = self.next_file(len_min) else { return Ok(false) };
        let plan = self.roll.take().expect("it was there");
        #[cfg(takt_planted)]
        let plan = if takt_protocol::planted::is("snapshot_too_late") {
            RollPlan { snapshot: self.state.snapshot(), ..plan }
        } else {
            plan
        };
        let file = self.journal.roll(spare, &plan.snapshot)?;
        self.files.current = self.journal.position();
        self.leave(file, plan.frozen, plan.ends, self.journal.position());
        self.show_files();
        Ok(true)
    }

    /// The file is closed: its run is to be written.
    fn leave(&mut self, file: FileInfo, frozen: Frozen, ends: Vec<Edge>, next: Position) {
        let work = RunWork {
            disk: Arc::clone(&self.disk),
            journal: self.journal.id(),
            file,
            live: self.view.catalog().freeze(next),
            frozen: Arc::new(frozen),
            young: None,
        };
        self.files.unwritten.push_back(Unwritten { work, ends, named: false });
    }

    fn next_file(&mut self, len_min: u64) -> Option<SpareFile> {
        if let Some(index) = self.spares.iter().position(|spare| spare.len_bytes() >= len_min) {
            self.files.stuck = false;
            return Some(self.spares.swap_remove(index));
        }
        if !self.full {
            return None;
        }
        if self.files.stuck && !std::mem::take(&mut self.files.try_reserve) {
            return None;
        }
        // What was staged before the disk was found full must be written: the chunks for starts
        // are its last resort. Behind them, or where the snapshot is too long for a chunk, it waits
        // until there is room.
        for left_min in [RESERVE_FOR_STARTS, 0] {
            if self.options.journal.reserve_chunk_bytes < len_min {
                break;
            }
            match self.journal.take_reserve(left_min) {
                Ok(Some(chunk)) => {
                    self.files.stuck = false;
                    return Some(chunk);
                }
                Ok(None) => {}
                Err(error) => {
                    self.files.no_spare = Some(error);
                    self.files.stuck = true;
                    return None;
                }
            }
        }
        self.files.stuck = true;
        None
    }

    /// How long the next spare must be: a file, or more where the snapshot is long.
    fn spare_len(&self) -> u64 {
        let snapshot_len = self.roll.as_ref().map_or(0, |plan| plan.snapshot.len());
        let block = crate::journal::layout::BLOCK as u64;
        let needed = self.journal.spare_bytes_min(2 * snapshot_len);
        self.files.wanted_bytes.max(needed.next_multiple_of(block))
    }
}

/// Whether the time of another attempt has come. One that lies further off than the longest pause
/// was set by a clock that has gone back since: it has come too, or a node whose clock was ten
/// years ahead for a moment would never make another file.
pub(super) fn is_due(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_none_or(|at| {
        let wait_us = at.as_micros().saturating_sub(now.as_micros());
        wait_us <= 0 || wait_us > RETRY_MAX_US
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_waits_for_its_time_and_for_no_clock_that_went_back() {
        let at = |us| Timestamp::from_micros(us);
        let ten_years = 10 * 365 * 24 * 3_600 * 1_000_000;
        assert!(is_due(None, at(0)));
        assert!(is_due(Some(at(5)), at(5)));
        assert!(!is_due(Some(at(RETRY_US)), at(0)));
        assert!(!is_due(Some(at(RETRY_MAX_US)), at(0)));
        assert!(is_due(Some(at(ten_years + RETRY_US)), at(0)), "the clock was ten years ahead");
    }
}
