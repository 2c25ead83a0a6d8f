//! I7: nothing is delivered or forwarded before it is durable. What was not would be gone after a
//! crash, and the hub or a reader would be ahead of the plant: the hub holds nothing that its plant
//! does not have, and no reader has seen an offset that is not there.

use super::end::End;
use crate::sim::history::History;

/// Compares how far each got.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    for (plant, topic, mirror) in end.mirrors() {
        let Some(own) = end.own(plant, topic, mirror.id.number) else {
            violated(format!("{}: the hub has it, its plant does not", mirror.id));
            continue;
        };
        if mirror.end.batch > own.end.batch || mirror.mirror_of != Some(end.nodes[plant].journal) {
            violated(format!("{}: the hub is ahead of its plant", mirror.id));
        }
        let id = mirror.id.to_string();
        let seen = history.seen.iter().find(|(known, _)| known.to_string() == id);
        let last = seen.and_then(|(_, seen)| seen.last_key_value()).map(|(last, _)| *last);
        if last.is_some_and(|last| last >= own.end.offset) {
            violated(format!("{id} ends at {}, but {last:?} was read", own.end.offset));
        }
    }
}
