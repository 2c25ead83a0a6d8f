//! Power cuts at every operation on the disk: what was acknowledged survives.

use takt_protocol::words::Offset;

use super::*;

/// What was acknowledged of batch number `i`, whose first sequence is `2 i + 1`.
type Acked = Vec<BatchReceipt>;

fn events(index: u64) -> Vec<Event> {
    let data = "d".repeat(1_500 + usize::try_from(index % 7).unwrap() * 300);
    let order = format!("o{}", index % 3);
    // Every fourth batch repeats the record of two before, and brings one of its own.
    let id = if index % 4 == 3 { index - 2 } else { index };
    let repeated = id.to_string();
    let order_of = |index: u64| format!("o{}", index % 3);
    let data_of = |index: u64| "d".repeat(1_500 + usize::try_from(index % 7).unwrap() * 300);
    vec![
        event(&repeated, &order_of(id), &data_of(id)),
        event(&format!("own-{index}"), &order, &data),
    ]
}

/// Publishes until the disk fails or `batches` are acknowledged.
fn work(world: &mut World, acked: &mut Acked, epoch: u64, batches: u64) -> bool {
    while (acked.len() as u64) < batches {
        let index = acked.len() as u64;
        let operation = world.publication("p", epoch, batch(&events(index), 2 * index + 1));
        match world.try_run(operation) {
            Some(answer) => acked.push(receipt(answer)),
            None => return false,
        }
        if index % 5 == 4 {
            let now = world.now();
            world.store.tick(now);
        }
    }
    true
}

fn check(world: &mut World, acked: &Acked, epoch: u64) {
    let view = world.store.view().clone();
    let partition = view.partitions(&topic("t"))[0].clone();
    let mut chain = partition.start_chain;
    let mut from = partition.start;
    let mut seen = std::collections::BTreeSet::new();
    while from < partition.end {
        for stored in view.read(partition.slot, from, 9_000).unwrap() {
            stored.check(chain, 1).unwrap();
            chain = stored.header().chain;
            from = stored.end_offset();
            for (record, verdict) in stored.batch().records().unwrap().zip(stored.verdicts()) {
                if verdict.unwrap().is_visible() {
                    let id = record.unwrap().id.to_vec();
                    assert!(seen.insert(id), "an event is visible once");
                }
            }
        }
    }
    for (index, receipt) in acked.iter().enumerate() {
        let index = index as u64;
        assert!(seen.contains(format!("own-{index}").as_bytes()), "batch {index} is there");
        assert!(receipt.base_offset < Offset::new(partition.end.get()));
    }
    // The newest receipts are still given out, word for word.
    for (index, known) in acked.iter().enumerate().rev().take(8) {
        let index = index as u64;
        let operation = world.publication("p", epoch, batch(&events(index), 2 * index + 1));
        assert_eq!(&receipt(world.run(operation)), known);
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_operation() {
    let batches = 40;
    let total = {
        let mut world = World::with_topic("plant");
        let begun = world.disk.operations();
        assert!(work(&mut world, &mut Vec::new(), 1, batches));
        world.disk.operations() - begun
    };
    assert!(total > 100, "{total} operations");
    let mut rolled = 0;
    for at in (0..total).step_by(3) {
        let mut dice = Dice::new(at);
        let mut world = World::with_topic("plant");
        let begun = world.disk.operations();
        world.disk.cut_power_at(begun + at);
        let mut acked = Vec::new();
        work(&mut world, &mut acked, 1, batches);
        world.disk = world.disk.crash_image(&mut |_| dice.below(2) == 0);
        // A second cut, within the recovery.
        let recovering = world.disk.crash_image(&mut |_| true);
        recovering.cut_power_at(recovering.operations() + dice.below(12));
        if open(&recovering, &world.options, 50, world.now).is_err() {
            world.disk = recovering.crash_image(&mut |_| dice.below(2) == 0);
        }
        world.restart();
        let digest = world.store.state_digest();
        let twice = world.disk.crash_image(&mut |_| false);
        let (again, _) = open(&twice, &world.options, 77, world.now).unwrap();
        assert_eq!(again.state_digest(), digest, "recovering twice is recovering once");
        rolled = rolled.max(world.store.journal.files().len());
        check(&mut world, &acked, 1);
        let opened = world.open_producer("p", "t");
        let stored = (opened.last_sequence.get()) / 2;
        assert!(stored >= acked.len() as u64 && stored <= acked.len() as u64 + 1);
        if stored > acked.len() as u64 {
            acked.push(opened.kept.last().unwrap().receipt.clone());
        }
        let epoch = opened.epoch.get();
        let more = acked.len() as u64 + 6;
        assert!(work(&mut world, &mut acked, epoch, more));
        check(&mut world, &acked, epoch);
    }
    assert!(rolled > 2, "files were left: {rolled}");
}
