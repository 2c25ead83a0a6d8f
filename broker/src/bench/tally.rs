//! What came of the events of a producer, or of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use takt_client::{PublishError, Receipt};

use super::BenchError;

/// The longest time to a receipt that is told from longer ones: 10 minutes, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// What came of the events of a producer, or of all of them.
#[derive(Debug)]
pub(super) struct Tally {
    /// Counts over all producers, for whoever watches.
    acknowledged: Arc<AtomicU64>,
    pub appended: u64,
    pub latencies: Histogram<u64>,
    /// When the last receipts came.
    pub finished: Instant,
    /// How late a sender was at most, where it had a schedule.
    pub late_max: Duration,
}

impl Tally {
    pub fn new(start: Instant, acknowledged: Arc<AtomicU64>) -> Self {
        let (latencies, late_max) = (latencies(), Duration::ZERO);
        Self { acknowledged, appended: 0, latencies, finished: start, late_max }
    }

    /// Adds the receipts of one call, which have come now; their time counts from `since`. All
    /// events are new, so each must be answered as one.
    pub fn add(
        &mut self,
        since: Instant,
        receipts: impl IntoIterator<Item = Result<Receipt, PublishError>>,
    ) -> Result<(), BenchError> {
        let appended = count(receipts)?;
        self.finished = Instant::now();
        let waited = self.finished.saturating_duration_since(since);
        self.latencies.saturating_record(micros(waited));
        self.appended += appended;
        self.acknowledged.fetch_add(appended, Ordering::Relaxed);
        Ok(())
    }

    /// Adds that a sender was so late.
    pub fn late(&mut self, late: Duration) {
        self.late_max = self.late_max.max(late);
    }

    /// Adds what came of another's events.
    pub fn merge(&mut self, other: &Self) {
        self.appended += other.appended;
        self.latencies.add(&other.latencies).expect("histograms of one kind");
        self.finished = self.finished.max(other.finished);
        self.late(other.late_max);
    }
}

/// Times to receipts, in microseconds, to 3 digits.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds that fit each other")
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn count(
    receipts: impl IntoIterator<Item = Result<Receipt, PublishError>>,
) -> Result<u64, BenchError> {
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
