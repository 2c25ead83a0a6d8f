//! Producers and subscribers at a node.

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::producer::{ProducerClient, ProducerConfig, ProducerEvent};
use takt_protocol::session::subscriber::{Start, SubscriberClient, SubscriberEvent, Subscription};
use takt_protocol::words::{CursorName, Offset};
use takt_storage::view::ReadError;

use super::*;
use crate::access::Action;
use crate::logic::{ProducerSession, SubscriberSession, TicketError};

fn plant() -> Place {
    Place::Plant("munich".to_owned())
}

fn mes() -> Identity {
    Identity::plant_client(&domain(), "munich", "mes").unwrap()
}

/// A producer's client, and its session with the opening request handed in.
fn opening(world: &World, peer: Identity) -> (ProducerClient, ProducerSession) {
    let mut session = ProducerSession::new(world.context(plant(), peer));
    let mut client = ProducerClient::new(ProducerConfig {
        topic: topic("t"),
        name: "p".to_owned(),
        transient: true,
        in_flight_bytes_max: 1 << 20,
    });
    client.on_connected(world.now);
    let _hello = client.poll_transmit().unwrap();
    let open = client.poll_transmit().unwrap();
    session.handle_frame(world.now, arrived(&open)).unwrap();
    (client, session)
}

#[test]
fn a_producer_opens_publishes_and_is_closed_at_the_end() {
    let mut world = World::with_topic("munich");
    let (mut client, mut session) = opening(&world, mes());
    let open = session.poll_request().unwrap();
    assert!(!session.wants_frames(false), "no batch is taken before the answer");
    let answer = world.ask(open.operation);
    session.on_answer(open.number.unwrap(), Ok(answer));
    assert!(session.wants_frames(false) && !session.wants_frames(true));
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();

    client.submit(batch(1)).unwrap();
    let publish = client.poll_transmit().unwrap();
    session.handle_frame(world.now, arrived(&publish)).unwrap();
    let request = session.poll_request().unwrap();
    assert!(request.bytes > 0, "a batch holds a share of the budget");
    assert!(session.poll_transmit().is_none());
    let answer = world.ask(request.operation);
    session.on_answer(request.number.unwrap(), Ok(answer));
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    let settled = std::iter::from_fn(|| client.poll_event())
        .any(|event| matches!(event, ProducerEvent::Settled(_)));
    assert!(settled);

    let closed = session.end(true).expect("the store may forget it");
    assert!(matches!(closed, Operation::CloseProducer { lost: true, .. }));
    assert_eq!(world.ask(closed), Answer::ProducerClosed);
    assert!(session.end(false).is_none());
}

#[test]
fn one_without_a_right_is_refused_and_noted() {
    let world = World::with_topic("munich");
    let peer = Identity::plant_client(&domain(), "lyon", "mes").unwrap();
    let (mut client, mut session) = opening(&world, peer);
    assert!(session.poll_request().is_none() && session.is_closed());
    assert_eq!(events(&mut session), [SessionEvent::Denied(Action::Produce)]);
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    let Some(ProducerEvent::Closed(refusal)) = client.poll_event() else { panic!("not closed") };
    assert_eq!(refusal.code, ErrorCode::Forbidden);
}

#[test]
fn a_writer_that_has_ended_ends_the_session() {
    let world = World::with_topic("munich");
    let (mut client, mut session) = opening(&world, mes());
    let open = session.poll_request().unwrap();
    session.on_answer(open.number.unwrap(), Err(TicketError::Stopped));
    assert!(session.is_closed() && session.end(false).is_none());
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    let Some(ProducerEvent::Interrupted(refusal)) = client.poll_event() else { panic!("goes on") };
    assert_eq!(refusal.code, ErrorCode::Stopping);
}

