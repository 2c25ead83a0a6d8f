//! The side that consumes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::batch::{StoredBatch, StoredError};
use crate::codes::ErrorCode;
use crate::limits::PARTITIONS_MAX;
use crate::wire::{
    ControlBody, Frame, FrameKind, OutFrame, decode_control, encode_control, proto, take_deliver,
};
use crate::words::{Offset, PartitionId};

use super::super::credit::CreditWindow;
use super::super::error::SessionError;
use super::super::hello::{StreamKind, hello};
use super::super::outbox::Outbox;
use super::super::refusal::Refusal;
use super::{Start, Subscription, from_position, to_positions};

/// What happened.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "an event is taken as soon as it is there")]
pub enum SubscriberEvent {
    /// The subscription stands, for the first time or again: where each partition goes on.
    Subscribed {
        /// The partitions and their next offsets.
        partitions: Vec<(PartitionId, Offset)>,
    },
    /// A partition of another origin has come.
    PartitionAdded {
        /// Which one.
        partition: PartitionId,
        /// Where it begins.
        from: Offset,
    },
    /// Retention has dropped records that were not delivered.
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The first that is gone.
        from: Offset,
        /// The first behind them.
        to: Offset,
    },
    /// Records of a partition, checked. Call [`SubscriberClient::grant`] with the batch's length
    /// once done with it.
    Batch {
        /// The partition.
        partition: PartitionId,
        /// Records below this were delivered before and do not count.
        from: Offset,
        /// The batch.
        batch: StoredBatch,
    },
    /// A commit is durable.
    CursorCommitted(u64),
    /// A commit was refused.
    CommitRefused(u64, Refusal),
    /// The node ends this stream for now: reconnect later.
    Interrupted(Refusal),
    /// The subscription is over.
    Closed(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Opening,
    Open,
    Closed,
}

#[derive(Debug)]
struct Slot {
    partition: PartitionId,
    next: Offset,
    /// Nothing has been delivered on this stream: the first batch may begin before `next`.
    fresh: bool,
}

/// The consuming half. Every record of a partition from the start on comes exactly once and in
/// order, over any number of streams, except what the server says was trimmed.
#[derive(Debug)]
pub struct SubscriberClient {
    subscription: Subscription,
    link: Link,
    topic_partitions: u16,
    slots: Vec<Slot>,
    /// Where each partition goes on, from earlier streams.
    positions: BTreeMap<PartitionId, Offset>,
    /// The subscription has stood once: the positions say where to begin.
    begun: bool,
    window: CreditWindow,
    next_token: u64,
    commits: VecDeque<(u64, Vec<(PartitionId, Offset)>)>,
    outbox: Outbox,
    events: VecDeque<SubscriberEvent>,
}

impl SubscriberClient {
    /// A session that has no connection yet.
    pub fn new(subscription: Subscription) -> Self {
        let positions = match &subscription.start {
            Start::Offsets(offsets) => offsets.iter().cloned().collect(),
            Start::Earliest | Start::Latest | Start::Time(_) | Start::Cursor => BTreeMap::new(),
        };
        Self {
            window: CreditWindow::new(subscription.credit_bytes),
            subscription,
            link: Link::Down,
            topic_partitions: 0,
            slots: Vec::new(),
            positions,
            begun: false,
            next_token: 1,
            commits: VecDeque::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
        }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.link == Link::Closed
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> BTreeMap<PartitionId, Offset> {
        let mut all = self.positions.clone();
        all.extend(self.slots.iter().map(|slot| (slot.partition.clone(), slot.next)));
        all
    }

    /// The application is done with `bytes` of batches.
    pub fn grant(&mut self, bytes: usize) {
        self.window.release(bytes);
    }

    /// Moves the cursor, durably. The token comes back in [`SubscriberEvent::CursorCommitted`] or
    /// [`SubscriberEvent::CommitRefused`].
    pub fn commit(&mut self, positions: Vec<(PartitionId, Offset)>) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.commits.push_back((token, positions));
        if self.link == Link::Open {
            self.send_commit(self.commits.len() - 1);
        }
        token
    }

