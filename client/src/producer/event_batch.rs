//! Events that the application lays out itself.

use std::sync::{Mutex, PoisonError};

use takt_protocol::batch::{BatchBuilder, PushError};
use takt_protocol::event::{EventError, EventRef};
use takt_protocol::hashing::route_bytes;
use takt_protocol::words::{PartitionNumber, Sequence};
use tokio::sync::oneshot;

use super::Producer;
use super::batcher::{BatchSettings, Load, Sealed};
use super::core::Command;
use super::receipt::{BatchReceiptFuture, SendError};
use super::shared::event_cost;
use super::waiters::{CallId, Waiters};

/// Many events for one call, made by [`Producer::batch`]: each is laid out as it comes, in the caller's
/// thread, and nothing else is kept of it. They go out in batches of their own, so of few events
/// [`Producer::send`] makes better ones. What is dropped was never sent. It is a handle of its producer, too.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct EventBatch {
    producer: Producer,
    /// As they are sent: those of a partition in the order of their events.
    parts: Vec<Part>,
    /// By partition, which part takes its next event.
    open: Vec<Option<usize>>,
    events: usize,
}

/// How a producer's batches are made, and empty builders, kept for their buffers.
#[derive(Debug)]
pub(super) struct Builders {
    settings: BatchSettings,
    empty: Mutex<Vec<BatchBuilder>>,
}

/// So many builders are kept; each may have as much as a batch.
const BUILDERS_KEPT: usize = 8;

impl Builders {
    pub fn new(settings: BatchSettings) -> Self {
        Self { settings, empty: Mutex::default() }
    }

    pub const fn settings(&self) -> &BatchSettings {
        &self.settings
    }

    fn take(&self) -> BatchBuilder {
        let kept = self.empty.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| BatchBuilder::new(self.settings.compression))
    }

    /// Takes an empty one back.
    pub fn keep(&self, builder: BatchBuilder) {
        let mut kept = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < BUILDERS_KEPT {
            kept.push(builder);
        }
    }
}

/// What is sent as one batch.
#[derive(Debug)]
pub(super) struct Part {
    partition: PartitionNumber,
    builder: BatchBuilder,
    /// Which events of the call it has, in their order: the first of those that follow each other, and
    /// how many.
    events: Vec<(usize, usize)>,
    /// The room that it takes up in the producer's window, in bytes.
    cost: usize,
}

impl EventBatch {
    pub(super) fn new(producer: Producer, partitions: u16) -> Self {
        let open = vec![None; usize::from(partitions)];
        Self { producer, parts: Vec::new(), open, events: 0 }
    }

    /// Lays out an event behind the others. Nothing is changed where it fails.
    ///
    /// # Errors
    /// [`EventError`] where the event breaks a rule for all events.
    pub fn push<'a>(&mut self, event: impl Into<EventRef<'a>>) -> Result<(), EventError> {
        let event = event.into();
        let partitions = u16::try_from(self.open.len()).expect("as many as were given");
        let partition = route_bytes(event.order_key.map(str::as_bytes), partitions);
        if !self.push_to_open(partition, &event)? {
            self.push_to_new(partition, &event)?;
        }
        self.events += 1;
        Ok(())
    }

    /// False where the partition has no part that takes it.
    fn push_to_open(
        &mut self,
        partition: PartitionNumber,
        event: &EventRef<'_>,
    ) -> Result<bool, EventError> {
        let Some(number) = self.open[usize::from(partition.get())] else { return Ok(false) };
        let part = &mut self.parts[number];
        if self.producer.builders.settings().is_reached(&part.builder) {
            return Ok(false);
        }
        match part.push(self.events, event) {
            Ok(()) => Ok(true),
            Err(PushError::Full) => Ok(false),
            Err(PushError::Event(error)) => Err(error),
        }
    }

    fn push_to_new(
        &mut self,
        partition: PartitionNumber,
        event: &EventRef<'_>,
    ) -> Result<(), EventError> {
        let builder = self.producer.builders.take();
        let mut part = Part { partition, builder, events: Vec::new(), cost: 0 };
        match part.push(self.events, event) {
            Ok(()) => {
                self.open[usize::from(partition.get())] = Some(self.parts.len());
                self.parts.push(part);
                Ok(())
            }
            Err(PushError::Event(error)) => {
                self.producer.builders.keep(part.builder);
                Err(error)
            }
            Err(PushError::Full) => {
                unreachable!("an empty batch takes every event that one can take")
            }
        }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Hands the events over, with one future for all of their receipts, in the order in which they were
    /// pushed. Waits for room for all of them; where they are more than the whole window, until it is
    /// empty.
    ///
    /// # Errors
    /// [`SendError::Closed`] where the producer is over.
    pub async fn send(self) -> Result<BatchReceiptFuture, SendError> {
        let Self { producer, mut parts, events, .. } = self;
        let cost = parts.iter().map(|part| part.cost).fold(0, usize::saturating_add);
        let mut left = producer.shared.take(cost).await.map_err(SendError::Closed)?;
        // Where they are more than the window, the first give back all of it.
        for part in &mut parts {
            part.cost = part.cost.min(left);
            left -= part.cost;
        }
        let (done, results) = oneshot::channel();
        if events == 0 {
            let _ = done.send(Vec::new());
        } else {
            producer.command(Command::LaidOut { parts, events, done })?;
        }
        Ok(BatchReceiptFuture { results, events })
    }
}

impl Part {
    /// Lays out an event, which is number `number` of the call.
    fn push(&mut self, number: usize, event: &EventRef<'_>) -> Result<(), PushError> {
        self.builder.push(*event)?;
        self.cost = self.cost.saturating_add(event_cost(event));
        match self.events.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => self.events.push((number, 1)),
        }
        Ok(())
    }

    /// Who waits for its records, in the call of that number.
    pub(super) fn waiters(&self, call: CallId) -> Waiters {
        Waiters::of_call(call, &self.events)
    }

    /// The batch, and the builder, which is empty.
    pub(super) fn seal(mut self, call: CallId, first_sequence: Sequence) -> (Sealed, BatchBuilder) {
        let (records, waiters) = (self.builder.records(), self.waiters(call));
        let bytes = self.builder.finish(self.partition, first_sequence);
        let bytes = bytes.expect("a part has an event");
        let load = Load { first_sequence, records, waiters, cost: self.cost };
        (Sealed { bytes, load }, self.builder)
    }
}
