//! I8: no plant reads or writes another's: a plant holds its own partitions only, and each
//! partition holds only what clients of its plant have published.

use super::end::End;
use crate::sim::history::History;

/// Looks at who is where.
pub fn check(end: &End<'_>, _history: &History, violated: &mut dyn FnMut(String)) {
    for (number, name) in end.plants.iter().enumerate() {
        for partition in &end.nodes[number].partitions {
            if partition.id.origin != name {
                violated(format!("{name} holds {}", partition.id));
            }
        }
    }
    for (plant, _, partition) in end.mirrors() {
        let of_plant = format!("/plant/{}/", end.plants[plant]);
        for batch in &partition.batches {
            if !batch.producer.contains(&of_plant) {
                violated(format!("{}: {} has published there", partition.id, batch.producer));
            }
        }
    }
}
