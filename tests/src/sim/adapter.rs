//! An adapter: makes events, keeps them in an outbox until they are answered, and sends again what
//! is not, under the same name, also after it has died.

use std::collections::VecDeque;
use std::time::Instant;

use takt_protocol::batch::{BatchBuilder, Compression, PushError, Verdict};
use takt_protocol::codes::ErrorCode;
use takt_protocol::hashing::route;
use takt_protocol::session::producer::{ProducerClient, ProducerConfig, ProducerEvent};
use takt_protocol::wire::BatchReceipt;
use takt_protocol::words::{PartitionNumber, ProducerId, Sequence, TopicName};

use super::agenda::At;
use super::history::{Answered, Fate, History, IntentId, order_key};
use super::maker::Maker;
use super::net::ConnId;
use super::plan::Plan;

/// Bytes of batches in flight.
const IN_FLIGHT_BYTES: usize = 256 << 10;

/// One life of an adapter's process.
#[derive(Debug)]
pub struct Life {
    /// Its session.
    pub session: ProducerClient,
    /// Its connection, once it has one.
    pub conn: Option<ConnId>,
    /// What it has given to the session and has no answer for, by batch.
    in_flight: VecDeque<(Sequence, Vec<IntentId>)>,
    /// Events of one partition each, in order, for the next batches.
    ready: VecDeque<(PartitionNumber, Vec<IntentId>)>,
    /// How many of the outbox's first it has taken.
    taken: usize,
    /// Its stream has been opened.
    pub is_open: bool,
    /// It was taken over.
    pub superseded: bool,
    /// What it took up after that: once it is fenced, this must never be stored.
    tempted: Vec<IntentId>,
    /// Attempts to connect in a row.
    pub attempts: u32,
    /// Not before this it connects again.
    pub retry_at: At,
    /// Until then something that an earlier life sent may still arrive, and take the name over.
    pub rivals_until: At,
}

/// An adapter.
#[derive(Debug)]
pub struct Adapter {
    /// Its number.
    pub number: usize,
    /// The node that it publishes to.
    pub node: usize,
    name: String,
    topic_name: TopicName,
    /// Made and without an answer, oldest first. Answered ones are taken off the front.
    outbox: VecDeque<IntentId>,
    /// How many events it will still make.
    left: usize,
    /// The life that is going on; `None` between two.
    pub life: Option<Life>,
    /// A life that was paused.
    pub zombie: Option<Life>,
    /// The paused life goes on.
    pub zombie_is_awake: bool,
    /// Until then something that an earlier life sent may still arrive.
    pub rivals_until: At,
    builder: BatchBuilder,
    maker: Maker,
}

/// What came of a look at the session's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    Goes,
    /// The stream is of no more use.
    Leave,
    /// The life is over.
    Over,
}

impl Adapter {
    /// Adapter `number`, which publishes to `node`.
    pub fn new(plan: &Plan, number: usize, node: usize, topic: usize, name: TopicName) -> Self {
        Self {
            number,
            node,
            name: format!("adapter-{number}"),
            topic_name: name,
            outbox: VecDeque::new(),
            left: plan.events,
            life: None,
            zombie: None,
            zombie_is_awake: false,
            rivals_until: 0,
            builder: BatchBuilder::new(match number % 3 {
                0 => Compression::None,
                1 => Compression::Lz4,
                _ => Compression::Zstd,
            }),
            maker: Maker::new(plan, number, node, topic),
        }
    }

    /// What the node calls it, given its identity.
    ///
    /// # Panics
    /// Never: the names hold.
    pub fn producer_id(&self, identity: &str) -> String {
        ProducerId::new(identity, &self.name).expect("names").as_str().to_owned()
    }

