//! Consuming.
//!
//! One task per consumer keeps a subscription, goes on at its own position after a lost connection,
//! and hands batches over. How much may wait here is bounded by credit: the node sends no more than
//! the application has taken the room of.
//!
//! A cursor is a position that the node keeps. Committing it says that everything handed out so far
//! has been handled. What an application does with an event happens at least once: after a crash
//! it gets again what it had not committed.

mod builder;
mod delivered;
mod error;
mod task;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use takt_protocol::words::{Offset, PartitionId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

pub use builder::{ConsumerBuilder, Start};
pub use delivered::{Delivered, DeliveredBatch};
pub use error::{BuildError, CommitError, ConsumeError};

use task::{Command, Item};

/// Reads a topic. Made by [`crate::Client::consumer`].
#[derive(Debug)]
pub struct Consumer {
    items: UnboundedReceiver<Item>,
    commands: UnboundedSender<Command>,
    has_cursor: bool,
    /// What is being handed out event by event.
    current: Option<Current>,
    /// Behind what was handed out, per partition.
    positions: BTreeMap<PartitionId, Offset>,
}

#[derive(Debug)]
struct Current {
    batch: DeliveredBatch,
    events: VecDeque<Delivered>,
}

impl Consumer {
    fn new(
        items: UnboundedReceiver<Item>,
        commands: UnboundedSender<Command>,
        has_cursor: bool,
    ) -> Self {
        Self { items, commands, has_cursor, current: None, positions: BTreeMap::new() }
    }

    /// The next event, waiting for it at the end of the topic. `None` once the consumer has stopped,
    /// after the error that says why.
    ///
    /// May be dropped and called again: no event is lost.
    pub async fn next(&mut self) -> Option<Result<Delivered, ConsumeError>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(event) = current.events.pop_front() {
                    current.batch.from = event.offset.advance(1);
                    if current.events.is_empty() {
                        self.finish_current();
                    }
                    return Some(Ok(event));
                }
                self.finish_current();
            }
            let batch = match self.items.recv().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            match batch.events() {
                Ok(events) => self.current = Some(Current { batch, events }),
                Err(source) => {
                    self.items.close();
                    while self.items.try_recv().is_ok() {}
                    let partition = batch.partition;
                    return Some(Err(ConsumeError::Damaged { partition, source }));
                }
            }
        }
    }

    /// The next batch as it is stored, nothing decoded; or what [`Consumer::next`] has left of the
    /// current one. `None` once the consumer has stopped.
    ///
    /// May be dropped and called again: no batch is lost.
    pub async fn next_batch(&mut self) -> Option<Result<DeliveredBatch, ConsumeError>> {
        let batch = match self.current.take() {
            Some(current) => current.batch,
            None => match self.items.recv().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        self.done_with(&batch);
        Some(Ok(batch))
    }

    /// Has the node keep the position behind everything that was handed out, and waits until it is
    /// durable. Does nothing where nothing was handed out yet.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(&mut self) -> Result<(), CommitError> {
        if !self.has_cursor {
            return Err(CommitError::NoCursor);
        }
        let positions = self.positions();
        if positions.is_empty() {
            return Ok(());
        }
        let (done, committed) = oneshot::channel();
        let stopped = |_| CommitError::Stopped;
        self.commands
            .send(Command::Commit { positions, done })
            .map_err(|_| CommitError::Stopped)?;
        committed.await.map_err(stopped)?
    }

    /// Behind what was handed out so far, per partition, in the order of their names.
    pub fn positions(&self) -> Vec<(PartitionId, Offset)> {
        let mut positions = self.positions.clone();
        if let Some(Current { batch, .. }) = &self.current {
            positions.insert(batch.partition.clone(), batch.from);
        }
        positions.into_iter().collect()
    }

    fn finish_current(&mut self) {
        if let Some(current) = self.current.take() {
            self.done_with(&current.batch);
        }
    }

    fn done_with(&mut self, batch: &DeliveredBatch) {
        match self.positions.get_mut(&batch.partition) {
            Some(position) => *position = batch.batch.end_offset(),
            None => {
                self.positions.insert(batch.partition.clone(), batch.batch.end_offset());
            }
        }
        // It fails only where the task has stopped.
        let _ = self.commands.send(Command::Done { bytes: batch.batch.len() });
    }
}
