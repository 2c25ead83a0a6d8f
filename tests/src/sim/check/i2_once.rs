//! I2: nothing is there twice: neither a dedup key nor a producer's sequence, in a plant's log or in
//! the hub's. And what is masked is masked rightly: a model of two maps judges the whole log again.
//!
//! The rule: a record of which no key names a first is an event, and the first of all of its keys.
//! If its keys name one first of its content, it repeats that one; otherwise it is a conflict with
//! the first that its first key names, or its second. A conflict is listed once for each of its keys
//! and content. What is not an event is nobody's first. Once the horizon has passed a first, or what was
//! listed, it may have been forgotten, and not before.

use std::collections::{BTreeMap, BTreeSet};

use takt_reader::{DedupKey, Partition, Place, Record, Verdict};

use super::end::End;
use crate::sim::history::History;

/// A record, and when its origin judged it.
#[derive(Debug, Clone, Copy)]
struct Judged<'a> {
    record: &'a Record<'a>,
    partition: u16,
    /// Its place among the records of its partition.
    at: usize,
    append_time: i64,
}

/// What a topic of a plant has come to.
#[derive(Debug, Default)]
struct Topic<'a> {
    /// The events of each key, by their append times: more than one where the horizon has passed.
    firsts: BTreeMap<DedupKey<'a>, Vec<Judged<'a>>>,
    /// Conflicts that are listed, by each of their keys and their content.
    listed: BTreeMap<(DedupKey<'a>, u128), Vec<Judged<'a>>>,
    horizon_us: i64,
}

/// Judges the hub's logs again, which hold everything.
pub fn check(end: &End<'_>, _history: &History, violated: &mut dyn FnMut(String)) {
    for plant in 0..end.plants.len() {
        for topic in 0..end.topics {
            check_topic(end, plant, topic, violated);
        }
    }
}

fn check_topic(end: &End<'_>, plant: usize, topic: usize, violated: &mut dyn FnMut(String)) {
    let mut sequences = BTreeMap::<&str, BTreeSet<u64>>::new();
    let mut known = Topic { horizon_us: end.horizon_us, ..Topic::default() };
    let partitions: Vec<_> =
        (0..u16::MAX).map_while(|number| end.mirrored(plant, topic, number)).collect();
    // What a record is judged by may be in another partition: all is gathered before any is judged.
    for partition in &partitions {
        for judged in judged(partition) {
            let record = judged.record;
            if !sequences.entry(record.producer).or_default().insert(record.sequence) {
                let (producer, sequence) = (record.producer, record.sequence);
                violated(format!("{}: {producer} has {sequence} twice", partition.id));
            }
            for key in keys(record) {
                if let Verdict::Conflict { listed: true, .. } = record.verdict {
                    known.listed.entry((key, record.digest)).or_default().push(judged);
                }
                if record.is_visible() {
                    known.firsts.entry(key).or_default().push(judged);
                }
            }
        }
    }
    for (key, firsts) in &mut known.firsts {
        firsts.sort_by_key(|first| first.append_time);
        for pair in firsts.windows(2) {
            if !pair[1].is_past(&pair[0], end.horizon_us) {
                let (a, b) = (pair[0].place(), pair[1].place());
                violated(format!(
                    "topic {topic} of {plant}: {key:?} is visible at {a:?} and at {b:?}"
                ));
            }
        }
    }
    for partition in &partitions {
        for judged in judged(partition).filter(|judged| !judged.record.is_visible()) {
            let record = judged.record;
            if let Err(why) = known.judge(&judged) {
                let (id, batch, index) = (partition.id, record.batch, record.index);
                let verdict = record.verdict;
                violated(format!("{id} batch {batch} record {index} is {verdict:?}: {why}"));
            }
        }
    }
}

/// The records of a partition, in the order in which they were judged.
fn judged<'a>(partition: &'a Partition<'a>) -> impl Iterator<Item = Judged<'a>> {
    let times: BTreeMap<u64, i64> =
        partition.batches.iter().map(|batch| (batch.number, batch.append_time)).collect();
    partition.records.iter().enumerate().map(move |(at, record)| {
        let append_time = times.get(&record.batch).copied().unwrap_or_default();
        Judged { record, partition: partition.id.number, at, append_time }
    })
}

