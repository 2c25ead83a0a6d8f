//! What the application's side and the task of a producer share: room, and how it stands.

use takt_protocol::event::EventRef;
use tokio::sync::{Semaphore, TryAcquireError, watch};

use super::receipt::PublishError;

/// What an event takes up beside its bytes, roughly.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// The room that an event takes up in a producer's window, in bytes.
pub(super) fn event_cost(event: &EventRef<'_>) -> usize {
    let keys: usize = event.dedup.named().into_iter().flatten().map(<[u8]>::len).sum();
    EVENT_OVERHEAD_BYTES + event.id.len() + event.data.len() + keys + 64 * event.attributes.len()
}

/// How a producer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The node has not answered yet.
    Opening,
    /// The node has admitted it to its topic; a lost connection does not change that.
    Open { partitions: u16 },
    /// It is over, and why.
    Closed(PublishError),
}

#[derive(Debug)]
pub(super) struct Shared {
    room: Semaphore,
    room_bytes: usize,
    standing: watch::Sender<Standing>,
}

impl Shared {
    pub fn new(room_bytes: usize) -> Self {
        Self {
            room: Semaphore::new(room_bytes),
            room_bytes,
            standing: watch::Sender::new(Standing::Opening),
        }
    }

    /// Takes room for `cost` bytes; waits for it. What is larger than the window takes all of it.
    /// Gives how much was taken.
    pub async fn take(&self, cost: usize) -> Result<usize, PublishError> {
        let permits = self.permits(cost);
        match self.room.acquire_many(permits).await {
            Ok(taken) => taken.forget(),
            Err(_) => return Err(self.why_closed()),
        }
        Ok(permits as usize)
    }

    /// As [`Self::take`], without waiting; `None` where there is no room now.
    pub fn try_take(&self, cost: usize) -> Result<Option<usize>, PublishError> {
        let permits = self.permits(cost);
        match self.room.try_acquire_many(permits) {
            Ok(taken) => taken.forget(),
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(self.why_closed()),
        }
        Ok(Some(permits as usize))
    }

    /// Gives room back.
    pub fn give_back(&self, cost: usize) {
        self.room.add_permits(cost);
    }

    /// Notes that the node has admitted the producer to its topic of so many partitions.
    pub fn opened(&self, partitions: u16) {
        self.standing.send_if_modified(|standing| {
            let first = *standing == Standing::Opening;
            if first {
                *standing = Standing::Open { partitions };
            }
            first
        });
    }

    /// Closes the producer; the first reason stays.
    pub fn close(&self, error: &PublishError) {
        self.standing.send_if_modified(|standing| {
            let first = !matches!(standing, Standing::Closed(_));
            if first {
                *standing = Standing::Closed(error.clone());
            }
            first
        });
        self.room.close();
    }

    pub fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    /// Why it is closed.
    pub fn why_closed(&self) -> PublishError {
        match &*self.standing.borrow() {
            Standing::Closed(error) => error.clone(),
            Standing::Opening | Standing::Open { .. } => PublishError::Closed,
        }
    }

    /// Waits until the node has admitted the producer. Gives how many partitions its topic has.
    pub async fn ready(&self) -> Result<u16, PublishError> {
        let mut standing = self.standing.subscribe();
        // The sender is `self`, so waiting ends with a standing.
        match standing.wait_for(|standing| *standing != Standing::Opening).await.as_deref() {
            Ok(Standing::Open { partitions }) => Ok(*partitions),
            Ok(Standing::Closed(error)) => Err(error.clone()),
            Ok(Standing::Opening) | Err(_) => Err(PublishError::Closed),
        }
    }

    fn permits(&self, cost: usize) -> u32 {
        u32::try_from(cost.min(self.room_bytes)).unwrap_or(u32::MAX)
    }
}
