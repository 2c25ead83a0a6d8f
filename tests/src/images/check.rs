//! What a directory holds against what was acknowledged, and against what was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use takt_client::Event;
use takt_protocol::batch::Verdict;
use takt_reader::{Contents, Partition, Record};

use super::book::{Page, Sent};
use super::player::{COMPACTED, NODE, ORIGIN, PRODUCER, TOPICS, origin, producer};
use super::{Violation, ensure};

/// The events of a topic that may be there, by their sequences: behind a failure another one may
/// have been sent under the same.
type BySequence<'a> = BTreeMap<u64, Vec<&'a Event>>;

/// Checks all that the invariants say of one node's directory.
///
/// # Errors
/// The first that does not hold.
pub(super) fn check(page: Page<'_>, contents: &Contents<'_>) -> Result<(), Violation> {
    for topic in &page.book.topics {
        let there = contents.partition(NODE, &topic.what, 0).is_some();
        ensure(there || !page.must_be(topic), "I1", || format!("topic {} is lost", topic.what))?;
        ensure(!there || page.may_be(topic), "I4", || {
            format!("topic {} was not made", topic.what)
        })?;
    }
    for topic in TOPICS {
        let sent = by_sequence(page, topic);
        let partition = contents.partition(NODE, topic, 0);
        if let Some(partition) = partition {
            let name = partition.id.to_string();
            let start = partition.start.offset;
            let (min, max) = (page.start_min(&name), page.start_max(&name));
            ensure((min..=max).contains(&start), "I1", || {
                format!("{name} begins at {start}, not within {min}..={max}")
            })?;
            own(partition, &sent)?;
        }
        acknowledged(page, topic, partition)?;
    }
    conflicts(page, contents)?;
    producers(page, contents)?;
    cursors(page, contents)?;
    mirror(page, contents)
}

fn is_event(record: &Record<'_>, event: &Event) -> bool {
    record.id == event.id
        && record.source == event.source
        && record.kind == event.kind
        && record.order_key == event.order_key.as_ref().map(|key| key.as_str().as_bytes())
        && record.data == Some(&event.data[..])
}

fn by_sequence<'a>(page: Page<'a>, topic: &str) -> BySequence<'a> {
    let mut events = BySequence::new();
    for sent in page.sent().filter(|sent| sent.topic == topic) {
        for (sequence, event) in (sent.first..).zip(&sent.events) {
            events.entry(sequence).or_default().push(event);
        }
    }
    events
}

/// I2 to I5 of what an own partition holds.
fn own(partition: &Partition<'_>, sent: &BySequence<'_>) -> Result<(), Violation> {
    let mut next = partition.start.offset;
    let producer = producer().to_string();
    let mut sequence = 0;
    let mut keys = BTreeSet::new();
    let mut heads: BTreeMap<&[u8], u64> = BTreeMap::new();
    for record in &partition.records {
        let events = sent.get(&record.sequence);
        let known = record.producer == producer
            && events.is_some_and(|events| events.iter().any(|event| is_event(record, event)));
        ensure(known, "I4", || {
            format!("{}: {} at {} was not published", partition.id, record.id, record.sequence)
        })?;
        ensure(record.sequence > sequence, "I3", || {
            format!("{}: sequence {} comes late", partition.id, record.sequence)
        })?;
        sequence = record.sequence;
        let Some(offset) = record.offset else { continue };
        ensure(are_left_out(partition, next..offset), "I5", || {
            format!("{}: {offset} for {next}", partition.id)
        })?;
        next = offset + 1;
        ensure(keys.insert((record.source, record.id)), "I2", || {
            format!("{}: event {} is there twice", partition.id, record.id)
        })?;
        if let (Some(key), Some(found)) = (record.order_key, record.order_sequence) {
            let known = heads.get(key).copied();
            let follows = if partition.id.topic == COMPACTED {
                known < Some(found)
            } else {
                let trimmed = partition.start.offset > 0;
                known.map_or(trimmed || found == 1, |known| known + 1 == found)
            };
            ensure(follows, "I3", || {
                format!("{}: {found} is not the order's next at {offset}", partition.id)
            })?;
            heads.insert(key, found);
        }
    }
    let end = partition.end.offset;
    ensure(are_left_out(partition, next..end), "I5", || {
        format!("{} ends at {next}, not at {end}", partition.id)
    })
}

