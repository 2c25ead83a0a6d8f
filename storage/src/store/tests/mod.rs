//! Tests of the store on a simulated disk, and a world for them.

mod compaction;
mod crash;
mod full;
mod horizon;
mod lengths;
mod listing;
mod merging;
mod mirror;
mod model;
mod packing;
mod publish;
mod restart;
mod retention;
mod side;
mod topics;

use std::sync::Arc;

use takt_protocol::batch::{Batch, BatchBuilder, Compression, Verdict};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{
    Epoch, NodeName, OrderKey, PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};

use super::*;
use crate::disk::{Disk, sim::SimDisk};
use crate::entry::{BatchReceipt, TopicSettings};
use crate::journal::{Entropy, JournalOptions};
use crate::keys::KeyHashes;

/// A seeded generator (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.below(256).to_le_bytes()[0]);
    }
}

/// A store on a simulated disk, with a clock that goes a millisecond per operation.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) options: StoreOptions,
    pub(super) store: Store<u64>,
    pub(super) report: OpenReport,
    pub(super) now: i64,
    seed: u64,
}

pub(super) fn options(node: &str) -> StoreOptions {
    StoreOptions {
        node: NodeName::new(node).unwrap(),
        journal: JournalOptions {
            file_bytes: 64 << 10,
            commit_bytes_max: 16 << 10,
            reserve_chunks: 4,
            reserve_chunk_bytes: 48 << 10,
        },
        keys_max: 10_000,
        heads_recent: 40,
        spare_files: 2,
        file_keys_max: 1 << 20,
        generation_runs: 1,
        merge_pause: std::time::Duration::ZERO,
        retention_bytes: 0,
        retention_age: None,
        pack_after: None,
        pack_compression: crate::kept::PackCompression::None,
    }
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(super) fn producer(name: &str) -> ProducerId {
    ProducerId::new("id", name).unwrap()
}

pub(super) fn event(id: &str, order: &str, data: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "//s".to_owned(),
        kind: "k".to_owned(),
        order_key: (!order.is_empty()).then(|| OrderKey::new(order).unwrap()),
        data: Bytes::copy_from_slice(data.as_bytes()),
        ..Event::default()
    }
}

pub(super) fn batch(events: &[Event], first: u64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for event in events {
        builder.push(event).unwrap();
    }
    let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(first)).unwrap();
    Batch::take(&mut Chunks::from(bytes)).unwrap()
}

pub(super) fn verdicts(receipt: &BatchReceipt) -> Vec<Verdict> {
    receipt.receipts().map(|receipt| receipt.verdict).collect()
}

pub(super) fn receipt(answer: Answer) -> BatchReceipt {
    let Answer::Receipt(receipt) = answer else { panic!("no receipt: {answer:?}") };
    receipt
}

pub(super) fn refused(answer: Answer) -> Refusal {
    let Answer::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
    refusal
}

pub(super) fn open(
    disk: &SimDisk,
    options: &StoreOptions,
    seed: u64,
    now: i64,
) -> Result<(Store<u64>, OpenReport), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, options.clone(), &mut Dice::new(seed), Timestamp::from_micros(now))
}

impl World {
    pub(super) fn new(node: &str) -> Self {
        Self::with(SimDisk::new(), options(node), 1)
    }

    pub(super) fn with(disk: SimDisk, options: StoreOptions, seed: u64) -> Self {
        let now = 1_700_000_000_000_000;
        let (store, report) = open(&disk, &options, seed, now).unwrap();
        Self { disk, options, store, report, now, seed }
    }

    /// A node with topic `t`, and producer `p` in its first epoch.
    pub(super) fn with_topic(node: &str) -> Self {
        Self::with_topic_and(options(node))
    }

    /// As [`World::with_topic`], with these options.
    pub(super) fn with_topic_and(options: StoreOptions) -> Self {
        let mut world = Self::with(SimDisk::new(), options, 1);
        world.create("t", TopicSettings::default());
        world.open_producer("p", "t");
        world
    }

