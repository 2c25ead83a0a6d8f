//! What an adapter has handed over and what it was told of it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How the events of an adapter stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed over to a producer, repeats included.
    pub sent: u64,
    /// Of these, sent again on purpose.
    pub resent: u64,
    /// Answered as new.
    pub appended: u64,
    /// Answered as a repeat.
    pub duplicates: u64,
    /// Answered as a conflict.
    pub conflicts: u64,
    /// Without a receipt when their producer was dropped.
    pub dropped: u64,
    /// Reports of the log that have a receipt.
    pub lines_done: usize,
}

impl Counts {
    /// With a receipt.
    pub fn answered(&self) -> u64 {
        self.appended + self.duplicates + self.conflicts
    }

    /// Handed over to the producer of now and still without a receipt.
    pub fn unacked(&self) -> u64 {
        self.sent.saturating_sub(self.answered() + self.dropped)
    }
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    failure: Option<String>,
}

/// Counts that can be waited for.
#[derive(Debug, Default)]
pub struct Tally(watch::Sender<State>);

impl Tally {
    /// How it stands now.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// Changes the counts.
    pub fn update(&self, change: impl FnOnce(&mut Counts)) {
        self.0.send_modify(|state| change(&mut state.counts));
    }

    /// The adapter cannot go on. The first reason stays.
    pub fn fail(&self, why: String) {
        self.0.send_modify(|state| {
            state.failure.get_or_insert(why);
        });
    }

    /// Why the adapter cannot go on, if so.
    pub fn failure(&self) -> Option<String> {
        self.0.borrow().failure.clone()
    }

    /// Waits until `reached` or a failure. `false` where that takes longer than `limit`.
    pub async fn wait(&self, limit: Duration, mut reached: impl FnMut(&Counts) -> bool) -> bool {
        let mut state = self.0.subscribe();
        let done = state.wait_for(|state| state.failure.is_some() || reached(&state.counts));
        timeout(limit, done).await.is_ok()
    }

    /// Waits until `reached` or a failure, however long.
    pub async fn until(&self, mut reached: impl FnMut(&Counts) -> bool) {
        let mut state = self.0.subscribe();
        // The sender is `self`, so it cannot be gone.
        let _ = state.wait_for(|state| state.failure.is_some() || reached(&state.counts)).await;
    }
}
