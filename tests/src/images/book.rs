//! What was asked of a store and what it acknowledged, each with the number of operations that the
//! disk had seen by then.

use std::collections::BTreeMap;

use takt_client::Event;
use takt_protocol::wire::BatchReceipt;
use takt_storage::view::View;

/// A batch that was published.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was asked for.
    pub at: u64,
    /// In which topic.
    pub topic: String,
    /// The sequence of its first event.
    pub first: u64,
    /// Its events.
    pub events: Vec<Event>,
    /// When it was acknowledged, and what the receipt says.
    pub receipt: Option<(u64, BatchReceipt)>,
}

/// Something else that was asked for, and may be acknowledged.
#[derive(Debug, Clone)]
pub struct Asked<T> {
    /// When it was asked for.
    pub at: u64,
    /// When it was acknowledged.
    pub acknowledged: Option<u64>,
    /// What it is.
    pub what: T,
}

/// Where a partition began when somebody looked.
#[derive(Debug, Clone)]
pub struct Seen {
    at: u64,
    starts: BTreeMap<String, u64>,
}

/// All that there is to hold a store to. Moments are counts of disk operations.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// All batches, in the order in which they were sent.
    pub sent: Vec<Sent>,
    /// The topics that were made.
    pub topics: Vec<Asked<String>>,
    /// The incarnations that were opened: producer, topic, epoch.
    pub opened: Vec<Asked<(String, String, u64)>>,
    /// The positions that cursors were given: name, offset.
    pub cursors: Vec<Asked<(String, u64)>>,
    /// The origin's batches that were taken, by their numbers.
    pub mirrored: Vec<Asked<u64>>,
    /// Where partitions began.
    pub seen: Vec<Seen>,
    /// The last step did not end: nobody has looked behind what it may have trimmed.
    pub unseen: bool,
}

/// What a book says must be, and may be, at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// All of it.
    pub book: &'a Book,
    /// The moment.
    pub at: u64,
}

impl<T> Asked<T> {
    /// Asked for at a moment, and not acknowledged.
    pub const fn new(at: u64, what: T) -> Self {
        Self { at, acknowledged: None, what }
    }
}

impl Book {
    /// Takes note of where the partitions begin.
    pub fn look(&mut self, at: u64, view: &View) {
        let partitions = view.all_partitions().into_iter();
        let starts = partitions.map(|found| (found.id.to_string(), found.start.get())).collect();
        self.seen.push(Seen { at, starts });
        self.unseen = false;
    }

    /// The book at a moment.
    pub const fn page(&self, at: u64) -> Page<'_> {
        Page { book: self, at }
    }
}

impl<'a> Page<'a> {
    /// Whether what was asked for may have been written.
    pub const fn may_be<T>(&self, asked: &Asked<T>) -> bool {
        asked.at < self.at
    }

    /// Whether it was acknowledged.
    pub fn must_be<T>(&self, asked: &Asked<T>) -> bool {
        asked.acknowledged.is_some_and(|at| at <= self.at)
    }

    /// The batches that may have been written.
    pub fn sent(&self) -> impl Iterator<Item = &'a Sent> + use<'a> {
        let at = self.at;
        self.book.sent.iter().take_while(move |sent| sent.at < at)
    }

    /// The batches that were acknowledged.
    pub fn receipts(&self) -> impl Iterator<Item = (&'a Sent, &'a BatchReceipt)> + use<'a> {
        let at = self.at;
        self.book.sent.iter().filter_map(move |sent| {
            let (acknowledged, receipt) = sent.receipt.as_ref()?;
            (*acknowledged <= at).then_some((sent, receipt))
        })
    }

    /// How far a partition may have been trimmed: to where it was seen to begin next.
    pub fn start_max(&self, partition: &str) -> u64 {
        let next = self.book.seen.iter().find(|seen| seen.at >= self.at);
        if next.is_none() && self.book.unseen {
            return u64::MAX;
        }
        let seen = next.or(self.book.seen.last());
        seen.and_then(|seen| seen.starts.get(partition)).copied().unwrap_or(0)
    }

    /// How far it must have been trimmed, to where it was seen to begin last.
    pub fn start_min(&self, partition: &str) -> u64 {
        let last = self.book.seen.iter().rev().find(|seen| seen.at <= self.at);
        last.and_then(|seen| seen.starts.get(partition)).copied().unwrap_or(0)
    }
}