/// I1: every receipt's events are at their offsets.
fn acknowledged(
    page: Page<'_>,
    topic: &str,
    partition: Option<&Partition<'_>>,
) -> Result<(), Violation> {
    for (sent, receipt) in page.receipts().filter(|(sent, _)| sent.topic == topic) {
        let lost = |what: &str| {
            format!("{topic}: the batch at sequence {} was acknowledged; {what}", sent.first)
        };
        let Some(partition) = partition else {
            return Err(Violation::new("I1", lost("there is no partition")));
        };
        for (found, event) in receipt.receipts().zip(&sent.events) {
            let Verdict::Visible { order_sequence, .. } = found.verdict else { continue };
            let offset = found.place.map_or(0, |place| place.offset.get());
            if offset < partition.start.offset {
                continue;
            }
            let behind = partition
                .records
                .partition_point(|record| record.batch < batch_of(partition, offset));
            let record =
                partition.records[behind..].iter().find(|record| record.offset == Some(offset));
            // Compaction leaves the latest of each order.
            let is_superseded = record.is_none()
                && are_left_out(partition, offset..offset + 1)
                && has_later(partition, event, offset);
            let there = is_superseded
                || record.is_some_and(|record| {
                    is_event(record, event)
                        && record.sequence == found.sequence.get()
                        && record.order_sequence
                            == order_sequence.map(takt_client::OrderSequence::get)
                });
            ensure(there, "I1", || lost(&format!("offset {offset} holds {record:?}")))?;
        }
    }
    Ok(())
}

/// Whether compaction has left out all of these offsets, if there are any.
fn are_left_out(partition: &Partition<'_>, mut offsets: Range<u64>) -> bool {
    let mut gone = partition.left_out.iter().filter_map(|gone| gone.offset);
    offsets.is_empty()
        || partition.id.topic == COMPACTED && offsets.all(|offset| gone.any(|at| at == offset))
}

/// Whether a later event of its order is there.
fn has_later(partition: &Partition<'_>, event: &Event, offset: u64) -> bool {
    let key = event.order_key.as_ref().map(|key| key.as_str().as_bytes());
    let mut records = partition.records.iter();
    key.is_some() && records.any(|later| later.order_key == key && later.offset > Some(offset))
}

/// The number of the batch that holds an offset.
fn batch_of(partition: &Partition<'_>, offset: u64) -> u64 {
    let behind = partition
        .batches
        .partition_point(|batch| batch.base_offset + u64::from(batch.visible) <= offset);
    partition.batches.get(behind).map_or(u64::MAX, |batch| batch.number)
}

/// No conflict is decided, so all that were acknowledged are open, also behind retention.
fn conflicts(page: Page<'_>, contents: &Contents<'_>) -> Result<(), Violation> {
    let listed = |verdict: &Verdict| matches!(verdict, Verdict::Conflict { listed: true, .. });
    let count = |topic: &str| {
        let receipts = page.receipts().filter(|(sent, _)| sent.topic == topic);
        let verdicts = receipts.flat_map(|(_, receipt)| receipt.receipts().map(|r| r.verdict));
        verdicts.filter(listed).count()
    };
    for topic in TOPICS {
        let open = contents.conflicts.keys();
        let open = open.filter(|at| at.partition.topic == topic && at.partition.origin == NODE);
        let (open, least) = (open.count(), count(topic));
        // One batch may be there that was not acknowledged yet.
        ensure((least..=least + 2).contains(&open), "I1", || {
            format!("{topic}: {open} conflicts are open, {least} were acknowledged")
        })?;
    }
    Ok(())
}

