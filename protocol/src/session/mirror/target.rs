//! The side that keeps the copy: the hub, or a relay.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::batch::StoredBatch;
use crate::limits::PARTITIONS_MAX;
use crate::wire::{
    ControlBody, Frame, FrameKind, MirrorHead, OutFrame, decode_control, proto, take_mirror,
};
use crate::words::{BatchNumber, JournalId, NodeName, PartitionChain, PartitionNumber, TopicName};

use super::super::credit::CreditWindow;
use super::super::error::SessionError;
use super::super::outbox::{Outbox, small, split};
use super::super::refusal::Refusal;
use super::{MirrorEnd, MirrorTopic, place, sixteen};

/// What the origin wants, or says.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "an event is taken as soon as it is there")]
pub enum MirrorTargetEvent {
    /// The link is to be opened: check that the certificate is this origin's, then answer with
    /// [`MirrorTarget::on_opened`].
    Open {
        /// The node that judges.
        origin: NodeName,
        /// Its journal.
        journal: JournalId,
        /// Its topics.
        topics: Vec<MirrorTopic>,
    },
    /// The origin has verified the ends; these empty mirrors begin other than at batch 0.
    Started(Vec<MirrorEnd>),
    /// The next batch of a partition, checked with its chain: answer with
    /// [`MirrorTarget::on_stored`].
    Batch {
        /// Which one.
        ticket: u64,
        /// The topic's place in the list.
        topic: u16,
        /// The partition.
        partition: PartitionNumber,
        /// The batch.
        batch: StoredBatch,
    },
    /// The origin does not hold what the mirror ends with. The session is over.
    Diverged(String),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Opening,
    /// The origin verifies.
    Opened,
    Streaming,
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    empty: bool,
    next: BatchNumber,
    chain: PartitionChain,
}

impl Progress {
    const EMPTY: Self =
        Self { empty: true, next: BatchNumber::new(0), chain: PartitionChain::new([0; 16]) };
}

/// The receiving half: one stream of one origin.
#[derive(Debug)]
pub struct MirrorTarget {
    state: State,
    topics: Vec<MirrorTopic>,
    progress: BTreeMap<MirrorHead, Progress>,
    starts: Vec<MirrorEnd>,
    in_flight: BTreeMap<u64, MirrorHead>,
    next_ticket: u64,
    acks: BTreeMap<MirrorHead, BatchNumber>,
    window: CreditWindow,
    outbox: Outbox,
    events: VecDeque<MirrorTargetEvent>,
}

impl MirrorTarget {
    /// For a stream whose hello has been accepted. `credit_bytes` of batches may be on their way
    /// or not yet granted again; one batch more may be.
    pub fn new(credit_bytes: usize) -> Self {
        Self {
            state: State::Waiting,
            topics: Vec::new(),
            progress: BTreeMap::new(),
            starts: Vec::new(),
            in_flight: BTreeMap::new(),
            next_ticket: 0,
            acks: BTreeMap::new(),
            window: CreditWindow::new(credit_bytes),
            outbox: Outbox::default(),
            events: VecDeque::new(),
        }
    }

    /// Whether the session is over: send what is left to send, then close the stream.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the origin broke the protocol. The session is closed and the error
    /// waits to be sent.
    pub fn handle_frame(&mut self, _now: Instant, frame: Frame) -> Result<(), SessionError> {
        if self.is_closed() {
            return Ok(());
        }
        self.receive(frame).inspect_err(|error| self.close(error.refusal()))
    }

    /// What the origin wants.
    pub fn poll_event(&mut self) -> Option<MirrorTargetEvent> {
        self.events.pop_front()
    }

    /// The answer to [`MirrorTargetEvent::Open`]: where the mirrors end. A partition that is not
    /// named is empty.
    ///
    /// # Panics
    /// If an end names a partition that the origin did not.
    pub fn on_opened(&mut self, opened: Result<Vec<MirrorEnd>, Refusal>) {
        if self.state != State::Opening {
            return;
        }
        let ends = match opened {
            Ok(ends) => ends,
            Err(refusal) => return self.close(refusal),
        };
        for end in &ends {
            place(u32::from(end.topic), u32::from(end.partition.get()), &self.topics)
                .expect("only partitions of the origin have an end");
            let head = MirrorHead { topic: end.topic, partition: end.partition };
            let progress = end.end.map_or(Progress::EMPTY, |point| Progress {
                empty: false,
                next: point.next_batch,
                chain: point.chain,
            });
            self.progress.insert(head, progress);
        }
        self.state = State::Opened;
        let mut credit_bytes = self.window.open();
        for (ends, more) in split(ends.into_iter().map(MirrorEnd::to_wire).collect()) {
            let opened = proto::MirrorOpened { ends, credit_bytes, more };
            self.outbox.small(ControlBody::MirrorOpened(opened));
            credit_bytes = 0;
        }
    }

    /// The answer to a [`MirrorTargetEvent::Batch`]: the end of what is durable in its partition.
    /// A refusal ends the session.
    pub fn on_stored(&mut self, ticket: u64, stored: Result<BatchNumber, Refusal>) {
        let Some(head) = self.in_flight.remove(&ticket) else { return };
        match stored {
            Ok(end) => {
                let ack = self.acks.entry(head).or_default();
                *ack = end.max(*ack);
            }
            Err(refusal) => self.close(refusal),
        }
    }

    /// The node is done with `bytes` of batches and has room for as many more.
    pub fn grant(&mut self, bytes: usize) {
        self.window.release(bytes);
    }

