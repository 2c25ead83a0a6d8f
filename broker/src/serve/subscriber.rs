//! A subscriber's stream: reads what is durable, as far as the peer's credit goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use takt_client::tls::Identity;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::session::subscriber::{
    Start, SubscriberOpened, SubscriberRequest, SubscriberServer, Subscription,
};
use takt_protocol::words::{CursorName, Offset, PartitionId, TopicName};
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, Operation};
use takt_storage::view::{PartitionView, ReadError};

use super::{Stream, not_done, now, receive, refusal};
use crate::access::Action;
use crate::node::Inner;

/// How much is read at a time; one batch may be more.
const READ_BYTES: usize = 128 << 10;

struct Session<'a> {
    node: &'a Arc<Inner>,
    peer: &'a Identity,
    state: SubscriberServer,
    subscription: Option<Subscription>,
    /// The partitions in the order in which the stream numbers them.
    reads: Vec<Read>,
    /// Where the next look for something to read begins.
    turn: usize,
}

/// How far a partition has been read.
struct Read {
    slot: Slot,
    next: Offset,
}

pub(super) async fn serve(
    node: &Arc<Inner>,
    peer: &Identity,
    mut stream: Stream,
) -> Result<(), String> {
    let mut session = Session {
        node,
        peer,
        state: SubscriberServer::new(),
        subscription: None,
        reads: Vec::new(),
        turn: 0,
    };
    let mut durable = node.writer.state();
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
        durable.borrow_and_update();
        // One read at a time, and only when the one before is on its way: memory for a slow
        // reader is one read and the stream's window.
        let more = !stream.send.has_queued() && session.deliver().await;
        while let Some(frame) = session.state.poll_transmit() {
            stream.send.queue(frame);
        }
        if session.state.is_closed() {
            break Ok(());
        }
        let queued = stream.send.has_queued();
        tokio::select! {
            sent = stream.send.flush(), if queued => {
                if sent.is_err() { break Ok(()); }
            }
            changed = durable.changed(), if !more && !queued => {
                if changed.is_err() { break Ok(()); }
            }
            received = receive(&mut stream.recv) => match received {
                Ok(received) => frame = Some(received),
                Err(end) => break end,
            },
        }
    };
    stream.end(std::iter::from_fn(|| session.state.poll_transmit())).await;
    result
}

