//! Two plants with the same source, ids and order keys, but other content: links are cut and the
//! hub is killed on the way, and the hub holds everything of both, as if they had never met.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_broker::demo::wan::Wan;
use takt_client::{Client, Producer};
use takt_tests::check::{
    assert_each_once, assert_orders_are_dense, conflicts, link_is, read_all, take,
};
use takt_tests::events::events;
use takt_tests::site::{HUB, Site, TOPIC};
use takt_tests::within;

const EVENTS: u64 = 1_000;
const ORDERS: u64 = 10;

async fn publish(producers: &[(Producer, u64)], ids: std::ops::Range<u64>) {
    for (producer, content) in producers {
        let batch = events(ids.clone(), ORDERS, *content);
        let receipts = within("room", producer.send_batch(batch)).await.unwrap();
        for receipt in within("receipts", receipts).await {
            takt_tests::check::appended(&receipt.unwrap());
        }
    }
}

fn producer(client: &Client) -> Producer {
    client.producer(TOPIC).name("mes").build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_holds_both_and_suppresses_nothing() {
    let mut site = Site::new(&["lyon", "munich"]);
    let wan = Wan::start(site.address(HUB)).await.unwrap();
    site.set("munich", "upstream.address", &wan.address().to_string());
    let mut hub = site.start(HUB).await;
    let (_lyon, _munich) = (site.start("lyon").await, site.start("munich").await);
    let (lyon, munich) = (site.client("lyon").await, site.client("munich").await);
    let producers = [(producer(&lyon), 1), (producer(&munich), 2)];

    publish(&producers, 1..301).await;
    link_is(&site.operator("munich").await, HUB, "up").await;
    link_is(&site.operator("lyon").await, HUB, "up").await;
    let at_hub = site.client(HUB).await;
    let mut consumer = at_hub.consumer(TOPIC).build().unwrap();
    take(&mut consumer, 600).await;
    wan.cut();
    publish(&producers, 301..601).await;
    // Lyon's come, Munich's are behind the cut.
    assert!(take(&mut consumer, 300).await.iter().all(|at| at.partition.origin.as_str() == "lyon"));
    hub.kill();
    publish(&producers, 601..801).await;
    wan.mend();
    hub = site.start(HUB).await;
    publish(&producers, 801..EVENTS + 1).await;
    take(&mut consumer, 2_000 - 900).await;

    let stored = read_all(&at_hub, TOPIC, None).await;
    assert_eq!(stored.len(), 2_000);
    assert_each_once(&stored);
    assert_orders_are_dense(&stored);
    for (origin, content) in [("lyon", 1), ("munich", 2)] {
        let of_origin = read_all(&at_hub, TOPIC, Some(origin)).await;
        let contents: Vec<_> = of_origin.iter().map(|at| at.event.clone()).collect();
        assert!(contents == events(1..EVENTS + 1, ORDERS, content), "{origin} is not as sent");
        let client = if origin == "lyon" { &lyon } else { &munich };
        assert_eq!(of_origin, read_all(client, TOPIC, None).await, "{origin} and its mirror");
    }
    assert!(conflicts(&at_hub, TOPIC).await.is_empty());
    assert!(hub.stop().await.success());
}
