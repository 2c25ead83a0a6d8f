//! Publishing.
//!
//! The application hands events over as long as there is room in the window; one task per producer
//! gathers them into batches per partition, numbers them, sends them, and answers with receipts. A
//! batch that has been sent is never cut anew: after a lost connection its very bytes are sent again
//! under the same numbers, and the node answers a repeat with the receipt that it gave before. So
//! a lost connection, a full disk and a restarted node cost the application waiting, and nothing
//! else.

mod batcher;
mod builder;
mod core;
mod event_batch;
mod receipt;
mod shared;
mod task;
mod waiters;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use takt_protocol::event::{Event, EventRef};
use tokio::sync::{mpsc, oneshot};

pub use builder::ProducerBuilder;
pub use event_batch::EventBatch;
pub use receipt::{
    BatchReceiptFuture, BuildError, PublishError, Receipt, ReceiptFuture, SendError,
};

use self::core::Command;
use self::event_batch::Builders;
use self::shared::{Shared, event_cost};

/// Publishes events to a topic. Made by [`crate::Client::producer`]; may be used by many tasks at
/// once.
///
/// Events that one task sends one after the other keep their order. When the last handle is dropped,
/// what was handed over is still sent and answered, but a connection that is lost then, or is not
/// there, is not waited for.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    builders: Arc<Builders>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Producer {
    /// Hands an event over. Waits only for room in the window; the receipt is a future of its own.
    ///
    /// # Errors
    /// [`SendError::Closed`] where the producer is over.
    pub async fn send(&self, event: Event) -> Result<ReceiptFuture, SendError> {
        let cost = self
            .shared
            .take(event_cost(&EventRef::from(&event)))
            .await
            .map_err(SendError::Closed)?;
        self.hand_over(event, cost)
    }

    /// As [`Producer::send`], without waiting.
    ///
    /// # Errors
    /// [`SendError::WouldBlock`] with the event where there is no room, and [`SendError::Closed`].
    pub fn try_send(&self, event: Event) -> Result<ReceiptFuture, SendError> {
        match self
            .shared
            .try_take(event_cost(&EventRef::from(&event)))
            .map_err(SendError::Closed)?
        {
            Some(cost) => self.hand_over(event, cost),
            None => Err(SendError::WouldBlock(Box::new(event))),
        }
    }

    /// Hands many events over, in order, with one future for all of their receipts; [`Producer::batch`]
    /// is a cheaper way. Waits for room for all of them; where they are more than the whole window, until it is
    /// empty.
    ///
    /// # Errors
    /// [`SendError::Closed`] where the producer is over.
    pub async fn send_batch(&self, events: Vec<Event>) -> Result<BatchReceiptFuture, SendError> {
        let cost =
            events.iter().map(|event| event_cost(&event.into())).fold(0, usize::saturating_add);
        let cost = self.shared.take(cost).await.map_err(SendError::Closed)?;
        let (done, results) = oneshot::channel();
        let count = events.len();
        if count == 0 {
            let _ = done.send(Vec::new());
        } else {
            self.command(Command::Many { events, cost, done })?;
        }
        Ok(BatchReceiptFuture { results, events: count })
    }

    /// An empty batch for many events, which are laid out as they come: the cheapest way to publish.
    /// Waits until the node has admitted the producer.
    ///
    /// # Errors
    /// [`PublishError`] where it refuses, or the producer is over.
    pub async fn batch(&self) -> Result<EventBatch, PublishError> {
        let partitions = self.shared.ready().await?;
        Ok(EventBatch::new(self.clone(), partitions))
    }

    /// Sends everything that was handed over before, without lingering, and waits until the node has
    /// answered for it.
    ///
    /// # Errors
    /// [`PublishError`] where the producer is over before. That an event failed is said by its own
    /// future.
    pub async fn flush(&self) -> Result<(), PublishError> {
        let closed = || self.shared.why_closed();
        if self.shared.is_closed() {
            return Err(closed());
        }
        let (done, flushed) = oneshot::channel();
        self.commands.send(Command::Flush { done }).map_err(|_| closed())?;
        flushed.await.map_err(|_| closed())
    }

    /// Waits until the node has admitted the producer.
    ///
    /// # Errors
    /// [`PublishError`] where it refuses, such as for want of the topic or of the right to it.
    pub async fn ready(&self) -> Result<(), PublishError> {
        self.shared.ready().await.map(|_| ())
    }

    /// Flushes and ends the producer, also under its other handles: their sends fail afterwards.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<(), PublishError> {
        let flushed = self.flush().await;
        self.shared.close(&PublishError::Closed);
        // It fails only where the task has ended already.
        drop(self.commands.send(Command::Close));
        flushed
    }

    fn hand_over(&self, event: Event, cost: usize) -> Result<ReceiptFuture, SendError> {
        let (done, receipt) = oneshot::channel();
        self.command(Command::One { event, cost, done })?;
        Ok(ReceiptFuture(receipt))
    }

    fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.send(command).map_err(|_| SendError::Closed(self.shared.why_closed()))
    }
}
