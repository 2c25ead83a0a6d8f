//! What waits for the writer thread: requests in the order of their arrival, and notices that go
//! before them.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, wait_while};

/// A queue with a fast lane. Its bound is its users': requests with batches hold permits of the
/// node's byte budget, and a session has few others under way; notices answer what the writer
/// itself has started, or replace the one before.
#[derive(Debug)]
pub(super) struct Inbox<R, N> {
    state: Mutex<State<R, N>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<R, N> {
    requests: VecDeque<R>,
    notices: VecDeque<N>,
    closed: bool,
}

/// What one visit to the inbox brought.
#[derive(Debug)]
pub(super) struct Taken<R, N> {
    pub requests: VecDeque<R>,
    pub notices: VecDeque<N>,
}

/// The writer is gone; the request is given back.
#[derive(Debug)]
pub(super) struct Closed<R>(pub R);

impl<R, N> Inbox<R, N> {
    pub fn new() -> Self {
        let (requests, notices) = (VecDeque::new(), VecDeque::new());
        Self {
            state: Mutex::new(State { requests, notices, closed: false }),
            arrived: Condvar::new(),
        }
    }

    /// Puts a request at the end of the queue.
    pub fn request(&self, request: R) -> Result<(), Closed<R>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed(request));
        }
        state.requests.push_back(request);
        let first = state.requests.len() == 1;
        drop(state);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts a notice into the fast lane.
    pub fn notify(&self, notice: N) {
        self.notify_instead(notice, |_| false);
    }

    /// As [`Inbox::notify`]; those that it makes `outdated` are taken out.
    pub fn notify_instead(&self, notice: N, outdated: impl Fn(&N) -> bool) {
        let mut state = self.lock();
        state.notices.retain(|waiting| !outdated(waiting));
        state.notices.push_back(notice);
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits for notices and, where `want_requests`, for requests; takes all of them.
    pub fn take(&self, want_requests: bool, timeout: Duration) -> Taken<R, N> {
        let state = self.lock();
        let waiting = |state: &mut State<R, N>| {
            state.notices.is_empty() && (!want_requests || state.requests.is_empty())
        };
        let mut state = wait_while(&self.arrived, state, timeout, waiting);
        let notices = std::mem::take(&mut state.notices);
        let requests =
            if want_requests { std::mem::take(&mut state.requests) } else { VecDeque::new() };
        Taken { requests, notices }
    }

    /// Refuses requests from now on and gives back those that wait.
    pub fn close(&self) -> VecDeque<R> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.requests)
    }

    /// A holder that panicked has left whole values behind: every change is one call.
    fn lock(&self) -> MutexGuard<'_, State<R, N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(takt_loom)))]
mod tests {
    use super::*;

    #[test]
    fn notices_come_while_requests_wait() {
        let inbox = Inbox::<u32, &str>::new();
        inbox.request(1).unwrap();
        inbox.notify("synced");
        let taken = inbox.take(false, Duration::ZERO);
        assert!(taken.requests.is_empty() && taken.notices == ["synced"]);
        let taken = inbox.take(true, Duration::ZERO);
        assert_eq!(taken.requests, [1]);
        assert!(inbox.take(true, Duration::ZERO).requests.is_empty());
    }

    #[test]
    fn a_notice_takes_the_place_of_those_that_it_outdates() {
        let inbox = Inbox::<(), (&str, u32)>::new();
        for number in 1..=3 {
            inbox.notify_instead(("holds", number), |(what, _)| *what == "holds");
            inbox.notify(("synced", number));
        }
        let taken = inbox.take(false, Duration::ZERO).notices;
        assert_eq!(taken, [("synced", 1), ("synced", 2), ("holds", 3), ("synced", 3)]);
    }

    #[test]
    fn a_closed_inbox_gives_back_what_waits() {
        let inbox = Inbox::<u32, ()>::new();
        inbox.request(1).unwrap();
        assert_eq!(inbox.close(), [1]);
        assert!(matches!(inbox.request(2), Err(Closed(2))));
    }
}
