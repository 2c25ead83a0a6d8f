//! A plant's link at the hub: its batches are checked here and stored as they are.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use takt_protocol::batch::StoredBatch;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorTarget, MirrorTargetEvent, MirrorTopic,
};
use takt_protocol::session::{Refusal, SessionError};
use takt_protocol::wire::{Frame, OutFrame};
use takt_protocol::words::{JournalId, NodeName, PartitionNumber, TopicName};
use takt_storage::keys::KeyHashes;
use takt_storage::runs::Slot;
use takt_storage::store::{self, Answer, Operation};

use super::convert;
use super::session::{Context, Request, Session, SessionEvent};
use super::writer::{TicketError, not_done};
use crate::access::{Action, allow};

/// How often a full disk is looked at, and how long, before a link is sent away.
const ROOM_PAUSE: Duration = Duration::from_millis(250);
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// The number of the request that opens the mirrors: no batch is taken before its answer.
const OPEN: u64 = 0;

/// One stream of one origin.
#[derive(Debug)]
pub struct MirrorSession {
    context: Context,
    state: MirrorTarget,
    stage: Stage,
    requests: VecDeque<Request>,
    /// Bytes of each batch that the store has not answered.
    in_flight: BTreeMap<u64, usize>,
    replaced: bool,
    events: VecDeque<SessionEvent>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    /// The disk is full: look again at `next`, until `until`.
    Room {
        opening: Opening,
        next: Instant,
        until: Instant,
    },
    /// The writer has been asked where the mirrors end.
    Opening(Opening),
    Open(Link),
}

/// What the origin wants to mirror.
#[derive(Debug)]
struct Opening {
    origin: NodeName,
    journal: JournalId,
    topics: Vec<store::MirrorTopic>,
}

/// An open link.
#[derive(Debug)]
struct Link {
    origin: NodeName,
    journal: JournalId,
    /// By the topic's place in the link's list.
    slots: BTreeMap<(u16, PartitionNumber), Slot>,
    topics: Vec<TopicName>,
    /// Where empty mirrors begin other than at batch 0, until their first batch has come.
    starts: Vec<MirrorEnd>,
}

impl MirrorSession {
    /// For a stream whose hello has been accepted.
    pub fn new(context: Context) -> Self {
        Self {
            state: MirrorTarget::new(context.session_bytes_max),
            context,
            stage: Stage::Waiting,
            requests: VecDeque::new(),
            in_flight: BTreeMap::new(),
            replaced: false,
            events: VecDeque::new(),
        }
    }

    fn on_event(&mut self, now: Instant, event: MirrorTargetEvent) {
        match event {
            MirrorTargetEvent::Open { origin, journal, topics } => {
                match self.check_open(origin, journal, topics) {
                    Ok(opening) => self.open_with_room(now, now + ROOM_WAIT, opening),
                    Err(refused) => self.refuse_open(refused),
                }
            }
            MirrorTargetEvent::Batch { ticket, topic, partition, batch } => {
                if let Err(refused) = self.submit(ticket, topic, partition, batch) {
                    self.report_refused(&refused);
                    self.state.on_stored(ticket, Err(refused));
                }
            }
            MirrorTargetEvent::Started(starts) => {
                if let Stage::Open(link) = &mut self.stage {
                    link.starts = starts;
                    self.events.push_back(SessionEvent::LinkUp(link.origin.clone()));
                }
            }
            MirrorTargetEvent::Diverged(detail) => {
                self.report_refused(&Refusal::new(ErrorCode::Diverged, detail));
            }
        }
    }

