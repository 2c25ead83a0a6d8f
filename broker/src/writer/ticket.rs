//! Who waits for an answer of the writer, and how it gets there.

use takt_storage::store::Answer;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The writer takes nothing more: the node stops, or its disk has failed.
    #[error("the node is stopping")]
    Stopped,
}

/// Carries an answer to the one who waits. Dropped unanswered, it tells that the writer has ended.
#[derive(Debug)]
pub struct Ticket {
    reply: Reply,
    /// The share of the node's byte budget that the request holds.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Reply {
    Once(oneshot::Sender<Answer>),
    Session(mpsc::UnboundedSender<(u64, Answer)>, u64),
}

impl Ticket {
    /// A ticket for one answer.
    pub fn once() -> (Self, oneshot::Receiver<Answer>) {
        let (tx, rx) = oneshot::channel();
        (Self { reply: Reply::Once(tx), _permit: None }, rx)
    }

    /// A ticket of a session that tells its answers apart by number. The channel is bounded by the
    /// session's limit of batches in flight.
    pub fn session(
        answers: &mpsc::UnboundedSender<(u64, Answer)>,
        number: u64,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { reply: Reply::Session(answers.clone(), number), _permit: Some(permit) }
    }

    /// Delivers the answer. One who no longer waits has gone away and will ask again.
    pub(super) fn answer(self, answer: Answer) {
        match self.reply {
            Reply::Once(tx) => drop(tx.send(answer)),
            Reply::Session(tx, number) => drop(tx.send((number, answer))),
        }
    }
}
