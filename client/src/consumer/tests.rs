use std::time::Duration;

use takt_protocol::batch::Compression;
use takt_protocol::codes::ErrorCode;
use takt_protocol::event::Event;
use takt_protocol::session::{Refusal, subscriber};
use takt_protocol::words::{CursorName, Offset, OrderSequence, Timestamp};

use super::{BuildError, CommitError, ConsumeError, Consumer, Start};
use crate::connection::Client;
use crate::testing::log::{Log, partition};
use crate::testing::{TestNode, event};

fn events(ids: &[&str]) -> Vec<Event> {
    ids.iter().map(|id| event(id, "PO-1")).collect()
}

fn append(log: &Log, ids: &[&str]) {
    log.append(&events(ids), Compression::None);
}

fn consumer(client: &Client) -> Consumer {
    client.consumer("orders").build().unwrap()
}

async fn ids(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(consumer.next().await.unwrap().unwrap().event.id);
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn visible_records_come_in_order_and_then_live() {
    let (client, node) = TestNode::start(1);
    node.log.append(&events(&["a", "masked", "b"]), Compression::Zstd);
    append(&node.log, &["masked"]);
    let mut consumer = consumer(&client);
    let first = consumer.next().await.unwrap().unwrap();
    assert_eq!((first.partition, first.offset), (partition(), Offset::new(0)));
    assert_eq!(first.order_sequence, Some(OrderSequence::new(1)));
    assert_eq!(first.append_time, Timestamp::from_micros(7));
    assert_eq!(first.event, event("a", "PO-1"));
    let second = consumer.next().await.unwrap().unwrap();
    assert_eq!((second.offset, second.event), (Offset::new(1), event("b", "PO-1")));
    let quiet = tokio::time::timeout(Duration::from_mins(1), consumer.next()).await;
    assert!(quiet.is_err());
    append(&node.log, &["c"]);
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset::new(2));
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_costs_no_record_and_repeats_none() {
    let (client, node) = TestNode::start(1);
    for ids in [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]] {
        append(&node.log, &ids);
    }
    node.log.state().cuts.extend([0, 1, 2]);
    let mut consumer = consumer(&client);
    assert_eq!(ids(&mut consumer, 8).await, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    let state = node.log.state();
    let starts: Vec<_> = state.subscriptions.iter().map(|s| s.start.clone()).collect();
    let at = |offset| subscriber::Start::Offsets(vec![(partition(), Offset::new(offset))]);
    // The first stream was cut before the node had read anything.
    assert_eq!(starts, [subscriber::Start::Earliest, at(2), at(6)]);
}

#[tokio::test(start_paused = true)]
async fn a_start_within_a_batch_is_exact() {
    let (client, node) = TestNode::start(1);
    append(&node.log, &["a", "masked", "b", "c"]);
    let start = Start::Offsets(vec![(partition(), Offset::new(1))]);
    let mut consumer = client.consumer("orders").from(start).build().unwrap();
    assert_eq!(ids(&mut consumer, 2).await, ["b", "c"]);
    let mut latest = client.consumer("orders").from(Start::Latest).build().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    append(&node.log, &["d"]);
    assert_eq!(ids(&mut latest, 1).await, ["d"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_behind_what_was_handed_out_and_survives_a_cut() {
    let (client, node) = TestNode::start(1);
    append(&node.log, &["a", "b", "c"]);
    node.log.state().lost_commits = 1;
    let mut first = client.consumer("orders").cursor("erp").build().unwrap();
    first.commit().await.unwrap();
    assert_eq!(ids(&mut first, 2).await, ["a", "b"]);
    first.commit().await.unwrap();
    assert_eq!(first.positions(), [(partition(), Offset::new(2))]);
    assert_eq!(node.log.state().cursors[&CursorName::new("erp").unwrap()], Offset::new(2));
    drop(first);
    let start = Start::Cursor("erp".to_owned());
    let mut second = client.consumer("orders").from(start).build().unwrap();
    assert_eq!(ids(&mut second, 1).await, ["c"]);
    second.commit().await.unwrap();
    assert_eq!(node.log.state().cursors[&CursorName::new("erp").unwrap()], Offset::new(3));
    let mut without = consumer(&client);
    assert_eq!(without.commit().await, Err(CommitError::NoCursor));
}

#[tokio::test(start_paused = true)]
async fn no_more_comes_than_there_is_room_for() {
    let (client, node) = TestNode::start(1);
    for i in 0..50 {
        append(&node.log, &[&format!("{i}")]);
    }
    let mut consumer = client.consumer("orders").credit_bytes(1_000).build().unwrap();
    assert_eq!(ids(&mut consumer, 1).await, ["0"]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let ahead = node.log.state().delivered;
    assert!(ahead < 12, "{ahead} batches of over 100 bytes for a window of 1,000");
    assert_eq!(ids(&mut consumer, 49).await.last().unwrap(), "49");
}

#[tokio::test(start_paused = true)]
async fn batches_come_as_they_are_stored() {
    let (client, node) = TestNode::start(1);
    append(&node.log, &["a", "b", "c"]);
    append(&node.log, &["d"]);
    let mut consumer = consumer(&client);
    assert_eq!(ids(&mut consumer, 1).await, ["a"]);
    let rest = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((rest.from, rest.batch.header().records), (Offset::new(1), 3));
    assert_eq!(rest.events().unwrap().len(), 2);
    let next = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!(next.events().unwrap()[0].event.id, "d");
    assert_eq!(consumer.positions(), [(partition(), Offset::new(4))]);
}

#[tokio::test(start_paused = true)]
async fn what_retention_took_is_said() {
    let (client, node) = TestNode::start(1);
    append(&node.log, &["a"]);
    append(&node.log, &["b"]);
    append(&node.log, &["c"]);
    node.log.state().cuts.push_back(1);
    let mut consumer = consumer(&client);
    assert_eq!(ids(&mut consumer, 1).await, ["a"]);
    node.log.state().start = 2;
    let (from, to) = (Offset::new(1), Offset::new(2));
    let trimmed = consumer.next().await.unwrap().unwrap_err();
    assert_eq!(trimmed, ConsumeError::Trimmed { partition: partition(), from, to });
    assert_eq!(ids(&mut consumer, 1).await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_last_word() {
    let (client, node) = TestNode::start(1);
    node.log.state().refusal = Some(Refusal::new(ErrorCode::Forbidden, "no"));
    let mut consumer = client.consumer("orders").cursor("erp").build().unwrap();
    let refused = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(refused, ConsumeError::Refused { code: ErrorCode::Forbidden, .. }));
    assert!(consumer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_for_good_ends_it() {
    let (client, node) = TestNode::start(1);
    let mut consumer = consumer(&client);
    tokio::time::sleep(Duration::from_millis(1)).await;
    node.stop();
    let gone = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(gone, ConsumeError::Unreachable { .. }));
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn settings_have_bounds() {
    let (client, _node) = TestNode::start(1);
    let credit = client.consumer("orders").credit_bytes(0).build().unwrap_err();
    assert_eq!(credit, BuildError::Credit { value: 0 });
    let start = Start::Cursor("a".to_owned());
    let two = client.consumer("orders").from(start).cursor("b").build().unwrap_err();
    assert!(matches!(two, BuildError::TwoCursors { .. }));
    let name = client.consumer("Orders").build().unwrap_err();
    assert!(matches!(name, BuildError::Name(_)));
}
