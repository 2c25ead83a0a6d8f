//! A node is killed 50 times under load, each time with at least 1,000 events acknowledged since
//! the last one and more in flight. Nothing that was acknowledged is lost, nothing is stored twice,
//! and the producers' sessions go on by themselves.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use takt_client::admin::messages::{OnConflict, TopicSettings};
use takt_client::{BatchReceiptFuture, Client, Event, NodeName, Place};
use takt_tests::check::{
    appended, assert_acknowledged_is_stored, assert_each_once, assert_orders_are_dense, read_all,
};
use takt_tests::events::{Dice, events};
use takt_tests::site::{Site, TOPIC};
use takt_tests::within;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const ROUNDS: u64 = 50;
const ACKNOWLEDGED_MIN: u64 = 1_000;
const BATCH: u64 = 50;
const ORDERS: u64 = 97;
const SEED: u64 = 20_261_122;
/// A topic that would show every repeat: only the producer's sequence keeps it clean.
const NO_DEDUP: &str = "no-dedup";

/// A producer that never stops by itself.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    acknowledged: watch::Receiver<u64>,
    done: JoinHandle<BTreeMap<Place, Event>>,
}

impl Load {
    fn start(client: &Client, topic: &str) -> Self {
        let producer = client.producer(topic).name("mes").in_flight_bytes(512 << 10);
        let producer = producer.build().unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (queue, mut queued) = mpsc::unbounded_channel::<(Vec<Event>, BatchReceiptFuture)>();
        let (count, acknowledged) = watch::channel(0);
        let sender = (Arc::clone(&stop), Arc::clone(&sent));
        tokio::spawn(async move {
            let (stop, sent) = sender;
            let mut next = 1;
            while !stop.load(Ordering::Relaxed) {
                let batch = events(next..next + BATCH, ORDERS, 0);
                let receipts = producer.send_batch(batch.clone()).await.unwrap();
                next += BATCH;
                sent.fetch_add(BATCH, Ordering::Relaxed);
                queue.send((batch, receipts)).unwrap();
            }
            producer.close().await.unwrap();
        });
        let done = tokio::spawn(async move {
            let mut known = BTreeMap::new();
            while let Some((batch, receipts)) = queued.recv().await {
                for (event, receipt) in batch.into_iter().zip(receipts.await) {
                    // A repeat never shows as one: the session has the receipt of the first.
                    known.insert(appended(&receipt.unwrap()), event);
                }
                count.send_modify(|count| *count += BATCH);
            }
            known
        });
        Self { stop, sent, acknowledged, done }
    }

    fn in_flight(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) - *self.acknowledged.borrow()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let site = Site::new(&["munich"]);
    let mut node = site.start("munich").await;
    let operator = site.operator("munich").await;
    let settings = TopicSettings {
        partitions: 1,
        dedup: false,
        on_conflict: OnConflict::Quarantine.into(),
        ..TopicSettings::default()
    };
    operator.admin().create_topic(NO_DEDUP, settings).await.unwrap();
    let client = site.client("munich").await;
    let mut loads = [Load::start(&client, TOPIC), Load::start(&client, NO_DEDUP)];
    let mut dice = Dice::new(SEED);
    let mut kills = 0;
    for round in 0..ROUNDS {
        let at = ACKNOWLEDGED_MIN + dice.below(500);
        for load in &mut loads {
            let goal = *load.acknowledged.borrow() + at;
            let waiting = load.acknowledged.wait_for(|count| *count >= goal);
            within(&format!("round {round}"), waiting).await.unwrap();
        }
        while loads.iter().all(|load| load.in_flight() == 0) {
            tokio::task::yield_now().await;
        }
        node.kill();
        kills += 1;
        node = site.start("munich").await;
    }
    assert_eq!(kills, ROUNDS);
    let munich = NodeName::new("munich").unwrap();
    for (load, topic) in loads.into_iter().zip([TOPIC, NO_DEDUP]) {
        load.stop.store(true, Ordering::Relaxed);
        let acknowledged = within("the last receipts", load.done).await.unwrap();
        let stored = read_all(&client, topic, None).await;
        println!("{topic}: {} acknowledged, {} stored", acknowledged.len(), stored.len());
        assert!(acknowledged.len() as u64 >= ROUNDS * ACKNOWLEDGED_MIN);
        assert_acknowledged_is_stored(&stored, &munich, &acknowledged);
        // All were answered in the end, so there is nothing that was not acknowledged.
        assert_eq!(stored.len(), acknowledged.len());
        assert_each_once(&stored);
        assert_orders_are_dense(&stored);
    }
    assert!(node.stop().await.success());
}
