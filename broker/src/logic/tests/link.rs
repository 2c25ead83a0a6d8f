//! A plant and its hub, with nothing between them but frames.

use takt_protocol::batch::Batch;
use takt_protocol::chunks::Chunks;
use takt_protocol::codes::ErrorCode;
use takt_protocol::wire::{ControlBody, encode_control, proto};
use takt_protocol::words::{BatchNumber, Epoch, ProducerId};
use takt_storage::keys::KeyHashes;
use takt_storage::runs::Slot;
use takt_storage::view::ReadError;

use super::*;
use crate::logic::uplink::{End, UplinkEvent};
use crate::logic::{MirrorSession, UplinkSession};

/// A plant with batches 1 to `batches` of topic `t`.
pub(super) fn plant(batches: u64) -> World {
    let mut world = World::with_topic("munich");
    open(&mut world, "t");
    for sequence in 1..=batches {
        publish(&mut world, "t", sequence);
    }
    world
}

fn producer() -> ProducerId {
    ProducerId::new("id", "p").unwrap()
}

fn open(world: &mut World, in_topic: &str) {
    let (producer, topic) = (producer(), topic(in_topic));
    world.ask(Operation::OpenProducer { producer, topic, transient: false });
}

fn publish(world: &mut World, in_topic: &str, sequence: u64) {
    let batch = Batch::take(&mut Chunks::from(batch(sequence))).unwrap();
    let (topic, mut keys) = (topic(in_topic), KeyHashes::default());
    world.core.view().key_hasher().hash_batch(&topic, &batch, &mut keys).unwrap();
    let (producer, epoch) = (producer(), Epoch::new(1));
    let answer = world.ask(Operation::Publish { producer, topic, epoch, batch, keys });
    assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
}

/// Both ends of a link.
struct Pair {
    up: UplinkSession,
    down: MirrorSession,
    /// What the plant cannot read.
    damaged: Option<Slot>,
}

impl Pair {
    fn new(plant: &World, hub: &World) -> Self {
        let peer = Identity::plant_node(&domain(), "munich", "node").unwrap();
        let down = MirrorSession::new(hub.context(Place::Hub, peer));
        let mut up = UplinkSession::new(plant.core.view().clone(), None);
        up.on_connected(plant.now);
        let _hello = up.poll_transmit().unwrap();
        Self { up, down, damaged: None }
    }