    fn check_open(
        &mut self,
        origin: NodeName,
        journal: JournalId,
        topics: Vec<MirrorTopic>,
    ) -> Result<Opening, Refusal> {
        let Context { peer, place, .. } = &self.context;
        allow(peer, Action::Replicate, place)
            .inspect_err(|_| self.events.push_back(SessionEvent::Denied(Action::Replicate)))?;
        if peer.plant() != Some(origin.as_str()) {
            let detail = format!("{peer} may not replicate for {origin}");
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        let named = topics.into_iter().map(|topic| {
            let settings = convert::settings_from_wire(&topic.settings)?;
            Ok(store::MirrorTopic { name: topic.name, settings })
        });
        Ok(Opening { origin, journal, topics: named.collect::<Result<_, Refusal>>()? })
    }

    /// A full disk gives no credit: the link is not opened before there is room. The origin keeps
    /// what it has, and is asked to dial again once in a while, so that a dead one is noticed.
    fn open_with_room(&mut self, now: Instant, until: Instant, opening: Opening) {
        if !self.context.view.status().full {
            let operation = Operation::OpenMirror {
                origin: opening.origin.clone(),
                journal: opening.journal,
                topics: opening.topics.clone(),
            };
            self.requests.push_back(Request { number: Some(OPEN), operation, bytes: 0 });
            self.stage = Stage::Opening(opening);
        } else if now < until {
            self.stage = Stage::Room { opening, next: now + ROOM_PAUSE, until };
        } else {
            self.refuse_open(Refusal::new(ErrorCode::Full, "the hub's disk is full"));
        }
    }

    fn refuse_open(&mut self, refused: Refusal) {
        self.stage = Stage::Waiting;
        self.report_refused(&refused);
        self.state.on_opened(Err(refused));
    }

    fn on_opened(&mut self, opening: Opening, answer: Result<Answer, TicketError>) {
        let ends = match answer {
            Ok(Answer::MirrorOpened(ends)) => ends,
            other => return self.refuse_open(not_done(other)),
        };
        let Opening { origin, journal, topics } = opening;
        let topics: Vec<TopicName> = topics.into_iter().map(|topic| topic.name).collect();
        let mut slots = BTreeMap::new();
        let mut told = Vec::with_capacity(ends.len());
        for end in ends {
            let place = topics.iter().position(|topic| *topic == end.topic);
            let Some(topic) = place.and_then(|place| u16::try_from(place).ok()) else { continue };
            slots.insert((topic, end.partition), end.slot);
            let point = end.end.map(|point| ChainPoint {
                journal,
                next_batch: point.next_batch,
                chain: point.chain,
            });
            told.push(MirrorEnd { topic, partition: end.partition, end: point });
        }
        self.events.push_back(SessionEvent::LinkOpened(origin.clone()));
        self.stage = Stage::Open(Link { origin, journal, slots, topics, starts: Vec::new() });
        self.state.on_opened(Ok(told));
    }

    fn submit(
        &mut self,
        ticket: u64,
        topic: u16,
        partition: PartitionNumber,
        batch: StoredBatch,
    ) -> Result<(), Refusal> {
        let Stage::Open(link) = &mut self.stage else {
            return Err(Refusal::new(ErrorCode::Protocol, "a batch before the start"));
        };
        let place = (topic, partition);
        let slot = link.slots.get(&place).zip(link.topics.get(usize::from(topic)));
        let Some((&slot, topic)) = slot else {
            let what = "a batch of a partition that is not open";
            return Err(Refusal::new(ErrorCode::Protocol, what));
        };
        let mut keys = KeyHashes::default();
        let hasher = self.context.view.key_hasher();
        if let Err(error) = hasher.hash_stored(topic, &batch, &mut keys) {
            let (producer, detail) = (batch.header().producer.clone(), error.to_string());
            self.events.push_back(SessionEvent::BadBatch { producer, detail: detail.clone() });
            return Err(Refusal::new(ErrorCode::BadBatch, detail));
        }
        let journal = link.journal;
        let start = link.starts.iter().position(|s| (s.topic, s.partition) == place);
        if let Some(point) = start.and_then(|at| link.starts.swap_remove(at).end) {
            let operation = Operation::StartMirror {
                slot,
                journal,
                batch: point.next_batch,
                offset: batch.header().base_offset,
                chain: point.chain,
            };
            // Where it is refused, so is the batch behind it, and that answer is waited for.
            self.requests.push_back(Request { number: None, operation, bytes: 0 });
        }
        let bytes = batch.len();
        self.in_flight.insert(ticket, bytes);
        let operation = Operation::Mirror { slot, journal, batch, keys };
        self.requests.push_back(Request { number: Some(ticket), operation, bytes });
        Ok(())
    }

    fn on_stored(&mut self, ticket: u64, answer: Result<Answer, TicketError>) {
        let bytes = self.in_flight.remove(&ticket).unwrap_or_default();
        let stored = match answer {
            Ok(Answer::Mirrored { end, .. }) => Ok(end.next_batch),
            other => Err(not_done(other)),
        };
        match (&stored, &self.stage) {
            (Ok(_), Stage::Open(link)) => {
                self.events.push_back(SessionEvent::LinkAcked(link.origin.clone()));
            }
            (Ok(_), Stage::Waiting | Stage::Room { .. } | Stage::Opening(_)) => {}
            (Err(refused), _) => self.report_refused(&refused.clone()),
        }
        self.state.on_stored(ticket, stored);
        self.state.grant(bytes);
    }

    fn report_refused(&mut self, refused: &Refusal) {
        self.events.push_back(SessionEvent::LinkRefused(refused.clone()));
    }
}

impl Session for MirrorSession {
    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), SessionError> {
        let handled = self.state.handle_frame(now, frame);
        if let Err(error) = &handled {
            self.report_refused(&Refusal::new(error.code(), error.to_string()));
        }
        while let Some(event) = self.state.poll_event() {
            self.on_event(now, event);
        }
        handled
    }

    fn wants_frames(&self, _unsent: bool) -> bool {
        match self.stage {
            Stage::Waiting | Stage::Open(_) => true,
            Stage::Room { .. } | Stage::Opening(_) => false,
        }
    }

    fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    fn on_answer(&mut self, number: u64, answer: Result<Answer, TicketError>) {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Opening(opening) => self.on_opened(opening, answer),
            stage @ (Stage::Waiting | Stage::Room { .. } | Stage::Open(_)) => {
                self.stage = stage;
                self.on_stored(number, answer);
            }
        }
    }

    fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.state.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Room { next, .. } => Some(next),
            Stage::Waiting | Stage::Opening(_) | Stage::Open(_) => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Room { opening, next, until } if now >= next => {
                self.open_with_room(now, until, opening);
            }
            stage @ (Stage::Waiting | Stage::Room { .. } | Stage::Opening(_) | Stage::Open(_)) => {
                self.stage = stage;
            }
        }
    }

    fn on_replaced(&mut self) {
        self.replaced = true;
        self.state.close(Refusal::new(ErrorCode::LinkReplaced, "a newer link is open"));
    }

    fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// A link that was replaced leaves what its successor says of it.
    fn end(&mut self, _lost: bool) -> Option<Operation> {
        if let Stage::Open(link) = &self.stage
            && !self.replaced
        {
            self.events.push_back(SessionEvent::LinkClosed(link.origin.clone()));
        }
        None
    }
}
