//! One producer of a measurement: makes events ahead and keeps its window full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use takt_client::{BatchReceiptFuture, Producer, PublishError, Receipt};
use takt_protocol::event::Event;
use tokio::sync::{Barrier, mpsc, oneshot};

use super::BenchError;
use super::events::EventMaker;

/// The longest time to a receipt that is told from longer ones: 10 minutes, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Times from the call to its receipts, in microseconds, to 3 digits.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds that fit each other")
}

/// What one producer has to do.
#[derive(Debug)]
pub(super) struct Load {
    pub maker: EventMaker,
    pub records: u64,
    pub batch: usize,
    pub window: usize,
    /// Calls that are made ahead of their sending; this bounds the memory.
    pub ahead: usize,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub appended: u64,
    pub latencies: Histogram<u64>,
    pub finished: Instant,
}

impl Load {
    /// Makes events on a thread of its own, waits at `start` until as many are ready as may be,
    /// and publishes them all. `acknowledged` counts along.
    pub async fn run(
        self,
        producer: Producer,
        start: Arc<Barrier>,
        acknowledged: Arc<AtomicU64>,
    ) -> Result<Done, BenchError> {
        let (window, ahead) = (self.window, self.ahead.max(1));
        let (sender, mut made) = mpsc::channel::<Vec<Event>>(ahead);
        let (filled, is_filled) = oneshot::channel();
        let making = tokio::task::spawn_blocking(move || self.make(&sender, filled));
        // An error means that all were fewer than may wait.
        let _ = is_filled.await;
        start.wait().await;

        let mut done = Done { appended: 0, latencies: latencies(), finished: Instant::now() };
        let mut in_flight = InFlight::new();
        loop {
            tokio::select! {
                biased;
                Some((sent, receipts)) = oldest(&mut in_flight) => {
                    in_flight.pop_front();
                    let appended = count(receipts)?;
                    done.finished = Instant::now();
                    let waited = done.finished.duration_since(sent).as_micros();
                    done.latencies.saturating_record(u64::try_from(waited).unwrap_or(u64::MAX));
                    done.appended += appended;
                    acknowledged.fetch_add(appended, Ordering::Relaxed);
                }
                Some(events) = made.recv(), if in_flight.len() < window => {
                    let sent = Instant::now();
                    in_flight.push_back((sent, producer.send_batch(events).await?));
                }
                else => break,
            }
        }
        making.await.map_err(|error| BenchError::Task(error.to_string()))?;
        Ok(done)
    }

    fn make(mut self, sender: &mpsc::Sender<Vec<Event>>, filled: oneshot::Sender<()>) {
        let mut filled = Some(filled);
        let mut left = self.records;
        while left > 0 {
            if sender.capacity() == 0
                && let Some(filled) = filled.take()
            {
                // Who waits for it may be gone, with the whole measurement.
                let _ = filled.send(());
            }
            let count = left.min(self.batch as u64);
            let events = self.maker.make(usize::try_from(count).expect("at most a batch"));
            // Nobody takes them any more once a receipt was an error.
            if sender.blocking_send(events).is_err() {
                return;
            }
            left -= count;
        }
    }
}

type InFlight = VecDeque<(Instant, BatchReceiptFuture)>;

/// The receipts of the call that has been in flight the longest, with its time; `None` if there is
/// none.
async fn oldest(in_flight: &mut InFlight) -> Option<(Instant, Vec<Result<Receipt, PublishError>>)> {
    let (sent, receipts) = in_flight.front_mut()?;
    Some((*sent, receipts.await))
}

/// All events are new, so each must be answered as one.
fn count(receipts: Vec<Result<Receipt, PublishError>>) -> Result<u64, BenchError> {
    let mut appended = 0;
    for receipt in receipts {
        match receipt? {
            Receipt::Appended { .. } => appended += 1,
            other @ (Receipt::Duplicate { .. }
            | Receipt::Conflict { .. }
            | Receipt::PreconditionFailed { .. }) => {
                return Err(BenchError::Verdict(format!("{other:?}")));
            }
        }
    }
    Ok(appended)
}
