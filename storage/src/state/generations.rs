//! Generations of young runs: those of the last journal files, which share one table instead of a filter
//! each, until they are merged.

use std::sync::Arc;

use crate::journal::Position;
use crate::runs::{KeyRun, RunInfo, YOUNG_RUNS_MAX, YoungTable};

/// Where the keys of a run go that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct YoungPlace {
    pub(crate) table: Arc<YoungTable>,
    pub(crate) number: usize,
}

/// Runs that share a table.
#[derive(Debug)]
pub(crate) struct Generation {
    table: Arc<YoungTable>,
    /// Which part of the horizon all of them are of.
    window: i64,
    /// The next number; of those before, so many are of runs that are not named yet.
    next: usize,
    unnamed: usize,
    runs_max: usize,
    /// A part of it is merged or forgotten: it takes no more.
    ended: bool,
    /// Those that are named, by number, oldest first.
    runs: Vec<(usize, Arc<KeyRun>)>,
}

impl Generation {
    fn is_full(&self) -> bool {
        self.ended || self.next == self.runs_max
    }

    fn takes(&self, keys: usize, window: i64) -> bool {
        !self.is_full() && self.window == window && self.table.has_room(keys)
    }

    pub(crate) fn table(&self) -> &YoungTable {
        &self.table
    }

    /// The run with this number, if it is named.
    pub(crate) fn run(&self, number: usize) -> Option<&Arc<KeyRun>> {
        self.runs.iter().find(|(known, _)| *known == number).map(|(_, run)| run)
    }
}

/// The generations, oldest first; the last one may take more.
#[derive(Debug, Default)]
pub(crate) struct Generations(Vec<Generation>);

impl Generations {
    /// Whether a run with so many keys begins a new generation.
    pub(crate) fn begins(&self, keys: usize, window: i64) -> bool {
        !self.0.last().is_some_and(|last| last.takes(keys, window))
    }

    /// A place for a run with so many keys, in a generation of `runs_max` runs of its size.
    pub(crate) fn place(&mut self, keys: usize, window: i64, runs_max: usize) -> YoungPlace {
        let runs_max = runs_max.min(YOUNG_RUNS_MAX);
        if self.begins(keys, window) {
            // What nothing was written into is met by no look-up.
            self.0.retain(|of| !of.runs.is_empty() || of.unnamed > 0);
            let table = Arc::new(YoungTable::with_room(keys.saturating_mul(runs_max)));
            self.0.push(Generation {
                table,
                window,
                next: 0,
                unnamed: 0,
                runs_max,
                ended: false,
                runs: Vec::new(),
            });
        }
        let last = self.0.last_mut().expect("there is one");
        last.next += 1;
        last.unnamed += 1;
        YoungPlace { table: Arc::clone(&last.table), number: last.next - 1 }
    }

    /// The run in this place is named.
    pub(crate) fn named(&mut self, place: &YoungPlace, run: &Arc<KeyRun>) {
        if let Some(of) = self.of(place) {
            of.runs.push((place.number, Arc::clone(run)));
            of.unnamed -= 1;
        }
    }

    /// The run that was to have this place, the last one, was not written: the next one has its number.
    pub(crate) fn give_back(&mut self, place: &YoungPlace) {
        if let Some(of) = self.of(place) {
            of.next = place.number;
            of.unnamed -= 1;
        }
    }

    fn of(&mut self, place: &YoungPlace) -> Option<&mut Generation> {
        self.0.iter_mut().find(|of| Arc::ptr_eq(&of.table, &place.table))
    }

    /// Of these runs nothing is asked any more.
    pub(crate) fn forget(&mut self, gone: impl Fn(&RunInfo) -> bool) {
        for generation in &mut self.0 {
            let before = generation.runs.len();
            generation.runs.retain(|(_, run)| !gone(run.info()));
            generation.ended |= generation.runs.len() < before;
        }
        self.0.retain(|of| !of.runs.is_empty() || of.unnamed > 0 || !of.ended);
    }

    pub(crate) fn all(&self) -> &[Generation] {
        &self.0
    }

    /// Whether the run that begins there has its keys in a table here.
    pub(crate) fn holds(&self, start: Position) -> bool {
        let mut runs = self.0.iter().flat_map(|generation| &generation.runs);
        runs.any(|(_, run)| run.info().start == start)
    }

    /// The starts of the runs of each one that takes no more, oldest first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = Vec<Position>> + '_ {
        let last = self.0.len().saturating_sub(1);
        let is_closed = move |(index, of): &(usize, &Generation)| {
            of.unnamed == 0 && !of.runs.is_empty() && (*index < last || of.is_full())
        };
        let closed = self.0.iter().enumerate().filter(is_closed);
        closed.map(|(_, of)| of.runs.iter().map(|(_, run)| run.info().start).collect())
    }

    /// Memory that the tables take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|generation| generation.table.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_size_and_window_share_a_table() {
        let mut all = Generations::default();
        let places: Vec<_> = (0..5).map(|_| all.place(100, 7, 3)).collect();
        let numbers: Vec<_> = places.iter().map(|place| place.number).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
        assert!(!all.begins(100, 7));
        assert!(all.begins(100, 8) && all.begins(301, 7));
        assert_eq!(all.all().len(), 2);
    }

    /// However often a run is not written, as on a full disk, look-ups meet no more tables for it.
    #[test]
    fn what_was_not_written_takes_no_number() {
        let mut all = Generations::default();
        for keys in (100..).take(200) {
            let place = all.place(keys, 0, 3);
            assert_eq!((place.number, all.all().len()), (0, 1));
            all.give_back(&place);
        }
        // Also where its keys were added before it failed, and there is no more room for them.
        for _ in 0..200 {
            let place = all.place(100, 0, 3);
            place.table.add(place.number, (0..100).map(|key| key << 64));
            assert_eq!(all.all().len(), 1);
            all.give_back(&place);
        }
        assert_eq!(all.closed().count(), 0);
    }
}
