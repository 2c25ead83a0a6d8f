//! One producer in an open loop: it sends each event when it is due, whatever has become of those
//! before it.
//!
//! The sender is a thread that sleeps, not a task: tokio's timers are a millisecond coarse, as much
//! as a sync takes, and a wait that spins would take one of a few cores from the node.

use std::thread;
use std::time::{Duration, Instant};

use takt_client::{ReceiptFuture, SendError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::BenchError;
use super::events::EventMaker;
use super::schedule::{Schedule, wait};
use super::tally::Tally;
use super::turns::Turns;

/// One producer that keeps to a schedule.
#[derive(Debug)]
pub(super) struct OpenLoop {
    pub producers: Turns,
    pub maker: EventMaker,
    pub records: u64,
    pub schedule: Schedule,
}

/// An event that was handed over, and when it was due.
type Sent = (Instant, ReceiptFuture);

impl OpenLoop {
    /// Publishes by its schedule from `start` on. The time of an event to its receipt counts from
    /// when it was due, so that an event which had to wait for the ones before it says so.
    pub async fn run(self, start: Instant, mut tally: Tally) -> Result<Tally, BenchError> {
        // Bounded by the producer's window: the rest are receipts, which are taken at once.
        let (sender, mut sent) = mpsc::unbounded_channel();
        let runtime = Handle::current();
        let sending = tokio::task::spawn_blocking(move || self.send(start, &sender, &runtime));
        while let Some((due, receipt)) = sent.recv().await {
            tally.add(due, [receipt.await])?;
        }
        let late_max = sending.await.map_err(|error| BenchError::Task(error.to_string()))??;
        tally.late(late_max);
        Ok(tally)
    }

    /// Sends all events; gives how far behind its schedule it was at most when it had sent one.
    fn send(
        mut self,
        start: Instant,
        sender: &mpsc::UnboundedSender<Sent>,
        runtime: &Handle,
    ) -> Result<Duration, SendError> {
        let mut late_max = Duration::ZERO;
        for number in 0..self.records {
            let event = self.maker.make(1).events().pop().expect("one was made");
            let due = start + self.schedule.after(number);
            if let Some(time) = wait(due, Instant::now()) {
                thread::sleep(time);
            }
            let receipt = runtime.block_on(self.producers.next().send(event))?;
            late_max = late_max.max(due.elapsed());
            // Nobody takes them any more once a receipt was an error.
            if sender.send((due, receipt)).is_err() {
                break;
            }
        }
        Ok(late_max)
    }
}
