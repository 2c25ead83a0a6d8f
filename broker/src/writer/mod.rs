//! The shell around the store: one thread judges and fills commits, one writes and syncs them, one
//! does what may take its time. While a commit syncs, the next one fills; it is written when that
//! sync has returned.

mod inbox;
mod ticket;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use takt_protocol::words::BatchNumber;
use takt_storage::disk::DiskLock;
use takt_storage::journal::CommitError;
use takt_storage::runs::Slot;
use takt_storage::store::{Job, JobDone, Operation, PendingCommit, Staged, Store};
use tokio::sync::watch;

use crate::clock::wall_now;

use inbox::{Closed, Inbox};
pub use ticket::{Ticket, TicketError};

/// How long the writer waits when nothing happens, to look at what time alone brings.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// How often the store looks at what time alone brings.
const TICK: Duration = Duration::from_secs(1);

type Pending = PendingCommit<Ticket>;

struct Request {
    operation: Operation,
    ticket: Ticket,
}

enum Notice {
    Synced(Box<Pending>, Result<(), CommitError>),
    JobDone(JobDone),
    UplinkHolds(Option<BTreeMap<Slot, BatchNumber>>),
    Stop,
}

/// How the writer stands, for all who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterState {
    /// It takes requests; so many commits were made durable.
    Running {
        /// Grows with each durable commit.
        commits: u64,
    },
    /// It has stopped cleanly.
    Stopped,
    /// The disk failed; nothing more is acknowledged.
    Failed {
        /// What failed.
        reason: String,
    },
}

/// The way to the writer thread. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    inbox: Arc<Inbox<Request, Notice>>,
    state: watch::Receiver<WriterState>,
}

impl Writer {
    /// Queues an operation. Its answer comes through the ticket when it is durable.
    ///
    /// # Errors
    /// [`TicketError::Stopped`] where the writer takes nothing more.
    pub fn submit(&self, operation: Operation, ticket: Ticket) -> Result<(), TicketError> {
        self.inbox.request(Request { operation, ticket }).map_err(|Closed(_)| TicketError::Stopped)
    }

    /// Changes with every durable commit, and when the writer ends.
    pub fn state(&self) -> watch::Receiver<WriterState> {
        self.state.clone()
    }

    /// Says how far the upstream has each mirrored partition; `None` where that is unknown, which
    /// holds everything.
    pub fn hold_for_uplink(&self, ends: Option<BTreeMap<Slot, BatchNumber>>) {
        self.inbox.notify(Notice::UplinkHolds(ends));
    }

    /// Asks the writer to stop cleanly; [`Writer::state`] says when it has.
    pub fn stop(&self) {
        self.inbox.notify(Notice::Stop);
    }
}

/// The threads. They end after [`Writer::stop`] or when the disk has failed.
pub struct WriterThreads {
    writer: JoinHandle<()>,
}

impl WriterThreads {
    /// Waits for the end.
    pub fn join(self) {
        // A panic of the writer has been reported by the panic hook; there is nothing to add.
        let _ = self.writer.join();
    }
}

