//! By which time retention judges ages: a wall clock that runs ahead must not empty a node.

use std::time::{Duration, Instant};

use takt_protocol::words::Timestamp;

/// How far ahead of the newest append time a wall clock may be at a start.
const START_AHEAD_MAX: Duration = Duration::from_hours(7 * 24);
/// How far a wall clock may run ahead of the monotonic one.
const LEAP_MAX: Duration = Duration::from_mins(5);

/// The latest time that is credible: what the journal proves, and the time that has passed since
/// by the monotonic clock. Ages judged by a wall clock that has leapt ahead would drop everything;
/// so they lag by the leap, until the next start takes a clock that is credible then. One that is
/// behind does no harm: by it all is younger.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgeClock {
    since: Instant,
    /// The latest credible time at `since`.
    at: Timestamp,
}

impl AgeClock {
    /// At a start, where `newest` is the newest append time of the journal; without one there is
    /// nothing to lose, and the wall clock is believed.
    pub(super) fn new(now: Instant, wall: Timestamp, newest: Option<Timestamp>) -> Self {
        let at = newest.map_or(wall, |newest| wall.clamp(newest, plus(newest, START_AHEAD_MAX)));
        Self { since: now, at }
    }

    /// The latest time at `now` by which an age may be judged.
    pub(super) fn at_most(&self, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.since);
        plus(self.at, passed.saturating_add(LEAP_MAX))
    }
}

fn plus(at: Timestamp, time: Duration) -> Timestamp {
    let us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().saturating_add(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const YEARS: Duration = Duration::from_hours(10 * 365 * 24);

    #[test]
    fn a_clock_that_leaps_ahead_lags_by_its_leap() {
        let (now, wall) = (Instant::now(), Timestamp::from_micros(1_700_000_000_000_000));
        let newest = plus(wall, DAY);
        for (shown, credible) in [
            (wall, newest),
            (newest, newest),
            (plus(newest, 6 * DAY), plus(newest, 6 * DAY)),
            (plus(newest, YEARS), plus(newest, 7 * DAY)),
        ] {
            let clock = AgeClock::new(now, shown, Some(newest));
            assert_eq!(clock.at_most(now), plus(credible, LEAP_MAX));
            assert_eq!(clock.at_most(now + 3 * DAY), plus(credible, 3 * DAY + LEAP_MAX));
        }
        let empty = AgeClock::new(now, plus(wall, YEARS), None);
        assert_eq!(empty.at_most(now), plus(wall, YEARS + LEAP_MAX));
    }
}
