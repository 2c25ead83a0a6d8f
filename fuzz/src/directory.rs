//! A node's directory, small and full of what there may be, and opening it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::batch::{Batch, BatchBuilder, Compression, StoredBatch};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{
    Epoch, NodeName, OrderKey, PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::journal::{Entropy, JournalOptions};
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation, Staged, Store, StoreOptions};

use crate::input::Files;

/// When everything happens.
pub const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Random numbers that are the same for the same seed.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

/// With what the directory is made and opened.
pub fn options() -> StoreOptions {
    StoreOptions {
        node: NodeName::new("munich").expect("a name"),
        journal: JournalOptions {
            file_bytes: 24 << 10,
            commit_bytes_max: 8 << 10,
            reserve_chunks: 1,
            reserve_chunk_bytes: 16 << 10,
        },
        keys_max: 10_000,
        heads_recent: 40,
        spare_files: 2,
        file_keys_max: 1 << 20,
        generation_runs: 1,
        merge_pause: std::time::Duration::ZERO,
        retention_bytes: 96 << 10,
        retention_age: None,
        pack_after: None,
        pack_compression: takt_storage::kept::PackCompression::None,
    }
}

/// The directory of a node that was killed: files left, runs, conflicts, a tail.
pub fn killed() -> Files {
    let disk = SimDisk::new();
    fill(&disk);
    contents(&disk)
}

/// The same behind a clean stop: with an index and its stamp.
pub fn closed() -> Files {
    let disk = SimDisk::new();
    let mut store = fill(&disk);
    if let Some(mark) = store.mark().expect("the disk works") {
        mark.write_and_sync().expect("the disk works");
        store.on_synced(mark);
    }
    store.close();
    contents(&disk)
}

fn contents(disk: &SimDisk) -> Files {
    let names = disk.list().expect("the disk works").into_iter();
    names.map(|(name, _)| (name.clone(), disk.content(&name).expect("it was listed"))).collect()
}

/// A disk with these files.
pub fn disk(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, content) in files {
        let file = disk.create(name).expect("a name that was listed");
        file.write_at(0, content).expect("there is room");
        file.sync_all().expect("the disk works");
    }
    disk.sync_dir().expect("the disk works");
    disk
}

/// Opens the store, reads all that it holds, and leaves it as a kill does. `None` where it does not
/// open; else its digest, and the data of the visible records of its partition by offset.
pub fn open(disk: &SimDisk, seed: u64) -> Option<(u128, BTreeMap<u64, Vec<u8>>)> {
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    let (store, _) = Store::<u64>::open(seam, options(), &mut Dice(seed), NOW).ok()?;
    let view = store.view();
    let mut records = BTreeMap::new();
    for partition in view.all_partitions() {
        // What does not verify is an error, never a panic and never other data.
        let batches = view.read(partition.slot, partition.start, 1 << 20);
        for batch in batches.unwrap_or_default() {
            collect(&batch, &mut records);
        }
    }
    for conflict in view.conflicts(None, None, 100) {
        let _ = view.conflict(conflict.address);
    }
    Some((store.state_digest(), records))
}

fn collect(batch: &StoredBatch, records: &mut BTreeMap<u64, Vec<u8>>) {
    let (Ok(laid_out), Ok(payload)) = (batch.records(), batch.batch().raw_payload()) else {
        return;
    };
    for found in laid_out.map_while(Result::ok) {
        let record = found.record;
        if let Some(offset) = found.offset {
            let end = record.data_at.saturating_add(record.data_len).min(payload.len());
            records.insert(offset.get(), payload[record.data_at.min(end)..end].to_vec());
        }
    }
}

fn fill(disk: &SimDisk) -> Store<u64> {
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, _) = Store::open(seam, options(), &mut Dice(1), NOW).expect("an empty disk");
    store.set_uplink_needs(Some(BTreeMap::new()));
    let topic = TopicName::new("t").expect("a name");
    let producer = ProducerId::new("id", "mes").expect("a name");
    let mut clock = NOW.as_micros();
    let (name, settings) = (topic.clone(), TopicSettings::default());
    ask(&mut store, Operation::CreateTopic { name, settings }, &mut clock);
    let open = Operation::OpenProducer {
        producer: producer.clone(),
        topic: topic.clone(),
        transient: false,
    };
    ask(&mut store, open, &mut clock);
    for number in 0..40_u64 {
        // Every fifth has the id of the one before and other content.
        let id = if number % 5 == 4 { number - 1 } else { number };
        let event = Event {
            id: id.to_string(),
            source: "//s".to_owned(),
            kind: "k".to_owned(),
            order_key: OrderKey::new(&format!("o{}", number % 3)).ok(),
            data: Bytes::from(vec![number.to_le_bytes()[0]; 700]),
            ..Event::default()
        };
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&event).expect("room");
        let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(number + 1));
        let batch = Batch::take(&mut Chunks::from(bytes.expect("an event"))).expect("a batch");
        let mut keys = KeyHashes::default();
        store.view().key_hasher().hash_batch(&topic, &batch, &mut keys).expect("keys");
        let (producer, topic) = (producer.clone(), topic.clone());
        let epoch = Epoch::new(1);
        ask(&mut store, Operation::Publish { producer, topic, epoch, batch, keys }, &mut clock);
    }
    store
}

/// Lets the store answer one operation, and all time pass that it needs.
pub fn ask(store: &mut Store<u64>, operation: Operation, clock: &mut i64) -> Answer {
    *clock += 2_000_000;
    let now = Timestamp::from_micros(*clock);
    store.tick(now);
    let mut answered = match store.stage(operation, 1, now).expect("an empty commit has room") {
        Staged::Answered(_, answer) => Some(answer),
        Staged::Held => None,
    };
    for _ in 0..20 {
        while let Some(job) = store.poll_job(now) {
            store.on_job_done(job.run(), now);
        }
        if let Some(pending) = store.seal().expect("the disk works") {
            pending.write_and_sync().expect("the disk works");
            answered = store.on_synced(pending).pop().map(|(_, answer)| answer).or(answered);
        }
    }
    answered.expect("an answer comes")
}
