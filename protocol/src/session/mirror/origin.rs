//! The side that has judged: the plant.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::batch::StoredBatch;
use crate::codes::ErrorCode;
use crate::wire::{ControlBody, Frame, MirrorHead, OutFrame, decode_control, mirror_frame, proto};
use crate::words::{BatchNumber, JournalId, NodeName, PartitionNumber};

use super::super::credit::Credit;
use super::super::error::SessionError;
use super::super::hello::{StreamKind, hello};
use super::super::outbox::{Outbox, split};
use super::super::refusal::{Refusal, shortened};
use super::{MirrorEnd, MirrorTopic, place};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorOriginEvent {
    /// Where the mirrors end. A partition that is not named is empty there. Verify that exactly
    /// these batches are held, then call [`MirrorOrigin::on_verified`] or
    /// [`MirrorOrigin::on_diverged`].
    Opened(Vec<MirrorEnd>),
    /// The target holds all batches of the partition below `end`, durably.
    Acked {
        /// The topic's place in the list.
        topic: u16,
        /// The partition.
        partition: PartitionNumber,
        /// The number behind the last batch that is durable there.
        end: BatchNumber,
    },
    /// The two do not hold the same batches; the link is over until an operator acts.
    Diverged(String),
    /// The target ends this stream for now: reconnect later.
    Interrupted(Refusal),
    /// The link is over.
    Closed(Refusal),
}

#[derive(Debug)]
enum Link {
    Down,
    /// The ends that have come so far, and the credit.
    Opening(Vec<MirrorEnd>),
    Verifying,
    Streaming,
    Closed,
}

/// The sending half.
#[derive(Debug)]
pub struct MirrorOrigin {
    origin: NodeName,
    journal: JournalId,
    topics: Vec<MirrorTopic>,
    link: Link,
    /// The next batch of each partition on this stream: known at the opening, or once one is sent.
    next: BTreeMap<MirrorHead, BatchNumber>,
    credit: Credit,
    outbox: Outbox,
    events: VecDeque<MirrorOriginEvent>,
}

