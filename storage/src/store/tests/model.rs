//! The store against a simple model: maps, and one rule after the other.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use takt_protocol::batch::Place;
use takt_protocol::words::{Offset, OrderSequence};

use super::*;

#[derive(Debug, Default)]
struct Model {
    next_offset: u64,
    last: u64,
    firsts: BTreeMap<String, (u64, String, u64)>,
    set_aside: BTreeSet<(String, String)>,
    heads: BTreeMap<String, u64>,
}

impl Model {
    fn judge(&mut self, records: &[(u8, u8, u8)]) -> Vec<Verdict> {
        self.last += records.len() as u64;
        records.iter().map(|record| self.judge_one(*record)).collect()
    }

    fn judge_one(&mut self, record: (u8, u8, u8)) -> Verdict {
        let (id, order, data) = texts(record);
        let content = format!("{order}/{data}");
        let place =
            |offset| Place { partition: PartitionNumber::new(0), offset: Offset::new(offset) };
        if let Some((offset, first, sequence)) = self.firsts.get(&id) {
            if *first == content {
                let order_sequence = (*sequence > 0).then(|| OrderSequence::new(*sequence));
                return Verdict::Duplicate { of: place(*offset), order_sequence };
            }
            let listed = self.set_aside.insert((id, content));
            return Verdict::Conflict { with: place(*offset), listed };
        }
        let sequence = if order.is_empty() {
            0
        } else {
            let head = self.heads.entry(order).or_default();
            *head += 1;
            *head
        };
        if !id.is_empty() {
            self.firsts.insert(id, (self.next_offset, content, sequence));
        }
        self.next_offset += 1;
        let order_sequence = (sequence > 0).then(|| OrderSequence::new(sequence));
        Verdict::Visible { order_sequence, restarted: false }
    }
}

fn texts((id, order, data): (u8, u8, u8)) -> (String, String, String) {
    let text = |prefix: &str, n: u8| if n == 0 { String::new() } else { format!("{prefix}{n}") };
    (text("i", id), text("o", order), text("d", data))
}

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<(u8, u8, u8)>),
    Repeat,
    Restart,
    Reopen,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0_u8..12, 0_u8..4, 0_u8..3);
    prop_oneof![
        8 => prop::collection::vec(record, 1..12).prop_map(Step::Publish),
        1 => Just(Step::Repeat),
        1 => Just(Step::Restart),
        1 => Just(Step::Reopen),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_is_its_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::with_topic("plant");
        let mut model = Model::default();
        let mut epoch = 1;
        let mut newest: Option<(Batch, BatchReceipt)> = None;
        for step in steps {
            match step {
                Step::Publish(records) => {
                    let events: Vec<Event> = records
                        .iter()
                        .map(|record| {
                            let (id, order, data) = texts(*record);
                            event(&id, &order, &data)
                        })
                        .collect();
                    let laid_out = batch(&events, model.last + 1);
                    let operation = world.publication("p", epoch, laid_out.clone());
                    let got = receipt(world.run(operation));
                    prop_assert_eq!(verdicts(&got), model.judge(&records));
                    newest = Some((laid_out, got));
                }
                Step::Repeat => {
                    let Some((laid_out, known)) = &newest else { continue };
                    let operation = world.publication("p", epoch, laid_out.clone());
                    prop_assert_eq!(&receipt(world.run(operation)), known);
                }
                Step::Restart => {
                    world.drain();
                    let digest = world.store.state_digest();
                    world.restart();
                    prop_assert_eq!(world.store.state_digest(), digest);
                }
                Step::Reopen => {
                    let opened = world.open_producer("p", "t");
                    prop_assert_eq!(opened.last_sequence.get(), model.last);
                    epoch = opened.epoch.get();
                }
                Step::Settle => world.settle(),
            }
        }
        let partition = world.store.view().partitions(&topic("t"))[0].clone();
        prop_assert_eq!(partition.end.get(), model.next_offset);
        let listed = world.store.view().conflicts(None, None, usize::MAX);
        prop_assert_eq!(listed.len(), model.set_aside.len());
        for (order, head) in &model.heads {
            let key = OrderKey::new(order).unwrap();
            let found = world.store.view().order(&topic("t"), &key, None, usize::MAX).unwrap();
            prop_assert_eq!(found.len() as u64, *head);
        }
        // A snapshot and nothing behind it is the whole.
        let state = &world.store.state;
        let at = world.store.journal.position();
        let restored = State::restore(&state.snapshot(), at, world.options.table_limits()).unwrap();
        prop_assert_eq!(&restored.control, &state.control);
    }
}
