//! The network loses, doubles and reorders datagrams below QUIC, and is cut: the hub holds each event
//! once, in order, as it was sent.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::ops::Range;

use takt_client::{Consumer, Delivered, Event, Place, Producer, Receipt};
use takt_tests::check::{appended, assert_each_once, assert_orders_are_dense, read_all, take};
use takt_tests::events::events;
use takt_tests::lossy::{LossySite, PLANT, noise};
use takt_tests::site::{HUB, TOPIC};
use takt_tests::udp::{Counts, Direction, Proxy};
use takt_tests::{eventually, within};
use tokio::task::JoinHandle;

const ORDERS: u64 = 7;
/// What is sent before the cut, and has its receipts.
const BEFORE: Range<u64> = 1..1_001;
/// Reaches the hub, while its producer gets no answer any more.
const UNANSWERED: Range<u64> = 1_001..1_004;
/// Reaches the plant and goes no further, without an answer too.
const STRANDED: Range<u64> = 1_004..1_007;
/// What is handed over while nothing passes.
const DURING: Range<u64> = 1_007..2_001;
/// No line is lucky for so many events.
const AT_MOST: u64 = 12_001;
/// How many events one call hands over.
const AT_ONCE: usize = 50;

/// Hands events over and waits for their receipts.
fn publish(producer: &Producer, ids: Range<u64>) -> JoinHandle<Vec<Receipt>> {
    let producer = producer.clone();
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        for batch in events(ids, ORDERS, 0).chunks(AT_ONCE) {
            waiting.push(within("room", producer.send_batch(batch.to_vec())).await.unwrap());
        }
        let mut receipts = Vec::new();
        for batch in waiting {
            receipts.extend(within("receipts", batch).await.into_iter().map(Result::unwrap));
        }
        receipts
    })
}

/// Lets no answer back. What goes there still arrives: QUIC sends again only what answers show to be
/// lost, so nothing may be lost from now on.
fn answer_no_more(line: &Proxy) {
    line.set(Direction::ToNode, noise(0));
    line.cut(Direction::FromNode);
}

fn mend(line: &Proxy, lost: u64) {
    line.set(Direction::ToNode, noise(lost));
    for direction in Direction::BOTH {
        line.mend(direction);
    }
}

/// Waits until somebody dials anew: the connection that was there is given up.
async fn dialled_again(line: &Proxy, before: Counts) {
    eventually("another dial", async || {
        let initials = line.counts(Direction::ToNode).initials;
        if initials > before.initials { Ok(()) } else { Err(initials) }
    })
    .await;
}

async fn plant_holds(site: &LossySite, events: u64) {
    let client = site.site.client(PLANT).await;
    eventually("events at the plant", async || {
        let info = client.admin().topic_info(TOPIC).await.map_err(|error| error.to_string())?;
        let end: u64 = info.partitions.iter().map(|partition| partition.end_offset).sum();
        if end == events { Ok(()) } else { Err(format!("{end} of {events}")) }
    })
    .await;
}

/// All events are at the hub, each once, as they were sent and where the receipts say; the plant has
/// the same, and the consumer got it.
async fn assert_all_is_there(site: &LossySite, places: &[Place], consumed: &[Delivered]) {
    let at_hub = read_all(&site.site.client(HUB).await, TOPIC, None).await;
    let contents: Vec<Event> = at_hub.iter().map(|at| at.event.clone()).collect();
    assert!(contents == events(BEFORE.start..DURING.end, ORDERS, 0), "the hub has other events");
    assert_each_once(&at_hub);
    assert_orders_are_dense(&at_hub);
    assert!(at_hub.iter().map(|at| at.offset).eq(places.iter().map(|place| place.offset)));
    assert_eq!(at_hub, read_all(&site.site.client(PLANT).await, TOPIC, None).await);
    assert_eq!(at_hub, consumed, "the consumer got it as it is stored");
}

