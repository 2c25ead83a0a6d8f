//! Writes a journal, and says when it is time to be killed.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use takt_benches::{Feed, RECORDS, UnsyncedDisk, feed_with};
use takt_storage::disk::RealDisk;
use takt_storage::store::StoreOptions;

/// How much lies behind the last checkpoint: the snapshot in the newest file's preamble, and the
/// runs of all files before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tail {
    /// A few commits.
    Short,
    /// Half a journal file.
    Half,
    /// A whole journal file: the next commits would begin another.
    Full,
    /// A whole file whose run was not written before the end, and the whole one behind it.
    Two,
}

impl Tail {
    /// Journal behind the checkpoint, in bytes, for files of `file_bytes`.
    const fn len_bytes(self, file_bytes: u64) -> u64 {
        // A file is left while it still has room for the longest commit.
        let full = file_bytes - (4 << 20);
        match self {
            Self::Short => 1 << 20,
            Self::Half => file_bytes / 2,
            Self::Full => full,
            Self::Two => file_bytes + full,
        }
    }
}

/// What lies in the directory of a process that is killed now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Left {
    /// From the journal's beginning to its end.
    pub journal_bytes: u64,
    /// Of these, behind the checkpoint.
    pub tail_bytes: u64,
    /// Each with a dedup key of its own.
    pub events: usize,
    /// Order keys.
    pub orders: usize,
}

/// The settings with which everything is written and opened: nothing is ever dropped.
pub(super) fn options() -> StoreOptions {
    StoreOptions { retention_bytes: 0, ..Feed::options() }
}

/// Writes a journal of `sealed_bytes`, to the nearest whole file, whose files are sealed and have
/// their runs, and the tail behind it.
///
/// # Panics
/// If the disk fails.
pub(super) fn write(dir: &Path, sealed_bytes: u64, tail: Tail) -> (Feed, Left) {
    let disk = RealDisk::open(dir).expect("a directory");
    let mut feed = feed_with(Arc::new(UnsyncedDisk(disk)), options());
    let mut events = 0;
    let mut publish = |feed: &mut Feed| {
        let operation = feed.publication();
        let commit = feed.stage(operation);
        feed.finish(commit);
        events += RECORDS;
    };
    let at = |feed: &Feed| {
        let status = feed.store.view().status();
        (status.journal_files, status.journal_durable)
    };
    let file_bytes = options().journal.file_bytes;
    let checkpoint = loop {
        feed.jobs();
        let (files, end) = at(&feed);
        publish(&mut feed);
        if at(&feed).0 > files && end.get() + file_bytes / 2 >= sealed_bytes {
            break end;
        }
    };
    // The last run is written now, and named by the next commit; the next spare file is there.
    feed.jobs();
    publish(&mut feed);
    feed.jobs();
    let tail_min = tail.len_bytes(file_bytes);
    while at(&feed).1.since(checkpoint) < tail_min {
        publish(&mut feed);
    }
    let status = feed.store.view().status();
    assert_eq!(status.keys, events, "each event taught a key");
    let left = Left {
        journal_bytes: status.journal_durable.get(),
        tail_bytes: status.journal_durable.since(checkpoint),
        events,
        orders: status.orders,
    };
    (feed, left)
}
