//! When the events of an open loop are due, and how long their sender sleeps until then.

use std::time::{Duration, Instant};

/// The least that a sender sleeps: it then sends all that has become due. Waking for each event
/// would take the node's cores where more than 5,000 a second are due.
const SLEEP_MIN: Duration = Duration::from_micros(200);

const NANOS_PER_S: u64 = 1_000_000_000;

/// When the events of one of several producers are due, which take turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Over all producers.
    per_s: u64,
    producers: u64,
    number: u64,
}

impl Schedule {
    /// The schedule of the producer with this number, of so many that send `per_s` events a second
    /// together.
    pub fn new(per_s: u64, producers: u16, number: u16) -> Self {
        assert!(per_s > 0 && number < producers, "a producer that has a turn");
        Self { per_s, producers: producers.into(), number: number.into() }
    }

    /// When this producer's event of a number, counted from 0, is due, from the start on: at
    /// `(event * producers + number) / per_s` seconds.
    pub fn after(&self, event: u64) -> Duration {
        let turn = event.saturating_mul(self.producers).saturating_add(self.number);
        let rest = u128::from(turn % self.per_s) * u128::from(NANOS_PER_S);
        let nanos = u64::try_from(rest / u128::from(self.per_s)).expect("less than a second");
        Duration::from_secs(turn / self.per_s) + Duration::from_nanos(nanos)
    }
}

/// How long to sleep before an event is sent; `None` where it is due.
pub(super) fn wait(due: Instant, now: Instant) -> Option<Duration> {
    let ahead = due.checked_duration_since(now)?;
    (!ahead.is_zero()).then(|| ahead.max(SLEEP_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_take_turns_at_even_distances() {
        let schedules = [0, 1, 2].map(|number| Schedule::new(1_000, 3, number));
        let due: Vec<_> = (0..400).flat_map(|event| schedules.map(|s| s.after(event))).collect();
        let expected: Vec<_> = (0..1_200).map(Duration::from_millis).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn a_rate_does_not_drift() {
        let schedule = Schedule::new(7, 1, 0);
        assert_eq!(schedule.after(1), Duration::from_nanos(142_857_142));
        assert_eq!(schedule.after(7 * 86_400), Duration::from_hours(24));
        let last = Schedule::new(10_000_000, 256, 255).after(u64::MAX);
        assert!(last > Duration::from_hours(24));
    }

    #[test]
    fn nothing_is_sent_early_and_what_is_late_at_once() {
        let now = Instant::now();
        let far = Duration::from_secs(3);
        assert_eq!(wait(now + far, now), Some(far));
        assert_eq!(wait(now + Duration::from_micros(1), now), Some(SLEEP_MIN));
        assert_eq!(wait(now, now), None);
        assert_eq!(wait(now, now + far), None);
    }
}
