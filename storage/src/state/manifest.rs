//! The manifest: which files and runs there are. Its changes are the same when entries are applied and
//! when a start reads ahead which runs it will need.

use std::collections::BTreeMap;

use crate::entry::{SealedFile, SideFile};
use crate::journal::Position;
use crate::runs::RunInfo;

/// The sealed files, and what outlives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// By start. A dropped file stays for its run, without slots.
    pub(crate) files: BTreeMap<Position, SealedFile>,
    /// Runs that were merged from others, by start: each begins where the one before ends.
    pub(crate) merged: BTreeMap<Position, RunInfo>,
    /// By the start of the journal file whose open conflicts they hold.
    pub(crate) sides: BTreeMap<Position, SideFile>,
    /// The runs hold the keys of all entries below it.
    pub(crate) runs_upto: Position,
}

impl Manifest {
    /// The next file is sealed, or the run of one that is kept was made again, in another format.
    /// `false` where it does not follow.
    pub(crate) fn seal(&mut self, file: &SealedFile) -> bool {
        if file.start == self.runs_upto {
            self.runs_upto = file.end;
            self.files.insert(file.start, file.clone());
            return true;
        }
        let known = self.files.get_mut(&file.start);
        let known = known.filter(|known| known.end == file.end && !known.is_dropped());
        let Some(known) = known.filter(|known| known.run.is_some() && file.run.is_some()) else {
            return false;
        };
        known.run = file.run;
        true
    }

    /// A file without slots goes with its run, unless that is the only one with its keys. Returns
    /// the name that the run had.
    pub(crate) fn release(&mut self, start: Position) -> Option<String> {
        let run = self.files.get(&start)?.run;
        let needless = run.is_none_or(|run| self.merged.values().any(|merged| merged.covers(&run)));
        #[cfg(takt_planted)]
        let needless = needless || takt_protocol::planted::is("keys_lost_with_retention");
        if needless {
            self.files.remove(&start);
        }
        run.filter(|_| needless).map(|run| run.name())
    }

    /// A merged run stands for what it covers. Returns the names of the runs that nothing needs any
    /// more; `None` where it does not fit.
    pub(crate) fn merge(&mut self, run: &RunInfo) -> Option<Vec<String>> {
        let Self { files, merged, runs_upto, .. } = self;
        // What is merged is all of the oldest positions, without a hole.
        let merged_upto = merged.values().next_back().map_or(Position::ZERO, |run| run.end);
        let begins = run.start == merged_upto || merged.contains_key(&run.start);
        let cuts = |start: Position, end: Position| start < run.end && run.end < end;
        let ends = run.end <= *runs_upto
            && !merged.values().any(|old| cuts(old.start, old.end))
            && !files.values().any(|file| cuts(file.start, file.end));
        if !begins || !ends {
            return None;
        }
        let gone = merged.extract_if(.., |_, old| run.covers(old));
        // One that was damaged is made again, under its name.
        let names =
            gone.map(|(_, old)| old.merged_name()).filter(|name| *name != run.merged_name());
        let mut unnamed: Vec<String> = names.collect();
        let of_dropped = |file: &SealedFile| file.run.filter(|_| file.is_dropped());
        let gone =
            files.extract_if(.., |_, file| of_dropped(file).is_some_and(|old| run.covers(&old)));
        unnamed.extend(gone.filter_map(|(_, file)| file.run).map(|old| old.name()));
        merged.insert(run.start, *run);
        Some(unnamed)
    }
}
