//! I5: an offset of a journal's partition means one content for ever: what anybody ever read there
//! is what is there at the end. That offsets are dense, the reader has checked.

use super::end::{End, visible};
use super::left_out::left_out;
use crate::sim::history::History;

/// Compares what was read with what is there.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    for (_, _, partition) in end.mirrors() {
        let id = partition.id.to_string();
        let Some((_, seen)) = history.seen.iter().find(|(known, _)| known.to_string() == id) else {
            continue;
        };
        let records = visible(partition);
        let gone = left_out(partition);
        for (offset, seen) in seen {
            match records.get(offset) {
                Some(record) if record.digest == seen.digest => {}
                Some(record) => {
                    let (then, now) = (seen.digest, record.digest);
                    violated(format!("{id} at {offset} was read as {then:x} and is {now:x}"));
                }
                None if gone.contains(offset) => {}
                None => violated(format!("{id} at {offset} was read and is not there")),
            }
        }
    }
}
