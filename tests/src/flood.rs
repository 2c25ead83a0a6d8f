//! Producers at full rate beside a fast reader and many slow ones: what the node needs of memory,
//! and what the slow ones cost the fast one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_client::{Client, Start, TopicName};
use takt_protocol::session::subscriber::{Start as Begin, SubscriberClient, Subscription};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::events::{Dice, event};
use crate::process::Process;
use crate::raw::{RawConnection, RawStream};
use crate::site::Site;
use crate::within;

/// The topic of a flood: without dedup keys, so that only the path of the bytes counts.
pub const TOPIC: &str = "flood";
const PLANT: &str = "munich";
const PRODUCERS: u64 = 4;
const ORDERS: u64 = 10_000;
const BATCH: u64 = 200;
/// What a slow reader says that it takes: it never gives more.
const SLOW_CREDIT_BYTES: usize = 64 << 20;
/// How often a slow reader reads a byte.
const SLOW_BYTE_EVERY: Duration = Duration::from_secs(1);
/// How many events the fast reader reads until it says so.
const COMMIT_EVERY: u64 = 200_000;
/// Data of events that is sent over and over.
const SAMPLES: u64 = 64;

/// A node that is flooded.
#[derive(Debug)]
pub struct Flood {
    /// Where it runs.
    pub site: Site,
    node: Process,
    client: Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    producers: JoinSet<()>,
    read: Arc<AtomicU64>,
    reader: JoinHandle<()>,
}

/// Readers of a byte a second. They go when this is dropped.
#[derive(Debug)]
pub struct SlowReaders {
    tasks: JoinSet<()>,
}

impl Flood {
    /// Starts a plant's node, four producers and a fast reader.
    ///
    /// # Panics
    /// If any of it fails.
    pub async fn start() -> Self {
        let mut site = Site::new(&[PLANT]);
        site.set(PLANT, "journal.file_size", "64MiB");
        // What the fast reader has read may go: a flood fills no disk. Nobody else waits for it.
        site.set(PLANT, "upstream.topics", &format!("[\"{}\"]", crate::site::TOPIC));
        site.set(PLANT, "journal.retention_size", "1GiB");
        let node = site.start(PLANT).await;
        let settings = TopicSettings {
            partitions: 1,
            dedup: false,
            on_conflict: OnConflict::Quarantine.into(),
            ..TopicSettings::default()
        };
        let operator = site.operator(PLANT).await;
        operator.admin().create_topic(TOPIC, settings).await.expect("a new topic");
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut producers = JoinSet::new();
        for number in 0..PRODUCERS {
            let client = site.client(PLANT).await;
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            producers.spawn(produce(client, number, stop, acknowledged));
        }
        let client = site.client(PLANT).await;
        let read = Arc::new(AtomicU64::new(0));
        let reader = tokio::spawn(read_on(client.clone(), Arc::clone(&read)));
        Self { site, node, client, stop, acknowledged, producers, read, reader }
    }

    /// Adds slow readers: sessions that are admitted, read a byte of their stream each second and
    /// give no credit back.
    ///
    /// # Panics
    /// If one is not admitted.
    pub async fn slow_readers(&self, count: usize) -> SlowReaders {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let options = self.site.client_options(PLANT);
            let connection = RawConnection::dial(options).await.expect("a client of the plant");
            let stream = subscribe(&connection).await;
            tasks.spawn(read_slowly(connection, stream));
        }
        SlowReaders { tasks }
    }

    /// Events that the fast reader gets per second, over so long.
    ///
    /// # Panics
    /// If a reader or a producer has ended.
    pub async fn reader_rate(&self, length: Duration) -> f64 {
        let (from, start) = (self.read.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(length).await;
        assert!(!self.reader.is_finished(), "the fast reader has ended");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let events = (self.read.load(Ordering::Relaxed) - from) as f64;
        events / start.elapsed().as_secs_f64()
    }

    /// Events that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The most memory that the node has needed, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.node.memory_peak_bytes()
    }

    /// Stops the producers, and waits until the fast reader has seen everything.
    ///
    /// # Panics
    /// If it does not.
    pub async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(ended) = self.producers.join_next().await {
                ended.expect("a producer has all its receipts");
            }
        };
        within("the producers", ended).await;
        let info = self.client.admin().topic_info(TOPIC).await.expect("the topic");
        let end = info.partitions[0].end_offset;
        assert_eq!(end, self.acknowledged(), "what is stored was acknowledged");
        let seen = async {
            while self.read.load(Ordering::Relaxed) < end {
                assert!(!self.reader.is_finished(), "the fast reader has ended");
                tokio::time::sleep(crate::ASK_EVERY).await;
            }
        };
        within("the fast reader", seen).await;
        assert_eq!(self.read.load(Ordering::Relaxed), end, "it has seen all, once");
        self.reader.abort();
        assert!(self.node.stop().await.success());
    }
}

