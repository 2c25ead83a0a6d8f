//! A plant that was reinstalled under its old name is refused by the hub as diverged. Nothing is
//! skipped or overwritten, and both sides say so.

use takt_tests::check::{assert_each_once, link_is, read_all, take};
use takt_tests::events::events;
use takt_tests::site::{HUB, Site, TOPIC};
use takt_tests::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstalled_plant_is_refused_and_both_sides_say_so() {
    let site = Site::new(&["munich"]);
    let mut hub = site.start(HUB).await;
    let plant = site.start("munich").await;
    let client = site.client("munich").await;
    let producer = client.producer(TOPIC).name("mes").build().unwrap();
    let sent = events(1..101, 5, 0);
    let receipts = producer.send_batch(sent.clone()).await.unwrap();
    assert!(within("receipts", receipts).await.iter().all(Result::is_ok));
    link_is(&site.operator("munich").await, HUB, "up").await;
    let at_hub = site.client(HUB).await;
    take(&mut at_hub.consumer(TOPIC).build().unwrap(), 100).await;
    let before = read_all(&at_hub, TOPIC, None).await;
    drop((producer, client));
    assert!(plant.stop().await.success());

    std::fs::remove_dir_all(site.data_dir("munich")).unwrap();
    let mut plant = site.start("munich").await;
    let client = site.client("munich").await;
    let producer = client.producer(TOPIC).name("mes").build().unwrap();
    let receipts = producer.send_batch(events(1..51, 5, 9)).await.unwrap();
    // The plant itself goes on.
    assert!(within("receipts", receipts).await.iter().all(Result::is_ok));
    for (operator, peer) in [("munich", HUB), (HUB, "munich")] {
        let link = link_is(&site.operator(operator).await, peer, "diverged").await;
        println!("{operator}: {}", link.detail);
        assert!(link.detail.contains("munich"), "{}", link.detail);
    }
    plant.said("diverged").await;
    assert_eq!(read_all(&at_hub, TOPIC, None).await, before, "the hub keeps what it had");

    // Neither a restart of the hub nor one of the plant lets it through.
    hub.kill();
    hub = site.start(HUB).await;
    plant.kill();
    let plant = site.start("munich").await;
    link_is(&site.operator("munich").await, HUB, "diverged").await;
    link_is(&site.operator(HUB).await, "munich", "diverged").await;
    assert_eq!(read_all(&at_hub, TOPIC, None).await, before);
    let own = read_all(&client, TOPIC, None).await;
    assert_each_once(&own);
    assert_eq!(own.len(), 50, "the plant keeps what it acknowledged");
    let contents: Vec<_> = before.into_iter().map(|at| at.event).collect();
    assert!(contents == sent);
    assert!(plant.stop().await.success() && hub.stop().await.success());
}
