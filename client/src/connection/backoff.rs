//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(5);

/// Doubles from 50 ms to 5 s. Half of each wait is random, so that many who lost the same node do
/// not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait now; the next wait is twice as long.
    pub fn wait(&mut self) -> Duration {
        // Without randomness all wait for the longest.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let wait = self.next / 2 + (self.next / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.next = (self.next * 2).min(LAST);
        wait
    }

    /// Begins anew: the attempt has succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut backoff = Backoff::default();
        for i in 0..12 {
            let full = (FIRST * 2_u32.pow(i)).min(LAST);
            let wait = backoff.wait();
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
