//! The side that produces.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch::{BatchError, BatchHeader};
use crate::codes::ErrorCode;
use crate::limits::{FRAME_BATCHES_MAX, FRAME_BYTES_MAX, IN_FLIGHT_BATCHES_MAX, PARTITIONS_MAX};
use crate::wire::{
    BatchReceipt, ControlBody, Frame, FrameKind, OutFrame, decode_control, proto, publish_frame,
    take_receipts,
};
use crate::words::{Epoch, Sequence, TopicName};

use super::super::error::SessionError;
use super::super::hello::{StreamKind, hello};
use super::super::outbox::Outbox;
use super::super::refusal::Refusal;
use super::KeptReceipt;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What a producer says of itself.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// The topic.
    pub topic: TopicName,
    /// The name, unique within the certificate's identity; 1 to 255 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Whether the node may forget it some time after its session ends.
    pub transient: bool,
    /// Bytes of batches without a receipt; one batch more than this may be on its way.
    pub in_flight_bytes_max: usize,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProducerEvent {
    /// The session is open, for the first time or again.
    Opened {
        /// This incarnation.
        epoch: Epoch,
        /// The last sequence that the topic holds.
        last_sequence: Sequence,
    },
    /// The oldest batch without an answer has its receipt.
    Settled(BatchReceipt),
    /// The node cannot take more now; what was submitted is sent again by itself.
    Stalled(Refusal),
    /// The oldest batch without an answer can never be taken. [`ProducerEvent::Closed`] follows:
    /// the sequences behind it cannot be used without it.
    BatchRefused {
        /// Its first sequence.
        first_sequence: Sequence,
        /// How many records it has.
        records: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The node ends this stream for now: reconnect later.
    Interrupted(Refusal),
    /// The session is over. [`ProducerClient::unsettled`] are the batches without an answer.
    Closed(Refusal),
}

/// Why a batch was not taken; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The session is over.
    #[error("the producer's session is over")]
    Closed,
    /// The session has never been open, so no sequence is known.
    #[error("the producer's session has not been opened yet")]
    NotOpened,
    /// As much is in flight as allowed.
    #[error("as many batches or bytes are in flight as allowed")]
    NoRoom,
    /// The batch does not follow the last one.
    #[error("the batch begins at {found}, the next sequence is {expected}")]
    Sequence {
        /// The next sequence.
        expected: Sequence,
        /// The batch's first.
        found: Sequence,
    },
    /// The topic has no such partition, or the bytes are not exactly one batch.
    #[error("the bytes are not one batch for a partition of the topic")]
    Shape,
    /// The header is none.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

#[derive(Debug)]
struct Pending {
    first: Sequence,
    end: Sequence,
    records: usize,
    crc: u32,
    bytes: Bytes,
}

#[derive(Debug)]
enum Link {
    Down,
    /// The kept receipts that have come so far.
    Opening(Vec<KeptReceipt>),
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Flow {
    Sending,
    /// After `Full` or `Gap`: until all answers are in and, where given, the time has come.
    Rewinding(Option<Instant>),
}

#[derive(Debug, Clone, Copy)]
struct Known {
    partitions: u16,
    settled: Sequence,
    next: Sequence,
}

/// The producing half. Every batch that was submitted is settled exactly once, in order, or the
/// session ends with [`ProducerEvent::Closed`].
#[derive(Debug)]
pub struct ProducerClient {
    config: ProducerConfig,
    link: Link,
    flow: Flow,
    backoff: Duration,
    known: Option<Known>,
    kept: Vec<BatchReceipt>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// How many at the front of `pending` this stream has been given.
    sent: usize,
    /// First sequences of the batches that the server has yet to answer on this stream.
    due: VecDeque<Sequence>,
    outbox: Outbox,
    events: VecDeque<ProducerEvent>,
}

impl ProducerClient {
    /// A session that has no connection yet.
    pub fn new(config: ProducerConfig) -> Self {
        Self {
            config,
            link: Link::Down,
            flow: Flow::Sending,
            backoff: BACKOFF_FIRST,
            known: None,
            kept: Vec::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            sent: 0,
            due: VecDeque::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
        }
    }

    /// The topic's partitions, once the session has been open.
    pub fn partitions(&self) -> Option<u16> {
        self.known.map(|known| known.partitions)
    }

    /// The first sequence of the next batch, once the session has been open.
    pub fn next_sequence(&self) -> Option<Sequence> {
        self.known.map(|known| known.next)
    }

    /// The receipts that the node kept from before, oldest first, once the session has been open.
    pub fn kept(&self) -> &[BatchReceipt] {
        &self.kept
    }

    /// Whether [`Self::submit`] takes a batch now.
    pub fn can_submit(&self) -> bool {
        self.known.is_some()
            && !self.is_closed()
            && self.pending.len() < IN_FLIGHT_BATCHES_MAX
            && self.pending_bytes < self.config.in_flight_bytes_max
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// The batches without an answer, oldest first.
    pub fn unsettled(&self) -> impl Iterator<Item = (Sequence, &Bytes)> {
        self.pending.iter().map(|pending| (pending.first, &pending.bytes))
    }

    /// Takes one sealed batch that begins at [`Self::next_sequence`]. It is kept until it is
    /// settled and sent again as these very bytes.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing has changed then.
    pub fn submit(&mut self, batch: Bytes) -> Result<(), SubmitError> {
        if self.is_closed() {
            return Err(SubmitError::Closed);
        }
        let has_room = self.can_submit();
        let known = self.known.as_mut().ok_or(SubmitError::NotOpened)?;
        if !has_room {
            return Err(SubmitError::NoRoom);
        }
        let header = BatchHeader::decode(&batch)?;
        if header.first_sequence != known.next {
            let (expected, found) = (known.next, header.first_sequence);
            return Err(SubmitError::Sequence { expected, found });
        }
        if header.len != batch.len() || header.partition.get() >= known.partitions {
            return Err(SubmitError::Shape);
        }
        known.next = header.end_sequence();
        self.pending_bytes += batch.len();
        self.pending.push_back(Pending {
            first: header.first_sequence,
            end: header.end_sequence(),
            records: header.records,
            crc: header.crc,
            bytes: batch,
        });
        Ok(())
    }

    /// A stream is there.
    pub fn on_connected(&mut self, now: Instant) {
        self.on_disconnected(now);
        if self.is_closed() {
            return;
        }
        self.outbox.small(hello(StreamKind::Producer));
        let open = proto::OpenProducer {
            topic: self.config.topic.as_str().to_owned(),
            name: self.config.name.clone(),
            transient: self.config.transient,
        };
        match self.outbox.control(ControlBody::OpenProducer(open)) {
            Ok(()) => self.link = Link::Opening(Vec::new()),
            Err(error) => self.close(Refusal::new(ErrorCode::BadRequest, error.to_string())),
        }
    }

    /// The stream is gone.
    pub fn on_disconnected(&mut self, _now: Instant) {
        self.outbox.clear();
        self.due.clear();
        #[cfg(takt_planted)]
        let sent = self.sent;
        self.sent = 0;
        #[cfg(takt_planted)]
        if crate::planted::is("resend_omitted") {
            self.sent = sent;
        }
        self.flow = Flow::Sending;
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

    /// The time of [`Self::poll_timeout`] has come. A shell that wants jitter comes late.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.flow, Flow::Rewinding(Some(at)) if at <= now) {
            self.flow = Flow::Rewinding(None);
            self.resume();
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.flow {
            Flow::Rewinding(at) => at,
            Flow::Sending => None,
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.events.pop_front()
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        if let Some(frame) = self.outbox.pop() {
            return Some(frame);
        }
        if !matches!((&self.link, self.flow), (Link::Open, Flow::Sending)) {
            return None;
        }
        let mut room = FRAME_BYTES_MAX - 1;
        let mut batches = Vec::new();
        for pending in self.pending.iter().skip(self.sent).take(FRAME_BATCHES_MAX) {
            let Some(left) = room.checked_sub(pending.bytes.len()) else { break };
            room = left;
            batches.push(pending.bytes.clone());
            self.due.push_back(pending.first);
        }
        if batches.is_empty() {
            return None;
        }
        self.sent += batches.len();
        Some(publish_frame(batches).expect("no more batches than fit a frame"))
    }

    fn receive(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        match frame.kind {
            FrameKind::Control => {
                let body = decode_control(frame)?;
                if let ControlBody::ProducerOpened(opened) = body {
                    self.opened(opened)
                } else if let ControlBody::Error(error) = body {
                    self.refused(now, error)
                } else {
                    Err(SessionError::unexpected("a control message that no producer gets"))
                }
            }
            FrameKind::Receipts => {
                take_receipts(&frame.body)?.into_iter().try_for_each(|r| self.answered(r))
            }
            FrameKind::Publish | FrameKind::Deliver | FrameKind::Mirror => {
                Err(SessionError::unexpected("a frame of a kind that no producer gets"))
            }
        }
    }

    fn opened(&mut self, opened: proto::ProducerOpened) -> Result<(), SessionError> {
        let Link::Opening(kept) = &mut self.link else {
            return Err(SessionError::unexpected("the session is open already"));
        };
        if kept.len() + opened.kept.len() > IN_FLIGHT_BATCHES_MAX {
            return Err(SessionError::unexpected("more kept receipts than are ever kept"));
        }
        for one in opened.kept {
            let mut bytes = one.receipt;
            let receipt = BatchReceipt::decode(&mut bytes)?;
            kept.push(KeptReceipt { crc: one.crc, receipt });
        }
        if opened.more {
            return Ok(());
        }
        let kept = std::mem::take(kept);
        self.link = Link::Open;
        let partitions = u16::try_from(opened.partitions).unwrap_or(0);
        let last_sequence = Sequence::new(opened.last_sequence);
        let Some(next) = last_sequence.checked_add(1) else {
            return Err(SessionError::unexpected("the sequences have run out"));
        };
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(SessionError::unexpected("a topic without partitions or with too many"));
        }
        let epoch = Epoch::new(opened.epoch);
        match self.known {
            None => {
                self.known = Some(Known { partitions, settled: last_sequence, next });
                self.kept = kept.into_iter().map(|one| one.receipt).collect();
            }
            Some(known) if known.partitions != partitions => {
                return Err(SessionError::unexpected("the topic's partitions have changed"));
            }
            Some(known) => {
                if let Err(refusal) = self.settle_kept(known, last_sequence, kept) {
                    self.close(refusal);
                    return Ok(());
                }
            }
        }
        self.backoff = BACKOFF_FIRST;
        self.events.push_back(ProducerEvent::Opened { epoch, last_sequence });
        Ok(())
    }

    /// Settles what the topic holds already, or says why the two do not fit together.
    fn settle_kept(
        &mut self,
        known: Known,
        last: Sequence,
        kept: Vec<KeptReceipt>,
    ) -> Result<(), Refusal> {
        if last < known.settled {
            let detail = format!("the node ends at {last}; it acknowledged {}", known.settled);
            return Err(Refusal::new(ErrorCode::Diverged, detail));
        }
        if last >= known.next {
            let detail = format!("another producer of this name has gone on to {last}");
            return Err(Refusal::new(ErrorCode::Fenced, detail));
        }
        let mut kept = kept.into_iter();
        while let Some(pending) = self.pending.front().filter(|pending| pending.first <= last) {
            let own = kept.find(|one| {
                one.crc == pending.crc
                    && one.receipt.first_sequence == pending.first
                    && one.receipt.records == pending.records
            });
            let Some(own) = own.filter(|_| pending.end <= last.advance(1)) else {
                let first = pending.first;
                let detail = format!("the node holds another batch at {first}, or no receipt");
                return Err(Refusal::new(ErrorCode::SequenceReused, detail));
            };
            self.settle(own.receipt);
            #[cfg(takt_planted)]
            if crate::planted::is("resend_omitted") {
                self.sent = self.sent.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn answered(&mut self, receipt: BatchReceipt) -> Result<(), SessionError> {
        self.answer_due(receipt.first_sequence)?;
        let fits = self.pending.front().is_some_and(|pending| {
            pending.first == receipt.first_sequence && pending.records == receipt.records
        });
        if !fits || matches!(self.flow, Flow::Rewinding(_)) {
            return Err(SessionError::unexpected("a receipt for a batch that is not the next"));
        }
        self.sent -= 1;
        self.backoff = BACKOFF_FIRST;
        self.settle(receipt);
        Ok(())
    }

    /// Takes the answer off those that are due: they come in the order of the batches.
    fn answer_due(&mut self, first: Sequence) -> Result<(), SessionError> {
        match self.due.pop_front() {
            Some(due) if due == first => Ok(()),
            Some(_) | None => Err(SessionError::unexpected("an answer that is not the next")),
        }
    }

    fn settle(&mut self, receipt: BatchReceipt) {
        let settled = self.pending.pop_front().expect("only a pending batch is settled");
        let known = self.known.as_mut().expect("a batch is pending only in a known session");
        assert_eq!(settled.first, known.settled.advance(1), "batches settle in order");
        known.settled = receipt.last_sequence();
        self.pending_bytes -= settled.bytes.len();
        self.events.push_back(ProducerEvent::Settled(receipt));
    }

    fn refused(&mut self, now: Instant, error: proto::Error) -> Result<(), SessionError> {
        let batch = error.batch_sequence.map(Sequence::new);
        let refusal = Refusal::from(error);
        // A full node may have no room for a new producer either: that answers no batch.
        let opening = batch.is_none() && matches!(self.link, Link::Opening(_));
        if refusal.is_resend() && !opening {
            let batch = batch.ok_or(SessionError::unexpected("an answer to no batch"))?;
            self.answer_due(batch)?;
            return self.rewind(now, batch, refusal);
        }
        if refusal.code.is_retryable() {
            self.on_disconnected(now);
            self.events.push_back(ProducerEvent::Interrupted(refusal));
            return Ok(());
        }
        if let Some(first_sequence) = batch {
            self.answer_due(first_sequence)?;
            // Behind a Full, only resending shows what the batch itself would have got.
            if let Some(front) = self.pending.front().filter(|front| front.first == first_sequence)
            {
                self.events.push_back(ProducerEvent::BatchRefused {
                    first_sequence,
                    records: front.records,
                    refusal: refusal.clone(),
                });
            }
        }
        self.close(refusal);
        Ok(())
    }

    fn rewind(
        &mut self,
        now: Instant,
        batch: Sequence,
        refusal: Refusal,
    ) -> Result<(), SessionError> {
        if matches!(self.flow, Flow::Rewinding(_)) {
            self.resume();
            return Ok(());
        }
        let expected = refusal.expected.unwrap_or(batch);
        if expected < batch {
            let detail = format!("the node expects {expected}; it acknowledged up to {batch}");
            self.close(Refusal::new(ErrorCode::Diverged, detail));
            return Ok(());
        }
        if self.pending.front().is_none_or(|front| front.first != expected) {
            return Err(SessionError::unexpected("a sequence is expected that is not the next"));
        }
        self.flow = Flow::Rewinding(Some(now + self.backoff));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.events.push_back(ProducerEvent::Stalled(refusal));
        Ok(())
    }

    /// Sends again once nothing stands against it.
    fn resume(&mut self) {
        if matches!(self.flow, Flow::Rewinding(None)) && self.due.is_empty() {
            self.flow = Flow::Sending;
            self.sent = 0;
        }
    }

    fn close(&mut self, refusal: Refusal) {
        self.outbox.clear();
        self.due.clear();
        self.flow = Flow::Sending;
        self.link = Link::Closed;
        self.events.push_back(ProducerEvent::Closed(refusal));
    }
}
