//! What the path of a batch through a broker allocates does not grow with its records.
//!
//! The path is that of `broker/src/serve/producer.rs` and the writer without their threads and
//! sockets: a frame's bytes, the session, the checks and hashes, the store, one sync, the receipt's
//! frame. Allocations of this thread are counted, so the test has a binary of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use takt_broker::node::{Node, NodeOptions};
use takt_client::admin::messages;
use takt_client::{Event, EventRef, NodeName, OrderKey, TopicName};
use takt_protocol::batch::{BatchBuilder, Compression};
use takt_protocol::hashing::DigestHasher;
use takt_protocol::session::producer::{
    ProducerOpened, ProducerRequest, ProducerServer, ServerLimits,
};
use takt_protocol::wire::{
    ControlBody, FrameDecoder, encode_control, proto, publish_frame, take_receipts,
};
use takt_protocol::words::{Epoch, PartitionNumber, ProducerId, Sequence, Timestamp};
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::entry::TopicSettings;
use takt_storage::journal::JournalOptions;
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation, Staged, Store, StoreOptions};
use takt_tests::events::Dice;

const FEW: usize = 100;
const MANY: usize = 1_000;
/// Batches of [`MANY`] that warm up, into the file behind the one that the start made. The tables of keys
/// and orders have 256 shards of their own doubling each; here and for as long as is measured nearly all
/// of them are between two doublings.
const WARM_UP: usize = 110;
/// Measured of each size.
const BATCHES: usize = 20;
/// How many allocations more a batch of [`MANY`] records may take than one of [`FEW`]: what grows
/// by doubling grows four times more often.
const MORE_MAX: u64 = 30;

/// A session and a store, with what the writer and the session's task keep between batches.
struct Broker {
    decoder: FrameDecoder,
    session: ProducerServer,
    digests: DigestHasher,
    store: Store<u64>,
    topic: TopicName,
    producer: ProducerId,
    epoch: Epoch,
    next: Sequence,
    now: i64,
    _home: tempfile::TempDir,
}

impl Broker {
    /// With a topic whose dedup keys count once, and its producer's session open.
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(home.path()).unwrap());
        let options = StoreOptions {
            node: NodeName::new("plant").unwrap(),
            journal: JournalOptions { file_bytes: 128 << 20, ..JournalOptions::default() },
            keys_max: 10_000_000,
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
        let now = 1_700_000_000_000_000;
        let at = Timestamp::from_micros(now);
        let (mut store, _) = Store::open(disk, options, &mut Dice::new(1), at).unwrap();
        store.set_uplink_needs(Some(BTreeMap::new()));
        let limits = ServerLimits::default();
        let mut broker = Self {
            decoder: FrameDecoder::new(),
            session: ProducerServer::new("spiffe://takt/test".into(), limits),
            digests: DigestHasher::default(),
            store,
            topic: TopicName::new("t").unwrap(),
            producer: ProducerId::new("spiffe://takt/test", "p").unwrap(),
            epoch: Epoch::new(0),
            next: Sequence::new(1),
            now,
            _home: home,
        };
        let (name, settings) = (broker.topic.clone(), TopicSettings::default());
        assert!(settings.dedup);
        broker.ask(Operation::CreateTopic { name, settings });
        let open = proto::OpenProducer { topic: "t".into(), name: "p".into(), transient: false };
        let frame = encode_control(ControlBody::OpenProducer(open)).unwrap().to_bytes();
        let ProducerRequest::Open { producer, topic, transient } = broker.receive(frame) else {
            panic!("a producer opens");
        };
        let answer = broker.ask(Operation::OpenProducer { producer, topic, transient });
        let Answer::ProducerOpened(opened) = answer else { panic!("{answer:?}") };
        broker.epoch = opened.epoch;
        broker.session.on_opened(Ok(ProducerOpened {
            producer: broker.producer.clone(),
            epoch: opened.epoch,
            last_sequence: opened.last_sequence,
            partitions: opened.partitions,
            kept: opened.kept,
        }));
        broker.session.poll_transmit().unwrap();
        broker
    }

    /// The frame of the next batch: each record with an id and an order key of its own.
    fn frame(&mut self, records: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        let first = self.next.get();
        for id in first..first + records as u64 {
            let event = Event {
                id: format!("{id:016}"),
                source: "//acme/mes".into(),
                kind: "mfg.operation.confirmed.v1".into(),
                order_key: Some(OrderKey::new(&format!("PO-{id:016}")).unwrap()),
                data: Bytes::from_static(&[b'x'; 100]),
                ..Event::default()
            };
            builder.push(&event).unwrap();
        }
        let batch = builder.finish(PartitionNumber::new(0), self.next).unwrap();
        self.next = self.next.advance(records as u64);
        publish_frame([batch]).unwrap().to_bytes()
    }

    fn receive(&mut self, frame: Bytes) -> ProducerRequest {
        self.decoder.push(frame);
        let frame = self.decoder.next().unwrap().unwrap();
        self.session.handle_frame(Instant::now(), frame).unwrap();
        self.session.poll_event().unwrap()
    }

    /// Judges an operation, makes it durable and takes its answer.
    fn ask(&mut self, operation: Operation) -> Answer {
        self.jobs();
        self.judge(operation)
    }

    fn judge(&mut self, operation: Operation) -> Answer {
        self.now += 1_000;
        match self.store.stage(operation, 7, Timestamp::from_micros(self.now)) {
            Ok(Staged::Held) => {}
            other => panic!("not taken: {other:?}"),
        }
        loop {
            // A mark, before a file is left, answers nobody.
            let pending = self.store.seal().unwrap().unwrap();
            pending.write_and_sync().unwrap();
            if let Some((_, answer)) = self.store.on_synced(pending).pop() {
                return answer;
            }
        }
    }

    /// The whole path of one batch, to the receipt's frame.
    fn publish(&mut self, frame: Bytes) -> Bytes {
        let ProducerRequest::Submit { ticket, batch } = self.receive(frame) else {
            panic!("a batch");
        };
        let mut keys = KeyHashes::default();
        let hasher = self.store.view().key_hasher().clone();
        let digests = Some(&mut self.digests);
        hasher.check_and_hash(&self.topic, &batch, 1, digests, &mut keys).unwrap();
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let epoch = self.epoch;
        let answer = self.judge(Operation::Publish { producer, topic, epoch, batch, keys });
        let Answer::Receipt(receipt) = answer else { panic!("{answer:?}") };
        self.session.on_judged(ticket, Ok(receipt));
        self.session.poll_transmit().unwrap().to_bytes()
    }

    /// What the job thread does beside.
    fn jobs(&mut self) {
        self.now += 1_000;
        let now = Timestamp::from_micros(self.now);
        while let Some(job) = self.store.poll_job(now) {
            self.store.on_job_done(job.run(), now);
        }
    }

    /// The allocations of batches of so many records, the least first.
    fn measure(&mut self, batches: usize, records: usize) -> Vec<u64> {
        let mut counts = Vec::new();
        for _ in 0..batches {
            self.jobs();
            let frame = self.frame(records);
            let mut answer = Bytes::new();
            counts.push(measure(|| answer = self.publish(frame)).count_total);
            all_visible(answer, records);
        }
        counts.sort_unstable();
        counts
    }
}

