//! How many events a second come from a producer at a plant to a consumer at the hub, where each of
//! the three lines between them loses datagrams, doubles some and reorders some.

use std::time::Duration;

use takt_client::{Consumer, Producer};
use takt_tests::check::take;
use takt_tests::events::events;
use takt_tests::lossy::LossySite;
use takt_tests::within;
use tokio::time::{Instant, timeout_at};

/// Of a hundred datagrams, on each line and each way.
const LOST: [u64; 4] = [0, 5, 10, 30];
const ROUNDS: u64 = 3;
/// How long a round runs before it is measured, and while it is.
const WARM_UP: Duration = Duration::from_secs(2);
const LENGTH: Duration = Duration::from_secs(15);
const ORDERS: u64 = 100;
const AT_ONCE: u64 = 50;

#[tokio::main]
async fn main() {
    for lost in LOST {
        let mut rates = Vec::new();
        for seed in 1..=ROUNDS {
            rates.push(rate(lost, seed).await);
        }
        let shown: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("{lost} % lost: {} events/s", shown.join(", "));
    }
}

async fn rate(lost: u64, seed: u64) -> f64 {
    let site = LossySite::start(lost, seed).await;
    let mut consumer = site.consumer();
    let producing = tokio::spawn(produce(site.producer("mes")));
    // The first says that all lines are open.
    take(&mut consumer, 1).await;
    consumed(&mut consumer, WARM_UP).await;
    let count = consumed(&mut consumer, LENGTH).await;
    producing.abort();
    f64::from(count) / LENGTH.as_secs_f64()
}

/// Hands over as fast as there is room.
async fn produce(producer: Producer) {
    let mut first = 1;
    loop {
        let batch = events(first..first + AT_ONCE, ORDERS, 0);
        first += AT_ONCE;
        // What is dropped here are the receipts alone.
        drop(within("room", producer.send_batch(batch)).await.expect("the plant takes it"));
    }
}

async fn consumed(consumer: &mut Consumer, length: Duration) -> u32 {
    let until = Instant::now() + length;
    let mut count = 0;
    while let Ok(next) = timeout_at(until, consumer.next()).await {
        next.expect("the topic goes on").expect("it can be read");
        count += 1;
    }
    count
}
