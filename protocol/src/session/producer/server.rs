//! The side that judges.

use std::collections::VecDeque;
use std::time::Instant;

use crate::batch::Batch;
use crate::limits::{FRAME_BYTES_MAX, IN_FLIGHT_BATCHES_MAX};
use crate::wire::{
    BatchReceipt, ControlBody, Frame, FrameKind, OutFrame, decode_control, proto, receipts_frame,
    take_batches,
};
use crate::words::{ProducerId, Sequence, TopicName};

use super::super::error::SessionError;
use super::super::outbox::{Outbox, small, split};
use super::super::refusal::Refusal;
use super::{KeptReceipt, ProducerOpened};

/// How much a session may have in flight.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// From here on [`ProducerServer::wants_frames`] is false; the frame that reaches it is still
    /// taken. In bytes.
    pub in_flight_bytes_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { in_flight_bytes_max: 8 << 20 }
    }
}

/// What the client wants.
#[derive(Debug, Clone)]
pub enum ProducerRequest {
    /// The session is to be opened: answer with [`ProducerServer::on_opened`].
    Open {
        /// Who produces.
        producer: ProducerId,
        /// The topic.
        topic: TopicName,
        /// Whether the producer may be forgotten after its session.
        transient: bool,
    },
    /// A batch is to be judged: answer with [`ProducerServer::on_judged`], in any order. Only its
    /// header has been checked.
    Submit {
        /// Which one.
        ticket: u64,
        /// The batch.
        batch: Batch,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Opening,
    Open,
    Closed,
}

#[derive(Debug)]
struct InFlight {
    first: Sequence,
    bytes: usize,
    answer: Option<Result<BatchReceipt, Refusal>>,
}

/// The judging half: one stream of one producer.
#[derive(Debug)]
pub struct ProducerServer {
    identity: String,
    limits: ServerLimits,
    state: State,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// The ticket of the front of `in_flight`.
    front_ticket: u64,
    outbox: Outbox,
    requests: VecDeque<ProducerRequest>,
}

impl ProducerServer {
    /// For a stream whose hello has been accepted, of a peer with this certificate identity.
    pub fn new(identity: String, limits: ServerLimits) -> Self {
        Self {
            identity,
            limits,
            state: State::Waiting,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            front_ticket: 0,
            outbox: Outbox::default(),
            requests: VecDeque::new(),
        }
    }

    /// Batches, and their bytes, that have not been answered.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.in_flight.len(), self.in_flight_bytes)
    }

    /// Whether to read from the stream: false while too many bytes are in flight.
    pub fn wants_frames(&self) -> bool {
        self.in_flight_bytes < self.limits.in_flight_bytes_max && !self.is_closed()
    }

    /// Whether the session is over: send what is left to send, then close the stream.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
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
    pub fn poll_event(&mut self) -> Option<ProducerRequest> {
        self.requests.pop_front()
    }

    /// The answer to [`ProducerRequest::Open`].
    pub fn on_opened(&mut self, opened: Result<ProducerOpened, Refusal>) {
        if self.state != State::Opening {
            return;
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.close(refusal),
        };
        self.state = State::Open;
        let kept = |kept: &KeptReceipt| {
            let mut bytes = Vec::new();
            kept.receipt.encode(&mut bytes);
            proto::KeptReceipt { receipt: bytes.into(), crc: kept.crc }
        };
        for (kept, more) in split(opened.kept.iter().map(kept).collect()) {
            self.outbox.small(ControlBody::ProducerOpened(proto::ProducerOpened {
                producer_id: opened.producer.as_str().to_owned(),
                epoch: opened.epoch.get(),
                last_sequence: opened.last_sequence.get(),
                partitions: u32::from(opened.partitions),
                kept,
                more,
            }));
        }
    }

    /// The answer to a [`ProducerRequest::Submit`]. A receipt must be durable. Behind a refusal
    /// other than `Full` and `Gap` the session is over and further answers are dropped.
    pub fn on_judged(&mut self, ticket: u64, judged: Result<BatchReceipt, Refusal>) {
        let place = ticket.checked_sub(self.front_ticket).and_then(|at| usize::try_from(at).ok());
        if let Some(in_flight) = place.and_then(|at| self.in_flight.get_mut(at)) {
            in_flight.answer = Some(judged);
        }
    }

    /// Ends the session: the node is stopping, or a newer producer has taken over.
    pub fn close(&mut self, refusal: Refusal) {
        // What is durable is told: the client may never ask again.
        while let Some(frame) = self.poll_answers() {
            self.outbox.push(frame);
        }
        if !self.is_closed() {
            self.end();
            self.outbox.error(refusal);
        }
    }

    /// What to send next. Answers leave in the order of the batches; receipts that are ready share
    /// a frame.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop().or_else(|| self.poll_answers())
    }

    fn poll_answers(&mut self) -> Option<OutFrame> {
        let mut receipts = Vec::new();
        while let Some(InFlight { answer: Some(Ok(receipt)), .. }) = self.in_flight.front() {
            let before = receipts.len();
            receipt.encode(&mut receipts);
            if receipts.len() > FRAME_BYTES_MAX - 1 && before > 0 {
                receipts.truncate(before);
                break;
            }
            self.pop();
        }
        if !receipts.is_empty() {
            return Some(receipts_frame(&receipts).expect("a receipt is far below a frame"));
        }
        let InFlight { first, answer: Some(Err(refusal)), .. } = self.in_flight.front()? else {
            return None;
        };
        let (first, refusal) = (*first, refusal.clone());
        self.pop();
        if !refusal.is_resend() {
            self.end();
        }
        Some(small(ControlBody::Error(refusal.into_error(Some(first)))))
    }

    fn receive(&mut self, frame: Frame) -> Result<(), SessionError> {
        match frame.kind {
            FrameKind::Control => {
                let ControlBody::OpenProducer(open) = decode_control(frame)? else {
                    return Err(SessionError::unexpected(
                        "a control message that no producer sends",
                    ));
                };
                if self.state != State::Waiting {
                    return Err(SessionError::unexpected("a second open on one stream"));
                }
                let producer = ProducerId::new(&self.identity, &open.name)?;
                let topic = TopicName::new(&open.topic)?;
                let transient = open.transient;
                self.state = State::Opening;
                self.requests.push_back(ProducerRequest::Open { producer, topic, transient });
                Ok(())
            }
            FrameKind::Publish if self.state == State::Open => self.published(frame),
            FrameKind::Publish => {
                Err(SessionError::unexpected("batches before the session is open"))
            }
            FrameKind::Receipts | FrameKind::Deliver | FrameKind::Mirror => {
                Err(SessionError::unexpected("a frame of a kind that no producer sends"))
            }
        }
    }

    fn published(&mut self, frame: Frame) -> Result<(), SessionError> {
        let batches = take_batches(frame.body)?;
        if self.in_flight.len() + batches.len() > IN_FLIGHT_BATCHES_MAX {
            return Err(SessionError::TooManyInFlight);
        }
        for batch in batches {
            let ticket = self.front_ticket + self.in_flight.len() as u64;
            let (first, bytes) = (batch.header().first_sequence, batch.header().len);
            self.in_flight_bytes += bytes;
            self.in_flight.push_back(InFlight { first, bytes, answer: None });
            self.requests.push_back(ProducerRequest::Submit { ticket, batch });
        }
        Ok(())
    }

    fn pop(&mut self) {
        if let Some(gone) = self.in_flight.pop_front() {
            self.in_flight_bytes -= gone.bytes;
            self.front_ticket += 1;
        }
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.front_ticket += self.in_flight.len() as u64;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.requests.clear();
    }
}
