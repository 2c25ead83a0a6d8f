use proptest::prelude::*;

use super::*;
use crate::{
    disk::sim::SimDisk,
    journal::{Incarnation, JournalId},
    runs::{RunInput, RunWriter},
};

const JOURNAL: JournalId = JournalId::new([7; 16]);
const SLOTS: u32 = 3;
const KEYS: u128 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// A batch of a slot with so many visible records, so long after the last.
    Batch {
        slot: u32,
        visible: u64,
        later: i64,
    },
    Roll,
    Seal,
    Drop,
    /// A slot loses what the oldest files hold of it.
    Trim {
        slot: u32,
        files: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..SLOTS, 0..4_u64, 0..3_i64)
            .prop_map(|(slot, visible, later)| Step::Batch { slot, visible, later }),
        2 => Just(Step::Roll),
        2 => Just(Step::Seal),
        1 => Just(Step::Drop),
        1 => (0..SLOTS, 1..3_usize).prop_map(|(slot, files)| Step::Trim { slot, files }),
    ]
}

/// All that is kept, in plain lists.
#[derive(Default)]
struct Model {
    extents: Vec<Extent>,
    orders: Vec<OrderRow>,
    /// Closed files by start and whether they are sealed.
    files: Vec<(Arc<LiveFile>, bool)>,
    batches: [u64; SLOTS as usize],
    offsets: [u64; SLOTS as usize],
    time: i64,
    position: u64,
}

fn chain(slot: Slot, batch: BatchNumber) -> PartitionChain {
    PartitionChain::from_u128(u128::from(slot.get()) << 64 | u128::from(batch.get()))
}

fn key(offset: u64) -> u128 {
    u128::from(offset * 7) % KEYS
}

impl Model {
    fn step(&mut self, catalog: &Catalog, disk: &SimDisk, step: &Step) {
        match *step {
            Step::Batch { slot, visible, later } => self.batch(catalog, slot, visible, later),
            Step::Roll => {
                self.position += 1;
                let next = Position::new(self.position);
                self.files.push((catalog.freeze(next), false));
            }
            Step::Seal => {
                if let Some((file, sealed)) = self.files.iter_mut().find(|(_, sealed)| !sealed) {
                    *sealed = true;
                    catalog.sealed(seal(disk, file));
                }
            }
            Step::Trim { slot, files } => {
                let slot = Slot::new(slot);
                let oldest = self.files.iter().take(files);
                let mut held = oldest.filter_map(|(file, _)| file.summary(slot));
                let Some(last) = held.next_back() else {
                    return;
                };
                let (batch, offset) = (last.end_batch, last.end_offset);
                catalog.trim(slot, batch, offset);
                self.extents.retain(|extent| extent.slot != slot || extent.batch_number >= batch);
                self.orders.retain(|row| row.slot != slot || row.offset >= offset);
            }
            Step::Drop => {
                if self.files.first().is_some_and(|(_, sealed)| *sealed) {
                    let (file, _) = self.files.remove(0);
                    assert!(catalog.drop_file(file.start()));
                    assert!(!catalog.drop_file(file.start()));
                    for gone in file.extents() {
                        self.extents.retain(|extent| extent.position != gone.position);
                    }
                    for gone in file.orders().iter() {
                        self.orders.retain(|row| row != gone);
                    }
                }
            }
        }
    }

    fn batch(&mut self, catalog: &Catalog, slot: u32, visible: u64, later: i64) {
        let number = &mut self.batches[slot as usize];
        let base = &mut self.offsets[slot as usize];
        self.time += later;
        self.position += 10;
        let slot = Slot::new(slot);
        let extent = Extent {
            slot,
            batch_number: BatchNumber::new(*number),
            base_offset: Offset::new(*base),
            end_offset: Offset::new(*base + visible),
            append_time: Timestamp::from_micros(self.time),
            position: Position::new(self.position),
            len_bytes: 10,
        };
        let rows: Vec<OrderRow> = (*base..*base + visible)
            .map(|offset| OrderRow { hash: key(offset), slot, offset: Offset::new(offset) })
            .collect();
        *number += 1;
        *base += visible;
        catalog.publish([(extent, chain(slot, extent.batch_number))], rows.iter().copied());
        self.extents.push(extent);
        self.orders.extend(rows);
    }

