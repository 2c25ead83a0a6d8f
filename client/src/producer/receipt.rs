//! What a producer is told of its events.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use takt_protocol::batch::{Place, Verdict};
use takt_protocol::codes::ErrorCode;
use takt_protocol::event::{Event, EventError};
use takt_protocol::session::Refusal;
use takt_protocol::wire;
use takt_protocol::words::{NameError, OrderSequence};
use tokio::sync::oneshot;

/// The durable promise of the node for one event: it is on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The event is new.
    Appended {
        /// Where it stands.
        place: Place,
        /// Its place within its order key; `None` without one.
        order_sequence: Option<OrderSequence>,
    },
    /// The event repeats one that is there.
    Duplicate {
        /// Where the first stands.
        of: Place,
        /// The first's place within its order key.
        order_sequence: Option<OrderSequence>,
    },
    /// The event has the dedup key of another one and differs from it. It is no event of the topic;
    /// by the topic's settings it is set aside for an operator.
    Conflict {
        /// Where the first stands.
        with: Place,
    },
    /// What the event demanded of its order did not hold; it is not stored.
    PreconditionFailed {
        /// Where the order stands.
        at: OrderSequence,
    },
}

impl Receipt {
    pub(super) fn new(receipt: &wire::Receipt) -> Self {
        match (receipt.verdict, receipt.place) {
            (Verdict::Visible { order_sequence, .. }, Some(place)) => {
                Self::Appended { place, order_sequence }
            }
            (Verdict::Duplicate { of, order_sequence }, _) => {
                Self::Duplicate { of, order_sequence }
            }
            (Verdict::Conflict { with, .. }, _) => Self::Conflict { with },
            (Verdict::PreconditionFailed { at }, _) => Self::PreconditionFailed { at },
            (Verdict::Visible { .. }, None) => unreachable!("a visible record has a place"),
        }
    }

    /// Where the event stands, or the first of its dedup key.
    pub fn place(&self) -> Option<Place> {
        match *self {
            Self::Appended { place, .. }
            | Self::Duplicate { of: place, .. }
            | Self::Conflict { with: place } => Some(place),
            Self::PreconditionFailed { .. } => None,
        }
    }
}

/// Why an event has no receipt. What can be mended by trying again has been tried again before.
///
/// Except for [`PublishError::Event`], it is not known whether the event is stored: to be sure,
/// publish it again under the same dedup key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event breaks a rule for all events. It was not sent.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The node refused, for good. The producer is closed: make a new one once the cause is mended.
    #[error("{code}: {detail}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// More about it, from the node.
        detail: String,
    },
    /// The producer was closed or dropped before.
    #[error("the producer was closed before the node had answered")]
    Closed,
    /// There is no way to the node any more.
    #[error("the node cannot be reached any more: {detail}")]
    Unreachable {
        /// Why.
        detail: String,
    },
}

impl From<Refusal> for PublishError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, detail: refusal.detail }
    }
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room now; here is the event back.
    #[error("as much is in flight as allowed; await `send`, or try again later")]
    WouldBlock(Box<Event>),
    /// The producer is closed, and this is why.
    #[error(transparent)]
    Closed(PublishError),
}

/// Why a producer cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The topic or the producer has no proper name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is out of its bounds.
    #[error("{setting} is {value}; it must be {bounds}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What it is.
        value: usize,
        /// What it may be.
        bounds: &'static str,
    },
}

pub(super) type Outcome = Result<Receipt, PublishError>;

/// Resolves once the node has answered for one event. Dropping it changes nothing about the event.
#[derive(Debug)]
#[must_use = "the event may fail; await its receipt"]
pub struct ReceiptFuture(pub(super) oneshot::Receiver<Outcome>);

impl Future for ReceiptFuture {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or(Err(PublishError::Closed)))
    }
}

/// Resolves once the node has answered for every event of one call: one result for each, in the
/// order in which they were given.
#[derive(Debug)]
#[must_use = "events may fail; await their receipts"]
pub struct BatchReceiptFuture {
    pub(super) results: oneshot::Receiver<Vec<Outcome>>,
    pub(super) events: usize,
}

impl Future for BatchReceiptFuture {
    type Output = Vec<Result<Receipt, PublishError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let results = ready!(Pin::new(&mut self.results).poll(cx));
        let closed = || vec![Err(PublishError::Closed); self.events];
        Poll::Ready(results.unwrap_or_else(|_| closed()))
    }
}
