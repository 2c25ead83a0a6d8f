//! The node's side of a stream, whatever the stream is for.

use std::time::Instant;

use takt_client::tls::Identity;
use takt_protocol::batch::StoredBatch;
use takt_protocol::session::{Refusal, SessionError};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{NodeName, ProducerId};
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, Operation};
use takt_storage::view::{ReadError, View};

use super::read::Read;
use super::writer::TicketError;
use crate::access::{Action, Place};

/// What a session knows of its node and its peer.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where the node stands.
    pub place: Place,
    /// Who has opened the stream.
    pub peer: Identity,
    /// What is durable.
    pub view: View,
    /// Bytes that the session may have taken but not answered.
    pub session_bytes_max: usize,
}

/// An operation that a session wants the writer to do. Requests are submitted in their order.
#[derive(Debug)]
pub struct Request {
    /// By which the session knows the answer, unique among those that it waits for; `None` where
    /// nobody waits for it.
    pub number: Option<u64>,
    /// What is to be done.
    pub operation: Operation,
    /// The share of the node's byte budget to wait for, held until the answer; 0 needs none.
    pub bytes: usize,
}

/// What a session has to say to the operator of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The peer had no right to do this.
    Denied(Action),
    /// A batch did not pass its checks.
    BadBatch {
        /// Who had laid it out.
        producer: ProducerId,
        /// What is wrong with it.
        detail: String,
    },
    /// The link of this origin is this session: tell every other one, [`Session::on_replaced`].
    LinkOpened(NodeName),
    /// The origin has proved that both hold the same: batches flow.
    LinkUp(NodeName),
    /// A batch of the origin is durable here.
    LinkAcked(NodeName),
    /// The link was refused, or has broken a rule.
    LinkRefused(Refusal),
    /// The stream of the link has ended, and no other one has taken its place.
    LinkClosed(NodeName),
    /// A partition cannot be read.
    ReadFailed {
        /// The partition.
        slot: Slot,
        /// Why.
        detail: String,
    },
}

/// The node's side of one stream behind its greeting.
///
/// After each call: submit what [`Session::poll_request`] gives, note what
/// [`Session::poll_event`] gives, and send what [`Session::poll_transmit`] gives. When all of that
/// is sent, and again after every commit, run what [`Session::poll_read`] gives.
pub trait Session {
    /// Takes a frame, where [`Session::wants_frames`].
    ///
    /// # Errors
    /// [`SessionError`] where the peer broke the protocol: send what is left, and end the stream.
    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError>;

    /// Whether to take the stream's next frame. `unsent` says whether frames that the session gave
    /// still wait for the peer to read.
    fn wants_frames(&self, unsent: bool) -> bool;

    /// What the writer is to do next.
    fn poll_request(&mut self) -> Option<Request>;

    /// The writer's answer to a request that has a number.
    fn on_answer(&mut self, number: u64, answer: Result<Answer, TicketError>);

    /// What to read next. To be asked only when nothing is unsent, so that the memory for a slow
    /// reader is one read and its stream's window. One read is out at a time.
    fn poll_read(&mut self) -> Option<Read> {
        None
    }

    /// What the read came to.
    fn on_read(&mut self, _read: Result<Vec<StoredBatch>, ReadError>) {}

    /// Whether [`Session::poll_read`] may have something after the next commit.
    fn awaits_commits(&self) -> bool {
        false
    }

    /// What to send next.
    fn poll_transmit(&mut self) -> Option<OutFrame>;

    /// What to note next.
    fn poll_event(&mut self) -> Option<SessionEvent>;

    /// When to call [`Session::handle_timeout`], if ever.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time has come.
    fn handle_timeout(&mut self, _now: Instant) {}

    /// Another link of the same origin is open, see [`SessionEvent::LinkOpened`].
    fn on_replaced(&mut self) {}

    /// Whether the session is over: send what is left to send, then end the stream.
    fn is_closed(&self) -> bool;

    /// The stream has ended: its connection was `lost`, or somebody has said so. What the writer is
    /// to be told of it; nobody waits for the answer. There may be events once more.
    fn end(&mut self, lost: bool) -> Option<Operation>;
}