/// Goes on until each line has done, each way, all that it was told, or the run proves nothing. Some
/// have seen fewer than a hundred datagrams by now, and may be lucky for a while.
async fn until_they_were_bad(
    site: &LossySite,
    lost: u64,
    producer: &Producer,
    consumer: &mut Consumer,
) {
    let was_bad = |counts: Counts| {
        counts.doubled > 0 && counts.reordered > 0 && (counts.lost > 0) == (lost > 0)
    };
    let ways = || {
        let lines = site.lines().into_iter();
        lines.flat_map(|(name, line)| Direction::BOTH.map(|way| (name, way, line.counts(way))))
    };
    let mut next = DURING.end;
    while next < AT_MOST && !ways().all(|(_, _, counts)| was_bad(counts)) {
        let ids = next..next + AT_ONCE as u64;
        next = ids.end;
        publish(producer, ids).await.unwrap();
        take(consumer, AT_ONCE).await;
    }
    for (name, way, counts) in ways() {
        println!("{lost} % lost, {name} {way:?}: {counts:?}");
        assert!(was_bad(counts), "invalid: {name} {counts:?}");
    }
}

/// The adapter loses its connection in the middle and does not wait: it begins anew, under the same
/// name, with the first event that has no receipt. What it had begun before is still on its way.
async fn begin_anew(lost: u64) {
    let site = LossySite::start(lost, lost).await;
    let mut consumer = site.consumer();
    let old = site.producer("mes");
    let receipts = publish(&old, BEFORE).await.unwrap();
    let mut places: Vec<Place> = receipts.iter().map(appended).collect();
    let mut consumed = take(&mut consumer, places.len()).await;

    answer_no_more(&site.shop);
    let unanswered = publish(&old, UNANSWERED);
    consumed.extend(take(&mut consumer, UNANSWERED.count()).await);
    site.shop.cut(Direction::ToNode);
    let during = publish(&old, STRANDED.start..DURING.end);
    for waiting in [unanswered, during] {
        assert!(!waiting.is_finished(), "who was to answer?");
        waiting.abort();
    }
    drop(old);
    mend(&site.shop, lost);

    let producer = site.producer("mes");
    let receipts = publish(&producer, UNANSWERED.start..DURING.end).await.unwrap();
    let (known, rest) = receipts.split_at(UNANSWERED.count());
    for (receipt, at) in known.iter().zip(&consumed[BEFORE.count()..]) {
        let is_known = matches!(receipt, Receipt::Duplicate { of, .. } if of.offset == at.offset);
        assert!(is_known, "{} is stored: {receipt:?}", at.event.id);
    }
    places.extend(receipts.iter().map(|receipt| receipt.place().unwrap()));
    consumed.extend(take(&mut consumer, rest.len()).await);
    assert_all_is_there(&site, &places, &consumed).await;
    until_they_were_bad(&site, lost, &producer, &mut consumer).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_holds_each_event_once_at_0_10_and_30_percent_loss() {
    tokio::join!(begin_anew(0), begin_anew(10), begin_anew(30));
}

/// Most of the time goes by until the connections are given up, after 30 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_has_left_unanswered_is_sent_again_over_the_next_connection() {
    const LOST: u64 = 10;
    let site = LossySite::start(LOST, 1).await;
    let mut consumer = site.consumer();
    let producer = site.producer("mes");
    let mut receipts = publish(&producer, BEFORE).await.unwrap();
    let mut consumed = take(&mut consumer, receipts.len()).await;

    // No answer comes back, neither to the producer nor to the plant.
    let before = [&site.shop, &site.wan].map(|line| line.counts(Direction::ToNode));
    answer_no_more(&site.shop);
    answer_no_more(&site.wan);
    let unanswered = publish(&producer, UNANSWERED);
    consumed.extend(take(&mut consumer, UNANSWERED.count()).await);
    // Then nothing passes between plant and hub, and in the end not to the plant either.
    site.wan.cut(Direction::ToNode);
    let stranded = publish(&producer, STRANDED);
    plant_holds(&site, STRANDED.end - 1).await;
    site.shop.cut(Direction::ToNode);
    let during = publish(&producer, DURING);
    dialled_again(&site.shop, before[0]).await;
    dialled_again(&site.wan, before[1]).await;
    for waiting in [&unanswered, &stranded, &during] {
        assert!(!waiting.is_finished(), "who was to answer?");
    }
    mend(&site.shop, LOST);
    mend(&site.wan, LOST);

    for waiting in [unanswered, stranded, during] {
        receipts.extend(waiting.await.unwrap());
    }
    // What was sent again has the receipt that it got first: to its session nothing is a repeat.
    let places: Vec<Place> = receipts.iter().map(appended).collect();
    consumed.extend(take(&mut consumer, STRANDED.count() + DURING.count()).await);
    assert_all_is_there(&site, &places, &consumed).await;
    until_they_were_bad(&site, LOST, &producer, &mut consumer).await;
    site.stop().await;
}
