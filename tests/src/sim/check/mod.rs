//! The checker: what the end must look like, given what happened. One file for each invariant.
//!
//! The end is read twice: through the API while the nodes run, and from the raw files, once they
//! have stopped, by a reader that shares no code with Takt. The API must serve, byte for byte, what
//! the files hold; the invariants are checked on what the files hold.

mod end;
mod i1_acknowledged;
mod i2_once;
mod i3_order;
mod i4_phantom;
mod i5_offsets;
mod i6_cursors;
mod i7_durable;
mod i8_plants;
mod left_out;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use takt_protocol::batch::StoredBatch;
use takt_reader::Partition;

use super::faults::Dropping;
use super::world::World;

pub use end::End;

/// The batches that the nodes serve, by node and partition, kept for the comparison with their files.
pub type Served = BTreeMap<(String, String), BTreeMap<u64, StoredBatch>>;

/// Reads every node through the API.
pub fn api(world: &mut World) {
    let mut served = Served::new();
    for node in &world.nodes {
        let Some(up) = &node.up else { continue };
        let view = up.writer.view();
        for partition in view.all_partitions() {
            let mut there = BTreeMap::new();
            let mut next = partition.start_batch;
            while next < partition.end_batch {
                match view.read_from_batch(partition.slot, next, 1 << 20) {
                    Ok(batches) if !batches.is_empty() => {
                        for batch in batches {
                            next = batch.header().batch_number.advance(1);
                            there.insert(batch.header().batch_number.get(), batch);
                        }
                    }
                    read => {
                        let what = format!("{} at {}: {read:?}", node.name, partition.id);
                        world.history.violations.push(("I1", what));
                        return;
                    }
                }
            }
            served.insert((node.name.to_string(), partition.id.to_string()), there);
        }
    }
    world.served = served;
}

/// Reads the files of every node, and checks.
pub fn raw(world: &mut World) {
    world.history.close();
    let files: Vec<_> = world.nodes.iter().map(|node| node.disk.files()).collect();
    let unpacked: Vec<_> = files.iter().map(takt_reader::Unpacked::of).collect();
    let mut nodes = Vec::new();
    for ((node, files), unpacked) in world.nodes.iter().zip(&files).zip(&unpacked) {
        let contents = match takt_reader::read_unpacked(files, unpacked) {
            Ok(contents) => contents,
            Err(error) => {
                let what = format!("{}: the files do not read: {error}", node.name);
                world.history.violations.push(("I1", what));
                return;
            }
        };
        if let Err(error) = takt_reader::check_runs(files, &contents) {
            let what = format!("{}: the runs do not read: {error}", node.name);
            world.history.violations.push(("I10", what));
        }
        if contents.manifest.keys_from > 0 {
            world.drops.count(Dropping::Horizon);
        }
        if contents.partitions.iter().any(|partition| !partition.left_out.is_empty()) {
            world.drops.count(Dropping::Compacted);
        }
        for partition in &contents.partitions {
            let served = world.served.get(&(node.name.to_string(), partition.id.to_string()));
            // Retention may have dropped the oldest since.
            if !served.is_some_and(|served| is_served(partition, served)) {
                let what = format!("{}: {} is served other than stored", node.name, partition.id);
                world.history.violations.push(("I5", what));
            }
        }
        nodes.push(contents);
    }
    let plants: Vec<String> =
        world.nodes[..world.plan.plants].iter().map(|node| node.name.to_string()).collect();
    let horizon_us = world.plan.horizon_us();
    let end = End { plants, topics: world.plan.topics, horizon_us, nodes };
    let found = all(&end, &world.history);
    world.history.violations.extend(found);
}

/// Whether all batches that are stored are served so. What is in memory is served whole, also where a
/// pack has compacted it.
fn is_served(partition: &Partition<'_>, served: &BTreeMap<u64, StoredBatch>) -> bool {
    partition.batches.iter().all(|batch| {
        served.get(&batch.number).is_some_and(|served| {
            let same = || served.pieces().flatten().eq(batch.bytes);
            let compacted = batch.kept < batch.records && served.kept().is_none();
            if compacted { *served.header().chain.as_bytes() == batch.chain } else { same() }
        })
    })
}

/// Every invariant, on a world that has come to rest.
pub fn all(end: &End<'_>, history: &super::history::History) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    i1_acknowledged::check(end, history, &mut |what| found.push(("I1", what)));
    i2_once::check(end, history, &mut |what| found.push(("I2", what)));
    i3_order::check(end, history, &mut |what| found.push(("I3", what)));
    i4_phantom::check(end, history, &mut |what| found.push(("I4", what)));
    i5_offsets::check(end, history, &mut |what| found.push(("I5", what)));
    i6_cursors::check(end, history, &mut |what| found.push(("I6", what)));
    i7_durable::check(end, history, &mut |what| found.push(("I7", what)));
    i8_plants::check(end, history, &mut |what| found.push(("I8", what)));
    left_out::check(end, history, &mut |what| found.push(("I1", what)));
    found.truncate(20);
    found
}
