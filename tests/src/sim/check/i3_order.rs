//! I3: the order of an order key is the order of its submission, and the same everywhere: a plant's
//! log is as its adapters submitted, and the hub's log is the plant's, byte for byte. That consumers
//! see the log's order is checked as they read.

use std::collections::{BTreeMap, BTreeSet};

use takt_reader::{Batch, Edge};

use super::end::End;
use crate::sim::history::{Fate, History};

/// Walks every order at the hub, and compares each plant's batches with the hub's.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    for (plant, topic, mirror) in end.mirrors() {
        if let Some(own) = end.own(plant, topic, mirror.id.number) {
            let from = usize::try_from(own.start.batch).expect("an index");
            let there = &mirror.batches[from.min(mirror.batches.len())..];
            let all = own.batches.len() == there.len();
            let same = all && own.batches.iter().zip(there).all(|(here, there)| same(here, there));
            let ends = |edge: &Edge| (edge.batch, edge.offset, edge.chain);
            if !same || ends(&own.end) != ends(&mirror.end) {
                violated(format!("{}: the hub does not hold what its plant holds", mirror.id));
            }
        }
        let mut orders = BTreeMap::<&[u8], Vec<u32>>::new();
        // Answered as repeats once, and as new when the horizon had passed the first: they stand later.
        let mut masked = BTreeSet::new();
        for record in &mirror.records {
            let Some(key) = record.order_key else { continue };
            let Some(intent) = history.intent_of(record) else { continue };
            if record.offset.is_none() {
                masked.insert(intent);
            } else if !history.forgets || !masked.contains(&intent) {
                orders.entry(key).or_default().push(intent);
            }
        }
        if history.forgets {
            // What the horizon has passed may stand there again.
            for intents in orders.values_mut() {
                let mut known = BTreeSet::new();
                intents.retain(|intent| known.insert(*intent));
            }
        }
        for (key, intents) in &orders {
            check_order(history, intents, &mut |what| {
                violated(format!("{} order {}: {what}", mirror.id, String::from_utf8_lossy(key)));
            });
        }
    }
}

/// Either may be compacted, and then the chain still tells what it was.
fn same(here: &Batch<'_>, there: &Batch<'_>) -> bool {
    let whole = |batch: &Batch<'_>| batch.kept == batch.records;
    (here.number, here.chain) == (there.number, there.chain)
        && (!whole(here) || !whole(there) || here.bytes == there.bytes)
}

fn check_order(history: &History, intents: &[u32], violated: &mut dyn FnMut(String)) {
    // An outbox is submitted, and again after each death of its adapter, in the order of making.
    let mut last = BTreeMap::new();
    for id in intents {
        let intent = &history.intents[*id as usize];
        if !intent.beside
            && let Some(before) = last.insert(intent.adapter, *id)
            && before >= *id
        {
            let adapter = intent.adapter;
            violated(format!("adapter {adapter} submitted {id} before {before}"));
        }
    }
    // In it or beside it, nothing stands behind what was not submitted before its own last time.
    let mut latest = BTreeMap::new();
    for id in intents {
        let intent = &history.intents[*id as usize];
        let (Some(first), Some(again)) = (intent.sent, intent.sent_last) else { continue };
        let (before, since) = latest.entry(intent.adapter).or_insert((*id, first));
        if again < *since {
            let adapter = intent.adapter;
            violated(format!("adapter {adapter} had submitted {id}, and then {before}"));
        }
        if first > *since {
            (*before, *since) = (*id, first);
        }
    }
    // What was acknowledged before another was submitted stands before it.
    let mut earliest_answer = u64::MAX;
    for id in intents.iter().rev() {
        let intent = &history.intents[*id as usize];
        if intent.sent.is_some_and(|sent| sent > earliest_answer) {
            violated(format!("{id} was submitted after one behind it was acknowledged"));
        }
        if let Fate::Acknowledged { at, .. } = intent.fate {
            earliest_answer = earliest_answer.min(at);
        }
    }
}