/// Of an application that lays its events out itself: what a batch takes does not grow with its events.
#[tokio::test]
async fn an_event_that_is_laid_out_allocates_nothing() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::open(NodeOptions::embedded("munich", home.path()).unwrap()).await.unwrap();
    let client = node.client();
    let settings = messages::TopicSettings { partitions: 1, ..messages::TopicSettings::default() };
    client.admin().create_topic("t", settings).await.unwrap();
    // All of them are one batch, so the second has the buffers of the first.
    let producer = client.producer("t").batch_bytes(900_000).build().unwrap();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let mut batch = producer.batch().await.unwrap();
        let ids: Vec<String> = (0..MANY).map(|id| format!("{id:08}")).collect();
        let push = |id: &String| {
            let event = EventRef {
                id,
                source: "//acme/mes",
                kind: "mfg.operation.confirmed.v1",
                order_key: Some(id),
                data: &[b'x'; 100],
                ..EventRef::default()
            };
            batch.push(event).unwrap();
        };
        counts.push(measure(|| ids.iter().for_each(push)).count_total);
        assert_eq!(batch.len(), MANY);
        assert!(batch.send().await.unwrap().await.iter().all(Result::is_ok));
    }
    println!("allocations of {MANY} events: {counts:?}");
    assert!(counts[1..].iter().all(|count| *count <= 4), "{counts:?}");
    client.close().await;
    node.close().await.unwrap();
}

fn all_visible(answer: Bytes, records: usize) {
    let mut decoder = FrameDecoder::new();
    decoder.push(answer);
    let receipts = take_receipts(&decoder.next().unwrap().unwrap().body).unwrap();
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].receipts().count(), records);
    assert!(receipts[0].receipts().all(|receipt| receipt.verdict.is_visible()));
}

#[test]
fn allocations_of_a_batch_do_not_grow_with_its_records() {
    let mut broker = Broker::open();
    broker.measure(WARM_UP, MANY);
    let few = broker.measure(BATCHES, FEW);
    let many = broker.measure(BATCHES, MANY);
    let (median_few, median_many) = (few[BATCHES / 2], many[BATCHES / 2]);
    let mean = |counts: &[u64]| counts.iter().sum::<u64>() / BATCHES as u64;
    let figures = format!(
        "allocations of a batch: of {FEW} records {median_few} (mean {}, most {}), of {MANY} \
         records {median_many} (mean {}, most {})",
        mean(&few),
        few[BATCHES - 1],
        mean(&many),
        many[BATCHES - 1]
    );
    println!("{figures}");
    assert!(median_many <= median_few + MORE_MAX, "{figures}");
    assert!(mean(&many) <= mean(&few) + MORE_MAX, "{figures}");
}
