//! The events of one producer that sends each by itself, made ahead on a thread of their own.

use takt_protocol::event::Event;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::BenchError;
use super::events::EventMaker;

/// The events of one producer, call by call.
#[derive(Debug)]
pub(super) struct Supply {
    made: mpsc::Receiver<Vec<Event>>,
    making: JoinHandle<()>,
}

impl Supply {
    /// Begins to make `records` events, `batch` for each call, and waits until they are all made, or
    /// `ahead` calls: no more may lie here at a time, which bounds the memory.
    pub async fn start(maker: EventMaker, records: u64, batch: usize, ahead: usize) -> Self {
        let (sender, made) = mpsc::channel(ahead.max(1));
        let (filled, is_filled) = oneshot::channel();
        let making =
            tokio::task::spawn_blocking(move || make(maker, records, batch, &sender, filled));
        // An error means that all were fewer than may wait.
        let _ = is_filled.await;
        Self { made, making }
    }

    /// The events of the next call; `None` behind the last. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        self.made.recv().await
    }

    /// Drops what is left.
    pub async fn end(self) -> Result<(), BenchError> {
        drop(self.made);
        self.making.await.map_err(|error| BenchError::Task(error.to_string()))
    }
}

fn make(
    mut maker: EventMaker,
    records: u64,
    batch: usize,
    sender: &mpsc::Sender<Vec<Event>>,
    filled: oneshot::Sender<()>,
) {
    let mut filled = Some(filled);
    let mut left = records;
    while left > 0 {
        if sender.capacity() == 0
            && let Some(filled) = filled.take()
        {
            // Who waits for it may be gone, with the whole measurement.
            let _ = filled.send(());
        }
        let count = left.min(batch as u64);
        let events = maker.make(usize::try_from(count).expect("at most a batch")).events();
        // Nobody takes them any more where time is up, or once a receipt was an error.
        if sender.blocking_send(events).is_err() {
            return;
        }
        left -= count;
    }
}
