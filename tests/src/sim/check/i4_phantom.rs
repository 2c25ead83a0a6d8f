//! I4: nothing is there that nobody sent: every stored record was sent under its sequence, and is
//! byte for byte what was sent. What was refused for ever never appears.

use super::end::End;
use crate::sim::history::{Fate, History, order_key, time_of};

/// Looks up who sent each record of the hub.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    for (plant, topic, partition) in end.mirrors() {
        for record in &partition.records {
            let address =
                format!("{} batch {} record {}", partition.id, record.batch, record.index);
            let sent = history.intent_of(record);
            let Some(id) = sent else {
                let (producer, sequence) = (record.producer, record.sequence);
                violated(format!("{address}: {producer} sent no {} as {sequence}", record.id));
                continue;
            };
            let intent = &history.intents[id as usize];
            let data = history.data(intent.content);
            let is_sent = intent.node == plant
                && intent.topic == topic
                && record.data_hash == Some(xxhash_rust::xxh3::xxh3_128(&data))
                && record.time == Some(time_of(intent.content).as_micros())
                && record.kind == crate::sim::history::KIND
                && record.source == crate::events::SOURCE
                && record.order_key.map(<[u8]>::to_vec)
                    == intent.order.map(|order| order_key(order).as_str().as_bytes().to_vec())
                && record.digest_computed == Some(record.digest);
            if !is_sent {
                violated(format!("{address}: event {id} was sent with other content"));
            }
            if intent.fate == Fate::Refused {
                violated(format!("{address}: event {id} was refused"));
            }
        }
    }
}