impl Session<'_> {
    async fn on_event(&mut self, event: SubscriberRequest) {
        match event {
            SubscriberRequest::Open(subscription) => {
                let opened = self.open(subscription);
                self.state.on_opened(opened);
            }
            SubscriberRequest::Commit { token, cursor, hold, positions } => {
                let committed = self.commit(cursor, hold, positions).await;
                self.state.on_committed(token, committed);
            }
        }
    }

    fn open(&mut self, subscription: Subscription) -> Result<SubscriberOpened, Refusal> {
        self.node.allow(self.peer, Action::Consume)?;
        let view = &self.node.view;
        let topics = view.topics();
        let of_topic: Vec<_> =
            topics.iter().filter(|topic| topic.name == subscription.topic).collect();
        let Some(first) = of_topic.first() else {
            let detail = format!("there is no topic {}", subscription.topic);
            return Err(refusal(ErrorCode::UnknownTopic, detail));
        };
        let topic_partitions = first.settings.partitions;
        let mut opened = Vec::new();
        for partition in view.partitions(&subscription.topic) {
            if is_wanted(&subscription, &partition) {
                let start = self.start(&subscription, &partition)?;
                self.reads.push(Read { slot: partition.slot, next: start });
                opened.push((partition.id, start));
            }
        }
        self.subscription = Some(subscription);
        Ok(SubscriberOpened { topic_partitions, partitions: opened })
    }

    fn start(
        &self,
        subscription: &Subscription,
        partition: &PartitionView,
    ) -> Result<Offset, Refusal> {
        let view = &self.node.view;
        let wanted = match &subscription.start {
            Start::Earliest => partition.start,
            Start::Latest => partition.end,
            Start::Time(time) => view
                .offset_at(partition.slot, *time)
                .map_err(|e| refusal(ErrorCode::Internal, e.to_string()))?,
            Start::Offsets(offsets) => offsets
                .iter()
                .find(|(id, _)| *id == partition.id)
                .map_or(partition.start, |(_, offset)| *offset),
            Start::Cursor => subscription
                .cursor
                .as_ref()
                .and_then(|name| view.cursors().into_iter().find(|cursor| cursor.name == *name))
                .and_then(|cursor| cursor.positions.get(&partition.slot).copied())
                .unwrap_or(partition.start),
        };
        if wanted > partition.end {
            let detail = format!("{} ends at {}, before {wanted}", partition.id, partition.end);
            return Err(refusal(ErrorCode::BadRequest, detail));
        }
        Ok(wanted)
    }

    async fn commit(
        &self,
        cursor: CursorName,
        hold: bool,
        positions: Vec<(PartitionId, Offset)>,
    ) -> Result<(), Refusal> {
        let Some(subscription) = &self.subscription else {
            return Err(refusal(ErrorCode::Protocol, "a commit before the subscription"));
        };
        set_cursor(self.node, cursor, &subscription.topic, hold, &positions).await
    }

    /// Reads for the next partition that has something. Whether there may be more.
    async fn deliver(&mut self) -> bool {
        if self.subscription.is_none() || self.state.credit() == 0 {
            return false;
        }
        self.add_new_partitions();
        for step in 0..self.reads.len() {
            let number = (self.turn + step) % self.reads.len();
            let Read { slot, next } = self.reads[number];
            if self.node.view.end(slot).is_none_or(|end| end <= next) {
                continue;
            }
            self.turn = number + 1;
            let (view, max) = (self.node.view.clone(), READ_BYTES.min(self.state.credit()));
            let read = tokio::task::spawn_blocking(move || view.read(slot, next, max)).await;
            let number_on_stream = u32::try_from(number).expect("far fewer partitions");
            match read {
                Ok(Ok(batches)) => {
                    for batch in batches {
                        self.reads[number].next = batch.end_offset();
                        self.state.deliver(number_on_stream, &batch);
                    }
                }
                Ok(Err(ReadError::Trimmed { start })) => {
                    self.reads[number].next = start;
                    self.state.on_trimmed(number_on_stream, start);
                }
                // The file was dropped between the look-up and the read: look again.
                Ok(Err(ReadError::Gone)) => {}
                Ok(Err(error)) => {
                    tracing::error!(slot = slot.get(), %next, %error, "a read failed");
                    self.state.close(refusal(ErrorCode::Internal, error.to_string()));
                    return false;
                }
                Err(_) => return false,
            }
            return true;
        }
        false
    }

    /// A topic is the union of its origins, and a new one may appear.
    fn add_new_partitions(&mut self) {
        let Some(subscription) = &self.subscription else { return };
        let partitions = self.node.view.partitions(&subscription.topic);
        if partitions.len() == self.reads.len() {
            return;
        }
        for partition in partitions {
            let known = self.reads.iter().any(|read| read.slot == partition.slot);
            if !known && is_wanted(subscription, &partition) {
                self.reads.push(Read { slot: partition.slot, next: partition.start });
                self.state.on_partition(&partition.id, partition.start);
            }
        }
    }
}

fn is_wanted(subscription: &Subscription, partition: &PartitionView) -> bool {
    subscription.origin.as_ref().is_none_or(|origin| *origin == partition.id.origin)
}

/// Moves a cursor, durably.
pub(super) async fn set_cursor(
    node: &Inner,
    name: CursorName,
    topic: &TopicName,
    hold: bool,
    positions: &[(PartitionId, Offset)],
) -> Result<(), Refusal> {
    let known: BTreeMap<PartitionId, PartitionView> =
        node.view.partitions(topic).into_iter().map(|p| (p.id.clone(), p)).collect();
    let mut slots = Vec::with_capacity(positions.len());
    for (id, offset) in positions {
        let Some(partition) = known.get(id) else {
            return Err(refusal(ErrorCode::NotFound, format!("there is no partition {id}")));
        };
        if *offset > partition.end {
            let detail = format!("{id} ends at {}, before {offset}", partition.end);
            return Err(refusal(ErrorCode::BadRequest, detail));
        }
        slots.push((partition.slot, *offset));
    }
    let operation = Operation::SetCursor { name, topic: topic.clone(), hold, positions: slots };
    match node.ask(operation).await {
        Ok(Answer::CursorSet) => Ok(()),
        other => Err(not_done(other)),
    }
}
