//! What happened, written down outside the broker: what applications wanted stored, what they were
//! answered, and what they were given to read.

use std::collections::{BTreeMap, BTreeSet};

use takt_protocol::batch::Place;
use takt_protocol::event::Event;
use takt_protocol::words::{BatchNumber, Offset, OrderKey, OrderSequence, PartitionId, Timestamp};
use takt_reader::Record;

use super::agenda::At;
use super::identity::Identity;
use super::maker::Many;
use crate::events::{Dice, SOURCE};

/// The type of every event of the simulation.
pub const KIND: &str = "mfg.operation.confirmed.v1";

/// An event that an application wants stored, by number, in the order of their making.
pub type IntentId = u32;

/// What tells contents apart: one number, one content.
pub type Content = u32;

/// What an application wants stored.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The node that is to store it.
    pub node: usize,
    /// The topic, by number.
    pub topic: usize,
    /// The adapter, by number.
    pub adapter: usize,
    /// Its dedup keys.
    pub identity: Identity,
    /// Its order.
    pub order: Option<u32>,
    /// Its content.
    pub content: Content,
    /// Made by a life that was paused, beside its adapter's outbox: whatever the outbox holds is
    /// submitted before it or after it, whichever was made first.
    pub beside: bool,
    /// When it was first submitted.
    pub sent: Option<At>,
    /// When it was last submitted.
    pub sent_last: Option<At>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an event, as its adapter knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet, or none ever: it may be stored, once, or not.
    Unknown,
    /// There is a receipt.
    Acknowledged {
        /// When it came.
        at: At,
        /// What it says.
        answer: Answered,
        /// Where the event is, or the first one of its key.
        place: Place,
        /// Its place within its order.
        order_sequence: Option<OrderSequence>,
    },
    /// It was refused for ever: it must never appear.
    Refused,
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is new.
    Appended,
    /// It is a repeat.
    Duplicate,
    /// Its key is known with other content.
    Conflict,
}

/// What was seen at an offset by whoever read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The digest of the record.
    pub digest: u128,
    /// When it was first seen.
    pub at: At,
}

/// A consumer's cursor, as the consumer knows it.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// By partition, the furthest position whose commit was answered.
    pub acknowledged: BTreeMap<PartitionId, Offset>,
    /// By partition, the furthest position that was asked for.
    pub asked: BTreeMap<PartitionId, Offset>,
    /// By partition, where it began at the node when the cursor's first commit was answered: what
    /// was dropped before that, nobody held.
    pub held_from: BTreeMap<PartitionId, Offset>,
}

/// Batches that retention has dropped at a plant.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// The partition.
    pub partition: PartitionId,
    /// Those below this.
    pub upto: BatchNumber,
    /// They must have been appended before this; `None` where there was too much of them.
    pub older_than: Option<Timestamp>,
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All intents.
    pub intents: Vec<Intent>,
    /// By content: how long its data is.
    pub contents: Vec<u32>,
    /// By adapter: under which sequences which intents were sent. A sequence can have more than
    /// one: what was never stored does not use it up.
    pub sends: Vec<Vec<(u64, IntentId)>>,
    /// By adapter: its producer id as text.
    pub producers: Vec<String>,
    /// What was read, by node and partition: one digest per offset, whoever reads it.
    pub seen: BTreeMap<PartitionId, BTreeMap<u64, Seen>>,
    /// What compaction had left out where somebody read on, by node and partition.
    pub missed: BTreeMap<PartitionId, BTreeSet<u64>>,
    /// By cursor's name.
    pub committed: BTreeMap<String, Committed>,
    /// Nodes forget keys when the horizon has passed: an event that is sent again may be new again.
    pub forgets: bool,
    /// The last key of each node and topic.
    keys: BTreeMap<(usize, usize), u32>,
    /// The keys with many contents of each node and topic.
    pub many: BTreeMap<(usize, usize), Vec<Many>>,
    /// What retention has dropped.
    pub drops: Vec<Dropped>,
    /// By partition: the batch up to which the hub has acknowledged all.
    pub at_hub: BTreeMap<PartitionId, BatchNumber>,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Intents that were sent at least once.
    pub sent: u64,
    /// Sentences that turned out false while the world ran: invariant and what was seen.
    pub violations: Vec<(&'static str, String)>,
}

impl History {
    /// Writes down an intent.
    pub fn add(&mut self, intent: Intent) -> IntentId {
        self.intents.push(intent);
        IntentId::try_from(self.intents.len() - 1).expect("far fewer intents")
    }

    /// A key that no event of this node and topic has.
    pub fn next_key(&mut self, node: usize, topic: usize) -> u32 {
        let next = self.keys.entry((node, topic)).or_default();
        *next += 1;
        *next
    }

    /// An intent is on its way under a sequence.
    pub fn send(&mut self, adapter: usize, sequence: u64, id: IntentId, at: At) {
        self.sends[adapter].push((sequence, id));
        let intent = &mut self.intents[id as usize];
        intent.sent_last = Some(at);
        if intent.sent.is_none() {
            intent.sent = Some(at);
            self.sent += 1;
        }
    }

