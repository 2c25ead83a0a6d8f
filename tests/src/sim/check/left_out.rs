//! Compaction: the hub has all. What a plant has left out had an order key, and a later event of that order
//! is there; so the latest of each order is, and what has none.

use std::collections::{BTreeMap, BTreeSet};

use takt_reader::{Partition, Record};

use super::end::{End, visible};
use crate::sim::history::{Fate, History, order_key};

/// Looks up what plants and hub have left out, and what readers have missed.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    let mut orders: BTreeMap<(usize, usize, u16), BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
    for intent in &history.intents {
        if let Fate::Acknowledged { place, .. } = intent.fate {
            let order = intent.order.map(|order| order_key(order).as_str().as_bytes().to_vec());
            let at = (intent.node, intent.topic, place.partition.get());
            orders.entry(at).or_default().insert(place.offset.get(), order.unwrap_or_default());
        }
    }
    for (plant, topic, mirror) in end.mirrors() {
        let number = mirror.id.number;
        let known = orders.remove(&(plant, topic, number)).unwrap_or_default();
        let own = end.own(plant, topic, number);
        if !mirror.left_out.is_empty() {
            let gone = mirror.left_out.len();
            violated(format!("{}: {gone} were left out before the hub had them", mirror.id));
        }
        for partition in own.into_iter().chain([mirror]) {
            let latest = latest(&partition.records);
            let at_hub = visible(mirror);
            let gone = partition.left_out.iter().filter_map(|gone| gone.offset);
            let missed =
                history.missed.iter().filter(|(id, _)| id.to_string() == mirror.id.to_string());
            let missed = missed.flat_map(|(_, offsets)| offsets).copied();
            for offset in gone.chain(missed).filter(|offset| *offset >= partition.start.offset) {
                let of = at_hub.get(&offset).and_then(|record| record.order_key);
                let Some(order) = of.or_else(|| known.get(&offset).map(Vec::as_slice)) else {
                    // Nobody knows what it was.
                    continue;
                };
                if latest.get(order).is_none_or(|latest| *latest <= offset) {
                    let id = mirror.id;
                    violated(format!("{id}: {offset} is left out, the latest of its order"));
                }
            }
        }
    }
}

/// The last offset of each order.
fn latest<'a>(records: &[Record<'a>]) -> BTreeMap<&'a [u8], u64> {
    let ordered = records.iter().filter_map(|record| record.order_key.zip(record.offset));
    ordered.collect()
}

/// The offsets that compaction has left out.
pub fn left_out(partition: &Partition<'_>) -> BTreeSet<u64> {
    partition.left_out.iter().filter_map(|gone| gone.offset).collect()
}
