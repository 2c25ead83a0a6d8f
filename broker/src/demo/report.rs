//! What a demonstration ends with.

use std::io::{self, Write};

use serde::Serialize;

use super::compare::Comparison;
use crate::cli::output::{Cell, Column, Style, Table, Tone, count};

/// The kills that the play claims at least; a play in which they did not come about says nothing.
const KILLS_MIN: u64 = 3;

/// The whole in numbers. The names are those of the JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Events that the adapters sent, repeats included.
    pub sent: u64,
    /// Reports of the file, each counted once.
    pub distinct: u64,
    /// Events in the plants' own partitions.
    pub at_plants: u64,
    /// Events that the hub delivers.
    pub at_hub: u64,
    /// Events that were answered as duplicates.
    pub duplicates: u64,
    /// Events that were answered as conflicts.
    pub conflicts: u64,
    /// Reports that the hub does not have.
    pub lost: u64,
    /// Reports that come too late within their order.
    pub order_violations: u64,
    /// Offsets and order sequences that do not follow the one before.
    pub sequence_gaps: u64,
    /// Pieces by which hub and file differ, order by order.
    pub quantity_difference: u64,
    /// Kills that met events without receipt, or not mirrored.
    pub kills: u64,
    /// Lines that were cut.
    pub wan_cuts: u64,
    /// Events without a receipt at a plant's kill: the least of all.
    pub unacked_at_kill: u64,
    /// Events not yet mirrored at a kill of the hub: the least of all.
    pub backlog_at_kill: u64,
    /// Events that were sent again on purpose.
    pub resent: u64,
    /// How long it all took.
    pub elapsed_ms: u64,
    /// Reports that the hub has more than once.
    pub doubled: u64,
    /// Reports that the hub has and the file has not.
    pub unexpected: u64,
}

impl Report {
    /// Takes over what the comparison found.
    pub fn take(&mut self, found: &Comparison) {
        self.distinct = found.distinct;
        self.at_hub = found.at_hub;
        self.lost = found.lost;
        self.doubled = found.doubled;
        self.unexpected = found.unexpected;
        self.order_violations = found.order_violations;
        self.sequence_gaps = found.sequence_gaps;
        self.quantity_difference = found.quantity_difference;
    }

    /// What is not as it must be, in words.
    pub fn wrong(&self) -> Vec<&'static str> {
        let rules = [
            (self.lost == 0, "events were lost"),
            (self.doubled == 0, "events are there twice"),
            (self.unexpected == 0, "there are events that nobody sent"),
            (self.order_violations == 0, "events are out of order"),
            (self.sequence_gaps == 0, "sequences have gaps"),
            (self.quantity_difference == 0, "quantities differ"),
            (self.at_plants == self.distinct, "the plants do not hold each report once"),
            (self.conflicts == 1, "the corrected report is not the only conflict"),
            (self.kills >= KILLS_MIN, "too few kills met events under way"),
            (self.wan_cuts > 0, "no line was cut"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, words)| words).collect()
    }

    /// Prints the table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let mut table =
            Table::new([Column::left("what"), Column::right("count"), Column::left("which is")]);
        let zero = |number: u64| if number == 0 { Tone::Good } else { Tone::Bad };
        let same = |number: u64| if number == self.distinct { Tone::Good } else { Tone::Bad };
        let one = if self.conflicts == 1 { Tone::Good } else { Tone::Bad };
        let rows = [
            ("reports in the file", self.distinct, Tone::Plain, "each counted once"),
            ("sent", self.sent, Tone::Plain, "with all repeats"),
            ("  of these again", self.resent, Tone::Plain, "by a restart, and one hour twice"),
            ("answered as duplicate", self.duplicates, Tone::Plain, "stored once"),
            ("answered as conflict", self.conflicts, one, "the corrected report, set aside"),
            ("at the plants", self.at_plants, same(self.at_plants), ""),
            ("at the hub", self.at_hub, same(self.at_hub), ""),
            ("kills with SIGKILL", self.kills, Tone::Plain, "that met events under way"),
            ("  without receipt", self.unacked_at_kill, Tone::Plain, "at least, at a plant's"),
            ("  not mirrored", self.backlog_at_kill, Tone::Plain, "at least, at the hub's"),
            ("lines cut", self.wan_cuts, Tone::Plain, ""),
            ("lost", self.lost, zero(self.lost), ""),
            ("doubled", self.doubled, zero(self.doubled), ""),
            ("unexpected", self.unexpected, zero(self.unexpected), ""),
            ("out of order", self.order_violations, zero(self.order_violations), ""),
            ("gaps in sequences", self.sequence_gaps, zero(self.sequence_gaps), ""),
            (
                "pieces of difference",
                self.quantity_difference,
                zero(self.quantity_difference),
                "good, rejected and rework, order by order",
            ),
        ];
        for (what, number, tone, which) in rows {
            table.push([what.into(), Cell::from(count(number)).tone(tone), which.into()]);
        }
        table.write(out, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            distinct: 9,
            at_plants: 9,
            at_hub: 9,
            conflicts: 1,
            kills: 4,
            wan_cuts: 3,
            ..Report::default()
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(good().wrong(), Vec::<&str>::new());
        assert_eq!(Report { lost: 1, ..good() }.wrong(), ["events were lost"]);
        assert_eq!(Report { kills: 2, ..good() }.wrong(), ["too few kills met events under way"]);
        assert_eq!(Report { at_plants: 8, ..good() }.wrong().len(), 1);
    }

    #[test]
    fn the_table_has_a_line_for_each_number() {
        let mut out = Vec::new();
        good().write(&mut out, Style::PLAIN).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("answered as conflict"), "{text}");
        assert_eq!(text.lines().count(), 18);
    }
}
