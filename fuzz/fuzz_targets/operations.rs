//! Bytes as operations: what the store answers is what a model of maps answers, over restarts,
//! power cuts and new incarnations of the producer, and what it holds at the end is what the model
//! holds.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_fuzz::directory::{Dice, NOW, ask, options};
use takt_fuzz::input::Input;
use takt_protocol::batch::{Batch, BatchBuilder, Compression, Verdict};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{Epoch, OrderKey, PartitionNumber, ProducerId, Sequence, TopicName};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::keys::KeyHashes;
use takt_storage::store::{Answer, Operation, Store, StoreOptions};

/// Longer lives are slow and find nothing new.
const STEPS_MAX: usize = 40;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        let Some(step) = input.byte() else { break };
        match step % 8 {
            0..4 => {
                let count = 1 + usize::from(step / 8 % 8);
                let records = std::iter::repeat_with(|| {
                    let (id, rest) = (input.byte().unwrap_or(0), input.byte().unwrap_or(0));
                    (id % 12, rest % 4, rest / 4 % 3)
                });
                let records: Vec<_> = records.take(count).collect();
                world.publish(&records);
            }
            4 => world.repeat(),
            5 => world.restart(&mut |_| true),
            // What was not synced is lost, by the input's bits.
            6 => {
                let mut bits = u64::from(step) << 8 | u64::from(input.byte().unwrap_or(0));
                world.restart(&mut |_| {
                    bits = bits.rotate_left(1);
                    bits & 1 == 1
                });
            }
            _ => world.reopen(),
        }
    }
    world.end();
});

/// A record: its id (0: none), its order (0: none), its content.
type Record = (u8, u8, u8);

#[derive(Default)]
struct Model {
    next_offset: u64,
    last: u64,
    firsts: BTreeMap<u8, (u64, Record)>,
    set_aside: BTreeSet<Record>,
    heads: BTreeMap<u8, u64>,
}

/// What the model says of a record, as the store's verdicts can be put too.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Visible(u64),
    Duplicate(u64),
    Conflict(u64, bool),
    Failed,
}

impl Model {
    fn judge(&mut self, record: Record) -> Said {
        let (id, order, _) = record;
        if let Some((offset, first)) = self.firsts.get(&id) {
            if *first == record {
                return Said::Duplicate(*offset);
            }
            return Said::Conflict(*offset, self.set_aside.insert(record));
        }
        let mut sequence = 0;
        if order > 0 {
            let head = self.heads.entry(order).or_default();
            *head += 1;
            sequence = *head;
        }
        if id > 0 {
            self.firsts.insert(id, (self.next_offset, record));
        }
        self.next_offset += 1;
        Said::Visible(sequence)
    }
}

fn said(verdict: &Verdict) -> Said {
    match verdict {
        Verdict::Visible { order_sequence, .. } => {
            Said::Visible(order_sequence.map_or(0, |sequence| sequence.get()))
        }
        Verdict::Duplicate { of, .. } => Said::Duplicate(of.offset.get()),
        Verdict::Conflict { with, listed } => Said::Conflict(with.offset.get(), *listed),
        Verdict::PreconditionFailed { .. } => Said::Failed,
    }
}

struct World {
    disk: SimDisk,
    store: Store<u64>,
    model: Model,
    clock: i64,
    epoch: Epoch,
    seed: u64,
    newest: Option<(Batch, Answer)>,
}

fn topic() -> TopicName {
    TopicName::new("t").expect("a name")
}

fn producer() -> ProducerId {
    ProducerId::new("id", "mes").expect("a name")
}

/// Nothing is dropped: the model does not know of retention.
fn open(disk: &SimDisk, seed: u64) -> Store<u64> {
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = StoreOptions { retention_bytes: 0, ..options() };
    let opened = Store::open(seam, options, &mut Dice(seed), NOW);
    let (mut store, _) = opened.expect("what a crash leaves opens");
    store.set_uplink_needs(Some(BTreeMap::new()));
    store
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        let (clock, epoch) = (NOW.as_micros(), Epoch::new(0));
        let model = Model::default();
        let mut world = Self { disk, store, model, clock, epoch, seed: 1, newest: None };
        let settings = TopicSettings::default();
        world.ask(Operation::CreateTopic { name: topic(), settings });
        world.reopen();
        world
    }

    fn ask(&mut self, operation: Operation) -> Answer {
        ask(&mut self.store, operation, &mut self.clock)
    }

    fn reopen(&mut self) {
        let open =
            Operation::OpenProducer { producer: producer(), topic: topic(), transient: false };
        let Answer::ProducerOpened(opened) = self.ask(open) else { panic!("no producer") };
        assert_eq!(opened.last_sequence.get(), self.model.last);
        assert!(opened.epoch > self.epoch);
        self.epoch = opened.epoch;
    }

    fn send(&mut self, batch: Batch) -> Answer {
        let mut keys = KeyHashes::default();
        self.store.view().key_hasher().hash_batch(&topic(), &batch, &mut keys).expect("keys");
        let (producer, topic, epoch) = (producer(), topic(), self.epoch);
        self.ask(Operation::Publish { producer, topic, epoch, batch, keys })
    }

    fn publish(&mut self, records: &[Record]) {
        let mut builder = BatchBuilder::new(Compression::None);
        for (id, order, content) in records {
            let event = Event {
                id: if *id == 0 { String::new() } else { format!("i{id}") },
                source: "//s".to_owned(),
                kind: "k".to_owned(),
                order_key: OrderKey::new(&format!("o{order}")).ok().filter(|_| *order > 0),
                data: Bytes::from(vec![*content; 64]),
                ..Event::default()
            };
            builder.push(&event).expect("room");
        }
        let first = Sequence::new(self.model.last + 1);
        let bytes = builder.finish(PartitionNumber::new(0), first).expect("an event");
        let batch = Batch::take(&mut Chunks::from(bytes)).expect("a batch");
        let answer = self.send(batch.clone());
        let Answer::Receipt(receipt) = &answer else { panic!("{answer:?}") };
        let verdicts: Vec<Said> =
            receipt.receipts().map(|receipt| said(&receipt.verdict)).collect();
        let expected: Vec<Said> = records.iter().map(|record| self.model.judge(*record)).collect();
        assert_eq!(verdicts, expected);
        self.model.last += records.len() as u64;
        self.newest = Some((batch, answer));
    }

    fn repeat(&mut self) {
        let Some((batch, known)) = self.newest.take() else { return };
        assert_eq!(self.send(batch.clone()), known);
        self.newest = Some((batch, known));
    }

    fn restart(&mut self, survives: &mut dyn FnMut(u64) -> bool) {
        self.seed += 1;
        self.disk.crash(&mut |_| survives(0));
        self.store = open(&self.disk, self.seed);
    }

    fn end(mut self) {
        self.restart(&mut |_| false);
        let view = self.store.view();
        let partition = view.partitions(&topic())[0].clone();
        assert_eq!(partition.end.get(), self.model.next_offset);
        let listed = view.conflicts(None, None, usize::MAX);
        assert_eq!(listed.len(), self.model.set_aside.len());
        for (order, head) in &self.model.heads {
            let key = OrderKey::new(&format!("o{order}")).expect("a key");
            let found = view.order(&topic(), &key, None, usize::MAX).expect("it reads");
            assert_eq!(found.len() as u64, *head);
        }
    }
}
