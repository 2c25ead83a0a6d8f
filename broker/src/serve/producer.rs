//! A producer's stream: batches are checked and hashed here, in parallel with all other sessions,
//! and judged by the writer.

use std::sync::Arc;

use takt_client::tls::Identity;
use takt_protocol::batch::{Batch, Compression};
use takt_protocol::codes::ErrorCode;
use takt_protocol::hashing::DigestHasher;
use takt_protocol::session::Refusal;
use takt_protocol::session::producer::{
    ProducerOpened, ProducerRequest, ProducerServer, ServerLimits,
};
use takt_protocol::words::{Epoch, ProducerId, TopicName};
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Stream, not_done, now, receive, refusal};
use crate::access::Action;
use crate::node::Inner;
use crate::writer::Ticket;

/// One compressed batch in so many has its digests recomputed; of the others every one.
const COMPRESSED_CHECKED: u64 = 64;

struct Session<'a> {
    node: &'a Arc<Inner>,
    peer: &'a Identity,
    state: ProducerServer,
    /// What was opened: who, in which topic, with how many partitions.
    opened: Option<(ProducerId, TopicName, Epoch, u16)>,
    answers: mpsc::UnboundedSender<(u64, Answer)>,
    hasher: DigestHasher,
    batches: u64,
}

pub(super) async fn serve(
    node: &Arc<Inner>,
    peer: &Identity,
    mut stream: Stream,
) -> Result<(), String> {
    let limits = ServerLimits { in_flight_bytes_max: node.session_bytes_max };
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut session = Session {
        node,
        peer,
        state: ProducerServer::new(peer.to_string(), limits),
        opened: None,
        answers,
        hasher: DigestHasher::default(),
        batches: 0,
    };
    let mut frame = None;
    let result = loop {
        if let Some(frame) = frame.take()
            && let Err(error) = session.state.handle_frame(now(), frame)
        {
            break Err(error.to_string());
        }
        while let Some(event) = session.state.poll_event() {
            session.on_event(event).await;
        }
        while let Ok((number, answer)) = answered.try_recv() {
            session.on_answer(number, answer);
        }
        // Receipts that the peer does not read wait in the session, and nothing more is read.
        while !stream.send.has_queued()
            && let Some(frame) = session.state.poll_transmit()
        {
            stream.send.queue(frame);
        }
        if session.state.is_closed() {
            break Ok(());
        }
        let may_read = session.state.wants_frames() && !stream.send.has_queued();
        tokio::select! {
            sent = stream.send.flush(), if stream.send.has_queued() => {
                if sent.is_err() { break Ok(()); }
            }
            Some((number, answer)) = answered.recv() => session.on_answer(number, answer),
            received = receive(&mut stream.recv), if may_read => match received {
                Ok(received) => frame = Some(received),
                Err(end) => break end,
            },
        }
    };
    // What was queued may be the reason for the end.
    stream.end(std::iter::from_fn(|| session.state.poll_transmit())).await;
    session.close().await;
    result
}

impl Session<'_> {
    async fn on_event(&mut self, event: ProducerRequest) {
        match event {
            ProducerRequest::Open { producer, topic, transient } => {
                let opened = self.open(producer, topic, transient).await;
                self.state.on_opened(opened);
            }
            ProducerRequest::Submit { ticket, batch } => {
                if let Err(refused) = self.submit(ticket, batch).await {
                    self.state.on_judged(ticket, Err(refused));
                }
            }
        }
    }

    async fn open(
        &mut self,
        producer: ProducerId,
        topic: TopicName,
        transient: bool,
    ) -> Result<ProducerOpened, Refusal> {
        self.node.allow(self.peer, Action::Produce)?;
        let operation =
            Operation::OpenProducer { producer: producer.clone(), topic: topic.clone(), transient };
        match self.node.ask(operation).await {
            Ok(Answer::ProducerOpened(opened)) => {
                self.opened = Some((producer.clone(), topic, opened.epoch, opened.partitions));
                Ok(ProducerOpened {
                    producer,
                    epoch: opened.epoch,
                    last_sequence: opened.last_sequence,
                    partitions: opened.partitions,
                    kept: opened.kept,
                })
            }
            other => Err(not_done(other)),
        }
    }

    async fn submit(&mut self, ticket: u64, batch: Batch) -> Result<(), Refusal> {
        let Some((producer, topic, epoch, partitions)) = &self.opened else {
            return Err(refusal(ErrorCode::Protocol, "a batch before the producer was opened"));
        };
        let permit = budget(self.node, batch.header().len).await?;
        let compressed = batch.header().compression != Compression::None;
        let digests = !compressed || self.batches.is_multiple_of(COMPRESSED_CHECKED);
        self.batches += 1;
        let mut keys = KeyHashes::default();
        let hasher = self.node.view.key_hasher();
        let checked = batch
            .check(*partitions)
            .and_then(|()| if digests { batch.check_digests(&mut self.hasher) } else { Ok(()) })
            .and_then(|()| hasher.hash_batch(topic, &batch, &mut keys));
        if let Err(error) = checked {
            self.node.counters.bad_batch();
            tracing::warn!(%producer, %error, "a batch was refused");
            return Err(refusal(ErrorCode::BadBatch, error.to_string()));
        }
        let operation = Operation::Publish {
            producer: producer.clone(),
            topic: topic.clone(),
            epoch: *epoch,
            batch,
            keys,
        };
        self.node
            .writer
            .submit(operation, Ticket::session(&self.answers, ticket, permit))
            .map_err(|stopped| refusal(ErrorCode::Stopping, stopped.to_string()))
    }

    fn on_answer(&mut self, ticket: u64, answer: Answer) {
        let judged = if let Answer::Receipt(receipt) = answer {
            Ok(receipt)
        } else {
            Err(not_done(Ok(answer)))
        };
        self.state.on_judged(ticket, judged);
    }

    /// Lets the store forget a transient producer in time.
    async fn close(&mut self) {
        if let Some((producer, topic, epoch, _)) = self.opened.take() {
            // A stopping node hears of it no more, and finds out at its next start.
            let _ = self.node.ask(Operation::CloseProducer { producer, topic, epoch }).await;
        }
    }
}

/// A share of the node's byte budget, waited for.
pub(super) async fn budget(
    node: &Arc<Inner>,
    bytes: usize,
) -> Result<OwnedSemaphorePermit, Refusal> {
    let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    Arc::clone(&node.budget)
        .acquire_many_owned(kib)
        .await
        .map_err(|_| refusal(ErrorCode::Stopping, "the node is stopping"))
}
