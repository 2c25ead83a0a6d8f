//! A subscriber's stream: reads what is durable, as far as the peer's credit goes.

use std::collections::VecDeque;
use std::time::Instant;

use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::subscriber::{
    Start, SubscriberOpened, SubscriberRequest, SubscriberServer, Subscription,
};
use takt_protocol::session::{Refusal, SessionError};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{CursorName, Offset, PartitionId};
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, Operation};
use takt_storage::view::{PartitionView, ReadError};

use super::cursor::set_cursor;
use super::read::{Read, ReadFrom};
use super::session::{Context, Request, Session, SessionEvent};
use super::writer::{TicketError, not_done};
use crate::access::{Action, allow};

/// How much is read at a time; one batch may be more.
const READ_BYTES: usize = 128 << 10;

/// So many frames are taken while what was sent before is on its way. Their answers wait for that, and a
/// peer that sends and does not read is to cost no more than them.
const FRAMES_UNSENT_MAX: u32 = 64;

/// One stream of one subscription.
#[derive(Debug)]
pub struct SubscriberSession {
    context: Context,
    state: SubscriberServer,
    subscription: Option<Subscription>,
    /// The partitions in the order in which the stream numbers them.
    places: Vec<Place>,
    /// Where the next look for something to read begins.
    turn: usize,
    /// The place whose read is out.
    reading: Option<usize>,
    /// The commit that the writer has been asked for: all else waits for it.
    committing: Option<u64>,
    /// Frames that were taken since nothing was unsent.
    taken_unsent: u32,
    events: VecDeque<SessionEvent>,
}

/// How far a partition has been read.
#[derive(Debug)]
struct Place {
    slot: Slot,
    next: Offset,
}

impl SubscriberSession {
    /// For a stream whose hello has been accepted.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            state: SubscriberServer::new(),
            subscription: None,
            places: Vec::new(),
            turn: 0,
            reading: None,
            committing: None,
            taken_unsent: 0,
            events: VecDeque::new(),
        }
    }

    fn open(&mut self, subscription: Subscription) -> Result<SubscriberOpened, Refusal> {
        let Context { peer, place, view, .. } = &self.context;
        allow(peer, Action::Consume, place)
            .inspect_err(|_| self.events.push_back(SessionEvent::Denied(Action::Consume)))?;
        let topics = view.topics();
        let Some(first) = topics.iter().find(|topic| topic.name == subscription.topic) else {
            let detail = format!("there is no topic {}", subscription.topic);
            return Err(Refusal::new(ErrorCode::UnknownTopic, detail));
        };
        let topic_partitions = first.settings.partitions;
        let mut opened = Vec::new();
        for partition in view.partitions(&subscription.topic) {
            if is_wanted(&subscription, &partition) {
                let start = self.start(&subscription, &partition)?;
                self.places.push(Place { slot: partition.slot, next: start });
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
        let view = &self.context.view;
        let wanted = match &subscription.start {
            Start::Earliest => partition.start,
            Start::Latest => partition.end,
            Start::Time(time) => view
                .offset_at(partition.slot, *time)
                .map_err(|e| Refusal::new(ErrorCode::Internal, e.to_string()))?,
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
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        }
        Ok(wanted)
    }

    fn commit(
        &self,
        cursor: CursorName,
        hold: Option<bool>,
        positions: &[(PartitionId, Offset)],
    ) -> Result<Operation, Refusal> {
        let Some(subscription) = &self.subscription else {
            return Err(Refusal::new(ErrorCode::Protocol, "a commit before the subscription"));
        };
        set_cursor(&self.context.view, cursor, &subscription.topic, hold, positions)
    }

    /// A topic is the union of its origins, and a new one may appear.
    fn add_new_partitions(&mut self) {
        let Some(subscription) = &self.subscription else { return };
        let partitions = self.context.view.partitions(&subscription.topic);
        if partitions.len() == self.places.len() {
            return;
        }
        for partition in partitions {
            let known = self.places.iter().any(|place| place.slot == partition.slot);
            if !known && is_wanted(subscription, &partition) {
                self.places.push(Place { slot: partition.slot, next: partition.start });
                self.state.on_partition(&partition.id, partition.start);
            }
        }
    }
}

impl Session for SubscriberSession {
    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        self.taken_unsent += 1;
        self.state.handle_frame(now, frame)
    }

    fn wants_frames(&self, unsent: bool) -> bool {
        self.committing.is_none() && (!unsent || self.taken_unsent < FRAMES_UNSENT_MAX)
    }

    fn poll_request(&mut self) -> Option<Request> {
        while self.committing.is_none() {
            match self.state.poll_event()? {
                SubscriberRequest::Open(subscription) => {
                    let opened = self.open(subscription);
                    self.state.on_opened(opened);
                }
                SubscriberRequest::Commit { token, cursor, hold, positions } => {
                    match self.commit(cursor, hold, &positions) {
                        Ok(operation) => {
                            self.committing = Some(token);
                            return Some(Request { number: Some(token), operation, bytes: 0 });
                        }
                        Err(refused) => self.state.on_committed(token, Err(refused)),
                    }
                }
            }
        }
        None
    }

    fn on_answer(&mut self, _number: u64, answer: Result<Answer, TicketError>) {
        let Some(token) = self.committing.take() else { return };
        let committed = match answer {
            Ok(Answer::CursorSet) => Ok(()),
            other => Err(not_done(other)),
        };
        self.state.on_committed(token, committed);
    }

    fn poll_read(&mut self) -> Option<Read> {
        self.taken_unsent = 0;
        let busy = self.reading.is_some() || self.committing.is_some();
        if busy || self.subscription.is_none() || self.state.credit() == 0 {
            return None;
        }
        self.add_new_partitions();
        for step in 0..self.places.len() {
            let number = (self.turn + step) % self.places.len();
            let Place { slot, next } = self.places[number];
            if self.context.view.end(slot).is_none_or(|end| end <= next) {
                continue;
            }
            self.turn = number + 1;
            self.reading = Some(number);
            let max_bytes = READ_BYTES.min(self.state.credit());
            return Some(Read { slot, from: ReadFrom::Offset(next), max_bytes });
        }
        None
    }

    fn on_read(&mut self, read: Result<Vec<StoredBatch>, ReadError>) {
        let Some(number) = self.reading.take() else { return };
        let place = &mut self.places[number];
        let number_on_stream = u32::try_from(number).expect("far fewer partitions");
        match read {
            Ok(batches) => {
                for batch in batches {
                    place.next = batch.end_offset();
                    self.state.deliver(number_on_stream, &batch);
                }
            }
            Err(ReadError::Trimmed { start }) => {
                place.next = start;
                self.state.on_trimmed(number_on_stream, start);
            }
            // The file was dropped between the look-up and the read: look again.
            Err(ReadError::Gone) => {}
            Err(error) => {
                let (slot, detail) = (place.slot, error.to_string());
                self.events.push_back(SessionEvent::ReadFailed { slot, detail: detail.clone() });
                self.state.close(Refusal::new(ErrorCode::Internal, detail));
            }
        }
    }

    fn awaits_commits(&self) -> bool {
        true
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

    fn end(&mut self, _lost: bool) -> Option<Operation> {
        None
    }
}

fn is_wanted(subscription: &Subscription, partition: &PartitionView) -> bool {
    subscription.origin.as_ref().is_none_or(|origin| *origin == partition.id.origin)
}
