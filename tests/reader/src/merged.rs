//! Merged runs: that each holds what the runs that it covers hold, as far as those are still there.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crate::{
    contents::Contents,
    input::{Input, Why, ensure},
    manifest::{Holder, Run},
    run_file::RunFile,
    section::SECTIONS,
};

/// The length of what the rows of the ledger and of the heads are told apart by, at their front, and
/// where one more byte of it is.
const KEYS: [(u64, Option<usize>); 2] = [(24, Some(44)), (16, None)];

/// The runs below the end of the merged ones that are there and whole: those that the manifest
/// names, and those that it once named.
pub(crate) struct Holders<'a> {
    /// The last end first; of those with one end, the one that covers the most first.
    ranges: Vec<&'a Holder>,
    /// By name.
    runs: BTreeMap<&'a str, RunFile<'a>>,
}

impl<'a> Holders<'a> {
    pub(crate) fn of(files: &'a BTreeMap<String, Vec<u8>>, contents: &'a Contents<'_>) -> Self {
        let end = contents.manifest.merged.values().map(|run| run.end).max().unwrap_or(0);
        let ranges = contents.holders.iter().filter(|holder| holder.end <= end);
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_by_key(|holder| (Reverse(holder.end), holder.start));
        let named = ranges.iter().filter_map(|holder| holder.run.as_ref());
        let runs = named.filter_map(|(name, run)| {
            let run = RunFile::read(files.get(name)?, &contents.journal, run);
            run.ok().map(|run| (name.as_str(), run))
        });
        Self { runs: runs.collect(), ranges }
    }

    /// Checks a merged run against all that it covers.
    pub(crate) fn check(&self, run: &Run, merged: &RunFile<'_>) -> Result<(), Why> {
        let new_orders = merged.new_orders.ok_or(Why("a merged run is of version 1"))?;
        let covered = self.within(run);
        for (section, key) in KEYS.into_iter().enumerate() {
            covered.check(section, key, merged)?;
        }
        let known = covered.runs.iter().map(|(run, _)| run.new_orders);
        let least = known.clone().flatten().max().unwrap_or(0);
        // A key that began again is new twice.
        let most = known.sum::<Option<u64>>().filter(|_| covered.whole).unwrap_or(u64::MAX);
        ensure((least..=most).contains(&new_orders), "its new orders are not what it covers")
    }

    /// What is there of the range of a merged run, without that one.
    fn within(&self, run: &Run) -> Covered<'_> {
        let own = run.merged_name();
        let mut covered = Covered { runs: Vec::new(), whole: true };
        let mut upto = run.end;
        for holder in &self.ranges {
            if holder.start < run.start || holder.end > upto {
                continue;
            }
            let found = match &holder.run {
                Some((name, _)) if *name == own => continue,
                Some((name, _)) => match self.runs.get(name.as_str()) {
                    Some(found) => Some(found),
                    None => continue,
                },
                None => None,
            };
            covered.whole &= holder.end == upto;
            covered.runs.extend(found.map(|found| (found, covered.whole)));
            upto = holder.start;
        }
        covered.whole &= upto == run.start;
        covered
    }
}

/// Runs that do not overlap, the newest first.
struct Covered<'a> {
    /// Each with whether all that is newer is there.
    runs: Vec<(&'a RunFile<'a>, bool)>,
    /// They are all that there ever was.
    whole: bool,
}

impl Covered<'_> {
    /// The newest row of each key is the merged one.
    fn check(
        &self,
        section: usize,
        key: (u64, Option<usize>),
        merged: &RunFile<'_>,
    ) -> Result<(), Why> {
        let mut newest: HashMap<Key<'_>, (&[u8], bool)> = HashMap::new();
        for (run, follows) in &self.runs {
            for (key, row) in rows(run, section, key)? {
                newest.entry(key).or_insert((row, *follows));
            }
        }
        for (key, row) in rows(merged, section, key)? {
            match newest.remove(&key) {
                Some((there, true)) => {
                    ensure(row == there, "a merged key is not what the newest file says")?;
                }
                Some((_, false)) => {}
                None => ensure(!self.whole, "it has a key that no run that it covers has")?,
            }
        }
        ensure(newest.is_empty(), "it lacks a key of a run that it covers")
    }
}

type Key<'a> = (&'a [u8], Option<u8>);
/// A row behind its key.
type Keyed<'a> = (Key<'a>, &'a [u8]);

/// The rows of a section.
fn rows<'a>(
    run: &RunFile<'a>,
    section: usize,
    (front, more): (u64, Option<usize>),
) -> Result<Vec<Keyed<'a>>, Why> {
    let (layout, bytes) = SECTIONS
        .get(section)
        .zip(run.sections.get(section).copied())
        .ok_or(Why("there is no such section"))?;
    let keyed = layout.rows(bytes).map(|row| {
        let more = more.and_then(|at| row.get(at).copied());
        Ok(((Input::new(row).take(front)?, more), row))
    });
    keyed.collect()
}
