//! Which of several young runs may have a key: one table for all of them, so that a look-up meets one
//! filter and misses the cache once.
//!
//! A place holds 27 bits of a key's hash and the number of a run; a key lies at the place that the upper
//! half of its hash says, or behind it. The job that has written a run adds its keys while look-ups go on:
//! places only fill up, and what a run that is not named yet has there leads nowhere.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// So many runs have a number in a table.
pub(crate) const YOUNG_RUNS_MAX: usize = 31;
/// Keys whose places are touched together.
const AT_ONCE: usize = 128;
/// So many of 16 places are used at most: a key that is not there meets a handful of others.
const USED_OF_16: usize = 12;
const RUN_BITS: u32 = 5;

/// The table of a generation of runs; 5.3 bytes for each key that it has room for.
#[derive(Debug)]
pub(crate) struct YoungTable {
    len: usize,
    /// Made by the job that adds the first keys: the writer has no time for so much memory.
    places: OnceLock<Box<[AtomicU32]>>,
    used: AtomicUsize,
}

impl YoungTable {
    /// With room for so many keys.
    pub(crate) fn with_room(keys: usize) -> Self {
        let len = keys.saturating_mul(16).div_ceil(USED_OF_16).max(16);
        Self { len, places: OnceLock::new(), used: AtomicUsize::new(0) }
    }

    /// Whether so many more keys have room.
    pub(crate) fn has_room(&self, keys: usize) -> bool {
        let room = self.len.saturating_mul(USED_OF_16) / 16;
        self.used.load(Ordering::Relaxed).saturating_add(keys) <= room
    }

    /// Adds the keys of a run by their hashes; best in ascending order. What finds no room is a bug of
    /// the caller, and then no place is free.
    ///
    /// # Panics
    /// If the run's number is out of bounds.
    pub(crate) fn add(&self, run: usize, hashes: impl Iterator<Item = u128>) {
        assert!(run < YOUNG_RUNS_MAX, "a generation is of few runs");
        let free = || std::iter::repeat_with(AtomicU32::default).take(self.len).collect();
        let places = self.places.get_or_init(free);
        let mut added = 0;
        for hash in hashes {
            #[cfg(takt_planted)]
            if hash & 63 == 0 && takt_protocol::planted::is("young_table_forgets") {
                continue;
            }
            let print = print_of(hash) | number(run);
            let mut at = self.home(hash);
            // One thread adds at a time.
            while places[at].load(Ordering::Relaxed) != 0 {
                at = self.behind(at);
            }
            places[at].store(print, Ordering::Relaxed);
            added += 1;
        }
        self.used.fetch_add(added, Ordering::Relaxed);
    }

    /// Gives each of `hashes`, by its index, with each run that may have it.
    pub(crate) fn pass(&self, hashes: &[u128], mut each: impl FnMut(usize, usize)) {
        let Some(places) = self.places.get() else { return };
        let mut base = 0;
        for chunk in hashes.chunks(AT_ONCE) {
            // All are begun before the first is used.
            let mut homes = [(0, 0); AT_ONCE];
            for (home, hash) in homes.iter_mut().zip(chunk) {
                let at = self.home(*hash);
                *home = (at, places[at].load(Ordering::Relaxed));
            }
            for ((index, hash), (mut at, mut place)) in (base..).zip(chunk).zip(homes) {
                let print = print_of(*hash);
                while place != 0 {
                    if place & !mask() == print {
                        each(index, (place & mask()) as usize - 1);
                    }
                    at = self.behind(at);
                    place = places[at].load(Ordering::Relaxed);
                }
            }
            base += chunk.len();
        }
    }

    /// Memory that is allocated, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.get().map_or(0, |places| places.len() * size_of::<AtomicU32>())
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is below the table's length")]
    fn home(&self, hash: u128) -> usize {
        ((u128::from((hash >> 64) as u64) * self.len as u128) >> 64) as usize
    }

    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.len { 0 } else { at + 1 }
    }
}

const fn mask() -> u32 {
    (1 << RUN_BITS) - 1
}

/// The bits of the lower half that are kept, as they lie in a place.
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
const fn print_of(hash: u128) -> u32 {
    (hash as u32) & !mask()
}

/// A run's number, as it lies in a place: 0 stands for a free one.
fn number(run: usize) -> u32 {
    u32::try_from(run + 1).expect("a generation is of few runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())
    }

    fn found(table: &YoungTable, hashes: &[u128]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        table.pass(hashes, |index, run| found.push((index, run)));
        found
    }

    #[test]
    fn each_key_is_found_in_its_runs_and_hardly_any_other() {
        let table = YoungTable::with_room(40_000);
        for run in 0..4 {
            assert!(table.has_room(10_000));
            table.add(run, (0..10_000).map(|key| hash(run as u64 * 9_000 + key)));
        }
        assert!(!table.has_room(1));
        let keys: Vec<u128> = (0..37_000).map(hash).collect();
        let mut there = vec![Vec::new(); keys.len()];
        for (index, run) in found(&table, &keys) {
            there[index].push(run);
        }
        for (key, runs) in there.iter_mut().enumerate() {
            let of = |run: &usize| (run * 9_000..run * 9_000 + 10_000).contains(&key);
            runs.sort_unstable();
            assert_eq!(*runs, (0..4).filter(of).collect::<Vec<_>>(), "key {key}");
        }
        let fresh: Vec<u128> = (1_000_000..1_400_000).map(hash).collect();
        assert!(found(&table, &fresh).len() < 4, "one of 100,000 at most");
    }

    #[test]
    fn the_smallest_table_has_an_end() {
        let table = YoungTable::with_room(0);
        assert!(found(&table, &[hash(1), hash(2)]).is_empty());
        table.add(YOUNG_RUNS_MAX - 1, (0..12).map(hash));
        assert_eq!(found(&table, &[hash(11)]), [(0, YOUNG_RUNS_MAX - 1)]);
        assert!(!table.has_room(4));
        // Places wrap around.
        let table = YoungTable::with_room(12);
        table.add(0, (0..12).map(|key| u128::MAX - (key << 8)));
        let keys: Vec<u128> = (0..12).map(|key| u128::MAX - (key << 8)).collect();
        assert_eq!(found(&table, &keys).len(), 12);
    }
}