impl MirrorOrigin {
    /// A session that has no connection yet. The list of topics stays as it is: a topic more is a
    /// new session.
    ///
    /// # Panics
    /// If there are more than 65,535 topics.
    pub fn new(origin: NodeName, journal: JournalId, topics: Vec<MirrorTopic>) -> Self {
        assert!(u16::try_from(topics.len()).is_ok(), "a topic's place fits u16");
        Self {
            origin,
            journal,
            topics,
            link: Link::Down,
            next: BTreeMap::new(),
            credit: Credit::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
        }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Bytes that may be sent: while this is not 0, one more batch of any size.
    pub fn credit(&self) -> usize {
        if matches!(self.link, Link::Streaming) { self.credit.left() } else { 0 }
    }

    /// A stream is there.
    pub fn on_connected(&mut self, now: Instant) {
        self.on_disconnected(now);
        if self.is_closed() {
            return;
        }
        self.link = Link::Opening(Vec::new());
        self.outbox.small(hello(StreamKind::Mirror));
        let topic = |topic: &MirrorTopic| proto::MirrorTopic {
            name: topic.name.as_str().to_owned(),
            settings: Some(topic.settings),
        };
        for (topics, more) in split(self.topics.iter().map(topic).collect()) {
            self.outbox.small(ControlBody::MirrorOpen(proto::MirrorOpen {
                origin: self.origin.as_str().to_owned(),
                journal_id: self.journal.as_bytes().to_vec().into(),
                topics,
                more,
            }));
        }
    }

    /// The stream is gone.
    pub fn on_disconnected(&mut self, _now: Instant) {
        self.outbox.clear();
        self.next.clear();
        self.credit = Credit::default();
        if !self.is_closed() {
            self.link = Link::Down;
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the target broke the protocol: drop the stream.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        let taken = self.receive(now, frame);
        if taken.is_err() {
            self.on_disconnected(now);
        }
        taken
    }

    /// Exactly the batches that [`MirrorOriginEvent::Opened`] named are held, and every empty
    /// mirror begins at batch 0.
    pub fn on_verified(&mut self) {
        self.on_verified_from(&[]);
    }

    /// As [`Self::on_verified`], where some empty mirrors begin later, at `starts`: retention has
    /// dropped what was before.
    pub fn on_verified_from(&mut self, starts: &[MirrorEnd]) {
        if !matches!(self.link, Link::Verifying) {
            return;
        }
        self.link = Link::Streaming;
        for start in starts {
            let head = MirrorHead { topic: start.topic, partition: start.partition };
            let at = start.end.map_or(BatchNumber::new(0), |point| point.next_batch);
            self.next.insert(head, at);
        }
        let starts = starts.iter().map(|start| start.to_wire()).collect();
        for (starts, more) in split(starts) {
            self.outbox.small(ControlBody::MirrorStart(proto::MirrorStart { starts, more }));
        }
    }

    /// Another batch is held than the mirror has, or none. The session is over.
    pub fn on_diverged(&mut self, detail: String) {
        if self.is_closed() {
            return;
        }
        let detail = shortened(detail);
        self.outbox.clear();
        self.outbox.small(ControlBody::Diverged(proto::Diverged { detail: detail.clone() }));
        self.link = Link::Closed;
        let refusal = Refusal::new(ErrorCode::Diverged, detail);
        self.events.push_back(MirrorOriginEvent::Closed(refusal));
    }

    /// Sends the next batch of a partition.
    ///
    /// # Panics
    /// If the batch is not the partition's next: the target would refuse it.
    pub fn send(&mut self, topic: u16, partition: PartitionNumber, batch: &StoredBatch) {
        if !matches!(self.link, Link::Streaming) {
            return;
        }
        let head = MirrorHead { topic, partition };
        let number = batch.header().batch_number;
        let next = self.next.entry(head).or_default();
        assert_eq!(number, *next, "batches are mirrored in order");
        *next = number.advance(1);
        self.credit.spend(batch.len());
        let frame = mirror_frame(head, batch.pieces().cloned());
        self.outbox.push(frame.expect("a stored batch fits a frame"));
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<MirrorOriginEvent> {
        self.events.pop_front()
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop()
    }

    fn receive(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        let body = decode_control(frame)?;
        if let ControlBody::Error(error) = body {
            let refusal = Refusal::from(error);
            if refusal.code.is_retryable() {
                self.on_disconnected(now);
                self.events.push_back(MirrorOriginEvent::Interrupted(refusal));
            } else if refusal.code == ErrorCode::Diverged {
                self.diverged(refusal.detail);
            } else {
                self.close(refusal);
            }
            return Ok(());
        }
        match (&mut self.link, body) {
            (Link::Opening(ends), ControlBody::MirrorOpened(opened)) => {
                for end in &opened.ends {
                    let end = MirrorEnd::from_wire(end, &self.topics)?;
                    let head = MirrorHead { topic: end.topic, partition: end.partition };
                    let next = end.end.map_or(BatchNumber::new(0), |point| point.next_batch);
                    #[cfg(takt_planted)]
                    let next = if crate::planted::is("resumes_late") && next.get() > 0 {
                        next.advance(1)
                    } else {
                        next
                    };
                    if self.next.insert(head, next).is_some() {
                        return Err(SessionError::unexpected("the end of a mirror came twice"));
                    }
                    ends.push(end);
                }
                self.credit.add(opened.credit_bytes);
                if !opened.more {
                    let ends = std::mem::take(ends);
                    self.link = Link::Verifying;
                    self.events.push_back(MirrorOriginEvent::Opened(ends));
                }
                Ok(())
            }
            (Link::Streaming, ControlBody::MirrorAck(ack)) => {
                ack.acks.iter().try_for_each(|ack| self.acked(ack))
            }
            (Link::Verifying | Link::Streaming, ControlBody::Credit(credit)) => {
                self.credit.add(credit.bytes);
                Ok(())
            }
            (_, ControlBody::Diverged(diverged)) => {
                self.diverged(shortened(diverged.detail));
                Ok(())
            }
            _ => Err(SessionError::unexpected("a control message that no origin gets now")),
        }
    }

    fn acked(&mut self, ack: &proto::PartitionAck) -> Result<(), SessionError> {
        let (topic, partition) = place(ack.topic, ack.partition, &self.topics)?;
        let end = BatchNumber::new(ack.batch_end);
        let sent = self.next.get(&MirrorHead { topic, partition });
        if sent.is_none_or(|sent| end > *sent) {
            return Err(SessionError::unexpected("an acknowledgement of what was not sent"));
        }
        self.events.push_back(MirrorOriginEvent::Acked { topic, partition, end });
        Ok(())
    }

    fn diverged(&mut self, detail: String) {
        self.events.push_back(MirrorOriginEvent::Diverged(detail.clone()));
        self.close(Refusal::new(ErrorCode::Diverged, detail));
    }

    fn close(&mut self, refusal: Refusal) {
        self.outbox.clear();
        self.link = Link::Closed;
        self.events.push_back(MirrorOriginEvent::Closed(refusal));
    }
}