fn producers(page: Page<'_>, contents: &Contents<'_>) -> Result<(), Violation> {
    for opened in &page.book.opened {
        let (producer, topic, epoch) = &opened.what;
        let known = contents
            .producers
            .iter()
            .find(|(key, _)| key.producer == producer && key.topic == topic);
        let found = known.map_or(0, |(_, known)| known.epoch);
        ensure(found >= *epoch || !page.must_be(opened), "I1", || {
            format!("epoch {epoch} in {topic} was opened, {found} is there")
        })?;
        ensure(found < *epoch || page.may_be(opened), "I4", || {
            format!("epoch {epoch} in {topic} was not asked for")
        })?;
    }
    for (key, known) in &contents.producers {
        let of_key = |sent: &&Sent| sent.topic == key.topic;
        let end = |sent: &Sent| sent.first + sent.events.len() as u64 - 1;
        let most = page.sent().filter(of_key).map(end).max().unwrap_or(0);
        let receipts = page.receipts().map(|(sent, _)| sent).filter(of_key);
        let least = receipts.map(end).max().unwrap_or(0);
        ensure((least..=most).contains(&known.last), "I1", || {
            let (topic, last) = (key.topic, known.last);
            format!("{} in {topic} is at {last}, not within {least}..={most}", PRODUCER.1)
        })?;
    }
    Ok(())
}

/// I6: a cursor stands where it was put last, or where it was being put.
fn cursors(page: Page<'_>, contents: &Contents<'_>) -> Result<(), Violation> {
    let mut may_stand: BTreeMap<&str, BTreeSet<Option<u64>>> = BTreeMap::new();
    for asked in page.book.cursors.iter().filter(|asked| page.may_be(asked)) {
        let (name, offset) = &asked.what;
        let places = may_stand.entry(name).or_insert_with(|| BTreeSet::from([None]));
        if page.must_be(asked) {
            places.clear();
        }
        places.insert(Some(*offset));
    }
    for name in contents.cursors.keys() {
        ensure(may_stand.contains_key(name), "I6", || format!("{name} was never set"))?;
    }
    for (name, places) in may_stand {
        let cursor = contents.cursors.get(name);
        let found = cursor.and_then(|cursor| cursor.positions.values().next().copied());
        ensure(places.contains(&found), "I6", || {
            format!("{name} stands at {found:?}, not at one of {places:?}")
        })?;
    }
    Ok(())
}

/// The mirror is the origin's batches, byte for byte, as far as they were taken.
fn mirror(page: Page<'_>, contents: &Contents<'_>) -> Result<(), Violation> {
    let mirrored = &page.book.mirrored;
    let least = mirrored.iter().filter(|asked| page.must_be(asked)).map(|asked| asked.what + 1);
    let most = mirrored.iter().filter(|asked| page.may_be(asked)).map(|asked| asked.what + 1);
    let (least, most) = (least.max().unwrap_or(0), most.max().unwrap_or(0));
    let Some(partition) = contents.partition(ORIGIN, TOPICS[0], 0) else {
        return ensure(least == 0, "I1", || format!("{least} mirrored batches are lost"));
    };
    let end = partition.end.batch;
    ensure((least..=most).contains(&end), "I1", || {
        format!("the mirror ends at batch {end}, not within {least}..={most}")
    })?;
    let max = page.start_max(&partition.id.to_string());
    ensure(partition.start.offset <= max, "I1", || {
        format!("the mirror begins at {}, not at {max} at most", partition.start.offset)
    })?;
    for found in &partition.batches {
        let stored = usize::try_from(found.number).ok().and_then(|number| origin().1.get(number));
        let bytes: Vec<u8> =
            stored.iter().flat_map(|batch| batch.pieces()).flatten().copied().collect();
        ensure(found.bytes == bytes, "I3", || {
            format!("batch {} is not its origin's", found.number)
        })?;
    }
    Ok(())
}
