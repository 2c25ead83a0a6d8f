//! I2: nothing is there twice: neither a dedup key nor a producer's sequence, in a plant's log or in
//! the hub's. And what is masked is masked rightly: a model of one map judges the whole log again.

use std::collections::BTreeMap;

use takt_reader::{DedupKey, Verdict};

use super::end::End;
use crate::sim::history::History;

/// The first with a key: where it is, its digest, its place in its order.
type First = (u16, u64, u128);

/// Judges the hub's logs again, which hold everything.
pub fn check(end: &End<'_>, _history: &History, violated: &mut dyn FnMut(String)) {
    for plant in 0..end.plants.len() {
        for topic in 0..end.topics {
            check_topic(end, plant, topic, violated);
        }
    }
}

fn check_topic(end: &End<'_>, plant: usize, topic: usize, violated: &mut dyn FnMut(String)) {
    let mut sequences = BTreeMap::<&str, std::collections::BTreeSet<u64>>::new();
    let mut firsts = BTreeMap::<DedupKey<'_>, First>::new();
    let partitions: Vec<_> =
        (0..u16::MAX).map_while(|number| end.mirrored(plant, topic, number)).collect();
    // A first may be in another partition than its repeat: firsts come before all.
    for partition in &partitions {
        for record in &partition.records {
            if !sequences.entry(record.producer).or_default().insert(record.sequence) {
                let (producer, sequence) = (record.producer, record.sequence);
                violated(format!("{}: {producer} has {sequence} twice", partition.id));
            }
            let Some(offset) = record.offset else { continue };
            for key in record.dedup_keys.iter().flatten() {
                let first = (partition.id.number, offset, record.digest);
                if let Some(known) = firsts.insert(*key, first) {
                    let (a, b) = (known.1, offset);
                    violated(format!(
                        "{}: {} is visible at {a} and at {b}",
                        partition.id, record.id
                    ));
                }
            }
        }
    }
    for partition in &partitions {
        for record in &partition.records {
            let first = record.dedup_keys.iter().flatten().find_map(|key| firsts.get(key));
            let address =
                format!("{} batch {} record {}", partition.id, record.batch, record.index);
            match record.verdict {
                Verdict::Visible => {}
                Verdict::Duplicate { of, .. } => {
                    if first != Some(&(of.partition, of.offset, record.digest)) {
                        violated(format!("{address} repeats {of:?}; the first is {first:?}"));
                    }
                }
                Verdict::Conflict { with, .. } => {
                    let with_other = first.is_some_and(|(partition, offset, digest)| {
                        (*partition, *offset) == (with.partition, with.offset)
                            && *digest != record.digest
                    });
                    if !with_other {
                        violated(format!(
                            "{address} is a conflict with {with:?}; the first is {first:?}"
                        ));
                    }
                }
                Verdict::PreconditionFailed { .. } => {
                    violated(format!("{address}: nobody asked for a precondition"));
                }
            }
        }
    }
}
