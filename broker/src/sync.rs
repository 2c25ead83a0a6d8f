//! Where the broker's own threads meet: the standard library, or its model in `loom`, which tries
//! the orders in which threads can run. `models` has the models; `.ci/loom` runs them.
//!
//! What tasks wait for is tokio's and is not switched.

#[cfg(takt_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(takt_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::sync::PoisonError;
use std::time::Duration;

/// Waits while `condition` holds, at most for `timeout`. In a model no time passes: who is not
/// woken waits for ever, and `loom` says so.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    #[cfg(not(takt_loom))]
    {
        let waited = condvar.wait_timeout_while(guard, timeout, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
    #[cfg(takt_loom)]
    {
        let (mut guard, mut condition) = (guard, condition);
        while condition(&mut guard) {
            let waited = condvar.wait_timeout(guard, timeout);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        guard
    }
}
