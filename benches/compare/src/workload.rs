//! What is asked of every system, and the loop of a producer.

use std::time::Instant;

use clap::ValueEnum;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::contender::{Ack, ContenderError, Producer};
use crate::event::{Event, EventMaker};

/// The longest time that is told from longer ones: 10 minutes, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// What is asked of every system.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// One event in a call, many calls in flight.
    Single,
    /// Batches, in the form that the system has for them.
    Batch,
    /// One event at a time.
    OneInFlight,
}

impl Workload {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Single, Self::Batch, Self::OneInFlight];

    /// What it is called in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Single => "One event in a call",
            Self::Batch => "Batches",
            Self::OneInFlight => "One event in flight",
        }
    }

    /// How much is asked of a system at a time. With more single events in flight nobody is faster,
    /// and the client of Redis takes twice the processor time for one.
    pub const fn load(self) -> Load {
        match self {
            Self::Single => Load { producers: 4, batch: 1, in_flight: 250 },
            Self::Batch => Load { producers: 4, batch: 1_000, in_flight: 8 },
            Self::OneInFlight => Load { producers: 1, batch: 1, in_flight: 1 },
        }
    }

    /// The same in words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Single => {
                "4 producers publish event by event and keep 250 calls in flight each. The \
                 clients of Takt and Redis put on the wire together what is waiting."
            }
            Self::Batch => {
                "4 producers, 8 calls of 1,000 events in flight each. Takt: batches; NATS: atomic \
                 batches, of the most messages that it allows; Redis: pipelines of XADD."
            }
            Self::OneInFlight => "One producer, which waits for each acknowledgement.",
        }
    }
}

/// How much is asked of a system at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Producers, each with a connection of its own.
    pub producers: u16,
    /// Events in a call.
    pub batch: usize,
    /// Calls that each producer keeps in flight.
    pub in_flight: usize,
}

/// The times of a run.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The first call.
    pub begin: Instant,
    /// Where warming up ends: what is acknowledged from then on counts.
    pub start: Instant,
    /// From then on no call is made; what is in flight is waited for, and counts.
    pub end: Instant,
}

/// What was acknowledged to one producer, or to all of them.
#[derive(Debug, Clone)]
pub struct Tally {
    /// From the first call to the last acknowledgement.
    pub acknowledged: u64,
    /// Of these, what counts.
    pub counted: u64,
    /// From a call to the acknowledgement of all its events, in microseconds, where it counts.
    pub latencies: Histogram<u64>,
    /// The last acknowledgement that does not count.
    warm: Option<Instant>,
    /// The last of all.
    last: Option<Instant>,
}

impl Tally {
    /// How long the server had for what counts, in seconds: from the last acknowledgement before to
    /// the last of all. A server that acknowledges much at a time, and then nothing for long, would
    /// have a rate that depends on where warming up happens to end, if it were measured from there.
    pub fn seconds(&self, span: Span) -> f64 {
        let from = self.warm.unwrap_or(span.begin);
        let to = self.last.unwrap_or(span.end);
        to.saturating_duration_since(from).as_secs_f64()
    }

    fn add(&mut self, span: Span, called: Instant, now: Instant, events: usize) {
        self.acknowledged += events as u64;
        self.last = self.last.max(Some(now));
        if now < span.start {
            self.warm = self.warm.max(Some(now));
            return;
        }
        self.counted += events as u64;
        let waited = now.saturating_duration_since(called).as_micros();
        self.latencies.saturating_record(u64::try_from(waited).unwrap_or(u64::MAX));
    }

    /// Adds what another one has.
    pub fn merge(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.counted += other.counted;
        self.latencies.add(&other.latencies).expect("histograms of one kind");
        self.warm = self.warm.max(other.warm);
        self.last = self.last.max(other.last);
    }
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
        let latencies = latencies.expect("bounds that fit each other");
        Self { acknowledged: 0, counted: 0, latencies, warm: None, last: None }
    }
}

