//! The threads around [`WriterCore`]: one lets it judge and fill commits, one writes and syncs them,
//! one does what may take its time. While a commit syncs, the next one fills; it is written when
//! that sync has returned. Where little comes, the first writes and syncs as well: then an event waits
//! for one thread to wake and not for three.

mod inbox;
mod ticket;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use takt_protocol::words::BatchNumber;
use takt_storage::disk::DiskLock;
use takt_storage::journal::CommitError;
use takt_storage::runs::Slot;
use takt_storage::store::{Job, JobDone, Operation, PendingCommit, Store};
use tokio::sync::watch;

use crate::clock::wall_now;
use crate::logic::WriterCore;
use crate::logic::writer::WriterOutput;

use inbox::Inbox;
pub use ticket::Ticket;

type Pending = Box<PendingCommit<Ticket>>;

struct Request {
    operation: Operation,
    ticket: Ticket,
}

enum Notice {
    Synced(Pending, Result<(), CommitError>),
    JobDone(JobDone),
    UplinkHolds(Option<BTreeMap<Slot, BatchNumber>>),
    Stop,
    /// A thread that the writer waits for has panicked.
    Panicked(&'static str),
}

/// What a thread holds that writes for the writer. It says where the thread has panicked: what that had
/// in hand never comes back. A node of its own ends with its process there; one in another program does
/// not, and the directory is nobody else's before the last thread has ended.
struct Helping {
    inbox: Arc<Inbox<Request, Notice>>,
    thread: &'static str,
    _locked: Arc<DiskLock>,
}

impl Helping {
    fn new(
        inbox: &Arc<Inbox<Request, Notice>>,
        thread: &'static str,
        locked: &Arc<DiskLock>,
    ) -> Self {
        Self { inbox: Arc::clone(inbox), thread, _locked: Arc::clone(locked) }
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.notify(Notice::Panicked(self.thread));
        }
    }
}

/// Closes the inbox behind the writer, however it ends: each ticket that waits, and each that
/// comes later, says that the writer has ended.
struct Closing(Arc<Inbox<Request, Notice>>);

impl Drop for Closing {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

/// How the writer has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterEnd {
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
    commits: watch::Receiver<u64>,
    end: watch::Receiver<Option<WriterEnd>>,
}

impl Writer {
    /// Queues an operation. Its answer comes through the ticket when it is durable.
    pub fn submit(&self, operation: Operation, ticket: Ticket) {
        // Where the writer takes nothing more, the ticket comes back, is dropped, and says so.
        let _ = self.inbox.request(Request { operation, ticket });
    }

    /// How many commits are durable: changes with each of them, and is closed when the writer ends. Who
    /// does not need every one should not wait for it: each wakes all that do.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// How the writer has ended; `None` before.
    pub fn end(&self) -> watch::Receiver<Option<WriterEnd>> {
        self.end.clone()
    }

    /// Says how far the upstream has each mirrored partition; `None` where that is unknown, which
    /// holds all that goes there.
    pub fn hold_for_uplink(&self, ends: Option<BTreeMap<Slot, BatchNumber>>) {
        // Only the newest counts, and each names every partition.
        let outdated = |notice: &Notice| matches!(notice, Notice::UplinkHolds(_));
        self.inbox.notify_instead(Notice::UplinkHolds(ends), outdated);
    }

