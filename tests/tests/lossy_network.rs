//! The network loses, doubles and reorders datagrams below QUIC, and is cut for as long as it takes
//! to lose the connections: the hub holds each event once, in order, as it was sent.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_client::{Delivered, Event, Producer, Receipt};
use takt_tests::check::{appended, assert_each_once, assert_orders_are_dense, read_all, take};
use takt_tests::events::events;
use takt_tests::lossy::{LossySite, PLANT};
use takt_tests::site::{HUB, TOPIC};
use takt_tests::udp::{Counts, Direction, Proxy};
use takt_tests::{eventually, within};

const ORDERS: u64 = 7;
/// What is sent before the cut, and has its receipts.
const BEFORE: std::ops::Range<u64> = 1..1_001;
/// Crosses lines that carry no answer any more. So few fit one datagram, which is sent again and
/// again: more would wait for answers.
const UNANSWERED: std::ops::Range<u64> = 1_001..1_004;
/// What is handed over while nothing passes.
const DURING: std::ops::Range<u64> = 1_004..2_001;
/// How many events one call hands over.
const AT_ONCE: usize = 50;

async fn publish(producer: &Producer, ids: std::ops::Range<u64>) -> Vec<Receipt> {
    let mut waiting = Vec::new();
    for batch in events(ids, ORDERS, 0).chunks(AT_ONCE) {
        waiting.push(within("room", producer.send_batch(batch.to_vec())).await.unwrap());
    }
    let mut receipts = Vec::new();
    for batch in waiting {
        receipts.extend(within("receipts", batch).await.into_iter().map(Result::unwrap));
    }
    receipts
}

/// Waits until somebody dials anew: the connection that was there is given up.
async fn dialled_again(line: &Proxy, before: Counts) {
    eventually("another dial", async || {
        let initials = line.counts(Direction::ToNode).initials;
        if initials > before.initials { Ok(()) } else { Err(initials) }
    })
    .await;
}

/// What the lines have done is what they were told.
fn assert_they_were_bad(site: &LossySite, lost: u64) {
    for (name, line) in site.lines() {
        for direction in Direction::BOTH {
            let counts = line.counts(direction);
            println!("{lost} % lost, {name} {direction:?}: {counts:?}");
            assert!(counts.doubled > 0 && counts.reordered > 0, "invalid: {name} {counts:?}");
            assert_eq!(counts.lost > 0, lost > 0, "invalid: {name} {counts:?}");
        }
    }
}

async fn live_through(lost: u64) {
    let site = LossySite::start(lost, lost).await;
    let mut consumer = site.consumer();
    let producer = site.producer("mes");
    let mut consumed: Vec<Delivered> = Vec::new();
    let mut receipts = publish(&producer, BEFORE).await;
    consumed.extend(take(&mut consumer, receipts.len()).await);

    // No answer comes back, neither to the producer nor to the plant, but what they send arrives.
    let before = [&site.shop, &site.wan].map(|line| line.counts(Direction::ToNode));
    site.shop.cut(Direction::FromNode);
    site.wan.cut(Direction::FromNode);
    let unanswered = {
        let producer = producer.clone();
        tokio::spawn(async move { publish(&producer, UNANSWERED).await })
    };
    consumed.extend(take(&mut consumer, UNANSWERED.count()).await);
    assert!(!unanswered.is_finished(), "who was to answer?");
    // Then nothing passes between producer and plant.
    site.shop.cut(Direction::ToNode);
    let during = {
        let producer = producer.clone();
        tokio::spawn(async move { publish(&producer, DURING).await })
    };
    for (line, before) in [&site.shop, &site.wan].into_iter().zip(before) {
        dialled_again(line, before).await;
    }
    assert!(!unanswered.is_finished() && !during.is_finished(), "who was to answer?");
    for direction in Direction::BOTH {
        site.shop.mend(direction);
        site.wan.mend(direction);
    }

    receipts.extend(unanswered.await.unwrap());
    receipts.extend(during.await.unwrap());
    // What was sent again has the receipt that it got first.
    let places: Vec<_> = receipts.iter().map(appended).collect();
    consumed.extend(take(&mut consumer, DURING.count()).await);
    // Another adapter has the same events: by their keys they are known.
    let again = publish(&site.producer("mes-2"), UNANSWERED).await;
    for (receipt, place) in again.iter().zip(&places[BEFORE.count()..]) {
        assert!(matches!(receipt, Receipt::Duplicate { of, .. } if of == place), "{receipt:?}");
    }

    let at_hub = read_all(&site.site.client(HUB).await, TOPIC, None).await;
    let contents: Vec<Event> = at_hub.iter().map(|at| at.event.clone()).collect();
    assert!(contents == events(BEFORE.start..DURING.end, ORDERS, 0), "{lost}: not as sent");
    assert_each_once(&at_hub);
    assert_orders_are_dense(&at_hub);
    assert!(at_hub.iter().map(|at| at.offset).eq(places.iter().map(|place| place.offset)));
    assert_eq!(at_hub, read_all(&site.site.client(PLANT).await, TOPIC, None).await);
    assert_eq!(at_hub, consumed, "the consumer got it as it is stored");
    assert_they_were_bad(&site, lost);
    site.stop().await;
}

/// The three live side by side: most of the time goes by until a connection is given up.
#[tokio::test(flavor = "multi_thread")]
async fn the_hub_holds_each_event_once_at_0_10_and_30_percent_loss() {
    tokio::join!(live_through(0), live_through(10), live_through(30));
}
