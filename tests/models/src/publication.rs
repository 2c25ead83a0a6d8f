//! What becomes durable becomes visible: a reader that is told an end can read all below it, and is
//! told none before the sync has returned.
//!
//! Store and view are the real ones, on a simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::thread;
use takt_protocol::batch::{Batch, BatchBuilder, Compression};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{
    BatchNumber, Epoch, NodeName, Offset, OrderKey, PartitionNumber, ProducerId, Sequence,
    Timestamp, TopicName,
};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::{Entropy, JournalOptions};
use takt_storage::keys::KeyHashes;
use takt_storage::runs::Slot;
use takt_storage::store::{Answer, Operation, PendingCommit, Staged, Store, StoreOptions};
use takt_storage::view::View;

/// A coroutine of `loom` has 32 KiB by itself, too little for opening a store.
const STACK_BYTES: usize = 1 << 20;
const SLOT: Slot = Slot::new(0);
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Writer {
    store: Store<()>,
    epoch: Epoch,
}

fn producer() -> ProducerId {
    ProducerId::new("model", "p").unwrap()
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

impl Writer {
    /// With a topic and a producer.
    fn open() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let options = StoreOptions {
            node: NodeName::new("plant").unwrap(),
            journal: JournalOptions {
                file_bytes: 64 << 10,
                commit_bytes_max: 16 << 10,
                reserve_chunks: 1,
                reserve_chunk_bytes: 32 << 10,
            },
            keys_max: 100,
            heads_recent: 1 << 20,
            spare_files: 2,
            file_keys_max: 1 << 20,
            generation_runs: 1,
            merge_pause: std::time::Duration::ZERO,
            retention_bytes: 1 << 30,
            retention_age: None,
            pack_after: None,
            pack_compression: takt_storage::kept::PackCompression::None,
        };
        let (mut store, _) = Store::open(disk, options, &mut Zeros, NOW).unwrap();
        store.set_uplink_needs(Some(BTreeMap::new()));
        while let Some(job) = store.poll_job(NOW) {
            store.on_job_done(job.run(), NOW);
        }
        let mut writer = Self { store, epoch: Epoch::new(0) };
        let settings = TopicSettings::default();
        writer.ask(Operation::CreateTopic { name: topic(), settings });
        let open =
            Operation::OpenProducer { producer: producer(), topic: topic(), transient: false };
        let Answer::ProducerOpened(opened) = writer.ask(open) else { panic!("it opens") };
        writer.epoch = opened.epoch;
        writer
    }

    /// Judges a record and seals its commit.
    fn stage(&mut self, number: u64) -> PendingCommit<()> {
        let mut builder = BatchBuilder::new(Compression::None);
        let event = Event {
            id: number.to_string(),
            source: "s".into(),
            kind: "k".into(),
            order_key: Some(OrderKey::new("o").unwrap()),
            ..Event::default()
        };
        builder.push(&event).unwrap();
        let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(number)).unwrap();
        let batch = Batch::take(&mut Chunks::from(bytes)).unwrap();
        let mut keys = KeyHashes::default();
        self.store.view().key_hasher().hash_batch(&topic(), &batch, &mut keys).unwrap();
        let (producer, topic, epoch) = (producer(), topic(), self.epoch);
        self.seal(Operation::Publish { producer, topic, epoch, batch, keys })
    }

    fn seal(&mut self, operation: Operation) -> PendingCommit<()> {
        assert!(matches!(self.store.stage(operation, (), NOW), Ok(Staged::Held)));
        self.store.seal().unwrap().unwrap()
    }

    fn ask(&mut self, operation: Operation) -> Answer {
        let pending = self.seal(operation);
        pending.write_and_sync().unwrap();
        self.store.on_synced(pending).pop().unwrap().1
    }
}

/// All below the end that the view tells is there.
fn read(view: &View, synced: &AtomicBool) -> u64 {
    let end = view.partition(SLOT).unwrap();
    assert!(end.end.get() == 1 || synced.load(Ordering::SeqCst), "shown before its sync");
    let batches = view.read(SLOT, Offset::new(0), usize::MAX).unwrap();
    let records: usize = batches.iter().map(|batch| batch.header().visible).sum();
    assert!(records as u64 >= end.end.get(), "{records} of {} records", end.end);
    let chain = view.chain_at(SLOT, end.end_batch).unwrap();
    assert_eq!(chain, Some(end.chain));
    let last = BatchNumber::new(end.end_batch.get() - 1);
    assert!(!view.read_from_batch(SLOT, last, 1).unwrap().is_empty());
    let order = view.order(&topic(), &OrderKey::new("o").unwrap(), None, usize::MAX).unwrap();
    assert!(order.len() as u64 >= end.end.get(), "an order's index lags behind");
    end.end.get()
}

fn body() {
    let mut writer = Writer::open();
    let first = writer.stage(1);
    first.write_and_sync().unwrap();
    writer.store.on_synced(first);
    let view = writer.store.view().clone();
    // Not of `loom`: it is no part of what is modelled, only written down.
    let synced = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&synced);
    let reader = big(move || {
        let before = read(&view, &told);
        assert!(before <= read(&view, &told), "an end never goes back");
    });
    let second = writer.stage(2);
    second.write_and_sync().unwrap();
    synced.store(true, Ordering::SeqCst);
    writer.store.on_synced(second);
    assert_eq!(read(writer.store.view(), &synced), 2);
    reader.join().unwrap();
}

fn big(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(body).unwrap()
}

#[test]
fn a_reader_never_sees_an_end_beyond_what_it_can_read() {
    let mut model = loom::model::Builder::new();
    model.max_branches = 10_000;
    model.check(|| big(body).join().unwrap());
}
