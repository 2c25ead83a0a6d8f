//! How long a plant waits before it dials its hub again.

use std::time::Duration;

use super::uplink::{End, UplinkEvent};

/// The first pause after a failed attempt; it doubles from there.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// A diverged link is tried again so rarely: only an operator can mend it.
const DIVERGED_PAUSE: Duration = Duration::from_mins(1);

/// The pauses between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// With pauses of at most `max`.
    pub fn new(max: Duration) -> Self {
        Self { next: BACKOFF_MIN, max }
    }

    /// The pauses begin anew.
    fn reset(&mut self) {
        self.next = BACKOFF_MIN;
    }

    /// Only what the hub has acknowledged is a success. A link that comes up and ends each time
    /// before that is to be dialled ever more rarely.
    pub fn on_event(&mut self, event: &UplinkEvent) {
        match event {
            UplinkEvent::Acked(_) => self.reset(),
            UplinkEvent::Up(_) => {}
        }
    }

    /// How long to wait after a link that ended so. `fraction`, from 0 to 1, is random: dialling
    /// pauses are between half of their length and all of it.
    pub fn pause(&mut self, end: &End, fraction: f64) -> Duration {
        let pause = match end {
            End::TopicsChanged => return Duration::ZERO,
            End::Lost(_) => jittered(self.next, fraction),
            End::Replaced(_) | End::Unread(_) => jittered(self.max, fraction),
            End::Diverged(_) => DIVERGED_PAUSE,
        };
        self.next = (self.next * 2).min(self.max.max(BACKOFF_MIN));
        pause
    }
}

fn jittered(pause: Duration, fraction: f64) -> Duration {
    pause.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::uplink::Ends;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let lost = End::Lost(String::new());
        let mut backoff = Backoff::new(Duration::from_millis(500));
        let pauses = [100, 200, 400, 500, 500].map(Duration::from_millis);
        assert_eq!(pauses.map(|_| backoff.pause(&lost, 1.0)), pauses);
        backoff.on_event(&UplinkEvent::Up(Ends::new()));
        assert_eq!(backoff.pause(&lost, 1.0), Duration::from_millis(500), "no success yet");
        backoff.on_event(&UplinkEvent::Acked(Ends::new()));
        assert_eq!(backoff.pause(&lost, 0.0), Duration::from_millis(50));
        assert_eq!(backoff.pause(&End::TopicsChanged, 0.5), Duration::ZERO);
        assert_eq!(backoff.pause(&lost, 1.0), Duration::from_millis(200));
        let replaced = End::Replaced(String::new());
        assert_eq!(backoff.pause(&replaced, 1.0), Duration::from_millis(500));
        let unread = End::Unread(String::new());
        assert_eq!(backoff.pause(&unread, 1.0), Duration::from_millis(500));
        assert_eq!(backoff.pause(&End::Diverged(String::new()), 0.0), Duration::from_mins(1));
    }
}
