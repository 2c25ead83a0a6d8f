//! What the writer decides: which operation goes into which commit, when a commit is written, when
//! the last one gets its witness, and when all is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::words::{BatchNumber, Timestamp};
use takt_storage::journal::CommitError;
use takt_storage::runs::Slot;
use takt_storage::store::{
    Answer, Job, JobDone, Operation, PendingCommit, Staged, Store, StoreError,
};
use takt_storage::view::View;

use super::age::AgeClock;
use super::said::Said;

/// How long the writer waits when nothing happens, to look at what time alone brings.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// How often the store looks at what time alone brings.
const TICK: Duration = Duration::from_secs(1);

/// The longest commit that is waited for where it was made: a sync takes about as long for each of these.
const ALONE_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The writer takes nothing more: the node stops, or its disk has failed.
    #[error("the node is stopping")]
    Stopped,
}

/// Why the store has failed. Nothing more is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WriterFailure {
    /// A commit is not known to be on the disk. That is never tried again.
    #[error("a commit could not be written or synced: {0}")]
    Commit(CommitError),
    /// A commit could not be closed.
    #[error(transparent)]
    Store(StoreError),
    /// It was to end, and what was staged finds no file.
    #[error("what was not acknowledged is given up: {0}")]
    Stuck(String),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum WriterOutput<T> {
    /// Deliver this answer: what it says is durable, or needs not be.
    Answer(T, Answer),
    /// So many commits are durable, and all answers of the last one are given: readers see more.
    Durable {
        /// Grows by one with each.
        commits: u64,
    },
    /// Write and sync it, then call [`WriterCore::on_synced`]. One is out at a time.
    Commit {
        /// The commit.
        pending: Box<PendingCommit<T>>,
        /// It is short, nothing came while the one before was out, and no operation waits: who judges
        /// may write it, for there is likely to be nothing else to do, and two threads less are woken.
        alone: bool,
    },
    /// Run it, then call [`WriterCore::on_job_done`]. One is out at a time.
    Job(Job),
}

/// The one who judges, without thread, clock and disk. `T` is what the caller knows an operation
/// by; each gets one answer, also when a sync fails. Only those of a commit that could not be
/// closed, [`WriterFailure::Store`] and [`WriterFailure::Stuck`], are dropped with the core.
///
/// While a commit is out, the next one fills; it is given when that one is synced.
#[derive(Debug)]
pub struct WriterCore<T> {
    store: Store<T>,
    /// Waits for room in the filling commit.
    backlog: VecDeque<(Operation, T)>,
    outputs: VecDeque<WriterOutput<T>>,
    in_flight: bool,
    /// While the last commit was out, or now where one is, something was submitted.
    came_meanwhile: bool,
    commits: u64,
    last_commit: Instant,
    mark_after: Duration,
    last_tick: Instant,
    /// Set before anything is staged: what is appended by a clock that has leapt proves nothing.
    age_clock: Option<AgeClock>,
    said: Said,
    stopping: bool,
    end: Option<Result<(), WriterFailure>>,
}

