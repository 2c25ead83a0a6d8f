//! How long journal files are.

use super::*;

/// What is made next is as long as it took, so that no disk is wasted on small events; and longer again
/// once they are large.
#[test]
fn a_file_with_many_keys_is_left_early_and_the_next_ones_are_shorter() {
    let mut options = StoreOptions { file_keys_max: 100, ..options("plant") };
    options.journal.file_bytes = 256 << 10;
    let mut world = World::with_topic_and(options);
    let mut first = 1;
    let mut publish = |world: &mut World, batches: u64, data: &str| {
        for _ in 0..batches {
            let events: Vec<Event> =
                (first..first + 10).map(|n| event(&format!("e{n}"), "", data)).collect();
            receipt(world.publish(1, first, &events));
            first += 10;
        }
        world.settle();
    };
    publish(&mut world, 100, "");
    let files = world.store.journal.files();
    assert!(files.len() >= 9, "1,000 keys are in {} files", files.len());
    // The first two were made when nothing was known.
    for file in &files[3..] {
        assert!(file.len_bytes <= 80 << 10, "a next file has {} bytes", file.len_bytes);
    }
    for file in &world.store.state.control.manifest.files {
        let keys = file.1.run.map_or(0, |run| run.counts.ledger);
        assert!(keys <= 110, "a run has {keys} keys");
    }
    world.restart();
    publish(&mut world, 90, &"d".repeat(900));
    let files = world.store.journal.files();
    let newest = files[files.len() - 2].len_bytes;
    assert!(newest > 100 << 10, "the next files have {newest} bytes");
}