    /// Asks the writer to stop cleanly; [`Writer::end`] says when it has.
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
    let (count_tx, commits) = watch::channel(0);
    let (end_tx, end) = watch::channel(None);
    let (commit_tx, commit_rx) = mpsc::sync_channel::<Pending>(1);
    let (job_tx, job_rx) = mpsc::channel::<Job>();
    let locked = Arc::new(lock);
    let helper = Helping::new(&inbox, "sync", &locked);
    let syncer = spawn("takt-sync", move || {
        for pending in commit_rx {
            let result = pending.write_and_sync();
            helper.inbox.notify(Notice::Synced(pending, result));
        }
    })?;
    let helper = Helping::new(&inbox, "job", &locked);
    let jobs = spawn("takt-jobs", move || {
        for job in job_rx {
            let done = job.run();
            helper.inbox.notify(Notice::JobDone(done));
        }
    })?;
    let thread_inbox = Arc::clone(&inbox);
    let writer = spawn("takt-writer", move || {
        // Goes last.
        let _locked = locked;
        let _closing = Closing(Arc::clone(&thread_inbox));
        let mut thread = WriterThread {
            core: WriterCore::new(store, mark_after, Instant::now()),
            inbox: thread_inbox,
            durable: count_tx,
            end: end_tx,
            commits: commit_tx,
            jobs: job_tx,
        };
        let end = thread.run();
        thread.finish(end);
        // Closing the channels has told both threads to end.
        let _ = syncer.join();
        let _ = jobs.join();
    })?;
    Ok((Writer { inbox, commits, end }, WriterThreads { writer }))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

struct WriterThread {
    core: WriterCore<Ticket>,
    inbox: Arc<Inbox<Request, Notice>>,
    durable: watch::Sender<u64>,
    end: watch::Sender<Option<WriterEnd>>,
    commits: mpsc::SyncSender<Pending>,
    jobs: mpsc::Sender<Job>,
}

impl WriterThread {
    fn run(&mut self) -> Result<(), String> {
        loop {
            self.carry_out()?;
            match self.core.end() {
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => return Err(failure.to_string()),
                None => {}
            }
            let timeout = self.core.poll_timeout(Instant::now());
            let taken = self.inbox.take(self.core.wants_requests(), timeout);
            for Request { operation, ticket } in taken.requests {
                self.core.submit(operation, ticket);
            }
            for notice in taken.notices {
                self.on_notice(notice)?;
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), String> {
        let (now, wall) = (Instant::now(), wall_now());
        while let Some(output) = self.core.poll_output(now, wall) {
            match output {
                WriterOutput::Answer(ticket, answer) => ticket.answer(answer),
                WriterOutput::Durable { commits } => {
                    self.durable.send_replace(commits);
                }
                WriterOutput::Commit { pending, alone: true } => {
                    let result = pending.write_and_sync();
                    // By way of the inbox, so that what has come meanwhile is submitted before.
                    self.inbox.notify(Notice::Synced(pending, result));
                }
                WriterOutput::Commit { pending, alone: false } => {
                    self.commits.send(pending).map_err(|_| "the sync thread is gone")?;
                }
                WriterOutput::Job(job) => {
                    self.jobs.send(job).map_err(|_| "the job thread is gone")?;
                }
            }
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice) -> Result<(), String> {
        match notice {
            Notice::Synced(pending, result) => {
                self.core.on_synced(pending, result, Instant::now());
            }
            Notice::JobDone(done) => self.core.on_job_done(done, wall_now()),
            Notice::UplinkHolds(ends) => self.core.hold_for_uplink(ends),
            Notice::Stop => {
                for Request { operation, ticket } in self.inbox.close() {
                    self.core.submit(operation, ticket);
                }
                self.core.stop();
            }
            Notice::Panicked(thread) => return Err(format!("the {thread} thread has panicked")),
        }
        Ok(())
    }

    fn finish(self, end: Result<(), String>) {
        let Self { core, inbox, end: ended, .. } = self;
        inbox.close();
        let end = match end {
            Ok(()) => {
                core.close();
                WriterEnd::Stopped
            }
            Err(reason) => {
                tracing::error!(reason, "the store has failed; the node acknowledges nothing more");
                WriterEnd::Failed { reason }
            }
        };
        ended.send_replace(Some(end));
    }
}

#[cfg(test)]
mod tests {
    use takt_storage::disk::RealDisk;

    use super::*;

    #[test]
    fn nobody_waits_for_a_thread_that_has_panicked() {
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path()).unwrap();
        let locked = Arc::new(disk.lock().unwrap());
        let inbox = Arc::new(Inbox::new());
        let helper = Helping::new(&inbox, "sync", &locked);
        let goes_on = Helping::new(&inbox, "job", &locked);
        let syncer = spawn("takt-sync", move || {
            let _helper = helper;
            panic!("on purpose");
        });
        assert!(syncer.unwrap().join().is_err());
        let notices = inbox.take(false, Duration::ZERO).notices;
        assert!(matches!(notices.front(), Some(Notice::Panicked("sync"))));

        let closing = Closing(Arc::clone(&inbox));
        let ((_, commits), (_, end)) = (watch::channel(0), watch::channel(None));
        let writer = Writer { inbox, commits, end };
        let submit = || {
            let (ticket, answer) = Ticket::once();
            let name = takt_protocol::words::CursorName::new("c").unwrap();
            writer.submit(Operation::RemoveCursor { name }, ticket);
            answer
        };
        let waiting = submit();
        let thread = spawn("takt-writer", move || {
            let _closing = closing;
            let _locked = locked;
            panic!("on purpose");
        });
        assert!(thread.unwrap().join().is_err());
        assert!(disk.lock().is_err(), "a job may still write");
        drop(goes_on);
        disk.lock().unwrap();
        assert!(waiting.blocking_recv().is_err() && submit().blocking_recv().is_err());
    }
}
