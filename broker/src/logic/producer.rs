//! A producer's stream: batches are checked and hashed here, in parallel with all other sessions,
//! and judged by the writer.

use std::collections::VecDeque;
use std::time::Instant;

use takt_protocol::batch::{Batch, Compression};
use takt_protocol::codes::ErrorCode;
use takt_protocol::hashing::DigestHasher;
use takt_protocol::session::producer::{
    ProducerOpened, ProducerRequest, ProducerServer, ServerLimits,
};
use takt_protocol::session::{Refusal, SessionError};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{Epoch, ProducerId, TopicName};
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation};

use super::session::{Context, Request, Session, SessionEvent};
use super::writer::{TicketError, not_done};
use crate::access::{Action, allow};

/// One compressed batch in so many has its digests recomputed; of the others every one.
const COMPRESSED_CHECKED: u64 = 64;

/// The number of the request that opens the producer: no batch is taken before its answer.
const OPEN: u64 = 0;

/// One stream of one producer.
#[derive(Debug)]
pub struct ProducerSession {
    context: Context,
    state: ProducerServer,
    stage: Stage,
    hasher: DigestHasher,
    batches: u64,
    events: VecDeque<SessionEvent>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    /// The writer has been asked for an incarnation.
    Opening {
        producer: ProducerId,
        topic: TopicName,
    },
    Open(Opened),
}

#[derive(Debug)]
struct Opened {
    producer: ProducerId,
    topic: TopicName,
    epoch: Epoch,
    partitions: u16,
}

impl ProducerSession {
    /// For a stream whose hello has been accepted.
    pub fn new(context: Context) -> Self {
        let limits = ServerLimits { in_flight_bytes_max: context.session_bytes_max };
        Self {
            state: ProducerServer::new(context.peer.to_string(), limits),
            context,
            stage: Stage::Waiting,
            hasher: DigestHasher::default(),
            batches: 0,
            events: VecDeque::new(),
        }
    }

    fn open(
        &mut self,
        producer: ProducerId,
        topic: TopicName,
        transient: bool,
    ) -> Result<Request, Refusal> {
        let Context { peer, place, .. } = &self.context;
        allow(peer, Action::Produce, place)
            .inspect_err(|_| self.events.push_back(SessionEvent::Denied(Action::Produce)))?;
        self.stage = Stage::Opening { producer: producer.clone(), topic: topic.clone() };
        let operation = Operation::OpenProducer { producer, topic, transient };
        Ok(Request { number: Some(OPEN), operation, bytes: 0 })
    }

    fn submit(&mut self, ticket: u64, batch: Batch) -> Result<Request, Refusal> {
        let Stage::Open(opened) = &self.stage else {
            let what = "a batch before the producer was opened";
            return Err(Refusal::new(ErrorCode::Protocol, what));
        };
        let Opened { producer, topic, epoch, partitions } = opened;
        let compressed = batch.header().compression != Compression::None;
        let digests = !compressed || self.batches.is_multiple_of(COMPRESSED_CHECKED);
        self.batches += 1;
        let mut keys = KeyHashes::default();
        let hasher = self.context.view.key_hasher();
        let digests = digests.then_some(&mut self.hasher);
        let checked = hasher.check_and_hash(topic, &batch, *partitions, digests, &mut keys);
        if let Err(error) = checked {
            let (producer, detail) = (producer.clone(), error.to_string());
            self.events.push_back(SessionEvent::BadBatch { producer, detail: detail.clone() });
            return Err(Refusal::new(ErrorCode::BadBatch, detail));
        }
        let bytes = batch.header().len;
        let operation = Operation::Publish {
            producer: producer.clone(),
            topic: topic.clone(),
            epoch: *epoch,
            batch,
            keys,
        };
        Ok(Request { number: Some(ticket), operation, bytes })
    }

    fn on_opened(
        &mut self,
        producer: ProducerId,
        topic: TopicName,
        answer: Result<Answer, TicketError>,
    ) {
        self.stage = Stage::Waiting;
        let opened = match answer {
            Ok(Answer::ProducerOpened(opened)) => opened,
            other => return self.state.on_opened(Err(not_done(other))),
        };
        let (epoch, partitions) = (opened.epoch, opened.partitions);
        self.stage = Stage::Open(Opened { producer: producer.clone(), topic, epoch, partitions });
        self.state.on_opened(Ok(ProducerOpened {
            producer,
            epoch,
            last_sequence: opened.last_sequence,
            partitions,
            kept: opened.kept,
        }));
    }
}

impl Session for ProducerSession {
    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        self.state.handle_frame(now, frame)
    }

    /// Receipts that the peer does not read wait in the session, and nothing more is read.
    fn wants_frames(&self, unsent: bool) -> bool {
        !unsent && !matches!(self.stage, Stage::Opening { .. }) && self.state.wants_frames()
    }

    fn poll_request(&mut self) -> Option<Request> {
        while let Some(event) = self.state.poll_event() {
            match event {
                ProducerRequest::Open { producer, topic, transient } => {
                    match self.open(producer, topic, transient) {
                        Ok(request) => return Some(request),
                        Err(refused) => self.state.on_opened(Err(refused)),
                    }
                }
                ProducerRequest::Submit { ticket, batch } => match self.submit(ticket, batch) {
                    Ok(request) => return Some(request),
                    Err(refused) => self.state.on_judged(ticket, Err(refused)),
                },
            }
        }
        None
    }

    fn on_answer(&mut self, number: u64, answer: Result<Answer, TicketError>) {
        if let Stage::Opening { producer, topic } = &self.stage {
            let (producer, topic) = (producer.clone(), topic.clone());
            return self.on_opened(producer, topic, answer);
        }
        let judged = match answer {
            Ok(Answer::Receipt(receipt)) => Ok(receipt),
            other => Err(not_done(other)),
        };
        self.state.on_judged(number, judged);
    }

    fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.state.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Lets the store forget a transient producer in time.
    fn end(&mut self, lost: bool) -> Option<Operation> {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Open(Opened { producer, topic, epoch, .. }) => {
                Some(Operation::CloseProducer { lost, producer, topic, epoch })
            }
            Stage::Waiting | Stage::Opening { .. } => None,
        }
    }
}
