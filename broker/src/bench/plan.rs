//! What the producers of a measurement publish, and when.

use std::time::Duration;

use takt_client::{Client, Compression, Producer};

use super::BenchError;
use super::args::{CommonArgs, DataKind};
use super::closed_loop::ClosedLoop;
use super::each_loop::EachLoop;
use super::events::{Data, EventMaker, Orders};
use super::load::Load;
use super::open_loop::OpenLoop;
use super::schedule::Schedule;
use super::supply::Supply;
use super::turns::Turns;

/// The most memory that the arguments may ask for: events in flight, and events made ahead.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;
/// What may be made ahead by all producers together, in bytes.
const AHEAD_BYTES: u64 = 128 << 20;
/// The largest size at which a producer may be told to send a batch.
const BATCH_BYTES_MAX: u64 = 900 << 10;
/// More than any report of the generated log has as JSON, in bytes.
pub(super) const REPORT_BYTES_MAX: u64 = 1 << 10;
/// More than a node takes in a second, where how many it takes is not known before.
const RECORDS_PER_S_MAX: u64 = 2_000_000;

/// When an event is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// When receipts have made room in the window.
    Closed {
        /// Events of all producers.
        records: u64,
    },
    /// The same for so long.
    ClosedFor(Duration),
    /// When it is due.
    Open {
        /// Events of all producers.
        records: u64,
        /// So many of them are due in each second.
        per_s: u64,
    },
}

impl Pace {
    /// How many events there are to be; `None` where time says it.
    pub const fn records(self) -> Option<u64> {
        match self {
            Self::Closed { records } | Self::Open { records, .. } => Some(records),
            Self::ClosedFor(_) => None,
        }
    }

    /// How many events there may be.
    pub const fn records_max(self) -> u64 {
        match self {
            Self::Closed { records } | Self::Open { records, .. } => records,
            Self::ClosedFor(time) => RECORDS_PER_S_MAX.saturating_mul(time.as_secs() + 1),
        }
    }
}

/// What the producers of a measurement publish, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub pace: Pace,
    /// One event in a call, where the pace is that of receipts.
    pub each: bool,
    pub producers: u16,
    /// Calls of each producer that may be in flight; in an open loop, the room for their events.
    pub window: u16,
    pub events: &'a CommonArgs,
    pub data: DataKind,
    pub compression: Compression,
}

impl Plan<'_> {
    /// Whether it keeps to the memory that a measurement may take.
    pub fn check(&self) -> Result<(), BenchError> {
        let calls = u64::from(self.window) * u64::from(self.producers);
        let bytes = self.call_bytes().saturating_mul(calls);
        if bytes > IN_FLIGHT_BYTES_MAX {
            return Err(BenchError::TooMuchInFlight {
                producers: self.producers,
                window: self.window,
                bytes,
                max: IN_FLIGHT_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// Makes the producers, each with a handle for each of its topics, waits until the node has admitted
    /// them, and has events made ahead that are sent one by one: what comes then is to be measured.
    pub async fn prepare(
        &self,
        client: &Client,
        topics: &[String],
        data: &Data,
    ) -> Result<Vec<Load>, BenchError> {
        let run = run_number();
        let mut loads = Vec::with_capacity(self.producers.into());
        for number in 0..self.producers {
            let mut producers = Vec::new();
            for topic in self.topics_of(number, topics) {
                producers.push(self.producer(client, topic)?);
            }
            for producer in &producers {
                producer.ready().await?;
            }
            let producers = Turns::new(producers);
            let maker = self.maker(run, number, topics.len(), data.clone());
            let (records, time) = match self.pace {
                Pace::Closed { records } => (self.share(records, number), None),
                Pace::ClosedFor(time) => (u64::MAX, Some(time)),
                Pace::Open { records, per_s } => {
                    let records = self.share(records, number);
                    let schedule = Schedule::new(per_s, self.producers, number);
                    loads.push(Load::Open(OpenLoop { producers, maker, records, schedule }));
                    continue;
                }
            };
            loads.push(if self.each {
                let supply = self.supply(maker, records).await;
                Load::Each(EachLoop { producers, supply, time })
            } else {
                let (batch, window) = (self.events.batch, self.window());
                Load::Closed(ClosedLoop { producers, maker, records, batch, window, time })
            });
        }
        Ok(loads)
    }

    /// The topics of the producer of this number: every so many, or the one that it shares.
    fn topics_of<'t>(&self, number: u16, topics: &'t [String]) -> impl Iterator<Item = &'t String> {
        let (number, producers) = (usize::from(number), usize::from(self.producers));
        topics.iter().skip(number % topics.len()).step_by(producers)
    }

    /// What the events are to carry.
    pub fn data(&self) -> Result<Data, BenchError> {
        match self.data {
            DataKind::Random => {
                let size = usize::try_from(self.events.size);
                Ok(Data::random(self.events.seed, size.expect("checked to be at most 800,000")))
            }
            DataKind::Json => Data::reports(self.events.seed),
        }
    }

    /// What the events of one call take up in a producer's window, in bytes, with room to spare.
    fn call_bytes(&self) -> u64 {
        let data = match self.data {
            DataKind::Random => u64::from(self.events.size),
            DataKind::Json => REPORT_BYTES_MAX,
        };
        (data + 512) * u64::from(self.events.batch)
    }

    fn window(&self) -> usize {
        self.window.into()
    }

    /// How many of the events the producer of this number publishes.
    fn share(&self, records: u64, number: u16) -> u64 {
        let producers = u64::from(self.producers);
        records / producers + u64::from(u64::from(number) < records % producers)
    }

    /// Events of a source that is new in each run.
    fn maker(&self, run: u64, number: u16, topics: usize, data: Data) -> EventMaker {
        let source = format!("//bench/{run:016x}/{number}");
        let seed = self.events.seed.wrapping_add(u64::from(number) << 48);
        let (first, step) = (usize::from(number), usize::from(self.producers));
        // In an open loop each event is a call, too.
        let each = self.each || matches!(self.pace, Pace::Open { .. });
        let orders = Orders::shared(self.events.orders, topics, first, step, each);
        EventMaker::new(&source, seed, orders, data)
    }

    async fn supply(&self, maker: EventMaker, records: u64) -> Supply {
        let ahead = AHEAD_BYTES / u64::from(self.producers) / self.call_bytes();
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        Supply::start(maker, records, self.events.batch.into(), ahead).await
    }

    fn producer(&self, client: &Client, topic: &str) -> Result<Producer, BenchError> {
        let batch_bytes = self.call_bytes().min(BATCH_BYTES_MAX);
        let in_flight = self.call_bytes() * (u64::from(self.window) + 1);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let producer = client
            .producer(topic)
            .batch_records(self.events.batch.into())
            .batch_bytes(bytes(batch_bytes))
            .compression(self.compression)
            .in_flight_bytes(bytes(in_flight.min(IN_FLIGHT_BYTES_MAX)))
            .build()?;
        Ok(producer)
    }
}

/// Tells one run from others, also in the same directory.
pub(super) fn run_number() -> u64 {
    let mut run = [0; 8];
    getrandom::fill(&mut run).expect("the operating system gives random bytes");
    u64::from_le_bytes(run)
}
