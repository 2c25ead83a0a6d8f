//! The side that delivers.

use std::collections::VecDeque;
use std::time::Instant;

use crate::batch::StoredBatch;
use crate::codes::ErrorCode;
use crate::wire::{ControlBody, Frame, FrameKind, OutFrame, decode_control, deliver_frame, proto};
use crate::words::{CursorName, Offset, PartitionId};

use super::super::credit::Credit;
use super::super::error::SessionError;
use super::super::outbox::{Outbox, split};
use super::super::refusal::Refusal;
use super::{Subscription, from_positions, to_position};

/// What the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriberRequest {
    /// The subscription is to be opened: answer with [`SubscriberServer::on_opened`].
    Open(Subscription),
    /// The cursor is to be moved: answer with [`SubscriberServer::on_committed`].
    Commit {
        /// Which commit.
        token: u64,
        /// The cursor.
        cursor: CursorName,
        /// Whether it holds retention back; `None`: as it is, and a new one does not.
        hold: Option<bool>,
        /// Where it is to stand. Other partitions of the cursor stay where they are.
        positions: Vec<(PartitionId, Offset)>,
    },
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberOpened {
    /// How many partitions the topic has, per origin.
    pub topic_partitions: u16,
    /// The partitions and their first offsets; the first is slot 0.
    pub partitions: Vec<(PartitionId, Offset)>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Opening(Box<Subscription>),
    Open(Box<Subscription>),
    Closed,
}

/// The delivering half: one stream of one subscription.
#[derive(Debug)]
pub struct SubscriberServer {
    state: State,
    slots: u32,
    credit: Credit,
    outbox: Outbox,
    requests: VecDeque<SubscriberRequest>,
}

impl Default for SubscriberServer {
    fn default() -> Self {
        Self::new()
    }
}

impl SubscriberServer {
    /// For a stream whose hello has been accepted.
    pub fn new() -> Self {
        Self {
            state: State::Waiting,
            slots: 0,
            credit: Credit::default(),
            outbox: Outbox::default(),
            requests: VecDeque::new(),
        }
    }

    /// Whether the session is over: send what is left to send, then close the stream.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes that may be delivered: while this is not 0, one more batch of any size.
    pub fn credit(&self) -> usize {
        if matches!(self.state, State::Open(_)) { self.credit.left() } else { 0 }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the client broke the protocol. The session is closed and the error
    /// waits to be sent.
    pub fn handle_frame(&mut self, _now: Instant, frame: Frame) -> Result<(), SessionError> {
        if self.is_closed() {
            return Ok(());
        }
        self.receive(frame).inspect_err(|error| self.close(error.refusal()))
    }

    /// What the client wants.
    pub fn poll_event(&mut self) -> Option<SubscriberRequest> {
        self.requests.pop_front()
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop()
    }

    /// The answer to [`SubscriberRequest::Open`].
    pub fn on_opened(&mut self, opened: Result<SubscriberOpened, Refusal>) {
        let State::Opening(subscription) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        self.state = State::Open(subscription);
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.close(refusal),
        };
        let positions =
            opened.partitions.iter().map(|(partition, offset)| self.slot(partition, *offset));
        let positions: Vec<_> = positions.collect();
        for (partitions, more) in split(positions) {
            let topic_partitions = u32::from(opened.topic_partitions);
            let subscribed = proto::Subscribed { topic_partitions, partitions, more };
            self.outbox.small(ControlBody::Subscribed(subscribed));
        }
    }

    /// A partition of a new origin appears; it gets the next slot, which this returns.
    ///
    /// # Panics
    /// If the subscription is not open, and was never.
    pub fn on_partition(&mut self, partition: &PartitionId, from: Offset) -> u32 {
        assert!(
            matches!(self.state, State::Open(_) | State::Closed),
            "partitions are added to an open subscription"
        );
        let slot = self.slot(partition, from);
        let number = slot.slot;
        if !self.is_closed() {
            let added = proto::PartitionAdded { partition: Some(slot) };
            self.outbox.small(ControlBody::PartitionAdded(added));
        }
        number
    }

    /// Retention has dropped what was to be delivered next: the slot goes on at `to`.
    pub fn on_trimmed(&mut self, slot: u32, to: Offset) {
        if !self.is_closed() {
            let trimmed = proto::Trimmed { slot, offset: to.get() };
            self.outbox.small(ControlBody::Trimmed(trimmed));
        }
    }

    /// Delivers the next batch of a slot. Its first delivery, and the first behind
    /// [`Self::on_trimmed`], may begin before the slot's offset; each further batch begins where
    /// the last one ended.
    ///
    /// # Panics
    /// If the slot was not told.
    pub fn deliver(&mut self, slot: u32, batch: &StoredBatch) {
        assert!(slot < self.slots, "a slot is told before it is used");
        if self.is_closed() {
            return;
        }
        self.credit.spend(batch.len());
        let frame = deliver_frame(slot, batch.pieces().cloned());
        self.outbox.push(frame.expect("a stored batch fits a frame"));
    }

    /// The answer to [`SubscriberRequest::Commit`]; a success must be durable.
    pub fn on_committed(&mut self, token: u64, committed: Result<(), Refusal>) {
        if !self.is_closed() {
            let error = committed.err().map(|refusal| refusal.into_error(None));
            self.outbox
                .small(ControlBody::CursorCommitted(proto::CursorCommitted { token, error }));
        }
    }

    /// Ends the session, such as because the node is stopping.
    pub fn close(&mut self, refusal: Refusal) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.requests.clear();
            self.outbox.error(refusal);
        }
    }

    fn slot(&mut self, partition: &PartitionId, from: Offset) -> proto::SlotPosition {
        let slot = self.slots;
        self.slots += 1;
        proto::SlotPosition { slot, position: Some(to_position(partition, from)) }
    }

    fn receive(&mut self, frame: Frame) -> Result<(), SessionError> {
        if frame.kind != FrameKind::Control {
            return Err(SessionError::unexpected("a frame of a kind that no subscriber sends"));
        }
        match (&self.state, decode_control(frame)?) {
            (State::Waiting, ControlBody::Subscribe(subscribe)) => {
                self.credit.add(subscribe.credit_bytes);
                let subscription = Subscription::from_wire(subscribe)?;
                self.state = State::Opening(Box::new(subscription.clone()));
                self.requests.push_back(SubscriberRequest::Open(subscription));
                Ok(())
            }
            (State::Open(_), ControlBody::Credit(credit)) => {
                self.credit.add(credit.bytes);
                Ok(())
            }
            (State::Open(subscription), ControlBody::CommitCursor(commit)) => {
                let token = commit.token;
                let positions = from_positions(&subscription.topic, &commit.positions)?;
                let (cursor, hold) = (subscription.cursor.clone(), subscription.hold);
                match cursor {
                    Some(cursor) if !positions.is_empty() => self
                        .requests
                        .push_back(SubscriberRequest::Commit { token, cursor, hold, positions }),
                    Some(_) | None => {
                        let what = "a commit needs a cursor, and positions that fit a frame";
                        self.on_committed(token, Err(Refusal::new(ErrorCode::BadRequest, what)));
                    }
                }
                Ok(())
            }
            _ => Err(SessionError::unexpected("a control message that no subscriber sends now")),
        }
    }
}