/// Publishes until the end of the span, always as many calls in flight as the load says, and waits
/// for all that was begun.
///
/// # Errors
/// The first error of a call.
pub async fn produce(
    mut producer: impl Producer,
    mut maker: EventMaker,
    load: Load,
    span: Span,
) -> Result<Tally, ContenderError> {
    let mut tally = Tally::default();
    let mut in_flight = FuturesUnordered::new();
    loop {
        while in_flight.len() < load.in_flight {
            let called = Instant::now();
            if called >= span.end {
                break;
            }
            let ack = call(&mut producer, maker.make(load.batch)).await?;
            in_flight.push(async move { ack.await.map(|events| (called, events)) });
        }
        // All that is there by now makes room at once.
        let Some(mut done) = in_flight.next().await else { break };
        loop {
            let (called, events) = done?;
            tally.add(span, called, Instant::now(), events);
            match in_flight.next().now_or_never() {
                Some(Some(next)) => done = next,
                Some(None) | None => break,
            }
        }
    }
    Ok(tally)
}

async fn call(producer: &mut impl Producer, mut events: Vec<Event>) -> Result<Ack, ContenderError> {
    if events.len() > 1 {
        return producer.publish_batch(events).await;
    }
    producer.publish(events.pop().expect("a load is of at least one event")).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Acknowledges at once, and remembers how many calls were made before one was acknowledged.
    #[derive(Debug, Default)]
    struct Immediate {
        open: Arc<AtomicUsize>,
        open_max: Arc<AtomicUsize>,
    }

    impl Immediate {
        fn ack(&self, events: usize) -> Ack {
            let open = Arc::clone(&self.open);
            let now = open.fetch_add(1, Ordering::Relaxed) + 1;
            self.open_max.fetch_max(now, Ordering::Relaxed);
            Box::pin(async move {
                open.fetch_sub(1, Ordering::Relaxed);
                Ok(events)
            })
        }
    }

    impl Producer for Immediate {
        async fn publish(&mut self, _: Event) -> Result<Ack, ContenderError> {
            Ok(self.ack(1))
        }

        async fn publish_batch(&mut self, events: Vec<Event>) -> Result<Ack, ContenderError> {
            Ok(self.ack(events.len()))
        }
    }

    async fn run(load: Load, start: Duration, end: Duration) -> (Tally, usize) {
        let now = Instant::now();
        let producer = Immediate::default();
        let open_max = Arc::clone(&producer.open_max);
        let span = Span { begin: now, start: now + start, end: now + end };
        let tally = produce(producer, EventMaker::new(1, 0, 10, 16), load, span).await.unwrap();
        (tally, open_max.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn the_window_is_kept_full_and_all_is_waited_for() {
        let load = Load { producers: 1, batch: 3, in_flight: 5 };
        let (tally, open_max) = run(load, Duration::ZERO, Duration::from_millis(20)).await;
        assert_eq!(open_max, 5);
        assert!(tally.acknowledged > 0 && tally.acknowledged.is_multiple_of(3));
        assert_eq!(tally.counted, tally.latencies.len() * 3);
    }

    #[tokio::test]
    async fn nothing_is_begun_behind_the_end() {
        let load = Load { producers: 1, batch: 1, in_flight: 1 };
        let (none, _) = run(load, Duration::ZERO, Duration::ZERO).await;
        assert_eq!((none.acknowledged, none.counted), (0, 0));
    }

    /// A server that acknowledges 100 events of two producers at once, every two seconds.
    #[test]
    fn bursts_have_the_rate_of_the_server() {
        let begin = Instant::now();
        let at = |s: u64| begin + Duration::from_secs(s);
        let of = |start: u64, bursts: &[u64]| {
            let span = Span { begin, start: at(start), end: at(6) };
            let mut both = Tally::default();
            for _ in 0..2 {
                let mut tally = Tally::default();
                for &burst in bursts {
                    tally.add(span, begin, at(burst), 50);
                }
                both.merge(&tally);
            }
            let Tally { acknowledged, counted, .. } = both;
            (acknowledged, counted, both.seconds(span), both.latencies.max() / 1_000_000)
        };
        assert_eq!(of(3, &[2, 4, 6, 8]), (400, 300, 6.0, 8));
        // None came while warming up: what came first took since the first call.
        assert_eq!(of(1, &[2, 4, 6]), (300, 300, 6.0, 6));
        assert_eq!(of(1, &[]).1, 0);
    }
}
