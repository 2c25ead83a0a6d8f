//! The orders that a run lists: a row for each event with an order key.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    contents::Partition,
    input::{Input, Why, ensure, wide},
    runs::Placed,
    section::SECTIONS,
};

/// The order key's hash of each event, by slot and offset. The hashes are under the node's secret.
pub(crate) type Hashes = BTreeMap<(u32, u64), u128>;

pub(crate) fn read(rows: &[u8]) -> Result<Hashes, Why> {
    let mut hashes = Hashes::new();
    for row in SECTIONS[3].rows(rows) {
        let mut input = Input::new(row);
        let hash = input.u128()?;
        let twice = hashes.insert((input.u32()?, input.u64()?), hash).is_some();
        ensure(!twice, "an event is of two orders")?;
    }
    Ok(hashes)
}

/// Whether a run of the partition lists the events that compaction has left out of it: that of a mirror
/// was made when they were gone.
fn is_listed(partition: &Partition<'_>) -> bool {
    partition.mirror_of.is_none()
}

/// The rows are those of the events of these batches.
pub(crate) fn check(hashes: &Hashes, batches: &[Placed<'_>]) -> Result<(), Why> {
    let mut events = BTreeSet::new();
    for placed in batches {
        let slot = placed.partition.slot;
        let ordered = placed.records().iter().filter(|record| record.order_key.is_some());
        events.extend(ordered.filter_map(|record| Some((slot, record.offset?))));
        let gone = placed.left_out().iter().filter(|_| is_listed(placed.partition));
        events.extend(gone.filter_map(|gone| Some((slot, gone.offset?))));
    }
    ensure(events.iter().eq(hashes.keys()), "its orders are not the journal's")
}

/// As many order keys begin as a run says. One that began again counts again; a mirrored one may count.
pub(crate) fn check_new(said: u64, hashes: &Hashes, batches: &[Placed<'_>]) -> Result<(), Why> {
    let (mut surely, mut most) = (BTreeSet::<u128>::new(), 0);
    for placed in batches {
        let partition = placed.partition;
        let of_records = placed.records().iter().filter(|record| record.order_key.is_some());
        let of_records =
            of_records.map(|record| (record.offset, record.order_sequence, record.restarted));
        let gone = placed.left_out().iter().filter(|_| is_listed(partition));
        let gone = gone.map(|gone| (gone.offset, gone.order_sequence, gone.restarted));
        for (offset, sequence, restarted) in of_records.chain(gone) {
            let Some(offset) = offset.filter(|_| sequence == Some(1)) else { continue };
            most += 1;
            if partition.mirror_of.is_none() && !restarted {
                surely.extend(hashes.get(&(partition.slot, offset)));
            }
        }
    }
    let least = wide(surely.len());
    ensure((least..=most).contains(&said), "its new orders are not the journal's")
}
