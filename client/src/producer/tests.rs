use std::time::Duration;

use takt_protocol::codes::ErrorCode;
use takt_protocol::event::{Event, EventError, EventRef};
use takt_protocol::hashing::route;
use takt_protocol::words::OrderSequence;

use super::{BuildError, Producer, PublishError, Receipt, SendError};
use crate::connection::Client;
use crate::testing::{Act, TestNode, event, place};

fn producer(client: &Client) -> Producer {
    client.producer("orders").name("mes-7").build().unwrap()
}

fn appended(offset: u64, sequence: u64) -> Receipt {
    let order_sequence = Some(OrderSequence::new(sequence));
    Receipt::Appended { place: place(0, offset), order_sequence }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_says_new_repeated_or_other() {
    let (client, node) = TestNode::start(1);
    let producer = producer(&client);
    producer.ready().await.unwrap();
    let first = producer.send(event("a", "PO-1")).await.unwrap().await.unwrap();
    assert_eq!(first, appended(0, 1));
    let second = producer.send(event("b", "PO-1")).await.unwrap().await.unwrap();
    assert_eq!(second, appended(1, 2));
    let again = producer.send(event("a", "PO-1")).await.unwrap().await.unwrap();
    let order_sequence = Some(OrderSequence::new(1));
    assert_eq!(again, Receipt::Duplicate { of: place(0, 0), order_sequence });
    let other = Event { data: "other".into(), ..event("b", "PO-1") };
    let conflict = producer.send(other).await.unwrap().await.unwrap();
    assert_eq!(conflict, Receipt::Conflict { with: place(0, 1) });
    assert_eq!(conflict.place(), Some(place(0, 1)));
    let loose = producer.send(event("c", "")).await.unwrap().await.unwrap();
    assert_eq!(loose, Receipt::Appended { place: place(0, 2), order_sequence: None });
    producer.close().await.unwrap();
    assert_eq!(node.model().stored_ids(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_a_cut_is_not_sent_again() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::StoreAndCut);
    let producer = producer(&client);
    let receipt = producer.send(event("a", "PO-1")).await.unwrap().await.unwrap();
    assert_eq!(receipt, appended(0, 1));
    assert_eq!(node.model().arrived.len(), 1);
    assert_eq!(node.model().opens, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_stored_before_a_cut_is_sent_again_byte_for_byte() {
    let (client, node) = TestNode::start(1);
    node.model().acts.extend([Act::Cut, Act::Cut, Act::Store, Act::StoreAndCut]);
    let producer = producer(&client);
    let one = producer.send(event("a", "PO-1")).await.unwrap();
    assert_eq!(one.await.unwrap(), appended(0, 1));
    let two = producer.send_batch(vec![event("b", "PO-1"), event("c", "PO-1")]).await.unwrap();
    assert_eq!(two.await, [Ok(appended(1, 2)), Ok(appended(2, 3))]);
    let model = node.model();
    assert_eq!(model.stored_ids(), ["a", "b", "c"]);
    let firsts: Vec<u64> = model.arrived.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [1, 1, 1, 2]);
    assert_eq!(model.arrived[0], model.arrived[1]);
    assert_eq!(model.arrived[0], model.arrived[2]);
}

#[tokio::test(start_paused = true)]
async fn a_full_node_is_waited_for() {
    let (client, node) = TestNode::start(1);
    node.model().acts.extend([Act::Refuse(ErrorCode::Full), Act::Refuse(ErrorCode::Full)]);
    let producer = producer(&client);
    let receipt = producer.send(event("a", "PO-1")).await.unwrap().await.unwrap();
    assert_eq!(receipt, appended(0, 1));
    let model = node.model();
    assert_eq!(model.opens, 1, "over the same stream");
    assert_eq!(model.arrived, vec![model.arrived[0]; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_node_is_come_back_to() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::Refuse(ErrorCode::Stopping));
    let producer = producer(&client);
    let receipt = producer.send(event("a", "PO-1")).await.unwrap().await.unwrap();
    assert_eq!(receipt, appended(0, 1));
    assert_eq!(node.model().opens, 2);
}

#[tokio::test(start_paused = true)]
async fn a_newer_producer_of_the_name_ends_all_that_waits() {
    let (client, node) = TestNode::start(1);
    let producer = producer(&client);
    producer.ready().await.unwrap();
    node.model().fence();
    let one = producer.send(event("a", "PO-1")).await.unwrap();
    let two = producer.send_batch(vec![event("b", ""), event("c", "")]).await.unwrap();
    let is_fenced = |error: &PublishError| {
        matches!(error, PublishError::Refused { code: ErrorCode::Fenced, .. })
    };
    assert!(is_fenced(&one.await.unwrap_err()));
    for outcome in two.await {
        assert!(is_fenced(&outcome.unwrap_err()));
    }
    let closed = producer.send(event("d", "")).await.unwrap_err();
    assert!(matches!(closed, SendError::Closed(error) if is_fenced(&error)));
    let closed = producer.try_send(event("d", "")).unwrap_err();
    assert!(matches!(closed, SendError::Closed(error) if is_fenced(&error)));
    assert!(is_fenced(&producer.flush().await.unwrap_err()));
    assert!(is_fenced(&producer.ready().await.unwrap_err()));
    assert!(node.model().stored_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_can_never_be_taken_ends_the_producer() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::Refuse(ErrorCode::LedgerFull));
    let producer = producer(&client);
    let refused = producer.send(event("a", "")).await.unwrap().await.unwrap_err();
    assert!(matches!(refused, PublishError::Refused { code: ErrorCode::LedgerFull, .. }));
    assert!(producer.send(event("b", "")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_said() {
    let (client, _node) = TestNode::start(1);
    let producer = client.producer("nowhere").build().unwrap();
    let refused = producer.ready().await.unwrap_err();
    assert!(matches!(refused, PublishError::Refused { code: ErrorCode::UnknownTopic, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_is_felt_and_passes() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::Hold);
    let producer = client.producer("orders").name("mes-7").in_flight_bytes(1_000).build().unwrap();
    let big = |id: &str| Event { data: vec![0; 600].into(), ..event(id, "") };
    let first = producer.send(big("a")).await.unwrap();
    let SendError::WouldBlock(back) = producer.try_send(big("b")).unwrap_err() else {
        panic!("the window is full")
    };
    assert_eq!(*back, big("b"));
    let waiting = {
        let producer = producer.clone();
        tokio::spawn(async move { producer.send(*back).await.unwrap().await })
    };
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!waiting.is_finished());
    node.release();
    first.await.unwrap();
    waiting.await.unwrap().unwrap();
    // An event over the whole window goes alone.
    producer
        .send(Event { data: vec![0; 5_000].into(), ..event("c", "") })
        .await
        .unwrap()
        .await
        .unwrap();
    let many: Vec<Event> = (0..20).map(|i| big(&format!("m{i}"))).collect();
    let outcomes = producer.send_batch(many).await.unwrap().await;
    assert!(outcomes.iter().all(Result::is_ok));
    // All of the room has been given back, and no more.
    let all = producer.try_send(big("d")).unwrap();
    assert!(matches!(producer.try_send(big("e")), Err(SendError::WouldBlock(_))));
    all.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_gather_while_a_batch_is_on_its_way() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::Hold);
    let linger = Duration::from_secs(1);
    let producer = client.producer("orders").name("mes-7").linger(linger).build().unwrap();
    producer.ready().await.unwrap();
    let mut receipts = Vec::new();
    for i in 0..12 {
        receipts.push(producer.send(event(&format!("{i}"), "")).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node.release();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let firsts: Vec<u64> = node.model().arrived.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [1, 2, 3], "two batches of one and one of ten");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_bounds() {
    let (client, node) = TestNode::start(1);
    let producer = client.producer("orders").name("mes-7").batch_records(3).build().unwrap();
    let events = (0..10).map(|i| event(&format!("{i}"), "PO-1")).collect();
    let outcomes = producer.send_batch(events).await.unwrap().await;
    for (i, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome, Ok(appended(i as u64, i as u64 + 1)));
    }
    let firsts: Vec<u64> = node.model().arrived.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [1, 4, 7, 10]);
}

#[tokio::test(start_paused = true)]
async fn each_event_of_a_call_has_its_own_outcome() {
    let (client, node) = TestNode::start(4);
    let producer = producer(&client);
    let mut events: Vec<Event> =
        (0..40).map(|i| event(&format!("{i}"), &format!("PO-{}", i % 7))).collect();
    events[17].source.clear();
    events[18] = Event { data: vec![0; 1 << 20].into(), ..event("large", "PO-1") };
    let outcomes = producer.send_batch(events.clone()).await.unwrap().await;
    for (i, (outcome, event)) in outcomes.into_iter().zip(&events).enumerate() {
        match (i, outcome) {
            (17, Err(PublishError::Event(error))) => {
                assert_eq!(error, EventError::Missing { attribute: "source" });
            }
            (18, Err(PublishError::Event(EventError::TooLong { .. }))) => {}
            (_, Ok(Receipt::Appended { place, .. })) => {
                assert_eq!(place.partition, route(event.order_key.as_ref(), 4));
                let partition = usize::from(place.partition.get());
                let offset = usize::try_from(place.offset.get()).unwrap();
                assert_eq!(&node.model().stored[partition][offset], event);
            }
            (i, other) => panic!("event {i} got {other:?}"),
        }
    }
    assert!(producer.send_batch(Vec::new()).await.unwrap().await.is_empty());
    producer.flush().await.unwrap();
}

/// The same events, laid out by the application: of each partition in their order, in batches of at most
/// so many, with an outcome for each.
#[tokio::test(start_paused = true)]
async fn a_batch_of_the_application_keeps_order_and_bounds() {
    let (client, node) = TestNode::start(4);
    let producer = client.producer("orders").name("mes-7").batch_records(8).build().unwrap();
    let events: Vec<Event> =
        (0..100).map(|i| event(&format!("{i}"), &format!("PO-{}", i % 7))).collect();
    let mut batch = producer.batch().await.unwrap();
    for (index, event) in events.iter().enumerate() {
        if index == 50 {
            // What cannot be sent is refused at once, and is no part of it.
            let nameless = Event { source: String::new(), ..event.clone() };
            let error = EventError::Missing { attribute: "source" };
            assert_eq!(batch.push(&nameless), Err(error));
            let large = vec![0; 1 << 20];
            let large = EventRef { data: &large, ..EventRef::from(event) };
            assert!(matches!(batch.push(large), Err(EventError::TooLong { .. })));
        }
        batch.push(event).unwrap();
    }
    assert_eq!((batch.len(), batch.is_empty()), (100, false));
    let outcomes = batch.send().await.unwrap().await;
    assert_eq!(outcomes.len(), 100);
    for (outcome, event) in outcomes.into_iter().zip(&events) {
        let Receipt::Appended { place, .. } = outcome.unwrap() else { panic!("all are new") };
        assert_eq!(place.partition, route(event.order_key.as_ref(), 4));
        let partition = usize::from(place.partition.get());
        let offset = usize::try_from(place.offset.get()).unwrap();
        assert_eq!(&node.model().stored[partition][offset], event);
    }
    for stored in &node.model().stored {
        let ids: Vec<u32> = stored.iter().map(|event| event.id.parse().unwrap()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
    let firsts: Vec<u64> = node.model().arrived.iter().map(|(first, _)| *first).collect();
    assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] <= 8), "{firsts:?}");
    let none = producer.batch().await.unwrap();
    assert!(none.is_empty() && none.send().await.unwrap().await.is_empty());
    producer.flush().await.unwrap();
}

/// What was sent one by one before goes first, though it might have waited for more, and what comes
/// behind stays behind.
#[tokio::test(start_paused = true)]
async fn a_batch_of_the_application_takes_its_turn() {
    let (client, node) = TestNode::start(1);
    node.model().acts.extend([Act::Hold, Act::Store, Act::Cut]);
    let linger = Duration::from_mins(1);
    let producer = client.producer("orders").name("mes-7").linger(linger).build().unwrap();
    producer.ready().await.unwrap();
    let mut receipts = Vec::new();
    // Two batches on their way, and an event that waits for others.
    for id in ["0", "1", "2"] {
        receipts.push(producer.send(event(id, "")).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut batch = producer.batch().await.unwrap();
    for id in ["3", "4", "5"] {
        batch.push(&event(id, "PO-1")).unwrap();
    }
    let answers = batch.send().await.unwrap();
    receipts.push(producer.send(event("6", "")).await.unwrap());
    let flushed = producer.flush();
    node.release();
    flushed.await.unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(answers.await, [Ok(appended(3, 1)), Ok(appended(4, 2)), Ok(appended(5, 3))]);
    assert_eq!(node.model().stored_ids(), ["0", "1", "2", "3", "4", "5", "6"]);
}

/// The window is one for all: what a batch took of it is given back, also where it is more than the
/// window, and where the producer ends.
#[tokio::test(start_paused = true)]
async fn a_batch_of_the_application_takes_room_and_gives_it_back() {
    let (client, node) = TestNode::start(1);
    let producer = client.producer("orders").name("mes-7").batch_records(2).in_flight_bytes(1_000);
    let producer = producer.build().unwrap();
    let big = |id: &str| Event { data: vec![0; 600].into(), ..event(id, "") };
    let mut batch = producer.batch().await.unwrap();
    for id in 0..5 {
        batch.push(&big(&format!("{id}"))).unwrap();
    }
    assert!(batch.send().await.unwrap().await.iter().all(Result::is_ok));
    node.model().acts.push_back(Act::Hold);
    let all = producer.try_send(big("a")).unwrap();
    assert!(matches!(producer.try_send(big("b")), Err(SendError::WouldBlock(_))));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut late = producer.batch().await.unwrap();
    late.push(&event("c", "")).unwrap();
    late.push(&event("d", "")).unwrap();
    let waiting = tokio::spawn(async move { late.send().await });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!waiting.is_finished(), "there is no room");
    node.release();
    all.await.unwrap();
    let outcomes = waiting.await.unwrap().unwrap().await;
    assert!(outcomes.iter().all(Result::is_ok));

    node.model().acts.push_back(Act::Hold);
    let first = producer.send(event("e", "")).await.unwrap();
    let mut left = producer.batch().await.unwrap();
    left.push(&event("f", "")).unwrap();
    let left = left.send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    node.stop();
    assert!(matches!(first.await, Err(PublishError::Unreachable { .. })));
    assert!(matches!(left.await[..], [Err(PublishError::Unreachable { .. })]));
    assert!(producer.batch().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_named_producer_goes_on_behind_its_last_run() {
    let (client, node) = TestNode::start(1);
    for run in 0..3 {
        let producer = producer(&client);
        producer.send(event(&format!("{run}"), "")).await.unwrap().await.unwrap();
        producer.close().await.unwrap();
    }
    let firsts: Vec<u64> = node.model().arrived.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_before_it() {
    let (client, node) = TestNode::start(1);
    node.model().acts.extend([Act::Store, Act::Cut]);
    let producer = producer(&client);
    producer.flush().await.unwrap();
    let receipts: Vec<_> = {
        let mut receipts = Vec::new();
        for i in 0..5 {
            receipts.push(producer.send(event(&format!("{i}"), "")).await.unwrap());
        }
        receipts
    };
    producer.flush().await.unwrap();
    assert_eq!(node.model().stored_ids().len(), 5);
    drop(receipts);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_producer_left_is_still_answered() {
    let (client, node) = TestNode::start(1);
    let producer = producer(&client);
    producer.ready().await.unwrap();
    let receipt = producer.send(event("a", "")).await.unwrap();
    drop(producer);
    receipt.await.unwrap();
    assert_eq!(node.model().stored_ids(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_producer_is_closed_under_every_handle() {
    let (client, _node) = TestNode::start(1);
    let producer = producer(&client);
    let other = producer.clone();
    producer.close().await.unwrap();
    let refused = other.send(event("a", "")).await.unwrap_err();
    assert_eq!(refused, SendError::Closed(PublishError::Closed));
    assert_eq!(other.flush().await, Err(PublishError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_for_good_ends_all_that_waits() {
    let (client, node) = TestNode::start(1);
    node.model().acts.push_back(Act::Hold);
    let producer = producer(&client);
    let receipt = producer.send(event("a", "")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    node.stop();
    assert!(matches!(receipt.await, Err(PublishError::Unreachable { .. })));
}

#[tokio::test]
async fn settings_have_bounds() {
    let (client, _node) = TestNode::start(1);
    let name = client.producer("orders").name("Not a name").build().unwrap_err();
    assert!(matches!(name, BuildError::Name(_)));
    let topic = client.producer("").build().unwrap_err();
    assert!(matches!(topic, BuildError::Name(_)));
    let records = client.producer("orders").batch_records(5_000).build().unwrap_err();
    assert!(matches!(records, BuildError::Setting { setting: "batch_records", .. }));
}
