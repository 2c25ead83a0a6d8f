//! Runs of made-up keys, written and merged as a store does it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use takt_protocol::batch::Place;
use takt_protocol::words::{Offset, OrderSequence, PartitionNumber, Timestamp};
use takt_storage::disk::Disk;
use takt_storage::journal::{Incarnation, JournalId, Position};
use takt_storage::ledger::{HeadEntry, Known, LedgerEntry};
use takt_storage::runs::{
    KeyRun, MergePlan, MergeStep, RUNS_AT_REST, RunInput, RunSize, RunWriter, due_merge,
};

use crate::Seeded;

/// Keys of a journal file, and so of a run before it is merged: a node leaves a file at as many.
pub const FILE_KEYS: u64 = 3 << 18;

const JOURNAL: JournalId = JournalId::new([7; 16]);

/// The hash of the key with this number: the same each time, and far from those of its neighbours.
pub fn key(number: u64) -> u128 {
    let mut random = Seeded::new(number);
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

/// The runs that a look-up meets, oldest first.
#[derive(Debug)]
pub struct Runs {
    disk: Arc<dyn Disk>,
    runs: Vec<Arc<KeyRun>>,
}

impl Runs {
    /// Of a ledger with the keys of all numbers below `keys`.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn of_ledger(disk: Arc<dyn Disk>, keys: u64) -> Self {
        Self::written(disk, keys, |numbers, input| {
            input.ledger.extend(numbers.map(|number| {
                let place =
                    Place { partition: PartitionNumber::new(0), offset: Offset::new(number) };
                let known = Known::First { place, order_sequence: None };
                LedgerEntry::new(key(number), number, known)
            }));
        })
    }

    /// Of the heads of as many orders.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn of_heads(disk: Arc<dyn Disk>, orders: u64) -> Self {
        Self::written(disk, orders, |numbers, input| {
            input.heads.extend(numbers.map(|number| HeadEntry {
                hash: key(number),
                last: OrderSequence::new(1),
                last_append_time: Timestamp::from_micros(0),
            }));
        })
    }

    fn written(disk: Arc<dyn Disk>, keys: u64, fill: impl Fn(Range<u64>, &mut RunInput)) -> Self {
        let mut all = Self { disk, runs: Vec::new() };
        for file in 0..keys.div_ceil(FILE_KEYS) {
            let numbers = file * FILE_KEYS..keys.min((file + 1) * FILE_KEYS);
            let mut input = RunInput {
                journal: JOURNAL,
                start: Position::new(numbers.start),
                end: Position::new(numbers.end),
                incarnation: Incarnation::new(1),
                ledger: Vec::new(),
                heads: Vec::new(),
                new_orders: 0,
                extents: Vec::new(),
                chains: BTreeMap::new(),
                orders: Vec::new(),
                conflicts: Vec::new(),
            };
            fill(numbers, &mut input);
            let info = RunWriter::write(&*all.disk, &mut input).expect("room for a run");
            let run = KeyRun::open(&*all.disk, JOURNAL, &info).expect("the run just written");
            all.runs.push(Arc::new(run));
            while let Some(range) = all.due() {
                all.merge(range);
            }
        }
        all
    }

    fn due(&self) -> Option<Range<usize>> {
        let sizes = self.runs.iter().map(|run| {
            let counts = run.info().counts;
            RunSize { keys: counts.ledger + counts.heads, window: 0 }
        });
        let merged = self.runs.iter().filter(|run| run.is_merged()).count();
        due_merge(&sizes.collect::<Vec<_>>(), merged, RUNS_AT_REST)
    }

    fn merge(&mut self, range: Range<usize>) {
        let inputs = self.runs[range.clone()].to_vec();
        let plan = MergePlan {
            disk: Arc::clone(&self.disk),
            journal: JOURNAL,
            start: inputs[0].info().start,
            end: inputs[inputs.len() - 1].info().end,
            inputs,
            margin_bytes: 0,
        };
        let mut work = Box::new(plan.begin().expect("room for a merged run"));
        let run = loop {
            match work.step().expect("sound runs, and a disk that goes on") {
                MergeStep::More(more) => work = more,
                MergeStep::Done(run) => break run,
            }
        };
        for old in self.runs.splice(range, [run]) {
            self.disk.remove(&old.name()).expect("a run that nobody needs");
        }
    }

    /// Asks all of them for the keys of a batch, as the sequencer does, and counts what is known.
    /// `hits` is a buffer.
    ///
    /// # Panics
    /// If a run does not read.
    pub fn known(&self, hashes: &[u128], hits: &mut Vec<u32>) -> usize {
        let mut known = 0;
        for run in &self.runs {
            hits.clear();
            run.pass(hashes, hits);
            for hit in &*hits {
                let read = run.contents(hashes[*hit as usize], |_| known += 1);
                read.expect("a sound run");
            }
        }
        known
    }

    /// The head of an order, asked for as the sequencer does where it is not in memory.
    ///
    /// # Panics
    /// If a run does not read.
    pub fn head(&self, hash: u128) -> Option<HeadEntry> {
        self.runs.iter().rev().find_map(|run| run.head(hash).expect("a sound run"))
    }
}

#[cfg(test)]
mod tests {
    use takt_storage::disk::sim::SimDisk;

    use super::*;

    #[test]
    fn what_was_written_is_known_and_nothing_else() {
        let ledger = Runs::of_ledger(Arc::new(SimDisk::new()), 10);
        let keys: Vec<u128> = (5..15).map(key).collect();
        assert_eq!(ledger.known(&keys, &mut Vec::new()), 5);
        let heads = Runs::of_heads(Arc::new(SimDisk::new()), 10);
        assert_eq!(keys.iter().filter(|key| heads.head(**key).is_some()).count(), 5);
    }
}
