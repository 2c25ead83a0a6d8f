//! The comparison of what the hub holds with the file: order by order, and pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::import::Report;

/// How many differences are kept in words; the counts go on.
const WORDS_MAX: usize = 20;

/// A report, as the file says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The production order.
    pub order: String,
    /// Its identity.
    pub key: Bytes,
    /// What it says.
    pub data: Bytes,
}

/// A report, as the hub delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The node that judged it.
    pub origin: String,
    /// The partition there.
    pub partition: u16,
    /// The offset there.
    pub offset: u64,
    /// The order sequence; 0 where it has none.
    pub order_sequence: u64,
    /// What it says.
    pub fact: Fact,
}

/// What the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Reports of the file, each counted once.
    pub distinct: u64,
    /// Reports that the hub delivers.
    pub at_hub: u64,
    /// Reports that the hub does not have.
    pub lost: u64,
    /// Reports that the hub has more than once: all but the first of each.
    pub doubled: u64,
    /// Reports that the hub has and the file has not, or not with this content.
    pub unexpected: u64,
    /// Reports that come behind one that they should come before, and orders of two origins.
    pub order_violations: u64,
    /// Offsets and order sequences that do not follow the one before.
    pub sequence_gaps: u64,
    /// The sum over all orders by how many good, rejected and rework pieces file and hub differ.
    pub quantity_difference: u64,
    /// The first differences, in words.
    pub words: Vec<String>,
}

impl Comparison {
    /// Whether hub and file are equal.
    pub fn is_equal(&self) -> bool {
        let differences = [
            self.lost,
            self.doubled,
            self.unexpected,
            self.order_violations,
            self.sequence_gaps,
            self.quantity_difference,
        ];
        differences == [0; 6]
    }

    fn say(&mut self, words: impl FnOnce() -> String) {
        if self.words.len() < WORDS_MAX {
            self.words.push(words());
        }
    }
}

/// Good, rejected and rework pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pieces([u64; 3]);

impl Pieces {
    fn of<'a>(facts: impl Iterator<Item = &'a Fact>) -> Self {
        let mut sums = [0; 3];
        for fact in facts {
            // What is no report has no pieces; that it is there at all is another difference.
            let Ok(report) = Report::from_data(&fact.data) else { continue };
            let good = u64::from(report.good);
            sums[0] += good;
            sums[1] += u64::from(report.rejected);
            sums[2] += if report.rework { good } else { 0 };
        }
        Self(sums)
    }

    fn difference(self, other: Self) -> u64 {
        self.0.iter().zip(other.0).map(|(one, two)| one.abs_diff(two)).sum()
    }
}

/// Compares what is expected, in the order of the file and with all of its repeats, with what the
/// hub delivered, in the order in which it did.
pub fn compare(expected: &[Fact], delivered: &[Seen]) -> Comparison {
    let mut found = Comparison::default();
    let mut orders: BTreeMap<&str, (Vec<&Fact>, Vec<&Seen>)> = BTreeMap::new();
    // Keys are of the whole log: one that the hub shows under another order is found, too.
    let mut keys = BTreeSet::new();
    for fact in expected {
        if keys.insert(&fact.key) {
            found.distinct += 1;
            orders.entry(&fact.order).or_default().0.push(fact);
        }
    }
    let mut ends: HashMap<(&str, u16), u64> = HashMap::new();
    for seen in delivered {
        found.at_hub += 1;
        let end = ends.entry((&seen.origin, seen.partition)).or_default();
        if seen.offset != *end {
            let (origin, offset, end) = (&seen.origin, seen.offset, *end);
            found.sequence_gaps += 1;
            found.say(|| format!("{origin}: the offset {offset} where {end} should be"));
        }
        *end = seen.offset.saturating_add(1);
        orders.entry(&seen.fact.order).or_default().1.push(seen);
    }
    for (order, (expected, delivered)) in orders {
        compare_order(order, &expected, &delivered, &mut found);
    }
    found
}

fn compare_order(order: &str, expected: &[&Fact], delivered: &[&Seen], found: &mut Comparison) {
    let places: HashMap<&Fact, usize> =
        expected.iter().enumerate().map(|(place, fact)| (*fact, place)).collect();
    let mut held = vec![false; expected.len()];
    let mut furthest = None;
    for seen in delivered {
        let Some(&place) = places.get(&seen.fact) else {
            found.unexpected += 1;
            found.say(|| format!("{order}: a report that the file has not: {}", text(&seen.fact)));
            continue;
        };
        if std::mem::replace(&mut held[place], true) {
            found.doubled += 1;
            found.say(|| format!("{order}: report {} is there twice", place + 1));
            continue;
        }
        if furthest.is_some_and(|furthest| place < furthest) {
            found.order_violations += 1;
            found.say(|| format!("{order}: report {} comes late", place + 1));
        }
        furthest = furthest.max(Some(place));
    }
    for (place, _) in held.iter().enumerate().filter(|(_, held)| !**held) {
        found.lost += 1;
        found.say(|| format!("{order}: report {} is lost", place + 1));
    }
    let origins: BTreeSet<&str> = delivered.iter().map(|seen| seen.origin.as_str()).collect();
    if origins.len() > 1 {
        found.order_violations += 1;
        found.say(|| format!("{order}: from {} origins", origins.len()));
    }
    let mut last: HashMap<&str, u64> = HashMap::new();
    for seen in delivered {
        let last = last.entry(&seen.origin).or_default();
        if seen.order_sequence != last.saturating_add(1) {
            let (number, before) = (seen.order_sequence, *last);
            found.sequence_gaps += 1;
            found.say(|| format!("{order}: the order sequence {number} behind {before}"));
        }
        *last = seen.order_sequence;
    }
    let difference = Pieces::of(expected.iter().copied())
        .difference(Pieces::of(delivered.iter().map(|seen| &seen.fact)));
    if difference > 0 {
        found.quantity_difference += difference;
        found.say(|| format!("{order}: {difference} pieces more or less"));
    }
}

fn text(fact: &Fact) -> String {
    String::from_utf8_lossy(&fact.data).chars().take(200).collect()
}

#[cfg(test)]
mod tests;
