//! Bytes as the content of a node's directory: opening it never panics, whatever is there, and
//! recovering twice gives the state of recovering once.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_protocol::batch::{Batch, BatchBuilder, Compression};
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

type Files = BTreeMap<String, Vec<u8>>;

/// A directory that a node was killed in: files left, a run, conflicts, a tail.
static WHOLE: LazyLock<Files> = LazyLock::new(whole);

fuzz_target!(|data: &[u8]| {
    let mut files = WHOLE.clone();
    let mut input = Input(data);
    while let Some(change) = input.byte() {
        change_one(&mut files, change, &mut input);
    }
    recover(&files);
});

/// What a fuzzer's bytes say, one thing after the other.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, below: usize) -> usize {
        let (low, high) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        usize::from(u16::from_le_bytes([low, high])) % below.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.number(1_024).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }
}

fn change_one(files: &mut Files, change: u8, input: &mut Input<'_>) {
    let at = input.number(files.len());
    let Some(name) = files.keys().nth(at).cloned() else { return };
    let content = files.get_mut(&name).expect("it was just named");
    // In units of 8 bytes, so that two bytes of input reach everywhere.
    let at = (input.number(1 << 16) * 8).min(content.len());
    match change % 8 {
        0 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (input.number(8));
            }
        }
        1 => content.truncate(at),
        2 => {
            let bytes = input.bytes();
            let end = (at + bytes.len()).min(content.len());
            content[at..end].copy_from_slice(&bytes[..end - at]);
        }
        3 => {
            let end = (at + 4_096).min(content.len());
            content[at..end].fill(0);
        }
        4 => drop(files.remove(&name)),
        5 => content.extend_from_slice(&input.bytes()),
        // A block of one place at another: stale or misdirected.
        6 => {
            let to = (input.number(1 << 16) * 8).min(content.len());
            let len = 4_096.min(content.len() - at.max(to));
            content.copy_within(at..at + len, to);
        }
        // All of a file from the input.
        _ => *content = input.0.to_vec(),
    }
}

fn recover(files: &Files) {
    let disk = SimDisk::new();
    for (name, content) in files {
        let file = disk.create(name).expect("a name that was listed");
        file.write_at(0, content).expect("there is room");
        file.sync_all().expect("the disk works");
    }
    disk.sync_dir().expect("the disk works");
    let Some(once) = open(&disk, 2) else {
        assert!(open(&disk, 3).is_none(), "what was refused is refused again");
        return;
    };
    for seed in 3..5 {
        let again = open(&disk, seed).expect("what was recovered opens again");
        assert_eq!(again, once, "recovering twice is recovering once");
    }
}

/// Opens the store, reads all that it holds, and leaves it as a kill does.
fn open(disk: &SimDisk, seed: u64) -> Option<u128> {
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    let (store, _) = Store::<u64>::open(seam, options(), &mut Dice(seed), NOW).ok()?;
    let view = store.view();
    for partition in view.all_partitions() {
        // What does not verify is an error, never a panic and never other data.
        let _ = view.read(partition.slot, partition.start, 1 << 20);
    }
    for conflict in view.conflicts(None, None, 100) {
        let _ = view.conflict(conflict.address);
    }
    Some(store.state_digest())
}

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Dice(u64);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        node: NodeName::new("munich").expect("a name"),
        journal: JournalOptions {
            file_bytes: 24 << 10,
            commit_bytes_max: 8 << 10,
            reserve_chunks: 1,
            reserve_chunk_bytes: 16 << 10,
        },
        keys_max: 10_000,
        retention_bytes: 96 << 10,
        retention_age: None,
    }
}

fn whole() -> Files {
    let disk = SimDisk::new();
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
    let names = disk.list().expect("the disk works").into_iter();
    names.map(|(name, _)| (name.clone(), disk.content(&name).expect("it was listed"))).collect()
}

fn ask(store: &mut Store<u64>, operation: Operation, clock: &mut i64) -> Answer {
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