    pub(super) fn now(&mut self) -> Timestamp {
        self.now += 1_000;
        Timestamp::from_micros(self.now)
    }

    /// Stages an operation and drives the store until it is answered.
    pub(super) fn run(&mut self, operation: Operation) -> Answer {
        self.try_run(operation).expect("the disk works")
    }

    pub(super) fn try_run(&mut self, mut operation: Operation) -> Option<Answer> {
        for _ in 0..20 {
            let now = self.now();
            match self.store.stage(operation, 7, now) {
                Ok(Staged::Answered(_, answer)) => return Some(answer),
                Ok(Staged::Held) => {
                    for _ in 0..20 {
                        let answers = self.sync()?;
                        if let Some((_, answer)) = answers.into_iter().find(|(t, _)| *t == 7) {
                            return Some(answer);
                        }
                    }
                    panic!("a held answer comes");
                }
                Err((back, _)) => operation = back,
            }
            self.sync()?;
        }
        panic!("an operation finds room")
    }

    /// Seals, writes and syncs what is staged, and does what jobs there are. `None` where the
    /// disk fails.
    pub(super) fn sync(&mut self) -> Option<Vec<(u64, Answer)>> {
        let sealed = self.store.seal().ok()?;
        let answers = match sealed {
            None => Vec::new(),
            Some(pending) if pending.write_and_sync().is_ok() => self.store.on_synced(pending),
            Some(pending) => {
                self.store.on_failed(pending);
                return None;
            }
        };
        self.jobs();
        Some(answers)
    }

    pub(super) fn jobs(&mut self) {
        let now = self.now();
        for _ in 0..20 {
            let Some(job) = self.store.poll_job(now) else { break };
            self.store.on_job_done(job.run(), now);
        }
    }

    /// Everything that is staged or waits is made durable, with a mark behind it.
    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            self.sync().expect("the disk works");
        }
        if let Some(mark) = self.store.mark().unwrap() {
            mark.write_and_sync().unwrap();
            self.store.on_synced(mark);
        }
    }

    /// Makes durable what the jobs have staged.
    pub(super) fn drain(&mut self) {
        while self.store.wants_seal() {
            self.sync().expect("the disk works");
        }
    }

    /// Stops without a word, and starts again on the same disk.
    pub(super) fn restart(&mut self) {
        self.seed += 1;
        let (store, report) = open(&self.disk, &self.options, self.seed, self.now).unwrap();
        self.store = store;
        self.report = report;
    }

    pub(super) fn create(&mut self, name: &str, settings: TopicSettings) {
        let answer = self.run(Operation::CreateTopic { name: topic(name), settings });
        assert!(matches!(answer, Answer::TopicCreated { .. }), "{answer:?}");
    }

    pub(super) fn open_producer(&mut self, name: &str, in_topic: &str) -> ProducerOpened {
        let (producer, topic) = (producer(name), topic(in_topic));
        let answer = self.run(Operation::OpenProducer { producer, topic, transient: false });
        let Answer::ProducerOpened(opened) = answer else { panic!("not opened: {answer:?}") };
        opened
    }

    pub(super) fn publication(&self, who: &str, epoch: u64, batch: Batch) -> Operation {
        self.publication_to("t", who, epoch, batch)
    }

    pub(super) fn publication_to(
        &self,
        name: &str,
        who: &str,
        epoch: u64,
        batch: Batch,
    ) -> Operation {
        let mut keys = KeyHashes::default();
        let topic = topic(name);
        self.store.view().key_hasher().hash_batch(&topic, &batch, &mut keys).unwrap();
        Operation::Publish { producer: producer(who), topic, epoch: Epoch::new(epoch), batch, keys }
    }

    pub(super) fn publish(&mut self, epoch: u64, first: u64, events: &[Event]) -> Answer {
        let operation = self.publication("p", epoch, batch(events, first));
        self.run(operation)
    }
}
