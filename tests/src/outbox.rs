//! A producer with a name that keeps what it sent until it has a receipt, and sends it again: after
//! a lost connection by its session, after its own end as a new producer of the same name.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use takt_client::{BatchReceiptFuture, Client, Producer, Receipt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::account::{Account, made};

/// How many batches wait for receipts at the most.
const BATCHES_MAX: usize = 16;

/// An account that several outboxes write to.
pub type SharedAccount = Arc<Mutex<Account>>;

/// The account, for a moment.
pub fn lock(account: &SharedAccount) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running outbox.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    topic: String,
    source: String,
    batch: u64,
    account: SharedAccount,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    crashes: AtomicU64,
    crash: Notify,
    stop: AtomicBool,
}

impl Outbox {
    /// Sends events of a source, which is the producer's name too, to a topic, `batch` at a time,
    /// without end.
    pub fn start(
        client: &Client,
        topic: &str,
        source: &str,
        batch: u64,
        account: &SharedAccount,
    ) -> Self {
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            source: source.to_owned(),
            batch,
            account: Arc::clone(account),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            crash: Notify::new(),
            stop: AtomicBool::new(false),
        });
        let task = tokio::spawn(run(client.clone(), Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Events without a receipt.
    pub fn unacknowledged(&self) -> u64 {
        let acknowledged = self.acknowledged();
        self.shared.sent.load(Ordering::SeqCst) - acknowledged
    }

    /// Events with a receipt.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Lets the producer end where it stands, as if its process had been killed: it forgets its
    /// session, but not its outbox.
    pub fn crash(&self) {
        self.shared.crashes.fetch_add(1, Ordering::Relaxed);
        self.shared.crash.notify_one();
    }

    /// Sends nothing new, and waits until all has a receipt.
    ///
    /// # Panics
    /// If the outbox has panicked.
    pub async fn finish(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("an outbox does not panic");
    }
}

/// A batch on its way.
struct Waiting {
    ids: Range<u64>,
    receipts: BatchReceiptFuture,
}

async fn run(client: Client, shared: Arc<Shared>) {
    loop {
        let producer = client.producer(&shared.topic).name(&shared.source);
        let producer = producer.build().expect("names and settings that hold");
        tokio::select! {
            // A crash drops the future, and the producer and all receipts with it.
            () = incarnation(&producer, &shared) => return,
            () = shared.crash.notified() => {}
        }
    }
}

/// From the first event without a receipt on, until there is nothing left to do.
async fn incarnation(producer: &Producer, shared: &Shared) {
    let mut next = shared.acknowledged.load(Ordering::SeqCst) + 1;
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    loop {
        let stop = shared.stop.load(Ordering::SeqCst);
        let again = next <= shared.sent.load(Ordering::SeqCst);
        if waiting.len() < BATCHES_MAX && (again || !stop) {
            let ids = next..next + shared.batch;
            next = ids.end;
            lock(&shared.account).sending(&shared.topic, &shared.source, ids.end - 1);
            shared.sent.fetch_max(ids.end - 1, Ordering::SeqCst);
            let events = ids.clone().map(|id| made(&shared.source, id)).collect();
            match producer.send_batch(events).await {
                Ok(receipts) => waiting.push_back(Waiting { ids, receipts }),
                Err(error) => {
                    lock(&shared.account).refused(format!("{}: {error}", shared.source));
                    return;
                }
            }
            // The receipts of what is on its way have their turn too.
            tokio::task::yield_now().await;
            continue;
        }
        let Some(front) = waiting.pop_front() else { return };
        let receipts = front.receipts.await;
        let mut account = lock(&shared.account);
        for (id, receipt) in front.ids.clone().zip(receipts) {
            match receipt {
                Ok(Receipt::Appended { place, .. } | Receipt::Duplicate { of: place, .. }) => {
                    account.told(&shared.topic, &shared.source, id, place);
                }
                Ok(other @ (Receipt::Conflict { .. } | Receipt::PreconditionFailed { .. })) => {
                    account.refused(format!("{} {id}: {other:?}", shared.source));
                }
                Err(error) => account.refused(format!("{} {id}: {error}", shared.source)),
            }
        }
        drop(account);
        shared.acknowledged.store(front.ids.end - 1, Ordering::SeqCst);
    }
}
