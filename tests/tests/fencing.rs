//! A producer of an older epoch is fenced: nothing of it is stored.

use takt_client::{Client, ErrorCode, PublishError};
use takt_protocol::words::{Epoch, ProducerId, Sequence, TopicName};
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation};
use takt_tests::check::read_all;
use takt_tests::driver::{Driver, batch, options};
use takt_tests::events::{event, events};
use takt_tests::site::{Site, TOPIC};
use takt_tests::within;

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_producers_of_one_name_is_fenced() {
    let site = Site::new(&["munich"]);
    let node = site.start("munich").await;
    let (first, second) = (site.client("munich").await, site.client("munich").await);
    let build = |client: &Client| client.producer(TOPIC).name("mes").build().unwrap();
    let older = build(&first);
    let receipt = older.send(event("//acme/mes", 1, "a", 0)).await.unwrap();
    within("a receipt", receipt).await.unwrap();
    let newer = build(&second);
    let receipt = newer.send(event("//acme/mes", 2, "a", 0)).await.unwrap();
    within("a receipt", receipt).await.unwrap();

    let refused = match older.send(event("//acme/mes", 3, "a", 0)).await {
        Ok(receipt) => within("a refusal", receipt).await.unwrap_err(),
        Err(takt_client::SendError::Closed(why)) => why,
        Err(other) => panic!("{other}"),
    };
    assert!(
        matches!(&refused, PublishError::Refused { code: ErrorCode::Fenced, .. }),
        "{refused:?}"
    );
    let receipt = newer.send(event("//acme/mes", 4, "a", 0)).await.unwrap();
    within("a receipt", receipt).await.unwrap();
    let stored = read_all(&second, TOPIC, None).await;
    let ids: Vec<_> = stored.iter().map(|at| at.event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "4"]);
    assert!(node.stop().await.success());
}

#[test]
fn an_old_epoch_is_fenced_after_a_restart_too() {
    let disk = SimDisk::new();
    let seam = || std::sync::Arc::new(disk.clone());
    let (mut driver, _) = Driver::open(seam(), options("munich"), 1, "t").unwrap();
    driver.begin(TopicSettings::default());
    driver.begin(TopicSettings::default());
    drop(driver);
    let (mut driver, _) = Driver::open(seam(), options("munich"), 2, "t").unwrap();
    let batch = batch(&events(1..10, 2, 0), Sequence::new(1));
    let topic = TopicName::new("t").unwrap();
    let mut keys = KeyHashes::default();
    driver.store.view().key_hasher().hash_batch(&topic, &batch, &mut keys).unwrap();
    let producer = ProducerId::new("spiffe://takt/test", "driver").unwrap();
    let epoch = Epoch::new(1);
    let answer = driver.ask(Operation::Publish { producer, topic, epoch, batch, keys });
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.code, ErrorCode::Fenced);
    assert!(driver.store.view().all_partitions().iter().all(|at| at.end_batch.get() == 0));
}
