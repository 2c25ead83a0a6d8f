//! Which journal files and packs are packed next: a choice by what they take and what of it is kept.

use std::ops::Range;

use crate::journal::Position;

/// A pack so much shorter than a journal file is packed again together with what lies beside it.
const SMALL: u64 = 8;

/// A journal file, or a pack, as the choice of what to pack sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) start: Position,
    pub(super) end: Position,
    /// What it takes on the disk; of a pack, what it held when it was written.
    pub(super) held_bytes: u64,
    /// What of it is kept.
    pub(super) live_bytes: u64,
    /// What of that may be compacted.
    pub(super) orders_bytes: u64,
    /// Later events below this position have taken the place of those in it; 0 of what was never
    /// compacted.
    pub(super) compacted_upto: Position,
    pub(super) is_pack: bool,
    /// It is packed for another reason than the space that it takes.
    pub(super) is_wanted: bool,
}

impl Unit {
    fn is_due(&self) -> bool {
        self.is_wanted || self.live_bytes <= self.held_bytes / 2
    }

    /// Whether packing it for the sake of compaction is worth it.
    fn is_of_orders(&self) -> bool {
        self.orders_bytes > 0 && self.orders_bytes >= self.live_bytes / 2
    }

    /// Whether it is to be compacted with what is known below `upto`.
    pub(super) fn is_behind(&self, upto: Position) -> bool {
        self.is_of_orders() && self.compacted_upto < upto && self.end <= upto
    }

    fn is_small(&self, file_bytes: u64) -> bool {
        self.is_pack && self.live_bytes <= file_bytes / SMALL
    }
}

/// Which of these, oldest first, are packed next, as a range of their indexes: the first that is due, with
/// those beside it that are due too, or small packs, as long as all of it is no longer than a
/// journal file. Where there is no room for so much, it is the one that has least. `None` where none is
/// due, or fits.
pub(super) fn due_pack(
    units: &[Unit],
    file_bytes: u64,
    room_bytes: Option<u64>,
) -> Option<Range<usize>> {
    let mut due = (0..).zip(units).filter(|(_, unit)| unit.is_due());
    let (first, unit) = match room_bytes {
        None => due.next()?,
        Some(_) => due.min_by_key(|(_, unit)| unit.live_bytes)?,
    };
    let most_bytes = room_bytes.unwrap_or(u64::MAX);
    if unit.live_bytes > most_bytes {
        return None;
    }
    let most_bytes = most_bytes.min(file_bytes);
    let mut range = first..first + 1;
    let mut live_bytes = unit.live_bytes;
    let joins = |unit: &Unit, live_bytes: u64| {
        let fits = live_bytes.saturating_add(unit.live_bytes) <= most_bytes;
        fits && (unit.is_due() || unit.is_small(file_bytes))
    };
    while let Some(unit) = units.get(range.end).filter(|unit| joins(unit, live_bytes)) {
        live_bytes += unit.live_bytes;
        range.end += 1;
    }
    let before = |start: usize| Some(&units[start.checked_sub(1)?]);
    while let Some(unit) = before(range.start).filter(|unit| joins(unit, live_bytes)) {
        live_bytes += unit.live_bytes;
        range.start -= 1;
    }
    Some(range)
}

/// Whether what was never compacted is as much as what was.
pub(super) fn due_round(units: &[Unit]) -> bool {
    let (mut fresh, mut compacted) = (0, 0);
    for unit in units.iter().filter(|unit| unit.is_of_orders()) {
        let is_fresh = unit.compacted_upto == Position::ZERO;
        *if is_fresh { &mut fresh } else { &mut compacted } += unit.orders_bytes;
    }
    fresh > 0 && fresh >= compacted
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 1_000;

    fn unit(at: u64, held_bytes: u64, live_bytes: u64, is_pack: bool) -> Unit {
        let (start, end) = (Position::new(at), Position::new(at + 1));
        let (orders_bytes, compacted_upto) = (0, Position::ZERO);
        let is_wanted = false;
        Unit {
            start,
            end,
            held_bytes,
            live_bytes,
            orders_bytes,
            compacted_upto,
            is_pack,
            is_wanted,
        }
    }

    fn due(units: &[(u64, u64, bool)]) -> Option<Range<usize>> {
        let units = (0..).zip(units);
        let units: Vec<_> =
            units.map(|(at, (held, live, is_pack))| unit(at, *held, *live, *is_pack)).collect();
        due_pack(&units, FILE, None)
    }

    #[test]
    fn what_has_lost_half_is_packed() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[(FILE, 501, false), (FILE, 900, true)]), None);
        assert_eq!(due(&[(FILE, 501, false), (FILE, 500, false)]), Some(1..2));
        assert_eq!(due(&[(FILE, 501, false), (600, 300, true)]), Some(1..2));
    }

    #[test]
    fn what_lies_beside_is_packed_with_it_up_to_a_file() {
        let half = (FILE, 400, false);
        assert_eq!(due(&[half, half, half]), Some(0..2));
        assert_eq!(due(&[half, (FILE, 600, false), half]), Some(0..1));
        // Small packs, on both sides; others stay as they are.
        let (small, large) = ((125, 125, true), (126, 126, true));
        assert_eq!(due(&[small, half, small]), Some(0..3));
        assert_eq!(due(&[small, large, half, small, large]), Some(2..4));
        assert_eq!(due(&[small, small]), None);
    }

    #[test]
    fn where_there_is_little_room_what_has_least_is_packed_first() {
        let units: Vec<_> =
            (0..).zip([400, 300, 350]).map(|(at, live)| unit(at, FILE, live, false)).collect();
        let due = |room| due_pack(&units, FILE, Some(room));
        assert_eq!((due(299), due(300), due(700)), (None, Some(1..2), Some(1..3)));
    }

    #[test]
    fn all_is_compacted_once_as_much_is_new_as_was_left() {
        let of = |orders_bytes, upto| Unit {
            orders_bytes,
            compacted_upto: Position::new(upto),
            ..unit(0, 300, 300, upto > 0)
        };
        assert!(due_round(&[of(300, 0)]));
        assert!(due_round(&[of(200, 9), of(200, 0)]));
        assert!(!due_round(&[of(300, 9), of(200, 0)]));
        // What is mostly of other topics does not count.
        assert!(!due_round(&[of(149, 0), of(0, 0)]));
        let behind = |unit: Unit, upto| unit.is_behind(Position::new(upto));
        assert!(behind(of(300, 5), 6) && !behind(of(300, 6), 6) && !behind(of(149, 0), 6));
        assert!(!behind(of(300, 0), 0), "it ends behind it");
    }

    #[test]
    fn what_is_old_is_packed_whatever_it_has_lost() {
        let wanted = |at| Unit { is_wanted: true, ..unit(at, 300, 300, false) };
        assert_eq!(
            due_pack(&[unit(0, 300, 300, false), wanted(1), wanted(2)], FILE, None),
            Some(1..3)
        );
        assert_eq!(due_pack(&[0, 1, 2, 3].map(wanted), FILE, None), Some(0..3));
    }
}
