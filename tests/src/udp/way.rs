//! One way of a line: which of its datagrams are lost, come twice, or come out of order.
//!
//! It has neither sockets nor a clock: it is given datagrams and the time, and says what leaves.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::events::Dice;

/// One that is held back lets at most so many later ones pass.
const HELD_BEHIND_MAX: u64 = 4;
/// And waits for them no longer than this: there may be none.
const HELD: Duration = Duration::from_millis(20);
/// The longest that one is late.
const LATE_MS_MAX: u64 = 10;

/// How many of a hundred datagrams something happens to; each is drawn on its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noise {
    /// They never arrive.
    pub lost: u64,
    /// They arrive twice.
    pub doubled: u64,
    /// They let 1 to 4 later ones pass.
    pub held: u64,
    /// They are late by 1 to 10 ms, whatever passes them.
    pub late: u64,
}

/// What happens on a way just now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Conditions {
    pub(super) noise: Noise,
    /// Nothing passes at all.
    pub(super) cut: bool,
}

/// What has happened on a way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that have left, copies too.
    pub left: u64,
    /// Lost by noise.
    pub lost: u64,
    /// Copies that have left.
    pub doubled: u64,
    /// Have left behind one that came after them; copies do not count.
    pub reordered: u64,
    /// Were late.
    pub late: u64,
    /// Came to the way, or waited on it, while it was cut.
    pub cut: u64,
    /// Those with which a handshake begins, whatever became of them: a connection that is open has
    /// none, so one more says that somebody dials anew.
    pub initials: u64,
}

/// One way of one line. The same seed has the same fate for the same datagram, by its number.
#[derive(Debug)]
pub(super) struct Way {
    dice: Dice,
    /// The number of the last that came, from 1.
    last: u64,
    /// The highest number that has left.
    furthest: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    copy: bool,
    /// It leaves behind the one of this number,
    behind: u64,
    /// or at this time, whichever is first.
    due: Instant,
    datagram: Bytes,
}

impl Way {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), last: 0, furthest: 0, waiting: Vec::new() }
    }

    /// Takes a datagram that has come.
    pub(super) fn take(
        &mut self,
        now: Instant,
        datagram: Bytes,
        conditions: Conditions,
        counts: &mut Counts,
    ) {
        self.last += 1;
        counts.initials += u64::from(is_initial(&datagram));
        if conditions.cut {
            counts.cut += 1;
            return;
        }
        let Noise { lost, doubled, .. } = conditions.noise;
        if self.happens(lost) {
            counts.lost += 1;
            return;
        }
        if self.happens(doubled) {
            self.wait(now, datagram.clone(), true, conditions.noise, counts);
        }
        self.wait(now, datagram, false, conditions.noise, counts);
    }

    fn wait(
        &mut self,
        now: Instant,
        datagram: Bytes,
        copy: bool,
        noise: Noise,
        counts: &mut Counts,
    ) {
        let number = self.last;
        let (behind, due) = if self.happens(noise.held) {
            (number + 1 + self.dice.below(HELD_BEHIND_MAX), now + HELD)
        } else if self.happens(noise.late) {
            counts.late += 1;
            (u64::MAX, now + Duration::from_millis(1 + self.dice.below(LATE_MS_MAX)))
        } else {
            (number, now)
        };
        self.waiting.push(Waiting { number, copy, behind, due, datagram });
    }

    /// What leaves now, in this order.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        conditions: Conditions,
        counts: &mut Counts,
    ) -> Vec<Bytes> {
        let last = self.last;
        let mut leaving: Vec<Waiting> =
            self.waiting.extract_if(.., |one| one.behind <= last || one.due <= now).collect();
        if conditions.cut {
            counts.cut += leaving.len() as u64;
            return Vec::new();
        }
        leaving.sort_by_key(|one| (one.behind, Reverse(one.number)));
        for one in &leaving {
            counts.left += 1;
            counts.doubled += u64::from(one.copy);
            counts.reordered += u64::from(!one.copy && one.number < self.furthest);
            self.furthest = self.furthest.max(one.number);
        }
        leaving.into_iter().map(|one| one.datagram).collect()
    }

    /// When one that waits leaves, if nothing comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|one| one.due).min()
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }
}

