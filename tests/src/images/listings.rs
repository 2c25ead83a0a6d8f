//! The index of listings on an image: whatever the crash left of it, operators are told the same.

use std::fmt::Write;

use takt_client::Timestamp;
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::store::{Store, StoreOptions};

use super::recover::{Counts, start};
use super::{Violation, ensure};
use crate::events::Dice;

/// Behind all that was published, in microseconds since 1970.
const NOW_US: i64 = 1_900_000_000_000_000;
/// More jobs than there can be.
const JOBS_MAX: usize = 200;

/// Compares what is listed over the index that the image has with what is listed without one, and
/// over a fresh one.
pub(super) fn check(
    image: &SimDisk,
    options: &StoreOptions,
    dice: &mut Dice,
) -> Result<(), Violation> {
    let fresh = image.crash_image(&mut |_| true);
    for name in fresh.names().iter().filter(|name| name.starts_with("index.")) {
        fresh.remove(name).map_err(|error| Violation::new("D8", error.to_string()))?;
    }
    let used = image.crash_image(&mut |_| true);
    let (expected, found) = (told(&fresh, options, dice)?, told(&used, options, dice)?);
    ensure(found == expected, "D8", || {
        format!("with what the crash left {found} is listed, with a fresh index {expected}")
    })
}

/// What a start on `disk` lists: the same without an index, and with the one that it opens or
/// makes.
pub(super) fn told(
    disk: &SimDisk,
    options: &StoreOptions,
    dice: &mut Dice,
) -> Result<String, Violation> {
    let (mut store, _) = start(disk, options, dice, &mut Counts::default())?;
    let without = answers(&store)?;
    work(&mut store)?;
    let with = answers(&store)?;
    ensure(without == with, "D8", || {
        format!("{without} is listed without an index, {with} with one")
    })?;
    Ok(with)
}

/// All that the index is asked for, as text.
fn answers(store: &Store<()>) -> Result<String, Violation> {
    let view = store.view();
    let failed = |error| Violation::new("D8", format!("a listing fails: {error}"));
    let rows = view.conflict_rows(None, None, usize::MAX).map_err(failed)?;
    let mut text = format!("{rows:?}");
    for partition in view.all_partitions() {
        let last = partition.last_append.as_micros();
        for back in [0, 1, 1_000, 5_000, 50_000, 1_000_000, 20_000_000] {
            let time = Timestamp::from_micros(last - back);
            let offset = view.offset_at(partition.slot, time).map_err(failed)?;
            write!(text, " {}@{back}={offset}", partition.slot).expect("a text takes all");
        }
    }
    Ok(text)
}

/// Does what the background does until there is nothing left.
fn work(store: &mut Store<()>) -> Result<(), Violation> {
    let mut now = NOW_US;
    for _ in 0..JOBS_MAX {
        now += 2_000_000;
        let at = Timestamp::from_micros(now);
        let failed = |what: String| Violation::new("I9", what);
        if let Some(pending) = store.seal().map_err(|error| failed(error.to_string()))? {
            pending.write_and_sync().map_err(|error| failed(error.to_string()))?;
            store.on_synced(pending);
        }
        let Some(job) = store.poll_job(at) else { return Ok(()) };
        let done = job.run();
        let error = done.error();
        ensure(error.is_none(), "I9", || format!("a job fails: {error:?}"))?;
        store.on_job_done(done, at);
    }
    Err(Violation::new("I9", "the jobs do not end"))
}
