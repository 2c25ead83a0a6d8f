//! A broker inside this process: the whole way of an event without a network.

use takt_broker::node::{Node, NodeOptions};
use takt_client::{Event, OrderKey, OrderSequence, Receipt, Start};
use takt_storage::entry::TopicSettings;

fn options(dir: &std::path::Path) -> NodeOptions {
    let mut options = NodeOptions::embedded("munich", dir).expect("a name");
    options.journal.file_bytes = 4 << 20;
    options.journal.reserve_chunk_bytes = 2 << 20;
    options.topics = vec![("production".parse().expect("a name"), TopicSettings::default())];
    options
}

fn event(id: u64, order: u64) -> Event {
    Event {
        id: id.to_string(),
        source: "//acme/munich/mes".into(),
        kind: "mfg.operation.confirmed.v1".into(),
        order_key: Some(OrderKey::new(&format!("PO-{order}")).expect("a key")),
        data: format!("{{\"number\":{id}}}").into_bytes().into(),
        ..Event::default()
    }
}

#[tokio::test]
async fn events_are_stored_once_and_read_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(options(dir.path())).await.unwrap();
    let client = node.client();
    let producer = client.producer("production").name("mes").build().unwrap();
    for id in 0..100 {
        let receipt = producer.send(event(id, id % 7)).await.unwrap().await.unwrap();
        assert!(matches!(receipt, Receipt::Appended { .. }), "{receipt:?}");
    }
    let repeat = producer.send(event(42, 0)).await.unwrap().await.unwrap();
    assert!(matches!(repeat, Receipt::Duplicate { .. }), "{repeat:?}");
    let mut other = event(42, 0);
    other.data = b"{}"[..].into();
    let conflict = producer.send(other).await.unwrap().await.unwrap();
    assert!(matches!(conflict, Receipt::Conflict { .. }), "{conflict:?}");
    drop(producer);
    node.close().await.unwrap();

    let node = Node::open(options(dir.path())).await.unwrap();
    let client = node.client();
    let mut consumer = client.consumer("production").from(Start::Earliest).build().unwrap();
    for id in 0..100_u64 {
        let delivered = consumer.next().await.unwrap().unwrap();
        assert_eq!(delivered.event.id, id.to_string());
        assert_eq!(delivered.offset.get(), id);
        assert_eq!(delivered.order_sequence.map(OrderSequence::get), Some(id / 7 + 1));
    }
    let producer = client.producer("production").name("mes").build().unwrap();
    let receipt = producer.send(event(100, 2)).await.unwrap().await.unwrap();
    assert!(matches!(receipt, Receipt::Appended { .. }), "{receipt:?}");
    assert_eq!(consumer.next().await.unwrap().unwrap().event.id, "100");
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_dropped_frees_its_directory_when_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(options(dir.path())).await.unwrap();
    let client = node.client();
    let producer = client.producer("production").name("mes").build().unwrap();
    assert!(producer.send(event(1, 1)).await.unwrap().await.is_ok());
    drop(node);
    // It waits for the first one's threads, and finds what they have acknowledged.
    let node = Node::open(options(dir.path())).await.unwrap();
    let client = node.client();
    let mut consumer = client.consumer("production").from(Start::Earliest).build().unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().event.id, "1");
    node.close().await.unwrap();
}