/// The different keys of a record.
fn keys<'a>(record: &Record<'a>) -> impl Iterator<Item = DedupKey<'a>> {
    let [one, two] = record.dedup_keys;
    one.into_iter().chain(two.filter(|two| Some(*two) != one))
}

impl Judged<'_> {
    /// Whether it was judged before another; `None` where nothing tells: two partitions of a node
    /// have nothing in common but append times.
    fn is_before(&self, other: &Self) -> Option<bool> {
        if self.partition == other.partition {
            return Some(self.at < other.at);
        }
        (self.append_time != other.append_time).then_some(self.append_time < other.append_time)
    }

    /// Whether the horizon has passed `first` when this was judged.
    fn is_past(&self, first: &Self, horizon_us: i64) -> bool {
        self.append_time - first.append_time > horizon_us
    }

    fn place(&self) -> Place {
        Place { partition: self.partition, offset: self.record.offset.unwrap_or(u64::MAX) }
    }
}

impl<'a> Topic<'a> {
    /// Whether the verdict of a masked record is one that the rule allows. More than one does where
    /// nothing tells which of two was first.
    fn judge(&self, judged: &Judged<'a>) -> Result<(), String> {
        // By key: the first, and where it may not have been there yet, none.
        let mut firsts = keys(judged.record).map(|key| self.firsts_of(key, judged));
        let [one, two] = [firsts.next(), firsts.next()];
        let none = vec![None];
        for one in one.as_ref().unwrap_or(&none) {
            for two in two.as_ref().unwrap_or(&none) {
                if self.is_right(judged, *one, *two) {
                    return Ok(());
                }
            }
        }
        let places = [one, two].map(|found| {
            let found = found.into_iter().flatten().flatten();
            found.map(|first| (first.place(), first.record.digest)).collect::<Vec<_>>()
        });
        Err(format!("its keys name {places:?}, its digest is {:x}", judged.record.digest))
    }

    /// Those that may be known, newest first: one that is there has all before it forgotten.
    fn firsts_of(&self, key: DedupKey<'a>, judged: &Judged<'a>) -> Vec<Option<&Judged<'a>>> {
        let mut found = Vec::new();
        for first in self.firsts.get(&key).into_iter().flatten().rev() {
            match first.is_before(judged) {
                Some(false) => {}
                None => found.push(Some(first)),
                Some(true) => {
                    found.push(Some(first));
                    if judged.is_past(first, self.horizon_us) {
                        found.push(None);
                    }
                    return found;
                }
            }
        }
        found.push(None);
        found
    }

    /// The rule, for a record whose keys name these firsts.
    fn is_right(
        &self,
        judged: &Judged<'a>,
        one: Option<&Judged<'a>>,
        two: Option<&Judged<'a>>,
    ) -> bool {
        let Some(with) = one.or(two) else { return false };
        let of_two = two.is_some_and(|two| two.place() != with.place());
        let repeats = !of_two && with.record.digest == judged.record.digest;
        match judged.record.verdict {
            Verdict::Duplicate { of, order_sequence } => {
                repeats && of == with.place() && order_sequence == with.record.order_sequence
            }
            Verdict::Conflict { with: named, listed } => {
                let known = self.is_listed(judged);
                !repeats && named == with.place() && known.is_none_or(|known| known != listed)
            }
            // A visible one has a first in itself, and nobody asked for a precondition.
            Verdict::Visible | Verdict::PreconditionFailed { .. } => false,
        }
    }

    /// Whether its content was listed under one of its keys before; `None` where nothing tells.
    fn is_listed(&self, judged: &Judged<'a>) -> Option<bool> {
        let before = keys(judged.record).flat_map(|key| {
            let listed = self.listed.get(&(key, judged.record.digest));
            listed.into_iter().flatten().map(|listed| match listed.is_before(judged) {
                Some(true) if judged.is_past(listed, self.horizon_us) => None,
                before => before,
            })
        });
        let mut known = Some(false);
        for before in before {
            match before {
                Some(true) => return before,
                Some(false) => {}
                None => known = None,
            }
        }
        known
    }
}