/// A topic with two batches, and a subscription to it.
fn subscribed(world: &mut World) -> (SubscriberClient, SubscriberSession) {
    let (mut client, mut producer) = opening(world, mes());
    world.serve(&mut producer);
    client.handle_frame(world.now, arrived(&producer.poll_transmit().unwrap())).unwrap();
    for sequence in 1..3 {
        client.submit(batch(sequence)).unwrap();
        let publish = client.poll_transmit().unwrap();
        producer.handle_frame(world.now, arrived(&publish)).unwrap();
        world.serve(&mut producer);
    }
    let mut session = SubscriberSession::new(world.context(plant(), mes()));
    let mut client = SubscriberClient::new(Subscription {
        topic: topic("t"),
        start: Start::Earliest,
        cursor: Some(CursorName::new("c").unwrap()),
        hold: None,
        credit_bytes: 1,
        origin: None,
    });
    client.on_connected(world.now);
    let _hello = client.poll_transmit().unwrap();
    let open = client.poll_transmit().unwrap();
    session.handle_frame(world.now, arrived(&open)).unwrap();
    assert!(session.poll_read().is_none(), "nothing is open yet");
    assert!(session.poll_request().is_none(), "opening asks nothing of the writer");
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    (client, session)
}

#[test]
fn a_subscriber_reads_once_at_a_time_and_as_far_as_its_credit_goes() {
    let mut world = World::with_topic("munich");
    let (mut client, mut session) = subscribed(&mut world);
    let read = session.poll_read().unwrap();
    assert!(session.poll_read().is_none(), "one read is out");
    session.on_read(Err(ReadError::Gone));
    assert_eq!(session.poll_read(), Some(read), "the file was dropped: look again");
    session.on_read(read.run(world.core.view()));
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    assert!(session.poll_read().is_none(), "the credit is used up");
    let mut batches = 0;
    while let Some(event) = client.poll_event() {
        if let SubscriberEvent::Batch { batch, .. } = event {
            client.grant(batch.len());
            batches += 1;
        }
    }
    assert_eq!(batches, 1);
    session.handle_frame(world.now, arrived(&client.poll_transmit().unwrap())).unwrap();
    assert!(session.poll_read().is_some_and(|next| next != read));
}

/// A peer that commits for ever and reads none of the answers is read no further.
#[test]
fn a_subscriber_that_does_not_read_is_not_read() {
    let mut world = World::with_topic("munich");
    let (mut client, mut session) = subscribed(&mut world);
    let partition = world.core.view().partitions(&topic("t"))[0].id.clone();
    let mut taken = 0;
    // Nothing is transmitted meanwhile.
    while session.wants_frames(true) {
        client.commit(vec![(partition.clone(), Offset::new(1))]);
        session.handle_frame(world.now, arrived(&client.poll_transmit().unwrap())).unwrap();
        let request = session.poll_request().unwrap();
        let answer = world.ask(request.operation);
        session.on_answer(request.number.unwrap(), Ok(answer));
        taken += 1;
        assert!(taken < 1_000, "its answers are kept without a bound");
    }
    assert!(taken > 10 && session.wants_frames(false));
    while session.poll_transmit().is_some() {}
    let _ = session.poll_read();
    assert!(session.wants_frames(true));
}

#[test]
fn all_of_a_subscriber_waits_while_its_cursor_moves() {
    let mut world = World::with_topic("munich");
    let (mut client, mut session) = subscribed(&mut world);
    let partition = world.core.view().partitions(&topic("t"))[0].id.clone();
    client.commit(vec![(partition, Offset::new(1))]);
    session.handle_frame(world.now, arrived(&client.poll_transmit().unwrap())).unwrap();
    let request = session.poll_request().unwrap();
    assert!(!session.wants_frames(false) && session.poll_read().is_none());
    let answer = world.ask(request.operation);
    session.on_answer(request.number.unwrap(), Ok(answer));
    assert!(session.wants_frames(true) && session.poll_read().is_some());
    client.handle_frame(world.now, arrived(&session.poll_transmit().unwrap())).unwrap();
    let committed = std::iter::from_fn(|| client.poll_event())
        .any(|event| matches!(event, SubscriberEvent::CursorCommitted(_)));
    assert!(committed);
}

#[test]
fn a_partition_that_cannot_be_read_ends_the_subscription() {
    let mut world = World::with_topic("munich");
    let (_client, mut session) = subscribed(&mut world);
    session.poll_read().unwrap();
    session.on_read(Err(ReadError::NotFound));
    assert!(session.is_closed() && session.poll_transmit().is_some());
    assert!(matches!(events(&mut session)[..], [SessionEvent::ReadFailed { .. }]));
}