/// Starts the threads around a store. The directory stays locked until all of them have ended.
///
/// # Errors
/// What the system says when it makes no thread.
pub fn start(
    store: Store<Ticket>,
    lock: DiskLock,
    mark_after: Duration,
) -> io::Result<(Writer, WriterThreads)> {
    let inbox = Arc::new(Inbox::new());
    let (state_tx, state) = watch::channel(WriterState::Running { commits: 0 });
    let (commit_tx, commit_rx) = mpsc::sync_channel::<Pending>(1);
    let (job_tx, job_rx) = mpsc::channel::<Job>();
    let syncer_inbox = Arc::clone(&inbox);
    let syncer = spawn("takt-sync", move || {
        for pending in commit_rx {
            let result = pending.write_and_sync();
            syncer_inbox.notify(Notice::Synced(Box::new(pending), result));
        }
    })?;
    let job_inbox = Arc::clone(&inbox);
    let jobs = spawn("takt-jobs", move || {
        for job in job_rx {
            let done = job.run();
            job_inbox.notify(Notice::JobDone(done));
        }
    })?;
    let thread_inbox = Arc::clone(&inbox);
    let writer = spawn("takt-writer", move || {
        let mut thread = WriterThread {
            store,
            inbox: thread_inbox,
            state: state_tx,
            commits: Some(commit_tx),
            jobs: Some(job_tx),
            backlog: VecDeque::new(),
            in_flight: false,
            commit_count: 0,
            last_commit: Instant::now(),
            mark_after,
            last_tick: Instant::now(),
            full: false,
            stopping: false,
        };
        let _locked = lock;
        let end = thread.run();
        thread.finish(end);
        // Closing the channels has told both threads to end.
        let _ = syncer.join();
        let _ = jobs.join();
    })?;
    Ok((Writer { inbox, state }, WriterThreads { writer }))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

struct WriterThread {
    store: Store<Ticket>,
    inbox: Arc<Inbox<Request, Notice>>,
    state: watch::Sender<WriterState>,
    commits: Option<mpsc::SyncSender<Pending>>,
    jobs: Option<mpsc::Sender<Job>>,
    /// Taken from the inbox, but the filling commit had no room.
    backlog: VecDeque<Request>,
    in_flight: bool,
    commit_count: u64,
    last_commit: Instant,
    mark_after: Duration,
    last_tick: Instant,
    /// What the log has said last.
    full: bool,
    stopping: bool,
}

impl WriterThread {
    fn run(&mut self) -> Result<(), String> {
        loop {
            let taken = self.inbox.take(self.backlog.is_empty(), self.wait());
            for notice in taken.notices {
                self.on_notice(notice)?;
            }
            self.backlog.extend(taken.requests);
            self.fill()?;
            self.mark_if_quiet()?;
            if self.last_tick.elapsed() >= TICK {
                self.last_tick = Instant::now();
                self.store.tick(wall_now());
                self.say_if_full();
            }
            while let Some(job) = self.store.poll_job(wall_now()) {
                self.give_job(job)?;
            }
            let idle = !self.in_flight && self.backlog.is_empty() && !self.store.wants_mark();
            if self.stopping && idle {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.in_flight || !self.store.wants_mark() {
            return IDLE_WAIT;
        }
        self.mark_after.saturating_sub(self.last_commit.elapsed()).min(IDLE_WAIT)
    }

    fn on_notice(&mut self, notice: Notice) -> Result<(), String> {
        match notice {
            Notice::Synced(pending, Ok(())) => {
                self.in_flight = false;
                self.last_commit = Instant::now();
                for (ticket, answer) in self.store.on_synced(*pending) {
                    ticket.answer(answer);
                }
                self.commit_count += 1;
                let commits = self.commit_count;
                self.state.send_replace(WriterState::Running { commits });
                Ok(())
            }
            Notice::Synced(pending, Err(error)) => {
                for (ticket, answer) in self.store.on_failed(*pending) {
                    ticket.answer(answer);
                }
                Err(format!("a commit could not be written or synced: {error}"))
            }
            Notice::JobDone(done) => {
                self.store.on_job_done(done, wall_now());
                Ok(())
            }
            Notice::UplinkHolds(ends) => {
                self.store.set_uplink_needs(ends);
                Ok(())
            }
            Notice::Stop => {
                self.stopping = true;
                self.backlog.extend(self.inbox.close());
                Ok(())
            }
        }
    }

    /// Stages what waits, and starts a commit whenever none is under way.
    fn fill(&mut self) -> Result<(), String> {
        loop {
            let now = wall_now();
            while let Some(Request { operation, ticket }) = self.backlog.pop_front() {
                match self.store.stage(operation, ticket, now) {
                    Ok(Staged::Held) => {}
                    Ok(Staged::Answered(ticket, answer)) => ticket.answer(answer),
                    Err((operation, ticket)) => {
                        self.backlog.push_front(Request { operation, ticket });
                        break;
                    }
                }
            }
            if self.in_flight {
                return Ok(());
            }
            let Some(pending) = self.store.seal().map_err(|e| e.to_string())? else {
                return Ok(());
            };
            self.write(pending)?;
            if self.backlog.is_empty() {
                return Ok(());
            }
        }
    }

    /// An operator learns from the log that the disk is full, and that it no longer is.
    fn say_if_full(&mut self) {
        let full = self.store.view().status().full;
        match (self.full, full) {
            (false, true) => tracing::warn!(
                "the disk has no room for a spare journal file: publishing is refused and links \
                 get no credit until there is; reading and cursors go on"
            ),
            (true, false) => tracing::warn!("the disk has room again: publishing goes on"),
            (true, true) | (false, false) => {}
        }
        self.full = full;
    }

    /// After a while of quiet the last commit gets its witness.
    fn mark_if_quiet(&mut self) -> Result<(), String> {
        let quiet = self.last_commit.elapsed() >= self.mark_after || self.stopping;
        if self.in_flight || !quiet || !self.backlog.is_empty() || !self.store.wants_mark() {
            return Ok(());
        }
        match self.store.mark().map_err(|e| e.to_string())? {
            Some(pending) => self.write(pending),
            None => Ok(()),
        }
    }

    fn write(&mut self, pending: Pending) -> Result<(), String> {
        self.in_flight = true;
        let commits = self.commits.as_ref().ok_or("the writer has ended")?;
        commits.send(pending).map_err(|_| "the sync thread is gone".to_owned())
    }

    fn give_job(&mut self, job: Job) -> Result<(), String> {
        let jobs = self.jobs.as_ref().ok_or("the writer has ended")?;
        jobs.send(job).map_err(|_| "the job thread is gone".to_owned())
    }

    fn finish(mut self, end: Result<(), String>) {
        self.commits = None;
        self.jobs = None;
        self.inbox.close();
        self.backlog.clear();
        let state = match end {
            Ok(()) => {
                self.store.close();
                WriterState::Stopped
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "the journal has failed; the node acknowledges nothing more"
                );
                WriterState::Failed { reason }
            }
        };
        self.state.send_replace(state);
    }
}