    /// Whether everything that it will ever make is answered.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.outbox.is_empty()
    }

    /// Whether it will make more events.
    pub fn makes_more(&self) -> bool {
        self.left > 0
    }

    /// What it still waits for.
    pub fn unrest(&self) -> String {
        let Self { name, outbox, left, .. } = self;
        let session = self.life.as_ref().map(|life| {
            let unsettled = life.session.unsettled().count();
            (life.conn, life.session.can_submit(), unsettled, life.taken, life.ready.len())
        });
        format!("{name} has {} events without an answer, {left} to make: {session:?}", outbox.len())
    }

    /// Begins a life: the outbox is sent from its start. What has no key and was sent before is
    /// given up, since a repeat of it could not be told.
    pub fn begin(&mut self, history: &History) {
        let intents = &history.intents;
        self.outbox.retain(|id| {
            let intent = &intents[*id as usize];
            intent.fate == Fate::Unknown && (intent.identity.is_known() || intent.sent.is_none())
        });
        self.life = Some(self.new_life());
    }

    fn new_life(&self) -> Life {
        let config = ProducerConfig {
            topic: self.topic_name.clone(),
            name: self.name.clone(),
            transient: false,
            in_flight_bytes_max: IN_FLIGHT_BYTES,
        };
        Life {
            session: ProducerClient::new(config),
            conn: None,
            in_flight: VecDeque::new(),
            ready: VecDeque::new(),
            taken: 0,
            is_open: false,
            superseded: false,
            tempted: Vec::new(),
            attempts: 0,
            retry_at: 0,
            rivals_until: self.rivals_until,
        }
    }

    /// Pauses the life that is going on.
    pub fn pause(&mut self) {
        self.zombie = self.life.take();
        self.zombie_is_awake = false;
        if let Some(zombie) = &mut self.zombie {
            zombie.superseded = true;
        }
    }

    /// Makes up to `count` events.
    pub fn make(&mut self, plan: &Plan, history: &mut History, count: usize) {
        for _ in 0..count.min(self.left) {
            self.left -= 1;
            let id = self.maker.make(plan, history);
            self.outbox.push_back(id);
        }
    }

    /// Lays out and submits what there is, as far as the session takes it.
    pub fn submit(&mut self, plan: &Plan, history: &mut History, now: At, zombie: bool) {
        let partitions = plan.partitions;
        let Self { life, zombie: old, outbox, builder, number, .. } = self;
        let Some(life) = (if zombie { old } else { life }) else { return };
        if life.session.partitions().is_none() {
            return;
        }
        while life.session.can_submit() {
            if life.ready.is_empty() {
                let end = outbox.len().min(life.taken + plan.batch_max);
                if zombie || life.taken >= end {
                    return;
                }
                let mut groups = std::collections::BTreeMap::<_, Vec<_>>::new();
                for id in outbox.range(life.taken..end) {
                    let key = history.intents[*id as usize].order.map(order_key);
                    groups.entry(route(key.as_ref(), partitions)).or_default().push(*id);
                }
                life.taken = end;
                life.ready.extend(groups);
            }
            let Some((partition, mut ids)) = life.ready.pop_front() else { return };
            let first = life.session.next_sequence().expect("it has been open");
            let mut laid_out = 0;
            for id in &ids {
                let full = builder.bytes() > plan.journal.commit_bytes_max / 2;
                match builder.push(&history.event(*id)) {
                    Ok(()) if full => {
                        laid_out += 1;
                        break;
                    }
                    Ok(()) => laid_out += 1,
                    Err(PushError::Full) => break,
                    Err(PushError::Event(error)) => {
                        panic!("an event that goes into no batch: {error}")
                    }
                }
            }
            let rest = ids.split_off(laid_out);
            if !rest.is_empty() {
                life.ready.push_front((partition, rest));
            }
            let batch = builder.finish(partition, first).expect("at least one event");
            life.session.submit(batch).expect("it has room, and the sequence is its next");
            for (i, id) in ids.iter().enumerate() {
                history.send(*number, first.advance(i as u64).get(), *id, now);
            }
            life.in_flight.push_back((first, ids));
        }
    }

    /// Gives a paused life something new to send. Once another has its name, that must never be
    /// stored; before that, as where nothing of the other has come through yet, it is stored rightly.
    pub fn tempt_zombie(&mut self, plan: &Plan, history: &mut History) {
        let id = self.maker.make(plan, history);
        history.intents[id as usize].beside = true;
        let taken_over = self.life.as_ref().is_some_and(|life| life.session.partitions().is_some());
        if let Some(zombie) = &mut self.zombie {
            if taken_over {
                history.intents[id as usize].fate = Fate::Refused;
            }
            let key = history.intents[id as usize].order.map(order_key);
            zombie.ready.clear();
            zombie.ready.push_back((route(key.as_ref(), plan.partitions), vec![id]));
            zombie.tempted.push(id);
        }
    }

    /// Acts on what the session says.
    pub fn turn(&mut self, history: &mut History, now: At, zombie: bool) -> Turn {
        let number = self.number;
        let Self { life, zombie: old, outbox, .. } = self;
        let Some(life) = (if zombie { old } else { life }) else { return Turn::Over };
        let mut turn = Turn::Goes;
        while let Some(event) = life.session.poll_event() {
            match event {
                ProducerEvent::Opened { .. } => {
                    life.attempts = 0;
                    life.is_open = true;
                }
                ProducerEvent::Settled(receipt) => {
                    let (first, ids) = life.in_flight.pop_front().expect("it was submitted");
                    if (first, ids.len()) != (receipt.first_sequence, receipt.records) {
                        history.violated(
                            "I1",
                            format!("adapter {number}: a receipt for another batch"),
                        );
                    }
                    settle(history, &receipt, &ids, now);
                }
                ProducerEvent::Stalled(_) => {}
                ProducerEvent::BatchRefused { refusal, .. } => {
                    let what = format!("adapter {number}: a batch was refused: {refusal}");
                    if !is_fence(refusal.code, life, now) {
                        history.violated("I9", what);
                    }
                }
                ProducerEvent::Interrupted(_) => turn = Turn::Leave,
                ProducerEvent::Closed(refusal) => {
                    if !is_fence(refusal.code, life, now) {
                        history.violated("I9", format!("adapter {number} was ended: {refusal}"));
                    }
                    for id in &life.tempted {
                        let intent = &mut history.intents[*id as usize];
                        if intent.fate == Fate::Unknown {
                            intent.fate = Fate::Refused;
                        }
                    }
                    return Turn::Over;
                }
            }
        }
        if !zombie {
            while let Some(first) = outbox.front() {
                if history.intents[*first as usize].fate == Fate::Unknown {
                    break;
                }
                outbox.pop_front();
                life.taken = life.taken.saturating_sub(1);
            }
        }
        turn
    }

    /// When the session wants to be called.
    pub fn timeout(&self, zombie: bool) -> Option<Instant> {
        let life = if zombie { self.zombie.as_ref() } else { self.life.as_ref() };
        life.and_then(|life| life.session.poll_timeout())
    }
}

/// Whether another life has taken the name over, and may have.
fn is_fence(code: ErrorCode, life: &Life, now: At) -> bool {
    code == ErrorCode::Fenced && (life.superseded || now < life.rivals_until)
}

fn settle(history: &mut History, receipt: &BatchReceipt, ids: &[IntentId], now: At) {
    for (id, receipt) in ids.iter().zip(receipt.receipts()) {
        let answer = match receipt.verdict {
            Verdict::Visible { .. } => Answered::Appended,
            Verdict::Duplicate { .. } => Answered::Duplicate,
            Verdict::Conflict { .. } => Answered::Conflict,
            Verdict::PreconditionFailed { .. } => {
                history.violated("I4", "a precondition that nobody made has failed");
                continue;
            }
        };
        let place = receipt.place.expect("a receipt of these kinds has a place");
        history.acknowledge(*id, answer, place, receipt.order_sequence, now);
    }
}
