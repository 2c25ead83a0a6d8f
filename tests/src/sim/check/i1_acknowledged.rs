//! I1: what was acknowledged is there, where the receipt said, and as it was sent: at the plant as
//! far as retention kept it, and at the hub in any case. What compaction has left out, `left_out` looks at.

use std::collections::BTreeMap;

use takt_protocol::batch::Place;
use takt_protocol::words::OrderSequence;
use takt_reader::{Record, Verdict};

use super::end::{End, visible};
use super::left_out::left_out;
use crate::sim::history::{Answered, Fate, History, Intent, order_key, time_of};
use crate::sim::identity::Identity;

/// Visible records by plant, topic and partition, then offset.
type Index<'p, 'a> = BTreeMap<(usize, usize, u16), BTreeMap<u64, &'p Record<'a>>>;

/// Looks every receipt up.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    let (mut hub_left_out, mut plant_left_out) = (BTreeMap::new(), BTreeMap::new());
    let mut at_hub = Index::new();
    for (plant, topic, partition) in end.mirrors() {
        at_hub.insert((plant, topic, partition.id.number), visible(partition));
        hub_left_out.insert((plant, topic, partition.id.number), left_out(partition));
    }
    let mut at_plant = Index::new();
    for &(plant, topic, number) in at_hub.keys() {
        if let Some(own) = end.own(plant, topic, number) {
            at_plant.insert((plant, topic, number), visible(own));
            plant_left_out.insert((plant, topic, number), left_out(own));
        }
    }
    for (id, intent) in history.intents.iter().enumerate() {
        let Fate::Acknowledged { answer, place, order_sequence, .. } = intent.fate else {
            continue;
        };
        let key = (intent.node, intent.topic, place.partition.get());
        let start = end.own(key.0, key.1, key.2).map_or(0, |own| own.start.offset);
        let found = [
            ("the hub", at_hub.get(&key).and_then(|all| all.get(&place.offset.get()))),
            ("its plant", at_plant.get(&key).and_then(|all| all.get(&place.offset.get()))),
        ];
        for (whose, record) in found {
            let Some(record) = record else {
                let gone = if whose == "the hub" { &hub_left_out } else { &plant_left_out };
                if gone.get(&key).is_some_and(|gone| gone.contains(&place.offset.get())) {
                    continue;
                }
                if whose == "the hub" || place.offset.get() >= start {
                    violated(format!("event {id}, {answer:?} at {place:?}, is not at {whose}"));
                }
                continue;
            };
            let stored = Identity::of(record);
            let same_content = record.data_len
                == u64::from(history.contents[intent.content as usize])
                && record.time == Some(time_of(intent.content).as_micros())
                && record.order_key.map(<[u8]>::to_vec)
                    == intent.order.map(|order| order_key(order).as_str().as_bytes().to_vec());
            let shares_key = stored.is_some_and(|stored| stored.shares(intent.identity));
            let as_promised = match answer {
                Answered::Appended => stored == Some(intent.identity) && same_content,
                Answered::Duplicate => shares_key && same_content,
                Answered::Conflict => {
                    shares_key && (!same_content || names_another(&at_hub, intent, place))
                }
            };
            let same_order = answer == Answered::Conflict
                || record.order_sequence == order_sequence.map(OrderSequence::get);
            if !as_promised || !same_order || record.verdict != Verdict::Visible {
                violated(format!("event {id}, {answer:?} at {place:?}: {whose} has {}", record.id));
            }
        }
    }
}

/// Whether a key of the event is one of another visible record than the one at `place`, in any
/// partition of its topic.
fn names_another(visible: &Index<'_, '_>, intent: &Intent, place: Place) -> bool {
    let topic = (intent.node, intent.topic);
    let partitions = visible.range((topic.0, topic.1, 0)..=(topic.0, topic.1, u16::MAX));
    let others = partitions.flat_map(|((_, _, number), records)| {
        let of_place = *number == place.partition.get();
        let at = of_place.then_some(place.offset.get());
        records.iter().filter(move |(offset, _)| Some(**offset) != at)
    });
    let mut others = others.filter_map(|(_, record)| Identity::of(record));
    others.any(|other| other.shares(intent.identity))
}
