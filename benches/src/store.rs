//! A store with one topic and one producer, and numbers for it.

use std::sync::Arc;

use takt_protocol::batch::BatchBuilder;
use takt_protocol::event::Event;
use takt_protocol::words::{
    Epoch, NodeName, PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};
use takt_storage::disk::Disk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::{Entropy, JournalOptions};
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation, PendingCommit, Staged, Store, StoreOptions};

use crate::events::builder;
use crate::{EventSource, FILE_KEYS, batch_of};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// The same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next_u64().to_le_bytes()[0]);
    }
}

/// A store that is fed by one producer, step by step.
#[derive(Debug)]
pub struct Feed {
    /// The store.
    pub store: Store<()>,
    source: EventSource,
    builder: BatchBuilder,
    producer: ProducerId,
    topic: TopicName,
    epoch: Epoch,
    next: Sequence,
}

/// Opens the store of `disk`, which holds nothing yet, makes a topic and opens a producer.
///
/// # Panics
/// If any of it fails.
pub fn feed(disk: Arc<dyn Disk>) -> Feed {
    feed_with(disk, Feed::options())
}

/// As [`feed`], with other settings.
///
/// # Panics
/// As [`feed`].
pub fn feed_with(disk: Arc<dyn Disk>, options: StoreOptions) -> Feed {
    let (store, _) =
        Store::open(disk, options, &mut Seeded::new(7), NOW).expect("an empty disk takes a store");
    let mut feed = Feed {
        store,
        source: EventSource::default(),
        builder: builder(),
        producer: ProducerId::new("bench", "1").expect("a name"),
        topic: TopicName::new("bench").expect("a name"),
        epoch: Epoch::new(0),
        next: Sequence::new(1),
    };
    let (name, settings) = (feed.topic.clone(), TopicSettings::default());
    feed.store.set_uplink_needs(Some(std::collections::BTreeMap::new()));
    feed.ask(Operation::CreateTopic { name, settings });
    let (producer, topic) = (feed.producer.clone(), feed.topic.clone());
    let opened = feed.ask(Operation::OpenProducer { producer, topic, transient: false });
    let Answer::ProducerOpened(opened) = opened else { panic!("{opened:?}") };
    feed.epoch = opened.epoch;
    feed
}

/// When everything happens.
const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

impl Feed {
    /// Settings: the journal of a node, and as many keys as any benchmark makes.
    pub fn options() -> StoreOptions {
        StoreOptions {
            node: NodeName::new("bench").expect("a name"),
            journal: JournalOptions::default(),
            keys_max: 100_000_000,
            heads_recent: 1 << 20,
            spare_files: 2,
            file_keys_max: usize::try_from(FILE_KEYS).expect("a number of keys"),
            // Filters are what is measured here.
            generation_runs: 1,
            merge_pause: std::time::Duration::ZERO,
            retention_bytes: 256 << 20,
            retention_age: None,
            pack_after: None,
            pack_compression: takt_storage::kept::PackCompression::None,
        }
    }

    /// The next batch, checked and hashed as a session does it.
    ///
    /// # Panics
    /// Never for a batch that was just made.
    pub fn publication(&mut self) -> Operation {
        let events = self.events();
        self.publication_of(&events)
    }

    /// The events of the next batch, for [`Feed::publication_of`].
    pub fn events(&mut self) -> Vec<Event> {
        self.source.events()
    }

    /// As [`Feed::publication`], of these events, which may have been published before.
    ///
    /// # Panics
    /// If there are none, or more than a batch takes.
    pub fn publication_of(&mut self, events: &[Event]) -> Operation {
        for event in events {
            self.builder.push(event).expect("a batch takes as many");
        }
        let bytes = self.builder.finish(PartitionNumber::new(0), self.next);
        let batch = batch_of(bytes.expect("it is not empty"));
        self.next = self.next.advance(events.len() as u64);
        let mut keys = KeyHashes::default();
        let hasher = self.store.view().key_hasher();
        hasher.hash_batch(&self.topic, &batch, &mut keys).expect("a batch of its own");
        let (producer, topic, epoch) = (self.producer.clone(), self.topic.clone(), self.epoch);
        Operation::Publish { producer, topic, epoch, batch, keys }
    }

    /// Judges an operation and seals the commit that holds it.
    ///
    /// # Panics
    /// If it does not get a commit of its own: run [`Feed::jobs`] before.
    pub fn stage(&mut self, operation: Operation) -> PendingCommit<()> {
        self.judge(operation);
        self.seal()
    }

    /// Judges an operation and applies it.
    ///
    /// # Panics
    /// As [`Feed::stage`].
    pub fn judge(&mut self, operation: Operation) {
        match self.store.stage(operation, (), NOW) {
            Ok(Staged::Held) => {}
            other => panic!("not taken: {other:?}"),
        }
    }

    /// Seals the commit that holds what was judged.
    ///
    /// # Panics
    /// As [`Feed::stage`].
    pub fn seal(&mut self) -> PendingCommit<()> {
        self.store.seal().expect("the store goes on").expect("a commit")
    }

    /// Makes a commit durable and takes its one answer.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn finish(&mut self, mut commit: PendingCommit<()>) -> Answer {
        loop {
            commit.write_and_sync().expect("the disk goes on");
            if let Some(((), answer)) = self.store.on_synced(commit).pop() {
                return answer;
            }
            // It was the mark with which a file is left: what was judged comes behind it.
            commit = self.seal();
        }
    }

    /// Does what a node does beside: spare files, runs, retention.
    pub fn jobs(&mut self) {
        self.store.tick(NOW);
        while let Some(job) = self.store.poll_job(NOW) {
            let done = job.run();
            self.store.on_job_done(done, NOW);
        }
    }

    fn ask(&mut self, operation: Operation) -> Answer {
        self.jobs();
        let commit = self.stage(operation);
        self.finish(commit)
    }
}
