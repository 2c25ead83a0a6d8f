//! One producer in a closed loop: it makes its next call when the receipts of an earlier one have
//! come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use takt_client::{BatchReceiptFuture, PublishError, Receipt};

use super::BenchError;
use super::supply::Supply;
use super::tally::Tally;
use super::turns::Turns;

/// One producer that keeps its window full.
#[derive(Debug)]
pub(super) struct ClosedLoop {
    pub producers: Turns,
    pub supply: Supply,
    /// How many calls may be in flight.
    pub window: usize,
    /// When it makes no more calls, from the start on; `None`: when the supply is used up.
    pub time: Option<Duration>,
}

impl ClosedLoop {
    /// Publishes from `start` on, which is now. The time of a call to its receipts counts from the
    /// call.
    pub async fn run(self, start: Instant, mut tally: Tally) -> Result<Tally, BenchError> {
        let Self { mut producers, mut supply, window, time } = self;
        let mut in_flight = InFlight::new();
        loop {
            let in_time = time.is_none_or(|time| start.elapsed() < time);
            tokio::select! {
                biased;
                Some((called, receipts)) = oldest(&mut in_flight) => {
                    in_flight.pop_front();
                    tally.add(called, receipts)?;
                }
                Some(call) = supply.next(), if in_time && in_flight.len() < window => {
                    let called = Instant::now();
                    let mut batch = producers.next().batch().await?;
                    call.try_each(|event| batch.push(event)).map_err(PublishError::from)?;
                    in_flight.push_back((called, batch.send().await?));
                }
                else => break,
            }
        }
        supply.end().await?;
        Ok(tally)
    }
}

type InFlight = VecDeque<(Instant, BatchReceiptFuture)>;

/// The receipts of the call that has been in flight the longest, with its time; `None` if there is
/// none.
async fn oldest(in_flight: &mut InFlight) -> Option<(Instant, Vec<Result<Receipt, PublishError>>)> {
    let (called, receipts) = in_flight.front_mut()?;
    Some((*called, receipts.await))
}
