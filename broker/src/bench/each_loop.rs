//! One producer in a closed loop whose calls are of one event each: the client makes the batches.

use std::time::{Duration, Instant};

use takt_client::ReceiptFuture;
use tokio::sync::mpsc;

use super::BenchError;
use super::supply::Supply;
use super::tally::Tally;
use super::turns::Turns;

/// One producer that sends an event as soon as there is room for it.
#[derive(Debug)]
pub(super) struct EachLoop {
    pub producers: Turns,
    pub supply: Supply,
    /// When it makes no more calls, from the start on; `None`: when the supply is used up.
    pub time: Option<Duration>,
}

/// An event that was handed over, and when that began.
type Sent = (Instant, ReceiptFuture);

impl EachLoop {
    /// Publishes from `start` on, which is now. The time of an event to its receipt counts from the
    /// call, so it includes the wait for room.
    pub async fn run(self, start: Instant, mut tally: Tally) -> Result<Tally, BenchError> {
        // Bounded by the room of the producers: the rest are receipts, which are taken at once.
        let (sender, mut sent) = mpsc::unbounded_channel();
        let sending = tokio::spawn(self.send(start, sender));
        while let Some((called, receipt)) = sent.recv().await {
            tally.add(called, [receipt.await])?;
        }
        sending.await.map_err(|error| BenchError::Task(error.to_string()))??;
        Ok(tally)
    }

    async fn send(
        mut self,
        start: Instant,
        sender: mpsc::UnboundedSender<Sent>,
    ) -> Result<(), BenchError> {
        'calls: while self.time.is_none_or(|time| start.elapsed() < time) {
            let Some(events) = self.supply.next().await else { break };
            for event in events {
                let called = Instant::now();
                let receipt = self.producers.next().send(event).await?;
                // Nobody takes them any more once a receipt was an error.
                if sender.send((called, receipt)).is_err() {
                    break 'calls;
                }
            }
        }
        self.supply.end().await
    }
}