    /// A stream is there.
    pub fn on_connected(&mut self, now: Instant) {
        self.on_disconnected(now);
        if self.is_closed() {
            return;
        }
        if self.begun {
            let positions = self.positions.iter().map(|(id, offset)| (id.clone(), *offset));
            self.subscription.start = Start::Offsets(positions.collect());
        }
        let credit = self.window.open();
        self.outbox.small(hello(StreamKind::Subscriber));
        match self.outbox.control(ControlBody::Subscribe(self.subscription.to_wire(credit))) {
            Ok(()) => self.link = Link::Opening,
            Err(error) => self.close(Refusal::new(ErrorCode::TooLarge, error.to_string())),
        }
    }

    /// The stream is gone.
    pub fn on_disconnected(&mut self, _now: Instant) {
        self.outbox.clear();
        let slots =
            std::mem::take(&mut self.slots).into_iter().map(|slot| (slot.partition, slot.next));
        // Before the subscription has stood, only what the application named is a position.
        if self.begun || matches!(self.subscription.start, Start::Offsets(_)) {
            self.positions.extend(slots);
        }
        if !self.is_closed() {
            self.link = Link::Down;
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the server broke the protocol: drop the stream.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        let taken = self.receive(now, frame);
        if taken.is_err() {
            self.on_disconnected(now);
        }
        taken
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<SubscriberEvent> {
        self.events.pop_front()
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        if let Some(frame) = self.outbox.pop() {
            return Some(frame);
        }
        if self.link != Link::Open {
            return None;
        }
        let bytes = self.window.due()?;
        self.outbox.small(ControlBody::Credit(proto::Credit { bytes }));
        self.outbox.pop()
    }

    fn receive(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        match frame.kind {
            FrameKind::Control => self.control(now, decode_control(frame)?),
            FrameKind::Deliver if self.link == Link::Open => {
                let (slot, batches) = take_deliver(frame.body)?;
                batches.into_iter().try_for_each(|batch| self.delivered(slot, batch))
            }
            FrameKind::Deliver | FrameKind::Publish | FrameKind::Receipts | FrameKind::Mirror => {
                Err(SessionError::unexpected("a frame that no subscriber gets now"))
            }
        }
    }

    fn control(&mut self, now: Instant, body: ControlBody) -> Result<(), SessionError> {
        if let ControlBody::Error(error) = body {
            let refusal = Refusal::from(error);
            if refusal.code.is_retryable() {
                self.on_disconnected(now);
                self.events.push_back(SubscriberEvent::Interrupted(refusal));
            } else {
                self.close(refusal);
            }
            return Ok(());
        }
        match (self.link, body) {
            (Link::Opening, ControlBody::Subscribed(subscribed)) => self.subscribed(&subscribed),
            (Link::Open, ControlBody::PartitionAdded(added)) => {
                let slot = added.partition.unwrap_or_default();
                let (partition, from) = self.add_slot(&slot)?;
                self.events.push_back(SubscriberEvent::PartitionAdded { partition, from });
                Ok(())
            }
            (Link::Open, ControlBody::Trimmed(trimmed)) => self.trimmed(&trimmed),
            (Link::Open, ControlBody::CursorCommitted(committed)) => {
                let at = self.commits.iter().position(|(token, _)| *token == committed.token);
                if at.and_then(|at| self.commits.remove(at)).is_none() {
                    return Err(SessionError::unexpected("an answer to no commit"));
                }
                self.events.push_back(match committed.error {
                    None => SubscriberEvent::CursorCommitted(committed.token),
                    Some(error) => SubscriberEvent::CommitRefused(committed.token, error.into()),
                });
                Ok(())
            }
            _ => Err(SessionError::unexpected("a control message that no subscriber gets now")),
        }
    }

    fn subscribed(&mut self, subscribed: &proto::Subscribed) -> Result<(), SessionError> {
        let partitions = u16::try_from(subscribed.topic_partitions).unwrap_or(0);
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(SessionError::unexpected("a topic without partitions or with too many"));
        }
        self.topic_partitions = partitions;
        for slot in &subscribed.partitions {
            self.add_slot(slot)?;
        }
        if subscribed.more {
            return Ok(());
        }
        self.link = Link::Open;
        self.begun = true;
        let partitions =
            self.slots.iter().map(|slot| (slot.partition.clone(), slot.next)).collect();
        self.events.push_back(SubscriberEvent::Subscribed { partitions });
        for at in 0..self.commits.len() {
            self.send_commit(at);
        }
        Ok(())
    }

    fn add_slot(
        &mut self,
        wire: &proto::SlotPosition,
    ) -> Result<(PartitionId, Offset), SessionError> {
        let position = wire.position.clone().unwrap_or_default();
        let (partition, next) = from_position(&self.subscription.topic, &position)?;
        if partition.number.get() >= self.topic_partitions {
            return Err(SessionError::unexpected("a partition that the topic does not have"));
        }
        let twice = self.slots.iter().any(|slot| slot.partition == partition);
        if twice || u32::try_from(self.slots.len()) != Ok(wire.slot) {
            return Err(SessionError::unexpected("slots are not told one by one"));
        }
        if let Some(known) = self.positions.remove(&partition) {
            if next < known {
                let (expected, found) = (known.get(), next.get());
                return Err(SessionError::Back { expected, found });
            }
            if next > known {
                let (partition, from, to) = (partition.clone(), known, next);
                self.events.push_back(SubscriberEvent::Trimmed { partition, from, to });
            }
        }
        self.slots.push(Slot { partition: partition.clone(), next, fresh: true });
        Ok((partition, next))
    }

    fn trimmed(&mut self, trimmed: &proto::Trimmed) -> Result<(), SessionError> {
        let slot = slot_mut(&mut self.slots, trimmed.slot)?;
        let to = Offset::new(trimmed.offset);
        if to < slot.next {
            let (expected, found) = (slot.next.get(), to.get());
            return Err(SessionError::Back { expected, found });
        }
        let (partition, from) = (slot.partition.clone(), slot.next);
        slot.next = to;
        slot.fresh = true;
        self.events.push_back(SubscriberEvent::Trimmed { partition, from, to });
        Ok(())
    }

    fn delivered(&mut self, slot: u32, batch: StoredBatch) -> Result<(), SessionError> {
        let len = batch.len();
        if !self.window.receive(len) {
            self.window.release(len);
            return Err(SessionError::unexpected("batches beyond the credit"));
        }
        let taken = self.take_batch(slot, batch);
        // What the application never sees it does not hold.
        if !matches!(taken, Ok(true)) {
            self.window.release(len);
        }
        taken.map(|_| ())
    }

    /// Whether the batch went to the application.
    fn take_batch(&mut self, slot: u32, batch: StoredBatch) -> Result<bool, SessionError> {
        let slot = slot_mut(&mut self.slots, slot)?;
        let end = check(&batch, &slot.partition, self.topic_partitions)?;
        let (base, next) = (batch.header().base_offset, slot.next);
        let (expected, found) = (next.get(), base.get());
        if base > next {
            return Err(SessionError::Hole { expected, found });
        }
        let visible = batch.header().visible > 0;
        let again = if visible { end <= next } else { end < next && !slot.fresh };
        if again || (base < next && !slot.fresh) {
            return Err(SessionError::Back { expected, found });
        }
        if !visible {
            return Ok(false);
        }
        slot.next = end;
        slot.fresh = false;
        let partition = slot.partition.clone();
        self.events.push_back(SubscriberEvent::Batch { partition, from: next, batch });
        Ok(true)
    }

    fn send_commit(&mut self, at: usize) {
        let (token, positions) = &self.commits[at];
        let commit = proto::CommitCursor { token: *token, positions: to_positions(positions) };
        match encode_control(ControlBody::CommitCursor(commit)) {
            Ok(frame) => self.outbox.push(frame),
            // More partitions than a frame can name: let the server refuse it in its turn.
            Err(_) => self.outbox.small(ControlBody::CommitCursor(proto::CommitCursor {
                token: *token,
                positions: Vec::new(),
            })),
        }
    }

    fn close(&mut self, refusal: Refusal) {
        self.outbox.clear();
        self.link = Link::Closed;
        self.events.push_back(SubscriberEvent::Closed(refusal));
    }
}

fn slot_mut(slots: &mut [Slot], number: u32) -> Result<&mut Slot, SessionError> {
    let at = usize::try_from(number).ok();
    at.and_then(|at| slots.get_mut(at)).ok_or(SessionError::unexpected("a slot that was not told"))
}

/// Checks all that can be checked without the batch before, and gives the offset behind it.
fn check(
    batch: &StoredBatch,
    partition: &PartitionId,
    partitions: u16,
) -> Result<Offset, SessionError> {
    if batch.batch().header().partition != partition.number {
        return Err(StoredError::Header.into());
    }
    batch.check_content(partitions)?;
    Ok(batch.end_offset())
}