    /// A receipt has come. I1: a second one for the same event does not contradict the first.
    pub fn acknowledge(
        &mut self,
        id: IntentId,
        answer: Answered,
        place: Place,
        order_sequence: Option<OrderSequence>,
        at: At,
    ) {
        let intent = &mut self.intents[id as usize];
        match intent.fate {
            Fate::Unknown => {
                self.acknowledged += 1;
                intent.fate = Fate::Acknowledged { at, answer, place, order_sequence };
            }
            Fate::Acknowledged { place: first, answer: known, .. } => {
                let what =
                    format!("event {id} is {known:?} at {first:?}, then {answer:?} at {place:?}");
                // A repeat under one of its keys is a conflict once the other names another first.
                let is_two = matches!(intent.identity, Identity::Two(_, _));
                let may_differ = is_two && answer == Answered::Conflict;
                if first != place && !may_differ && !self.forgets {
                    self.violated("I1", what);
                }
            }
            Fate::Refused => {
                self.violated("I4", format!("event {id} was refused, then {answer:?}"));
            }
        }
    }

    /// A content that nobody has used, of `len` bytes.
    pub fn new_content(&mut self, len: u32) -> Content {
        self.contents.push(len);
        Content::try_from(self.contents.len() - 1).expect("far fewer contents")
    }

    /// A sentence turned out false.
    pub fn violated(&mut self, invariant: &'static str, what: impl Into<String>) {
        if self.violations.len() < 20 {
            self.violations.push((invariant, what.into()));
        }
    }

    /// Which intent a record is, by who sent it under which sequence. A sequence may have been sent
    /// with several: the one with the record's keys and content, of those one that was answered.
    pub fn intent_of(&self, record: &Record<'_>) -> Option<IntentId> {
        let adapter = self.producers.iter().position(|known| known == record.producer)?;
        let sends = &self.sends[adapter];
        let from = sends.partition_point(|(sent, _)| *sent < record.sequence);
        let sent = sends[from..].iter().take_while(|(sent, _)| *sent == record.sequence);
        let intent = |id: &IntentId| &self.intents[*id as usize];
        let identity = Identity::of(record)?;
        let has_keys = |id: &IntentId| intent(id).identity == identity;
        sent.map(|(_, id)| *id).filter(has_keys).min_by_key(|id| {
            let intent = intent(id);
            let rank = match intent.fate {
                Fate::Acknowledged { .. } => 0,
                Fate::Unknown => 1,
                Fate::Refused => 2,
            };
            (record.time != Some(time_of(intent.content).as_micros()), rank)
        })
    }

    /// No more is sent: from now on [`History::intent_of`] finds it.
    pub fn close(&mut self) {
        for sends in &mut self.sends {
            sends.sort_unstable();
            sends.dedup();
        }
    }

    /// The data of a content.
    pub fn data(&self, content: Content) -> Vec<u8> {
        let len = self.contents[content as usize] as usize;
        let mut dice = Dice::new(u64::from(content));
        let mut data = Vec::with_capacity(len + 8);
        while data.len() < len {
            data.extend_from_slice(&dice.next_u64().to_le_bytes());
        }
        data.truncate(len);
        data
    }

    /// An intent as an event.
    pub fn event(&self, id: IntentId) -> Event {
        let intent = &self.intents[id as usize];
        let mut event = Event {
            source: SOURCE.to_owned(),
            kind: KIND.to_owned(),
            time: Some(time_of(intent.content)),
            order_key: intent.order.map(order_key),
            data: self.data(intent.content).into(),
            ..Event::default()
        };
        intent.identity.dress(&mut event);
        event
    }

    /// The hub says that it holds a partition up to a batch.
    pub fn acknowledge_at_hub(&mut self, partition: &PartitionId, end: BatchNumber) {
        if let Some(known) = self.at_hub.get_mut(partition) {
            *known = end.max(*known);
        } else {
            self.at_hub.insert(partition.clone(), end);
        }
    }

    /// Somebody has read on past an offset, where there was nothing.
    pub fn miss(&mut self, partition: &PartitionId, offset: u64) {
        if !self.missed.contains_key(partition) {
            self.missed.insert(partition.clone(), BTreeSet::new());
        }
        self.missed.get_mut(partition).expect("it was made").insert(offset);
    }

    /// Somebody has read a record: I5, at an offset is one content for ever.
    pub fn see(&mut self, partition: &PartitionId, offset: Offset, digest: u128, at: At) {
        if !self.seen.contains_key(partition) {
            self.seen.insert(partition.clone(), BTreeMap::new());
        }
        let seen = self.seen.get_mut(partition).expect("it was made");
        let first = *seen.entry(offset.get()).or_insert(Seen { digest, at });
        if first.digest != digest {
            let what = format!("{partition} at {offset} was {:x}, then {digest:x}", first.digest);
            self.violated("I5", what);
        }
    }
}

/// When an event of this content occurred.
pub fn time_of(content: Content) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + i64::from(content) * 1_000_000)
}

/// The key of an order.
///
/// # Panics
/// Never: a number is a key.
pub fn order_key(order: u32) -> OrderKey {
    OrderKey::new(&format!("PO-{order}")).expect("a key")
}