    /// Ends the session: the node is stopping, or a newer link has taken over.
    pub fn close(&mut self, refusal: Refusal) {
        if self.is_closed() {
            return;
        }
        if let Some(acks) = self.poll_acks() {
            self.outbox.push(acks);
        }
        self.end();
        self.outbox.error(refusal);
    }

    /// What to send next. Acknowledgements that are ready share a frame.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        if let Some(frame) = self.outbox.pop().or_else(|| self.poll_acks()) {
            return Some(frame);
        }
        if !matches!(self.state, State::Opened | State::Streaming) {
            return None;
        }
        let bytes = self.window.due()?;
        self.outbox.small(ControlBody::Credit(proto::Credit { bytes }));
        self.outbox.pop()
    }

    fn poll_acks(&mut self) -> Option<OutFrame> {
        const ACKS_MAX: usize = 4_096;
        if self.acks.is_empty() {
            return None;
        }
        let mut acks = Vec::new();
        while let Some((head, end)) = self.acks.pop_first() {
            acks.push(proto::PartitionAck {
                topic: u32::from(head.topic),
                partition: u32::from(head.partition.get()),
                batch_end: end.get(),
            });
            if acks.len() == ACKS_MAX {
                break;
            }
        }
        let ack = proto::MirrorAck { acks, ..proto::MirrorAck::default() };
        Some(small(ControlBody::MirrorAck(ack)))
    }

    fn receive(&mut self, frame: Frame) -> Result<(), SessionError> {
        match frame.kind {
            FrameKind::Control => self.control(decode_control(frame)?),
            FrameKind::Mirror if self.state == State::Streaming => self.batch(frame),
            FrameKind::Mirror | FrameKind::Publish | FrameKind::Receipts | FrameKind::Deliver => {
                Err(SessionError::unexpected("a frame that no origin sends now"))
            }
        }
    }

    fn control(&mut self, body: ControlBody) -> Result<(), SessionError> {
        match (&self.state, body) {
            (State::Waiting, ControlBody::MirrorOpen(open)) => self.open(open),
            (State::Opened, ControlBody::MirrorStart(start)) => self.start(&start),
            (State::Opened | State::Streaming, ControlBody::Diverged(diverged)) => {
                self.end();
                self.events.push_back(MirrorTargetEvent::Diverged(diverged.detail));
                Ok(())
            }
            _ => Err(SessionError::unexpected("a control message that no origin sends now")),
        }
    }

    fn open(&mut self, open: proto::MirrorOpen) -> Result<(), SessionError> {
        for topic in open.topics {
            let name = TopicName::new(&topic.name)?;
            let settings = topic.settings.unwrap_or_default();
            let counted = (1..=u32::from(PARTITIONS_MAX)).contains(&settings.partitions);
            if !counted || self.topics.len() >= usize::from(u16::MAX) {
                return Err(SessionError::unexpected("too many topics, or partitions of one"));
            }
            self.topics.push(MirrorTopic { name, settings });
        }
        if open.more {
            return Ok(());
        }
        let origin = NodeName::new(&open.origin)?;
        let journal = JournalId::new(sixteen(&open.journal_id)?);
        self.state = State::Opening;
        let topics = self.topics.clone();
        self.events.push_back(MirrorTargetEvent::Open { origin, journal, topics });
        Ok(())
    }

    fn start(&mut self, start: &proto::MirrorStart) -> Result<(), SessionError> {
        for start in &start.starts {
            let start = MirrorEnd::from_wire(start, &self.topics)?;
            let head = MirrorHead { topic: start.topic, partition: start.partition };
            let progress = self.progress.entry(head).or_insert(Progress::EMPTY);
            let point = start.end.filter(|_| progress.empty);
            let point = point.ok_or(SessionError::unexpected("a start of a mirror with an end"))?;
            let (next, chain) = (point.next_batch, point.chain);
            *progress = Progress { empty: false, next, chain };
            self.starts.push(start);
        }
        if !start.more {
            self.state = State::Streaming;
            let starts = std::mem::take(&mut self.starts);
            self.events.push_back(MirrorTargetEvent::Started(starts));
        }
        Ok(())
    }

    fn batch(&mut self, frame: Frame) -> Result<(), SessionError> {
        let (head, batch) = take_mirror(frame.body)?;
        let MirrorHead { topic, partition } = head;
        place(u32::from(topic), u32::from(partition.get()), &self.topics)?;
        if !self.window.receive(batch.len()) {
            return Err(SessionError::unexpected("batches beyond the credit"));
        }
        let progress = self.progress.entry(head).or_insert(Progress::EMPTY);
        let (expected, found) = (progress.next, batch.header().batch_number);
        if expected != found {
            let (expected, found) = (expected.get(), found.get());
            return Err(if found > expected {
                SessionError::Hole { expected, found }
            } else {
                SessionError::Back { expected, found }
            });
        }
        if batch.batch().header().partition != partition {
            return Err(SessionError::unexpected("a batch of another partition"));
        }
        let partitions = self.topics[usize::from(topic)].settings.partitions;
        batch.check(progress.chain, u16::try_from(partitions).unwrap_or(PARTITIONS_MAX))?;
        *progress = Progress { empty: false, next: found.advance(1), chain: batch.header().chain };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.in_flight.insert(ticket, head);
        self.events.push_back(MirrorTargetEvent::Batch { ticket, topic, partition, batch });
        Ok(())
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.in_flight.clear();
        self.acks.clear();
        self.events.clear();
    }
}
