//! A store without a node around it, driven step by step on any disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use takt_client::{Event, NodeName, TopicName};
use takt_protocol::batch::{Batch, BatchBuilder, Compression, StoredBatch};
use takt_protocol::chunks::Chunks;
use takt_protocol::words::{Epoch, PartitionNumber, ProducerId, Sequence, Timestamp};
use takt_storage::disk::Disk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::JournalOptions;
use takt_storage::keys::KeyHashes;
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, OpenError, OpenReport, Operation, Staged, Store, StoreOptions};

use crate::events::Dice;

/// When a driver's clock begins, in microseconds since 1970.
const START_US: i64 = 1_700_000_000_000_000;
/// How far it goes with each operation.
const STEP_US: i64 = 1_000;
/// Steps within which an operation is answered.
const STEPS_MAX: usize = 50;

/// A store, its clock, and one producer.
#[derive(Debug)]
pub struct Driver {
    /// The store.
    pub store: Store<u64>,
    now: i64,
    topic: TopicName,
    producer: ProducerId,
    epoch: Epoch,
    next: Sequence,
}

/// Options of a store with small files.
///
/// # Panics
/// If `node` is no name.
pub fn options(node: &str) -> StoreOptions {
    StoreOptions {
        node: NodeName::new(node).expect("a name"),
        journal: JournalOptions {
            file_bytes: 64 << 10,
            commit_bytes_max: 16 << 10,
            reserve_chunks: 4,
            reserve_chunk_bytes: 48 << 10,
        },
        keys_max: 100_000,
        heads_recent: 40,
        spare_files: 2,
        file_keys_max: 1 << 20,
        generation_runs: 1,
        merge_pause: std::time::Duration::ZERO,
        retention_bytes: 0,
        retention_age: None,
        pack_after: None,
        pack_compression: takt_storage::kept::PackCompression::None,
    }
}

impl Driver {
    /// Opens a store whose clock goes on at `now_us`; nothing waits for an uplink.
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// # Panics
    /// If `topic` is no name.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        seed: u64,
        topic: &str,
    ) -> Result<(Self, OpenReport), OpenError> {
        let now = START_US + i64::try_from(seed % 1_000).unwrap_or_default() * 1_000_000_000;
        let at = Timestamp::from_micros(now);
        let (mut store, report) = Store::open(disk, options, &mut Dice::new(seed), at)?;
        store.set_uplink_needs(Some(BTreeMap::new()));
        let driver = Self {
            store,
            now,
            topic: TopicName::new(topic).expect("a name"),
            producer: ProducerId::new("spiffe://takt/test", "driver").expect("a name"),
            epoch: Epoch::new(0),
            next: Sequence::new(1),
        };
        Ok((driver, report))
    }

    /// Makes the topic and opens the producer, which goes on where it stopped.
    ///
    /// # Panics
    /// If the store refuses.
    pub fn begin(&mut self, settings: TopicSettings) {
        let name = self.topic.clone();
        let made = self.ask(Operation::CreateTopic { name, settings });
        assert!(matches!(made, Answer::TopicCreated { .. }), "{made:?}");
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let opened = self.ask(Operation::OpenProducer { producer, topic, transient: false });
        let Answer::ProducerOpened(opened) = opened else { panic!("{opened:?}") };
        (self.epoch, self.next) = (opened.epoch, opened.last_sequence.advance(1));
    }

    /// Publishes one batch. What is refused is not numbered.
    ///
    /// # Panics
    /// If the events make no batch.
    pub fn publish(&mut self, events: &[Event]) -> Answer {
        let batch = batch(events, self.next);
        let mut keys = KeyHashes::default();
        let hasher = self.store.view().key_hasher().clone();
        hasher.hash_batch(&self.topic, &batch, &mut keys).expect("a batch that holds");
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let epoch = self.epoch;
        let answer = self.ask(Operation::Publish { producer, topic, epoch, batch, keys });
        if matches!(answer, Answer::Receipt(_)) {
            self.next = self.next.advance(events.len() as u64);
        }
        answer
    }

    /// Mirrors a batch that another store holds.
    ///
    /// # Panics
    /// If the batch does not hold.
    pub fn mirror(
        &mut self,
        slot: Slot,
        journal: takt_protocol::words::JournalId,
        batch: StoredBatch,
    ) -> Answer {
        let mut keys = KeyHashes::default();
        let hasher = self.store.view().key_hasher().clone();
        hasher.hash_batch(&self.topic, batch.batch(), &mut keys).expect("a batch that holds");
        self.ask(Operation::Mirror { slot, journal, batch, keys })
    }

    /// Stages an operation and drives the store until it is answered.
    ///
    /// # Panics
    /// If the disk fails or there is no answer.
    pub fn ask(&mut self, mut operation: Operation) -> Answer {
        for _ in 0..STEPS_MAX {
            let now = self.tick();
            match self.store.stage(operation, 7, now) {
                Ok(Staged::Answered(_, answer)) => return answer,
                Ok(Staged::Held) => {
                    for _ in 0..STEPS_MAX {
                        if let Some((_, answer)) = self.sync().pop() {
                            return answer;
                        }
                    }
                    panic!("a held operation is not answered");
                }
                Err((back, _)) => operation = back,
            }
            self.sync();
        }
        panic!("an operation finds no room");
    }

    /// Lets pass what time alone brings, with all jobs, a few times over.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            self.now += 2_000_000;
            let now = self.tick();
            self.store.tick(now);
            self.sync();
        }
    }

    /// Ends as a clean stop does.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn close(mut self) {
        self.settle();
        if let Some(mark) = self.store.mark().expect("the disk works") {
            mark.write_and_sync().expect("the disk works");
            self.store.on_synced(mark);
        }
        self.store.close();
    }

    /// The clock, a step on.
    pub fn tick(&mut self) -> Timestamp {
        self.now += STEP_US;
        Timestamp::from_micros(self.now)
    }

    fn sync(&mut self) -> Vec<(u64, Answer)> {
        self.jobs();
        let Some(pending) = self.store.seal().expect("the disk works") else { return Vec::new() };
        pending.write_and_sync().expect("the disk works");
        let answers = self.store.on_synced(pending);
        self.jobs();
        answers
    }

    fn jobs(&mut self) {
        for _ in 0..STEPS_MAX {
            let now = self.tick();
            let Some(job) = self.store.poll_job(now) else { break };
            self.store.on_job_done(job.run(), now);
        }
    }
}

/// A batch of one partition.
///
/// # Panics
/// If the events make none.
pub fn batch(events: &[Event], first: Sequence) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for event in events {
        builder.push(event).expect("room for the event");
    }
    let bytes = builder.finish(PartitionNumber::new(0), first).expect("events");
    Batch::take(&mut Chunks::from(bytes)).expect("a batch that was just laid out")
}
