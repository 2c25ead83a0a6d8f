//! What producers sent and what they were told, written down outside of the node, and the check of
//! what a node holds against it: as it is read from the node, and as it lies in its files.
//!
//! An event follows from its source and its number ([`made`]), so an account of millions is small.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use takt_client::{Delivered, Event, Offset, PartitionNumber, Place};

use crate::events::event;

/// How many order keys all sources share.
pub const ORDERS: u64 = 23;
/// How many violations one check lists.
const LISTED_MAX: usize = 20;

/// The event `id` of a source.
pub fn made(source: &str, id: u64) -> Event {
    event(source, id, &format!("order-{}", id % ORDERS), 0)
}

/// What is known to have been sent and to be stored.
#[derive(Debug, Default, Clone)]
pub struct Account {
    /// By topic and source: the ids 1 to this one (inclusive) may be stored.
    sent: BTreeMap<(String, String), u64>,
    told: BTreeMap<(String, Place), (String, u64)>,
    /// What the receipts alone contradict.
    contradictions: Vec<Violation>,
}

/// What must not be, by the invariant that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I1` to `I5`.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// One visible record, from wherever it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub place: Place,
    /// Its place within its order.
    pub order_sequence: Option<u64>,
    /// The event.
    pub event: Event,
}

impl Account {
    /// The source is about to send its events up to `id` (inclusive) to the topic.
    pub fn sending(&mut self, topic: &str, source: &str, id: u64) {
        let upto = self.sent.entry((topic.to_owned(), source.to_owned())).or_default();
        *upto = id.max(*upto);
    }

    /// There is a receipt: the event stands there.
    pub fn told(&mut self, topic: &str, source: &str, id: u64, place: Place) {
        let event = (source.to_owned(), id);
        let known = self.told.entry((topic.to_owned(), place)).or_insert_with(|| event.clone());
        if *known != event {
            let what = format!("{topic} {place:?} is told for {known:?} and for {event:?}");
            self.contradictions.push(Violation { invariant: "I5", what });
        }
    }

    /// A receipt said what none of these events may get.
    pub fn refused(&mut self, what: String) {
        self.contradictions.push(Violation { invariant: "I4", what });
    }

    /// How many events are known to be stored, in all topics.
    pub fn acknowledged(&self) -> usize {
        self.told.len()
    }

    /// Checks all that a node holds of a topic, sorted by partition and offset. What retention has
    /// dropped, below `kept_from`, is not missed.
    pub fn check(&self, topic: &str, stored: &[Stored], kept_from: Offset) -> Vec<Violation> {
        let mut found = self.contradictions.clone();
        let mut add = |invariant, what| {
            if found.len() < LISTED_MAX {
                found.push(Violation { invariant, what });
            }
        };
        let at: BTreeMap<Place, &Stored> = stored.iter().map(|at| (at.place, at)).collect();
        let of_topic = self.told.iter().filter(|((of, _), _)| of == topic);
        for ((_, place), (source, id)) in of_topic.filter(|((_, at), _)| at.offset >= kept_from) {
            match at.get(place) {
                None => add("I1", format!("{source} {id} is acknowledged at {place:?} and lost")),
                Some(at) if at.event.source != *source || at.event.id != id.to_string() => {
                    let other = (&at.event.source, &at.event.id);
                    add("I5", format!("{source} {id} is told at {place:?}, {other:?} is there"));
                }
                Some(_) => {}
            }
        }
        let (mut seen, mut next) = (BTreeSet::new(), BTreeMap::new());
        let (mut orders, mut submitted) = (BTreeMap::new(), BTreeMap::new());
        for Stored { place, order_sequence, event } in stored {
            let name = format!("{} {} at {place:?} of {topic}", event.source, event.id);
            let upto = self.sent.get(&(topic.to_owned(), event.source.clone())).copied();
            let id = event.id.parse().unwrap_or(0);
            if id == 0 || upto.is_none_or(|upto| id > upto) {
                add("I4", format!("{name} was never sent"));
                continue;
            }
            if *event != made(&event.source, id) {
                add("I4", format!("{name} has another content than it was sent with"));
            }
            if !seen.insert((&event.source, id)) {
                add("I2", format!("{name} is stored twice"));
            }
            let expected = next.entry(place.partition).or_insert(kept_from);
            if *expected != place.offset {
                add("I5", format!("{name} stands where offset {expected} is to follow"));
            }
            *expected = place.offset.advance(1);
            let sequence = order_sequence.unwrap_or(0);
            let last = orders.insert(event.order_key.clone(), sequence);
            let first = if kept_from == Offset::new(0) { 1 } else { sequence };
            if last.map_or(first, |last| last + 1) != sequence || sequence == 0 {
                add("I3", format!("{name} has sequence {sequence} of its order behind {last:?}"));
            }
            let before = submitted.insert((event.order_key.clone(), &event.source), id);
            if before.is_some_and(|before| before >= id) {
                add("I3", format!("{name} stands behind {before:?} of its source and order"));
            }
        }
        found
    }

