//! The store: journal, state, ledger and catalog behind one synchronous type that a single thread
//! drives.
//!
//! - [`Store::stage`] judges an operation and applies it to the state; its answer waits in the
//!   commit that is being filled.
//! - [`Store::seal`] closes that commit. [`PendingCommit::write_and_sync`] runs on any thread while
//!   the next commit fills; [`Store::on_synced`] lets readers see it and gives the answers out.
//!   One commit is in flight at a time.
//! - [`Store::tick`], about once a second, lets things expire: transient producers, old files.
//! - [`Store::poll_job`] gives work for a background thread: spare files, runs, the copies of open
//!   conflicts before their file is dropped, packs, and the index of listings.
//!
//! Nothing is acknowledged or shown before it is durable; after a failed commit nothing is taken.
//! A journal file is left at a point that is known before anything of the next file is judged, so
//! that the snapshot in the next file's preamble is the state at its start.

mod commit;
mod compaction;
mod due;
mod error;
mod files;
mod job;
mod listing;
mod manifest;
mod merging;
mod open;
mod operation;
mod options;
mod pack_work;
mod packing;
mod remake;
mod retention;
mod side;
mod stage;
mod verify;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::{BatchNumber, ProducerId, Timestamp, TopicName};

use crate::disk::Disk;
use crate::entry::Entry;
use crate::journal::{CommitBuilder, Journal, Position, SpareFile};
use crate::runs::{KeyRun, Slot};
use crate::sequencer::Scratch;
use crate::state::{Effects, State};
use crate::view::{Counters, View};

use commit::News;
use files::{Files, Merging, RollPlan};
use listing::Listings;
use packing::Packing;
use side::Sides;

pub use commit::PendingCommit;
pub use error::{OpenError, StoreError};
pub use job::{Job, JobDone};
pub use operation::{
    Answer, MirrorEnd, MirrorPoint, MirrorTopic, Operation, ProducerOpened, Staged,
};
pub use options::{OpenReport, StoreOptions};
pub use verify::{CheckError, KeptDamage, KeptFile, RunReport, check, sealed_ends, verify_runs};

/// How long a transient producer is known after its session has ended.
const TRANSIENT_KEPT_US: i64 = 60 * 60 * 1_000_000;
/// And how long where its connection was lost: it may still be there, and send again what it has no
/// receipt for.
const LOST_KEPT_US: i64 = 7 * 24 * TRANSIENT_KEPT_US;
/// Where more than so many are lost, none is known for longer: each has up to 64 receipts.
const LOST_MAX: usize = 1_000;

/// The single-threaded core of a node. `T` is what the caller knows an operation by: it comes back
/// with the answer.
#[derive(Debug)]
pub struct Store<T> {
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    journal: Journal,
    state: State,
    view: View,
    scratch: Scratch,
    /// Where entries are laid out.
    entry_bytes: Vec<u8>,
    filling: Option<CommitBuilder>,
    held: Vec<(T, Answer)>,
    effects: Effects,
    /// Entries of the store's own that wait for room.
    waiting: VecDeque<Entry>,
    in_flight: bool,
    roll: Option<RollPlan>,
    spares: Vec<SpareFile>,
    used_buffer: Option<Bytes>,
    files: Files,
    sides: Sides,
    packing: Packing,
    listings: Listings,
    /// The end of the last durable commit that is no mark.
    data_end: Position,
    full: bool,
    failed: bool,
    /// Why it fails as soon as it is asked to seal.
    broken: Option<StoreError>,
    /// The sessions of transient producers that have ended.
    ended: BTreeMap<(TopicName, ProducerId), Ended>,
    uplink_needs: Option<BTreeMap<Slot, BatchNumber>>,
    /// Which own topics go upstream; `None` for all.
    uplink_topics: Option<BTreeSet<TopicName>>,
    /// Ages are judged by no later time.
    age_time_max: Option<Timestamp>,
    counters: Counters,
}

/// How the session of a transient producer has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Timestamp,
    /// The producer has not said so: its connection is gone.
    lost: bool,
}

impl<T> Store<T> {
    /// What readers read: clone it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The runs that a look-up of a key meets, oldest first.
    pub fn key_runs(&self) -> &[Arc<KeyRun>] {
        self.state.tables.runs()
    }

    /// Equal after equal histories: xxh3-128 of the control state's snapshot.
    pub fn state_digest(&self) -> u128 {
        self.state.digest()
    }

    /// Whether there is something to seal, and nothing in flight.
    pub fn wants_seal(&self) -> bool {
        let waits = self.has_entries() || !self.held.is_empty() || self.broken.is_some();
        !self.in_flight && !self.failed && waits
    }

    /// What is staged for the next commit, in bytes.
    pub fn staged_bytes(&self) -> usize {
        self.filling
            .as_ref()
            .filter(|filling| !filling.is_empty())
            .map_or(0, CommitBuilder::padded_len)
    }

    /// Which batches of own partitions the uplink has had acknowledged: those behind are held.
    /// A slot that is not named is not held. `None`, as at the start: nothing is known, so all that
    /// goes upstream is held.
    pub fn set_uplink_needs(&mut self, acknowledged: Option<BTreeMap<Slot, BatchNumber>>) {
        self.uplink_needs = acknowledged;
    }