/// Whether it begins with an Initial packet of QUIC version 1 (RFC 9000, 17.2.2).
fn is_initial(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 0, 0, 0, 1, ..] if first & 0xf0 == 0xc0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 200;

    /// What leaves of 200 datagrams that come a millisecond after each other, by number.
    fn pass(seed: u64, conditions: Conditions) -> (Vec<u64>, Counts) {
        let (mut way, mut counts) = (Way::new(seed), Counts::default());
        let mut now = Instant::now();
        let mut left = Vec::new();
        for number in 0..COUNT {
            way.take(now, Bytes::copy_from_slice(&number.to_be_bytes()), conditions, &mut counts);
            left.extend(way.leave(now, conditions, &mut counts));
            now += Duration::from_millis(1);
        }
        while let Some(due) = way.next_due() {
            left.extend(way.leave(due, conditions, &mut counts));
        }
        let number = |datagram: &Bytes| u64::from_be_bytes(datagram[..].try_into().unwrap());
        (left.iter().map(number).collect(), counts)
    }

    fn noise(noise: Noise) -> Conditions {
        Conditions { noise, cut: false }
    }

    #[test]
    fn without_noise_all_leave_as_they_came() {
        let (left, counts) = pass(1, noise(Noise::default()));
        assert_eq!(left, (0..COUNT).collect::<Vec<_>>());
        assert_eq!(counts, Counts { left: COUNT, ..Counts::default() });
    }

    #[test]
    fn each_kind_happens_about_as_often_as_it_is_set_and_is_counted() {
        let (left, counts) = pass(2, noise(Noise { lost: 30, ..Noise::default() }));
        assert!((40..=80).contains(&counts.lost), "{counts:?}");
        assert!(left.is_sorted() && left.len() as u64 + counts.lost == COUNT);

        let (left, counts) = pass(3, noise(Noise { doubled: 30, ..Noise::default() }));
        assert!((40..=80).contains(&counts.doubled), "{counts:?}");
        assert!(left.is_sorted() && left.len() as u64 == COUNT + counts.doubled);

        for kind in [Noise { held: 30, ..Noise::default() }, Noise { late: 30, ..Noise::default() }]
        {
            let (mut left, counts) = pass(4, noise(kind));
            assert!((20..=80).contains(&counts.reordered), "{counts:?}");
            assert!(!left.is_sorted());
            left.sort_unstable();
            assert_eq!(left, (0..COUNT).collect::<Vec<_>>(), "none is lost");
        }
    }

    #[test]
    fn one_that_is_held_back_lets_four_pass_at_most() {
        let (left, _) = pass(5, noise(Noise { held: 100, ..Noise::default() }));
        for (at, number) in (0..).zip(left) {
            assert!(number.abs_diff(at) <= HELD_BEHIND_MAX, "{number} is the {at}th");
        }
    }

    #[test]
    fn the_same_seed_has_the_same_fates() {
        let all = noise(Noise { lost: 10, doubled: 10, held: 10, late: 10 });
        assert_eq!(pass(6, all), pass(6, all));
        assert_ne!(pass(6, all), pass(7, all));
    }

    #[test]
    fn a_cut_takes_what_comes_and_what_waits() {
        let (mut way, mut counts) = (Way::new(8), Counts::default());
        let now = Instant::now();
        let late = noise(Noise { late: 100, ..Noise::default() });
        way.take(now, Bytes::from_static(b"waits"), late, &mut counts);
        let cut = Conditions { cut: true, ..late };
        way.take(now, Bytes::from_static(b"comes"), cut, &mut counts);
        let due = way.next_due().unwrap();
        assert!(way.leave(due, cut, &mut counts).is_empty());
        assert_eq!((counts.cut, counts.left, way.next_due()), (2, 0, None));
    }

    #[test]
    fn who_dials_is_seen_also_on_a_way_that_is_cut() {
        let (mut way, mut counts) = (Way::new(9), Counts::default());
        let cut = Conditions { cut: true, ..Conditions::default() };
        // Initial; Handshake; one of an open connection; Initial of another version.
        for first in
            [[0xc3, 0, 0, 0, 1], [0xe3, 0, 0, 0, 1], [0x43, 0, 0, 0, 1], [0xc3, 0, 0, 0, 2]]
        {
            way.take(Instant::now(), Bytes::copy_from_slice(&first), cut, &mut counts);
        }
        assert_eq!(counts.initials, 1);
    }
}
