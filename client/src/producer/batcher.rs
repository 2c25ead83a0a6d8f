//! Gathering events into batches: one open batch per partition.

use std::time::{Duration, Instant};

use bytes::Bytes;
use takt_protocol::batch::{BatchBuilder, Compression, PushError};
use takt_protocol::event::{EventError, EventRef};
use takt_protocol::hashing::route_bytes;
use takt_protocol::words::{PartitionNumber, Sequence};

use super::waiters::{Waiter, Waiters};

/// When an open batch is sealed.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSettings {
    /// How long it may wait for more while other batches are in flight.
    pub linger: Duration,
    pub bytes: usize,
    pub records: usize,
    pub compression: Compression,
}

impl BatchSettings {
    /// Whether the batch is large enough to be sealed.
    pub fn is_reached(&self, batch: &BatchBuilder) -> bool {
        batch.records() >= self.records || batch.bytes() >= self.bytes
    }
}

/// Why an event did not go into its open batch; the waiter comes back.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The batch must be sealed first.
    Full(Waiter),
    /// No batch would take it.
    Event(Waiter, EventError),
}

/// A sealed batch and who waits for it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub bytes: Bytes,
    pub load: Load,
}

/// A batch without its bytes.
#[derive(Debug)]
pub(super) struct Load {
    pub first_sequence: Sequence,
    pub records: usize,
    pub waiters: Waiters,
    /// Room that the batch takes up in the producer's window.
    pub cost: usize,
}

#[derive(Debug)]
struct Lane {
    builder: BatchBuilder,
    waiters: Waiters,
    cost: usize,
    since: Instant,
    /// An event was refused for want of room.
    full: bool,
}

/// One open batch per partition of the topic.
#[derive(Debug)]
pub(super) struct Batcher {
    settings: BatchSettings,
    lanes: Vec<Lane>,
    open: usize,
}

impl Batcher {
    pub fn new(settings: BatchSettings, partitions: u16, now: Instant) -> Self {
        let lane = |_| Lane {
            builder: BatchBuilder::new(settings.compression),
            waiters: Waiters::default(),
            cost: 0,
            since: now,
            full: false,
        };
        Self { settings, lanes: (0..partitions).map(lane).collect(), open: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Lays out an event in the open batch of its partition.
    pub fn push(
        &mut self,
        now: Instant,
        event: &EventRef<'_>,
        waiter: Waiter,
        cost: usize,
    ) -> Result<(), Rejected> {
        let partitions = u16::try_from(self.lanes.len()).expect("as many as were given");
        let number = route_bytes(event.order_key.map(str::as_bytes), partitions);
        let lane = &mut self.lanes[usize::from(number.get())];
        if lane.is_full(&self.settings) {
            return Err(Rejected::Full(waiter));
        }
        match lane.builder.push(*event) {
            Ok(()) => {}
            Err(PushError::Full) => {
                lane.full = true;
                return Err(Rejected::Full(waiter));
            }
            Err(PushError::Event(error)) => return Err(Rejected::Event(waiter, error)),
        }
        if lane.builder.records() == 1 {
            lane.since = now;
            self.open += 1;
        }
        lane.waiters.push(waiter);
        lane.cost += cost;
        Ok(())
    }

    /// The partition of a batch that is to be sealed now: any with `all`, else one that is full or
    /// has waited long enough; the oldest first.
    pub fn due(&self, now: Instant, all: bool) -> Option<PartitionNumber> {
        let due = |lane: &Lane| {
            all || lane.is_full(&self.settings) || now >= lane.since + self.settings.linger
        };
        let lanes = self.lanes.iter().enumerate();
        let (number, _) = lanes
            .filter(|(_, lane)| !lane.builder.is_empty() && due(lane))
            .min_by_key(|(_, lane)| lane.since)?;
        Some(PartitionNumber::new(u16::try_from(number).expect("a number of a partition")))
    }

    /// When the next batch will have waited long enough.
    pub fn next_due(&self) -> Option<Instant> {
        let open = self.lanes.iter().filter(|lane| !lane.builder.is_empty());
        open.map(|lane| lane.since + self.settings.linger).min()
    }

    /// Seals the open batch of a partition; `None` where there is none.
    pub fn seal(&mut self, partition: PartitionNumber, first_sequence: Sequence) -> Option<Sealed> {
        let lane = &mut self.lanes[usize::from(partition.get())];
        let records = lane.builder.records();
        let bytes = lane.builder.finish(partition, first_sequence)?;
        lane.full = false;
        self.open -= 1;
        let (waiters, cost) = (std::mem::take(&mut lane.waiters), std::mem::take(&mut lane.cost));
        Some(Sealed { bytes, load: Load { first_sequence, records, waiters, cost } })
    }

    /// Who waits for records in open batches, and the room that they take up.
    pub fn abandon(&mut self) -> impl Iterator<Item = (Waiters, usize)> + '_ {
        self.lanes
            .iter_mut()
            .map(|lane| (std::mem::take(&mut lane.waiters), std::mem::take(&mut lane.cost)))
    }
}

impl Lane {
    fn is_full(&self, settings: &BatchSettings) -> bool {
        self.full || settings.is_reached(&self.builder)
    }
}