    /// As [`Account::check`], of what the files of a directory hold, as the second reader reads
    /// them; `node` is the origin. A directory may be empty as long as nothing is acknowledged.
    ///
    /// # Panics
    /// If the files cannot be read from the disk.
    pub fn check_files(&self, dir: &Path, node: &str, topic: &str) -> Vec<Violation> {
        let files = files(dir);
        // One that was being made when the node ended has another name still.
        let is_journal =
            |name: &String| name.starts_with("journal-") && name.strip_suffix(".tmp").is_none();
        if self.told.is_empty() && !files.keys().any(is_journal) {
            return Vec::new();
        }
        let unpacked = takt_reader::Unpacked::of(&files);
        let contents = match takt_reader::read_unpacked(&files, &unpacked) {
            Ok(contents) => contents,
            Err(error) => {
                let what = format!("{} cannot be read: {error}", dir.display());
                return vec![Violation { invariant: "I1", what }];
            }
        };
        let (mut stored, mut kept_from) = (Vec::new(), Offset::new(0));
        let of_topic = |id: &takt_reader::PartitionId<'_>| id.origin == node && id.topic == topic;
        for partition in contents.partitions.iter().filter(|partition| of_topic(&partition.id)) {
            kept_from = kept_from.max(Offset::new(partition.start.offset));
            for record in &partition.records {
                let Some(offset) = record.offset else { continue };
                let place = Place {
                    partition: PartitionNumber::new(partition.id.number),
                    offset: Offset::new(offset),
                };
                stored.push(from_files(place, record));
            }
        }
        let mut found = self.check(topic, &stored, kept_from);
        if let Err(error) = takt_reader::check_runs(&files, &contents) {
            found.push(Violation { invariant: "I5", what: format!("the runs are wrong: {error}") });
        }
        found
    }
}

impl From<&Delivered> for Stored {
    fn from(delivered: &Delivered) -> Self {
        Self {
            place: Place { partition: delivered.partition.number, offset: delivered.offset },
            order_sequence: delivered.order_sequence.map(takt_client::OrderSequence::get),
            event: delivered.event.clone(),
        }
    }
}

fn from_files(place: Place, record: &takt_reader::Record<'_>) -> Stored {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let event = Event {
        id: record.id.to_owned(),
        source: record.source.to_owned(),
        kind: record.kind.to_owned(),
        time: record.time.map(takt_client::Timestamp::from_micros),
        order_key: record.order_key.and_then(|key| takt_client::OrderKey::new(&text(key)).ok()),
        content_type: record.content_type.map(str::to_owned),
        data: record.data.unwrap_or_default().to_vec().into(),
        ..Event::default()
    };
    Stored { place, order_sequence: record.order_sequence, event }
}

/// The files of a directory, by name.
///
/// # Panics
/// If one cannot be read.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("an entry of the directory").path());
    paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Spares and the reserve hold nothing, and are most of the bytes.
            let holds = name.starts_with("journal-")
                || name.starts_with("run-")
                || name.starts_with("keys-")
                || name.starts_with("conflicts-");
            let read = || std::fs::read(&path).expect("a file of the directory");
            (name, if holds { read() } else { Vec::new() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place { partition: PartitionNumber::new(0), offset: Offset::new(offset) }
    }

    /// Five events of which three are acknowledged, stored as they should be.
    fn good() -> (Account, Vec<Stored>) {
        let mut account = Account::default();
        account.sending("t", "s", 5);
        for id in 1..4 {
            account.told("t", "s", id, place(id - 1));
        }
        let stored = (1..6).map(|id| Stored {
            place: place(id - 1),
            order_sequence: Some(1),
            event: made("s", id),
        });
        (account, stored.collect())
    }

    fn found(account: &Account, stored: &[Stored]) -> Vec<&'static str> {
        let found = account.check("t", stored, Offset::new(0));
        found.iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn each_forged_history_is_told() {
        let (account, stored) = good();
        assert_eq!(found(&account, &stored), [""; 0]);
        // What was not acknowledged may be missing.
        assert_eq!(found(&account, &stored[..3]), [""; 0]);
        assert_eq!(found(&account, &stored[..2]), ["I1"]);

        let mut twice = stored.clone();
        twice[4] = Stored { place: place(4), order_sequence: Some(2), ..stored[3].clone() };
        assert_eq!(found(&account, &twice), ["I2", "I3"]);
        let mut swapped = stored.clone();
        swapped[0].event = made("s", 2);
        swapped[1].event = made("s", 1);
        assert_eq!(found(&account, &swapped), ["I5", "I5"]);
        let mut phantom = stored.clone();
        phantom[4].event = made("s", 6);
        assert_eq!(found(&account, &phantom), ["I4"]);
        let mut changed = stored.clone();
        changed[4].event.data = vec![0].into();
        assert_eq!(found(&account, &changed), ["I4"]);
        let mut gap = stored.clone();
        gap[4].place = place(5);
        assert_eq!(found(&account, &gap), ["I5"]);
        let mut sequence = stored.clone();
        sequence[4].order_sequence = Some(2);
        assert_eq!(found(&account, &sequence), ["I3"]);

        let mut account = account;
        account.told("t", "s", 5, place(0));
        assert_eq!(found(&account, &stored), ["I5"]);
    }

    #[test]
    fn what_retention_has_dropped_is_not_missed() {
        let (account, stored) = good();
        assert_eq!(account.check("t", &stored[2..], Offset::new(2)), []);
        let behind = account.check("t", &stored[3..], Offset::new(2));
        assert!(behind.iter().any(|violation| violation.invariant == "I1"), "{behind:?}");
    }
}