impl<T> WriterCore<T> {
    /// Around an open store. After `mark_after` of quiet the last commit gets its witness.
    pub fn new(store: Store<T>, mark_after: Duration, now: Instant) -> Self {
        Self {
            store,
            backlog: VecDeque::new(),
            outputs: VecDeque::new(),
            in_flight: false,
            came_meanwhile: false,
            commits: 0,
            last_commit: now,
            mark_after,
            last_tick: now,
            age_clock: None,
            said: Said::default(),
            stopping: false,
            end: None,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store<T> {
        &self.store
    }

    /// What is durable, for reading.
    pub fn view(&self) -> &View {
        self.store.view()
    }

    /// Whether all that was submitted is in a commit. Where not, further operations may as well
    /// wait outside.
    pub fn wants_requests(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Durable commits since the start, marks included.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// How it ended: `Ok` for a clean stop. Only answers may come out after that.
    pub fn end(&self) -> Option<&Result<(), WriterFailure>> {
        self.end.as_ref()
    }

    /// Queues an operation behind all others. Its answer comes out when it is durable.
    pub fn submit(&mut self, operation: Operation, ticket: T) {
        if self.stopping || self.end.is_some() {
            self.outputs.push_back(WriterOutput::Answer(ticket, stopped()));
        } else {
            self.came_meanwhile |= self.in_flight;
            self.backlog.push_back((operation, ticket));
        }
    }

    /// The commit was written and synced, or that has failed.
    pub fn on_synced(
        &mut self,
        commit: Box<PendingCommit<T>>,
        result: Result<(), CommitError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                self.in_flight = false;
                self.last_commit = now;
                self.commits += 1;
                let answers = self.store.on_synced(*commit);
                self.answer(answers);
                self.outputs.push_back(WriterOutput::Durable { commits: self.commits });
            }
            Err(error) => {
                let answers = self.store.on_failed(*commit);
                self.answer(answers);
                self.fail(WriterFailure::Commit(error));
            }
        }
    }

    /// A job is done.
    pub fn on_job_done(&mut self, done: JobDone, wall: Timestamp) {
        self.said.job(&done);
        self.store.on_job_done(done, wall);
    }

    /// How far the upstream has each mirrored partition; `None` where that is unknown, which holds
    /// everything that goes there, as at the start.
    pub fn hold_for_uplink(&mut self, ends: Option<BTreeMap<Slot, BatchNumber>>) {
        self.store.set_uplink_needs(ends);
    }

    /// Ends cleanly: what was submitted is done, and the last commit gets its witness.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// What is to be done next. To be called until there is no more after each other call, and
    /// when [`Self::poll_timeout`] has passed.
    pub fn poll_output(&mut self, now: Instant, wall: Timestamp) -> Option<WriterOutput<T>> {
        if self.outputs.is_empty() && self.end.is_none() {
            match self.decide(now, wall) {
                Ok(output) => return output,
                Err(error) => self.fail(WriterFailure::Store(error)),
            }
        }
        self.outputs.pop_front()
    }

    /// How long to wait at most, at `now`, before [`Self::poll_output`] is called again.
    pub fn poll_timeout(&self, now: Instant) -> Duration {
        if self.in_flight || !self.store.wants_mark() {
            return IDLE_WAIT;
        }
        let quiet = now.saturating_duration_since(self.last_commit);
        self.mark_after.saturating_sub(quiet).min(IDLE_WAIT)
    }

    /// Leaves the directory as a clean stop does.
    ///
    /// # Panics
    /// If it did not end cleanly.
    pub fn close(self) {
        assert!(matches!(self.end, Some(Ok(()))), "only a clean end is closed");
        self.store.close();
    }

    fn decide(
        &mut self,
        now: Instant,
        wall: Timestamp,
    ) -> Result<Option<WriterOutput<T>>, StoreError> {
        let newest = || self.store.newest_append_time();
        let age_clock = *self.age_clock.get_or_insert_with(|| AgeClock::new(now, wall, newest()));
        if let Some((ticket, answer)) = self.fill(wall) {
            return Ok(Some(WriterOutput::Answer(ticket, answer)));
        }
        if !self.in_flight {
            let pending = match self.store.seal()? {
                Some(pending) => Some(pending),
                None if self.is_quiet(now) => self.store.mark()?,
                None => None,
            };
            if let Some(pending) = pending {
                self.in_flight = true;
                let came_meanwhile = std::mem::take(&mut self.came_meanwhile);
                let alone = !came_meanwhile
                    && self.backlog.is_empty()
                    && pending.len_bytes() <= ALONE_BYTES_MAX;
                return Ok(Some(WriterOutput::Commit { pending: Box::new(pending), alone }));
            }
        }
        if now.saturating_duration_since(self.last_tick) >= TICK {
            self.last_tick = now;
            let at_most = age_clock.at_most(now);
            self.said.clock(wall, at_most);
            self.store.set_age_time_max(at_most);
            self.store.tick(wall);
            self.said.full(self.store.view().status().full);
        }
        if let Some(job) = self.store.poll_job(wall) {
            return Ok(Some(WriterOutput::Job(job)));
        }
        if self.stopping && !self.in_flight {
            // What is staged, and answers that are held, may wait for the next journal file.
            if !self.store.wants_seal() && !self.store.wants_mark() && self.backlog.is_empty() {
                self.end = Some(Ok(()));
            } else if let Some(why) = self.store.stuck() {
                self.fail(WriterFailure::Stuck(why));
            }
        }
        Ok(None)
    }

    /// Stages what waits, up to the first that has its answer at once, or no room.
    fn fill(&mut self, wall: Timestamp) -> Option<(T, Answer)> {
        while let Some((operation, ticket)) = self.backlog.pop_front() {
            match self.store.stage(operation, ticket, wall) {
                Ok(Staged::Held) => {}
                Ok(Staged::Answered(ticket, answer)) => return Some((ticket, answer)),
                Err(unstaged) => {
                    self.backlog.push_front(unstaged);
                    break;
                }
            }
        }
        None
    }

    /// Whether the last commit gets its witness now.
    fn is_quiet(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.last_commit) >= self.mark_after;
        (quiet || self.stopping) && self.backlog.is_empty()
    }

    fn fail(&mut self, failure: WriterFailure) {
        let backlog = std::mem::take(&mut self.backlog);
        self.answer(backlog.into_iter().map(|(_, ticket)| (ticket, stopped())));
        self.end = Some(Err(failure));
    }

    fn answer(&mut self, answers: impl IntoIterator<Item = (T, Answer)>) {
        let outputs =
            answers.into_iter().map(|(ticket, answer)| WriterOutput::Answer(ticket, answer));
        self.outputs.extend(outputs);
    }
}

fn stopped() -> Answer {
    Answer::Refused(Refusal::new(ErrorCode::Stopping, TicketError::Stopped.to_string()))
}

/// Why the store did not do what it was asked to.
pub(crate) fn not_done(answer: Result<Answer, TicketError>) -> Refusal {
    match answer {
        Ok(Answer::Refused(refused)) => refused,
        Ok(Answer::Full) => Refusal::new(ErrorCode::Full, "the node's disk is full"),
        Ok(answer) => {
            tracing::error!(?answer, "the store has answered another question");
            Refusal::new(ErrorCode::Internal, "the store has answered another question")
        }
        Err(stopped) => Refusal::new(ErrorCode::Stopping, stopped.to_string()),
    }
}
