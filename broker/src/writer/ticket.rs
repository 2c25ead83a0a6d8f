//! Who waits for an answer of the writer, and how it gets there.

use takt_storage::store::Answer;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::logic::TicketError;

/// Carries an answer to the one who waits. Dropped unanswered, it tells that the writer has ended.
#[derive(Debug)]
pub struct Ticket {
    /// `None` once answered.
    reply: Option<Reply>,
    /// The share of the node's byte budget that the request holds.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Reply {
    Once(oneshot::Sender<Answer>),
    Session(mpsc::UnboundedSender<(u64, Result<Answer, TicketError>)>, u64),
}

impl Ticket {
    /// A ticket for one answer.
    pub fn once() -> (Self, oneshot::Receiver<Answer>) {
        let (tx, rx) = oneshot::channel();
        (Self { reply: Some(Reply::Once(tx)), permit: None }, rx)
    }

    /// A ticket of a session that tells its answers apart by number.
    pub fn session(
        answers: mpsc::UnboundedSender<(u64, Result<Answer, TicketError>)>,
        number: u64,
    ) -> Self {
        Self { reply: Some(Reply::Session(answers, number)), permit: None }
    }

    /// Keeps a share of the node's byte budget until the answer.
    pub fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// Delivers the answer.
    pub(super) fn answer(mut self, answer: Answer) {
        self.reply(Ok(answer));
    }

    /// One who no longer waits has gone away and will ask again.
    fn reply(&mut self, answer: Result<Answer, TicketError>) {
        match (self.reply.take(), answer) {
            (Some(Reply::Once(tx)), Ok(answer)) => drop(tx.send(answer)),
            (Some(Reply::Session(tx, number)), answer) => drop(tx.send((number, answer))),
            // A sender that is dropped says it by itself.
            (Some(Reply::Once(_)), Err(TicketError::Stopped)) | (None, _) => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.reply(Err(TicketError::Stopped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_is_dropped_unanswered_says_so_once() {
        let (answers, mut answered) = mpsc::unbounded_channel();
        drop(Ticket::session(answers.clone(), 7));
        assert_eq!(answered.try_recv().unwrap(), (7, Err(TicketError::Stopped)));
        Ticket::session(answers, 8).answer(Answer::CursorSet);
        assert_eq!(answered.try_recv().unwrap(), (8, Ok(Answer::CursorSet)));
        assert!(answered.try_recv().is_err());
        let (ticket, mut answer) = Ticket::once();
        drop(ticket);
        assert!(answer.try_recv().is_err());
    }
}