impl SlowReaders {
    /// Ends them. None has ended by itself before.
    ///
    /// # Panics
    /// If one has.
    pub async fn end(mut self) {
        assert!(self.tasks.try_join_next().is_none(), "a slow reader was shut out");
        self.tasks.shutdown().await;
    }
}

async fn produce(client: Client, number: u64, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) {
    let producer = client.producer(TOPIC).name(&format!("mes-{number}"));
    let producer = producer.build().expect("names that hold");
    let source = format!("//acme/mes-{number}");
    let samples: Vec<_> = (0..SAMPLES).map(|id| event(&source, id, "", 0)).collect();
    let mut dice = Dice::new(number);
    let mut waiting = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let batch = (0..BATCH).map(|_| {
            let sample = samples[usize::try_from(dice.below(SAMPLES)).unwrap_or_default()].clone();
            let order = format!("order-{}", dice.below(ORDERS));
            let order_key = takt_client::OrderKey::new(&order).ok();
            takt_client::Event { order_key, ..sample }
        });
        let receipts = producer.send_batch(batch.collect()).await.expect("the node takes it");
        let acknowledged = Arc::clone(&acknowledged);
        waiting.spawn(async move {
            let receipts = receipts.await;
            assert!(receipts.iter().all(Result::is_ok));
            acknowledged.fetch_add(receipts.len() as u64, Ordering::Relaxed);
        });
        while let Some(done) = waiting.try_join_next() {
            done.expect("all are acknowledged");
        }
    }
    producer.close().await.expect("the node answers");
    while let Some(done) = waiting.join_next().await {
        done.expect("all are acknowledged");
    }
}

/// Counts what arrives. It must come without a hole, so retention waits for it.
async fn read_on(client: Client, read: Arc<AtomicU64>) {
    let consumer = client.consumer(TOPIC).from(Start::Earliest).cursor("fast").hold(true).build();
    let mut consumer = consumer.expect("names that hold");
    let mut committed = 0;
    while let Some(batch) = consumer.next_batch().await {
        let batch = batch.expect("it can be read").batch;
        assert_eq!(batch.header().base_offset.get(), read.load(Ordering::Relaxed), "a hole");
        let end = batch.end_offset().get();
        read.store(end, Ordering::Relaxed);
        if end - committed >= COMMIT_EVERY {
            consumer.commit().await.expect("the node takes it");
            committed = end;
        }
    }
}

async fn subscribe(connection: &RawConnection) -> RawStream {
    let mut session = SubscriberClient::new(Subscription {
        topic: TopicName::new(TOPIC).expect("a name"),
        start: Begin::Earliest,
        cursor: None,
        hold: None,
        credit_bytes: SLOW_CREDIT_BYTES,
        origin: None,
    });
    session.on_connected(std::time::Instant::now());
    let mut stream = connection.stream().await.expect("a stream is admitted");
    while let Some(frame) = session.poll_transmit() {
        stream.write(&frame.to_bytes()).await;
    }
    stream
}

async fn read_slowly(connection: RawConnection, mut stream: RawStream) {
    let mut ticks = interval(SLOW_BYTE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stream.read_byte().await.is_ok() {
        ticks.tick().await;
    }
    drop(connection);
}