    /// Which own topics go upstream, by the settings; `None`, as at the start, for all. What never
    /// goes there is not held back for it.
    pub fn set_uplink_topics(&mut self, topics: Option<BTreeSet<TopicName>>) {
        self.uplink_topics = topics;
    }

    /// From now on retention judges ages by no later time than this, whatever the wall clock
    /// shows. A store that is never told goes by the wall clock.
    pub fn set_age_time_max(&mut self, at: Timestamp) {
        self.age_time_max = Some(at);
    }

    /// By which time ages are judged, when the wall clock shows `now`.
    pub(super) fn age_time(&self, now: Timestamp) -> Timestamp {
        let credible = self.age_time_max;
        #[cfg(takt_planted)]
        let credible = credible.filter(|_| !takt_protocol::planted::is("age_by_any_clock"));
        credible.map_or(now, |at_most| now.min(at_most))
    }

    /// The newest append time of all partitions, own and mirrored; `None` where nothing was ever
    /// appended.
    pub fn newest_append_time(&self) -> Option<Timestamp> {
        let partitions = self.state.control.partitions.iter();
        let appended = partitions.filter(|partition| partition.end.bytes > 0);
        appended.map(|partition| partition.append_time).max()
    }

    /// Closes the commit that is being filled. `None` where nothing is staged, a commit is in
    /// flight, or the next journal file is still being made: then run [`Store::poll_job`]'s job.
    /// Before a file is left there is a commit without answers, its last commit's witness; what is
    /// staged comes with a later call.
    ///
    /// # Errors
    /// [`StoreError`]: the store takes nothing more; the node stops.
    pub fn seal(&mut self) -> Result<Option<PendingCommit<T>>, StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        if let Some(broken) = self.broken.take() {
            self.failed = true;
            return Err(broken);
        }
        if !self.wants_seal() {
            return Ok(None);
        }
        let sealed = if self.has_entries() {
            if self.roll.is_some() && self.journal.needs_mark() {
                // The next file may be long in coming, and is the witness only when it is there.
                return Ok(Some(self.mark_before_roll()?));
            }
            if self.roll.is_some() && !self.go_to_next_file().inspect_err(|_| self.failed = true)? {
                return Ok(None);
            }
            let filling = self.filling.take().expect("it has entries");
            Some(self.journal.seal(filling).inspect_err(|_| self.failed = true)?)
        } else {
            None
        };
        Ok(Some(self.pend(sealed)))
    }

    /// Whether the last acknowledged commit still lacks its witness and nothing else is going on.
    pub fn wants_mark(&self) -> bool {
        !self.in_flight && !self.failed && !self.has_entries() && self.journal.needs_mark()
    }

    /// Seals a mark, after some quiet and at a clean stop, where [`Store::wants_mark`].
    ///
    /// # Errors
    /// As [`Store::seal`].
    pub fn mark(&mut self) -> Result<Option<PendingCommit<T>>, StoreError> {
        if !self.wants_mark() {
            return Ok(None);
        }
        let sealed = self.journal.mark().inspect_err(|_| self.failed = true)?;
        Ok(Some(self.pend(Some(sealed))))
    }

    /// A mark behind the last commit of a file that is left. What is staged is for the next file, and
    /// waits with its answers.
    fn mark_before_roll(&mut self) -> Result<PendingCommit<T>, StoreError> {
        let sealed = self.journal.mark().inspect_err(|_| self.failed = true)?;
        self.in_flight = true;
        Ok(PendingCommit { sealed: Some(sealed), answers: Vec::new(), news: News::default() })
    }

    fn pend(&mut self, sealed: Option<crate::journal::SealedCommit>) -> PendingCommit<T> {
        self.in_flight = true;
        let effects = std::mem::take(&mut self.effects);
        let news = News::of(effects, &self.state);
        #[cfg(takt_planted)]
        let news = if takt_protocol::planted::is("shown_before_sync") {
            self.show_early(sealed.as_ref(), news)
        } else {
            news
        };
        PendingCommit { sealed, answers: std::mem::take(&mut self.held), news }
    }

    /// The commit is durable: readers see it, and its answers may go out.
    ///
    /// # Panics
    /// If the commit is not the one in flight.
    pub fn on_synced(&mut self, commit: PendingCommit<T>) -> Vec<(T, Answer)> {
        assert!(self.in_flight, "a commit is in flight");
        self.in_flight = false;
        if let Some(sealed) = &commit.sealed {
            self.journal.on_synced(sealed.end());
            self.counters.commits += 1;
            if !sealed.is_mark() {
                self.data_end = sealed.end();
                let mut recent = self.view.recent_mut();
                let out = recent.push(sealed.position(), sealed.bytes().clone());
                drop(recent);
                self.used_buffer = out.into_iter().next_back();
            }
        }
        self.publish(commit.news);
        self.flush_waiting();
        commit.answers
    }

    /// The commit failed: nothing is acknowledged any more. Whoever waits is told to come again
    /// when the node has started anew.
    pub fn on_failed(&mut self, commit: PendingCommit<T>) -> Vec<(T, Answer)> {
        self.in_flight = false;
        self.failed = true;
        let waiting = commit.answers.into_iter().chain(std::mem::take(&mut self.held));
        waiting.map(|(ticket, _)| (ticket, stopping())).collect()
    }

    /// A clean stop, after the mark is durable. What is staged and not sealed is forgotten; it was
    /// never acknowledged. The next start may use the index of listings.
    pub fn close(mut self) {
        self.close_index();
    }

    #[cfg(takt_planted)]
    fn show_early(&mut self, sealed: Option<&crate::journal::SealedCommit>, news: News) -> News {
        if let Some(sealed) = sealed {
            self.view.recent_mut().push(sealed.position(), sealed.bytes().clone());
        }
        self.publish(news);
        News::default()
    }

    fn publish(&mut self, news: News) {
        let News { effects, partitions, topics, cursors, conflicts, producers } = news;
        self.view.catalog().publish(effects.batches, effects.orders);
        for file in &effects.sealed {
            if let Some(run) = self.files.written.remove(&file.start) {
                self.show_run(run);
            }
        }
        for run in &effects.merged {
            match std::mem::take(&mut self.files.merging) {
                Merging::Unnamed(merged) if merged.info() == run => {
                    self.state.tables.merged(merged);
                }
                merging @ (Merging::None
                | Merging::Out
                | Merging::Paused(_)
                | Merging::Unnamed(_)) => self.files.merging = merging,
            }
        }
        if !effects.packs.is_empty() {
            self.publish_packs(&effects.packs);
        }
        if !effects.unnamed.is_empty() {
            self.forget_packs(&effects.unnamed);
        }
        for name in &effects.unnamed {
            if let Err(error) = self.disk.remove(name) {
                tracing::warn!(name, %error, "a file that is needed no more could not be removed");
            }
        }
        if !effects.sides.is_empty() {
            self.publish_sides(&effects.sides);
        }
        let mut starts = Vec::new();
        let mut directory = self.view.directory_mut();
        for partition in partitions {
            let (slot, start) = (partition.slot, partition.start_batch);
            if directory.partition(slot).is_none_or(|known| known.start_batch < start) {
                starts.push((slot, start, partition.start));
            }
            directory.put_partition(partition);
        }
        for (topic, slots) in topics {
            directory.add_topic(topic, slots);
        }
        for (name, cursor) in cursors {
            match cursor {
                Some(cursor) => directory.cursors.insert(name, cursor),
                None => directory.cursors.remove(&name),
            };
        }
        directory.conflicts.extend(conflicts.into_iter().map(|found| (found.address, found)));
        directory.status.producers = producers;
        drop(directory);
        // Behind the directory: who finds nothing sees there that it was trimmed.
        if !starts.is_empty() || !effects.sealed.is_empty() {
            self.packing.look_again();
        }
        for (slot, batch, offset) in starts {
            self.view.catalog().trim(slot, batch, offset);
        }
        for &start in &effects.dropped {
            self.view.catalog().drop_file(start);
            self.drop_file(start);
        }
        if !effects.dropped.is_empty() {
            self.show_files();
        }
        if !effects.dropped.is_empty() || !effects.sealed.is_empty() {
            self.listings.go_stale();
        }
        self.show_status();
    }

    fn show_files(&self) {
        let files = self.journal.files();
        let mut directory = self.view.directory_mut();
        let packs = directory.packs.values().map(|pack| pack.info().len_bytes);
        let (packs, packs_bytes) =
            packs.fold((0, 0), |(packs, bytes), len| (packs + 1, bytes + len));
        let status = &mut directory.status;
        (status.packs, status.packs_bytes) = (packs, packs_bytes);
        status.journal_start = files.first().map_or(self.journal.durable(), |file| file.start);
        status.journal_files = files.len();
        status.journal_bytes = files.iter().map(|file| file.len_bytes).sum();
    }

    /// What the keys take. It changes with each event, and is told from time to time.
    fn show_keys(&self) {
        let (memory_bytes, disk_bytes) = self.state.tables.bytes();
        let status = &mut self.view.directory_mut().status;
        (status.keys_memory_bytes, status.keys_disk_bytes) = (memory_bytes, disk_bytes);
        status.runs = self.state.tables.runs().len();
    }

    fn show_status(&self) {
        let mut directory = self.view.directory_mut();
        directory.status.conflicts = directory.conflicts.len();
        let status = &mut directory.status;
        status.journal_durable = self.journal.durable();
        status.spare_files = self.spares.len();
        status.keys = self.state.tables.keys();
        status.keys_max = self.options.keys_max;
        status.orders = self.state.tables.orders();
        status.full = self.full;
        status.conflicts_kept_full = self.sides.are_full();
        status.counters = self.counters;
    }

    fn has_entries(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| !filling.is_empty())
    }
}

fn stopping() -> Answer {
    Answer::Refused(Refusal::new(ErrorCode::Stopping, "the store has failed"))
}

#[cfg(test)]
mod tests;
