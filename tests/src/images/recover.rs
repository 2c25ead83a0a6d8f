//! What a start makes of an image, and of what its own crashes leave.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use takt_client::Timestamp;
use takt_reader::{Unpacked, read_unpacked};
use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_storage::store::{self, OpenReport, Store, StoreOptions};

use super::book::Page;
use super::choices::{below, by_chance};
use super::{Violation, check, ensure, files, life, listings};
use crate::compare;
use crate::events::Dice;

/// How deep crashes within starts go.
const DEPTH_MAX: u32 = 3;
/// When a start takes place, in microseconds since 1970: behind all that was published.
const NOW_US: i64 = 1_900_000_000_000_000;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Images that were opened, those of crashes within starts among them.
    pub images: u64,
    /// Starts.
    pub recoveries: u64,
    /// Crashes within a start, by depth.
    pub nested: [u64; DEPTH_MAX as usize],
    /// Images with a tail that was cut off.
    pub cut: u64,
    /// Images with commits above what was proved durable.
    pub copied: u64,
    /// Images with runs, and with runs that were made again.
    pub runs: u64,
    /// Images with side files.
    pub sides: u64,
    /// Images whose manifest names a dropped file.
    pub dropped: u64,
    /// Images whose manifest names a pack.
    pub packs: u64,
    /// Images with an index of listings.
    pub indexes: u64,
    /// Images without a journal: it had not been made yet.
    pub empty: u64,
    /// Images on which the node lived on.
    pub lives: u64,
    /// Images whose listings were compared with those of a fresh index.
    pub listings: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.recoveries += other.recoveries;
        for (sum, count) in self.nested.iter_mut().zip(other.nested) {
            *sum += count;
        }
        self.cut += other.cut;
        self.copied += other.copied;
        self.runs += other.runs;
        self.sides += other.sides;
        self.dropped += other.dropped;
        self.packs += other.packs;
        self.indexes += other.indexes;
        self.empty += other.empty;
        self.lives += other.lives;
        self.listings += other.listings;
    }
}

/// Starts a node on `image` and checks all that must hold; sampled by `dice`, lets the start
/// itself crash, the node live on, and its listings be made again.
///
/// # Errors
/// The first that does not hold.
pub fn check_image(
    image: &SimDisk,
    options: &StoreOptions,
    page: Page<'_>,
    dice: &mut Dice,
    counts: &mut Counts,
) -> Result<(), Violation> {
    counts.images += 1;
    let before = files(image);
    if !before.keys().any(|name| is_journal(name)) {
        counts.empty += 1;
        let acknowledged = page.book.topics.iter().any(|topic| page.must_be(topic));
        ensure(!acknowledged, "I1", || "there is no journal any more".to_owned())?;
        return start(image, options, dice, counts).map(drop);
    }
    let unpacked = Unpacked::of(&before);
    let found = read_unpacked(&before, &unpacked)
        .map_err(|error| Violation::new("I1", format!("the image does not read: {error}")))?;
    check::check(page, &found)?;
    takt_reader::check_runs(&before, &found)
        .map_err(|error| Violation::new("I10", format!("beside the journal: {error}")))?;
    counts.runs += u64::from(found.manifest.files.values().any(|file| file.run.is_some()));
    counts.sides += u64::from(!found.manifest.sides.is_empty());
    counts.dropped += u64::from(found.manifest.files.values().any(|file| file.slots.is_empty()));
    counts.packs += u64::from(!found.manifest.packs.is_empty());
    counts.indexes += u64::from(image.inode("index.redb").is_some());

    let untouched = image.crash_image(&mut |_| true);
    image.record();
    let (store, report) = start(image, options, dice, counts)?;
    let moments = image.recorded();
    counts.cut += u64::from(report.cut.is_some());
    counts.copied += u64::from(report.copied_bytes > 0);
    ensure(found.durable_upto == report.synced_upto.get(), "I7", || {
        format!("{} was durable, {} is said to be", found.durable_upto, report.synced_upto)
    })?;
    let cut = report.cut.as_ref().map_or(0, |cut| cut.len_bytes);
    ensure(found.cut == cut, "I1", || format!("{} bytes are to be cut, {cut} were", found.cut))?;
    same(&found, &store)?;
    let digest = store.state_digest();
    drop(store);

    let after = files(image);
    let unpacked = Unpacked::of(&after);
    let again = read_unpacked(&after, &unpacked)
        .map_err(|error| Violation::new("I1", format!("after the start: {error}")))?;
    let (twice, _) = start(&image.crash_image(&mut |_| false), options, dice, counts)?;
    same(&again, &twice)?;
    same_digest(digest, &twice)?;
    drop(twice);

    if dice.below(4) == 0 {
        crash_within(moments, options, digest, 0, dice, counts)?;
    }
    match dice.below(32) {
        0 => {
            counts.listings += 1;
            listings::check(&untouched, options, dice)?;
        }
        1 | 2 => {
            counts.lives += 1;
            life::check(image, options, page, dice)?;
        }
        _ => {}
    }
    Ok(())
}

