//! What the log has said of the writer's node, so that it says each change once.

use std::collections::BTreeMap;

use takt_protocol::words::Timestamp;
use takt_storage::store::JobDone;

/// What an operator has read last.
#[derive(Debug, Default)]
pub(super) struct Said {
    full: bool,
    leapt: bool,
    /// By what was to be made: why that failed.
    failing: BTreeMap<&'static str, String>,
}

impl Said {
    /// There is no file to go on in, or there is again.
    pub(super) fn full(&mut self, full: bool) {
        match (self.full, full) {
            (false, true) => tracing::warn!(
                "there is no room for a spare journal file, or none can be made: publishing is \
                 refused and links get no credit until there is; reading and cursors go on"
            ),
            (true, false) => tracing::warn!("there is a spare journal file: publishing goes on"),
            (true, true) | (false, false) => {}
        }
        self.full = full;
    }

    /// A file could not be made, or could be again.
    pub(super) fn job(&mut self, done: &JobDone) {
        let Some(what) = done.what() else { return };
        let error = done.error();
        if error.as_ref() == self.failing.get(what) {
            return;
        }
        if let Some(error) = error {
            tracing::warn!(what, error, "a file could not be made; it is tried again");
            self.failing.insert(what, error);
        } else {
            tracing::info!(what, "the file is made");
            self.failing.remove(what);
        }
    }

    /// How the wall clock stands to the latest time that is credible.
    pub(super) fn clock(&mut self, wall: Timestamp, at_most: Timestamp) {
        let leapt = wall > at_most;
        if leapt == self.leapt {
            return;
        }
        self.leapt = leapt;
        if leapt {
            let ahead_s = wall.as_micros().saturating_sub(at_most.as_micros()) / 1_000_000;
            tracing::warn!(
                ahead_s,
                "the wall clock is further ahead than the node has seen time pass: retention by \
                 age lags by that until the next start; see to the clock before it"
            );
        } else {
            tracing::info!("the wall clock is credible again");
        }
    }
}
