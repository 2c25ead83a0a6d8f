//! One producer in a closed loop: it makes its next call when the receipts of an earlier one have
//! come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use takt_client::{BatchReceiptFuture, PublishError, Receipt};

use super::BenchError;
use super::events::EventMaker;
use super::tally::Tally;
use super::turns::Turns;

/// One producer that keeps its window full.
#[derive(Debug)]
pub(super) struct ClosedLoop {
    pub producers: Turns,
    pub maker: EventMaker,
    /// How many events there are to be, and in a call.
    pub records: u64,
    pub batch: u16,
    /// How many calls may be in flight.
    pub window: usize,
    /// When it makes no more calls, from the start on; `None`: when there are no more events.
    pub time: Option<Duration>,
}

impl ClosedLoop {
    /// Publishes from `start` on, which is now. The time of a call to its receipts counts from the
    /// call.
    pub async fn run(self, start: Instant, mut tally: Tally) -> Result<Tally, BenchError> {
        let Self { mut producers, mut maker, records: mut left, batch, window, time } = self;
        let mut in_flight = InFlight::new();
        loop {
            let in_time = time.is_none_or(|time| start.elapsed() < time);
            let has_room = in_time && left > 0 && in_flight.len() < window;
            tokio::select! {
                biased;
                Some((called, receipts)) = oldest(&mut in_flight) => {
                    in_flight.pop_front();
                    tally.add(called, receipts)?;
                }
                () = std::future::ready(()), if has_room => {
                    let count = left.min(batch.into());
                    left -= count;
                    let call = maker.make(usize::try_from(count).expect("at most a batch"));
                    let called = Instant::now();
                    let mut events = producers.next().batch().await?;
                    call.try_each(|event| events.push(event)).map_err(PublishError::from)?;
                    in_flight.push_back((called, events.send().await?));
                }
                else => break,
            }
        }
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
