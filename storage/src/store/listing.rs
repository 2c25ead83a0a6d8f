//! The index of listings beside the store: filled by jobs, trusted only from a clean stop to the
//! next start, and made again whenever it fails. Nothing that the store decides depends on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::Store;
use super::files::{RETRY_MAX_US, is_due};
use crate::disk::Disk;
use crate::index::{Index, IndexError, SealedFileListing, Stamp};
use crate::journal::Position;
use crate::runs::MaskedAddress;
use crate::view::View;

/// After how long an index that failed is made again, in microseconds.
const RETRY_US: i64 = RETRY_MAX_US;
/// How many conflicts are listed at a time.
const CHUNK: usize = 1_000;

/// How far the index is.
#[derive(Debug)]
pub(super) struct Listings {
    index: Option<Arc<Index>>,
    /// What the last clean stop may have left.
    stamp: Option<Stamp>,
    /// The sealed files that are in it.
    files: BTreeSet<Position>,
    /// Files may be missing in it, or be gone.
    stale: bool,
    /// Readers use it.
    shown: bool,
    /// Its failure was logged; it has not been whole since.
    warned: bool,
    retry_at: Option<Timestamp>,
}

impl Listings {
    /// With the stamp that an index must have to be used.
    pub(super) fn new(stamp: Option<Stamp>) -> Self {
        Self {
            index: None,
            stamp,
            files: BTreeSet::new(),
            stale: true,
            shown: false,
            warned: false,
            retry_at: None,
        }
    }

    /// A file was sealed or dropped.
    pub(super) fn go_stale(&mut self) {
        self.stale = true;
    }
}

/// Work on the index.
#[derive(Debug)]
pub(super) enum IndexWork {
    /// Opens it or makes it anew.
    Prepare { disk: Arc<dyn Disk>, stamp: Option<Stamp>, view: View },
    /// Takes a sealed file in.
    Ingest { index: Arc<Index>, view: View, start: Position },
    /// Takes a dropped file out.
    Forget { index: Arc<Index>, start: Position },
}

#[derive(Debug)]
pub(super) enum IndexDone {
    Prepared { index: Index, files: BTreeSet<Position> },
    Ingested(Position),
    Forgotten(Position),
}

impl IndexWork {
    pub(super) fn run(self) -> Result<IndexDone, IndexError> {
        match self {
            Self::Prepare { disk, stamp, view } => {
                let index = match stamp {
                    Some(stamp) => Index::open_if_stamped(Arc::clone(&disk), &stamp)?,
                    None => None,
                };
                let index = match index {
                    Some(index) => index,
                    None => create(disk, &view)?,
                };
                let files = index.files()?;
                Ok(IndexDone::Prepared { index, files })
            }
            Self::Ingest { index, view, start } => {
                if let Some(listing) = listing_of(&view, start) {
                    index.ingest(&listing)?;
                }
                Ok(IndexDone::Ingested(start))
            }
            Self::Forget { index, start } => {
                index.drop_file(start)?;
                Ok(IndexDone::Forgotten(start))
            }
        }
    }
}

/// A new index with the conflicts that have outlived their files.
fn create(disk: Arc<dyn Disk>, view: &View) -> Result<Index, IndexError> {
    let index = Index::create(disk)?;
    for addresses in view.outlived_conflicts().chunks(CHUNK) {
        index.list(&view.readable_rows(addresses))?;
    }
    Ok(index)
}

/// What a sealed file brings; `None` if it was dropped meanwhile. Conflicts that cannot be read
/// have no details.
fn listing_of(view: &View, start: Position) -> Option<SealedFileListing> {
    let run = view.catalog().run(start)?;
    let addresses: Result<Vec<MaskedAddress>, _> = run.conflicts().collect();
    let addresses = addresses.unwrap_or_else(|error| {
        tracing::warn!(%start, %error, "the conflicts of a file are listed without details");
        Vec::new()
    });
    let conflicts = view.readable_rows(&addresses);
    Some(SealedFileListing { start, slots: run.slots().copied().collect(), conflicts })
}

impl<T> Store<T> {
    pub(super) fn index_work(&mut self, now: Timestamp) -> Option<IndexWork> {
        if self.full {
            return None;
        }
        let readers_have = || self.view.index().is_some();
        if self.listings.shown && !readers_have() {
            // A reader found it damaged, and has said so.
            self.listings = Listings { warned: true, ..Listings::new(None) };
        }
        if !self.listings.stale || !is_due(self.listings.retry_at, now) {
            return None;
        }
        let wanted = self.indexable();
        let listings = &mut self.listings;
        let Some(index) = &listings.index else {
            // A node without a sealed file needs none.
            let needed = !wanted.is_empty() || !self.state.control.manifest.sides.is_empty();
            listings.stale = needed;
            return needed.then(|| IndexWork::Prepare {
                disk: Arc::clone(&self.disk),
                stamp: listings.stamp.take(),
                view: self.view.clone(),
            });
        };
        let index = Arc::clone(index);
        if let Some(&start) = listings.files.difference(&wanted).next() {
            return Some(IndexWork::Forget { index, start });
        }
        if let Some(&start) = wanted.difference(&listings.files).next() {
            return Some(IndexWork::Ingest { index, view: self.view.clone(), start });
        }
        listings.stale = false;
        listings.warned = false;
        if !listings.shown {
            listings.shown = true;
            self.view.set_index(Some(index));
        }
        None
    }

    /// The sealed files whose run readers have.
    fn indexable(&self) -> BTreeSet<Position> {
        let files = self.state.control.manifest.files.values();
        let kept = files.filter(|file| file.run.is_some() && !file.is_dropped());
        let starts = kept.map(|file| file.start);
        starts.filter(|start| self.view.catalog().run(*start).is_some()).collect()
    }

    pub(super) fn on_index_done(&mut self, result: Result<IndexDone, IndexError>, now: Timestamp) {
        let listings = &mut self.listings;
        match result {
            Ok(IndexDone::Prepared { index, files }) => {
                listings.index = Some(Arc::new(index));
                listings.files = files;
            }
            Ok(IndexDone::Ingested(start)) => {
                listings.files.insert(start);
            }
            Ok(IndexDone::Forgotten(start)) => {
                listings.files.remove(&start);
            }
            Err(error) => {
                if !listings.warned {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(error, "the index of listings failed; it is made again");
                }
                self.view.set_index(None);
                let retry_us = now.as_micros().saturating_add(RETRY_US);
                let retry_at = Some(Timestamp::from_micros(retry_us));
                *listings = Listings { warned: true, retry_at, ..Listings::new(None) };
            }
        }
    }

    /// At a clean stop: lets the next start use it. Not while a job or a reader has it.
    pub(super) fn close_index(&mut self) {
        self.view.set_index(None);
        let index = self.listings.index.take().and_then(Arc::into_inner);
        let Some(index) = index.filter(|_| !self.failed && !self.in_flight) else { return };
        let stamp = Stamp { journal: self.journal.id(), end: self.data_end };
        if let Err(error) = index.close(&stamp) {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "the index of listings is made again at the next start");
        }
    }
}
