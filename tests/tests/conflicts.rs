//! The same id with other content: set aside, named, kept once, and at the hub exactly once.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

use takt_client::{Client, Producer, Receipt};
use takt_tests::check::{conflicts, read_all, take};
use takt_tests::events::{event, events};
use takt_tests::site::{HUB, Site, TOPIC};
use takt_tests::{eventually, within};

const ORDERS: u64 = 10;

async fn publish(producer: &Producer, batch: Vec<takt_client::Event>) -> Vec<Receipt> {
    let receipts = within("room", producer.send_batch(batch)).await.unwrap();
    within("receipts", receipts).await.into_iter().map(Result::unwrap).collect()
}

fn ids(listed: &[takt_client::admin::messages::ConflictSummary]) -> Vec<u64> {
    let mut ids: Vec<u64> = listed.iter().map(|conflict| conflict.id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

async fn listed(client: &Client, count: usize) -> Vec<u64> {
    eventually("conflicts", async || {
        let found = ids(&conflicts(client, TOPIC).await);
        if found.len() == count { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_spares_its_batch_and_reaches_the_hub_once() {
    let site = Site::new(&["munich"]);
    let mut hub = site.start(HUB).await;
    let mut plant = site.start("munich").await;
    let client = site.client("munich").await;
    let producer = client.producer(TOPIC).name("mes").batch_records(2_000).batch_bytes(900_000);
    let producer = producer.build().unwrap();

    // A batch of 1,000 with one conflict stores 999 and names the one.
    let first = publish(&producer, vec![events(500..501, ORDERS, 0).remove(0)]).await;
    let mut batch = events(1..1_001, ORDERS, 0);
    let other = events(500..501, ORDERS, 1).remove(0);
    batch[499] = other.clone();
    let receipts = publish(&producer, batch).await;
    let with = first[0].place().unwrap();
    for (index, receipt) in receipts.iter().enumerate() {
        match receipt {
            Receipt::Appended { .. } => assert_ne!(index, 499),
            Receipt::Conflict { with: found } => assert_eq!((index, *found), (499, with)),
            other => panic!("{index}: {other:?}"),
        }
    }
    assert_eq!(read_all(&client, TOPIC, None).await.len(), 1_000);
    assert_eq!(listed(&client, 1).await, [500]);
    let summary = conflicts(&client, TOPIC).await.remove(0);
    let detail = client.admin().conflict(summary.address.unwrap()).await.unwrap();
    let kept: takt_client::Event = detail.event.unwrap().try_into().unwrap();
    assert_eq!(kept, other, "what was set aside is kept");

    // A batch of conflicts alone, the hub killed after it.
    let receipts = publish(&producer, events(11..21, ORDERS, 7)).await;
    assert!(receipts.iter().all(|receipt| matches!(receipt, Receipt::Conflict { .. })));
    let expected: Vec<u64> = (11..21).chain([500]).collect();
    let at_hub = site.client(HUB).await;
    assert_eq!(listed(&at_hub, 11).await, expected);
    hub.kill();
    hub = site.start(HUB).await;
    // The link goes on behind it, also after a crash of the plant.
    plant.kill();
    plant = site.start("munich").await;
    let mut consumer = at_hub.consumer(TOPIC).build().unwrap();
    take(&mut consumer, 1_000).await;
    publish(&producer, vec![event("//acme/mes", 2_000, "", 0)]).await;
    let last = take(&mut consumer, 1).await.remove(0);
    assert_eq!(last.event.id, "2000");
    assert_eq!(listed(&at_hub, 11).await, expected);
    assert_eq!(read_all(&at_hub, TOPIC, None).await, read_all(&client, TOPIC, None).await);

    // A repeat of a conflict is known: nothing new is listed.
    let receipts = publish(&producer, events(11..21, ORDERS, 7)).await;
    assert!(receipts.iter().all(|receipt| matches!(receipt, Receipt::Conflict { .. })));
    publish(&producer, vec![event("//acme/mes", 2_001, "", 0)]).await;
    take(&mut consumer, 1).await;
    assert_eq!(listed(&client, 11).await, expected);
    assert_eq!(listed(&at_hub, 11).await, expected);
    assert!(plant.stop().await.success() && hub.stop().await.success());
}