    /// Carries frames until there are none.
    fn run(&mut self, plant: &World, hub: &mut World) {
        loop {
            let mut moved = false;
            while let Some(frame) = self.up.poll_transmit() {
                self.down.handle_frame(hub.now, arrived(&frame)).unwrap();
                moved = true;
            }
            hub.serve(&mut self.down);
            while let Some(frame) = self.down.poll_transmit() {
                self.up.handle_frame(plant.now, arrived(&frame));
                moved = true;
            }
            if let Some(read) = self.up.poll_read() {
                let damaged = self.damaged == Some(read.slot);
                let damage = || Err(ReadError::Corrupt("a bit has turned".to_owned()));
                self.up.on_read(if damaged { damage() } else { read.run(plant.core.view()) });
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn all_events(&mut self) -> Vec<UplinkEvent> {
        std::iter::from_fn(|| self.up.poll_event()).collect()
    }

    fn last_event(&mut self) -> Option<UplinkEvent> {
        self.all_events().pop()
    }
}

fn munich() -> NodeName {
    NodeName::new("munich").unwrap()
}

#[test]
fn the_hub_gets_what_it_does_not_have_and_says_how_far() {
    let (plant, mut hub) = (plant(3), World::new("hub"));
    let mut pair = Pair::new(&plant, &hub);
    pair.run(&plant, &mut hub);
    assert!(pair.up.is_verified() && pair.up.ended().is_none());
    let (own, mirror) = (plant.core.view(), hub.core.view());
    let own = own.partitions(&topic("t")).remove(0);
    assert_eq!(mirror.partitions(&topic("t"))[0].chain, own.chain);
    let ends = [(own.slot, BatchNumber::new(3))].into();
    assert_eq!(pair.last_event(), Some(UplinkEvent::Acked(ends)));
    let said = events(&mut pair.down);
    assert_eq!(said[..2], [SessionEvent::LinkOpened(munich()), SessionEvent::LinkUp(munich())]);
    assert_eq!(said[2..], vec![SessionEvent::LinkAcked(munich()); 3]);
    assert!(pair.down.end(false).is_none());
    assert_eq!(events(&mut pair.down), [SessionEvent::LinkClosed(munich())]);
}

/// A plant with the topics `t` and `u`, and their slots.
fn plant_with_two() -> (World, [Slot; 2]) {
    let mut plant = plant(0);
    plant.ask(create("u"));
    open(&mut plant, "u");
    let slots = ["t", "u"].map(|name| plant.core.view().partitions(&topic(name))[0].slot);
    (plant, slots)
}

#[test]
fn what_one_frame_acknowledges_is_said_once() {
    let ((mut plant, [t, u]), mut hub) = (plant_with_two(), World::new("hub"));
    let mut pair = Pair::new(&plant, &hub);
    pair.run(&plant, &mut hub);
    assert!(matches!(pair.last_event(), Some(UplinkEvent::Up(_))));
    publish(&mut plant, "t", 1);
    publish(&mut plant, "u", 1);
    while let Some(read) = pair.up.poll_read() {
        pair.up.on_read(read.run(plant.core.view()));
    }
    let of = |topic| proto::PartitionAck { topic, partition: 0, batch_end: 1 };
    let ack = proto::MirrorAck { acks: vec![of(0), of(1)], ..proto::MirrorAck::default() };
    let frame = encode_control(ControlBody::MirrorAck(ack)).unwrap();
    pair.up.handle_frame(plant.now, arrived(&frame));
    let ends = [t, u].map(|slot| (slot, BatchNumber::new(1))).into();
    assert_eq!(pair.all_events(), [UplinkEvent::Acked(ends)]);
    pair.up.handle_frame(plant.now, arrived(&frame));
    assert_eq!(pair.all_events(), [], "nothing new");
    assert_eq!(pair.up.ended(), None);
}

#[test]
fn a_partition_that_cannot_be_read_keeps_no_other_waiting() {
    let ((mut plant, [t, u]), mut hub) = (plant_with_two(), World::new("hub"));
    let mut pair = Pair::new(&plant, &hub);
    pair.damaged = Some(t);
    for sequence in 1..=3 {
        publish(&mut plant, "t", sequence);
        publish(&mut plant, "u", sequence);
    }
    pair.run(&plant, &mut hub);
    let there = |name: &str| hub.core.view().partitions(&topic(name))[0].end_batch;
    assert_eq!((there("t"), there("u")), (BatchNumber::new(0), BatchNumber::new(3)));
    let held = [(t, BatchNumber::new(0)), (u, BatchNumber::new(3))].into();
    assert_eq!(pair.last_event(), Some(UplinkEvent::Acked(held)));
    let Some(End::Unread(why)) = pair.up.ended() else { panic!("{:?}", pair.up.ended()) };
    let damage = ReadError::Corrupt("a bit has turned".to_owned());
    assert_eq!(*why, format!("cannot read batch 0 of t/0: {damage}"));
}

#[test]
fn a_new_topic_opens_the_link_anew() {
    let (mut plant, mut hub) = (plant(1), World::new("hub"));
    let mut pair = Pair::new(&plant, &hub);
    pair.run(&plant, &mut hub);
    pair.up.on_durable();
    assert_eq!(pair.up.ended(), None);
    plant.ask(create("u"));
    pair.up.on_durable();
    assert_eq!(pair.up.ended(), Some(&End::TopicsChanged));
}

#[test]
fn a_newer_link_takes_over_and_nobody_says_that_it_is_down() {
    let (plant, mut hub) = (plant(1), World::new("hub"));
    let mut pair = Pair::new(&plant, &hub);
    pair.run(&plant, &mut hub);
    events(&mut pair.down);
    pair.down.on_replaced();
    assert!(pair.down.is_closed());
    pair.run(&plant, &mut hub);
    assert!(matches!(pair.up.ended(), Some(End::Replaced(_))));
    assert!(pair.down.end(false).is_none() && events(&mut pair.down).is_empty());
}

#[test]
fn a_plant_that_lacks_what_the_hub_holds_stops_and_both_know() {
    let (mut plant, mut hub) = (plant(1), World::new("hub"));
    plant.settle();
    let backup = plant.disk.crash_image(&mut |_| 0 == 1);
    publish(&mut plant, "t", 2);
    Pair::new(&plant, &hub).run(&plant, &mut hub);
    let restored = World::on(&backup, "munich", 100);
    let mut pair = Pair::new(&restored, &hub);
    pair.run(&restored, &mut hub);
    let Some(End::Diverged(detail)) = pair.up.ended() else { panic!("{:?}", pair.up.ended()) };
    assert!(detail.contains("munich/t/0"), "{detail}");
    assert!(pair.up.poll_read().is_none());
    let refused = events(&mut pair.down).into_iter().any(|event| {
        matches!(event, SessionEvent::LinkRefused(refusal) if refusal.code == ErrorCode::Diverged)
    });
    assert!(refused && pair.down.is_closed());
}

#[test]
fn a_full_hub_opens_no_link_until_there_is_room() {
    let (plant, mut hub) = (plant(1), World::new("hub"));
    hub.disk.set_capacity(Some(0));
    hub.turn();
    assert!(hub.core.view().status().full);
    let mut pair = Pair::new(&plant, &hub);
    pair.run(&plant, &mut hub);
    assert!(!pair.down.wants_frames(false) && !pair.up.is_verified());
    let look = pair.down.poll_timeout().expect("it looks again");
    pair.down.handle_timeout(hub.now);
    assert_eq!(pair.down.poll_timeout(), Some(look), "not before its time");
    pair.down.handle_timeout(look);
    assert!(pair.down.poll_timeout().is_some_and(|next| next > look));

    let mut refused = Pair::new(&plant, &hub);
    refused.run(&plant, &mut hub);
    let mut looks = 0;
    while let Some(look) = refused.down.poll_timeout() {
        refused.down.handle_timeout(look);
        looks += 1;
    }
    assert_eq!(looks, 40, "ten seconds, four times a second");
    refused.run(&plant, &mut hub);
    assert!(matches!(refused.up.ended(), Some(End::Lost(_))));

    hub.disk.set_capacity(None);
    hub.pass(Duration::from_secs(2));
    assert!(!hub.core.view().status().full);
    pair.down.handle_timeout(pair.down.poll_timeout().unwrap());
    pair.run(&plant, &mut hub);
    assert!(pair.up.is_verified() && pair.up.ended().is_none());
}
