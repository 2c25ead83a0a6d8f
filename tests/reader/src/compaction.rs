//! That compaction has left out nothing but what it may: each event that is gone has a later one of its
//! order, and those that are there still follow one another.
//!
//! Which order an event is of that is gone, the runs say that were made when it was there. They say
//! nothing of what a mirror's origin has left out.

use std::collections::{BTreeMap, HashMap};

use crate::{
    contents::{Contents, Partition},
    error::RunsError,
    input::{Why, ensure},
    manifest::SealedFile,
    order_rows::Hashes,
    orders::Step,
    packs::PackFile,
};

/// What the runs say of the partitions of which this node has left out records, by slot.
pub(crate) struct Compacted<'c> {
    lines: BTreeMap<u32, Line<'c>>,
}

/// The events of a partition that the runs list.
struct Line<'c> {
    partition: &'c Partition<'c>,
    /// By offset.
    rows: BTreeMap<u64, Row<'c>>,
}

/// An event of an order.
struct Row<'c> {
    hash: u128,
    /// The journal file that had it.
    file: &'c SealedFile,
    /// What has taken that file's place.
    pack: Option<&'c PackFile>,
}

impl<'c> Compacted<'c> {
    pub(crate) fn of(contents: &'c Contents<'c>) -> Self {
        let partitions = contents.partitions.iter();
        let own = partitions
            .filter(|partition| partition.mirror_of.is_none() && !partition.left_out.is_empty());
        let lines =
            own.map(|partition| (partition.slot, Line { partition, rows: BTreeMap::new() }));
        Self { lines: lines.collect() }
    }

    /// Takes the orders that the run of a file lists, which are those of the events in it.
    pub(crate) fn add(
        &mut self,
        hashes: &Hashes,
        file: &'c SealedFile,
        contents: &'c Contents<'_>,
    ) {
        let pack = contents.manifest.pack_of(file);
        for ((slot, offset), hash) in hashes {
            if let Some(line) = self.lines.get_mut(slot) {
                line.rows.insert(*offset, Row { hash: *hash, file, pack });
            }
        }
    }

    /// Once all runs are taken.
    pub(crate) fn check(&self) -> Result<(), RunsError> {
        for line in self.lines.values() {
            line.check_left_out()?;
            line.check_steps()?;
        }
        Ok(())
    }
}

impl Line<'_> {
    /// Each event that is gone has a later one of its order, below where its pack is compacted. So the
    /// latest of an order is there.
    fn check_left_out(&self) -> Result<(), RunsError> {
        let mut gone = self.partition.left_out.iter().rev().filter_map(|gone| gone.offset);
        let mut next = gone.next();
        // For each order, the end of the file of the first event that is behind.
        let mut later = HashMap::new();
        for (offset, row) in self.rows.iter().rev() {
            let end = later.insert(row.hash, row.file.end);
            if next != Some(*offset) {
                continue;
            }
            next = gone.next();
            let pack = row.pack.ok_or_else(|| {
                Why("a record is left out that no pack holds").of_file("the manifest")
            })?;
            let overtaken = end.is_some_and(|end| end <= pack.compacted_upto);
            let why = "a record is left out of which no later one takes the place";
            ensure(overtaken, why).map_err(|why| why.of_file(&pack.name()))?;
        }
        ensure(next.is_none(), "a record is left out that no run lists")
            .map_err(|why| why.of_file("the manifest"))
    }

    /// The events of each order follow one another, those that are gone among them; and each order has
    /// one key.
    fn check_steps(&self) -> Result<(), RunsError> {
        let mut orders = Orders::default();
        let mut file = "the manifest".to_owned();
        for event in self.events() {
            let row = self.rows.get(&event.offset);
            if let Some(run) = row.and_then(|row| row.file.run.as_ref()) {
                file = run.name();
            }
            let order = orders.find(row.map(|row| row.hash), event.key);
            order
                .and_then(|order| self.check_step(&mut orders, order, event.step))
                .map_err(|why| why.of_file(&file))?;
        }
        Ok(())
    }

    fn check_step<'a>(
        &self,
        orders: &mut Orders<'a>,
        order: Order<'a>,
        step: Step,
    ) -> Result<(), Why> {
        let partition = self.partition;
        let last = orders.last.insert(order, step);
        let follows = step.follows(last, &partition.settings, partition.start.batch == 0);
        ensure(follows, "an event does not follow those of its order that are gone")
    }

    /// All with an order key, in order.
    fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.partition.batches.iter().flat_map(|batch| {
            let append_time = batch.append_time;
            let step = move |sequence, restarted| Step { sequence, restarted, append_time };
            let there = self.partition.records_of(batch).iter().filter_map(move |record| {
                let step = step(record.order_sequence?, record.restarted);
                Some(Event { offset: record.offset?, key: record.order_key, step })
            });
            let gone = self.partition.left_out_of(batch).iter().filter_map(move |gone| {
                let step = step(gone.order_sequence?, gone.restarted);
                Some(Event { offset: gone.offset?, key: None, step })
            });
            let mut events: Vec<_> = there.chain(gone).collect();
            events.sort_unstable_by_key(|event| event.offset);
            events
        })
    }
}

/// An event with an order key.
struct Event<'a> {
    offset: u64,
    /// Where it is there.
    key: Option<&'a [u8]>,
    step: Step,
}

/// What tells an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Order<'a> {
    Hash(u128),
    /// Of events that no run lists yet.
    Key(&'a [u8]),
}

/// The orders of a partition, and where they stand.
#[derive(Default)]
struct Orders<'a> {
    last: HashMap<Order<'a>, Step>,
    keys: HashMap<u128, &'a [u8]>,
    hashes: HashMap<&'a [u8], u128>,
}

impl<'a> Orders<'a> {
    /// The order of an event, of which its row's hash is known, or its key, or both.
    fn find(&mut self, hash: Option<u128>, key: Option<&'a [u8]>) -> Result<Order<'a>, Why> {
        let known = key.and_then(|key| self.hashes.get(key).copied());
        let (Some(hash), Some(key)) = (hash, key) else {
            let hash = hash.or(known).map(Order::Hash);
            return hash.or(key.map(Order::Key)).ok_or(Why("an event is of no order"));
        };
        let same = self.hashes.insert(key, hash).is_none_or(|known| known == hash)
            && self.keys.insert(hash, key).is_none_or(|known| known == key);
        ensure(same, "its orders are not those of the events that are there")?;
        Ok(Order::Hash(hash))
    }
}