    fn check(&self, catalog: &Catalog) {
        for slot in (0..=SLOTS).map(Slot::new) {
            let of: Vec<Extent> =
                self.extents.iter().filter(|extent| extent.slot == slot).copied().collect();
            let (first, last) = (catalog.first(slot), catalog.last(slot));
            assert_eq!(first.map(|s| s.first_batch), of.first().map(|e| e.batch_number));
            assert_eq!(
                first.map(|s| s.chain_before),
                of.first().map(|e| chain(slot, e.batch_number))
            );
            assert_eq!(last.map(|s| s.end_offset), of.last().map(|e| e.end_offset));
            let batches = self.batches.get(slot.get() as usize).copied().unwrap_or(0);
            for batch in (0..batches + 2).map(BatchNumber::new) {
                let scan = of.iter().find(|e| e.batch_number == batch).copied();
                assert_eq!(catalog.find_batch(slot, batch).unwrap(), scan);
                let scan = of.iter().find(|e| e.batch_number > batch).copied();
                assert_eq!(catalog.next_after(slot, batch).unwrap(), scan);
                let first_of_file = catalog.chain_before_first(slot, batch);
                assert!(first_of_file.is_none_or(|found| found == chain(slot, batch)));
                for max in [0, 1, 3, 100] {
                    let scan = of.iter().filter(|e| e.batch_number >= batch).take(max).copied();
                    let page = catalog.page(slot, batch, max).unwrap();
                    assert_eq!(page, scan.collect::<Vec<_>>());
                }
            }
            let offsets = self.offsets.get(slot.get() as usize).copied().unwrap_or(0);
            for offset in (0..offsets + 2).map(Offset::new) {
                let scan = of.iter().find(|e| e.contains(offset)).copied();
                assert_eq!(catalog.find(slot, offset).unwrap(), scan);
            }
            // Ascending, with gaps, and twice the same.
            for step in [1, 3] {
                let offsets: Vec<_> = (0..offsets + 2).step_by(step).map(Offset::new).collect();
                let offsets: Vec<_> = offsets.iter().flat_map(|offset| [*offset; 2]).collect();
                let places = catalog.place(slot, &offsets).unwrap();
                assert_eq!(places.len(), offsets.len());
                for (place, offset) in places.iter().zip(&offsets) {
                    let scan = of.iter().find(|e| e.contains(*offset)).copied();
                    assert_eq!(place.map(|place| place.extent), scan);
                    let Some(Placed { extent, chain_before }) = *place else { continue };
                    match chain_before {
                        Some(ChainBefore::Known(known)) => {
                            assert_eq!(known, chain(slot, extent.batch_number));
                        }
                        Some(ChainBefore::In(before)) => {
                            assert_eq!(before.slot, slot);
                            assert_eq!(before.batch_number.advance(1), extent.batch_number);
                        }
                        None => panic!("few rows are one block"),
                    }
                }
            }
            for time in (0..self.time + 2).map(Timestamp::from_micros) {
                let scan = of.iter().find(|e| e.append_time >= time).copied();
                assert_eq!(catalog.find_time(slot, time).unwrap(), scan);
            }
            for hash in 0..=KEYS {
                for after in [None, Some(0), Some(3), Some(offsets / 2), Some(offsets)] {
                    let after = after.map(Offset::new);
                    for max in [0, 1, 2, 100] {
                        let rows = self.orders.iter();
                        let scan = rows.filter(|row| row.hash == hash && row.slot == slot);
                        let scan = scan.map(|row| row.offset);
                        let scan = scan.filter(|offset| after.is_none_or(|after| after < *offset));
                        let found = catalog.order(hash, slot, after, max).unwrap();
                        assert_eq!(found, scan.take(max).collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}

fn seal(disk: &SimDisk, file: &LiveFile) -> RunReader {
    let mut input = RunInput {
        journal: JOURNAL,
        start: file.start(),
        end: Position::new(1 << 40),
        incarnation: Incarnation::FIRST,
        ledger: Vec::new(),
        heads: Vec::new(),
        new_orders: 0,
        extents: file.extents().copied().collect(),
        chains: file.chains().collect(),
        orders: file.orders().iter().copied().collect(),
        conflicts: Vec::new(),
    };
    let info = RunWriter::write(disk, &mut input).unwrap();
    RunReader::open(disk, JOURNAL, &info).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Live, frozen, sealed or dropped: each look-up equals the scan of what is kept.
    #[test]
    fn every_look_up_equals_the_scan(steps in prop::collection::vec(step(), 0..80)) {
        let disk = SimDisk::new();
        let catalog = Catalog::new(Position::ZERO);
        let mut model = Model::default();
        for step in &steps {
            model.step(&catalog, &disk, step);
        }
        model.check(&catalog);
    }
}

#[test]
fn a_run_in_use_survives_the_drop_of_its_file() {
    let disk = SimDisk::new();
    let catalog = Catalog::new(Position::ZERO);
    let mut model = Model::default();
    for step in [Step::Batch { slot: 1, visible: 3, later: 1 }, Step::Roll, Step::Seal] {
        model.step(&catalog, &disk, &step);
    }
    let run = catalog.run(Position::ZERO).unwrap();
    assert!(catalog.drop_file(Position::ZERO));
    crate::disk::Disk::remove(&disk, &run.info().name()).unwrap();
    assert_eq!(catalog.find(Slot::new(1), Offset::new(2)).unwrap(), None);
    assert!(run.extent_at_or_before(Slot::new(1), Offset::new(2)).unwrap().is_some());
}