/// As [`check_image`], of what a start has tidied up. Where a sync of the directory has failed and a
/// node went on, a file that a start had deleted can come back behind files that are dropped by
/// then: the store passes over it, the independent reader does not.
///
/// # Errors
/// The first that does not hold.
pub fn check_started(
    image: &SimDisk,
    options: &StoreOptions,
    page: Page<'_>,
    dice: &mut Dice,
) -> Result<(), Violation> {
    let (store, _) = start(image, options, dice, &mut Counts::default())?;
    let after = files(image);
    let unpacked = Unpacked::of(&after);
    let contents = read_unpacked(&after, &unpacked)
        .map_err(|error| Violation::new("I1", format!("after the start: {error}")))?;
    check::check(page, &contents)?;
    same(&contents, &store)
}

/// Whether a file is the journal's, and no attempt at one.
fn is_journal(name: &str) -> bool {
    name.strip_prefix("journal-").is_some_and(|rest| rest.strip_suffix(".log").is_some())
}

/// Cuts the power within a start that was recorded, and within the start behind it.
fn crash_within(
    moments: BTreeMap<u64, SimDisk>,
    options: &StoreOptions,
    digest: u128,
    depth: u32,
    dice: &mut Dice,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let at = below(dice, moments.len());
    let Some(moment) = moments.into_values().nth(at) else { return Ok(()) };
    let image = by_chance(&moment, dice);
    counts.images += 1;
    counts.nested[depth as usize] += 1;
    image.record();
    let (store, _) = start(&image, options, dice, counts)?;
    same_digest(digest, &store)?;
    drop(store);
    if depth + 1 < DEPTH_MAX {
        crash_within(image.recorded(), options, digest, depth + 1, dice, counts)?;
    } else {
        let after = files(&image);
        let unpacked = Unpacked::of(&after);
        let contents = read_unpacked(&after, &unpacked).map_err(|error| {
            Violation::new("I1", format!("after crashes within starts: {error}"))
        })?;
        let (store, _) = start(&image.crash_image(&mut |_| false), options, dice, counts)?;
        same(&contents, &store)?;
        same_digest(digest, &store)?;
    }
    Ok(())
}

/// Opens the store of an image, in which nothing is damaged.
pub(super) fn start(
    image: &SimDisk,
    options: &StoreOptions,
    dice: &mut Dice,
    counts: &mut Counts,
) -> Result<(Store<()>, OpenReport), Violation> {
    counts.recoveries += 1;
    let disk: Arc<dyn Disk> = Arc::new(image.clone());
    store::check(&disk)
        .map_err(|error| Violation::new("I10", format!("damage that is none: {error}")))?;
    let opened = Store::open(disk, options.clone(), dice, Timestamp::from_micros(NOW_US));
    let (mut store, report) =
        opened.map_err(|error| Violation::new("I1", format!("it does not start: {error}")))?;
    store.set_uplink_needs(Some(BTreeMap::new()));
    Ok((store, report))
}

fn same(contents: &takt_reader::Contents<'_>, store: &Store<()>) -> Result<(), Violation> {
    compare::same(contents, store.view()).map_err(|what| Violation::new("I5", what))
}

fn same_digest(digest: u128, store: &Store<()>) -> Result<(), Violation> {
    let found = store.state_digest();
    ensure(found == digest, "D3", || {
        format!("starting again ends in state {found:032x}, not in {digest:032x}")
    })
}

/// The names of an image, for a report.
pub(super) fn names(image: &SimDisk) -> BTreeSet<String> {
    image.names().into_iter().collect()
}
