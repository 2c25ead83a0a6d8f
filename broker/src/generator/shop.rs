//! The shop floor: how an order becomes reports.

use jiff::ToSpan;
use jiff::civil::DateTime;

use super::row::Row;
use super::splitmix::SplitMix;

const OPERATIONS: [&str; 14] = [
    "Turning & Milling",
    "Turning & Milling Q.C.",
    "Laser Marking",
    "Deburring",
    "Heat Treatment",
    "Round Grinding",
    "Flat Grinding",
    "Lapping",
    "Wire Cut",
    "Fix, fit & assemble",
    "Surface Coating",
    "Dimension \"A\" Q.C.",
    "Final Inspection Q.C.",
    "Packing",
];
const ROUTING_MIN: u32 = 3;
const ROUTING_MAX: u32 = 12;
const SHIFT_MINUTES: i64 = 8 * 60;
/// A Monday, at the begin of the early shift.
const FIRST_SHIFT: DateTime = DateTime::constant(2026, 1, 5, 6, 0, 0, 0);
const WORKERS_PER_SHIFT: u32 = 12;
const ORDERS_PER_DAY: u32 = 4;

const SETUP_PER_MILLE: u32 = 600;
const BREAKDOWN_PER_MILLE: u32 = 40;
const SCRAP_PER_MILLE: u32 = 60;
const REVIEW_PER_MILLE: u32 = 15;
const REWORK_PER_MILLE: u32 = 30;
const REPEAT_PER_MILLE: u32 = 6;

/// The reports of `orders` production orders, sorted by completion. The names of the orders hold
/// the low 16 bits of the seed, so that the plants of one company do not share orders.
///
/// Within an order no report is complete before the one in front of it, and none but the exact
/// repeats share order and times.
pub fn generate(seed: u64, orders: u32) -> Vec<Row> {
    let mut random = SplitMix::new(seed);
    let mut rows = Vec::new();
    for number in 0..orders {
        let days = number / ORDERS_PER_DAY;
        let start = i64::from(days) * 24 * 60 + i64::from(random.between(0, 12 * 60));
        let name = format!("PO-{:04x}-{:05}", seed & 0xffff, number + 1);
        Order { name, minute: start, random: &mut random, rows: &mut rows }.run();
    }
    rows.sort_by_key(|row| row.complete);
    rows
}

/// An order under way. Time is in minutes since [`FIRST_SHIFT`]; shifts follow without a break.
struct Order<'a> {
    name: String,
    minute: i64,
    random: &'a mut SplitMix,
    rows: &'a mut Vec<Row>,
}

impl Order<'_> {
    fn run(&mut self) {
        let steps = self.random.between(ROUTING_MIN, ROUTING_MAX) as usize;
        let mut pieces = self.random.between(5, 400);
        // A routing goes through the shop in its order, leaves out some, and always packs.
        let mut skips = OPERATIONS.len() - steps;
        for (i, operation) in OPERATIONS.into_iter().enumerate() {
            let left = OPERATIONS.len() - 1 - i;
            let skip = skips > 0 && left > 0 && self.random.next() % (left as u64) < skips as u64;
            if skip {
                skips -= 1;
            } else {
                pieces = self.operation(operation, pieces);
            }
        }
    }

    /// Runs `pieces` through one operation; the pieces that are good behind it.
    fn operation(&mut self, operation: &'static str, pieces: u32) -> u32 {
        self.minute += i64::from(self.random.between(10, 900));
        if self.random.chance(SETUP_PER_MILLE) {
            let minutes = self.random.between(10, 120);
            self.report(operation, 'S', minutes, [0; 3], false);
        }
        let (mut left, mut good_behind) = (pieces, 0);
        while left > 0 {
            if self.random.chance(BREAKDOWN_PER_MILLE) {
                let minutes = self.random.between(15, 240);
                self.report(operation, 'B', minutes, [0; 3], false);
            }
            let run = left.min(self.random.between(20, 160));
            let scrapped = self.some_of(run, SCRAP_PER_MILLE);
            let review = self.some_of(run - scrapped, REVIEW_PER_MILLE);
            let good = run - scrapped - review;
            let rework = self.random.chance(REWORK_PER_MILLE);
            let minutes = run + self.random.between(5, 30);
            self.report(operation, 'D', minutes, [good, scrapped, review], rework);
            left -= run;
            good_behind += good;
        }
        good_behind
    }

    /// Mostly 0, with a chance 1 to 3, never more than `of`.
    fn some_of(&mut self, of: u32, per_mille: u32) -> u32 {
        if self.random.chance(per_mille) { of.min(self.random.between(1, 3)) } else { 0 }
    }

    /// Reports `minutes` of work, or what the shift has left of them: the worker goes home then.
    fn report(
        &mut self,
        operation: &'static str,
        kind: char,
        minutes: u32,
        [good, scrapped, review]: [u32; 3],
        rework: bool,
    ) {
        let shift = self.minute / SHIFT_MINUTES;
        let end = (self.minute + i64::from(minutes)).min((shift + 1) * SHIFT_MINUTES);
        assert!(end > self.minute, "a report takes time");
        let shift_of_day = u32::try_from(shift % 3).expect("0 to 2");
        let worker = 4_000 + 100 * shift_of_day + self.random.between(0, WORKERS_PER_SHIFT - 1);
        let row = Row {
            order: self.name.clone(),
            operation,
            worker: format!("ID{worker}"),
            start: at(self.minute),
            complete: at(end),
            good,
            scrapped,
            review,
            kind,
            rework,
        };
        self.minute = end;
        if self.random.chance(REPEAT_PER_MILLE) {
            self.rows.push(row.clone());
        }
        self.rows.push(row);
    }
}

fn at(minute: i64) -> DateTime {
    // 2^32 orders take 3 million years: past the year 9999 all is at its end.
    FIRST_SHIFT.checked_add(minute.minutes()).unwrap_or(DateTime::MAX)
}
